//! Logits of several scales brought to one, so that the greatest is found among raw integers.
//!
//! Wanted, for the sum `A` of channel `c` in `[A_lo, A_hi]` and its scale `M_c`: `A * M_c / t`
//! with one unit `t` for all channels, as fine as int32 allows.
//!
//! ```text
//! direct       A -> Mul m
//! pre-shifted  A -> Sub low -> Div 2^p -> Mul m -> Add offset
//! ```
//!
//! * Direct: `t = max |A_c| M_c / (2^31 - 1)` and `m = floor(M_c / t)`, where every `m` has at least
//!   [`LEAST_FACTOR_BITS`] bits. A logit is off by less than `2^-12` of itself.
//! * Pre-shifted, for sums so wide that `m` would have fewer bits: `low = min(A_lo, 0)`,
//!   `t = max (A_hi - low) M_c / (2^31 - 1) * (1 + 2^-12)`, `p` the least with
//!   `M_c 2^p / t >= 2^12`, at most 30, `m = round(M_c 2^p / t)`, at least 1, and
//!   `offset = floor(low * m / 2^p + m / 2)` where `p > 0`, else `low * m`. What the first division
//!   cuts off is at most `m`, and half of that is given back. So a logit is off by at most `2^-13` of
//!   itself and `m / 2 + 1` units; where `p` is 30 and `m` small, by `m + 2` units. `m` exceeds
//!   `2^13` only in a channel with `p = 0`, which loses nothing to a division.
//!
//! Nothing leaves int32: the product is at most `(A_hi - low) m / 2^p`, and `m / 2^p` exceeds
//! `M_c / t` by `2^-13` of it at most, which the unit leaves room for, and `m / 2` more; `offset` is
//! not below `-2^31 (1 - 2^-13)` and at most `m / 2`. The dividend is not negative.

use onnx2int_graph::range::Interval;

/// What brings the logits to one scale.
#[derive(Clone, Debug, PartialEq)]
pub struct CommonScale {
    /// Real value of one unit of every logit.
    pub unit: f64,
    /// The constants, for each channel.
    pub factors: Factors,
    /// How far the scale of a logit is off, relative to it, in the channel where it is furthest
    /// among those that the division leaves any bits of.
    pub relative_error: f64,
    /// What is lost beside that, in units.
    pub lost_units: f64,
}

/// The form, and its constants for each channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Factors {
    /// Every sum is multiplied.
    Direct(Vec<i32>),
    /// Every sum is shifted first.
    PreShifted(Vec<LogitRescale>),
}

/// Constants of one channel of the pre-shifted form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogitRescale {
    /// Subtracted first: the least sum, or 0.
    pub low: i32,
    /// The division is by `2^pre_shift`; 0 to 30.
    pub pre_shift: u32,
    /// The factor, at least 1.
    pub multiplier: i32,
    /// Added at the end.
    pub offset: i32,
}

/// Why logits cannot be brought to one scale.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum CommonScaleError {
    /// A scale is zero, negative, infinite or not a number.
    #[error("channel {channel} has the scale {scale}, expected a positive number")]
    Scale {
        /// The channel.
        channel: usize,
        /// Its scale.
        scale: f64,
    },
    /// The sums of a channel span more than int32.
    #[error(
        "the sums of channel {channel} span {low} to {high}, more than int32 holds; quantize the last layer's \
         weights per tensor, as `onnx2int quantize` does"
    )]
    Span {
        /// The channel.
        channel: usize,
        /// The least sum, or 0.
        low: i64,
        /// The greatest sum, or 0.
        high: i64,
    },
}

/// Bits that every factor has at least: a factor of fewer is off by more than one in 4 096.
pub const LEAST_FACTOR_BITS: u32 = 12;

/// The finest common unit, and the factors.
///
/// `scales[c]` is the real value of one unit of channel `c`, `ranges[c]` what its sums can be
/// (within int32), or there is one range for all.
///
/// # Errors
/// See [`CommonScaleError`].
pub fn common_scale(scales: &[f64], ranges: &[Interval]) -> Result<CommonScale, CommonScaleError> {
    if let Some(channel) = scales.iter().position(|scale| !(scale.is_finite() && *scale > 0.0)) {
        return Err(CommonScaleError::Scale { channel, scale: scales[channel] });
    }
    let range = |channel: usize| ranges[if ranges.len() == 1 { 0 } else { channel }];
    let magnitude = |channel: usize| {
        let (low, high) = range(channel);
        low.unsigned_abs().max(high.unsigned_abs()).max(1) as f64
    };
    let unit = widest(scales, magnitude) / f64::from(i32::MAX);
    let exact: Vec<f64> = scales.iter().map(|scale| scale / unit).collect();
    if exact.iter().all(|&factor| factor >= f64::from(1_u32 << LEAST_FACTOR_BITS)) {
        // The magnitude is at least 1, so that no factor exceeds int32.
        #[expect(clippy::cast_possible_truncation, reason = "between 2^12 and i32::MAX")]
        let factors = exact.iter().map(|factor| factor.floor() as i32).collect();
        let relative_error = exact.iter().map(|factor| factor.fract() / factor).fold(0.0, f64::max);
        return Ok(CommonScale { unit, factors: Factors::Direct(factors), relative_error, lost_units: 0.0 });
    }
    pre_shifted(scales, range)
}

/// The largest real value that any channel reaches, of magnitudes or spans.
fn widest(scales: &[f64], extent: impl Fn(usize) -> f64) -> f64 {
    scales.iter().enumerate().map(|(channel, scale)| extent(channel) * scale).fold(0.0, f64::max)
}

fn pre_shifted(scales: &[f64], range: impl Fn(usize) -> Interval) -> Result<CommonScale, CommonScaleError> {
    let hull = |channel: usize| {
        let (low, high) = range(channel);
        (low.min(0), high.max(0))
    };
    for channel in 0..scales.len() {
        let (low, high) = hull(channel);
        if high - low > i64::from(i32::MAX) {
            return Err(CommonScaleError::Span { channel, low, high });
        }
    }
    let least = f64::from(1_u32 << LEAST_FACTOR_BITS);
    let span = |channel: usize| (hull(channel).1 - hull(channel).0).max(1) as f64;
    let unit = widest(scales, span) / f64::from(i32::MAX) * (1.0 + 1.0 / least);
    let (mut relative_error, mut lost_units) = (0.0_f64, 0.0_f64);
    let channels = scales.iter().enumerate().map(|(channel, scale)| {
        let exact = scale / unit;
        let pre_shift = (0..30).find(|&p| exact * f64::from(1_u32 << p) >= least).unwrap_or(30);
        let shifted = exact * f64::from(1_u32 << pre_shift);
        let rounded = shifted.round().max(1.0);
        if shifted >= least {
            relative_error = relative_error.max((rounded / shifted - 1.0).abs());
        }
        if pre_shift > 0 {
            let lost = if shifted >= least { rounded / 2.0 + 1.0 } else { rounded + 2.0 };
            lost_units = lost_units.max(lost);
        }
        let low = hull(channel).0;
        #[expect(clippy::cast_possible_truncation, reason = "the unit keeps factors within int32")]
        let multiplier = rounded as i32;
        // low * m + m / 2 * 2^p, all of it divided by 2^p and rounded down.
        let half = if pre_shift > 0 { i64::from(multiplier) << (pre_shift - 1) } else { 0 };
        let offset = (low * i64::from(multiplier) + half) >> pre_shift;
        LogitRescale {
            low: i32::try_from(low).expect("sums are int32"),
            pre_shift,
            multiplier,
            offset: i32::try_from(offset).expect("the unit leaves room for it"),
        }
    });
    let factors = Factors::PreShifted(channels.collect());
    Ok(CommonScale { unit, factors, relative_error, lost_units })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the operators compute; none where something leaves int32 or a dividend is negative.
    fn evaluate(factors: &Factors, channel: usize, sum: i32) -> Option<i32> {
        match factors {
            Factors::Direct(factors) => sum.checked_mul(factors[channel]),
            Factors::PreShifted(channels) => {
                let LogitRescale { low, pre_shift, multiplier, offset } = channels[channel];
                let dividend = sum.checked_sub(low).filter(|&dividend| dividend >= 0)?;
                (dividend / (1 << pre_shift)).checked_mul(multiplier)?.checked_add(offset)
            }
        }
    }

    fn check(scales: &[f64], ranges: &[Interval]) -> CommonScale {
        let common = common_scale(scales, ranges).unwrap();
        for (channel, (&scale, &(low, high))) in scales.iter().zip(ranges).enumerate() {
            let between = (1..20).map(|step| low + (high - low) / 20 * step);
            for sum in between.chain([low, low + 1, -1, 0, 1, high - 1, high]) {
                if !(low..=high).contains(&sum) {
                    continue;
                }
                let found = evaluate(&common.factors, channel, sum as i32);
                let Some(found) = found else { panic!("{sum} in channel {channel} of {common:?}") };
                let wanted = sum as f64 * scale / common.unit;
                let allowed = wanted.abs() * (common.relative_error + 1e-12) + common.lost_units;
                assert!(
                    (f64::from(found) - wanted).abs() <= allowed,
                    "{sum} in channel {channel}: {found}, wanted {wanted} by {allowed}, {common:?}"
                );
            }
        }
        assert!(common.relative_error <= 1.0 / 4096.0, "{common:?}");
        assert!(common.lost_units <= 4098.0, "{common:?}");
        common
    }

    #[test]
    fn narrow_sums_are_only_multiplied() {
        let common = check(&[0.5, 0.25, 0.0625], &[(-1000, 900), (-20, 500), (0, 77)]);
        assert!(matches!(common.factors, Factors::Direct(_)));
    }

    #[test]
    fn wide_sums_and_scales_far_apart_are_shifted_first() {
        let wide = (-100_000_000, 70_000_000);
        let common = check(&[0.5, 0.25, 1e-9], &[wide, wide, wide]);
        assert!(matches!(common.factors, Factors::PreShifted(_)));
        check(&[1.0, 1e-30], &[(-(1 << 30), (1 << 30) - 1), (-3, 1 << 30)]);
        check(&[1.0, 1e30], &[(0, i64::from(i32::MAX)), (i64::from(i32::MIN) + 1, 0)]);
    }

    #[test]
    fn what_int32_cannot_shift_is_refused_by_channel() {
        let whole = (i64::from(i32::MIN), i64::from(i32::MAX));
        let error = common_scale(&[1.0, 1.0], &[(0, 1), whole]).unwrap_err();
        assert_eq!(error, CommonScaleError::Span { channel: 1, low: whole.0, high: whole.1 });
        let error = common_scale(&[1.0, 0.0], &[whole]).unwrap_err();
        assert_eq!(error, CommonScaleError::Scale { channel: 1, scale: 0.0 });
    }

    proptest! {
        #[test]
        fn every_logit_is_within_its_bound(
            channels in prop::collection::vec((-60.0..20.0_f64, 0.0..30.0_f64, 0.0..30.0_f64), 1..6)
        ) {
            let scales: Vec<f64> = channels.iter().map(|(scale, ..)| scale.exp2()).collect();
            let ranges: Vec<Interval> =
                channels.iter().map(|(_, low, high)| (-(low.exp2() as i64), high.exp2() as i64)).collect();
            check(&scales, &ranges);
        }
    }
}
