//! The whole sweep with a program that stands in for `onnx2int` and takes no time.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::process::Interrupted;

/// Logs every call; refuses mantissas of 2 bits, breaks down where a file `broken` is, and scores whatever it is given.
const STAND_IN: &str = r#"#!/bin/sh
set -eu
echo "$*" >> log
if [ -e broken ]; then echo "error: cannot write \"x\"" >&2; exit 1; fi
case "$*" in
    *"--mantissa-bits 2") echo "error: cannot transform \"m\"" >&2; echo "  m = 0" >&2; exit 1;;
    evaluate*) echo '{"models": [{"images": 10, "correct": 9, "reference": {"agreeing": 8}}]}';;
esac
"#;

const RUN: Run = Run::QUICK;

struct Repository(tempfile::TempDir);

impl Repository {
    #[expect(clippy::unwrap_used, reason = "a test fails by it")]
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let this = Self(folder);
        for name in ["a", "b", "c", "d"] {
            this.write(&format!("{}/{name}-ubyte", pipeline::DATA_DIR), "pixels");
        }
        this.write(&pipeline::model_path(RUN, Stage::Float), "float");
        this.write(&pipeline::model_path(RUN, Stage::Integer), "integer");
        // By a shell, as in runner_tests: a program that a child of another test has open for writing cannot be started.
        let script = r#"printf '%s' "$1" > tool && chmod +x tool"#;
        let mut shell = Command::new("sh");
        assert!(
            shell.args(["-c", script, "sh", STAND_IN]).current_dir(this.root()).status().unwrap().success()
        );
        this
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    #[expect(clippy::unwrap_used, reason = "a test fails by it")]
    fn write(&self, path: &str, content: &str) {
        atomic_file::write(&self.root().join(path), content.as_bytes()).unwrap();
    }

    fn sweep(&self, interrupt: &Interrupt) -> anyhow::Result<Sweep> {
        let tool = self.root().join("tool");
        let mut digests = Digests::open(self.root(), &self.root().join("digests.json"));
        let measurer = Measurer::open(self.root().to_owned(), tool, RUN, &mut digests, interrupt.clone())?;
        measured(measurer, "f10a7".to_owned())
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.root().join("log")).map_or(0, |log| log.lines().count())
    }
}

/// All settings: 22 mantissas, one of which is the default of all; 9 samples by 5 methods; 7 widths by 2 kinds of scales.
const MANTISSAS: usize = 22;
const OTHERS: usize = 9 * 5 - 1 + 7 * 2 - 1;

#[test]
fn every_setting_is_measured_once_and_not_again() {
    let repository = Repository::new();
    let first = repository.sweep(&Interrupt::default()).unwrap();
    // Two calls for a mantissa, but one for what is refused; three for what is quantized anew.
    let calls = 2 * MANTISSAS - 1 + 3 * OTHERS;
    assert_eq!(repository.calls(), calls);
    assert!(first.summary().starts_with("mantissa bits, default settings: 90.00 % (1 of 22 refused)\n"));
    assert!(!repository.root().join(RUN.dir()).join("sweep").exists(), "its models are gone");
    // Not `assert_eq`, which would print it all.
    assert!(repository.sweep(&Interrupt::default()).unwrap() == first);
    assert_eq!(repository.calls(), calls);
    repository.write(&pipeline::model_path(RUN, Stage::Float), "another float");
    repository.sweep(&Interrupt::default()).unwrap();
    assert_eq!(repository.calls(), 2 * calls);
}

#[test]
fn an_interrupted_sweep_keeps_what_it_measured() {
    let repository = Repository::new();
    let mut digests = Digests::open(repository.root(), &repository.root().join("digests.json"));
    let (root, interrupt) = (repository.root().to_owned(), Interrupt::default());
    repository.sweep(&interrupt).unwrap();
    let calls = repository.calls();
    interrupt.request();
    let tool = root.join("tool");
    let mut measurer = Measurer::open(root.clone(), tool, RUN, &mut digests, interrupt).unwrap();
    let other = Setting { calibration_samples: 7, ..Setting::default() };
    assert!(measurer.measure(&other).unwrap_err().is::<Interrupted>());
    assert!(measurer.known(&other).is_none() && measurer.known(&Setting::default()).is_some());
    assert!(!root.join(RUN.dir()).join("sweep").exists());
    repository.sweep(&Interrupt::default()).unwrap();
    assert_eq!(repository.calls(), calls);
}

#[test]
fn what_fails_without_deciding_is_an_error_that_can_be_repeated() {
    let repository = Repository::new();
    repository.write("broken", "");
    let left = format!("{}/sweep/point_quantized.onnx", RUN.dir());
    repository.write(&left, "of a sweep that was killed");
    let error = format!("{:#}", repository.sweep(&Interrupt::default()).unwrap_err());
    assert!(error.contains("tool transform scale-out --model") && error.contains("cannot write"), "{error}");
    assert!(!repository.root().join(left).exists());
    fs::remove_file(repository.root().join("broken")).unwrap();
    repository.sweep(&Interrupt::default()).unwrap();
}
