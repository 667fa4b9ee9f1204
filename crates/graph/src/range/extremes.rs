//! The exact extremes of an integer layer's finished sums.
//!
//! The range of an accumulator holds partial sums and padded corners, so that a finished sum need
//! not reach its ends. At one position of the window every product reads another element of the
//! operand, and products over padding are 0; so the greatest finished sum there is the sum of the
//! greatest products of the taps inside the operand, and the extreme is the best of all positions.
//! Positions that see the same taps are alike, and there are few kinds of them.

use std::collections::HashSet;

use super::attained::Obstacle;
use super::{Interval, Ranges};
use crate::{ConvAttributes, Graph, Node, Op};

/// One end of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The least value.
    Low,
    /// The greatest value.
    High,
}

impl Side {
    /// Both, the low one first.
    pub const BOTH: [Self; 2] = [Self::Low, Self::High];

    /// `low` or `high`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::High => "high",
        }
    }

    /// This end of an interval.
    pub const fn of(self, interval: Interval) -> i64 {
        match self {
            Self::Low => interval.0,
            Self::High => interval.1,
        }
    }

    /// Whichever of two values is further towards this end.
    fn further(self, a: i64, b: i64) -> i64 {
        match self {
            Self::Low => a.min(b),
            Self::High => a.max(b),
        }
    }
}

/// The furthest that the finished sums of a filter or column go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extreme {
    /// The sum.
    pub value: i64,
    /// The index in [`LayerSums::windows`] of a position where it is met.
    pub window: usize,
}

/// A tap of a window that lies inside the operand, as row-major offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tap {
    /// The cell of the kernel.
    cell: usize,
    /// The cell of the operand's plane.
    input: usize,
}

/// A position of the window, standing for all that see the same taps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The index along each spatial axis of the result; empty for a matrix product.
    pub position: Vec<usize>,
    taps: Vec<Tap>,
}

/// An element of a layer's operand and the value that takes a sum to its extreme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The operand's channel: axis 1 of a convolution's operand, the last axis of a matrix.
    pub channel: usize,
    /// The row-major offset in the channel's plane; 0 for a matrix product.
    pub input: usize,
    /// The element, within the operand's range.
    pub value: i64,
}

/// The sums of an integer layer with constant weights and zero points.
///
/// A matrix product is a convolution without spatial axes, whose filters are its columns.
#[derive(Clone, Debug)]
pub struct LayerSums {
    filters: usize,
    filters_per_group: usize,
    channels_per_group: usize,
    cells: usize,
    /// Less their zero point, `[filter, channel of the group, cell]`.
    weights: Vec<i64>,
    /// The operand's range, one for each channel.
    operand: Vec<Interval>,
    zero_point: i64,
    windows: Vec<Window>,
}

/// The most products that the search for the extremes of one layer looks at: the kinds of positions
/// times the number of weights.
pub const LARGEST_SEARCH: usize = 1 << 28;

/// The greatest extent of a kernel along one axis whose positions are sorted into kinds.
pub const LARGEST_KERNEL: usize = 1 << 13;

impl LayerSums {
    /// The sums of a `ConvInteger` or `MatMulInteger` whose operand has the ranges given.
    ///
    /// # Errors
    /// Weights or zero points that are computed, weights of a matrix product that are no matrix, a
    /// kernel beyond [`LARGEST_KERNEL`], a search beyond [`LARGEST_SEARCH`], and any other operator.
    pub fn of(graph: &Graph, ranges: &Ranges, node: &Node) -> Result<Self, Obstacle> {
        if !node.op.is_integer_layer() {
            return Err(Obstacle::NotFollowed);
        }
        let weights = graph.constant_operand(node, 1).ok_or(Obstacle::OperandsNotConstant)?;
        let zero_point = |slot| match node.input(slot) {
            None => Ok(0),
            Some(_) => graph
                .constant_operand(node, slot)
                .and_then(|tensor| tensor.to_i64_vec()?.first().copied())
                .ok_or(Obstacle::OperandsNotConstant),
        };
        let weight_zero_point = zero_point(3)?;
        let elements = weights.to_i64_vec().ok_or(Obstacle::NotFollowed)?;
        let shape = weights.shape();
        let centered = |index: usize| elements[index] - weight_zero_point;
        let mut sums = if let Op::ConvInteger(attributes) = &node.op {
            let plane = plane(graph, node).ok_or(Obstacle::NotFollowed)?;
            let kernel = &shape[2..];
            if kernel.iter().any(|&extent| extent > LARGEST_KERNEL) {
                return Err(Obstacle::SearchTooLarge);
            }
            let axes = axes(&plane, kernel, attributes);
            let kinds = axes.iter().map(Vec::len).try_fold(1_usize, usize::checked_mul);
            let search = kinds.and_then(|kinds| kinds.checked_mul(elements.len()));
            if search.is_none_or(|products| products > LARGEST_SEARCH) {
                return Err(Obstacle::SearchTooLarge);
            }
            Self {
                filters: shape[0],
                filters_per_group: (shape[0] / attributes.group).max(1),
                channels_per_group: shape[1],
                cells: kernel.iter().product(),
                weights: (0..elements.len()).map(centered).collect(),
                operand: Vec::new(),
                zero_point: zero_point(2)?,
                windows: windows(&plane, kernel, &axes),
            }
        } else {
            let &[inner, columns] = shape else { return Err(Obstacle::OperandsNotConstant) };
            let transposed = (0..columns)
                .flat_map(|column| (0..inner).map(move |k| k * columns + column))
                .map(centered)
                .collect();
            Self {
                filters: columns,
                filters_per_group: columns.max(1),
                channels_per_group: inner,
                cells: 1,
                weights: transposed,
                operand: Vec::new(),
                zero_point: zero_point(2)?,
                windows: vec![Window { position: Vec::new(), taps: vec![Tap { cell: 0, input: 0 }] }],
            }
        };
        let operand = node.input(0).ok_or(Obstacle::NotFollowed)?;
        let range = ranges.get(operand).ok_or(Obstacle::NotFollowed)?;
        let follows_channels = matches!(node.op, Op::ConvInteger(_)) || graph.value(operand).ty.rank() == 2;
        let groups = sums.filters / sums.filters_per_group;
        let bound = |channel| if follows_channels { range.channel(channel) } else { range.hull() };
        sums.operand = (0..sums.channels_per_group * groups.max(1)).map(bound).collect();
        Ok(sums)
    }

    /// The kinds of positions, those that see the most taps first.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// How many filters or columns there are.
    pub fn filters(&self) -> usize {
        self.filters
    }

    /// The zero point of the operand.
    pub fn zero_point(&self) -> i64 {
        self.zero_point
    }

    /// The operand's range in each of its channels.
    pub fn operand(&self) -> &[Interval] {
        &self.operand
    }

    /// The extremes of each filter or column, low and high.
    pub fn extremes(&self) -> Vec<[Extreme; 2]> {
        (0..self.filters).map(|filter| Side::BOTH.map(|side| self.extreme(filter, side))).collect()
    }

    fn extreme(&self, filter: usize, side: Side) -> Extreme {
        let furthest = self.all_taps(filter, side, |product| side.further(product, 0));
        let mut best: Option<Extreme> = None;
        for (window, Window { taps, .. }) in self.windows.iter().enumerate() {
            let value = self.terms(filter, taps, side).map(|(product, _)| product).sum();
            if best.is_none_or(|best| side.further(best.value, value) != best.value) {
                best = Some(Extreme { value, window });
            }
            // No sum is further than every one that leaves products out.
            if value == furthest {
                break;
            }
        }
        best.unwrap_or(Extreme { value: 0, window: 0 })
    }

    /// The furthest sum if every tap were inside the operand.
    pub fn without_padding(&self, filter: usize, side: Side) -> i64 {
        self.all_taps(filter, side, |product| product)
    }

    fn all_taps(&self, filter: usize, side: Side, term: impl Fn(i64) -> i64) -> i64 {
        let taps: Vec<Tap> = (0..self.cells).map(|cell| Tap { cell, input: 0 }).collect();
        self.terms(filter, &taps, side).map(|(product, _)| term(product)).sum()
    }

    /// The operand's elements that take the sum of a filter at a window to its furthest.
    pub fn choices(&self, filter: usize, side: Side, window: usize) -> impl Iterator<Item = Choice> {
        self.terms(filter, &self.windows[window].taps, side).map(|(_, choice)| choice)
    }

    /// The furthest product of each tap, and the element that makes it.
    fn terms(&self, filter: usize, taps: &[Tap], side: Side) -> impl Iterator<Item = (i64, Choice)> {
        let first_channel = filter / self.filters_per_group * self.channels_per_group;
        let weights = &self.weights[filter * self.channels_per_group * self.cells..];
        (0..self.channels_per_group).flat_map(move |channel| {
            let (low, high) = self.operand[first_channel + channel];
            taps.iter().map(move |tap| {
                let weight = weights[channel * self.cells + tap.cell];
                let (at_low, at_high) = ((low - self.zero_point) * weight, (high - self.zero_point) * weight);
                let product = side.further(at_low, at_high);
                let value = if product == at_low { low } else { high };
                (product, Choice { channel: first_channel + channel, input: tap.input, value })
            })
        })
    }
}

/// The spatial extents of a convolution's operand.
fn plane(graph: &Graph, node: &Node) -> Option<Vec<usize>> {
    graph.operand(node, 0)?.ty.shape.get(2..)?.iter().map(crate::Dim::fixed).collect()
}

/// One kind of position along an axis: its index, and for each kernel cell inside the operand the
/// cell and the operand's index.
type AxisKind = (usize, Vec<(usize, usize)>);

/// The kinds of positions along each axis.
fn axes(plane: &[usize], kernel: &[usize], attributes: &ConvAttributes) -> Vec<Vec<AxisKind>> {
    (0..plane.len())
        .map(|axis| {
            let (extent, cells) = (plane[axis] as u128, kernel[axis]);
            let (stride, dilation) = (attributes.strides[axis] as u128, attributes.dilations[axis] as u128);
            let (begin, end) = (attributes.pads.begin[axis] as u128, attributes.pads.end[axis] as u128);
            let reach = (cells.max(1) as u128 - 1) * dilation + 1;
            let last_position = (extent + begin + end).saturating_sub(reach) / stride;
            // A kind begins where a cell enters the operand, or where one has left it.
            let mut positions = vec![0];
            for cell in 0..cells as u128 {
                let offset = cell * dilation;
                positions.push(begin.saturating_sub(offset).div_ceil(stride));
                if let Some(last_inside) = (extent + begin).checked_sub(offset + 1) {
                    positions.push(last_inside / stride + 1);
                }
            }
            positions.retain(|&position| position <= last_position);
            positions.sort_unstable();
            positions.dedup();
            // Indices grow with the cells, so that the cells inside are a run: its start and its
            // length tell one kind from another.
            let mut seen = HashSet::new();
            let mut kinds: Vec<AxisKind> = Vec::new();
            for position in positions {
                let inside = |cell: usize| {
                    let index = (position * stride + cell as u128 * dilation).checked_sub(begin)?;
                    (index < extent).then_some((cell, index as usize))
                };
                let taps: Vec<_> = (0..cells).filter_map(inside).collect();
                if seen.insert((taps.first().map(|&(cell, _)| cell), taps.len())) {
                    kinds.push((position as usize, taps));
                }
            }
            kinds
        })
        .collect()
}

/// Every combination of kinds, those with the most taps first, then in row-major order.
fn windows(plane: &[usize], kernel: &[usize], axes: &[Vec<AxisKind>]) -> Vec<Window> {
    let mut windows = vec![Window { position: Vec::new(), taps: vec![Tap { cell: 0, input: 0 }] }];
    for (axis, kinds) in axes.iter().enumerate() {
        windows = windows
            .iter()
            .flat_map(|outer| {
                kinds.iter().map(move |(position, cells)| {
                    let taps = outer.taps.iter().flat_map(|tap| {
                        cells.iter().map(move |&(cell, index)| Tap {
                            cell: tap.cell * kernel[axis] + cell,
                            input: tap.input * plane[axis] + index,
                        })
                    });
                    let mut spot = outer.position.clone();
                    spot.push(*position);
                    Window { position: spot, taps: taps.collect() }
                })
            })
            .collect();
    }
    windows.sort_by_key(|window| std::cmp::Reverse(window.taps.len()));
    windows
}
