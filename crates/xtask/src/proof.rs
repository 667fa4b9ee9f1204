//! `cargo xtask prove`: certificates of the integer stages, and all that tries to refute them.
//!
//! For each stage, `onnx2int verify` writes the certificate and the witnesses, which it runs in the interpreter;
//! `scripts/check_certificate.py` computes every bound anew from the ONNX file; `scripts/mutate_certificate.py` has it
//! refuse a thousand changes of either; and `scripts/check_witnesses.py` runs the witnesses in ONNX Runtime.

use std::path::Path;
use std::process::Command;

use anyhow::bail;
use onnx2int_graph::Stage;

use crate::console::say;
use crate::process::{self, Interrupt, Stdout};
use crate::run::Run;
use crate::{cargo, pipeline, python};

/// The stages whose ranges prove something.
const STAGES: [Stage; 2] = [Stage::Integer, Stage::ScaleOut];

/// How many changes of the certificate and of the model must be refused, and where their choice begins.
const MUTATIONS: &str = "1000";
const SEED: &str = "1";

/// Builds the binary, makes the Python environment, and proves the models of the last `run-all`.
pub(crate) fn run(root: &Path, run: Run, interrupt: &Interrupt) -> anyhow::Result<()> {
    for stage in STAGES {
        let model = pipeline::model_path(run, stage);
        if !root.join(&model).is_file() {
            bail!("cannot find {model:?}, which `{}` makes", run.command());
        }
    }
    let tool = cargo::build(root, interrupt)?;
    let python = python::python(root, interrupt)?;
    prove(root, &tool, &python, run, interrupt)
}

/// Proves the models of the integer stages with a binary and a Python that are there already.
pub(crate) fn prove(
    root: &Path,
    tool: &Path,
    python: &Path,
    run: Run,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let folder = format!("{}/proof", run.dir());
    for stage in STAGES {
        for step in steps(&pipeline::model_path(run, stage), &folder, stage) {
            let program = match step.program {
                Program::Tool => tool,
                Program::Python => python,
            };
            let line = process::shell_line(root, program, &step.arguments);
            say(format_args!("$ {line}"));
            let mut command = Command::new(program);
            command.args(&step.arguments).current_dir(root);
            let finished = process::run(&mut command, Stdout::Inherited, interrupt)?;
            if !finished.status.success() {
                bail!(
                    "the {stage} model is not proven: `{line}` failed ({}); its message is above",
                    finished.status
                );
            }
        }
    }
    say(format_args!(
        "Certificates and witnesses of {} models hold; they are in {folder}, and `{}` tells of them in the report.",
        STAGES.len(),
        run.command()
    ));
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Tool,
    Python,
}

/// One call of a program.
#[derive(Debug)]
struct Step {
    program: Program,
    arguments: Vec<String>,
}

fn steps(model: &str, folder: &str, stage: Stage) -> [Step; 4] {
    let certificate = format!("{folder}/{}.certificate.json", stage.name());
    let witnesses = format!("{folder}/{}-witnesses", stage.name());
    let step = |program, arguments: &[&str]| Step { program, arguments: pipeline::words(arguments) };
    let subject = ["--model", model, "--certificate", &certificate];
    [
        step(Program::Tool, &[&["verify"], &subject[..], &["--witnesses", &witnesses]].concat()),
        step(Program::Python, &[&["scripts/check_certificate.py"], &subject[..]].concat()),
        step(
            Program::Python,
            &[&["scripts/mutate_certificate.py"], &subject[..], &["--mutations", MUTATIONS, "--seed", SEED]]
                .concat(),
        ),
        step(Program::Python, &["scripts/check_witnesses.py", &witnesses]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_step_writes_the_next_ones_read() {
        let [write, check, mutate, run] = steps("models/net_integer.onnx", "proof", Stage::Integer);
        let after = |step: &Step, word: &str| {
            let at = step.arguments.iter().position(|argument| argument == word).unwrap();
            step.arguments[at + 1].clone()
        };
        assert_eq!(write.program, Program::Tool);
        for step in [&check, &mutate] {
            assert_eq!(step.program, Program::Python);
            assert_eq!(after(step, "--certificate"), after(&write, "--certificate"));
            assert_eq!(after(step, "--model"), "models/net_integer.onnx");
        }
        assert_eq!(run.arguments[1], after(&write, "--witnesses"));
    }

    #[test]
    fn without_models_it_says_how_to_make_them() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(folder.path(), Run::QUICK, &Interrupt::default()).unwrap_err();
        assert!(format!("{error:#}").contains("run-all --quick"), "{error:#}");
    }

    #[test]
    fn the_scripts_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for step in steps("model.onnx", "proof", Stage::ScaleOut) {
            if step.program == Program::Python {
                assert!(root.join(&step.arguments[0]).is_file(), "{:?}", step.arguments);
            }
        }
    }
}
