//! The verifier: the one way to a [`Verified`] graph.
//!
//! It checks handles first, so that what comes after may follow every id; then types; then the
//! rules of a stage. It collects all violations of the first two kinds, and if there is none, all
//! of the third. Each rule has a name that does not change:
//!
//! Structure, of every graph:
//! - `ids-in-bounds`: every id names a node or a value of the graph.
//! - `names-are-unique`: no two values and no two nodes have one name, and no name is empty.
//! - `sources-are-consistent`: a node's output names that node as its source, an input is listed
//!   among the graph's inputs, once.
//! - `operands-come-first`: a node's operands are made by nodes before it. This rules out cycles.
//! - `outputs-are-distinct`: there is an output, and no value is an output twice.
//! - `annotation-names-constants`: the scale and the zero point of an annotation are constants of
//!   the graph.
//!
//! Types, of every graph:
//! - `operand-count`, `operand-dtype`, `operand-shape`, `operand-constant`, `attribute-fits`: the
//!   operator accepts its operands, as ONNX says at opset [`crate::OPSET`].
//! - `declared-type`: a value has the type that follows from the operands of its node, a constant
//!   that of its tensor.
//!
//! Stages, with the first and the last stage that each holds at:
//! - `float-tail-is-last` (float to `scale_out`): nodes that the metadata names as the float tail are
//!   there, read no input, and nothing else reads what they make. The rules below are about what is
//!   before them.
//! - `recorded-stage` (float to `scale_out`): the metadata names this stage or none.
//! - `input-is-float` (float to sanitized): the inputs are f32.
//! - `input-is-u8` (rescaled to `scale_out`): the inputs are u8.
//! - `no-quantization` (float): there are only float layers and no quantizers.
//! - `layers-are-quantized` (quantized to split): a float layer reads `DequantizeLinear`s: its
//!   weights and bias directly, of constants, its input through data movement at most; there is at
//!   least one layer. A bias may be a float constant.
//! - `bias-is-quantized` (sanitized to split): a float layer's bias is no float constant.
//! - `scales-are-positive` (quantized to integer): scales are constants, finite and above 0.
//! - `constants-are-folded` (sanitized to `scale_out`): no Constant or Shape, and no node but
//!   `DequantizeLinear` all of whose operands are constant.
//! - `no-idle-node` (sanitized to `scale_out`): no Identity, no Dropout, no Cast to the operand's type.
//! - `no-cast` (sanitized to split): no Cast at all.
//! - `no-trailing-softmax` (sanitized to `scale_out`): no output is that of Softmax or LogSoftmax.
//! - `input-is-dequantized` (rescaled to split): only `DequantizeLinear` computes with the inputs.
//! - `relu-is-explicit` (activations to split): no u8 quantizer with zero point 0 reads a layer or an
//!   Add directly.
//! - `quantizer-changes-values` (pruned to split): no quantizer undoes a `DequantizeLinear` with the
//!   same scale and zero point before it, data movement between them or not.
//! - `layer-scales-are-one` (folded to split): the scales of a layer's input, weights and bias are 1.
//! - `bias-is-separate` (split): no layer has a bias operand.
//! - `layers-are-integer` (integer to `scale_out`): there is an integer layer and no float one.
//! - `zero-points-are-scalar` (integer to `scale_out`): an integer layer has both zero points, as
//!   constant scalars. Real runtimes refuse what ONNX allows beyond that.
//! - `accumulator-fits-i32` (integer to `scale_out`): the sums of an integer layer stay in i32, partial
//!   sums included, for any input.
//! - `integer-op-fits-i32` (integer to `scale_out`): so do the results of every other operator, in
//!   its own type.
//! - `dividend-is-non-negative`, `divisor-is-positive` (integer to `scale_out`): integer Div, on
//!   whose rounding of negatives runtimes do not agree.
//! - `gather-index-in-range` (integer to `scale_out`): a Gather's index is an index of its axis for
//!   any input. ONNX counts negative ones from the end, and runtimes do not agree on indices beyond it.
//! - `narrowing-cast-is-clipped` (integer to `scale_out`): a Cast between integers loses no bits.
//! - `no-float-values` (`scale_out`): no value is f32: inputs, outputs, constants or results.
//! - `integers-are-narrow` (`scale_out`): every value is u8, i8 or i32; i64 only as a constant shape
//!   or axis and out of ArgMax.

mod integer;
mod qdq;
mod rule;
mod stages;
mod structure;
mod types;

#[cfg(test)]
mod tests;

use std::fmt;

use self::rule::{Report, Rule};
use crate::float_tail::{FloatTail, NoTail};
use crate::{Graph, Stage};

/// A graph that passed the verifier.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'g> {
    graph: &'g Graph,
}

impl<'g> Verified<'g> {
    /// The graph.
    pub const fn graph(self) -> &'g Graph {
        self.graph
    }
}

impl std::ops::Deref for Verified<'_> {
    type Target = Graph;
    fn deref(&self) -> &Graph {
        self.graph
    }
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The stable kebab-case name of the rule.
    pub rule: &'static str,
    /// The node or value at fault.
    pub entity: String,
    /// What the rule asks for.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, entity, expected, found } = self;
        write!(f, "{rule}: {entity:?}: expected {expected}, found {found}")
    }
}

/// All rules that a graph breaks; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// In the order of checking.
    pub violations: Vec<Violation>,
    /// The stage whose rules are broken; none if the graph is broken at every stage.
    pub stage: Option<Stage>,
    /// The last stage whose rules the graph keeps, if there is one.
    pub looks_like: Option<Stage>,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stage) = self.stage {
            write!(f, "not a model of stage {:?}", stage.name())?;
            match self.looks_like {
                Some(other) if other != stage => write!(f, "; it looks like stage {:?}", other.name())?,
                _ => {}
            }
            f.write_str("\n")?;
        }
        for (i, violation) in self.violations.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            violation.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for VerifyError {}

/// Checks structure and types.
///
/// # Errors
/// Every violation of a rule of structure; if there is none, every violation of a type rule.
pub fn verify(graph: &Graph) -> Result<Verified<'_>, VerifyError> {
    let mut report = Report::default();
    structure::check(graph, &mut report);
    if report.is_empty() {
        types::check(graph, &mut report);
    }
    if report.is_empty() {
        Ok(Verified { graph })
    } else {
        Err(VerifyError { violations: report.into_violations(), stage: None, looks_like: None })
    }
}

/// Checks structure, types and the rules of a stage.
///
/// # Errors
/// As [`verify`]; if all is well there, every violation of a rule of the stage.
pub fn verify_stage(graph: &Graph, stage: Stage) -> Result<Verified<'_>, VerifyError> {
    let verified = verify(graph)?;
    let failed = |report: Report, looks_like| {
        let violations = report.into_violations();
        Err(VerifyError { violations, stage: Some(stage), looks_like })
    };
    let head = match head(graph) {
        Ok(head) => head,
        Err(report) => return failed(report, None),
    };
    let judged = head.as_ref().map_or(Ok(verified), verify)?;
    let checker = stages::StageChecker::new(judged);
    let report = checker.check(stage);
    if report.is_empty() { Ok(verified) } else { failed(report, checker.looks_like()) }
}

/// The last stage whose rules a graph keeps, if there is one. What the metadata says of the stage is
/// left out.
pub fn looks_like(graph: Verified<'_>) -> Option<Stage> {
    let head = head(graph.graph()).ok()?;
    let judged = head.as_ref().map_or(Ok(graph), verify).ok()?;
    stages::StageChecker::new(judged).looks_like()
}

/// What is before the float tail that the metadata names; none if it names none.
fn head(graph: &Graph) -> Result<Option<Graph>, Report> {
    let mut report = Report::default();
    match FloatTail::of(graph) {
        Ok(None) => return Ok(None),
        Ok(Some(tail)) => match tail.head(graph) {
            Ok(head) => return Ok(Some(head)),
            Err(error) => {
                report.add(Rule::FloatTailIsLast, graph.name(), "a graph before the float tail", error);
            }
        },
        Err(NoTail { node, expected, found }) => {
            report.add(Rule::FloatTailIsLast, &node, expected, found);
        }
    }
    Err(report)
}
