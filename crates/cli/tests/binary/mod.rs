//! Runs the real binary in a folder of its own.

use std::collections::BTreeMap;
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

    /// The binary with arguments, in this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onnx2int"));
        command.args(arguments).current_dir(self.0.path());
        command
    }

    /// Temporary files that something left behind.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| name.contains(".tmp")).collect()
    }

    /// Every file with its content, by its path in this folder.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.names().into_iter();
        names.map(|name| (name.clone(), fs::read(self.path(&name)).unwrap())).collect()
    }

    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect(self.0.path(), "", &mut names);
        names
    }

    fn run(&self, arguments: &[&str]) -> (Output, Printed) {
        let mut command = self.command(arguments);
        let output = command.output().unwrap();
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
        fail(&mut self.command(arguments))
    }
}

/// Runs a command that must fail with status 1 and one message; gives the message.
pub(crate) fn fail(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {message}");
    assert_eq!(message.matches("error: ").count(), 1, "{command:?}: {message}");
    assert!(!message.contains("panicked"), "{command:?}: {message}");
    message
}

/// Adds the paths of all files below a folder.
fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), &format!("{name}/"), names);
        } else {
            names.push(name);
        }
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
