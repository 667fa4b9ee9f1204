//! The forward pass of a group of images.

use pulp::{Simd, WithSimd};

use crate::epilogue::{pool, rectify};
use crate::pack::{Packed, PackedLayer};
use crate::stack::{BLOCK, Block, Geometry, Stack};
use crate::tape::Group;

pub(crate) struct ForwardGroup<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) packed: &'a Packed,
    pub(crate) images: &'a [f32],
    pub(crate) outputs: &'a mut [f32],
    pub(crate) group: &'a mut Group,
}

impl WithSimd for ForwardGroup<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { stack, packed, images, outputs, group } = self;
        let images = images.chunks_exact(stack.input().elements());
        let outputs = outputs.chunks_exact_mut(stack.output().elements());
        let mut rows = Rows::default();
        for ((image, output), kept) in images.zip(outputs).zip(&mut group.images) {
            fill(&stack.layers[0], image, &mut kept.image);
            for (index, layer) in stack.layers.iter().enumerate() {
                let (inputs, next) = kept.inputs.split_at_mut(index);
                let target = match next.first_mut().zip(stack.layers.get(index + 1)) {
                    Some((input, layer)) => Target::Padded(input, layer),
                    None => Target::Planes(output),
                };
                let pass = LayerPass { layer, packed: &packed.layers[index] };
                let winners = &mut kept.winners[index];
                match (inputs.last(), layer.block) {
                    (Some(input), _) => pass.run(simd, input, &mut rows, winners, target),
                    (None, 1) => pass.run(simd, kept.image.as_chunks::<1>().0, &mut rows, winners, target),
                    (None, 4) => pass.run(simd, kept.image.as_chunks::<4>().0, &mut rows, winners, target),
                    (None, _) => {
                        pass.run(simd, kept.image.as_chunks::<BLOCK>().0, &mut rows, winners, target)
                    }
                }
            }
        }
    }
}

/// A block of channels at one pixel, of a width that the compiler knows.
trait Channels: Copy {
    const WIDTH: usize;

    fn channel(&self, index: usize) -> f32;
}

impl<const WIDTH: usize> Channels for [f32; WIDTH] {
    const WIDTH: usize = WIDTH;

    #[inline(always)]
    fn channel(&self, index: usize) -> f32 {
        self[index]
    }
}

impl Channels for Block {
    const WIDTH: usize = BLOCK;

    #[inline(always)]
    fn channel(&self, index: usize) -> f32 {
        self.0[index]
    }
}

/// Where the outputs of a layer go.
enum Target<'a> {
    /// Into the padded form of the next layer's input.
    Padded(&'a mut [Block], &'a Geometry),
    /// Out of the stack: `[filters, height, width]`.
    Planes(&'a mut [f32]),
}

/// Rows of all filters, `[blocks, width, block]`.
#[derive(Default)]
struct Rows {
    upper: Vec<Block>,
    lower: Vec<Block>,
    outputs: Vec<Block>,
}

/// Puts an image `[channels, height, width]` into its padded form.
fn fill(layer: &Geometry, image: &[f32], padded: &mut [f32]) {
    for (channel, plane) in image.chunks_exact(layer.input.height * layer.input.width).enumerate() {
        let (block, lane) = (channel / layer.block, channel % layer.block);
        for (row, pixels) in plane.chunks_exact(layer.input.width).enumerate() {
            let first = block * layer.padded_pixels() + layer.pixel(row, 0);
            let targets = padded[first * layer.block..].chunks_exact_mut(layer.block);
            for (target, &pixel) in targets.zip(pixels) {
                target[lane] = pixel;
            }
        }
    }
}

/// A layer with its parameters.
struct LayerPass<'a> {
    layer: &'a Geometry,
    packed: &'a PackedLayer,
}

impl LayerPass<'_> {
    #[inline(always)]
    fn run<S: Simd, C: Channels>(
        &self,
        simd: S,
        input: &[C],
        rows: &mut Rows,
        winners: &mut [[u8; BLOCK]],
        mut target: Target<'_>,
    ) {
        let layer = self.layer;
        let (shape, blocks) = (layer.output(), layer.filter_blocks());
        let Rows { upper, lower, outputs } = rows;
        for sums in [&mut *upper, &mut *lower] {
            sums.resize(blocks * layer.input.width, Block::ZERO);
        }
        outputs.resize(shape.width, Block::ZERO);
        for row in 0..shape.height {
            if layer.pool {
                self.convolve_row(simd, input, 2 * row, upper);
                self.convolve_row(simd, input, 2 * row + 1, lower);
            } else {
                self.convolve_row(simd, input, row, upper);
            }
            let sums = upper.chunks_exact(layer.input.width).zip(lower.chunks_exact(layer.input.width));
            for (block, (upper, lower)) in sums.enumerate() {
                let winners = &mut winners[(block * shape.height + row) * shape.width..][..shape.width];
                if layer.pool {
                    pool([upper, lower], self.packed.scale, outputs, winners);
                } else {
                    rectify(upper, self.packed.scale, outputs, winners);
                }
                match &mut target {
                    Target::Padded(input, next) => {
                        let first = block * next.padded_pixels() + next.pixel(row, 0);
                        input[first..][..shape.width].copy_from_slice(outputs);
                    }
                    Target::Planes(planes) => {
                        let filters = (layer.filters - block * BLOCK).min(BLOCK);
                        for lane in 0..filters {
                            let filter = block * BLOCK + lane;
                            let plane = &mut planes[(filter * shape.height + row) * shape.width..];
                            for (target, pixel) in plane.iter_mut().zip(outputs.iter()) {
                                *target = pixel.0[lane];
                            }
                        }
                    }
                }
            }
        }
    }

    /// The sums of one row, bias included.
    #[inline(always)]
    fn convolve_row<S: Simd, C: Channels>(&self, simd: S, input: &[C], row: usize, sums: &mut [Block]) {
        let Self { layer, packed } = *self;
        let filters = layer.filter_blocks() * BLOCK;
        let of_filter = 9 * layer.input.channels;
        let input = &input[row * layer.padded_width()..];
        let mut first = 0;
        while first < filters {
            let vectors = if filters - first >= 2 * S::F32_LANES { 2 } else { 1 };
            let weights = &packed.for_values[first * of_filter..][..vectors * S::F32_LANES * of_filter];
            let bias = &packed.bias[first..][..vectors * S::F32_LANES];
            let mut column = 0;
            while column < layer.input.width {
                let left = layer.input.width - column;
                let tile = Tile { layer, input: &input[column..], weights, bias, sums, first, column };
                // With 32 registers 14 pixels of two vectors fit, with 16 there is room for 6.
                let wide = S::F32_LANES >= BLOCK;
                column += match (vectors, left) {
                    (2, 14..) if wide => tile.run::<S, 14, 2>(simd),
                    (2, 7..) if wide => tile.run::<S, 7, 2>(simd),
                    (2, 6..) => tile.run::<S, 6, 2>(simd),
                    (2, 3..) => tile.run::<S, 3, 2>(simd),
                    (2, _) => tile.run::<S, 1, 2>(simd),
                    (_, 14..) if wide => tile.run::<S, 14, 1>(simd),
                    (_, 7..) => tile.run::<S, 7, 1>(simd),
                    (_, 3..) => tile.run::<S, 3, 1>(simd),
                    (_, _) => tile.run::<S, 1, 1>(simd),
                };
            }
            first += vectors * S::F32_LANES;
        }
    }
}

/// Some pixels of a row and one or two vectors of filters.
struct Tile<'a, C> {
    layer: &'a Geometry,
    /// From the first pixel's upper left neighbor on.
    input: &'a [C],
    weights: &'a [f32],
    bias: &'a [f32],
    sums: &'a mut [Block],
    first: usize,
    column: usize,
}

/// A tile whose size the compiler knows.
struct SizedTile<'a, C, const PIXELS: usize, const VECTORS: usize>(Tile<'a, C>);

impl<'a, C: Channels> Tile<'a, C> {
    /// Computes the sums and gives `PIXELS`.
    #[inline(always)]
    fn run<S: Simd, const PIXELS: usize, const VECTORS: usize>(self, simd: S) -> usize {
        // A function of its own: the compiler keeps the accumulators of one tile in registers, but
        // not those of many tiles that are one function.
        simd.vectorize(SizedTile::<'a, C, PIXELS, VECTORS>(self));
        PIXELS
    }
}

impl<C: Channels, const PIXELS: usize, const VECTORS: usize> WithSimd for SizedTile<'_, C, PIXELS, VECTORS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { layer, input, weights, bias, sums, first, column } = self.0;
        let (weights, bias) = (S::as_simd_f32s(weights).0, S::as_simd_f32s(bias).0);
        let bias: [S::f32s; VECTORS] = std::array::from_fn(|vector| bias[vector]);
        let mut accumulators = [bias; PIXELS];
        for block in 0..layer.blocks() {
            let channels = (layer.input.channels - block * C::WIDTH).min(C::WIDTH);
            for tap in 0..9 {
                let at = block * layer.padded_pixels() + tap / 3 * layer.padded_width() + tap % 3;
                let Some(pixels) = input[at..].first_chunk::<PIXELS>() else { return };
                let first = (tap * layer.input.channels + block * C::WIDTH) * VECTORS;
                let weights = weights[first..][..channels * VECTORS].as_chunks::<VECTORS>().0;
                for (channel, &weights) in weights.iter().enumerate().take(C::WIDTH) {
                    for (pixel, accumulators) in pixels.iter().zip(&mut accumulators) {
                        let value = simd.splat_f32s(pixel.channel(channel));
                        for (accumulator, weight) in accumulators.iter_mut().zip(weights) {
                            *accumulator = simd.mul_add_e_f32s(value, weight, *accumulator);
                        }
                    }
                }
            }
        }
        for (pixel, accumulators) in accumulators.into_iter().enumerate() {
            for (vector, accumulator) in accumulators.into_iter().enumerate() {
                let filter = first + vector * S::F32_LANES;
                let sums = &mut sums[filter / BLOCK * layer.input.width + column + pixel];
                S::as_mut_simd_f32s(&mut sums.0[filter % BLOCK..][..S::F32_LANES]).0[0] = accumulator;
            }
        }
    }
}
