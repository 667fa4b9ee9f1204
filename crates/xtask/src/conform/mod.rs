//! `cargo xtask conform`: every stage file in every runtime, compared with our interpreter bit for bit.
//!
//! ```text
//! cells (matrix) -> traces -> comparisons (compare) -> verdicts (causes) -> conformance.json, conformance.md (report)
//! ```
//!
//! `onnx2int trace` and `scripts/trace_onnx.py` make the traces, and once more write the elements of those tensors and
//! images whose digests differ; `scripts/check_stages.py` asks the ONNX checker about the files. Where the Python
//! environment or a runtime cannot be had the task fails: a check that was skipped looks like one that passed.

mod causes;
mod compare;
mod matrix;
mod report;
mod stage_checks;
mod trace;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use onnx2int_graph::Stage;

use crate::console::say;
use crate::process::{self, Interrupt};
use crate::run::Run;
use crate::{atomic_file, digest, pipeline, python, runner};

use causes::Verdict;
use compare::{Comparison, Differing};
use matrix::Cell;
use report::{Conformance, Outcome};
use trace::{Tensor, Trace, Values};

pub(crate) use matrix::{Place, Runtime};

/// The bytes of elements that are looked at in one go, in each of two runtimes.
const ELEMENT_BYTES: usize = 256 << 20;

/// The images named on one command line.
const IMAGES_NAMED: usize = 2_000;

/// The number of test images of MNIST.
const TEST_IMAGES: usize = 10_000;

/// What is compared.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Whose files.
    pub run: Run,
    /// Only these stages; all where empty.
    pub stages: Vec<Stage>,
    /// At most so many images in each runtime.
    pub images: Option<usize>,
}

impl Options {
    /// The report without its extension: that of a part never takes the place of that of the whole.
    fn report(&self) -> String {
        let dir = self.run.dir();
        match self.stages.is_empty() && self.images.is_none() {
            true => format!("{dir}/conformance"),
            false => format!("{dir}/conform/part"),
        }
    }
}

/// Compares the results of a `run-all` over all runtimes.
pub(crate) fn conform(root: PathBuf, options: &Options, interrupt: Interrupt) -> anyhow::Result<()> {
    let (runner, tool) = runner::last_run(&root, options.run, &interrupt)?;
    let remake = runner.remake();
    // First what can fail early.
    let python = python::python(&root, &interrupt)?;
    let stages = if options.stages.is_empty() { Stage::ALL.to_vec() } else { options.stages.clone() };
    let checks = stage_checks::check(&root, &python, options.run, &stages, &interrupt)?;
    let check_failures = stage_checks::failures(&checks, &stages);

    let models = digests(&root, options.run, &stages)?;
    let place = Place::of(options.run);
    let matrix = Matrix { root: root.clone(), tool, python, place, interrupt };
    let cells = matrix::cells(&stages, TEST_IMAGES, options.images);
    let conformance = Conformance::new(matrix.run(&cells)?, models, checks, check_failures);
    say(format_args!("\n{}", conformance.matrix()));
    let report = options.report();
    let json = serde_json::to_string_pretty(&conformance)? + "\n";
    atomic_file::write(&root.join(format!("{report}.json")), json.as_bytes())?;
    atomic_file::write(&root.join(format!("{report}.md")), conformance.markdown().as_bytes())?;
    say(format_args!(
        "{report}.md has every difference with its cause; `{remake}` tells of it in the report."
    ));
    if !conformance.ok {
        bail!("the stage files do not conform:\n  {}", conformance.failures.join("\n  "));
    }
    Ok(())
}

/// The digest of the file of each stage.
fn digests(root: &Path, run: Run, stages: &[Stage]) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let digest = |&stage: &Stage| {
        let path = pipeline::model_path(run, stage);
        let bytes = fs::read(root.join(&path)).with_context(|| format!("cannot read {path:?}"))?;
        Ok((stage.name(), digest::of_bytes(&bytes)))
    };
    stages.iter().map(digest).collect()
}

/// What runs the cells.
pub(crate) struct Matrix {
    pub root: PathBuf,
    pub tool: PathBuf,
    pub python: PathBuf,
    pub place: Place,
    pub interrupt: Interrupt,
}

impl Matrix {
    /// Whether runtimes give the interpreter's bits in one stage, in every inner integer tensor and in the outputs of
    /// the first `images` test images; where one does not, why. The first is the interpreter itself.
    pub(crate) fn same_bits(
        &self,
        stage: Stage,
        others: &[Runtime],
        images: usize,
    ) -> anyhow::Result<Vec<(Runtime, Result<(), String>)>> {
        let runtimes = [&[Runtime::Interpreter], others].concat();
        let cells: Vec<Cell> = runtimes.iter().map(|&runtime| Cell { stage, runtime, images }).collect();
        let outcomes = self.run(&cells)?;
        Ok(outcomes.into_iter().map(|(cell, outcome)| (cell.runtime, equal(outcome))).collect())
    }

    /// Runs every cell; the reference of a stage comes before what is compared with it.
    fn run(&self, cells: &[Cell]) -> anyhow::Result<Vec<(Cell, Outcome)>> {
        let mut outcomes = Vec::new();
        let mut reference: Option<(Cell, Trace)> = None;
        for (position, &cell) in cells.iter().enumerate() {
            say(format_args!("[{}/{}] {}, {} images", position + 1, cells.len(), cell.name(), cell.images));
            if cell.runtime == Runtime::Interpreter {
                reference = None;
            }
            let outcome = match (self.traced(cell)?, &reference) {
                (Err(reason), _) => Outcome::Failed { reason },
                (Ok(trace), None) if cell.runtime == Runtime::Interpreter => {
                    let (version, tensors) =
                        (trace.header.runtime_version.clone(), trace.header.tensors.len());
                    reference = Some((cell, trace));
                    Outcome::Reference { version, tensors }
                }
                (Ok(_), None) => Outcome::Failed {
                    reason: "there is no trace of the interpreter to compare with".to_owned(),
                },
                (Ok(trace), Some((reference_cell, reference))) => {
                    self.compared(cell, &trace, *reference_cell, reference)?
                }
            };
            outcomes.push((cell, outcome));
        }
        Ok(outcomes)
    }

    /// The trace of a cell, or why its runtime gives none.
    fn traced(&self, cell: Cell) -> anyhow::Result<Result<Trace, String>> {
        if let Err(reason) = self.execute(cell, &cell.trace_arguments(&self.place))? {
            return Ok(Err(reason));
        }
        let trace = Trace::read(&self.root.join(cell.trace_path(&self.place)))?;
        if trace.header.runtime != cell.runtime.name() || trace.header.images != cell.images {
            bail!("asked for {}, found a trace of {}", cell.name(), trace.header.runtime);
        }
        Ok(Ok(trace))
    }

    fn compared(
        &self,
        cell: Cell,
        trace: &Trace,
        reference_cell: Cell,
        reference: &Trace,
    ) -> anyhow::Result<Outcome> {
        let (mut comparison, differing) = compare::compare(reference, trace)?;
        self.look_closer(cell, reference_cell, reference, &differing, &mut comparison)?;
        let verdict = causes::judge(cell.stage, cell.runtime, &comparison);
        Ok(Outcome::Compared {
            version: trace.header.runtime_version.clone(),
            observed_apart: trace.header.observed_apart,
            comparison: Box::new(comparison),
            verdict,
        })
    }

    /// Has both runtimes write the elements of what differs, and counts them.
    fn look_closer(
        &self,
        cell: Cell,
        reference_cell: Cell,
        reference: &Trace,
        differing: &Differing,
        comparison: &mut Comparison,
    ) -> anyhow::Result<()> {
        let tensors: Vec<&Tensor> =
            differing.tensors.iter().map(|&tensor| &reference.header.tensors[tensor]).collect();
        let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let bytes = tensors.iter().map(|tensor| tensor.bytes()).sum::<anyhow::Result<usize>>()?;
        let at_once = (ELEMENT_BYTES / bytes.max(1)).clamp(1, IMAGES_NAMED);
        for images in differing.images.chunks(at_once) {
            let mut values = Vec::new();
            for (expected, cell) in [(true, reference_cell), (false, cell)] {
                let arguments = cell.values_arguments(&self.place, expected, &names, images);
                if let Err(reason) = self.execute(cell, &arguments)? {
                    bail!("{} did not write its elements again: {reason}", cell.name());
                }
                let path = self.root.join(cell.values_path(&self.place, expected));
                values.push(Values::read(&path)?);
                // Large, and of no use once they are counted.
                fs::remove_file(path.with_extension("values.bin"))
                    .with_context(|| format!("cannot remove the elements of {path:?}"))?;
            }
            compare::count_elements(comparison, &values[0], &values[1])
                .with_context(|| format!("{} against the interpreter", cell.name()))?;
        }
        Ok(())
    }

    /// Runs the tool of a cell; what it complains of where it fails.
    fn execute(&self, cell: Cell, arguments: &[String]) -> anyhow::Result<Result<(), String>> {
        let program = if cell.runtime.is_ours() { &self.tool } else { &self.python };
        process::attempt(&self.root, program, arguments, &self.interrupt)
    }
}

/// Nothing where every bit is the interpreter's; a difference with a known cause is one.
fn equal(outcome: Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Reference { .. } => Ok(()),
        Outcome::Failed { reason } => Err(reason),
        Outcome::Compared { verdict, .. } => match verdict {
            Verdict::Equal => Ok(()),
            Verdict::Explained { causes } => Err(format!("other bits, by {}", causes.join(" and "))),
            Verdict::Unexplained { reasons } => Err(reasons.join("; ")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_runtime_that_cannot_be_had_is_a_failure_with_its_message() {
        let root = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::default();
        // Neither the tool nor Python: `sh` finds no script called `trace`, `false` says nothing at all.
        let (tool, python) = (PathBuf::from("sh"), PathBuf::from("false"));
        let place = Place::of(Run::QUICK);
        let matrix = Matrix { root: root.path().to_owned(), tool, python, place, interrupt };
        let cells = matrix::cells(&[Stage::ScaleOut], 10, None);
        let outcomes = matrix.run(&cells).unwrap();
        assert_eq!(outcomes.len(), cells.len());
        for (cell, outcome) in &outcomes {
            let Outcome::Failed { reason } = outcome else { panic!("{}", cell.name()) };
            assert!(reason.contains("exit status: "), "{reason}");
            assert_eq!(reason.contains("trace"), cell.runtime.is_ours(), "{reason}");
        }
        assert!(!Conformance::new(outcomes, BTreeMap::new(), serde_json::Value::Null, vec![]).ok);
    }

    #[test]
    fn the_report_of_a_part_does_not_replace_that_of_the_whole() {
        let whole = Options { run: Run::default(), stages: vec![], images: None };
        assert_eq!(whole.report(), "reports/mnist/conformance");
        let stage = Options { stages: vec![Stage::Float], ..whole.clone() };
        assert_eq!(stage.report(), "reports/mnist/conform/part");
        let images = Options { images: Some(10_000), run: Run::QUICK, ..whole };
        assert_eq!(images.report(), "reports/mnist-quick/conform/part");
    }
}
