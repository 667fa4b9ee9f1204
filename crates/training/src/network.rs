//! The network as a burn module: convolutions, then linear layers, then log-probabilities.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::module::{conv2d, linear};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use onnx2int_dataset::CLASSES;

use crate::front::Front;
use crate::quantization::{Quantizers, round_activations};
use crate::random::{Purpose, Stream};
use crate::{Architecture, Kernels};

/// An [`Architecture`] with weights.
#[derive(Module, Debug)]
pub(crate) struct Network {
    pub(crate) convolutions: Vec<Conv2d>,
    pub(crate) linear: Vec<Linear>,
    #[module(skip)]
    pub(crate) architecture: Architecture,
    /// Computes the convolutions where burn's operators do not.
    #[module(skip)]
    front: Option<Front>,
}

/// Which activations a step drops: factors 0 or `1 / (1 - rate)`.
pub(crate) struct DropoutMasks {
    /// `[batch, features]`, of what the first linear layer reads; none if all are kept.
    features: Option<Tensor<2>>,
    /// `[batch, hidden]`, of what the second one reads.
    hidden: Option<Tensor<2>>,
}

impl Network {
    /// A network whose weights and biases are drawn evenly from
    /// -1/sqrt(fan in) to 1/sqrt(fan in), as PyTorch's default does.
    pub(crate) fn new(architecture: Architecture, kernels: Kernels, seed: u64, device: &Device) -> Self {
        let mut network = Self::zeros(architecture, kernels, device);
        let mut drawn = 0;
        let mut draw = |shape: &[usize], fan_in: usize| {
            let mut stream = Stream::new(seed, Purpose::Weights, drawn);
            drawn += 1;
            let bound = 1.0 / (fan_in as f32).sqrt();
            let values =
                (0..shape.iter().product()).map(|_| bound * stream.symmetric_unit()).collect::<Vec<f32>>();
            TensorData::new(values, shape.to_vec())
        };
        for layer in &mut network.convolutions {
            let [filters, channels, height, width] = layer.weight.dims();
            let fan_in = channels * height * width;
            layer.weight = Param::from_data(draw(&[filters, channels, height, width], fan_in), device);
            layer.bias = Some(Param::from_data(draw(&[filters], fan_in), device));
        }
        for layer in &mut network.linear {
            let [inputs, outputs] = layer.weight.dims();
            layer.weight = Param::from_data(draw(&[inputs, outputs], inputs), device);
            layer.bias = Some(Param::from_data(draw(&[outputs], inputs), device));
        }
        network
    }

    /// A network to load weights into.
    pub(crate) fn zeros(architecture: Architecture, kernels: Kernels, device: &Device) -> Self {
        let blueprint = architecture.blueprint();
        let stack = architecture.stack();
        let mut channels = stack.input().channels;
        let convolutions = blueprint.convolutions.iter().map(|convolution| {
            let layer = Conv2dConfig::new([channels, convolution.filters], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_initializer(Initializer::Zeros)
                .init(device);
            channels = convolution.filters;
            layer
        });
        let convolutions = convolutions.collect();
        let mut inputs = stack.output().elements();
        let linear = blueprint.hidden.into_iter().chain([CLASSES]).map(|outputs| {
            let layer = LinearConfig::new(inputs, outputs).with_initializer(Initializer::Zeros).init(device);
            inputs = outputs;
            layer
        });
        Self {
            convolutions,
            linear: linear.collect(),
            architecture,
            front: match kernels {
                Kernels::Fused => Some(Front::new(stack)),
                Kernels::Stock => None,
            },
        }
    }

    /// Log-probabilities `[batch, 10]` of normalized images `[batch, 1, 28, 28]`, with weights and
    /// activations rounded where there are quantizers.
    pub(crate) fn forward(
        &self,
        images: Tensor<4>,
        masks: Option<&DropoutMasks>,
        quantizers: Option<&Quantizers>,
    ) -> Tensor<2> {
        let scales = quantizers.map(|quantizers| quantizers.activation_scales.as_slice());
        let convolutions = self.convolution_parameters(quantizers);
        let features = match &self.front {
            Some(front) => {
                front.forward(images, convolutions, scales.map(|scales| &scales[..self.convolutions.len()]))
            }
            None => self.features(images, convolutions, scales, &mut |_| ()),
        };
        self.classify(features.flatten(1, 3), masks, quantizers, &mut |_| ())
    }

    /// The greatest activation behind each layer but the last, for normalized images. Computed by
    /// burn's operators, which show what is between them.
    pub(crate) fn greatest_activations(&self, images: Tensor<4>) -> Vec<f32> {
        let mut greatest = Vec::new();
        let mut see = |most: f32| greatest.push(most);
        let convolutions = self.convolution_parameters(None);
        let features = self.features(images, convolutions, None, &mut |x| see(x.max().into_scalar()));
        self.classify(features.flatten(1, 3), None, None, &mut |x| see(x.max().into_scalar()));
        greatest
    }

    /// Weight and bias of each convolution, as a pass uses them.
    fn convolution_parameters(&self, quantizers: Option<&Quantizers>) -> Vec<(Tensor<4>, Tensor<1>)> {
        let layers = self.convolutions.iter().enumerate().map(|(index, layer)| {
            let (weight, bias) = (layer.weight.val(), bias(layer.bias.as_ref()));
            match quantizers {
                Some(quantizers) => quantizers.parameters(index, 0, weight, bias),
                None => (weight, bias),
            }
        });
        layers.collect()
    }

    /// What [`Front`] computes, by burn's own operators. `see` is shown what each layer makes.
    fn features(
        &self,
        images: Tensor<4>,
        convolutions: Vec<(Tensor<4>, Tensor<1>)>,
        scales: Option<&[f32]>,
        see: &mut dyn FnMut(Tensor<4>),
    ) -> Tensor<4> {
        let pool: MaxPool2d = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
        let mut x = images;
        let layers = convolutions.into_iter().zip(self.architecture.blueprint().convolutions);
        for (index, ((weight, bias), layer)) in layers.enumerate() {
            let sums = conv2d(x, weight, Some(bias), ConvOptions::new([1, 1], [1, 1], [1, 1], 1));
            // Pooling before the ReLU: both only compare, so that they commute, and a ReLU on a
            // quarter of the values saves time in both directions.
            x = relu(if layer.pool { pool.forward(sums) } else { sums });
            see(x.clone());
            if let Some(scales) = scales {
                x = round_activations(x, scales[index]);
            }
        }
        x
    }

    /// The linear layers. `see` is shown what each but the last makes.
    fn classify(
        &self,
        features: Tensor<2>,
        masks: Option<&DropoutMasks>,
        quantizers: Option<&Quantizers>,
        see: &mut dyn FnMut(Tensor<2>),
    ) -> Tensor<2> {
        let masks = masks.map(|masks| [&masks.features, &masks.hidden]);
        let mut x = features;
        for (index, layer) in self.linear.iter().enumerate() {
            let position = self.convolutions.len() + index;
            if index > 0 {
                x = relu(x);
                see(x.clone());
                if let Some(quantizers) = quantizers {
                    x = round_activations(x, quantizers.activation_scales[position - 1]);
                }
            }
            if let Some(mask) = masks.and_then(|masks| masks[index].clone()) {
                x = x * mask;
            }
            let (weight, bias) = (layer.weight.val(), bias(layer.bias.as_ref()));
            let (weight, bias) = match quantizers {
                Some(quantizers) => quantizers.parameters(position, 1, weight, bias),
                None => (weight, bias),
            };
            x = linear(x, weight, Some(bias));
        }
        log_softmax(x, 1)
    }
}

fn bias(parameter: Option<&Param<Tensor<1>>>) -> Tensor<1> {
    parameter.expect("every layer is made with a bias").val()
}

impl DropoutMasks {
    /// The next masks of an epoch's stream.
    pub(crate) fn draw(
        architecture: Architecture,
        stream: &mut Stream,
        batch: usize,
        device: &Device,
    ) -> Self {
        let blueprint = architecture.blueprint();
        let features = architecture.stack().output().elements();
        let mut mask = |width, rate| (rate > 0).then(|| mask(stream, [batch, width], rate, device));
        Self {
            features: mask(features, blueprint.feature_dropout),
            hidden: blueprint.hidden.and_then(|hidden| mask(hidden, blueprint.hidden_dropout)),
        }
    }
}

/// Drops `rate` of 256 values.
fn mask(stream: &mut Stream, shape: [usize; 2], rate: u8, device: &Device) -> Tensor<2> {
    let kept = 256.0 / (256.0 - f32::from(rate));
    let count = shape[0] * shape[1];
    let mut factors = Vec::with_capacity(count.next_multiple_of(8));
    while factors.len() < count {
        // One draw decides eight values.
        factors.extend(stream.next().to_le_bytes().map(|byte| if byte < rate { 0.0 } else { kept }));
    }
    factors.truncate(count);
    Tensor::from_data(TensorData::new(factors, shape), device)
}

#[cfg(test)]
mod tests {
    use onnx2int_dataset::SIDE;

    use super::*;
    use crate::QuantizedTraining;

    #[test]
    fn masks_drop_the_rate_and_keep_the_mean() {
        let device = Device::flex();
        let mut stream = Stream::new(3, Purpose::Dropout, 0);
        let masks = DropoutMasks::draw(Architecture::Standard, &mut stream, 64, &device);
        for (mask, rate) in [(masks.features, 0.25), (masks.hidden, 0.5)] {
            let factors = mask.expect("the network drops both").into_data();
            let factors = factors.as_slice::<f32>().expect("masks are f32");
            let dropped =
                factors.iter().filter(|&&factor| factor == 0.0).count() as f64 / factors.len() as f64;
            assert!((dropped - rate).abs() < 0.03, "{dropped}");
            let kept = (1.0 / (1.0 - rate)) as f32;
            assert!(factors.iter().all(|&factor| factor == 0.0 || factor == kept));
        }
    }

    #[test]
    fn weights_depend_on_the_seed_alone() {
        let weights = |seed| {
            let network = Network::new(Architecture::Tiny, Kernels::Stock, seed, &Device::flex());
            network.linear[0].weight.val().into_data()
        };
        assert_eq!(weights(4), weights(4));
        assert_ne!(weights(4), weights(5));
    }

    /// Sums of rounded factors are often equal, up to their own rounding, which differs between the
    /// kernels: then each pools another of two equal candidates, and the gradient goes another way.
    #[test]
    fn fused_and_stock_kernels_agree_on_rounded_networks() {
        let device = Device::flex().autodiff();
        let mut stream = Stream::new(8, Purpose::Augmentation, 0);
        let pixels: Vec<f32> = (0..9 * SIDE * SIDE).map(|_| stream.symmetric_unit()).collect();
        let images = || Tensor::<4>::from_data(TensorData::new(pixels.clone(), [9, 1, SIDE, SIDE]), &device);
        let coefficients: Vec<f32> = (0..9 * CLASSES).map(|_| stream.symmetric_unit()).collect();
        let coefficients =
            || Tensor::<2>::from_data(TensorData::new(coefficients.clone(), [9, CLASSES]), &device);
        for architecture in Architecture::ALL {
            let results = [Kernels::Fused, Kernels::Stock].map(|kernels| {
                let network = Network::new(architecture, kernels, 3, &device);
                let settings = QuantizedTraining { epochs: 1, weight_bits: 8, mantissa_bits: 23 };
                // Half of what is seen, so that something is clipped.
                let greatest: Vec<f32> =
                    network.greatest_activations(images()).iter().map(|most| most / 2.0).collect();
                let quantizers = Quantizers::new(settings, 1.0, &greatest);
                let answers = network.forward(images(), None, Some(&quantizers));
                let gradients = (answers.clone() * coefficients()).sum().backward();
                let of_convolutions = network.convolutions.iter().map(|layer| {
                    let gradient = layer.weight.val().grad(&gradients).expect("weights have a gradient");
                    gradient.into_data().as_slice::<f32>().expect("f32").to_vec()
                });
                let answers = answers.into_data().as_slice::<f32>().expect("f32").to_vec();
                (vec![answers], of_convolutions.collect::<Vec<Vec<f32>>>())
            });
            let [(answers, gradients), (other_answers, other_gradients)] = &results;
            let pairs = answers.iter().zip(other_answers).chain(gradients.iter().zip(other_gradients));
            for (values, others) in pairs {
                let norm = |values: &mut dyn Iterator<Item = f32>| {
                    values.map(|value| value * value).sum::<f32>().sqrt()
                };
                let apart = norm(&mut values.iter().zip(others).map(|(a, b)| a - b));
                let length = norm(&mut values.iter().copied());
                assert!(apart <= 0.05 * length, "{architecture:?}: {apart} of {length}");
            }
        }
    }
}
