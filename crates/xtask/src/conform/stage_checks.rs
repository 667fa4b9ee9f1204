//! `scripts/check_stages.py`: every stage file in the ONNX checker, and its score in stock ONNX Runtime against ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use onnx2int_graph::Stage;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::console::say;
use crate::pipeline::{self, DATA_DIR, STEM};
use crate::process::{self, Interrupt, Stdout};
use crate::run::Run;
use crate::{atomic_file, digest};

/// The version of the files that the script reads and prints.
const FORMAT: u32 = 2;

/// What this task reads from a score file.
#[derive(Deserialize)]
struct Score {
    correct: u64,
    images: u64,
    runtime: String,
    /// SHA-256 of the model that was scored.
    digest: String,
}

/// Runs the script on some stages of a run, and gives the document that it prints.
///
/// # Errors
/// What keeps the script from printing one; failed checks are in the document.
pub(crate) fn check(
    root: &Path,
    python: &Path,
    run: Run,
    stages: &[Stage],
    interrupt: &Interrupt,
) -> anyhow::Result<Value> {
    let dir = run.dir();
    let (models, ours) = (format!("{dir}/models"), format!("{dir}/conform/ours.json"));
    let description = describe_ours(root, run, stages)?;
    atomic_file::write(&root.join(&ours), &serde_json::to_vec_pretty(&description)?)?;
    let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
    let arguments = pipeline::words(
        &[
            ["scripts/check_stages.py", "--models-dir", &models, "--data-dir", DATA_DIR].as_slice(),
            &["--stem", STEM, "--ours", &ours, "--stages", &names.join(",")],
        ]
        .concat(),
    );
    say(format_args!("$ {}", process::shell_line(root, python, &arguments)));
    let mut command = Command::new(python);
    let finished = process::run(command.args(&arguments).current_dir(root), Stdout::Captured, interrupt)?;
    let found: Value = serde_json::from_slice(&finished.stdout).with_context(|| {
        format!("scripts/check_stages.py ({}) printed no result; its message is above", finished.status)
    })?;
    if found["format"] != FORMAT {
        bail!("scripts/check_stages.py printed format {}; this program knows {FORMAT}", found["format"]);
    }
    Ok(found)
}

/// The failed checks of a document, and every stage that it does not speak of.
pub(crate) fn failures(found: &Value, stages: &[Stage]) -> Vec<String> {
    let told = found["failures"].as_array().into_iter().flatten();
    let mut failures: Vec<String> = told.map(|text| text.as_str().unwrap_or("?").to_owned()).collect();
    for stage in stages {
        if found["stages"][stage.name()].is_null() {
            failures.push(format!("scripts/check_stages.py did not report the stage {stage}"));
        }
    }
    if failures.is_empty() && found["ok"] != true {
        failures.push("scripts/check_stages.py failed without saying why".to_owned());
    }
    failures
}

/// How many images we get right, by our scores, which must be of the models that are there.
fn describe_ours(root: &Path, run: Run, stages: &[Stage]) -> anyhow::Result<Value> {
    let mut entries = Map::new();
    let mut images = None;
    for &stage in stages {
        let path = pipeline::score_path(run, stage);
        let bytes = fs::read(root.join(&path)).with_context(|| format!("cannot read {path:?}"))?;
        let score: Score =
            serde_json::from_slice(&bytes).with_context(|| format!("{path:?} is not a score file"))?;
        let model = pipeline::model_path(run, stage);
        let bytes = fs::read(root.join(&model)).with_context(|| format!("cannot read {model:?}"))?;
        if digest::of_bytes(&bytes) != score.digest {
            bail!("{path:?} is not the score of {model:?}");
        }
        if *images.get_or_insert(score.images) != score.images {
            bail!("{path:?} is of {} images, another score of another number", score.images);
        }
        let entry = json!({ "runtime": score.runtime, "correct": score.correct });
        entries.insert(stage.name().to_owned(), entry);
    }
    Ok(json!({ "format": FORMAT, "stem": STEM, "images": images, "stages": entries }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_was_not_checked_is_a_failure() {
        let stages = [Stage::Split, Stage::Integer];
        let found = json!({ "ok": true, "failures": [], "stages": { "split": {}, "integer": {} } });
        assert_eq!(failures(&found, &stages), Vec::<String>::new());
        let found = json!({ "ok": true, "failures": [], "stages": { "split": {} } });
        assert_eq!(failures(&found, &stages), ["scripts/check_stages.py did not report the stage integer"]);
        let found =
            json!({ "ok": false, "failures": ["split: odd"], "stages": { "split": {}, "integer": {} } });
        assert_eq!(failures(&found, &stages), ["split: odd"]);
        let found = json!({ "ok": false, "failures": [], "stages": { "split": {}, "integer": {} } });
        assert_eq!(failures(&found, &stages), ["scripts/check_stages.py failed without saying why"]);
    }

    #[test]
    fn a_score_of_another_model_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: String, bytes: &[u8]| atomic_file::write(&root.path().join(path), bytes).unwrap();
        let model = pipeline::model_path(Run::QUICK, Stage::Float);
        write(model, b"model");
        let score = |digest: &str| {
            let score = json!({ "correct": 9, "images": 10, "runtime": "tract", "digest": digest });
            write(pipeline::score_path(Run::QUICK, Stage::Float), score.to_string().as_bytes());
            describe_ours(root.path(), Run::QUICK, &[Stage::Float])
        };
        let ours = score(&digest::of_bytes(b"model")).unwrap();
        assert_eq!((&ours["images"], &ours["stages"]["float"]["correct"]), (&json!(10), &json!(9)));
        assert!(format!("{:#}", score("00").unwrap_err()).contains("is not the score of"));
    }
}
