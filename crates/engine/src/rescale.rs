//! From a sum in i32 to a byte: the fixed-point arithmetic behind a layer, in one form.
//!
//! Whatever chain of `Add`, `Max`, `Sub`, `Div`, `Min`, `Mul` a graph has behind a layer, in the order
//! that `scale-out` writes them, is this with some of the numbers neutral, channel by channel:
//!
//! ```text
//! v = max(sum, low) - subtract >> pre_shift
//! v = min(v, high) * mantissa + offset
//! v = min(max(v, floor), cap) >> shift
//! ```
//!
//! The divisions are by powers of two and of what is not negative, which the verifier has proven, so
//! that they are shifts. Every step is monotone and keeps the order of its operands, so that the
//! greatest of some bytes is the byte of the greatest sum: a max pooling may come first.

use crate::lanes::{Lanes, MOST_LANES};

/// The numbers of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChannelRescale {
    pub(crate) low: i32,
    pub(crate) subtract: i32,
    pub(crate) pre_shift: i32,
    pub(crate) high: i32,
    pub(crate) mantissa: i32,
    pub(crate) offset: i32,
    pub(crate) floor: i32,
    pub(crate) cap: i32,
    pub(crate) shift: i32,
}

impl ChannelRescale {
    /// Changes nothing.
    pub(crate) const NEUTRAL: Self = Self {
        low: i32::MIN,
        subtract: 0,
        pre_shift: 0,
        high: i32::MAX,
        mantissa: 1,
        offset: 0,
        floor: i32::MIN,
        cap: i32::MAX,
        shift: 0,
    };
}

/// The numbers of all channels, each in a list that vectors are loaded from.
#[derive(Clone, Debug)]
pub(crate) struct Rescale {
    low: Vec<i32>,
    subtract: Vec<i32>,
    pre_shift: Vec<i32>,
    high: Vec<i32>,
    mantissa: Vec<i32>,
    offset: Vec<i32>,
    floor: Vec<i32>,
    cap: Vec<i32>,
    shift: Vec<i32>,
    /// Neither `subtract` nor `pre_shift`, neither `floor` nor `cap`: the usual case.
    is_direct: bool,
}

impl Rescale {
    pub(crate) fn new(channels: &[ChannelRescale]) -> Self {
        let neutral = ChannelRescale::NEUTRAL;
        let list = |field: fn(&ChannelRescale) -> i32| {
            let padding = std::iter::repeat_n(field(&neutral), MOST_LANES);
            channels.iter().map(field).chain(padding).collect()
        };
        let is_direct = channels.iter().all(|channel| {
            (channel.subtract, channel.pre_shift) == (0, 0)
                && (channel.floor, channel.cap) == (neutral.floor, neutral.cap)
        });
        Self {
            low: list(|channel| channel.low),
            subtract: list(|channel| channel.subtract),
            pre_shift: list(|channel| channel.pre_shift),
            high: list(|channel| channel.high),
            mantissa: list(|channel| channel.mantissa),
            offset: list(|channel| channel.offset),
            floor: list(|channel| channel.floor),
            cap: list(|channel| channel.cap),
            shift: list(|channel| channel.shift),
            is_direct,
        }
    }

    /// Heap bytes.
    pub(crate) fn bytes(&self) -> usize {
        9 * self.low.len() * size_of::<i32>()
    }

    /// Turns the sums of as many channels as lanes, from `channel` on, into bytes, one in each lane.
    ///
    /// Plain loops: what a closure of the standard library does is compiled without our instructions.
    #[inline(always)]
    pub(crate) fn apply<S: Lanes, const N: usize>(
        &self,
        lanes: S,
        channel: usize,
        sums: &mut [S::Vector; N],
    ) {
        let (low, high) = (lanes.load(&self.low[channel..]), lanes.load(&self.high[channel..]));
        let (mantissa, offset) = (lanes.load(&self.mantissa[channel..]), lanes.load(&self.offset[channel..]));
        let shift = lanes.load(&self.shift[channel..]);
        if self.is_direct {
            for sum in sums {
                let clipped = lanes.min(lanes.max(*sum, low), high);
                *sum = lanes.shift_right(lanes.add(lanes.mul(clipped, mantissa), offset), shift);
            }
            return;
        }
        let (subtract, pre_shift) =
            (lanes.load(&self.subtract[channel..]), lanes.load(&self.pre_shift[channel..]));
        let (floor, cap) = (lanes.load(&self.floor[channel..]), lanes.load(&self.cap[channel..]));
        for sum in sums {
            let raised = lanes.sub(lanes.max(*sum, low), subtract);
            let clipped = lanes.min(lanes.shift_right(raised, pre_shift), high);
            let scaled = lanes.add(lanes.mul(clipped, mantissa), offset);
            *sum = lanes.shift_right(lanes.min(lanes.max(scaled, floor), cap), shift);
        }
    }
}
