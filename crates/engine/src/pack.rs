//! Weights as the kernels read them.

use crate::lanes::{GROUP_BYTES, Lanes, MOST_LANES, pack_weight};

/// A cache line: a vector of weights never lies in two of them.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes that begin at a cache line.
#[derive(Clone, Debug)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
}

impl Aligned {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let line = |chunk: &[u8]| {
            let mut line = Line([0; 64]);
            line.0[..chunk.len()].copy_from_slice(chunk);
            line
        };
        Self { lines: bytes.chunks(64).map(line).collect() }
    }

    pub(crate) fn zeroed(bytes: usize) -> Self {
        Self { lines: vec![Line([0; 64]); bytes.div_ceil(64)] }
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: a line is 64 bytes and nothing else, so that lines lie without gaps.
        #[expect(unsafe_code, reason = "a view of the same bytes without their alignment")]
        unsafe {
            std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * 64)
        }
    }

    #[inline(always)]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        #[expect(unsafe_code, reason = "a view of the same bytes without their alignment")]
        unsafe {
            std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * 64)
        }
    }
}

/// Consecutive elements of the input, from the window's first one on, that are multiplied with consecutive
/// weights: a row of the kernel where its cells touch, a cell where they do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Distance from the first element of the window.
    pub(crate) offset: usize,
    /// Elements; the last group is filled up with weights of 0.
    pub(crate) elements: usize,
}

/// Filters that a tile computes side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// Distance of the block's first input element from that of the pixel: where its group begins.
    pub(crate) input_offset: usize,
    /// Its first output channel.
    pub(crate) filter: usize,
    /// Output channels, at most `vectors` times the lanes.
    pub(crate) filters: usize,
    /// Vectors side by side: 1, 2 or 4.
    pub(crate) vectors: usize,
    /// Where its packed weights begin, in bytes.
    pub(crate) weights: usize,
}

/// Every block of a layer and its weights: `[group of the run][vector][lane][element of the group]`.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) blocks: Vec<Block>,
    pub(crate) weights: Aligned,
}

/// Packs the weights of a layer.
///
/// `filters` are those of each group, `input_step` the distance of a group's first input element from
/// that of the group before, and `most_vectors` what a block may have, and `weight(filter, element)` the weight of an output channel for the
/// element of that number, counted through the runs.
pub(crate) fn pack<S: Lanes>(
    groups: usize,
    filters: usize,
    input_step: usize,
    runs: &[Run],
    most_vectors: usize,
    weight: impl Fn(usize, usize) -> i8,
) -> Packed {
    let mut blocks = Vec::new();
    let mut bytes = Vec::new();
    for group in 0..groups {
        let mut done = 0;
        while done < filters {
            let vectors = match (filters - done).div_ceil(S::LANES).min(most_vectors) {
                1 => 1,
                2 | 3 => 2,
                _ => 4,
            };
            let block = Block {
                input_offset: group * input_step,
                filter: group * filters + done,
                filters: (filters - done).min(vectors * S::LANES),
                vectors,
                weights: bytes.len(),
            };
            let mut first = 0;
            for run in runs {
                for start in (0..run.elements).step_by(S::GROUP) {
                    for lane in 0..vectors * S::LANES {
                        for element in start..start + S::GROUP {
                            let is_weight = lane < block.filters && element < run.elements;
                            let value =
                                if is_weight { weight(block.filter + lane, first + element) } else { 0 };
                            pack_weight::<S>(value, &mut bytes);
                        }
                    }
                }
                first += run.elements;
            }
            done += block.filters;
            blocks.push(block);
        }
    }
    debug_assert!(bytes.len().is_multiple_of(S::LANES * GROUP_BYTES) && S::LANES <= MOST_LANES);
    Packed { blocks, weights: Aligned::new(&bytes) }
}
