//! The rules of the stages whose layers compute in integers.

use std::collections::HashSet;

use super::qdq::is_float_layer;
use super::rule::{Report, Rule};
use super::stages::Context;
use crate::infer::resolve_axis;
use crate::range::Interval;
use crate::{DType, Graph, Op, Source, ValueId};

pub(super) fn layers_are_integer(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    let mut any = false;
    for (_, node) in graph.nodes() {
        any |= node.op.is_integer_layer();
        if is_float_layer(graph, node) {
            report.add(Rule::LayersAreInteger, &node.name, "ConvInteger or MatMulInteger", node.op.name());
        }
    }
    if !any {
        let expected = "at least one ConvInteger or MatMulInteger";
        report.add(Rule::LayersAreInteger, graph.name(), expected, "none");
    }
}

pub(super) fn zero_points_are_scalar(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for (_, node) in graph.nodes().filter(|(_, node)| node.op.is_integer_layer()) {
        for slot in 2..4 {
            if graph.constant_operand(node, slot).is_some_and(|tensor| tensor.rank() == 0) {
                continue;
            }
            let found = match graph.operand(node, slot) {
                Some(value) => format!("{:?} of type {}", value.name, value.ty),
                None => "none".to_owned(),
            };
            let expected = format!("a constant scalar {}", node.op.operand_role(slot));
            report.add(Rule::ZeroPointsAreScalar, &node.name, expected, found);
        }
    }
}

pub(super) fn results_fit(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    let mut last = None;
    for overflow in context.ranges().overflows() {
        // One channel stands for all of a node.
        if last.replace(overflow.node) == Some(overflow.node) {
            continue;
        }
        let node = graph.node(overflow.node);
        let rule = if node.op.is_integer_layer() { Rule::AccumulatorFitsI32 } else { Rule::IntegerOpFitsI32 };
        let dtype = graph.value(node.output).ty.dtype;
        report.add(
            rule,
            &node.name,
            format!("results within {}", dtype.integer_range().map(Bounds).expect("only integers overflow")),
            format!("{} in channel {}", Bounds(overflow.range), overflow.channel),
        );
    }
}

pub(super) fn divisions_are_portable(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for (_, node) in graph.nodes() {
        if !matches!(node.op, Op::Div) || graph.value(node.output).ty.dtype == DType::F32 {
            continue;
        }
        for (slot, rule, least, expected) in [
            (0, Rule::DividendIsNonNegative, 0, "a dividend of at least 0"),
            (1, Rule::DivisorIsPositive, 1, "a divisor of at least 1"),
        ] {
            if let Some(range) = hull(context, node.input(slot))
                && range.0 < least
            {
                report.add(rule, &node.name, expected, Bounds(range));
            }
        }
    }
}

pub(super) fn gather_index_in_range(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for (_, node) in graph.nodes() {
        let (Op::Gather { axis }, Some(data), Some(index)) =
            (&node.op, graph.operand(node, 0), graph.operand(node, 1))
        else {
            continue;
        };
        // The type rules judge the constant i64 indices of a float graph; they pass through.
        if index.ty.dtype == DType::I64 && index.constant().is_some() {
            continue;
        }
        let extent = resolve_axis(*axis, data.ty.rank()).ok().and_then(|axis| data.ty.shape[axis].fixed());
        let (Some(extent), Some(range)) = (extent, hull(context, node.input(1))) else {
            report.add(Rule::GatherIndexInRange, &node.name, "an axis of known extent", &data.ty);
            continue;
        };
        if range.0 < 0 || usize::try_from(range.1).is_ok_and(|last| last >= extent) {
            report.add(
                Rule::GatherIndexInRange,
                &node.name,
                format!("an index of at least 0 and below {extent}"),
                Bounds(range),
            );
        }
    }
}

pub(super) fn narrowing_cast_is_clipped(context: &Context<'_>, report: &mut Report) {
    for (_, node) in context.graph.nodes() {
        let Op::Cast { to } = node.op else { continue };
        if let (Some(range), Some(target)) = (hull(context, node.input(0)), to.integer_range())
            && (range.0 < target.0 || range.1 > target.1)
        {
            report.add(
                Rule::NarrowingCastIsClipped,
                &node.name,
                format!("an operand within {}, which {to} holds", Bounds(target)),
                Bounds(range),
            );
        }
    }
}

/// The least interval that holds every element of an integer operand.
fn hull(context: &Context<'_>, value: Option<ValueId>) -> Option<Interval> {
    context.ranges().get(value?).map(crate::range::ChannelRange::hull)
}

pub(super) fn no_float_values(context: &Context<'_>, report: &mut Report) {
    for (_, value) in context.graph.values() {
        if value.ty.dtype == DType::F32 {
            report.add(Rule::NoFloatValues, &value.name, "integers only", &value.ty);
        }
    }
}

pub(super) fn integers_are_narrow(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    let computed_with = values_computed_with(graph);
    for (id, value) in graph.values() {
        let is_right = match value.ty.dtype {
            // `no-float-values` speaks of f32.
            DType::U8 | DType::I8 | DType::I32 | DType::F32 => true,
            DType::Bool => false,
            DType::I64 => match &value.source {
                Source::Input => false,
                Source::Constant(_) => !computed_with.contains(&id),
                Source::Node(node) => matches!(graph.node(*node).op, Op::ArgMax { .. }),
            },
        };
        if !is_right {
            report.add(
                Rule::IntegersAreNarrow,
                &value.name,
                "u8, i8 or i32 (i64 for constant shapes and axes, and out of ArgMax)",
                &value.ty,
            );
        }
    }
}

/// The values that are read as more than a shape, an axis or an index.
fn values_computed_with(graph: &Graph) -> HashSet<ValueId> {
    let mut values: HashSet<_> = graph.outputs().iter().copied().collect();
    for (_, node) in graph.nodes() {
        for (slot, input) in node.inputs.iter().enumerate() {
            let is_shape = match slot {
                0 => false,
                // What Pad fills up with.
                2 if matches!(node.op, Op::Pad) => false,
                _ => matches!(
                    node.op,
                    Op::Reshape { .. }
                        | Op::Slice
                        | Op::Pad
                        | Op::Squeeze
                        | Op::Unsqueeze
                        | Op::ReduceMean { .. }
                        | Op::Gather { .. }
                ),
            };
            if !is_shape {
                values.extend(*input);
            }
        }
    }
    values
}

/// An interval, for messages.
struct Bounds(Interval);

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..={}", self.0.0, self.0.1)
    }
}
