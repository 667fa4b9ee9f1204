//! What the conformance matrix shows, as data and as Markdown. Nothing in it differs between two runs on one machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use onnx2int_graph::Stage;
use serde::Serialize;
use serde_json::Value;

use super::causes::{CAUSES, Verdict};
use super::compare::Comparison;
use super::matrix::{Cell, Runtime};

const SCHEMA: &str = "onnx2int-conformance/2";

/// Every cell with its verdict, the causes of what differs, and what the checks of the files found.
#[derive(Serialize)]
pub(crate) struct Conformance {
    schema: &'static str,
    pub ok: bool,
    /// SHA-256 of the file of each stage, so that nobody takes this for the conformance of another one.
    models: BTreeMap<&'static str, String>,
    runtimes: Vec<RuntimeRow>,
    cells: Vec<CellRow>,
    causes: Vec<CauseRow>,
    /// What `scripts/check_stages.py` found.
    stage_checks: Value,
    /// Everything that is wrong, a sentence each.
    pub failures: Vec<String>,
}

/// How a cell came out.
pub(crate) enum Outcome {
    /// The interpreter itself.
    Reference { version: String, tensors: usize },
    /// Compared with the interpreter.
    Compared { version: String, observed_apart: bool, comparison: Box<Comparison>, verdict: Verdict },
    /// It could not be had, for this reason.
    Failed { reason: String },
}

#[derive(Serialize)]
struct RuntimeRow {
    name: &'static str,
    describes: &'static str,
    version: Option<String>,
    /// Digests are of the file with every observed tensor made an output, raw outputs of the file as it is.
    observed_apart: bool,
}

#[derive(Serialize)]
struct CellRow {
    stage: &'static str,
    runtime: &'static str,
    images: usize,
    #[serde(flatten)]
    result: CellResult,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum CellResult {
    Reference {
        tensors: usize,
    },
    Compared {
        #[serde(flatten)]
        verdict: Verdict,
        comparison: Box<Comparison>,
    },
    Failed {
        reason: String,
    },
}

#[derive(Serialize)]
struct CauseRow {
    id: &'static str,
    reason: &'static str,
    allowed: String,
    reference: &'static str,
    /// The cells in which it shows; none is no failure.
    shows_in: Vec<String>,
}

impl Conformance {
    /// Puts the cells and the checks of the files together.
    pub(crate) fn new(
        outcomes: Vec<(Cell, Outcome)>,
        models: BTreeMap<&'static str, String>,
        stage_checks: Value,
        check_failures: Vec<String>,
    ) -> Self {
        let mut failures = check_failures;
        let mut runtimes: BTreeMap<Runtime, RuntimeRow> = BTreeMap::new();
        let mut shows_in: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut cells = Vec::new();
        for (cell, outcome) in outcomes {
            let runtime = runtimes.entry(cell.runtime).or_insert_with(|| RuntimeRow {
                name: cell.runtime.name(),
                describes: cell.runtime.describe(),
                version: None,
                observed_apart: false,
            });
            let result = match outcome {
                Outcome::Reference { version, tensors } => {
                    runtime.version = Some(version);
                    CellResult::Reference { tensors }
                }
                Outcome::Compared { version, observed_apart, comparison, verdict } => {
                    runtime.version = Some(version);
                    runtime.observed_apart |= observed_apart;
                    match &verdict {
                        Verdict::Equal => {}
                        Verdict::Explained { causes } => {
                            for cause in causes {
                                shows_in.entry(cause).or_default().push(cell.name());
                            }
                        }
                        Verdict::Unexplained { reasons } => {
                            let named = reasons.iter().map(|reason| format!("{}: {reason}", cell.name()));
                            failures.extend(named);
                        }
                    }
                    CellResult::Compared { verdict, comparison }
                }
                Outcome::Failed { reason } => {
                    failures.push(format!("{}: {reason}", cell.name()));
                    CellResult::Failed { reason }
                }
            };
            let (stage, runtime, images) = (cell.stage.name(), cell.runtime.name(), cell.images);
            cells.push(CellRow { stage, runtime, images, result });
        }
        let causes = CAUSES.iter().map(|cause| CauseRow {
            id: cause.id,
            reason: cause.reason,
            allowed: cause.allowed(),
            reference: cause.reference,
            shows_in: shows_in.remove(cause.id).unwrap_or_default(),
        });
        Self {
            schema: SCHEMA,
            ok: failures.is_empty(),
            models,
            runtimes: runtimes.into_values().collect(),
            cells,
            causes: causes.collect(),
            stage_checks,
            failures,
        }
    }

    /// The report to read.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Conformance\n\n");
        text.push_str(match self.ok {
            true => "Every difference between a runtime and our interpreter has a known cause and is within what it allows.\n",
            false => "**Something differs without a known cause, or could not be had.**\n",
        });
        text.push_str(
            "Compared are the raw outputs and every inner integer tensor of every image, bit for bit; `cargo xtask conform` \
             made this.\n\n",
        );
        for failure in &self.failures {
            text.push_str(&format!("- **{}**\n", one_line(failure)));
        }
        self.push_matrix(&mut text);
        self.push_runtimes(&mut text);
        self.push_differences(&mut text);
        self.push_causes(&mut text);
        self.push_checks(&mut text);
        text
    }

    /// Stages by runtimes, a word or two in each cell.
    pub(crate) fn matrix(&self) -> String {
        let mut text = String::new();
        let names: Vec<&str> = self.runtimes.iter().map(|runtime| runtime.name).collect();
        let _ = writeln!(text, "| stage | {} |", names.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
        for stage in Stage::ALL {
            let row: Vec<String> =
                names.iter().map(|name| self.cell(stage, name).map_or("-".to_owned(), word)).collect();
            if row.iter().any(|cell| cell != "-") {
                let _ = writeln!(text, "| {stage} | {} |", row.join(" | "));
            }
        }
        text
    }

    fn cell(&self, stage: Stage, runtime: &str) -> Option<&CellRow> {
        self.cells.iter().find(|cell| cell.stage == stage.name() && cell.runtime == runtime)
    }

    fn push_matrix(&self, text: &mut String) {
        text.push_str("\n## The matrix\n\n");
        text.push_str(&self.matrix());
        text.push_str(
            "\n`baseline`: what the others are compared with. `equal`: every bit of every tensor and output. `tensors`: inner integer tensors differ, in so many elements, by \
             at most so much. `outputs`: only float outputs differ, by so much of the largest. What differs is a row below, \
             with its cause. `-`: the runtime differs from another only by an option that does not concern this stage.\n",
        );
    }

    fn push_runtimes(&self, text: &mut String) {
        text.push_str("\n## Runtimes\n\n| runtime | version | what it is | images |\n|---|---|---|---|\n");
        for runtime in &self.runtimes {
            let mut stages: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
            for cell in self.cells.iter().filter(|cell| cell.runtime == runtime.name) {
                stages.entry(cell.images).or_default().push(cell.stage);
            }
            let images: Vec<String> = stages
                .iter()
                .rev()
                .map(|(images, stages)| format!("{images} ({})", stages.join(", ")))
                .collect();
            let apart = if runtime.observed_apart { "; inner tensors from a second run" } else { "" };
            let version = runtime.version.as_deref().unwrap_or("not had");
            let _ = writeln!(
                text,
                "| {} | {version} | {}{apart} | {} |",
                runtime.name,
                runtime.describes,
                images.join("; ")
            );
        }
        text.push_str(
            "\nMore outputs may leave an optimizer less to fuse. So an optimizing runtime runs twice: the file as it is for the \
             raw outputs, and with every inner integer tensor made an output for these (\"a second run\").\n",
        );
        let mut left_out: Vec<&String> =
            self.comparisons().flat_map(|(_, entry, _)| &entry.left_out).collect();
        left_out.sort();
        left_out.dedup();
        for entry in left_out {
            let _ = writeln!(text, "\nNot compared: {}.", one_line(entry));
        }
    }

    fn comparisons(&self) -> impl Iterator<Item = (&CellRow, &Comparison, &Verdict)> {
        self.cells.iter().filter_map(|cell| match &cell.result {
            CellResult::Compared { comparison, verdict } => Some((cell, &**comparison, verdict)),
            CellResult::Reference { .. } | CellResult::Failed { .. } => None,
        })
    }

    fn push_differences(&self, text: &mut String) {
        text.push_str(
            "\n## What differs\n\n\
             | stage | runtime | images | elements | by at most | begins at | first difference | outputs | other class | cause |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for (cell, comparison, verdict) in self.comparisons() {
            let cause = match verdict {
                Verdict::Equal => continue,
                Verdict::Explained { causes } => causes.join(", "),
                Verdict::Unexplained { .. } => "**none**".to_owned(),
            };
            let elements: u64 = comparison.differing.iter().map(|difference| difference.elements).sum();
            let largest = comparison.differing.iter().map(|difference| difference.largest).max().unwrap_or(0);
            let begins: Vec<String> = comparison
                .differing
                .iter()
                .filter(|difference| difference.begins > 0)
                .map(|difference| format!("{} ({} images)", difference.node, difference.begins))
                .collect();
            let first = comparison.first.as_ref().map_or("-".to_owned(), |first| {
                format!(
                    "image {}, {} {:?}: {} for {}",
                    first.image, first.tensor, first.index, first.found, first.expected
                )
            });
            let outputs = &comparison.outputs;
            let _ = writeln!(
                text,
                "| {} | {} | {} of {} | {elements} of {} | {largest} | {} | {first} | {} of {}, by {:.1e} ({:.1e} of the \
                 largest) | {} | {cause} |",
                cell.stage,
                cell.runtime,
                comparison.images_differing,
                comparison.images,
                comparison.elements,
                if begins.is_empty() { "-".to_owned() } else { begins.join(", ") },
                outputs.elements,
                outputs.of,
                outputs.largest,
                outputs.relative,
                outputs.flips,
            );
        }
        text.push_str("\nImages and elements are of inner integer tensors; `found for expected` in the first difference.\n");
    }

    fn push_causes(&self, text: &mut String) {
        text.push_str(
            "\n## Known causes\n\n| cause | why | allowed | reference | shows in |\n|---|---|---|---|---|\n",
        );
        for cause in &self.causes {
            let shows_in = match cause.shows_in.as_slice() {
                [] => "nothing here".to_owned(),
                cells => cells.join(", "),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {shows_in} |",
                cause.id, cause.reason, cause.allowed, cause.reference
            );
        }
        text.push_str(
            "\nWhat no cause explains, and what is larger than its cause allows, fails the task.\n",
        );
    }

    fn push_checks(&self, text: &mut String) {
        let checks = &self.stage_checks;
        let _ = write!(
            text,
            "\n## The files\n\n\
             The checker of onnx {} with `full_check`, and the images of {} that stock ONNX Runtime {} gets right: with exact \
             8-bit products in QDQ layers, as it comes, and by our own count.\n\n\
             | stage | file | input | output | nodes | right | as it comes | ours | checks |\n|---|---|---|---|---|---|---|---|---|\n",
            plain(&checks["onnx"]),
            plain(&checks["images"]),
            plain(&checks["onnxruntime"])
        );
        for stage in Stage::ALL {
            let entry = &checks["stages"][stage.name()];
            if entry.is_null() {
                continue;
            }
            let columns = ["file", "input", "output", "nodes", "correct", "correct_default", "correct_ours"];
            let columns = columns.map(|column| plain(&entry[column]));
            let verdict = if entry["ok"] == true { "pass" } else { "**fail**" };
            let _ = writeln!(text, "| {stage} | {} | {verdict} |", columns.join(" | "));
        }
    }
}

/// What a cell of the matrix says.
fn word(cell: &CellRow) -> String {
    let (comparison, verdict) = match &cell.result {
        CellResult::Reference { .. } => return "baseline".to_owned(),
        CellResult::Failed { .. } => return "**failed**".to_owned(),
        CellResult::Compared { comparison, verdict } => (comparison, verdict),
    };
    let elements: u64 = comparison.differing.iter().map(|difference| difference.elements).sum();
    let largest = comparison.differing.iter().map(|difference| difference.largest).max().unwrap_or(0);
    let what = match comparison.images_differing {
        0 => format!("outputs {:.0e}", comparison.outputs.relative),
        _ => format!("tensors {elements}, by {largest}"),
    };
    match verdict {
        Verdict::Equal => "equal".to_owned(),
        Verdict::Explained { .. } => what,
        Verdict::Unexplained { .. } => format!("**{what}**"),
    }
}

/// A JSON value without the quotes of a string.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::compare::{FirstDifference, OutputDifference, TensorDifference};
    use super::*;

    fn cell(stage: Stage, runtime: Runtime) -> Cell {
        Cell { stage, runtime, images: 10 }
    }

    fn comparison(elements: u64) -> Comparison {
        let differing = TensorDifference {
            tensor: "byte".to_owned(),
            node: "quantize".to_owned(),
            op: "QuantizeLinear".to_owned(),
            dtype: "u8".to_owned(),
            images: 2,
            begins: 2,
            elements,
            largest: 1,
            largest_where_it_begins: 1,
        };
        let first = FirstDifference {
            image: 7,
            node: "quantize".to_owned(),
            tensor: "byte".to_owned(),
            index: vec![3, 0, 14],
            expected: 12,
            found: 13,
        };
        let differs = elements > 0;
        Comparison {
            images: 10,
            tensors: 1,
            elements: 10_000,
            left_out: vec![],
            images_differing: if differs { 2 } else { 0 },
            differing: if differs { vec![differing] } else { vec![] },
            first: differs.then_some(first),
            outputs: OutputDifference { of: 100, ..OutputDifference::default() },
        }
    }

    fn outcome(comparison: Comparison, verdict: Verdict) -> Outcome {
        let comparison = Box::new(comparison);
        Outcome::Compared { version: "1.2".to_owned(), observed_apart: false, comparison, verdict }
    }

    fn conformance(more: Vec<(Cell, Outcome)>) -> Conformance {
        let reference = Outcome::Reference { version: "0.1".to_owned(), tensors: 1 };
        let mut outcomes = vec![(cell(Stage::Integer, Runtime::Interpreter), reference)];
        outcomes.extend(more);
        let checks = json!({ "onnx": "1.3", "onnxruntime": "1.4", "images": 10, "stages": {
            "integer": { "ok": true, "file": "m.onnx", "input": "u8", "output": "f32", "nodes": 20,
                         "correct": 9, "correct_default": 8, "correct_ours": 9 } } });
        Conformance::new(outcomes, BTreeMap::from([("integer", "1f".to_owned())]), checks, vec![])
    }

    #[test]
    fn every_difference_is_a_row_with_its_count_its_size_and_its_cause() {
        let verdict = Verdict::Explained { causes: vec!["reciprocal-quantizer"] };
        let conformance = conformance(vec![
            (cell(Stage::Integer, Runtime::Tract), outcome(comparison(3), verdict)),
            (cell(Stage::Integer, Runtime::OnnxRuntimeOptimized), outcome(comparison(0), Verdict::Equal)),
        ]);
        assert!(conformance.ok);
        let text = conformance.markdown();
        for line in [
            "| stage | interpreter | tract | onnxruntime |",
            "| integer | baseline | tensors 3, by 1 | equal |",
            "| integer | tract | 2 of 10 | 3 of 10000 | 1 | quantize (2 images) | image 7, byte [3, 0, 14]: 13 for 12 | \
             0 of 100, by 0.0e0 (0.0e0 of the largest) | 0 | reciprocal-quantizer |",
            "| integer | m.onnx | u8 | f32 | 20 | 9 | 8 | 9 | pass |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let shown: Vec<_> = conformance
            .causes
            .iter()
            .filter(|cause| !cause.shows_in.is_empty())
            .map(|cause| cause.id)
            .collect();
        assert_eq!(shown, ["reciprocal-quantizer"]);
        assert!(text.contains("| nothing here |"), "a cause that did not show is told\n{text}");
        let json = serde_json::to_value(&conformance).unwrap();
        assert_eq!(json["models"]["integer"], "1f");
        assert_eq!(json["cells"][1]["compared"]["verdict"], "explained");
        assert_eq!(json["cells"][1]["compared"]["comparison"]["first"]["found"], 13);
    }

    #[test]
    fn what_is_not_explained_and_what_could_not_be_had_fails() {
        let verdict = Verdict::Unexplained { reasons: vec!["begins at Mul".to_owned()] };
        let failed = Outcome::Failed { reason: "no such\nruntime".to_owned() };
        let conformance = conformance(vec![
            (cell(Stage::Integer, Runtime::Tract), outcome(comparison(3), verdict)),
            (cell(Stage::Integer, Runtime::Reference), failed),
        ]);
        assert!(!conformance.ok);
        assert_eq!(
            conformance.failures,
            ["integer in tract: begins at Mul", "integer in reference: no such\nruntime"]
        );
        let text = conformance.markdown();
        assert!(text.contains("| integer | baseline | **tensors 3, by 1** | **failed** |"), "{text}");
        assert!(text.contains("- **integer in reference: no such runtime**"), "{text}");
    }
}
