//! Range analysis: what values every integer tensor can take, for **any** input.
//!
//! Bounds follow from the input types and the actual constants alone, one interval for each
//! channel (axis 1) or one for the whole tensor.
//! They are exact interval arithmetic: each operator maps intervals to the least interval that
//! holds its results, so that a bound can be loose only where one tensor is used twice or where
//! two extremes exclude each other.
//!
//! The interval of a convolution or matrix product holds every **partial** sum in any order and
//! every padded corner as well: each tap contributes the hull of its products and 0.
//!
//! [`attained`](mod@attained) says which of the bounds some input meets, [`LayerSums`] has the inputs that do,
//! and [`Ranges::accumulators`] what the sums of the layers need of hardware.

mod accumulator;
pub mod attained;
mod extremes;
mod layers;

pub use accumulator::{Accumulator, Width, headroom, needed_bits};
pub use attained::{Attained, Attainment, Obstacle, attained};
pub use extremes::{Choice, Extreme, LARGEST_KERNEL, LARGEST_SEARCH, LayerSums, Side, Window};

use crate::{DType, Dim, Graph, Node, NodeId, Op, Tensor, ValueId, Verified};

/// A closed interval of integers.
pub type Interval = (i64, i64);

/// The values that a tensor can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRange {
    /// The axis that `bounds` run along (always 1), or none if one interval holds for all.
    pub axis: Option<usize>,
    /// One interval for each channel, or a single one.
    pub bounds: Vec<Interval>,
}

impl ChannelRange {
    /// One interval for the whole tensor.
    pub fn uniform(low: i64, high: i64) -> Self {
        Self { axis: None, bounds: vec![(low, high)] }
    }

    /// One interval for each channel of axis 1. A single one holds for the whole tensor, so that it
    /// broadcasts as an extent of 1 does.
    pub fn per_channel(bounds: Vec<Interval>) -> Self {
        let axis = if bounds.len() == 1 { None } else { Some(1) };
        Self { axis, bounds }
    }

    /// The interval of a channel.
    pub fn channel(&self, index: usize) -> Interval {
        match self.axis {
            Some(_) => self.bounds[index],
            None => self.bounds[0],
        }
    }

    /// The least interval that holds every channel.
    pub fn hull(&self) -> Interval {
        self.bounds.iter().fold((i64::MAX, i64::MIN), |(low, high), &(l, h)| (low.min(l), high.max(h)))
    }

    fn collapsed(&self) -> Self {
        let (low, high) = self.hull();
        Self::uniform(low, high)
    }

    fn map(&self, f: impl Fn(Interval) -> Interval) -> Self {
        Self { axis: self.axis, bounds: self.bounds.iter().map(|&bound| f(bound)).collect() }
    }
}

/// A result that its type cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// The node whose result it is.
    pub node: NodeId,
    /// The channel, 0 where one interval holds for all.
    pub channel: usize,
    /// The interval that the exact result can take.
    pub range: Interval,
}

/// The ranges of all integer values of a graph.
#[derive(Clone, Debug)]
pub struct Ranges {
    ranges: Vec<Option<ChannelRange>>,
    overflows: Vec<Overflow>,
}

impl Ranges {
    /// The range of an integer value; none for floats and truth values.
    ///
    /// Where the exact result does not fit its type this is the range of the type, and
    /// [`Ranges::overflows`] has the exact one.
    pub fn get(&self, value: ValueId) -> Option<&ChannelRange> {
        self.ranges[value.index()].as_ref()
    }

    /// Every result that its type cannot hold, in execution order.
    pub fn overflows(&self) -> &[Overflow] {
        &self.overflows
    }
}

/// Bounds every integer value of a graph.
pub fn analyze(graph: Verified<'_>) -> Ranges {
    let graph = graph.graph();
    let mut analysis = Analysis {
        graph,
        ranges: graph.values().map(|(_, value)| dtype_range(value.ty.dtype)).collect(),
        overflows: Vec::new(),
        kept: 0,
    };
    for (id, value) in graph.values() {
        if let Some(tensor) = value.constant() {
            analysis.ranges[id.index()] = constant_range(tensor, 1);
        }
    }
    for (id, node) in graph.nodes() {
        analysis.visit(id, node);
    }
    Ranges { ranges: analysis.ranges, overflows: analysis.overflows }
}

fn dtype_range(dtype: DType) -> Option<ChannelRange> {
    dtype.integer_range().map(|(low, high)| ChannelRange::uniform(low, high))
}

/// The range of a constant, one interval for each index along `axis` if it has that axis.
fn constant_range(tensor: &Tensor, axis: usize) -> Option<ChannelRange> {
    let elements = tensor.to_i64_vec()?;
    if elements.is_empty() {
        return dtype_range(tensor.dtype());
    }
    let extent = tensor.shape().get(axis).copied().unwrap_or(1);
    let inner: usize = tensor.shape().iter().skip(axis + 1).product();
    let mut bounds = vec![(i64::MAX, i64::MIN); extent];
    for (i, &element) in elements.iter().enumerate() {
        let (low, high) = &mut bounds[i / inner % extent];
        *low = (*low).min(element);
        *high = (*high).max(element);
    }
    match extent {
        1 => Some(ChannelRange { axis: None, bounds }),
        _ => Some(ChannelRange::per_channel(bounds)),
    }
}

struct Analysis<'g> {
    graph: &'g Graph,
    ranges: Vec<Option<ChannelRange>>,
    overflows: Vec<Overflow>,
    /// The number of intervals in ranges of results with one for each channel.
    kept: usize,
}

impl Analysis<'_> {
    fn visit(&mut self, id: NodeId, node: &Node) {
        let dtype = self.graph.value(node.output).ty.dtype;
        let Some(type_range) = dtype.integer_range() else { return };
        let Some(mut exact) = self.result(node) else { return };
        if exact.axis.is_some() {
            match self.kept.checked_add(exact.bounds.len()) {
                Some(kept) if kept <= MOST_KEPT => self.kept = kept,
                _ => exact = exact.collapsed(),
            }
        }
        for (channel, bound) in exact.bounds.iter_mut().enumerate() {
            if bound.0 < type_range.0 || bound.1 > type_range.1 {
                self.overflows.push(Overflow { node: id, channel, range: *bound });
                *bound = type_range;
            }
        }
        self.ranges[node.output.index()] = Some(exact);
    }

    /// The exact range of a node's integer result; none: whatever its type holds.
    fn result(&self, node: &Node) -> Option<ChannelRange> {
        match &node.op {
            Op::ConvInteger(attributes) => self.conv_integer(node, attributes),
            Op::MatMulInteger => self.matmul_integer(node),
            Op::Relu => Some(self.operand(node, 0)?.map(|(low, high)| (low.max(0), high.max(0)))),
            Op::Clip => {
                let bound = |slot| self.operand(node, slot).map(|range| range.hull());
                let (low, high) = (bound(1), bound(2));
                Some(self.operand(node, 0)?.map(|range| {
                    let range = low.map_or(range, |bound| maximum(range, bound));
                    high.map_or(range, |bound| minimum(range, bound))
                }))
            }
            Op::Add => self.fold(node, |a, b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1))),
            Op::Sub => self.fold(node, |a, b| (a.0.saturating_sub(b.1), a.1.saturating_sub(b.0))),
            Op::Mul => self.fold(node, product),
            Op::Div => {
                let divisor = self.operand(node, 1)?.hull();
                if divisor.0 <= 0 {
                    return None;
                }
                self.fold(node, quotient)
            }
            Op::Max => self.fold(node, maximum),
            Op::Min => self.fold(node, minimum),
            Op::Cast { to } => {
                // A value that does not fit loses its high bits: anything can come out.
                let (low, high) = to.integer_range()?;
                let range = self.operand(node, 0)?;
                let (least, greatest) = range.hull();
                (low <= least && greatest <= high).then(|| range.clone())
            }
            Op::MaxPool(_) | Op::Identity | Op::Dropout => self.operand(node, 0).cloned(),
            Op::Flatten { axis } => self.flatten(node, *axis),
            Op::Concat { axis } => self.concat(node, *axis),
            Op::Transpose { perm } => {
                let range = self.operand(node, 0)?;
                Some(if perm.get(1) == Some(&1) { range.clone() } else { range.collapsed() })
            }
            Op::Reshape { .. } => {
                let (from, to) = (self.shape(node.input(0)?), self.shape(node.output));
                // [N, C, ...] to [N, C * ...] is a Flatten.
                if to.len() == 2 && from.len() >= 2 && from[0] == to[0] {
                    return self.flatten(node, 1);
                }
                self.operand(node, 0).map(ChannelRange::collapsed)
            }
            Op::Pad => self.pad(node),
            Op::Gather { .. } | Op::Slice | Op::Squeeze | Op::Unsqueeze => {
                self.operand(node, 0).map(ChannelRange::collapsed)
            }
            Op::Constant(tensor) => constant_range(tensor, 1),
            Op::Shape { .. } => Some(ChannelRange::uniform(0, i64::MAX)),
            Op::ArgMax { axis, .. } => {
                let shape = self.shape(node.input(0)?);
                let axis = crate::infer::resolve_axis(*axis, shape.len()).ok()?;
                let extent = shape[axis].fixed()? as i64;
                Some(ChannelRange::uniform(0, (extent - 1).max(0)))
            }
            Op::QuantizeLinear { .. } => None,
            Op::Conv(_)
            | Op::Gemm(_)
            | Op::MatMul
            | Op::AveragePool(_)
            | Op::GlobalAveragePool
            | Op::ReduceMean { .. }
            | Op::BatchNormalization { .. }
            | Op::Activation(_)
            | Op::PRelu
            | Op::DequantizeLinear { .. }
            | Op::LogSoftmax { .. }
            | Op::Softmax { .. } => None,
        }
    }

    fn operand(&self, node: &Node, slot: usize) -> Option<&ChannelRange> {
        self.ranges[node.input(slot)?.index()].as_ref()
    }

    fn shape(&self, value: ValueId) -> &[Dim] {
        &self.graph.value(value).ty.shape
    }

    /// An operator applied element by element, from the left, operands broadcast.
    fn fold(&self, node: &Node, f: impl Fn(Interval, Interval) -> Interval) -> Option<ChannelRange> {
        let rank = self.shape(node.output).len();
        let mut result = self.broadcast(node, 0, rank)?;
        for slot in 1..node.inputs.len() {
            let other = self.broadcast(node, slot, rank)?;
            result = match (result.axis, other.axis) {
                (None, None) => {
                    ChannelRange { axis: None, bounds: vec![f(result.bounds[0], other.bounds[0])] }
                }
                (Some(_), _) => ChannelRange::per_channel(
                    result.bounds.iter().enumerate().map(|(i, &bound)| f(bound, other.channel(i))).collect(),
                ),
                (None, Some(_)) => ChannelRange::per_channel(
                    other.bounds.iter().map(|&bound| f(result.bounds[0], bound)).collect(),
                ),
            };
        }
        Some(result)
    }

    /// The range of an operand along axis 1 of a result of rank `rank`.
    fn broadcast(&self, node: &Node, slot: usize, rank: usize) -> Option<ChannelRange> {
        let value = self.graph.value(node.input(slot)?);
        let own_rank = value.ty.rank();
        if own_rank == rank {
            return self.operand(node, slot).cloned();
        }
        match value.constant() {
            // Axis 1 of the result is axis 1 - (rank - own_rank) of this operand.
            Some(tensor) if own_rank + 1 == rank => constant_range(tensor, 0),
            _ => self.operand(node, slot).map(ChannelRange::collapsed),
        }
    }

    /// `[N, C, rest...]` to `[N, C * rest]`: each channel's interval repeats.
    fn flatten(&self, node: &Node, axis: i64) -> Option<ChannelRange> {
        let range = self.operand(node, 0)?;
        let shape = self.shape(node.input(0)?);
        let repeats = shape
            .get(2..)
            .and_then(|rest| rest.iter().try_fold(1_usize, |product, dim| product.checked_mul(dim.fixed()?)));
        let count = repeats.and_then(|repeats| repeats.checked_mul(range.bounds.len()));
        match (range.axis, repeats) {
            (Some(_), Some(repeats)) if axis == 1 && count.is_some_and(is_worth_keeping) => {
                Some(ChannelRange::per_channel(
                    range.bounds.iter().flat_map(|&bound| std::iter::repeat_n(bound, repeats)).collect(),
                ))
            }
            _ => Some(range.collapsed()),
        }
    }

    /// The hull of what is padded and what it is padded with. Each channel is padded in its own
    /// interval, unless there are channels of padding only.
    fn pad(&self, node: &Node) -> Option<ChannelRange> {
        let value = match node.input(2) {
            Some(_) => self.operand(node, 2)?.hull(),
            None => (0, 0),
        };
        let range = self.operand(node, 0)?;
        let channels = |value| self.shape(value).get(1).cloned();
        let kept = channels(node.input(0)?) == channels(node.output);
        let range = if kept { range.clone() } else { range.collapsed() };
        Some(range.map(|(low, high)| (low.min(value.0), high.max(value.1))))
    }

    fn concat(&self, node: &Node, axis: i64) -> Option<ChannelRange> {
        let rank = self.shape(node.output).len();
        let channels = self.shape(node.output).get(1).and_then(Dim::fixed);
        let along_channels =
            crate::infer::resolve_axis(axis, rank) == Ok(1) && channels.is_some_and(is_worth_keeping);
        let mut bounds = Vec::new();
        for (slot, &input) in node.inputs.iter().enumerate() {
            let range = self.operand(node, slot)?;
            match range.axis {
                Some(_) => bounds.extend_from_slice(&range.bounds),
                None if along_channels => {
                    let extent = self.shape(input?)[1].fixed()?;
                    bounds.extend(std::iter::repeat_n(range.bounds[0], extent));
                }
                None => bounds.push(range.bounds[0]),
            }
        }
        let range = ChannelRange::per_channel(bounds);
        Some(if along_channels { range } else { range.collapsed() })
    }
}

/// Whether so many intervals are worth their memory; a file may declare any extent.
const fn is_worth_keeping(channels: usize) -> bool {
    channels <= 1 << 20
}

/// Once all results together have so many intervals (64 MB), further ones get a single one each,
/// which holds as well but is wider.
const MOST_KEPT: usize = 1 << 22;

fn product(a: Interval, b: Interval) -> Interval {
    let corners =
        [a.0.saturating_mul(b.0), a.0.saturating_mul(b.1), a.1.saturating_mul(b.0), a.1.saturating_mul(b.1)];
    corners.iter().fold((i64::MAX, i64::MIN), |(low, high), &corner| (low.min(corner), high.max(corner)))
}

/// Truncating division by a positive interval; monotone in the dividend.
fn quotient(a: Interval, b: Interval) -> Interval {
    ((a.0 / b.0).min(a.0 / b.1), (a.1 / b.0).max(a.1 / b.1))
}

fn maximum(a: Interval, b: Interval) -> Interval {
    (a.0.max(b.0), a.1.max(b.1))
}

fn minimum(a: Interval, b: Interval) -> Interval {
    (a.0.min(b.0), a.1.min(b.1))
}

#[cfg(test)]
mod tests;
