//! Chooses the constants of a rescale.

use onnx2int_graph::range::Interval;

use super::{ChannelRescale, MAX_MANTISSA_BITS, Rescale, RescaleError, RescaleForm};

/// The last division is by `2^MAX_SHIFT` at most, so that `256 * 2^s` fits int32.
const MAX_SHIFT: u32 = 23;

/// The first division is by `2^MAX_PRE_SHIFT` at most, which is the greatest power of two in int32.
const MAX_PRE_SHIFT: u32 = 30;

/// A multiplier of fewer bits than this (or than the mantissa has) calls for a pre-shift.
const LEAST_MULTIPLIER_BITS: u32 = 12;

/// Above this error bound a larger pre-shift is tried.
const WANTED_ERROR_BOUND: f64 = 1.0 / 8.0;

/// Above this error bound a full-width rescale is refused.
pub(super) const MAX_ERROR_BOUND: f64 = 0.5;

/// What a layer asks for.
#[derive(Clone, Copy, Debug)]
pub struct RescaleRequest<'a> {
    /// The real multipliers `M`, one for each channel, or a single one.
    pub multipliers: &'a [f64],
    /// The proven accumulator ranges, one for each channel, or a single one.
    pub ranges: &'a [Interval],
    /// The output's zero point, 0 to 255.
    pub zero_point: u8,
    /// Whether a Relu comes right before.
    pub after_relu: bool,
    /// The multiplier is below `2^mantissa_bits`; 2 to [`MAX_MANTISSA_BITS`].
    pub mantissa_bits: u32,
}

/// The constants that meet a request.
///
/// # Errors
/// Names the channel whose multiplier, span or error bound fixed point cannot hold. With fewer
/// than [`MAX_MANTISSA_BITS`] a large error bound is not refused: it is what was asked for.
pub fn plan(request: &RescaleRequest<'_>) -> Result<Rescale, RescaleError> {
    let bits = request.mantissa_bits;
    if !(2..=MAX_MANTISSA_BITS).contains(&bits) {
        return Err(RescaleError::MantissaBits { bits });
    }
    let count = if request.multipliers.len() == 1 { request.ranges.len() } else { request.multipliers.len() };
    let channels = || {
        (0..count).map(|index| Channel {
            index,
            multiplier: request.multipliers[index.min(request.multipliers.len() - 1)],
            range: request.ranges[index.min(request.ranges.len() - 1)],
            request,
        })
    };
    for Channel { index, multiplier, .. } in channels() {
        if !(multiplier.is_finite() && multiplier > 0.0) {
            return Err(RescaleError::Multiplier { channel: index, multiplier });
        }
    }
    let form = RescaleForm {
        after_relu: request.after_relu,
        pre_shifted: channels().any(|channel| channel.least_pre_shift() > 0),
        saturates_dividend: request.multipliers.iter().any(|&multiplier| multiplier > 1.0),
    };
    let (mut planned, mut error_bounds) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for channel in channels() {
        let (constants, error_bound) =
            if form.pre_shifted { channel.pre_shifted()? } else { channel.direct()? };
        if bits == MAX_MANTISSA_BITS && error_bound > MAX_ERROR_BOUND {
            return Err(RescaleError::Inexact { channel: channel.index, error_bound });
        }
        planned.push(constants);
        error_bounds.push(error_bound);
    }
    if planned.windows(2).all(|pair| pair[0] == pair[1]) {
        planned.truncate(1);
    }
    Ok(Rescale { form, channels: planned, error_bounds })
}

/// Constants and their error bound.
type Bounded = (ChannelRescale, f64);

struct Channel<'a> {
    index: usize,
    multiplier: f64,
    range: Interval,
    request: &'a RescaleRequest<'a>,
}

impl Channel<'_> {
    /// The least pre-shift that leaves the multiplier enough bits.
    fn least_pre_shift(&self) -> u32 {
        let wanted = exp2(LEAST_MULTIPLIER_BITS.min(self.request.mantissa_bits) - 1);
        let mut pre_shift = 0;
        while pre_shift < MAX_PRE_SHIFT && self.multiplier * exp2(pre_shift + MAX_SHIFT) < wanted {
            pre_shift += 1;
        }
        pre_shift
    }

    /// The largest shift at which `M * 2^pre_shift` fits the mantissa, and its multiplier.
    fn mantissa(&self, pre_shift: u32) -> Result<(i64, u32), RescaleError> {
        let most = exp2(self.request.mantissa_bits) - 1.0;
        (1..=MAX_SHIFT)
            .rev()
            .map(|shift| ((self.multiplier * exp2(pre_shift + shift)).round(), shift))
            .find(|&(multiplier, _)| multiplier <= most)
            .filter(|&(multiplier, _)| multiplier >= 1.0)
            .map(|(multiplier, shift)| (whole(multiplier), shift))
            .ok_or(RescaleError::OutOfReach {
                channel: self.index,
                multiplier: self.multiplier,
                mantissa_bits: self.request.mantissa_bits,
            })
    }

    /// What reaches the clip: after a Relu nothing is negative.
    fn reachable(&self) -> Interval {
        match self.request.after_relu {
            true => (self.range.0.max(0), self.range.1.max(0)),
            false => self.range,
        }
    }

    fn direct(&self) -> Result<Bounded, RescaleError> {
        let (multiplier, shift) = self.mantissa(0)?;
        let (zero_point, half) = (i64::from(self.request.zero_point), 1i64 << (shift - 1));
        let offset = (zero_point << shift) + half;
        let high = ((255 - zero_point) << shift).saturating_sub(half);
        let high = div_ceil(high, multiplier);
        let low = match (self.request.after_relu, self.multiplier > 1.0) {
            (true, _) => 0,
            // One unit further down: the dividend is clipped at 0 later.
            (false, true) => (-offset).div_euclid(multiplier),
            (false, false) => div_ceil(-offset, multiplier),
        };
        let (least, greatest) = self.reachable();
        let largest = least.clamp(low, high.max(low)).abs().max(greatest.clamp(low, high.max(low)).abs());
        let relative = (self.multiplier - multiplier as f64 / exp2(shift)).abs();
        let constants = ChannelRescale {
            multiplier: narrow(multiplier),
            shift,
            pre_shift: 0,
            low: narrow(low),
            high: narrow(high),
            offset: narrow(offset),
        };
        Ok((constants, relative * largest as f64))
    }

    /// The pre-shifted form with the least pre-shift whose error bound is as wanted, else with
    /// the least error bound.
    fn pre_shifted(&self) -> Result<Bounded, RescaleError> {
        let least = self.least_pre_shift();
        let mut best = self.pre_shifted_by(least)?;
        for pre_shift in least + 1..=(least + 7).min(MAX_PRE_SHIFT) {
            if best.1 <= WANTED_ERROR_BOUND {
                break;
            }
            let Ok(next) = self.pre_shifted_by(pre_shift) else { break };
            if next.1 < best.1 {
                best = next;
            }
        }
        Ok(best)
    }

    fn pre_shifted_by(&self, pre_shift: u32) -> Result<Bounded, RescaleError> {
        let (multiplier, shift) = self.mantissa(pre_shift)?;
        let (zero_point, half) = (f64::from(self.request.zero_point), 1i64 << (shift - 1));
        let (least, greatest) = self.reachable();
        let zero = -(zero_point + 0.5) / self.multiplier;
        // Rounded up the offset cannot be negative; rounded down it can, and the dividend is
        // clipped at 0 later.
        let zero = if self.multiplier > 1.0 { zero.floor() } else { zero.ceil() };
        let low = if self.request.after_relu { 0 } else { least.max(whole(zero)) };
        let span = greatest.max(low) - low;
        if i32::try_from(span).is_err() || i32::try_from(low).is_err() {
            return Err(RescaleError::Span { channel: self.index, low, high: greatest });
        }
        let unit = exp2(shift);
        let lifted = low as f64 * self.multiplier * unit;
        let wanted = (i64::from(self.request.zero_point) << shift) + half + whole(lifted.round());
        let most = (256i64 << shift) - 1;
        let offset = if self.multiplier > 1.0 { wanted.min(most) } else { wanted.clamp(0, most) };
        let high = div_ceil((255i64 << shift) - offset, multiplier).max(0);
        // q = floor(x / 2^p) of the span x; the last q that is not clipped bounds x.
        let largest = (span as f64).min((high as f64 + 1.0) * exp2(pre_shift));
        let relative = (self.multiplier - multiplier as f64 / exp2(pre_shift + shift)).abs();
        let dropped = (1.0 - 1.0 / exp2(pre_shift)) * multiplier as f64 / unit;
        let rounded = (lifted - lifted.round()).abs() / unit;
        let constants = ChannelRescale {
            multiplier: narrow(multiplier),
            shift,
            pre_shift,
            low: narrow(low),
            high: narrow(high.min(i64::from(i32::MAX))),
            offset: narrow(offset),
        };
        Ok((constants, relative * largest + dropped + rounded))
    }
}

fn exp2(bits: u32) -> f64 {
    f64::from(bits).exp2()
}

/// A float that holds a whole number, saturating at the ends of i64.
#[expect(clippy::cast_possible_truncation, reason = "the callers round first; saturation is wanted")]
fn whole(value: f64) -> i64 {
    value as i64
}

fn div_ceil(dividend: i64, divisor: i64) -> i64 {
    -(-dividend).div_euclid(divisor)
}

fn narrow(value: i64) -> i32 {
    i32::try_from(value).expect("shifts and mantissas are chosen so that constants fit int32")
}
