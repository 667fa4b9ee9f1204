//! Which bounds of the range analysis are attained: met exactly by some input.
//!
//! # What is claimed
//!
//! - A bound of a channel of a tensor is attained in **network** scope if some input of the graph,
//!   of the declared type, gives exactly that value at some element of the channel.
//! - It is attained in **layer** scope if this holds with the nearest integer layer before it taken
//!   by itself: some operand of the layer, each element inside its range, gives that value.
//! - Otherwise there is an [`Obstacle`]. For a layer it means that the bound is **not** attained
//!   (unless the search was too large, or the layer is outside of what is decided); for other tensors
//!   it means that nothing is claimed.
//!
//! # Rules
//!
//! - A bound where both ends of a channel are equal: network.
//! - A graph input takes both ends of its type, and a constant has its extremes: network.
//! - A tensor is **free** if its elements are those of one graph input, each once, moved by
//!   Identity, Dropout, Flatten, Reshape, Transpose, Squeeze or Unsqueeze; any of them may then
//!   take any value, whatever the others have.
//! - A layer's bound is attained if [`LayerSums::extremes`] reach it: in network scope if its operand
//!   is free, else in layer scope.
//! - An elementwise operator with one computed operand, whose other operands are the same throughout
//!   a channel, maps an end of the operand that is attained to a value that is attained; the bound
//!   is attained if it is one of the two values. That asks for the operand's channels to be the
//!   result's, or for an operand that is free or has one channel only.
//! - `MaxPool` hands on the high bound if each element is in some window, and the low one
//!   if besides its windows are single elements. Of a free tensor both are attained, unless windows
//!   have gaps.
//! - The seven that move hand on the bounds of a channel where the range keeps it as one, and take
//!   those of any channel where the range merges all; Slice and Gather do so for free tensors.
//! - `Concat` hands on the bounds of its operands in the same way.

use super::extremes::{LayerSums, Side};
use super::{ChannelRange, Interval, Ranges, constant_range};
use crate::{Dim, Graph, Node, NodeId, Op, PoolWindow, Source, ValueId, Verified};

/// Whether a bound is attained; see [the module](self) for what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attained {
    /// By an input of the graph.
    Network,
    /// By an operand of the nearest layer that is inside its ranges.
    Layer,
    /// Nothing is claimed, for this reason.
    No(Obstacle),
}

/// Why a bound is not claimed to be attained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// The operand never equals its zero point, so that only partial sums and padding add nothing.
    PartialSumsOnly,
    /// At every position the window reaches into the padding where the bound needs a product.
    NoSuchWindow,
    /// Weights or zero points of a layer are computed, or weights are no matrix.
    OperandsNotConstant,
    /// The positions of the window are too many to look at.
    SearchTooLarge,
    /// The type does not hold the exact range; what comes out then is not defined.
    Overflows,
    /// More than one operand is computed, or none.
    SeveralOperands,
    /// A constant operand has several values in one channel.
    ConstantVaries,
    /// No attained end of the operand is mapped to this bound.
    OperandNotAttained,
    /// The range speaks of several positions or channels of which only some attain it.
    PositionsMerged,
    /// The maximum of several elements is low only if all of them are low at once.
    WindowOfSeveral,
    /// Not every element of the operand has a part in the result.
    NotAllElementsKept,
    /// The bound is that of the type.
    TypeRange,
    /// The operator is not followed.
    NotFollowed,
}

impl Attained {
    /// Every value.
    pub const ALL: [Self; 15] = [
        Self::Network,
        Self::Layer,
        Self::No(Obstacle::PartialSumsOnly),
        Self::No(Obstacle::NoSuchWindow),
        Self::No(Obstacle::OperandsNotConstant),
        Self::No(Obstacle::SearchTooLarge),
        Self::No(Obstacle::Overflows),
        Self::No(Obstacle::SeveralOperands),
        Self::No(Obstacle::ConstantVaries),
        Self::No(Obstacle::OperandNotAttained),
        Self::No(Obstacle::PositionsMerged),
        Self::No(Obstacle::WindowOfSeveral),
        Self::No(Obstacle::NotAllElementsKept),
        Self::No(Obstacle::TypeRange),
        Self::No(Obstacle::NotFollowed),
    ];

    /// Whether the bound is attained, in whatever scope.
    pub const fn is_claimed(self) -> bool {
        matches!(self, Self::Network | Self::Layer)
    }

    /// `network`, `layer`, or the name of the obstacle behind `no: `.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Layer => "layer",
            Self::No(Obstacle::PartialSumsOnly) => "no: partial-sums-only",
            Self::No(Obstacle::NoSuchWindow) => "no: no-such-window",
            Self::No(Obstacle::OperandsNotConstant) => "no: operands-not-constant",
            Self::No(Obstacle::SearchTooLarge) => "no: search-too-large",
            Self::No(Obstacle::Overflows) => "no: overflows",
            Self::No(Obstacle::SeveralOperands) => "no: several-operands",
            Self::No(Obstacle::ConstantVaries) => "no: constant-varies",
            Self::No(Obstacle::OperandNotAttained) => "no: operand-not-attained",
            Self::No(Obstacle::PositionsMerged) => "no: positions-merged",
            Self::No(Obstacle::WindowOfSeveral) => "no: window-of-several",
            Self::No(Obstacle::NotAllElementsKept) => "no: not-all-elements-kept",
            Self::No(Obstacle::TypeRange) => "no: type-range",
            Self::No(Obstacle::NotFollowed) => "no: not-followed",
        }
    }
}

/// Which bounds of a tensor are attained, one entry for each of [`ChannelRange::bounds`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attainment {
    /// The low bounds and the high ones.
    pub channels: Vec<[Attained; 2]>,
    /// Whether the tensor is free: see [the module](self).
    pub is_free: bool,
}

impl Attainment {
    fn uniform(attained: Attained, channels: usize) -> Self {
        Self { channels: vec![[attained; 2]; channels], is_free: false }
    }
}

/// Decides for every integer value of a graph which of its bounds are attained.
///
/// The result has an entry for each value, by its index; none where there is no range.
/// `ranges` must be the analysis of this graph.
pub fn attained(graph: Verified<'_>, ranges: &Ranges) -> Vec<Option<Attainment>> {
    let graph = graph.graph();
    let mut pass = Pass { graph, ranges, found: vec![None; graph.values().len()] };
    for (id, value) in graph.values() {
        let Some(range) = ranges.get(id) else { continue };
        let attainment = Attainment::uniform(Attained::Network, range.bounds.len());
        pass.found[id.index()] = match value.source {
            Source::Input => Some(Attainment { is_free: true, ..attainment }),
            Source::Constant(_) => Some(attainment),
            Source::Node(_) => None,
        };
    }
    for (id, node) in graph.nodes() {
        pass.found[node.output.index()] = pass.visit(id, node);
    }
    pass.found
}

struct Pass<'g> {
    graph: &'g Graph,
    ranges: &'g Ranges,
    found: Vec<Option<Attainment>>,
}

/// A tensor's ranges and which of them are attained.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    range: &'a ChannelRange,
    attainment: &'a Attainment,
}

impl Bounds<'_> {
    fn channel(&self, index: usize) -> (Interval, [Attained; 2]) {
        let index = if self.range.axis.is_some() { index } else { 0 };
        (self.range.bounds[index], self.attainment.channels[index])
    }

    /// Whether the end of the hull is attained in some channel.
    fn any(&self, side: Side) -> Attained {
        let end = side.of(self.range.hull());
        let at_end = |(bound, attained): (&Interval, &[Attained; 2])| {
            (side.of(*bound) == end).then_some(attained[side as usize])
        };
        let entries = || self.range.bounds.iter().zip(&self.attainment.channels).filter_map(at_end);
        entries().find(|attained| attained.is_claimed()).or_else(|| entries().next()).unwrap_or(NOT_FOLLOWED)
    }
}

const NOT_FOLLOWED: Attained = Attained::No(Obstacle::NotFollowed);

impl Pass<'_> {
    fn visit(&self, id: NodeId, node: &Node) -> Option<Attainment> {
        let range = self.ranges.get(node.output)?;
        let mut attainment = self.result(node, range);
        for overflow in self.ranges.overflows().iter().filter(|overflow| overflow.node == id) {
            attainment.channels[overflow.channel] = [Attained::No(Obstacle::Overflows); 2];
        }
        for (attained, &(low, high)) in attainment.channels.iter_mut().zip(&range.bounds) {
            if low == high {
                *attained = [Attained::Network; 2];
            }
        }
        Some(attainment)
    }

    fn result(&self, node: &Node, range: &ChannelRange) -> Attainment {
        let no = |obstacle| Attainment::uniform(Attained::No(obstacle), range.bounds.len());
        match &node.op {
            Op::ConvInteger(_) | Op::MatMulInteger => self.layer(node, range),
            Op::Relu
            | Op::Clip
            | Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Max
            | Op::Min
            | Op::Cast { .. } => self.elementwise(node, range),
            Op::MaxPool(attributes) => self.max_pool(node, attributes),
            Op::Identity
            | Op::Dropout
            | Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Squeeze
            | Op::Unsqueeze => self.moved(node, range),
            Op::Slice | Op::Gather { .. } => match self.bounds(node, 0) {
                // A computed index may depend on the very elements that it picks.
                Some(operand) if operand.attainment.is_free && self.picks_by_constants(node) => Attainment {
                    is_free: false,
                    ..Attainment::uniform(operand.attainment.channels[0][0], range.bounds.len())
                },
                _ => no(Obstacle::NotAllElementsKept),
            },
            Op::Concat { .. } => self.concat(node, range),
            Op::Constant(_) => Attainment::uniform(Attained::Network, range.bounds.len()),
            Op::QuantizeLinear { .. } => no(Obstacle::TypeRange),
            Op::Conv(_)
            | Op::Gemm(_)
            | Op::MatMul
            | Op::AveragePool(_)
            | Op::GlobalAveragePool
            | Op::ReduceMean { .. }
            | Op::BatchNormalization { .. }
            | Op::Activation(_)
            | Op::PRelu
            | Op::Pad
            | Op::DequantizeLinear { .. }
            | Op::LogSoftmax { .. }
            | Op::Softmax { .. }
            | Op::Shape { .. }
            | Op::ArgMax { .. } => no(Obstacle::NotFollowed),
        }
    }

    /// Whether which elements a Slice or a Gather gives is known before anything runs.
    fn picks_by_constants(&self, node: &Node) -> bool {
        !matches!(node.op, Op::Gather { .. }) || self.graph.constant_operand(node, 1).is_some()
    }

    fn bounds(&self, node: &Node, slot: usize) -> Option<Bounds<'_>> {
        let id = node.input(slot)?;
        Some(Bounds { range: self.ranges.get(id)?, attainment: self.found[id.index()].as_ref()? })
    }

    fn layer(&self, node: &Node, range: &ChannelRange) -> Attainment {
        let operand = match (LayerSums::of(self.graph, self.ranges, node), self.bounds(node, 0)) {
            (Ok(sums), Some(operand)) => Ok((sums, operand)),
            (Err(obstacle), _) => Err(obstacle),
            (Ok(_), None) => Err(Obstacle::NotFollowed),
        };
        let (sums, operand) = match operand {
            Ok(found) => found,
            Err(obstacle) => return Attainment::uniform(Attained::No(obstacle), range.bounds.len()),
        };
        let scope = if operand.attainment.is_free { Attained::Network } else { Attained::Layer };
        let extremes = sums.extremes();
        let decide = |filter: usize, side: Side, bound: i64| {
            if extremes[filter][side as usize].value == bound {
                scope
            } else if sums.without_padding(filter, side) == bound {
                Attained::No(Obstacle::NoSuchWindow)
            } else {
                Attained::No(Obstacle::PartialSumsOnly)
            }
        };
        let channels = if range.bounds.len() == sums.filters() {
            let bounds = range.bounds.iter().enumerate();
            bounds
                .map(|(filter, &bound)| Side::BOTH.map(|side| decide(filter, side, side.of(bound))))
                .collect()
        } else {
            // One range for all columns: that of the column that goes furthest.
            let hull = range.hull();
            vec![Side::BOTH.map(|side| {
                let decided: Vec<Attained> =
                    (0..sums.filters()).map(|filter| decide(filter, side, side.of(hull))).collect();
                let claimed = decided.iter().find(|attained| attained.is_claimed());
                claimed.or(decided.last()).copied().unwrap_or(NOT_FOLLOWED)
            })]
        };
        Attainment { channels, is_free: false }
    }

    fn elementwise(&self, node: &Node, range: &ChannelRange) -> Attainment {
        let no = |obstacle| Attainment::uniform(Attained::No(obstacle), range.bounds.len());
        let computed: Vec<usize> = (0..node.inputs.len())
            .filter(|&slot| node.input(slot).is_some() && self.graph.constant_operand(node, slot).is_none())
            .collect();
        let &[slot] = computed.as_slice() else { return no(Obstacle::SeveralOperands) };
        let Some(operand) = self.bounds(node, slot) else { return no(Obstacle::TypeRange) };
        let rank = self.graph.value(node.output).ty.rank();
        let operand_shape = node.input(slot).map(|id| &self.graph.value(id).ty.shape);
        // Whether an element that attains a bound is in every channel of the result.
        let same_rank = operand_shape.is_some_and(|shape| shape.len() == rank);
        let one_channel = operand_shape.and_then(|shape| shape.get(1)) == Some(&Dim::Fixed(1));
        let follows = match (operand.range.axis, range.axis) {
            (_, None) => true,
            (Some(_), Some(_)) => same_rank,
            (None, Some(_)) => same_rank && (one_channel || operand.attainment.is_free),
        };
        if !follows {
            return no(Obstacle::PositionsMerged);
        }
        let constants: Vec<Option<ChannelRange>> =
            (0..node.inputs.len()).map(|slot| self.constant(node, slot, rank)).collect();
        let channels = range.bounds.iter().enumerate().map(|(channel, &bound)| {
            let mut values = vec![None; node.inputs.len()];
            for (value, constant) in values.iter_mut().zip(&constants) {
                let Some(constant) = constant else { continue };
                let (low, high) =
                    if range.axis.is_some() { constant.channel(channel) } else { constant.hull() };
                if low != high {
                    return [Attained::No(Obstacle::ConstantVaries); 2];
                }
                *value = Some(low);
            }
            let ends = match (operand.range.axis, range.axis) {
                (Some(_), None) => (operand.range.hull(), Side::BOTH.map(|side| operand.any(side))),
                _ => operand.channel(channel),
            };
            Side::BOTH.map(|side| {
                let meets = |end: Side| {
                    values[slot] = Some(end.of(ends.0));
                    (apply(&node.op, &values) == Some(side.of(bound))).then_some(ends.1[end as usize])
                };
                let mut met: Vec<Attained> = Side::BOTH.into_iter().filter_map(meets).collect();
                met.retain(|attained| attained.is_claimed());
                met.first().copied().unwrap_or(Attained::No(Obstacle::OperandNotAttained))
            })
        });
        Attainment { channels: channels.collect(), is_free: false }
    }

    /// The values of a constant operand along axis 1 of a result of that rank.
    fn constant(&self, node: &Node, slot: usize, rank: usize) -> Option<ChannelRange> {
        let tensor = self.graph.constant_operand(node, slot)?;
        let range = constant_range(tensor, 1)?;
        match rank - tensor.rank() {
            0 => Some(range),
            1 => constant_range(tensor, 0),
            _ => Some(range.collapsed()),
        }
    }

    fn max_pool(&self, node: &Node, attributes: &PoolWindow) -> Attainment {
        let Some(operand) = self.bounds(node, 0) else { return Attainment::uniform(NOT_FOLLOWED, 1) };
        let has_gaps = attributes.dilations.iter().any(|&dilation| dilation > 1);
        // Without gaps the first window has an element, since pads are smaller than windows.
        if operand.attainment.is_free && !has_gaps {
            return Attainment { is_free: false, ..operand.attainment.clone() };
        }
        let covers = self.covers(node, attributes);
        let single = attributes.kernel_shape.iter().all(|&extent| extent == 1);
        let channels = operand.attainment.channels.iter().map(|&[low, high]| {
            let kept = |attained: Attained, keeps: bool, obstacle| {
                if keeps || !attained.is_claimed() { attained } else { Attained::No(obstacle) }
            };
            [
                kept(low, single && covers, Obstacle::WindowOfSeveral),
                kept(high, covers, Obstacle::NotAllElementsKept),
            ]
        });
        Attainment { channels: channels.collect(), is_free: false }
    }

    /// Whether each element of a pool's operand is in some window.
    fn covers(&self, node: &Node, attributes: &PoolWindow) -> bool {
        let extents = |id: ValueId| self.graph.value(id).ty.shape.iter().skip(2).map(Dim::fixed);
        let Some(operand) = node.input(0) else { return false };
        extents(operand).zip(extents(node.output)).enumerate().all(|(axis, extents)| {
            let (Some(input), Some(output)) = extents else { return false };
            let (kernel, stride) = (attributes.kernel_shape[axis], attributes.strides[axis]);
            let end = (output - 1).saturating_mul(stride).saturating_add(kernel);
            attributes.dilations[axis] == 1
                && stride <= kernel
                && end >= input.saturating_add(attributes.pads.begin[axis])
        })
    }

    fn moved(&self, node: &Node, range: &ChannelRange) -> Attainment {
        let Some(operand) = self.bounds(node, 0) else {
            return Attainment::uniform(NOT_FOLLOWED, range.bounds.len());
        };
        let is_free = operand.attainment.is_free;
        let channels = if range.axis.is_none() {
            vec![Side::BOTH.map(|side| operand.any(side))]
        } else if range.bounds.len() == operand.range.bounds.len() {
            operand.attainment.channels.clone()
        } else {
            vec![[Attained::No(Obstacle::PositionsMerged); 2]; range.bounds.len()]
        };
        Attainment { channels, is_free }
    }

    fn concat(&self, node: &Node, range: &ChannelRange) -> Attainment {
        let merged = [Attained::No(Obstacle::PositionsMerged); 2];
        let mut channels = Vec::new();
        let mut bounds = Vec::new();
        for (slot, &input) in node.inputs.iter().enumerate() {
            let (Some(operand), Some(id)) = (self.bounds(node, slot), input) else {
                return Attainment::uniform(NOT_FOLLOWED, range.bounds.len());
            };
            let extent = self.graph.value(id).ty.shape.get(1).and_then(Dim::fixed);
            match (operand.range.axis, range.axis) {
                (None, Some(_)) => {
                    let extent = extent.unwrap_or(1);
                    let keeps = extent == 1 || operand.attainment.is_free;
                    let entry = if keeps { operand.attainment.channels[0] } else { merged };
                    channels.extend(std::iter::repeat_n(entry, extent));
                }
                _ => {
                    channels.extend_from_slice(&operand.attainment.channels);
                    bounds.extend_from_slice(&operand.range.bounds);
                }
            }
        }
        if range.axis.is_none() {
            let joined = ChannelRange { axis: None, bounds };
            let attainment = Attainment { channels, is_free: false };
            let all = Bounds { range: &joined, attainment: &attainment };
            channels = vec![Side::BOTH.map(|side| all.any(side))];
        }
        Attainment { channels, is_free: false }
    }
}

/// An elementwise operator on single numbers; none where an operand is missing that it needs, where
/// the result is beyond i64, or where the operator is none of these.
fn apply(op: &Op, operands: &[Option<i64>]) -> Option<i64> {
    let first = operands.first().copied().flatten()?;
    let fold = |f: fn(i64, i64) -> Option<i64>| {
        operands[1..].iter().try_fold(first, |result, operand| f(result, (*operand)?))
    };
    match op {
        Op::Relu => Some(first.max(0)),
        Op::Clip => {
            let low = operands.get(1).copied().flatten().unwrap_or(i64::MIN);
            let high = operands.get(2).copied().flatten().unwrap_or(i64::MAX);
            Some(first.max(low).min(high))
        }
        Op::Add => fold(i64::checked_add),
        Op::Sub => fold(i64::checked_sub),
        Op::Mul => fold(i64::checked_mul),
        Op::Div => fold(i64::checked_div),
        Op::Max => fold(|a, b| Some(a.max(b))),
        Op::Min => fold(|a, b| Some(a.min(b))),
        Op::Cast { to } => {
            let (low, high) = to.integer_range()?;
            (low..=high).contains(&first).then_some(first)
        }
        Op::Conv(_)
        | Op::ConvInteger(_)
        | Op::Gemm(_)
        | Op::MatMul
        | Op::MatMulInteger
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::GlobalAveragePool
        | Op::ReduceMean { .. }
        | Op::BatchNormalization { .. }
        | Op::Activation(_)
        | Op::PRelu
        | Op::Pad
        | Op::QuantizeLinear { .. }
        | Op::DequantizeLinear { .. }
        | Op::LogSoftmax { .. }
        | Op::Softmax { .. }
        | Op::Flatten { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Gather { .. }
        | Op::Slice
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Identity
        | Op::Dropout
        | Op::Constant(_)
        | Op::Shape { .. }
        | Op::ArgMax { .. } => None,
    }
}

#[cfg(test)]
mod tests;
