//! The backward pass of a group of images.

use pulp::{Simd, WithSimd};

use crate::pack::{Packed, PackedLayer};
use crate::stack::{BLOCK, Block, Geometry, Stack};
use crate::tape::{Group, Image, Sums};

pub(crate) struct BackwardGroup<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) packed: &'a Packed,
    pub(crate) output_gradients: &'a [f32],
    pub(crate) group: &'a mut Group,
}

/// The gradient of a sum that is not zero.
#[derive(Clone, Copy)]
struct Entry {
    /// The number in the padded input of the upper left neighbor of its pixel.
    at: usize,
    gradient: f32,
}

/// Gradients of a layer's outputs, as they come from behind.
#[derive(Clone, Copy)]
enum Incoming<'a> {
    /// `[filters, height, width]`, of the last layer.
    Planes(&'a [f32]),
    /// In the padded form of the next layer's input.
    Padded(&'a [Block], &'a Geometry),
}

impl WithSimd for BackwardGroup<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { stack, packed, output_gradients, group } = self;
        for sums in &mut group.sums {
            sums.weights.fill([Block::ZERO; 9]);
            sums.bias.fill(0.0);
        }
        let mut entries = Vec::new();
        let mut dense = Vec::new();
        // Of the inputs of each layer but the first.
        let mut gradients: Vec<Vec<Block>> = stack.layers[1..]
            .iter()
            .map(|layer| vec![Block::ZERO; layer.blocks() * layer.padded_pixels()])
            .collect();
        let of_images = output_gradients.chunks_exact(stack.output().elements());
        for (image, output_gradients) in group.images.iter().zip(of_images) {
            let mut incoming = Incoming::Planes(output_gradients);
            for ((index, layer), outgoing) in
                stack.layers.iter().enumerate().skip(1).zip(&mut gradients).rev()
            {
                outgoing.fill(Block::ZERO);
                let pass = LayerPass { layer, packed: &packed.layers[index], image, index, incoming };
                pass.run(simd, &mut entries, &mut group.sums[index], outgoing);
                incoming = Incoming::Padded(outgoing, layer);
            }
            let layer = &stack.layers[0];
            scatter(layer, image, incoming, &mut dense);
            first_layer(simd, layer, &image.image, &dense, &mut group.sums[0]);
        }
    }
}

/// A layer that is not the first.
struct LayerPass<'a> {
    layer: &'a Geometry,
    packed: &'a PackedLayer,
    image: &'a Image,
    index: usize,
    incoming: Incoming<'a>,
}

impl LayerPass<'_> {
    /// Adds to the gradients of the layer's parameters and of its input.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S, entries: &mut Vec<Entry>, sums: &mut Sums, outgoing: &mut [Block]) {
        let Self { layer, packed, image, index, incoming } = self;
        let input = image.inputs[index - 1].chunks_exact(layer.padded_pixels());
        for filter in 0..layer.filters {
            list(layer, &image.winners[index], incoming, filter, entries);
            sums.bias[filter] += entries.iter().map(|entry| entry.gradient).sum::<f32>();
            let blocks = filter * layer.blocks()..(filter + 1) * layer.blocks();
            let parameters = packed.for_gradients[blocks.clone()].iter().zip(&mut sums.weights[blocks]);
            let pixels = input.clone().zip(outgoing.chunks_exact_mut(layer.padded_pixels()));
            for ((weights, weight_sums), (input, outgoing)) in parameters.zip(pixels) {
                for first in (0..BLOCK).step_by(S::F32_LANES) {
                    let taps = Taps { entries, width: layer.padded_width(), first };
                    taps.add_weight_gradients(simd, input, weight_sums);
                    taps.add_input_gradients(simd, weights, outgoing);
                }
            }
        }
    }
}

/// Lists a filter's gradients that are not zero.
#[inline(always)]
fn list(
    layer: &Geometry,
    winners: &[[u8; BLOCK]],
    incoming: Incoming<'_>,
    filter: usize,
    entries: &mut Vec<Entry>,
) {
    let shape = layer.output();
    let (block, lane) = (filter / BLOCK, filter % BLOCK);
    let step = if layer.pool { 2 } else { 1 };
    // Where each of the four candidates lies, from the first one.
    let places = [0, 1, layer.padded_width(), layer.padded_width() + 1];
    entries.resize(shape.height * shape.width, Entry { at: 0, gradient: 0.0 });
    let mut count = 0;
    let winners = winners[block * shape.height * shape.width..].chunks_exact(shape.width);
    for (row, winners) in winners.enumerate().take(shape.height) {
        let mut add = |column: usize, winner: u8, gradient: f32| {
            // Without a branch, which could not be predicted.
            let at = step * (row * layer.padded_width() + column) + places[usize::from(winner & 3)];
            entries[count] = Entry { at, gradient };
            count += usize::from(winner != Image::DEAD && gradient != 0.0);
        };
        match incoming {
            Incoming::Planes(planes) => {
                let gradients = &planes[(filter * shape.height + row) * shape.width..];
                for (column, (winners, &gradient)) in winners.iter().zip(gradients).enumerate() {
                    add(column, winners[lane], gradient);
                }
            }
            Incoming::Padded(padded, next) => {
                let gradients = &padded[block * next.padded_pixels() + next.pixel(row, 0)..];
                for (column, (winners, gradients)) in winners.iter().zip(gradients).enumerate() {
                    add(column, winners[lane], gradients.0[lane]);
                }
            }
        }
    }
    entries.truncate(count);
}

/// A vector of a block's channels from `first` on, at all nine taps of each entry.
#[derive(Clone, Copy)]
struct Taps<'a> {
    entries: &'a [Entry],
    width: usize,
    first: usize,
}

impl Taps<'_> {
    /// Adds `gradient * input` for each entry and tap.
    #[inline(always)]
    fn add_weight_gradients<S: Simd>(self, simd: S, input: &[Block], sums: &mut [Block; 9]) {
        let lanes = self.first..self.first + S::F32_LANES;
        let mut accumulators = [simd.splat_f32s(0.0); 9];
        for entry in self.entries {
            let gradient = simd.splat_f32s(entry.gradient);
            for (row, accumulators) in accumulators.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let Some(pixels) = input[entry.at + row * self.width..].first_chunk::<3>() else { return };
                for (pixel, accumulator) in pixels.iter().zip(accumulators) {
                    let pixel = S::as_simd_f32s(&pixel.0[lanes.clone()]).0[0];
                    *accumulator = simd.mul_add_e_f32s(gradient, pixel, *accumulator);
                }
            }
        }
        for (sums, accumulator) in sums.iter_mut().zip(accumulators) {
            let sum = &mut S::as_mut_simd_f32s(&mut sums.0[lanes.clone()]).0[0];
            *sum = simd.add_f32s(*sum, accumulator);
        }
    }

    /// Adds `gradient * weight` for each entry and tap.
    #[inline(always)]
    fn add_input_gradients<S: Simd>(self, simd: S, weights: &[Block; 9], outgoing: &mut [Block]) {
        let lanes = self.first..self.first + S::F32_LANES;
        let weights = weights.each_ref().map(|weights| S::as_simd_f32s(&weights.0[lanes.clone()]).0[0]);
        for entry in self.entries {
            let gradient = simd.splat_f32s(entry.gradient);
            for (row, weights) in weights.as_chunks::<3>().0.iter().enumerate() {
                let pixels = outgoing[entry.at + row * self.width..].first_chunk_mut::<3>();
                let Some(pixels) = pixels else { return };
                for (pixel, &weight) in pixels.iter_mut().zip(weights) {
                    let pixel = &mut S::as_mut_simd_f32s(&mut pixel.0[lanes.clone()]).0[0];
                    *pixel = simd.mul_add_e_f32s(gradient, weight, *pixel);
                }
            }
        }
    }
}

/// Puts the gradients of the first layer's outputs where they come from: `[blocks, height, width,
/// block]`.
#[inline(always)]
fn scatter(layer: &Geometry, image: &Image, incoming: Incoming<'_>, dense: &mut Vec<Block>) {
    let shape = layer.output();
    let step = if layer.pool { 2 } else { 1 };
    let places = [0, 1, layer.input.width, layer.input.width + 1];
    dense.clear();
    dense.resize(layer.filter_blocks() * layer.input.height * layer.input.width, Block::ZERO);
    let winners = &image.winners[0];
    for (block, dense) in dense.chunks_exact_mut(layer.input.height * layer.input.width).enumerate() {
        for pixel in 0..shape.height * shape.width {
            let (row, column) = (pixel / shape.width, pixel % shape.width);
            let winners = &winners[block * shape.height * shape.width + pixel];
            let gradients = match incoming {
                Incoming::Padded(padded, next) => {
                    padded[block * next.padded_pixels() + next.pixel(row, column)]
                }
                Incoming::Planes(planes) => Block(std::array::from_fn(|lane| {
                    let filter = block * BLOCK + lane;
                    planes.get(filter * shape.height * shape.width + pixel).copied().unwrap_or(0.0)
                })),
            };
            let targets = &mut dense[step * (row * layer.input.width + column)..];
            if layer.pool {
                for (lane, &winner) in winners.iter().enumerate() {
                    if winner != Image::DEAD {
                        targets[places[usize::from(winner)]].0[lane] = gradients.0[lane];
                    }
                }
            } else {
                targets[0] = Block(std::array::from_fn(|lane| {
                    if winners[lane] == Image::DEAD { 0.0 } else { gradients.0[lane] }
                }));
            }
        }
    }
}

/// Adds the gradients of the first layer's parameters: its channels are too few to fill a vector,
/// its filters do.
#[inline(always)]
fn first_layer<S: Simd>(simd: S, layer: &Geometry, input: &[f32], gradients: &[Block], sums: &mut Sums) {
    let channels = layer.input.channels;
    let of_block = layer.input.height * layer.input.width;
    for (index, weight_sums) in sums.weights.iter_mut().enumerate() {
        let (block, channel) = (index / channels, index % channels);
        let gradients = &gradients[block * of_block..][..of_block];
        let first_pixel = channel / layer.block * layer.padded_pixels();
        let input = &input[first_pixel * layer.block + channel % layer.block..];
        for first in (0..BLOCK).step_by(S::F32_LANES) {
            let mut accumulators = [simd.splat_f32s(0.0); 9];
            let mut bias = simd.splat_f32s(0.0);
            for (row, gradients) in gradients.chunks_exact(layer.input.width).enumerate() {
                for (column, gradients) in gradients.iter().enumerate() {
                    let gradient = S::as_simd_f32s(&gradients.0[first..][..S::F32_LANES]).0[0];
                    bias = simd.add_f32s(bias, gradient);
                    for (tap, accumulator) in accumulators.iter_mut().enumerate() {
                        let pixel = (row + tap / 3) * layer.padded_width() + column + tap % 3;
                        let value = simd.splat_f32s(input[pixel * layer.block]);
                        *accumulator = simd.mul_add_e_f32s(value, gradient, *accumulator);
                    }
                }
            }
            for (sums, accumulator) in weight_sums.iter_mut().zip(accumulators) {
                let sum = &mut S::as_mut_simd_f32s(&mut sums.0[first..][..S::F32_LANES]).0[0];
                *sum = simd.add_f32s(*sum, accumulator);
            }
            if channel == 0 {
                let sums = &mut sums.bias[block * BLOCK + first..][..S::F32_LANES];
                let sum = &mut S::as_mut_simd_f32s(sums).0[0];
                *sum = simd.add_f32s(*sum, bias);
            }
        }
    }
}
