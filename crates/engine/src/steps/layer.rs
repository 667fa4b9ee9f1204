//! Convolutions and matrix products: sums of products, their bias, and what is behind them.
//!
//! A tile is some pixels by some vectors of filters. Its sums stay in registers over the whole depth of
//! the kernel; a vector of weights is loaded once for all pixels, and each group of a pixel's elements
//! is broadcast to all lanes. Pixels lie channels-last, so that a row of the kernel is one run of
//! memory, and nothing of the size of im2col is ever written. A matrix product is the same with an
//! image in place of a pixel.

use std::ops::Range;

use crate::lanes::{GROUP_BYTES, Lanes, MOST_LANES, element_bytes};
use crate::pack::{Block, Packed, Run};
use crate::rescale::Rescale;

/// A layer with packed weights.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) runs: Vec<Run>,
    pub(crate) packed: Packed,
    /// One for each channel, zero points folded in, padded for vectors.
    pub(crate) bias: Vec<i32>,
    /// None: the sums themselves are the result.
    pub(crate) rescale: Option<Rescale>,
    /// The results are bytes, else i32.
    pub(crate) is_bytes: bool,
    /// The greatest of each 2 by 2 results, side by side, is the result.
    pub(crate) pooled: bool,
}

impl Layer {
    /// Every block of filters.
    pub(crate) fn all_blocks(&self) -> Range<usize> {
        0..self.packed.blocks.len()
    }

    /// Heap bytes of weights and constants.
    pub(crate) fn bytes(&self) -> usize {
        let rescale = self.rescale.as_ref().map_or(0, Rescale::bytes);
        self.packed.weights.bytes().len() + self.bias.len() * size_of::<i32>() + rescale
    }
}

/// How a layer walks over its input and its output; steps count elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Rows of pixels, before pooling.
    pub(crate) rows: usize,
    /// Pixels in a row, before pooling.
    pub(crate) columns: usize,
    pub(crate) row_step: usize,
    pub(crate) column_step: usize,
    /// From one row of results to the next, after pooling.
    pub(crate) output_row_step: usize,
    /// From one pixel's results to the next one's.
    pub(crate) output_column_step: usize,
}

impl Walk {
    /// Rows of results, after pooling.
    pub(crate) fn output_rows(&self, pooled: bool) -> usize {
        if pooled { self.rows / 2 } else { self.rows }
    }
}

/// What of a layer is to be computed.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Rows of results, after pooling.
    pub(crate) rows: Range<usize>,
    /// Of filters.
    pub(crate) blocks: Range<usize>,
}

/// Computes a part of a layer.
///
/// `input` begins at the first element of the first window, and is readable a cache line
/// beyond the last one; `output` begins at the first result of the part's first row, and of its first block.
pub(crate) fn run<S: Lanes>(
    lanes: S,
    layer: &Layer,
    walk: Walk,
    input: &[u8],
    output: &mut [u8],
    part: Part,
) {
    let Part { rows, blocks } = part;
    let first_filter = layer.packed.blocks.get(blocks.start).map_or(0, |block| block.filter);
    for block in &layer.packed.blocks[blocks] {
        let tile = Tile { lanes, layer, walk, block, input, first_filter };
        match (layer.pooled, block.vectors) {
            (false, 1) => tile.single_rows::<1>(&rows, output),
            (false, 2) => tile.single_rows::<2>(&rows, output),
            (false, _) => tile.single_rows::<4>(&rows, output),
            (true, 1) => tile.row_pairs::<1>(&rows, output),
            (true, 2) => tile.row_pairs::<2>(&rows, output),
            (true, _) => tile.row_pairs::<4>(&rows, output),
        }
    }
}

/// The most pixels of a tile, for its vectors of filters: sums, weights, a broadcast and a product fit the
/// registers, and the pixels' addresses those of the integer unit.
const fn most_pixels<S: Lanes>(vectors: usize) -> usize {
    match (S::REGISTERS, vectors) {
        (32.., 1 | 2) => 12,
        (32.., _) => 6,
        (_, 1) => 8,
        (_, 2) => 4,
        _ => 2,
    }
}

/// The most vectors of filters of a tile that is at least four pixels wide.
pub(crate) const fn most_vectors<S: Lanes>() -> usize {
    if S::REGISTERS >= 32 { 4 } else { 2 }
}

struct Tile<'a, S> {
    lanes: S,
    layer: &'a Layer,
    walk: Walk,
    block: &'a Block,
    input: &'a [u8],
    /// That whose results come first in the output.
    first_filter: usize,
}

impl<S: Lanes> Tile<'_, S> {
    fn single_rows<const V: usize>(&self, rows: &Range<usize>, output: &mut [u8]) {
        for row in rows.clone() {
            let output = &mut output[(row - rows.start) * self.walk.output_row_step * self.result_bytes()..];
            for (column, pixels) in tiles(self.walk.columns, most_pixels::<S>(V)) {
                macro_rules! of {
                    ($($pixels:literal)*) => {
                        match pixels {
                            $($pixels if $pixels <= most_pixels::<S>(V) => {
                                self.lanes.vectorize(
                                    #[inline(always)]
                                    || {
                                        let sums = self.sums::<$pixels, V>(row, column);
                                        self.finish(sums, column, output);
                                    },
                                );
                            })*
                            _ => unreachable!("tiles are at most as wide as asked for"),
                        }
                    };
                }
                of!(1 2 3 4 5 6 7 8 9 10 11 12);
            }
        }
    }

    fn row_pairs<const V: usize>(&self, rows: &Range<usize>, output: &mut [u8]) {
        for row in rows.clone() {
            let output = &mut output[(row - rows.start) * self.walk.output_row_step * self.result_bytes()..];
            for (pair, pairs) in tiles(self.walk.columns / 2, most_pixels::<S>(V) / 2) {
                macro_rules! of {
                    ($($pairs:literal $pixels:literal),*) => {
                        match pairs {
                            $($pairs if $pixels <= most_pixels::<S>(V) => {
                                self.lanes.vectorize(
                                    #[inline(always)]
                                    || {
                                        let upper = self.pair_greatest::<$pairs, $pixels, V>(2 * row, 2 * pair);
                                        let lower = self.pair_greatest::<$pairs, $pixels, V>(2 * row + 1, 2 * pair);
                                        let mut greatest = upper;
                                        for p in 0..$pairs {
                                            for v in 0..V {
                                                greatest[p][v] = self.lanes.max(upper[p][v], lower[p][v]);
                                            }
                                        }
                                        self.finish(greatest, pair, output);
                                    },
                                );
                            })*
                            _ => unreachable!("tiles are at most as wide as asked for"),
                        }
                    };
                }
                of!(1 2, 2 4, 3 6, 4 8, 5 10, 6 12);
            }
        }
    }

    /// The greater sum of each two neighbours.
    #[inline(always)]
    fn pair_greatest<const PAIRS: usize, const P: usize, const V: usize>(
        &self,
        row: usize,
        column: usize,
    ) -> [[S::Vector; V]; PAIRS] {
        let sums = self.sums::<P, V>(row, column);
        let mut greatest = [[self.lanes.splat(0); V]; PAIRS];
        for (pair, greatest) in greatest.iter_mut().enumerate() {
            for (v, greatest) in greatest.iter_mut().enumerate() {
                *greatest = self.lanes.max(sums[2 * pair][v], sums[2 * pair + 1][v]);
            }
        }
        greatest
    }

    /// The sums of `P` pixels from that one on, with their bias.
    #[inline(always)]
    fn sums<const P: usize, const V: usize>(&self, row: usize, column: usize) -> [[S::Vector; V]; P] {
        let lanes = self.lanes;
        let mut bias = [lanes.splat(0); V];
        for (v, bias) in bias.iter_mut().enumerate() {
            *bias = lanes.load(&self.layer.bias[self.block.filter + v * S::LANES..]);
        }
        let mut sums = [bias; P];
        // One pixel alone has too few sums to keep the processor busy: those of odd groups are apart.
        let mut odd_sums = [[lanes.splat(0); V]; P];
        let first = row * self.walk.row_step + column * self.walk.column_step + self.block.input_offset;
        let vector_bytes = S::LANES * GROUP_BYTES;
        let mut packed = &self.layer.packed.weights.bytes()[self.block.weights..];
        for run in &self.layer.runs {
            let groups = run.elements.div_ceil(S::GROUP);
            let mut pixels: [&[[u8; GROUP_BYTES]]; P] = [&[]; P];
            for (p, pixel) in pixels.iter_mut().enumerate() {
                let start = (first + p * self.walk.column_step + run.offset) * element_bytes::<S>();
                *pixel = &self.input[start..].as_chunks().0[..groups];
            }
            let (here, rest) = packed.split_at(groups * V * vector_bytes);
            packed = rest;
            let mut group = 0;
            if P == 1 {
                while group + 2 <= groups {
                    self.add_group(&mut sums, &pixels, group, here);
                    self.add_group(&mut odd_sums, &pixels, group + 1, here);
                    group += 2;
                }
            }
            while group < groups {
                self.add_group(&mut sums, &pixels, group, here);
                group += 1;
            }
        }
        if P == 1 {
            for (sums, odd_sums) in sums.iter_mut().zip(&odd_sums) {
                for v in 0..V {
                    sums[v] = lanes.add(sums[v], odd_sums[v]);
                }
            }
        }
        sums
    }

    /// Adds the products of one group of each pixel's elements with the weights of that group.
    #[inline(always)]
    fn add_group<const P: usize, const V: usize>(
        &self,
        sums: &mut [[S::Vector; V]; P],
        pixels: &[&[[u8; GROUP_BYTES]]; P],
        group: usize,
        packed: &[u8],
    ) {
        let lanes = self.lanes;
        let vector_bytes = S::LANES * GROUP_BYTES;
        let here = &packed[group * V * vector_bytes..][..V * vector_bytes];
        let mut weights = [lanes.weights(here); V];
        for (v, weights) in weights.iter_mut().enumerate() {
            *weights = lanes.weights(&here[v * vector_bytes..]);
        }
        for p in 0..P {
            let x = pixels[p][group];
            for v in 0..V {
                sums[p][v] = lanes.dot(sums[p][v], x, weights[v]);
            }
        }
    }

    const fn result_bytes(&self) -> usize {
        if self.layer.is_bytes { 1 } else { size_of::<i32>() }
    }

    /// Writes the results of `P` pixels from that one of the row on.
    #[inline(always)]
    fn finish<const P: usize, const V: usize>(
        &self,
        sums: [[S::Vector; V]; P],
        column: usize,
        output: &mut [u8],
    ) {
        let lanes = self.lanes;
        for v in 0..V {
            let mut results = [lanes.splat(0); P];
            for (result, pixel) in results.iter_mut().zip(&sums) {
                *result = pixel[v];
            }
            self.finish_vector(results, v * S::LANES, column, output);
        }
    }

    /// Writes the results of the block's filters from that one on.
    #[inline(always)]
    fn finish_vector<const P: usize>(
        &self,
        mut results: [S::Vector; P],
        first: usize,
        column: usize,
        output: &mut [u8],
    ) {
        let lanes = self.lanes;
        let filter = self.block.filter + first;
        let width = (self.block.filters - first).min(S::LANES);
        let mut at = column * self.walk.output_column_step + filter - self.first_filter;
        if let Some(rescale) = &self.layer.rescale {
            rescale.apply(lanes, filter, &mut results);
        }
        if self.layer.is_bytes {
            for vector in results {
                store_bytes(lanes, vector, &mut output[at..][..width]);
                at += self.walk.output_column_step;
            }
        } else {
            for vector in results {
                store_integers(
                    lanes,
                    vector,
                    &mut output[at * size_of::<i32>()..][..width * size_of::<i32>()],
                );
                at += self.walk.output_column_step;
            }
        }
    }
}

/// As many lanes as there is room for, in the order of the machine's bytes.
#[inline(always)]
pub(crate) fn store_integers<S: Lanes>(lanes: S, vector: S::Vector, to: &mut [u8]) {
    let mut elements = [0; MOST_LANES];
    lanes.store(vector, &mut elements);
    for (to, element) in to.as_chunks_mut().0.iter_mut().zip(elements) {
        *to = element.to_ne_bytes();
    }
}

/// The low bytes of as many lanes as there is room for.
#[inline(always)]
pub(crate) fn store_bytes<S: Lanes>(lanes: S, vector: S::Vector, to: &mut [u8]) {
    if to.len() == S::LANES {
        lanes.narrow(vector, to);
    } else {
        let mut bytes = [0; MOST_LANES];
        lanes.narrow(vector, &mut bytes);
        to.copy_from_slice(&bytes[..to.len()]);
    }
}

/// `count` divided into as few parts of at most `most` as can be, as even as can be: `(first, length)`.
fn tiles(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = count.div_ceil(most);
    (0..parts).map(move |part| {
        let first = part * count / parts;
        (first, (part + 1) * count / parts - first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_everything_once() {
        for count in 0..200 {
            for most in 1..13 {
                let mut next = 0;
                for (first, length) in tiles(count, most) {
                    assert_eq!(first, next);
                    assert!((1..=most).contains(&length));
                    next += length;
                }
                assert_eq!(next, count);
            }
        }
    }
}
