//! The whole pipeline with a program that stands in for `onnx2int` and takes no time.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use onnx2int_graph::Stage;
use tempfile::TempDir;

use crate::pipeline::Settings;
use crate::process::{Interrupt, Interrupted};
use crate::run::Run;
use crate::runner::{Force, Runner};

/// Writes its arguments and the model that it was given to `--output`, so that outputs depend on inputs and parameters.
/// It fails where a file `fail-<command>` is, and logs every call.
const STAND_IN: &str = r#"#!/bin/sh
set -eu
log="$*"
command=$1; shift
case "$command" in transform) command=$1; shift;; esac
model=/dev/null output= record=/dev/null seed= epochs=6 dir= recipe=no
while [ $# -gt 0 ]; do
    case "$1" in
        --model) model=$2; shift;;
        --output) output=$2; shift;;
        --record) record=$2; shift;;
        --seed) seed=$2; shift;;
        --epochs) epochs=$2; shift;;
        --dir) dir=$2; shift;;
        --print-recipe) recipe=yes;;
    esac
    shift
done
if [ $recipe = yes ]; then echo "{\"recipe_version\": 1, \"seed\": $seed, \"epochs\": $epochs}"; exit; fi
echo "$log" >> log
if [ -e "fail-$command" ]; then echo "$command: no" >&2; exit 1; fi
if [ -e "forget-$command" ]; then exit; fi
if [ "$command" = report ]; then
    cat "$dir"/run.json > "$dir"/report.json; echo report | tee "$dir"/report.md > "$dir"/report.html; echo "the table"; exit
fi
case "$command" in train) log="train $seed $epochs";; esac
{ echo "$log"; cat "$model"; } > "$output"
echo "$log" > "$record"
case "$command" in
    evaluate) echo logits > "${output%.json}.logits.bin";;
    train) echo losses > "${output%.onnx}.training.json";;
esac
"#;

struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("data/mnist")).unwrap();
        for name in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"] {
            fs::write(folder.path().join(format!("data/mnist/{name}-ubyte")), name).unwrap();
        }
        let repository = Self(folder);
        repository.install(STAND_IN);
        repository
    }

    fn install(&self, program: &str) {
        // A shell writes the file, not this process: a child that another test starts in that moment would inherit the
        // open file, and a program that is open for writing cannot be started.
        let script = r#"printf '%s' "$1" > tool && chmod +x tool"#;
        let mut shell = Command::new("sh");
        assert!(
            shell.args(["-c", script, "sh", program]).current_dir(self.0.path()).status().unwrap().success()
        );
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn open(&self, settings: Settings) -> anyhow::Result<Runner> {
        Runner::open(self.0.path().to_owned(), self.path("tool"), settings, Interrupt::default())
    }

    fn run(&self, settings: Settings, force: Force) -> anyhow::Result<Vec<String>> {
        self.open(settings)?.make(force)
    }

    /// Every file of the results with its content and time.
    fn results(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let mut found = BTreeMap::new();
        collect(&self.path("reports"), &mut found);
        found
    }
}

fn collect(folder: &Path, found: &mut BTreeMap<PathBuf, (Vec<u8>, SystemTime)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            found.insert(path.clone(), (fs::read(&path).unwrap(), modified));
        }
    }
}

fn settings() -> Settings {
    Settings { run: Run::default(), seed: 1, epochs: None, mantissa_bits: None }
}

#[test]
fn a_second_run_changes_nothing() {
    let repository = Repository::new();
    let made = repository.run(settings(), Force::Nothing).unwrap();
    assert_eq!(made.len(), 21);
    assert_eq!(made[..3], ["train", "quantize", "sanitize"]);
    assert_eq!(made[20], "report");

    let before = repository.results();
    assert!(repository.run(settings(), Force::Nothing).unwrap().is_empty());
    assert_eq!(repository.results(), before);
    assert_eq!(repository.open(settings()).unwrap().table().unwrap(), "the table\n");
    assert_eq!(repository.open(settings()).unwrap().first_out_of_date().unwrap(), None);
}

#[test]
fn other_mantissa_bits_remake_the_last_stage_only() {
    let repository = Repository::new();
    repository.run(settings(), Force::Nothing).unwrap();
    let narrow = Settings { mantissa_bits: Some(8), ..settings() };
    let made = repository.run(narrow, Force::Nothing).unwrap();
    assert_eq!(made, ["scale-out", "evaluate-scale_out", "report"]);
}

#[test]
fn another_program_remakes_everything_but_the_training() {
    let repository = Repository::new();
    repository.run(settings(), Force::Nothing).unwrap();
    repository.install(&format!("{STAND_IN}# rebuilt\n"));
    let made = repository.run(settings(), Force::Nothing).unwrap();
    assert_eq!(made.len(), 20);
    assert!(!made.contains(&"train".to_owned()));
}

#[test]
fn what_is_missing_or_spoilt_is_made_anew() {
    let repository = Repository::new();
    repository.run(settings(), Force::Nothing).unwrap();

    // The file made anew is the same as before, so that nothing after it is out of date.
    fs::write(repository.path("reports/mnist/models/mnist_cnn_folded.onnx"), "spoilt").unwrap();
    let reason = repository.open(settings()).unwrap().first_out_of_date().unwrap().unwrap();
    assert_eq!(reason, "fold-op-scales: output mnist_cnn_folded.onnx is not what this step wrote");
    assert_eq!(repository.run(settings(), Force::Nothing).unwrap(), ["fold-op-scales"]);

    fs::remove_file(repository.path("reports/mnist/models/mnist_cnn.training.json")).unwrap();
    assert_eq!(repository.run(settings(), Force::Nothing).unwrap(), ["train"]);

    fs::remove_file(repository.path("reports/mnist/scores/float.json")).unwrap();
    assert_eq!(repository.run(settings(), Force::Nothing).unwrap(), ["evaluate-float"]);

    fs::write(repository.path("data/mnist/t10k-labels-idx1-ubyte"), "other labels").unwrap();
    let made = repository.run(settings(), Force::Nothing).unwrap();
    assert_eq!(made[..2], ["train", "quantize"]);
}

/// What other tasks find is told in the report, and makes nothing else out of date.
#[test]
fn a_conformance_remakes_the_report_only() {
    let repository = Repository::new();
    repository.run(settings(), Force::Nothing).unwrap();
    for text in ["first", "second"] {
        fs::write(repository.path("reports/mnist/conformance.json"), text).unwrap();
        assert_eq!(repository.open(settings()).unwrap().first_out_of_date().unwrap(), None);
        assert_eq!(repository.run(settings(), Force::Nothing).unwrap(), ["report"]);
    }
    fs::remove_file(repository.path("reports/mnist/conformance.json")).unwrap();
    assert_eq!(repository.run(settings(), Force::Nothing).unwrap(), ["report"]);
    assert!(repository.run(settings(), Force::Nothing).unwrap().is_empty());
}

#[test]
fn from_and_force_run_what_is_up_to_date() {
    let repository = Repository::new();
    repository.run(settings(), Force::Nothing).unwrap();
    let made = repository.run(settings(), Force::From(Stage::Integer)).unwrap();
    let expected = ["integer-ops", "scale-out", "evaluate-integer", "evaluate-scale_out", "report"];
    assert_eq!(made, expected);

    fs::remove_file(repository.path("log")).unwrap();
    assert_eq!(repository.run(settings(), Force::All).unwrap().len(), 21);
    let log = fs::read_to_string(repository.path("log")).unwrap();
    assert!(!log.contains("--resume"), "a forced training begins anew:\n{log}");
}

#[test]
fn a_failed_step_says_how_to_go_on_and_is_repeated() {
    let repository = Repository::new();
    fs::write(repository.path("fail-prune-qdq"), "").unwrap();
    let message = format!("{:#}", repository.run(settings(), Force::Nothing).unwrap_err());
    for part in [
        "step prune-qdq failed (exit status: 1)",
        "to repeat this step:  tool transform prune-qdq --model reports/mnist/models/mnist_cnn_activations.onnx",
        "to go on after that:  cargo xtask run-all",
    ] {
        assert!(message.contains(part), "{message}");
    }
    fs::remove_file(repository.path("fail-prune-qdq")).unwrap();
    let made = repository.run(settings(), Force::Nothing).unwrap();
    assert_eq!(made.len(), 21 - 5);
    assert_eq!(made[0], "prune-qdq");
}

#[test]
fn a_step_that_does_not_write_its_file_has_failed() {
    let repository = Repository::new();
    fs::write(repository.path("forget-quantize"), "").unwrap();
    let message = format!("{:#}", repository.run(settings(), Force::Nothing).unwrap_err());
    assert!(message.contains("did not write \"reports/mnist/models/mnist_cnn_quantized.onnx\""), "{message}");
}

#[test]
fn an_interrupted_training_is_resumed() {
    let repository = Repository::new();
    let interrupt = Interrupt::default();
    let mut runner =
        Runner::open(repository.0.path().to_owned(), repository.path("tool"), settings(), interrupt.clone())
            .unwrap();
    interrupt.request();
    assert!(runner.make(Force::Nothing).unwrap_err().is::<Interrupted>());
    drop(runner);
    repository.run(settings(), Force::Nothing).unwrap();
    let log = fs::read_to_string(repository.path("log")).unwrap();
    assert!(log.lines().next().unwrap().ends_with(" --resume"), "{log}");
}

#[test]
fn what_a_killed_run_left_is_gone_after_the_next_even_if_nothing_is_made() {
    let repository = Repository::new();
    repository.run(settings(), Force::Nothing).unwrap();
    let before = repository.results();
    for folder in ["", "models/", "scores/", ".stamps/", "checkpoints/of-another-recipe/"] {
        let folder = repository.path(&format!("reports/mnist/{folder}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(".onnx2int-killed.tmp"), "half a file").unwrap();
    }
    assert!(repository.run(settings(), Force::Nothing).unwrap().is_empty());
    assert_eq!(repository.results(), before);
}

#[test]
fn a_step_whose_time_is_not_recorded_is_made_again() {
    let repository = Repository::new();
    // A folder in the file's place stands for a kill in the moment before it is written.
    let timing = repository.path("reports/mnist/report.timing.json");
    fs::create_dir_all(&timing).unwrap();
    let message = format!("{:#}", repository.run(settings(), Force::Nothing).unwrap_err());
    assert!(message.contains("report.timing.json"), "{message}");
    fs::remove_dir(&timing).unwrap();
    assert_eq!(repository.run(settings(), Force::Nothing).unwrap()[0], "train");
}

#[test]
fn two_runs_at_once_are_refused_but_quick_and_full_do_not_meet() {
    let repository = Repository::new();
    let holder = repository.open(settings()).unwrap();
    let message = format!("{:#}", repository.open(settings()).err().unwrap());
    assert!(message.contains("another run is at work"), "{message}");
    let quick = Settings { run: Run::QUICK, ..settings() };
    assert_eq!(repository.run(quick, Force::Nothing).unwrap().len(), 21);
    drop(holder);
    assert_eq!(repository.run(settings(), Force::Nothing).unwrap().len(), 21);
}

#[test]
fn missing_data_is_named() {
    let repository = Repository::new();
    fs::remove_file(repository.path("data/mnist/t10k-images-idx3-ubyte")).unwrap();
    let message = format!("{:#}", repository.open(settings()).err().unwrap());
    assert!(message.contains("\"data/mnist\" holds 3 of the four IDX files"), "{message}");
    fs::remove_dir_all(repository.path("data")).unwrap();
    let message = format!("{:#}", repository.open(settings()).err().unwrap());
    assert!(message.contains("cannot read \"data/mnist\""), "{message}");
}

#[test]
fn every_step_has_a_time_and_a_peak_memory() {
    let repository = Repository::new();
    repository.run(settings(), Force::Nothing).unwrap();
    let bytes = fs::read(repository.path("reports/mnist/report.timing.json")).unwrap();
    let timing: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(timing["schema"], "onnx2int-timing/1");
    let entries = timing["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 21);
    for entry in entries {
        assert!(entry["seconds"].as_f64().is_some(), "{entry}");
        assert!(entry["peak_memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{entry}");
        assert!(entry["command"].as_str().is_some_and(|line| line.starts_with("onnx2int ")), "{entry}");
        assert!(entry["timestamp"].as_str().is_some_and(|time| time.starts_with("20")), "{entry}");
    }

    // A step that runs again replaces its entry.
    repository.run(settings(), Force::From(Stage::ScaleOut)).unwrap();
    let bytes = fs::read(repository.path("reports/mnist/report.timing.json")).unwrap();
    let timing: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(timing["entries"].as_array().unwrap().len(), 21);
}
