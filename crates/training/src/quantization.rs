//! Training with the rounding that the quantizer will do.
//!
//! The forward pass rounds weights and activations to the values that they will have as integers;
//! the backward pass goes through the rounding as if it were not there, and stops where a value is
//! clipped: the straight-through estimator (Bengio, Leonard and Courville: Estimating or Propagating
//! Gradients Through Stochastic Neurons, 2013; Jacob et al., 2018, section 3). The scales are those
//! of [`onnx2int_graph::scales`], which the quantizer uses too.

use burn::tensor::{Tensor, TensorData};
use onnx2int_graph::scales::{LayerWeights, activation_parameters, weight_limit};

/// What is rounded, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantizedTraining {
    /// The last epochs of the run, which are made with rounding; 1 or more.
    pub epochs: usize,
    /// Bits of a weight, 2 to 8.
    pub weight_bits: u32,
    /// Bits of the multipliers of the last stage, 2 to 23.
    pub mantissa_bits: u32,
}

/// The quantizers of a network at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Quantizers {
    /// The scale of the network's input.
    pub(crate) input_scale: f32,
    /// The scales of what each layer makes, in order; none of the logits.
    pub(crate) activation_scales: Vec<f32>,
    pub(crate) weight_bits: u32,
    pub(crate) mantissa_bits: u32,
}

/// Where a layer's channels are in its weights, and what its scales depend on.
#[derive(Clone, Copy, Debug)]
struct Place {
    input_scale: f32,
    /// None for the logits, which have one weight scale for all channels and no multiplier.
    output_scale: Option<f32>,
    channel_axis: usize,
}

impl Quantizers {
    /// Quantizers that cover activations up to `greatest`, one number for each layer but the last.
    pub(crate) fn new(settings: QuantizedTraining, input_scale: f32, greatest: &[f32]) -> Self {
        Self {
            input_scale,
            activation_scales: greatest.iter().map(|&most| activation_parameters(0.0, most).scale).collect(),
            weight_bits: settings.weight_bits,
            mantissa_bits: settings.mantissa_bits,
        }
    }

    /// The rounded parameters of layer `index`, counted over all layers. Output channels are the
    /// `channel_axis` of the weights.
    pub(crate) fn parameters<const RANK: usize>(
        &self,
        index: usize,
        channel_axis: usize,
        weight: Tensor<RANK>,
        bias: Tensor<1>,
    ) -> (Tensor<RANK>, Tensor<1>) {
        let input_scale = match index {
            0 => self.input_scale,
            _ => self.activation_scales[index - 1],
        };
        let place =
            Place { input_scale, output_scale: self.activation_scales.get(index).copied(), channel_axis };
        let (rounded, factors) = self.round(&weight, &bias, place);
        let device = weight.device();
        let rounded = Tensor::from_data(rounded, &device);
        let bias_factors = Tensor::from_data(TensorData::new(factors.clone(), [factors.len()]), &device);
        // Straight through: the value is the rounded one, the gradient that of the weight.
        let weight = weight.clone() + (rounded - weight.detach());
        (weight, bias * bias_factors)
    }

    /// The rounded weights, each channel times what the rounding of its multiplier does to it, and
    /// these factors.
    fn round<const RANK: usize>(
        &self,
        weight: &Tensor<RANK>,
        bias: &Tensor<1>,
        place: Place,
    ) -> (TensorData, Vec<f32>) {
        let dims = weight.dims();
        let mut data = weight.clone().into_data();
        let values = data.as_mut_slice::<f32>().expect("every tensor of this crate is f32");
        let biases = bias.clone().into_data();
        let biases = biases.as_slice::<f32>().expect("every tensor of this crate is f32");

        let limit = weight_limit(self.weight_bits);
        let layer =
            LayerWeights { values, shape: &dims, channel_axis: place.channel_axis, biases: Some(biases) };
        let channels = layer.channels();
        // The logits have one scale, and no multiplier behind them.
        let mut scales = layer.scales(place.output_scale.is_some(), place.input_scale, limit);
        scales.resize(channels, scales[0]);
        let channel_of = layer.channel_of();
        let factors: Vec<f32> = match place.output_scale {
            Some(output_scale) => scales
                .iter()
                .map(|scale| rounding_factor(place.input_scale * scale / output_scale, self.mantissa_bits))
                .collect(),
            None => vec![1.0; channels],
        };
        for (index, value) in values.iter_mut().enumerate() {
            let channel = channel_of(index);
            let integer = (*value / scales[channel]).round_ties_even().clamp(-limit, limit);
            *value = integer * scales[channel] * factors[channel];
        }
        (data, factors)
    }
}

/// A multiplier rounded to so many bits, over the multiplier.
fn rounding_factor(multiplier: f32, bits: u32) -> f32 {
    let multiplier = f64::from(multiplier);
    let most = f64::from((1_u32 << bits) - 1);
    // The largest power of two at which the multiplier fits.
    let shift = (most / multiplier).log2().floor();
    let scaled = multiplier * shift.exp2();
    (scaled.round() / scaled) as f32
}

/// Activations rounded to 256 steps of `scale`, from 0 on; the gradient stops where they are clipped.
pub(crate) fn round_activations<const RANK: usize>(x: Tensor<RANK>, scale: f32) -> Tensor<RANK> {
    let clipped = x.clamp(0.0, 255.0 * scale);
    let rounded = clipped.clone().detach().div_scalar(scale).round().mul_scalar(scale);
    clipped.clone() + (rounded - clipped.detach())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    const SETTINGS: QuantizedTraining = QuantizedTraining { epochs: 1, weight_bits: 4, mantissa_bits: 23 };

    #[test]
    fn weights_are_multiples_of_their_channels_scale_and_pass_gradients_on() {
        let device = Device::flex().autodiff();
        let quantizers = Quantizers::new(SETTINGS, 0.5, &[255.0]);
        // Two channels, along the second axis; the largest weights are 7 scales.
        let weight = Tensor::<2>::from_data([[0.7, 14.0], [0.26, 5.2]], &device).require_grad();
        let bias = Tensor::<1>::from_data([1.0, 2.0], &device);
        let (rounded, bias) = quantizers.parameters(0, 1, weight.clone(), bias);
        let expected = Tensor::<2>::from_data([[0.7, 14.0], [0.3, 6.0]], &device);
        assert!((rounded.clone() - expected).abs().max().into_scalar::<f32>() < 1e-5, "{rounded}");
        assert!((bias - Tensor::from_data([1.0, 2.0], &device)).abs().max().into_scalar::<f32>() < 1e-5);
        let gradients = (rounded * 3.0).sum().backward();
        let gradient = weight.grad(&gradients).expect("weights have a gradient");
        assert_eq!(gradient.into_data().as_slice::<f32>().expect("f32"), [3.0; 4]);
    }

    #[test]
    fn logits_have_one_scale() {
        let device = Device::flex();
        let quantizers = Quantizers::new(SETTINGS, 0.5, &[]);
        let weight = Tensor::<2>::from_data([[7.0, 0.4], [-7.0, 0.6]], &device);
        let (rounded, _) = quantizers.parameters(0, 1, weight, Tensor::zeros([2], &device));
        assert_eq!(rounded.into_data().as_slice::<f32>().expect("f32"), [7.0, 0.0, -7.0, 1.0]);
    }

    #[test]
    fn activations_are_clipped_and_rounded_and_pass_gradients_on_between() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_data([[-1.0, 0.3, 1.1, 300.0]], &device).require_grad();
        let rounded = round_activations(x.clone(), 1.0);
        assert_eq!(rounded.clone().into_data().as_slice::<f32>().expect("f32"), [0.0, 0.0, 1.0, 255.0]);
        let gradients = rounded.sum().backward();
        let gradient = x.grad(&gradients).expect("activations have a gradient");
        assert_eq!(gradient.into_data().as_slice::<f32>().expect("f32"), [0.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn narrow_multipliers_change_a_channel_and_wide_ones_do_not() {
        // 0.7 in three bits: 6 / 8, as 5.6 rounds to 6.
        assert!((rounding_factor(0.7, 3) - 0.75 / 0.7).abs() < 1e-6);
        assert!((rounding_factor(0.7, 23) - 1.0).abs() < 1e-6);
        assert_eq!(rounding_factor(0.5, 2), 1.0);
    }
}
