//! Convolutions with one filter for each channel: lanes are channels, of input and output alike.

use std::ops::Range;

use super::layer::{Walk, store_bytes, store_integers};
use crate::lanes::{Lanes, MOST_LANES};
use crate::rescale::Rescale;

/// A depthwise convolution.
#[derive(Clone, Debug)]
pub(crate) struct Depthwise {
    pub(crate) channels: usize,
    /// Distance of each cell of the kernel from the first element of the window.
    pub(crate) taps: Vec<usize>,
    /// `[tap][channel]`, channels padded for vectors.
    pub(crate) weights: Vec<i32>,
    /// One for each channel, zero points folded in, padded for vectors.
    pub(crate) bias: Vec<i32>,
    /// None: the sums themselves are the result, as i32.
    pub(crate) rescale: Option<Rescale>,
}

/// Pixels that share each load of weights.
const PIXELS: usize = 4;

impl Depthwise {
    /// The length that a list with an element for each channel is padded to.
    pub(crate) const fn padded(channels: usize) -> usize {
        channels + MOST_LANES
    }

    /// Heap bytes of weights and constants.
    pub(crate) fn bytes(&self) -> usize {
        let rescale = self.rescale.as_ref().map_or(0, Rescale::bytes);
        (self.weights.len() + self.bias.len()) * size_of::<i32>() + rescale
    }

    /// As [`super::layer::run`], on bytes.
    #[inline(always)]
    pub(crate) fn run<S: Lanes>(
        &self,
        lanes: S,
        walk: Walk,
        input: &[u8],
        output: &mut [u8],
        rows: Range<usize>,
    ) {
        for row in rows.clone() {
            let input = &input[row * walk.row_step..];
            let at = (row - rows.start) * walk.output_row_step;
            let mut column = 0;
            while column + PIXELS <= walk.columns {
                self.pixels::<S, PIXELS>(lanes, walk, input, output, (at, column));
                column += PIXELS;
            }
            while column < walk.columns {
                self.pixels::<S, 1>(lanes, walk, input, output, (at, column));
                column += 1;
            }
        }
    }

    #[inline(always)]
    fn pixels<S: Lanes, const P: usize>(
        &self,
        lanes: S,
        walk: Walk,
        input: &[u8],
        output: &mut [u8],
        (row_at, column): (usize, usize),
    ) {
        for channel in (0..self.channels).step_by(S::LANES) {
            let width = (self.channels - channel).min(S::LANES);
            let mut sums = [lanes.load(&self.bias[channel..]); P];
            for (tap, weights) in self.taps.iter().zip(self.weights.chunks_exact(Self::padded(self.channels)))
            {
                let weights = lanes.load(&weights[channel..]);
                for (p, sum) in sums.iter_mut().enumerate() {
                    let x = lanes.widen(&input[(column + p) * walk.column_step + tap + channel..]);
                    *sum = lanes.multiply_add(*sum, x, weights);
                }
            }
            let at = |p: usize| row_at + (column + p) * walk.output_column_step + channel;
            if let Some(rescale) = &self.rescale {
                rescale.apply(lanes, channel, &mut sums);
                for (p, &vector) in sums.iter().enumerate() {
                    store_bytes(lanes, vector, &mut output[at(p)..][..width]);
                }
            } else {
                for (p, &vector) in sums.iter().enumerate() {
                    let to = &mut output[at(p) * size_of::<i32>()..][..width * size_of::<i32>()];
                    store_integers(lanes, vector, to);
                }
            }
        }
    }
}
