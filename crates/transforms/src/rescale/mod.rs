//! Fixed-point rescaling of an i32 accumulator to u8, with a proven error bound.
//!
//! Wanted, for an accumulator `A` in `[A_lo, A_hi]`, a real multiplier `M > 0` and a zero point
//! `z`: `clamp(round_half_up(A * M + z), 0, 255)`. With a multiplier `m`, a shift `s`, a
//! pre-shift `p` and `half = 2^(s-1)`, every channel is one of two forms.
//!
//! ```text
//! direct       A -> Relu or Max low -> Min high -> Mul m -> Add offset -> Div 2^s
//! pre-shifted  A -> Max low -> Sub low -> Div 2^p -> Min high -> Mul m -> Add offset -> Div 2^s
//! ```
//!
//! * Direct: `low = ceil(-(z * 2^s + half) / m)`, `high = ceil(((255 - z) * 2^s - half) / m)`,
//!   `offset = z * 2^s + half`. The dividend is in `[0, 255 * 2^s + m - 1]`. Where `M <= 1`,
//!   `m <= 2^s`, so that the quotient is in `[0, 255]`: the clip is where saturation happens.
//!   Where `M > 1`, `low` is rounded down instead and `Max 0 -> Min 256 * 2^s - 1` comes before
//!   the division.
//! * Pre-shifted, for multipliers so small that `m` would have too few bits: `low = 0` after a
//!   Relu, else `max(A_lo, ceil(-(z + 1/2) / M))`;
//!   `offset = min(z * 2^s + half + round(low * M * 2^s), 256 * 2^s - 1)`, never negative;
//!   `high = max(0, ceil((255 * 2^s - offset) / m))`.
//!   A channel of such a layer with `M > 1` has `low` rounded down and the dividend clipped, as
//!   in the direct form.
//!
//! `m <= 2^mantissa_bits - 1 < 2^23` and `s <= 23` keep every intermediate in int32, and every
//! dividend is non-negative, so that truncating division, floor division and both right shifts
//! give the same bits in every runtime.
//!
//! The sum before the last division differs from `A * M + z + 1/2` (in units of the output) by at
//! most [`Rescale::error_bounds`], so that the result differs from the wanted value by at
//! most 1, and only where `A * M + z` lies within that bound of a rounding boundary, as long as
//! the bound is below 1/2.

mod common_scale;
mod plan;
mod sum;

pub use common_scale::{
    CommonScale, CommonScaleError, Factors, LEAST_FACTOR_BITS, LogitRescale, common_scale,
};
pub use plan::{RescaleRequest, plan};
pub use sum::{SumRequest, SumRescale, plan_sum};

/// The widest multiplier, in bits.
pub const MAX_MANTISSA_BITS: u32 = 23;

/// Constants of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelRescale {
    /// The factor `m`, from 1 to `2^mantissa_bits - 1`.
    pub multiplier: i32,
    /// The last division is by `2^shift`; 1 to 23.
    pub shift: u32,
    /// The division before the multiplication is by `2^pre_shift`; 0 in the direct form.
    pub pre_shift: u32,
    /// The accumulator is clipped from below here. 0 after a Relu.
    pub low: i32,
    /// What is multiplied is clipped from above here.
    pub high: i32,
    /// Added to the product: zero point, half a unit and what `low` stands for.
    pub offset: i32,
}

impl ChannelRescale {
    /// The dividend at which the result is 255: `256 * 2^shift - 1`.
    pub fn greatest_dividend(&self) -> i32 {
        ((1 << (self.shift + 7)) - 1) * 2 + 1
    }
}

/// Which operators a layer's rescale is made of. All channels of a layer share one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RescaleForm {
    /// The accumulator is known to be non-negative: no clip from below.
    pub after_relu: bool,
    /// `Sub low` and `Div 2^p` come before the multiplication.
    pub pre_shifted: bool,
    /// Some multiplier exceeds 1: `Max 0` and `Min 256 * 2^s - 1` come before the last division.
    pub saturates_dividend: bool,
}

/// The fixed-point rescale of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Rescale {
    /// The operators.
    pub form: RescaleForm,
    /// The constants, one entry for each channel, or a single one where all channels agree.
    pub channels: Vec<ChannelRescale>,
    /// For each channel the largest distance of the sum before the last division to
    /// `A * M + z + 1/2`, in output units.
    pub error_bounds: Vec<f64>,
}

impl Rescale {
    /// The largest error bound of any channel, in output units.
    pub fn error_bound(&self) -> f64 {
        self.error_bounds.iter().copied().fold(0.0, f64::max)
    }

    /// What the operators compute for one accumulator; none where an intermediate leaves int32 or
    /// a dividend is negative, which [`plan`] rules out for accumulators in range.
    pub fn evaluate(&self, channel: usize, accumulator: i32) -> Option<u8> {
        let constants = &self.channels[channel.min(self.channels.len() - 1)];
        let low = if self.form.after_relu { 0 } else { constants.low };
        let mut x = accumulator.max(low);
        if self.form.pre_shifted {
            x = x.checked_sub(low).filter(|&x| x >= 0)? / (1 << constants.pre_shift);
        }
        x = x.min(constants.high).checked_mul(constants.multiplier)?.checked_add(constants.offset)?;
        if self.form.saturates_dividend {
            x = x.max(0).min(constants.greatest_dividend());
        }
        u8::try_from(Some(x).filter(|&x| x >= 0)? >> constants.shift).ok()
    }
}

/// Why a channel cannot be rescaled in fixed point.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RescaleError {
    /// The multiplier is zero, negative, infinite or not a number.
    #[error(
        "channel {channel}: the output scale gives the multiplier {multiplier}, expected a positive number"
    )]
    Multiplier {
        /// The channel.
        channel: usize,
        /// The real multiplier.
        multiplier: f64,
    },
    /// The multiplier is out of reach of every shift.
    #[error(
        "channel {channel}: no shift represents the multiplier {multiplier:e} in {mantissa_bits} bits; \
         quantize with a less extreme output scale{}",
        if *.mantissa_bits < MAX_MANTISSA_BITS { " or allow more mantissa bits" } else { "" }
    )]
    OutOfReach {
        /// The channel.
        channel: usize,
        /// The real multiplier.
        multiplier: f64,
        /// The bits allowed.
        mantissa_bits: u32,
    },
    /// The span of the accumulator above the clip does not fit int32.
    #[error("channel {channel}: accumulators from {low} to {high} span more than int32 holds")]
    Span {
        /// The channel.
        channel: usize,
        /// The least accumulator kept.
        low: i64,
        /// The greatest accumulator.
        high: i64,
    },
    /// The error bound is above half a unit, although the mantissa is as wide as it gets.
    #[error("channel {channel}: the rescale is off by up to {error_bound} units, expected at most 1/2")]
    Inexact {
        /// The channel.
        channel: usize,
        /// The bound, in output units.
        error_bound: f64,
    },
    /// The mantissa width is out of range.
    #[error("{bits} mantissa bits, expected 2 to {MAX_MANTISSA_BITS}")]
    MantissaBits {
        /// The bits asked for.
        bits: u32,
    },
}

#[cfg(test)]
mod tests;
