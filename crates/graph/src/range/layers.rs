//! Accumulator bounds of integer convolutions and matrix products.

use super::{Analysis, ChannelRange, Interval, product};
use crate::{ConvAttributes, Node};

impl Analysis<'_> {
    /// Bounds each filter's accumulator from its actual weights: a tap with weight `w` over an
    /// input channel of range `[lo, hi]` and zero point `z` adds the hull of 0,
    /// `w * (lo - z)` and `w * (hi - z)`.
    pub(super) fn conv_integer(&self, node: &Node, attributes: &ConvAttributes) -> Option<ChannelRange> {
        let inputs = self.centered(node, 0, 2)?;
        let Some(weights) = self.graph.constant_operand(node, 1) else {
            let weights = self.centered(node, 1, 3)?;
            let shape = self.shape(node.input(1)?);
            let taps: usize = shape[1..].iter().map(|dim| dim.fixed().unwrap_or(usize::MAX)).product();
            return Some(repeated(inputs.hull(), weights.hull(), taps));
        };
        let zero_point = self.weight_zero_point(node)?;
        let elements = weights.to_i64_vec()?;
        let (filters, per_group) = (weights.shape()[0], weights.shape()[1]);
        let kernel: usize = weights.shape()[2..].iter().product();
        let filters_per_group = filters / attributes.group;
        let bounds = (0..filters)
            .map(|filter| {
                let first_channel = filter / filters_per_group * per_group;
                let taps = &elements[filter * per_group * kernel..][..per_group * kernel];
                sum(taps.iter().enumerate().map(|(tap, &weight)| {
                    (inputs.channel(first_channel + tap / kernel), weight - zero_point)
                }))
            })
            .collect();
        Some(ChannelRange::per_channel(bounds))
    }

    /// The same bound for `a [.., K] * b [K, M]` with constant `b`.
    pub(super) fn matmul_integer(&self, node: &Node) -> Option<ChannelRange> {
        let inputs = self.centered(node, 0, 2)?;
        let a_rank = self.shape(node.input(0)?).len();
        // Only in a matrix does axis 1 run along K.
        let inputs = if a_rank == 2 { inputs } else { inputs.collapsed() };
        match self.graph.constant_operand(node, 1) {
            Some(weights) if weights.rank() == 2 => {
                let zero_point = self.weight_zero_point(node)?;
                let elements = weights.to_i64_vec()?;
                let (inner, columns) = (weights.shape()[0], weights.shape()[1]);
                let bounds: Vec<_> = (0..columns)
                    .map(|column| {
                        sum((0..inner)
                            .map(|k| (inputs.channel(k), elements[k * columns + column] - zero_point)))
                    })
                    .collect();
                let range = ChannelRange::per_channel(bounds);
                Some(if a_rank == 2 { range } else { range.collapsed() })
            }
            _ => {
                let weights = self.centered(node, 1, 3)?;
                let shape = self.shape(node.input(1)?);
                let inner = shape[shape.len() - 2].fixed().unwrap_or(usize::MAX);
                Some(repeated(inputs.hull(), weights.hull(), inner))
            }
        }
    }

    /// The range of an operand less its zero point.
    fn centered(&self, node: &Node, slot: usize, zero_point_slot: usize) -> Option<ChannelRange> {
        let range = self.operand(node, slot)?;
        if node.input(zero_point_slot).is_none() {
            return Some(range.clone());
        }
        let (low, high) = self.operand(node, zero_point_slot)?.hull();
        Some(range.map(|bound| (bound.0 - high, bound.1 - low)))
    }

    /// The weights' zero point, 0 where it is left out; none if it is not constant.
    fn weight_zero_point(&self, node: &Node) -> Option<i64> {
        if node.input(3).is_none() {
            return Some(0);
        }
        match self.graph.constant_operand(node, 3)?.to_i64_vec()?.as_slice() {
            [zero_point] => Some(*zero_point),
            _ => None,
        }
    }
}

fn sum(taps: impl Iterator<Item = (Interval, i64)>) -> Interval {
    taps.fold((0, 0), |(low, high), ((least, greatest), weight)| {
        let (a, b) = (least * weight, greatest * weight);
        (low + a.min(b).min(0), high + a.max(b).max(0))
    })
}

/// The bound of `taps` products of unknown weights.
fn repeated(inputs: Interval, weights: Interval, taps: usize) -> ChannelRange {
    let (low, high) = product(inputs, weights);
    let taps = i64::try_from(taps).unwrap_or(i64::MAX);
    ChannelRange::uniform(low.min(0).saturating_mul(taps), high.max(0).saturating_mul(taps))
}
