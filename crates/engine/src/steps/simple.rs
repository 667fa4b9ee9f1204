//! The steps without weights: they move bytes, take the greatest, look up, or add two branches.

use crate::lanes::Lanes;
use crate::rescale::Rescale;
use crate::steps::layer::store_bytes;

/// The copy of an image, channels-last, with a border around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Border {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    /// Cells before and after, of rows and of columns.
    pub(crate) rows: (usize, usize),
    pub(crate) columns: (usize, usize),
    /// What the border is filled with.
    pub(crate) fill: u8,
    /// Bytes become i16.
    pub(crate) widened: bool,
}

impl Border {
    pub(crate) const fn bordered_width(&self) -> usize {
        self.columns.0 + self.width + self.columns.1
    }

    /// Bytes of the copy.
    pub(crate) const fn bytes(&self) -> usize {
        let cells = (self.rows.0 + self.height + self.rows.1) * self.bordered_width() * self.channels;
        if self.widened { 2 * cells } else { cells }
    }

    #[inline(always)]
    pub(crate) fn run(&self, input: &[u8], output: &mut [u8]) {
        if self.widened {
            let (output, _) = output[..self.bytes()].as_chunks_mut();
            self.copy(input, output, |byte| i16::from(byte).to_ne_bytes());
        } else {
            self.copy(input, &mut output[..self.bytes()], |byte| byte);
        }
    }

    #[inline(always)]
    fn copy<T: Copy>(&self, input: &[u8], output: &mut [T], convert: impl Fn(u8) -> T) {
        let row = self.bordered_width() * self.channels;
        let (left, middle) = (self.columns.0 * self.channels, self.width * self.channels);
        let fill = convert(self.fill);
        let (above, rest) = output.split_at_mut(self.rows.0 * row);
        let (inside, below) = rest.split_at_mut(self.height * row);
        above.fill(fill);
        below.fill(fill);
        if row == 0 || middle == 0 {
            inside.fill(fill);
            return;
        }
        for (from, to) in input.chunks_exact(middle).zip(inside.chunks_exact_mut(row)) {
            to[..left].fill(fill);
            for (to, &from) in to[left..left + middle].iter_mut().zip(from) {
                *to = convert(from);
            }
            to[left + middle..].fill(fill);
        }
    }
}

/// Elements in another order: from channels-last with some channels to channels-last with others, where
/// `[channel][position]` is the order of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reorder {
    pub(crate) elements: usize,
    /// 1 for the order of the graph itself, as `elements` is.
    pub(crate) from_channels: usize,
    pub(crate) to_channels: usize,
}

impl Reorder {
    /// `T` is u8 or the bytes of an i32.
    #[inline(always)]
    pub(crate) fn run<T: Copy>(&self, input: &[T], output: &mut [T]) {
        let from_positions = self.elements / self.from_channels.max(1);
        let to_positions = self.elements / self.to_channels.max(1);
        for (position, pixel) in output[..self.elements].chunks_exact_mut(self.to_channels.max(1)).enumerate()
        {
            for (channel, to) in pixel.iter_mut().enumerate() {
                let index = channel * to_positions + position;
                *to = input[index % from_positions * self.from_channels + index / from_positions];
            }
        }
    }
}

/// `MaxPool` of bytes, channels-last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MaxPool {
    pub(crate) channels: usize,
    /// Extents of the input: height, width.
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) dilations: [usize; 2],
    pub(crate) pads: [usize; 2],
}

impl MaxPool {
    #[inline(always)]
    pub(crate) fn run(&self, input: &[u8], output: &mut [u8]) {
        let channels = self.channels;
        let cell = |axis: usize, at: usize, tap: usize| {
            let cell = (at * self.strides[axis] + tap * self.dilations[axis]).checked_sub(self.pads[axis])?;
            (cell < self.input[axis]).then_some(cell)
        };
        for (index, pixel) in output.chunks_exact_mut(channels).enumerate() {
            let (y, x) = (index / self.output[1], index % self.output[1]);
            pixel.fill(0);
            for row in (0..self.kernel[0]).filter_map(|tap| cell(0, y, tap)) {
                for column in (0..self.kernel[1]).filter_map(|tap| cell(1, x, tap)) {
                    let from = &input[(row * self.input[1] + column) * channels..][..channels];
                    for (to, &from) in pixel.iter_mut().zip(from) {
                        *to = from.max(*to);
                    }
                }
            }
        }
    }
}

/// Bytes looked up, in one table for all or in one for each channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) entries: Vec<u8>,
    /// Where each channel's table begins; one element where all share a table.
    pub(crate) starts: Vec<usize>,
}

impl Table {
    #[inline(always)]
    pub(crate) fn run(&self, input: &[u8], output: &mut [u8]) {
        if let [start] = self.starts[..] {
            let table = &self.entries[start..];
            for (to, &from) in output.iter_mut().zip(input) {
                *to = table[usize::from(from)];
            }
            return;
        }
        let channels = self.starts.len();
        for (to, from) in output.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
            for ((to, &from), &start) in to.iter_mut().zip(from).zip(&self.starts) {
                *to = self.entries[start + usize::from(from)];
            }
        }
    }
}

/// The sum of two branches, `a * m_a + b * m_b`, and what is behind it.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    pub(crate) channels: usize,
    /// For each channel, padded for vectors.
    pub(crate) mantissas: [Vec<i32>; 2],
    pub(crate) bias: Vec<i32>,
    pub(crate) rescale: Rescale,
}

impl Sum {
    /// `a` and `b` are readable a vector beyond their ends.
    #[inline(always)]
    pub(crate) fn run<S: Lanes>(&self, lanes: S, a: &[u8], b: &[u8], output: &mut [u8]) {
        let channels = self.channels;
        for (pixel, output) in output.chunks_exact_mut(channels).enumerate() {
            for channel in (0..channels).step_by(S::LANES) {
                let width = (channels - channel).min(S::LANES);
                let at = pixel * channels + channel;
                let product = |from: &[u8], mantissas: &[i32]| {
                    lanes.mul(lanes.widen(&from[at..]), lanes.load(&mantissas[channel..]))
                };
                let sum = lanes.add(product(a, &self.mantissas[0]), product(b, &self.mantissas[1]));
                let sum = lanes.add(sum, lanes.load(&self.bias[channel..]));
                let mut bytes = [sum];
                self.rescale.apply(lanes, channel, &mut bytes);
                store_bytes(lanes, bytes[0], &mut output[channel..][..width]);
            }
        }
    }

    /// Heap bytes.
    pub(crate) fn bytes(&self) -> usize {
        (2 * self.mantissas[0].len() + self.bias.len()) * size_of::<i32>() + self.rescale.bytes()
    }
}

/// Channels of several images side by side: where each of them goes, and how many it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Concat {
    pub(crate) channels: usize,
}

impl Concat {
    /// Copies one operand, `width` channels wide, to channel `first` of each pixel.
    #[inline(always)]
    pub(crate) fn run(&self, first: usize, width: usize, input: &[u8], output: &mut [u8]) {
        for (to, from) in output.chunks_exact_mut(self.channels).zip(input.chunks_exact(width)) {
            to[first..first + width].copy_from_slice(from);
        }
    }
}
