//! The network: two convolutions, a pooling, two linear layers.
//!
//! `Conv 1->32 3x3 pad 1, Relu, Conv 32->64 3x3 pad 1, Relu, MaxPool 2, dropout, Flatten,
//! Linear 12544->128, Relu, dropout, Linear 128->10, LogSoftmax`.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Tensor, TensorData};
use onnx2int_dataset::{CLASSES, SIDE};

use crate::random::{Purpose, Stream};

/// Filters of the first convolution.
pub(crate) const FILTERS_1: usize = 32;
/// Filters of the second convolution.
pub(crate) const FILTERS_2: usize = 64;
/// Height and width after pooling.
const POOLED: usize = SIDE / 2;
/// What the first linear layer reads.
pub(crate) const FEATURES: usize = FILTERS_2 * POOLED * POOLED;
/// What the first linear layer makes.
pub(crate) const HIDDEN: usize = 128;

/// The network as a burn module.
#[derive(Module, Debug)]
pub(crate) struct Network {
    pub(crate) conv1: Conv2d,
    pub(crate) conv2: Conv2d,
    pool: MaxPool2d,
    pub(crate) fc1: Linear,
    pub(crate) fc2: Linear,
}

/// Which activations a step drops: factors 0 or `1 / (1 - rate)`.
pub(crate) struct DropoutMasks {
    /// `[batch, FEATURES]`, rate 1/4, after pooling.
    features: Tensor<2>,
    /// `[batch, HIDDEN]`, rate 1/2, after the first linear layer.
    hidden: Tensor<2>,
}

impl Network {
    /// A network whose weights and biases are drawn evenly from
    /// -1/sqrt(fan in) to 1/sqrt(fan in), as PyTorch's default does.
    pub(crate) fn new(seed: u64, device: &Device) -> Self {
        let mut network = Self::zeros(device);
        let mut drawn = 0;
        let mut draw = |shape: &[usize], fan_in: usize| {
            let mut stream = Stream::new(seed, Purpose::Weights, drawn);
            drawn += 1;
            let bound = 1.0 / (fan_in as f32).sqrt();
            let values =
                (0..shape.iter().product()).map(|_| bound * stream.symmetric_unit()).collect::<Vec<f32>>();
            TensorData::new(values, shape.to_vec())
        };
        for (layer, fan_in) in [(&mut network.conv1, 9), (&mut network.conv2, FILTERS_1 * 9)] {
            layer.weight = Param::from_data(draw(&layer.weight.dims(), fan_in), device);
            layer.bias = Some(Param::from_data(draw(&[layer.weight.dims()[0]], fan_in), device));
        }
        for layer in [&mut network.fc1, &mut network.fc2] {
            let [inputs, outputs] = layer.weight.dims();
            layer.weight = Param::from_data(draw(&[inputs, outputs], inputs), device);
            layer.bias = Some(Param::from_data(draw(&[outputs], inputs), device));
        }
        network
    }

    /// A network to load weights into.
    pub(crate) fn zeros(device: &Device) -> Self {
        let conv = |channels| {
            Conv2dConfig::new(channels, [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_initializer(Initializer::Zeros)
                .init(device)
        };
        let linear = |inputs, outputs| {
            LinearConfig::new(inputs, outputs).with_initializer(Initializer::Zeros).init(device)
        };
        Self {
            conv1: conv([1, FILTERS_1]),
            conv2: conv([FILTERS_1, FILTERS_2]),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            fc1: linear(FEATURES, HIDDEN),
            fc2: linear(HIDDEN, CLASSES),
        }
    }

    /// Log-probabilities `[batch, 10]` of normalized images `[batch, 1, 28, 28]`.
    pub(crate) fn forward(&self, images: Tensor<4>, masks: Option<&DropoutMasks>) -> Tensor<2> {
        let x = relu(self.conv1.forward(images));
        // Pooling before the second Relu: both only compare, so that they commute, and a Relu on
        // a quarter of the values saves time in both directions.
        let x = relu(self.pool.forward(self.conv2.forward(x)));
        let x: Tensor<2> = x.flatten(1, 3);
        let x = masks.map_or_else(|| x.clone(), |masks| x.clone() * masks.features.clone());
        let x = relu(self.fc1.forward(x));
        let x = masks.map_or_else(|| x.clone(), |masks| x.clone() * masks.hidden.clone());
        log_softmax(self.fc2.forward(x), 1)
    }
}

impl DropoutMasks {
    /// The next masks of an epoch's stream.
    pub(crate) fn draw(stream: &mut Stream, batch: usize, device: &Device) -> Self {
        Self {
            features: mask(stream, [batch, FEATURES], 64, device),
            hidden: mask(stream, [batch, HIDDEN], 128, device),
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
    use super::*;

    #[test]
    fn masks_drop_the_rate_and_keep_the_mean() {
        let device = Device::flex();
        let mut stream = Stream::new(3, Purpose::Dropout, 0);
        let masks = DropoutMasks::draw(&mut stream, 64, &device);
        for (mask, rate) in [(masks.features, 0.25), (masks.hidden, 0.5)] {
            let factors = mask.into_data();
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
            let network = Network::new(seed, &Device::flex());
            network.fc2.weight.val().into_data()
        };
        assert_eq!(weights(4), weights(4));
        assert_ne!(weights(4), weights(5));
    }
}
