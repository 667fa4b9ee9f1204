//! Weights in the orders in which the two passes read them.

use pulp::{Arch, Simd, WithSimd};

use crate::stack::{BLOCK, Block, Geometry, Stack};

/// The parameters of every layer, made ready once for both passes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed {
    pub(crate) layers: Vec<PackedLayer>,
}

#[derive(Clone, Debug)]
pub(crate) struct PackedLayer {
    /// For each group of filters `[9, channels, filters of the group]`; a group is two vectors of
    /// filters, and the last one may be one.
    pub(crate) for_values: Vec<f32>,
    /// `[filters, blocks, 9]`; none for the first layer, through which no gradient goes on.
    pub(crate) for_gradients: Vec<[Block; 9]>,
    /// `[filters]`, filled up to whole blocks.
    pub(crate) bias: Vec<f32>,
    /// The step of the outputs, where they are rounded.
    pub(crate) scale: Option<f32>,
}

impl Packed {
    pub(crate) fn new(stack: &Stack, parameters: &[f32], scales: Option<&[f32]>, arch: Arch) -> Self {
        let group = 2 * arch.dispatch(Lanes);
        let layers = stack.layers.iter().enumerate().map(|(index, layer)| {
            let own = &parameters[layer.parameters..][..layer.weights() + layer.filters];
            let (weights, bias) = own.split_at(layer.weights());
            let mut filled = vec![0.0; layer.filter_blocks() * BLOCK];
            filled[..layer.filters].copy_from_slice(bias);
            PackedLayer {
                for_values: for_values(layer, weights, group),
                for_gradients: if index == 0 { Vec::new() } else { for_gradients(layer, weights) },
                bias: filled,
                scale: scales.map(|scales| scales[index]),
            }
        });
        Self { layers: layers.collect() }
    }
}

/// Elements of a vector of this processor.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

fn for_values(layer: &Geometry, weights: &[f32], group: usize) -> Vec<f32> {
    let channels = layer.input.channels;
    let filters = layer.filter_blocks() * BLOCK;
    let mut packed = Vec::with_capacity(9 * channels * filters);
    for first in (0..filters).step_by(group) {
        for (tap, channel) in (0..9 * channels).map(|row| (row / channels, row % channels)) {
            packed.extend((first..(first + group).min(filters)).map(|filter| {
                if filter < layer.filters { weights[(filter * channels + channel) * 9 + tap] } else { 0.0 }
            }));
        }
    }
    packed
}

fn for_gradients(layer: &Geometry, weights: &[f32]) -> Vec<[Block; 9]> {
    let channels = layer.input.channels;
    let mut packed = vec![[Block::ZERO; 9]; layer.filters * layer.blocks()];
    for (filter, weights) in weights.chunks_exact(9 * channels).enumerate() {
        for (channel, taps) in weights.chunks_exact(9).enumerate() {
            let blocks = &mut packed[filter * layer.blocks() + channel / BLOCK];
            for (block, &weight) in blocks.iter_mut().zip(taps) {
                block.0[channel % BLOCK] = weight;
            }
        }
    }
    packed
}
