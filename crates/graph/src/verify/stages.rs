//! Which rules hold at which stage.

use std::cell::OnceCell;

use super::rule::{Report, Rule};
use super::{Verified, integer, qdq};
use crate::range::{self, Ranges};
use crate::{Graph, Stage, metadata};

/// A rule and the stages that it holds at.
struct StageRule {
    check: fn(&Context<'_>, &mut Report),
    first: Stage,
    last: Stage,
}

const fn rule(check: fn(&Context<'_>, &mut Report), first: Stage, last: Stage) -> StageRule {
    StageRule { check, first, last }
}

/// Every rule but the one about the metadata, in the order of checking.
const RULES: &[StageRule] = &[
    rule(qdq::input_is_float, Stage::Float, Stage::Sanitized),
    rule(qdq::input_is_u8, Stage::Rescaled, Stage::ScaleOut),
    rule(qdq::no_quantization, Stage::Float, Stage::Float),
    rule(qdq::layers_are_quantized, Stage::Quantized, Stage::Split),
    rule(qdq::bias_is_quantized, Stage::Sanitized, Stage::Split),
    rule(qdq::scales_are_positive, Stage::Quantized, Stage::Integer),
    rule(qdq::constants_are_folded, Stage::Sanitized, Stage::ScaleOut),
    rule(qdq::no_idle_node, Stage::Sanitized, Stage::ScaleOut),
    rule(qdq::no_cast, Stage::Sanitized, Stage::Split),
    rule(qdq::no_trailing_softmax, Stage::Sanitized, Stage::ScaleOut),
    rule(qdq::input_is_dequantized, Stage::Rescaled, Stage::Split),
    rule(qdq::relu_is_explicit, Stage::Activations, Stage::Split),
    rule(qdq::quantizer_changes_values, Stage::Pruned, Stage::Split),
    rule(qdq::layer_scales_are_one, Stage::Folded, Stage::Split),
    rule(qdq::bias_is_separate, Stage::Split, Stage::Split),
    rule(integer::layers_are_integer, Stage::Integer, Stage::ScaleOut),
    rule(integer::zero_points_are_scalar, Stage::Integer, Stage::ScaleOut),
    rule(integer::results_fit, Stage::Integer, Stage::ScaleOut),
    rule(integer::divisions_are_portable, Stage::Integer, Stage::ScaleOut),
    rule(integer::gather_index_in_range, Stage::Integer, Stage::ScaleOut),
    rule(integer::narrowing_cast_is_clipped, Stage::Integer, Stage::ScaleOut),
    rule(integer::no_float_values, Stage::ScaleOut, Stage::ScaleOut),
    rule(integer::integers_are_narrow, Stage::ScaleOut, Stage::ScaleOut),
];

/// What the rules look at.
pub(super) struct Context<'g> {
    pub(super) graph: &'g Graph,
    verified: Verified<'g>,
    ranges: OnceCell<Ranges>,
}

impl Context<'_> {
    /// The values that integer tensors can take; worked out once, when the first rule asks.
    pub(super) fn ranges(&self) -> &Ranges {
        self.ranges.get_or_init(|| range::analyze(self.verified))
    }
}

/// Checks one graph against the rules of stages.
pub(super) struct StageChecker<'g> {
    context: Context<'g>,
}

impl<'g> StageChecker<'g> {
    pub(super) fn new(verified: Verified<'g>) -> Self {
        Self { context: Context { graph: verified.graph(), verified, ranges: OnceCell::new() } }
    }

    /// Every violation of a rule of the stage.
    pub(super) fn check(&self, stage: Stage) -> Report {
        let mut report = Report::default();
        recorded_stage(self.context.graph, stage, &mut report);
        self.check_contents(stage, &mut report);
        report
    }

    /// The last stage whose rules hold, whatever the metadata says.
    pub(super) fn looks_like(&self) -> Option<Stage> {
        Stage::ALL.into_iter().rev().find(|&stage| {
            let mut report = Report::default();
            self.check_contents(stage, &mut report);
            report.is_empty()
        })
    }

    fn check_contents(&self, stage: Stage, report: &mut Report) {
        for rule in RULES {
            if (rule.first..=rule.last).contains(&stage) {
                (rule.check)(&self.context, report);
            }
        }
    }
}

fn recorded_stage(graph: &Graph, stage: Stage, report: &mut Report) {
    if let Some(recorded) = graph.metadata().get(metadata::STAGE)
        && recorded != stage.name()
    {
        report.add(
            Rule::RecordedStage,
            graph.name(),
            format!("metadata {} to be {:?}", metadata::STAGE, stage.name()),
            format!("{recorded:?}"),
        );
    }
}
