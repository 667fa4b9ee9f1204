//! The wanted result of a rescale, in whole numbers: nothing here knows how `transforms` does it.

/// What a quantizer of an accumulator should give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// `clamp(floor(A / scale + zero_point + 1/2), 0, 255)`.
    pub(crate) value: i64,
    /// How far `A / scale + zero_point + 1/2` is from the nearest whole number, 0 to 1/2.
    pub(crate) distance: f64,
}

/// The exact result; none where the scale is not positive and normal, or so extreme (beyond about
/// `2^-60` to `2^60`) that 128 bits do not hold the fraction.
pub(crate) fn wanted(accumulator: i64, scale: f32, zero_point: u8) -> Option<Wanted> {
    let bits = scale.to_bits();
    let exponent = i32::try_from(bits >> 23).ok()?;
    if !(1..255).contains(&exponent) {
        return None;
    }
    // scale = mantissa * 2^exponent
    let mantissa = i128::from(bits & 0x7f_ffff | 0x80_0000);
    let exponent = exponent - 127 - 23;
    if !(-85..=64).contains(&exponent) {
        return None;
    }
    let numerator = i128::from(accumulator).checked_mul(1_i128 << (-exponent).max(0))?;
    let denominator = mantissa.checked_mul(1_i128 << exponent.max(0))?;
    // A / scale + z + 1/2 over the denominator 2 * denominator.
    let halves = (2 * i128::from(zero_point) + 1).checked_mul(denominator)?;
    let numerator = numerator.checked_mul(2)?.checked_add(halves)?;
    let denominator = denominator.checked_mul(2)?;
    let floor = numerator.div_euclid(denominator);
    let fraction = numerator.rem_euclid(denominator) as f64 / denominator as f64;
    let value = i64::try_from(floor.clamp(0, 255)).ok()?;
    Some(Wanted { value, distance: fraction.min(1.0 - fraction) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_quotients() {
        let wanted = |accumulator, scale, zero_point| {
            let Wanted { value, distance } = wanted(accumulator, scale, zero_point).unwrap();
            (value, distance)
        };
        // 7 / 2 + 1/2 = 4: an exact tie, half up.
        assert_eq!(wanted(7, 2.0, 0), (4, 0.0));
        assert_eq!(wanted(-7, 2.0, 10), (7, 0.0));
        assert_eq!(wanted(6, 4.0, 0), (2, 0.0));
        assert_eq!(wanted(5, 4.0, 0), (1, 0.25));
        assert_eq!(wanted(i64::from(i32::MAX), 0.25, 3), (255, 0.5));
        assert_eq!(wanted(i64::from(i32::MIN), 0.25, 255), (0, 0.5));
        assert_eq!(wanted(1 << 30, 1_073_741_824.0, 200), (201, 0.5));
    }

    #[test]
    fn what_128_bits_do_not_hold_is_told() {
        for scale in [0.0, -1.0, f32::INFINITY, f32::NAN, f32::MIN_POSITIVE, f32::MAX] {
            assert_eq!(wanted(1, scale, 0), None, "{scale}");
        }
    }
}
