//! `cargo xtask conform`: every stage file in the ONNX checker and in stock ONNX Runtime, compared with ours.
//!
//! The comparison is `scripts/check_stages.py`; this module makes its Python environment, gives it our scores and the
//! logits of the integer stages bit for bit, and keeps what it found in `conform.json`. Where the environment cannot
//! be made the task fails: a check that was skipped looks like one that passed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use onnx2int_graph::Stage;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::console::say;
use crate::pipeline::{self, DATA_DIR, STEM, Settings};
use crate::process::{self, Interrupt, Stdout};
use crate::runner::Runner;
use crate::{atomic_file, cargo};

/// The stages whose raw outputs must be equal bit for bit in our interpreter too. Its time is well spent only there:
/// between float stages bits are not promised.
const INTEGER_STAGES: [Stage; 2] = [Stage::Integer, Stage::ScaleOut];

/// The version of the files that the script reads and prints.
const FORMAT: u32 = 1;

/// What this task reads from a score file.
#[derive(Deserialize)]
struct Score {
    correct: u64,
    images: u64,
    runtime: String,
    logits: Logits,
}

/// Where the raw outputs of all images are.
#[derive(Deserialize)]
struct Logits {
    /// Beside the score file.
    file: String,
    dtype: String,
    shape: Vec<u64>,
}

/// Runs the check on the results of `run-all` or of `run-all --quick`.
pub(crate) fn conform(root: PathBuf, quick: bool, interrupt: Interrupt) -> anyhow::Result<()> {
    let settings = settings_of_last_run(&root, quick)?;
    let tool = cargo::build(&root, &interrupt)?;
    let remake = settings.command();
    let mut runner = Runner::open(root.clone(), tool.clone(), settings, interrupt.clone())?;
    if let Some(reason) = runner.first_out_of_date()? {
        bail!("the results are out of date ({reason}); make them anew with `{remake}`");
    }
    let check = Check { root, tool, quick, interrupt };
    // First what can fail early.
    let python = check.python()?;
    let ours = check.dir().join("conform");
    fs::create_dir_all(&ours).with_context(|| format!("cannot make the folder {ours:?}"))?;
    let description = check.describe_ours()?;
    atomic_file::write(&ours.join("ours.json"), &serde_json::to_vec_pretty(&description)?)?;
    check.compare(&python)
}

/// The settings that the last run-all left, so that its files are not judged by others.
fn settings_of_last_run(root: &Path, quick: bool) -> anyhow::Result<Settings> {
    let path = pipeline::run_description_path(quick);
    let bytes = fs::read(root.join(&path)).with_context(|| {
        let option = if quick { " --quick" } else { "" };
        format!("cannot read {path:?}, which `cargo xtask run-all{option}` makes")
    })?;
    serde_json::from_slice(&bytes).with_context(|| format!("{path:?} is not the description of a run"))
}

struct Check {
    root: PathBuf,
    tool: PathBuf,
    quick: bool,
    interrupt: Interrupt,
}

impl Check {
    fn dir(&self) -> PathBuf {
        self.root.join(pipeline::run_dir(self.quick))
    }

    /// The interpreter of the environment that `scripts/setup_venv.sh` makes.
    fn python(&self) -> anyhow::Result<PathBuf> {
        let script = "scripts/setup_venv.sh";
        say(format_args!("$ {script}"));
        let mut command = Command::new("bash");
        command.arg(script).current_dir(&self.root);
        let finished = process::run(&mut command, Stdout::Captured, &self.interrupt)?;
        if !finished.status.success() {
            bail!(
                "{script} could not make the Python environment ({}); its message is above, and nothing was checked",
                finished.status
            );
        }
        let stdout = String::from_utf8_lossy(&finished.stdout);
        let path = stdout.lines().map(str::trim).rfind(|line| !line.is_empty());
        path.map(PathBuf::from).with_context(|| format!("{script} did not print the path of its Python"))
    }

    /// `ours.json`: our scores and raw outputs of every stage, and the interpreter's of the integer stages.
    fn describe_ours(&self) -> anyhow::Result<Value> {
        let mut stages = Map::new();
        let mut images = None;
        for stage in Stage::ALL {
            let path = pipeline::score_path(self.quick, stage);
            let score = read_score(&self.root, &path)?;
            let mut logits = vec![describe_logits(&score, &path)];
            if INTEGER_STAGES.contains(&stage) {
                logits.push(self.interpret(stage, &score)?);
            }
            if *images.get_or_insert(score.images) != score.images {
                bail!(
                    "the score of {stage} is of {} images, that of the float stage of another number",
                    score.images
                );
            }
            let entry = json!({ "runtime": score.runtime, "correct": score.correct, "logits": logits });
            stages.insert(stage.name().to_owned(), entry);
        }
        Ok(json!({ "format": FORMAT, "stem": STEM, "images": images, "stages": stages }))
    }

    /// Scores a stage in the interpreter and describes its raw outputs.
    fn interpret(&self, stage: Stage, score: &Score) -> anyhow::Result<Value> {
        let output = format!("{}/conform/{}.interpreter.json", pipeline::run_dir(self.quick), stage.name());
        let model = pipeline::model_path(self.quick, stage);
        let arguments = pipeline::words(
            &[
                ["evaluate", "--model", &model, "--data-dir", DATA_DIR].as_slice(),
                &["--runtime", "interpreter", "--output", &output],
            ]
            .concat(),
        );
        let line = process::shell_line(&self.root, &self.tool, &arguments);
        say(format_args!("$ {line}"));
        let mut command = Command::new(&self.tool);
        command.args(&arguments).current_dir(&self.root);
        let finished = process::run(&mut command, Stdout::Inherited, &self.interrupt)?;
        if !finished.status.success() {
            bail!("`{line}` failed ({}); its message is above", finished.status);
        }
        let interpreted = read_score(&self.root, &output)?;
        if (interpreted.correct, interpreted.images) != (score.correct, score.images) {
            bail!(
                "{stage} has {} of {} right in the interpreter, but {} of {} in {}",
                interpreted.correct,
                interpreted.images,
                score.correct,
                score.images,
                score.runtime
            );
        }
        Ok(describe_logits(&interpreted, &output))
    }

    /// Runs the script, keeps what it printed, and shows it as a table.
    fn compare(&self, python: &Path) -> anyhow::Result<()> {
        let dir = pipeline::run_dir(self.quick);
        let (models, ours) = (format!("{dir}/models"), format!("{dir}/conform"));
        let arguments = pipeline::words(
            &[
                ["scripts/check_stages.py", "--models-dir", &models].as_slice(),
                &["--data-dir", DATA_DIR, "--stem", STEM, "--ours", &ours],
            ]
            .concat(),
        );
        say(format_args!("$ {}", process::shell_line(&self.root, python, &arguments)));
        let mut command = Command::new(python);
        command.args(&arguments).current_dir(&self.root);
        let finished = process::run(&mut command, Stdout::Captured, &self.interrupt)?;
        let found: Value = serde_json::from_slice(&finished.stdout).with_context(|| {
            format!("scripts/check_stages.py ({}) printed no result; its message is above", finished.status)
        })?;
        if found["format"] != FORMAT {
            bail!(
                "scripts/check_stages.py printed format {}; this program knows format {FORMAT}",
                found["format"]
            );
        }
        atomic_file::write(&self.dir().join("conform.json"), &serde_json::to_vec_pretty(&found)?)?;
        say(format_args!("\n{}", table(&found)?));
        if !finished.status.success() || found["ok"] != true {
            bail!("the stage files do not conform; {dir}/conform.json has every failure");
        }
        say(format_args!(
            "All {} stage files conform; {dir}/conform.json has the details.",
            Stage::ALL.len()
        ));
        Ok(())
    }
}

/// An entry of `ours.json` for the raw outputs of the score in the file `path`.
fn describe_logits(score: &Score, path: &str) -> Value {
    let Logits { file, dtype, shape } = &score.logits;
    // Relative to the folder of ours.json, which is beside that of the scores.
    let folder = path.rsplit('/').nth(1).unwrap_or_default();
    json!({ "runtime": score.runtime, "file": format!("../{folder}/{file}"), "dtype": dtype, "shape": shape })
}

fn read_score(root: &Path, path: &str) -> anyhow::Result<Score> {
    let bytes = fs::read(root.join(path)).with_context(|| format!("cannot read {path:?}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{path:?} is not a score file"))
}

/// One line a stage: how many images ONNX Runtime gets right (with exact 8-bit products, and with its default kernels),
/// how many we do, and how many logits differ in which of our runtimes.
fn table(found: &Value) -> anyhow::Result<String> {
    let mut text = format!(
        "onnx {}, onnxruntime {}, {} images\n{:<12} {:>6} {:>6} {:>8} {:>8} {:>8}  {:<8} {}\n",
        found["onnx"].as_str().unwrap_or("?"),
        found["onnxruntime"].as_str().unwrap_or("?"),
        found["images"],
        "stage",
        "input",
        "output",
        "correct",
        "default",
        "ours",
        "verdict",
        "differing logits"
    );
    for stage in Stage::ALL {
        let entry = &found["stages"][stage.name()];
        if entry.is_null() {
            bail!("scripts/check_stages.py did not report the stage {stage}");
        }
        let verdict = if entry["ok"] == true { "ok" } else { "FAILED" };
        let differences: Vec<String> =
            entry["comparisons"].as_array().into_iter().flatten().map(difference).collect();
        writeln!(
            text,
            "{:<12} {:>6} {:>6} {:>8} {:>8} {:>8}  {verdict:<8} {}",
            stage.name(),
            entry["input"].as_str().unwrap_or("?"),
            entry["output"].as_str().unwrap_or("?"),
            entry["correct"].to_string(),
            entry["correct_default"].to_string(),
            entry["correct_ours"].to_string(),
            differences.join(", ")
        )?;
    }
    for failure in found["failures"].as_array().into_iter().flatten() {
        writeln!(text, "  {}", failure.as_str().unwrap_or_default())?;
    }
    Ok(text)
}

fn difference(comparison: &Value) -> String {
    let runtime = comparison["runtime"].as_str().unwrap_or("?");
    format!(
        "{runtime} {} of {} ({} flips)",
        comparison["differing"], comparison["logits"], comparison["flips"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Value {
        let stages: Map<String, Value> = Stage::ALL
            .into_iter()
            .map(|stage| {
                (
                    stage.name().to_owned(),
                    json!({ "ok": true, "input": "u8", "output": "i32", "correct": 9911, "correct_default": 9910, "correct_ours": 9912 }),
                )
            })
            .collect();
        json!({ "format": 1, "onnx": "1.2", "onnxruntime": "1.3", "images": 10000, "stages": stages, "failures": [] })
    }

    #[test]
    fn the_table_shows_every_stage_and_every_failure() {
        let mut found = found();
        found["stages"]["integer"]["ok"] = json!(false);
        found["stages"]["integer"]["comparisons"] =
            json!([{ "runtime": "tract", "differing": 7, "logits": 100_000, "flips": 1 }]);
        found["failures"] = json!(["integer: tract flips 1 class"]);
        let text = table(&found).unwrap();
        assert!(
            text.contains(
                "integer          u8    i32     9911     9910     9912  FAILED   tract 7 of 100000 (1 flips)"
            ),
            "{text}"
        );
        assert!(text.contains("  integer: tract flips 1 class"), "{text}");
        for stage in Stage::ALL {
            assert!(text.contains(&format!("\n{} ", stage.name())), "{text}");
        }
    }

    #[test]
    fn a_stage_that_was_not_checked_is_an_error() {
        let mut found = found();
        found["stages"].as_object_mut().unwrap().remove("pruned");
        assert!(format!("{:#}", table(&found).unwrap_err()).contains("did not report the stage pruned"));
    }

    #[test]
    fn without_results_it_says_how_to_make_them() {
        let folder = tempfile::tempdir().unwrap();
        let error = settings_of_last_run(folder.path(), true).unwrap_err();
        assert!(format!("{error:#}").contains("run-all --quick"), "{error:#}");
    }
}
