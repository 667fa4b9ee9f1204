//! What a forward pass leaves for the backward pass.

use crate::pack::Packed;
use crate::stack::{BLOCK, Block, GROUP, Geometry, Stack};

/// The inner activations of a batch, and the parameters that made them. Kept from step to step, it is
/// allocated once.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    pub(crate) groups: Vec<Group>,
    /// What the last forward pass computed with.
    pub(crate) packed: Packed,
    /// Images of the last forward pass.
    pub(crate) images: usize,
    /// Of the stack that there is room for.
    layers: Vec<Geometry>,
}

/// The share of one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) images: Vec<Image>,
    /// What the group's images sum to, for each layer.
    pub(crate) sums: Vec<Sums>,
}

/// What is kept of an image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The image in its padded form: blocks of channels, `[blocks, height + 2, width + 2, block]`
    /// with a border of zeros.
    pub(crate) image: Vec<f32>,
    /// The inputs of all layers but the first, in the same form.
    pub(crate) inputs: Vec<Vec<Block>>,
    /// For each output `[blocks, height, width]` which of its up to four candidates it is, as
    /// 2 * row + column, or [`Image::DEAD`].
    pub(crate) winners: Vec<Vec<[u8; BLOCK]>>,
}

/// Gradients of a layer, in the order in which the backward pass makes them.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    /// First layer: `[filter blocks, channels, 9]` of filters; others: `[filters, blocks, 9]` of
    /// channels.
    pub(crate) weights: Vec<[Block; 9]>,
    pub(crate) bias: Vec<f32>,
}

impl Image {
    /// The winner of an output that the ReLU made zero: no gradient flows back.
    pub(crate) const DEAD: u8 = 4;
}

impl Tape {
    /// Whether there is room for this stack's activations, and not for those of another one.
    pub(crate) fn is_of(&self, stack: &Stack) -> bool {
        self.layers == stack.layers
    }

    /// Makes room for a batch, and no more where there is room already.
    pub(crate) fn fit(&mut self, stack: &Stack, images: usize) {
        if !self.is_of(stack) {
            *self = Self { layers: stack.layers.clone(), ..Self::default() };
        }
        self.images = images;
        self.groups.resize_with(images.div_ceil(GROUP), Group::default);
        let mut left = images;
        for group in &mut self.groups {
            group.images.resize_with(left.min(GROUP), || Image::new(stack));
            left -= group.images.len();
            if group.sums.is_empty() {
                group.sums = stack.layers.iter().enumerate().map(Sums::zeros).collect();
            }
        }
    }
}

impl Image {
    fn new(stack: &Stack) -> Self {
        let first = &stack.layers[0];
        let image = vec![0.0; first.blocks() * first.padded_pixels() * first.block];
        let padded = |layer: &Geometry| vec![Block::ZERO; layer.blocks() * layer.padded_pixels()];
        let outputs = |layer: &Geometry| layer.filter_blocks() * layer.output().height * layer.output().width;
        let inputs = stack.layers[1..].iter().map(padded).collect();
        let winners = stack.layers.iter().map(|layer| vec![[0; BLOCK]; outputs(layer)]).collect();
        Self { image, inputs, winners }
    }
}

impl Sums {
    fn zeros((index, layer): (usize, &Geometry)) -> Self {
        let weights = if index == 0 {
            layer.filter_blocks() * layer.input.channels
        } else {
            layer.filters * layer.blocks()
        };
        Self { weights: vec![[Block::ZERO; 9]; weights], bias: vec![0.0; layer.filter_blocks() * BLOCK] }
    }
}

impl Group {
    /// Adds the group's sums to gradients in the layout of the parameters.
    pub(crate) fn add_gradients(&self, stack: &Stack, gradients: &mut [f32]) {
        for (index, (layer, sums)) in stack.layers.iter().zip(&self.sums).enumerate() {
            let own = &mut gradients[layer.parameters..][..layer.weights() + layer.filters];
            let (weights, bias) = own.split_at_mut(layer.weights());
            let channels = layer.input.channels;
            for (filter, weights) in weights.chunks_exact_mut(channels * 9).enumerate() {
                for (channel, taps) in weights.chunks_exact_mut(9).enumerate() {
                    let (sums, lane) = if index == 0 {
                        (&sums.weights[filter / BLOCK * channels + channel], filter % BLOCK)
                    } else {
                        (&sums.weights[filter * layer.blocks() + channel / BLOCK], channel % BLOCK)
                    };
                    for (weight, sum) in taps.iter_mut().zip(sums) {
                        *weight += sum.0[lane];
                    }
                }
            }
            for (bias, sum) in bias.iter_mut().zip(&sums.bias) {
                *bias += sum;
            }
        }
    }
}
