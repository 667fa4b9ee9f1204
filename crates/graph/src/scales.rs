//! Scales and zero points from ranges.
//!
//! The formulas are those of ONNX Runtime's `quant_utils.compute_scale_zp` for u8 asymmetric
//! activations and i8 symmetric weights in the reduced range `[-127, 127]` (Jacob et al. 2018,
//! "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
//! section 2.1).

/// The affine map of a u8 activation: `real = scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Real value of one unit, above 0.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: u8,
}

/// The greatest magnitude of a weight of so many bits, 2 to 8: 127 for 8, 63 for 7.
pub fn weight_limit(bits: u32) -> f32 {
    ((1_u32 << (bits.clamp(2, 8) - 1)) - 1) as f32
}

/// The greatest magnitude of a bias, which leaves the accumulator room.
const BIAS_LIMIT: f32 = (1u32 << 30) as f32;

/// The parameters that cover `[least, greatest]` and 0 with 256 steps.
///
/// A tensor that is 0 throughout gets scale 1.
pub fn activation_parameters(least: f32, greatest: f32) -> Parameters {
    let (least, greatest) = (f64::from(least.min(0.0)), f64::from(greatest.max(0.0)));
    let scale = ((greatest - least) / 255.0) as f32;
    // A denormal scale would make 1 / scale infinite.
    if scale < f32::MIN_POSITIVE {
        return Parameters { scale: 1.0, zero_point: 0 };
    }
    let zero_point = (-least / f64::from(scale)).round_ties_even().clamp(0.0, 255.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to u8 just before")]
    Parameters { scale, zero_point: zero_point as u8 }
}

/// The weights of a layer, row-major, and where its output channels lie.
#[derive(Clone, Copy, Debug)]
pub struct LayerWeights<'a> {
    /// The weights.
    pub values: &'a [f32],
    /// The extents of the weight tensor.
    pub shape: &'a [usize],
    /// The axis of the output channels.
    pub channel_axis: usize,
    /// One for each output channel, or none.
    pub biases: Option<&'a [f32]>,
}

impl LayerWeights<'_> {
    /// The number of output channels.
    pub fn channels(&self) -> usize {
        self.shape[self.channel_axis]
    }

    /// From the position of a weight to its output channel.
    pub fn channel_of(&self) -> impl Fn(usize) -> usize + Copy + use<> {
        let inner: usize = self.shape[self.channel_axis + 1..].iter().product();
        let channels = self.channels();
        move |index| index / inner % channels
    }

    /// The scales by [`weight_scales`]: one for each channel, or a single one for the whole layer.
    pub fn scales(&self, per_channel: bool, input_scale: f32, limit: f32) -> Vec<f32> {
        let (mut largest, channel_of) = (vec![0.0_f32; self.channels()], self.channel_of());
        for (index, value) in self.values.iter().enumerate() {
            let largest = &mut largest[channel_of(index)];
            *largest = largest.max(value.abs());
        }
        if per_channel {
            return weight_scales(&largest, self.biases, input_scale, limit);
        }
        let magnitude = |values: &[f32]| values.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
        let bias = self.biases.map(|biases| [magnitude(biases)]);
        weight_scales(&[magnitude(&largest)], bias.as_ref().map(<[f32; 1]>::as_slice), input_scale, limit)
    }
}

/// The symmetric scales of the channels of a weight tensor.
///
/// `largest` is the greatest magnitude of each channel's weights; `biases` has one bias for each
/// channel, or none; `input_scale` is that of the layer's input.
/// No scale is so small that `bias / (input_scale * scale)` exceeds `2^30`. A channel of zeros
/// takes the median of the other channels' scales, 1 if all are zeros. `limit` is the greatest
/// magnitude of a quantized weight, 127 for 8 bits.
pub fn weight_scales(largest: &[f32], biases: Option<&[f32]>, input_scale: f32, limit: f32) -> Vec<f32> {
    let mut live: Vec<f32> =
        largest.iter().map(|largest| largest / limit).filter(|&scale| scale >= f32::MIN_POSITIVE).collect();
    live.sort_by(f32::total_cmp);
    let median = live.get(live.len() / 2).copied().unwrap_or(1.0);
    largest
        .iter()
        .enumerate()
        .map(|(channel, largest)| {
            let scale = largest / limit;
            let scale = if scale >= f32::MIN_POSITIVE { scale } else { median };
            let bias = biases.map_or(0.0, |biases| biases[channel].abs());
            scale.max(bias / (input_scale * BIAS_LIMIT))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_ranges_give_known_parameters() {
        let parameters = |least, greatest| {
            let Parameters { scale, zero_point } = activation_parameters(least, greatest);
            (scale, zero_point)
        };
        assert_eq!(parameters(0.0, 255.0), (1.0, 0));
        assert_eq!(parameters(-128.0, 127.0), (1.0, 128));
        // Ranges are widened to hold 0.
        assert_eq!(parameters(51.0, 255.0), (1.0, 0));
        assert_eq!(parameters(-255.0, -51.0), (1.0, 255));
        assert_eq!(parameters(0.0, 0.0), (1.0, 0));
        assert_eq!(parameters(0.0, 1e-40), (1.0, 0));
    }

    #[test]
    fn dead_and_near_dead_channels_get_usable_scales() {
        let scales = weight_scales(&[1.27, 0.0, 12.7, 1e-30], Some(&[0.1, 0.1, 0.1, 1.0]), 0.01, 127.0);
        assert_eq!(scales[0], 1.27 / 127.0);
        assert_eq!(scales[1], scales[0], "the median of the three live channels");
        assert_eq!(scales[2], 12.7 / 127.0);
        assert!(1.0 / (0.01 * scales[3]) <= BIAS_LIMIT * 1.000_001, "{}", scales[3]);
        assert_eq!(weight_scales(&[0.0, 0.0], None, 0.5, 127.0), [1.0, 1.0]);
    }

    proptest! {
        #[test]
        fn every_value_of_the_range_is_within_half_a_step(
            a in -1e6f32..1e6, b in -1e6f32..1e6, position in 0.0f32..=1.0,
        ) {
            let (least, greatest) = (a.min(b), a.max(b));
            let Parameters { scale, zero_point } = activation_parameters(least, greatest);
            let value = least + (greatest - least) * position;
            let code = ((value / scale).round_ties_even() + f32::from(zero_point)).clamp(0.0, 255.0);
            let real = (code - f32::from(zero_point)) * scale;
            // The zero point is rounded: the ends can be half a step out of reach.
            prop_assert!((real - value).abs() <= scale * 1.001, "{} {} {}", value, real, scale);
        }

        #[test]
        fn biases_stay_within_2_to_the_30(
            largest in prop::collection::vec(prop_oneof![Just(0.0f32), 1e-38f32..1e-20, 1e-4f32..10.0], 1..8),
            bias in -1e3f32..1e3, input_scale in 1e-5f32..1.0,
        ) {
            let biases = vec![bias; largest.len()];
            for scale in weight_scales(&largest, Some(&biases), input_scale, 127.0) {
                prop_assert!(scale.is_finite() && scale >= f32::MIN_POSITIVE);
                prop_assert!((bias / (input_scale * scale)).abs() <= BIAS_LIMIT * 1.000_001);
            }
        }
    }
}
