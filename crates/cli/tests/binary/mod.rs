//! Runs the real binary in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that goes away with the test.
pub(crate) struct Folder(tempfile::TempDir);

/// What a run printed.
pub(crate) struct Printed {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join(relative)
    }

    pub(crate) fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> (Output, Printed) {
        let output = Command::new(env!("CARGO_BIN_EXE_onnx2int"))
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let printed = Printed { stdout: text(&output.stdout), stderr: text(&output.stderr) };
        (output, printed)
    }

    /// Runs a command that must succeed.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> Printed {
        let (output, printed) = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", printed.stderr);
        printed
    }

    /// Runs a command that must fail with status 1 and one message; gives the message.
    pub(crate) fn fail(&self, arguments: &[&str]) -> String {
        let (output, printed) = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", printed.stderr);
        assert_eq!(printed.stderr.matches("error: ").count(), 1, "{arguments:?}: {}", printed.stderr);
        assert!(!printed.stderr.contains("panicked"), "{arguments:?}: {}", printed.stderr);
        printed.stderr
    }
}

/// The file of a stage of the model `net`.
pub(crate) fn stage_file(stage: &str) -> String {
    if stage == "float" { "net.onnx".to_owned() } else { format!("net_{stage}.onnx") }
}

/// The repository's MNIST.
pub(crate) fn data_dir() -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/mnist");
    dir.to_str().expect("the repository's path is UTF-8").to_owned()
}
