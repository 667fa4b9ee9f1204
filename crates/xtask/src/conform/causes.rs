//! The known causes of differences, and the judgement of a cell by them.
//!
//! A difference is explained by a cause that is about this stage and this runtime, where it begins at an operator that
//! the cause is about and stays within what it allows. What nothing explains fails the task; a cause that did not show
//! is told and does not, as some depend on the processor.

use onnx2int_graph::Stage;
use serde::Serialize;

use super::compare::{Comparison, TensorDifference};
use super::matrix::{Runtime, is_qdq};

/// Why the results of a runtime differ from the interpreter's.
#[derive(Debug)]
pub(crate) struct Cause {
    pub id: &'static str,
    /// What happens, in a sentence or two.
    pub reason: &'static str,
    /// Where more is known of it.
    pub reference: &'static str,
    applies: fn(Stage, Runtime) -> bool,
    /// The operators whose results are the first to differ; none where only float outputs do.
    origins: &'static [&'static str],
    allowed: Allowance,
}

/// How much of a difference a cause explains.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    /// The largest difference of an element where the difference begins.
    units: u64,
    /// The share of all elements compared that differ in tensors that these operators compute.
    share: f64,
    /// The largest difference of an output, over the largest output.
    outputs: f64,
    /// The share of images whose class changes.
    flips: f64,
}

/// What is to be said of a cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub(crate) enum Verdict {
    /// Every bit of every tensor and of the outputs agrees.
    Equal,
    /// What differs has known causes, and is within what they allow.
    Explained { causes: Vec<&'static str> },
    /// What differs and why it is not explained.
    Unexplained { reasons: Vec<String> },
}

/// Every known cause.
pub(crate) const CAUSES: &[Cause] = &[
    Cause {
        id: "float-sums",
        reason: "float kernels sum in f32 and in an order of their own; the interpreter sums in f64. No integer tensor \
                 is involved.",
        reference: "ARCHITECTURE.md, Decisions",
        applies: |stage, runtime| stage == Stage::Float && runtime != Runtime::Interpreter,
        origins: &[],
        allowed: Allowance { units: 0, share: 0.0, outputs: 1e-5, flips: 2e-4 },
    },
    Cause {
        id: "float-quantizer-in-qdq",
        reason: "QDQ layers are float: each runtime sums and scales in its own order, so that an 8-bit value next to a \
                 rounding boundary falls on the other side of it, and what follows carries that on.",
        reference: "ARCHITECTURE.md, The stages; onnxruntime issues 23202, 25512 and 32132",
        applies: |stage, runtime| is_qdq(stage) && runtime != Runtime::Interpreter,
        origins: &["QuantizeLinear"],
        allowed: Allowance { units: 1, share: 1e-4, outputs: 1e-2, flips: 1e-3 },
    },
    Cause {
        id: "saturating-byte-products",
        reason: "on x86 without VNNI, ONNX Runtime's default kernels for QDQ layers add pairs of u8 by i8 products in 16 \
                 bits with saturation, whatever the file; with session.x64quantprecision they do not, and that column is \
                 the one to judge QDQ stages by.",
        reference: "ARCHITECTURE.md, Decisions; onnxruntime issues 6004, 7524 and 16105",
        applies: |stage, runtime| is_qdq(stage) && runtime == Runtime::OnnxRuntimeOptimized,
        origins: &["QuantizeLinear"],
        allowed: Allowance { units: 255, share: 1.0, outputs: 1.0, flips: 2e-2 },
    },
    Cause {
        id: "reciprocal-quantizer",
        reason: "the integer stage ends each layer in a float quantizer, which tract computes as x * (1 / scale) where \
                 ONNX divides: an 8-bit value next to a rounding boundary may be off by one.",
        reference: "ARCHITECTURE.md, The stages",
        applies: |stage, runtime| {
            stage == Stage::Integer && matches!(runtime, Runtime::Tract | Runtime::TractPlain)
        },
        origins: &["QuantizeLinear"],
        allowed: Allowance { units: 1, share: 1e-4, outputs: 1e-2, flips: 1e-3 },
    },
    Cause {
        id: "plain-tract-sums-through-f32",
        reason: "tract scales the result of ConvInteger and MatMulInteger by a float 1.0, which only its declutter pass \
                 removes: without it, sums beyond 2^24 lose their last bits.",
        reference: "tract 0.23.9, core/src/ops/quant.rs; crates/runtimes/src/tract.rs",
        applies: |stage, runtime| {
            matches!(stage, Stage::Integer | Stage::ScaleOut) && runtime == Runtime::TractPlain
        },
        origins: &["ConvInteger", "MatMulInteger"],
        // A sum below 2^31 has at most 7 bits more than f32 holds, and rounds to the nearest.
        allowed: Allowance { units: 64, share: 1.0, outputs: 1e-2, flips: 1e-3 },
    },
];

impl Cause {
    /// Whether the cause can show in a cell.
    pub(crate) fn applies(&self, stage: Stage, runtime: Runtime) -> bool {
        (self.applies)(stage, runtime)
    }

    /// What it allows, for the report.
    pub(crate) fn allowed(&self) -> String {
        let Allowance { units, share, outputs, flips } = self.allowed;
        let outputs =
            format!("outputs by {outputs:e} of the largest, another class for {flips:e} of the images");
        if self.origins.is_empty() {
            return outputs;
        }
        let origins = self.origins.join(" or ");
        format!("begins at {origins} by at most {units}, in {share:e} of all elements compared; {outputs}")
    }

    fn explains(&self, difference: &TensorDifference) -> bool {
        self.origins.contains(&difference.op.as_str())
    }

    /// How a difference that begins at an operator of this cause is larger than it allows.
    fn exceeded(&self, difference: &TensorDifference, comparison: &Comparison) -> Option<String> {
        let ours = comparison.differing.iter().filter(|difference| self.explains(difference));
        let elements: u64 = ours.map(|difference| difference.elements).sum();
        let share = elements as f64 / comparison.elements.max(1) as f64;
        let within = difference.largest_where_it_begins <= self.allowed.units && share <= self.allowed.share;
        (!within).then(|| {
            format!(
                "tensor {:?} differs by up to {} where the difference begins, and {elements} of {} elements do so; {} \
                 allows {} and a share of {:e}",
                difference.tensor,
                difference.largest_where_it_begins,
                comparison.elements,
                self.id,
                self.allowed.units,
                self.allowed.share
            )
        })
    }
}

/// Judges a cell by the causes that are about it.
pub(crate) fn judge(stage: Stage, runtime: Runtime, comparison: &Comparison) -> Verdict {
    if comparison.is_equal() {
        return Verdict::Equal;
    }
    let candidates: Vec<&'static Cause> =
        CAUSES.iter().filter(|cause| cause.applies(stage, runtime)).collect();
    let mut shown: Vec<&'static Cause> = Vec::new();
    let mut reasons = Vec::new();
    for difference in comparison.differing.iter().filter(|difference| difference.begins > 0) {
        let mut exceeded = Vec::new();
        // The tightest cause that is enough; they stand in the table from small to large.
        let explanation = candidates.iter().filter(|cause| cause.explains(difference)).find(|cause| {
            let reason = cause.exceeded(difference, comparison);
            let enough = reason.is_none();
            exceeded.extend(reason);
            enough
        });
        match explanation {
            Some(cause) => shown.push(cause),
            None if exceeded.is_empty() => reasons.push(format!(
                "for {} images the first difference is in tensor {:?}, of node {:?} ({}); no known cause begins there",
                difference.begins, difference.tensor, difference.node, difference.op
            )),
            None => reasons.append(&mut exceeded),
        }
    }
    reasons.extend(judge_outputs(&candidates, &mut shown, comparison));
    if !reasons.is_empty() {
        return Verdict::Unexplained { reasons };
    }
    let mut causes: Vec<&'static str> = shown.iter().map(|cause| cause.id).collect();
    causes.sort_unstable();
    causes.dedup();
    Verdict::Explained { causes }
}

/// Why the outputs are not explained, or the cause that explains them among those shown.
fn judge_outputs(
    candidates: &[&'static Cause],
    shown: &mut Vec<&'static Cause>,
    comparison: &Comparison,
) -> Option<String> {
    let outputs = &comparison.outputs;
    if outputs.elements == 0 {
        return None;
    }
    let flips = outputs.flips as f64 / comparison.images.max(1) as f64;
    let enough = |cause: &&Cause| outputs.relative <= cause.allowed.outputs && flips <= cause.allowed.flips;
    // What shows already comes first; float layers after the last inner tensor have outputs of their own.
    match shown.iter().chain(candidates).copied().find(enough) {
        Some(cause) => {
            shown.push(cause);
            None
        }
        None => Some(format!(
            "{} of {} outputs differ, by up to {:.3e} of the largest, and {} of {} images have another class; no known \
             cause allows that",
            outputs.elements, outputs.of, outputs.relative, outputs.flips, comparison.images
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::OutputDifference;
    use super::*;

    /// A difference that begins at one operator: its elements of a million, their size, and the outputs.
    fn comparison(op: &str, elements: u64, largest: u64, relative: f64, flips: usize) -> Comparison {
        let differing = TensorDifference {
            tensor: "t".to_owned(),
            node: "n".to_owned(),
            op: op.to_owned(),
            dtype: "u8".to_owned(),
            images: 1,
            begins: 1,
            elements,
            largest,
            largest_where_it_begins: largest,
        };
        Comparison {
            images: 1000,
            tensors: 3,
            elements: 1_000_000,
            left_out: vec![],
            images_differing: usize::from(elements > 0),
            differing: if elements > 0 { vec![differing] } else { vec![] },
            first: None,
            outputs: OutputDifference {
                elements: usize::from(relative > 0.0),
                of: 10_000,
                largest: relative,
                relative,
                flips,
            },
        }
    }

    fn explained(causes: &[&'static str]) -> Verdict {
        Verdict::Explained { causes: causes.to_vec() }
    }

    #[track_caller]
    fn check_unexplained(stage: Stage, runtime: Runtime, comparison: &Comparison, words: &str) {
        let verdict = judge(stage, runtime, comparison);
        let Verdict::Unexplained { reasons } = &verdict else { panic!("{verdict:?}") };
        assert!(reasons.iter().any(|reason| reason.contains(words)), "{reasons:?}");
    }

    #[test]
    fn what_is_equal_needs_no_cause() {
        let equal = comparison("", 0, 0, 0.0, 0);
        for stage in Stage::ALL {
            assert_eq!(judge(stage, Runtime::OnnxRuntimeOptimized, &equal), Verdict::Equal);
        }
    }

    #[test]
    fn a_difference_inside_its_cause_is_explained() {
        let byte = comparison("QuantizeLinear", 7, 1, 1e-3, 0);
        assert_eq!(judge(Stage::Split, Runtime::Tract, &byte), explained(&["float-quantizer-in-qdq"]));
        assert_eq!(judge(Stage::Integer, Runtime::Tract, &byte), explained(&["reciprocal-quantizer"]));
        let sum = comparison("ConvInteger", 400_000, 8, 1e-3, 0);
        let causes = explained(&["plain-tract-sums-through-f32"]);
        assert_eq!(judge(Stage::ScaleOut, Runtime::TractPlain, &sum), causes);
        let outputs = comparison("", 0, 0, 1e-6, 0);
        assert_eq!(judge(Stage::Float, Runtime::OnnxRuntimeOptimized, &outputs), explained(&["float-sums"]));
        assert_eq!(
            judge(Stage::Pruned, Runtime::Reference, &outputs),
            explained(&["float-quantizer-in-qdq"])
        );
    }

    #[test]
    fn the_tightest_cause_that_is_enough_is_named() {
        let rounding = comparison("QuantizeLinear", 7, 1, 1e-3, 0);
        let runtime = Runtime::OnnxRuntimeOptimized;
        assert_eq!(judge(Stage::Split, runtime, &rounding), explained(&["float-quantizer-in-qdq"]));
        let saturation = comparison("QuantizeLinear", 300_000, 80, 0.2, 3);
        assert_eq!(judge(Stage::Split, runtime, &saturation), explained(&["saturating-byte-products"]));
    }

    #[test]
    fn a_difference_beyond_its_cause_is_not_explained() {
        let byte = |elements, largest, relative, flips| {
            comparison("QuantizeLinear", elements, largest, relative, flips)
        };
        check_unexplained(Stage::Split, Runtime::Tract, &byte(7, 2, 0.0, 0), "differs by up to 2");
        check_unexplained(Stage::Split, Runtime::Tract, &byte(700, 1, 0.0, 0), "700 of 1000000 elements");
        check_unexplained(Stage::Split, Runtime::Tract, &byte(7, 1, 0.5, 0), "outputs differ");
        check_unexplained(Stage::Split, Runtime::Tract, &byte(7, 1, 1e-3, 9), "9 of 1000 images");
        let sum = comparison("ConvInteger", 9, 65, 0.0, 0);
        check_unexplained(Stage::ScaleOut, Runtime::TractPlain, &sum, "differs by up to 65");
    }

    #[test]
    fn a_difference_that_begins_elsewhere_is_not_explained() {
        let product = comparison("Mul", 1, 1, 0.0, 0);
        for runtime in Runtime::ALL {
            check_unexplained(Stage::ScaleOut, runtime, &product, "no known cause begins there");
        }
        check_unexplained(Stage::Integer, Runtime::Tract, &product, "(Mul)");
    }

    #[test]
    fn nothing_excuses_the_last_stage_but_plain_tract() {
        for runtime in Runtime::ALL {
            let causes: Vec<_> =
                CAUSES.iter().filter(|cause| cause.applies(Stage::ScaleOut, runtime)).collect();
            assert_eq!(causes.len(), usize::from(runtime == Runtime::TractPlain), "{runtime:?}");
            let outputs = comparison("", 0, 0, 1e-9, 0);
            if runtime != Runtime::TractPlain {
                check_unexplained(Stage::ScaleOut, runtime, &outputs, "outputs differ");
            }
        }
    }
}
