//! Rescales against exact arithmetic, and what cannot be rescaled.

use onnx2int_graph::range::Interval;
use proptest::prelude::*;

use super::*;

/// The wanted result, and the distance of `A * M + z + 1/2` to the nearest whole number, with `M`
/// taken as the exact rational that the f64 is.
fn wanted(accumulator: i64, multiplier: f64, zero_point: u8) -> (i64, f64) {
    let bits = multiplier.to_bits();
    let mantissa = i128::from((bits & ((1 << 52) - 1)) | 1 << 52);
    let scale = 1023 + 52 - (bits >> 52);
    let value =
        i128::from(accumulator) * mantissa + (i128::from(zero_point) << scale) + (1i128 << (scale - 1));
    let floor = value >> scale;
    let fraction = (value - (floor << scale)) as f64 / (scale as f64).exp2();
    (floor.clamp(0, 255) as i64, fraction.min(1.0 - fraction))
}

#[derive(Clone, Debug)]
struct Case {
    multipliers: Vec<f64>,
    ranges: Vec<Interval>,
    zero_point: u8,
    after_relu: bool,
    accumulators: Vec<f64>,
}

fn case() -> impl Strategy<Value = Case> {
    // Multipliers from near-dead channels to amplifying ones; ranges from a few units to the
    // whole of int32, on either side of 0.
    let channel = || (-26.0..6.0f64, 1.0..31.0f64, 1.0..31.0f64, any::<bool>());
    (
        prop::collection::vec(channel(), 1..4),
        any::<u8>(),
        any::<bool>(),
        prop::collection::vec(0.0..=1.0f64, 24),
    )
        .prop_map(|(channels, zero_point, after_relu, accumulators)| {
            let (mut multipliers, mut ranges) = (Vec::new(), Vec::new());
            for (log_multiplier, low, high, exact) in channels {
                let multiplier = log_multiplier.exp2();
                // Stored scales are f32: M is the f64 reciprocal of one.
                multipliers.push(if exact {
                    log_multiplier.floor().exp2()
                } else {
                    1.0 / f64::from((1.0 / multiplier) as f32)
                });
                ranges.push((-(low.exp2() as i64), (high.exp2() as i64).min(i64::from(i32::MAX))));
            }
            Case { multipliers, ranges, zero_point, after_relu, accumulators }
        })
}

/// Accumulators worth trying in a range: the ends, spread ones, and those around the points
/// where the result saturates or steps.
fn accumulators(case: &Case, channel: usize) -> Vec<i64> {
    let (low, high) = case.ranges[channel];
    let multiplier = case.multipliers[channel];
    let mut all = vec![low, low + 1, -1, 0, 1, high - 1, high];
    for &position in &case.accumulators {
        all.push(low + (position * (high - low) as f64) as i64);
        let step = ((position * 258.0 - 1.0).floor() - f64::from(case.zero_point) - 0.5) / multiplier;
        all.extend([
            step.floor() as i64 - 1,
            step.floor() as i64,
            step.ceil() as i64,
            step.ceil() as i64 + 1,
        ]);
    }
    all.retain(|accumulator| (low..=high).contains(accumulator));
    all
}

fn check(case: &Case, mantissa_bits: u32) -> Result<(), TestCaseError> {
    let planned = plan(&RescaleRequest {
        multipliers: &case.multipliers,
        ranges: &case.ranges,
        zero_point: case.zero_point,
        after_relu: case.after_relu,
        mantissa_bits,
    });
    let rescale = match planned {
        Ok(rescale) => rescale,
        Err(RescaleError::Span { channel, .. }) => {
            let (low, high) = case.ranges[channel];
            prop_assert!(high - low > i64::from(i32::MAX));
            return Ok(());
        }
        // The last division is by 2 at least.
        Err(RescaleError::OutOfReach { multiplier, .. }) => {
            prop_assert!((multiplier * 2.0).round() >= f64::from(mantissa_bits).exp2());
            return Ok(());
        }
        Err(error) => return Err(TestCaseError::fail(error.to_string())),
    };
    for channel in 0..case.multipliers.len() {
        let constants = &rescale.channels[channel.min(rescale.channels.len() - 1)];
        prop_assert!(constants.multiplier >= 1 && constants.multiplier < 1 << mantissa_bits);
        prop_assert!((1..=23).contains(&constants.shift));
        for accumulator in accumulators(case, channel) {
            let seen = if case.after_relu { accumulator.max(0) } else { accumulator };
            let found = rescale.evaluate(channel, seen as i32);
            let Some(found) = found else {
                return Err(TestCaseError::fail(format!(
                    "channel {channel}: {accumulator} leaves int32: {constants:?}"
                )));
            };
            let (wanted, distance) = wanted(seen, case.multipliers[channel], case.zero_point);
            let difference = (i64::from(found) - wanted).abs();
            let bound = rescale.error_bounds[channel];
            let context = || {
                format!(
                    "A = {accumulator}: {found}, wanted {wanted} ({distance} from a boundary): {constants:?}"
                )
            };
            if bound < 0.5 {
                prop_assert!(difference <= 1, "{}", context());
                prop_assert!(difference == 0 || distance <= bound + 1e-12, "{}", context());
            } else {
                prop_assert!(difference as f64 <= bound + 1.0, "{}", context());
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 16, ..ProptestConfig::default() })]

    #[test]
    fn full_width_is_within_its_bound_of_exact_arithmetic(case in case()) {
        check(&case, MAX_MANTISSA_BITS)?;
    }

    #[test]
    fn narrow_mantissas_are_within_their_bound(case in case(), bits in 2u32..23) {
        check(&case, bits)?;
    }
}

fn request(multipliers: &[f64], after_relu: bool) -> RescaleRequest<'_> {
    RescaleRequest {
        multipliers,
        ranges: &[(-1_000_000, 1_000_000)],
        zero_point: 0,
        after_relu,
        mantissa_bits: MAX_MANTISSA_BITS,
    }
}

#[test]
fn the_usual_case_has_the_full_shift_and_no_extra_operator() {
    let rescale = plan(&request(&[0.3 / 255.0], true)).unwrap();
    assert_eq!(rescale.form, RescaleForm { after_relu: true, pre_shifted: false, saturates_dividend: false });
    let [constants] = rescale.channels.as_slice() else { panic!("one channel") };
    assert_eq!((constants.shift, constants.pre_shift, constants.multiplier), (23, 0, 9869));
    assert_eq!(constants.offset, 1 << 22);
}

#[test]
fn equal_channels_share_scalar_constants() {
    assert_eq!(plan(&request(&[0.25, 0.25, 0.25], true)).unwrap().channels.len(), 1);
    assert_eq!(plan(&request(&[0.25, 0.5, 0.25], true)).unwrap().channels.len(), 3);
}

#[test]
fn one_near_dead_channel_gives_the_whole_layer_a_pre_shift() {
    let rescale = plan(&request(&[0.01, 2f64.powi(-25)], true)).unwrap();
    assert!(rescale.form.pre_shifted);
    assert_eq!(rescale.channels[0].pre_shift, 0);
    assert!(rescale.channels[1].pre_shift >= 13);
    assert!(rescale.error_bound() <= 0.125, "{rescale:?}");
}

#[test]
fn the_first_divisor_fits_int32_however_small_the_multiplier() {
    // 2^31 does not: it was -2^31, and every dividend behind it negative.
    for log2 in [-40, -42, -43, -50, -53] {
        let multiplier = 2f64.powi(log2);
        let rescale = plan(&request(&[multiplier], true)).unwrap();
        assert!(rescale.channels[0].pre_shift <= 30, "{rescale:?}");
        for accumulator in [0, 1, 1_000_000] {
            assert_eq!(rescale.evaluate(0, accumulator), Some(0), "2^{log2}");
        }
    }
}

#[test]
fn what_cannot_be_rescaled_names_its_channel() {
    let error = |multipliers: &[f64]| plan(&request(multipliers, true)).unwrap_err();
    assert!(matches!(error(&[0.5, 0.0]), RescaleError::Multiplier { channel: 1, .. }));
    assert!(matches!(error(&[f64::NAN, 0.5]), RescaleError::Multiplier { channel: 0, .. }));
    assert!(matches!(error(&[0.5, 1e8]), RescaleError::OutOfReach { channel: 1, .. }));
    assert!(matches!(error(&[0.5, 1e-30]), RescaleError::OutOfReach { channel: 1, .. }));
    let bits = plan(&RescaleRequest { mantissa_bits: 1, ..request(&[0.5], true) }).unwrap_err();
    assert_eq!(bits, RescaleError::MantissaBits { bits: 1 });
}
