//! The sum of two quantized values, each of its own scale, as a quantized value.
//!
//! Wanted is `clamp(round_half_up(M_a (a - z_a) + M_b (b - z_b) + z), 0, 255)` of two bytes, with
//! `M_a = s_a / s` and `M_b = s_b / s` (negative for a difference). With multipliers
//! `m = round(M * 2^s)`:
//!
//! ```text
//! a m_a + b m_b + offset -> Max low -> Min 256 * 2^s - 1 -> Div 2^s
//! ```
//!
//! - `offset = z * 2^s + 2^(s-1) - z_a m_a - z_b m_b`;
//! - `low` is 0, or `z * 2^s` after a Relu: no dividend is negative;
//! - `s` is the greatest up to 23 at which both multipliers fit their bits and every intermediate fits
//!   i32 for any two bytes.
//!
//! Only the multipliers are rounded, so that the sum before the division is off by at most
//! `|m_a / 2^s - M_a| max(z_a, 255 - z_a)` and the same for `b`, in units of the output.

use super::{MAX_MANTISSA_BITS, RescaleError};

/// The last division is by `2^MAX_SHIFT` at most, so that `256 * 2^s` fits int32.
const MAX_SHIFT: u32 = 23;

/// What a sum asks for.
#[derive(Clone, Copy, Debug)]
pub struct SumRequest {
    /// What one step of each operand is in steps of the result; not 0.
    pub multipliers: [f64; 2],
    /// The operands' zero points.
    pub zero_points: [u8; 2],
    /// The result's zero point.
    pub zero_point: u8,
    /// Whether a Relu comes right behind the sum.
    pub after_relu: bool,
    /// Multipliers are below `2^mantissa_bits`; 2 to [`MAX_MANTISSA_BITS`].
    pub mantissa_bits: u32,
}

/// The constants of a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SumRescale {
    /// The factors of the operands.
    pub multipliers: [i32; 2],
    /// Added to the products.
    pub offset: i32,
    /// The dividend is clipped from below here.
    pub low: i32,
    /// The division is by `2^shift`; 1 to 23.
    pub shift: u32,
    /// The largest distance of the sum before the division to the wanted one, in output units.
    pub error_bound: f64,
}

impl SumRescale {
    /// The dividend at which the result is 255: `256 * 2^shift - 1`.
    pub fn greatest_dividend(&self) -> i32 {
        ((1 << (self.shift + 7)) - 1) * 2 + 1
    }

    /// What the operators compute; none where an intermediate leaves int32, which [`plan_sum`]
    /// rules out.
    pub fn evaluate(&self, operands: [u8; 2]) -> Option<u8> {
        let product = |k: usize| i32::from(operands[k]).checked_mul(self.multipliers[k]);
        let sum = product(0)?.checked_add(product(1)?)?.checked_add(self.offset)?;
        u8::try_from(sum.max(self.low).min(self.greatest_dividend()) >> self.shift).ok()
    }
}

/// The constants that meet a request.
///
/// # Errors
/// A multiplier that is 0, not finite, or so large that no shift is left for it.
pub fn plan_sum(request: &SumRequest) -> Result<SumRescale, RescaleError> {
    let bits = request.mantissa_bits;
    if !(2..=MAX_MANTISSA_BITS).contains(&bits) {
        return Err(RescaleError::MantissaBits { bits });
    }
    let usable = |multiplier: f64| multiplier.is_finite() && multiplier != 0.0;
    if let Some(channel) = request.multipliers.iter().position(|&multiplier| !usable(multiplier)) {
        return Err(RescaleError::Multiplier { channel, multiplier: request.multipliers[channel] });
    }
    let largest =
        request.multipliers.iter().fold(0.0, |largest: f64, multiplier| largest.max(multiplier.abs()));
    let planned = (1..=MAX_SHIFT).rev().find_map(|shift| at_shift(request, shift));
    let planned =
        planned.ok_or(RescaleError::OutOfReach { channel: 0, multiplier: largest, mantissa_bits: bits })?;
    if bits == MAX_MANTISSA_BITS && planned.error_bound > super::plan::MAX_ERROR_BOUND {
        return Err(RescaleError::Inexact { channel: 0, error_bound: planned.error_bound });
    }
    Ok(planned)
}

fn at_shift(request: &SumRequest, shift: u32) -> Option<SumRescale> {
    let unit = f64::from(shift).exp2();
    let most = f64::from(request.mantissa_bits).exp2() - 1.0;
    let rounded = request.multipliers.map(|multiplier| (multiplier * unit).round());
    if rounded.iter().any(|multiplier| multiplier.abs() > most) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^23 in magnitude")]
    let multipliers = rounded.map(|multiplier| multiplier as i64);
    let zero_points = request.zero_points.map(i64::from);
    let lifted: i64 = (0..2).map(|k| zero_points[k] * multipliers[k]).sum();
    let lowest = i64::from(request.zero_point) << shift;
    let offset = lowest + (1 << (shift - 1)) - lifted;
    // Of any two bytes: each product, their sum, and that with the offset.
    let extreme = |end: fn(i64, i64) -> i64| multipliers.map(|multiplier| end(0, 255 * multiplier));
    let (low, high) = (extreme(i64::min), extreme(i64::max));
    let ends = [low[0] + low[1], high[0] + high[1]];
    let fits = |value: i64| i32::try_from(value).is_ok();
    let all = low.iter().chain(&high).chain(&ends).copied().chain(ends.map(|end| end + offset));
    if !all.chain([offset]).all(fits) {
        return None;
    }
    let distance = |k: usize| {
        let furthest = request.zero_points[k].max(255 - request.zero_points[k]);
        (multipliers[k] as f64 / unit - request.multipliers[k]).abs() * f64::from(furthest)
    };
    let narrow = |value: i64| i32::try_from(value).ok();
    Some(SumRescale {
        multipliers: [narrow(multipliers[0])?, narrow(multipliers[1])?],
        offset: narrow(offset)?,
        low: if request.after_relu { narrow(lowest)? } else { 0 },
        shift,
        error_bound: distance(0) + distance(1),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn multiplier() -> impl Strategy<Value = f64> {
        (-20.0f64..12.0, any::<bool>())
            .prop_map(|(exponent, negative)| if negative { -exponent.exp2() } else { exponent.exp2() })
    }

    proptest! {
        #[test]
        fn sums_are_within_their_bound_of_exact_arithmetic(
            a in multiplier(), b in multiplier(), zero_points in any::<[u8; 2]>(), zero_point: u8,
            after_relu: bool, mantissa_bits in 2u32..=23, operands in prop::collection::vec(any::<[u8; 2]>(), 64),
        ) {
            let request = SumRequest { multipliers: [a, b], zero_points, zero_point, after_relu, mantissa_bits };
            let Ok(rescale) = plan_sum(&request) else {
                // Multipliers beyond the bits, at the least shift.
                prop_assert!(a.abs().max(b.abs()) * 2.0 > f64::from(mantissa_bits).exp2() - 2.0);
                return Ok(());
            };
            let ends = [[0, 0], [0, 255], [255, 0], [255, 255]];
            for operands in operands.into_iter().chain(ends) {
                let found = rescale.evaluate(operands);
                let real = |k: usize| {
                    request.multipliers[k] * (f64::from(operands[k]) - f64::from(zero_points[k]))
                };
                let sum = real(0) + real(1);
                let sum = if after_relu { sum.max(0.0) } else { sum };
                let wanted = |shift: f64| {
                    let value = (sum + shift + f64::from(zero_point) + 0.5).floor();
                    value.clamp(if after_relu { f64::from(zero_point) } else { 0.0 }, 255.0)
                };
                // f64 itself rounds.
                let bound = rescale.error_bound + 1e-6 * (1.0 + sum.abs());
                let found = f64::from(found.expect("nothing leaves int32"));
                prop_assert!(
                    (wanted(-bound)..=wanted(bound)).contains(&found),
                    "{operands:?}: {found}, wanted {} within {bound}: {rescale:?}", wanted(0.0)
                );
            }
        }
    }

    #[test]
    fn equal_scales_add_exactly() {
        let request = SumRequest {
            multipliers: [0.5, 0.5],
            zero_points: [10, 20],
            zero_point: 3,
            after_relu: false,
            mantissa_bits: MAX_MANTISSA_BITS,
        };
        let rescale = plan_sum(&request).unwrap();
        assert_eq!(rescale.error_bound, 0.0);
        assert_eq!(rescale.evaluate([10, 20]), Some(3));
        assert_eq!(rescale.evaluate([12, 24]), Some(6));
        assert_eq!(rescale.evaluate([0, 0]), Some(0));
        assert_eq!(rescale.evaluate([255, 255]), Some(243));
    }

    #[test]
    fn what_no_shift_holds_is_refused() {
        let request = |multiplier| SumRequest {
            multipliers: [multiplier, 1.0],
            zero_points: [0, 0],
            zero_point: 0,
            after_relu: false,
            mantissa_bits: MAX_MANTISSA_BITS,
        };
        assert!(matches!(plan_sum(&request(1e9)), Err(RescaleError::OutOfReach { .. })));
        assert!(matches!(plan_sum(&request(0.0)), Err(RescaleError::Multiplier { channel: 0, .. })));
    }
}
