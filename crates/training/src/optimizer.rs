//! AdamW in one pass over the parameters.
//!
//! burn's own [`burn::optim::AdamW`] is some fifteen tensor operations, each of which walks through
//! all 1.6 million parameters. This one walks once, on all threads; it also leaves biases
//! alone without a second parameter group. The formula is that of Loshchilov and Hutter (Decoupled
//! Weight Decay Regularization, 2019), and the test below holds it against burn's.

use burn::optim::{AdaptiveMomentumState, LearningRate, Optimizer};
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
/// PyTorch's; burn's default of 1e-5 is large beside the gradients of a trained network.
const EPSILON: f32 = 1e-8;
/// Elements of one task. Elements do not depend on each other, nor the result on this number.
const CHUNK: usize = 1 << 16;

/// AdamW for one parameter; biases (rank 1) do not decay.
#[derive(Clone, Debug)]
pub(crate) struct AdamW {
    pub(crate) weight_decay: f64,
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdaptiveMomentumState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let device = parameter.device();
        let (time, moment_1, moment_2) = match state {
            Some(state) => (state.time + 1, state.moment_1, state.moment_2),
            None => (1, gradient.zeros_like(), gradient.zeros_like()),
        };
        let mut parameter = parameter.into_data();
        let mut moment_1 = moment_1.into_data();
        let mut moment_2 = moment_2.into_data();
        let gradient = gradient.into_data();

        let decay = if D > 1 { (1.0 - learning_rate * self.weight_decay) as f32 } else { 1.0 };
        // The bias corrections 1 / (1 - beta^t), moved out of the loop.
        let correction_1 = 1.0 - f64::from(BETA_1).powi(time as i32);
        let correction_2 = 1.0 - f64::from(BETA_2).powi(time as i32);
        let rate = (learning_rate / correction_1) as f32;
        let scale_2 = (1.0 / correction_2.sqrt()) as f32;

        let moments = elements_mut(&mut moment_1)
            .par_chunks_mut(CHUNK)
            .zip(elements_mut(&mut moment_2).par_chunks_mut(CHUNK));
        elements_mut(&mut parameter)
            .par_chunks_mut(CHUNK)
            .zip(elements(&gradient).par_chunks(CHUNK))
            .zip(moments)
            .for_each(|((weights, gradients), (moments_1, moments_2))| {
                let moments = moments_1.iter_mut().zip(moments_2);
                for ((weight, gradient), (m, v)) in weights.iter_mut().zip(gradients).zip(moments) {
                    *m = BETA_1 * *m + (1.0 - BETA_1) * gradient;
                    *v = BETA_2 * *v + (1.0 - BETA_2) * gradient * gradient;
                    *weight = decay * *weight - rate * *m / (v.sqrt() * scale_2 + EPSILON);
                }
            });

        let state = AdaptiveMomentumState::new(
            time,
            Tensor::from_data(moment_1, &device),
            Tensor::from_data(moment_2, &device),
        );
        (Tensor::from_data(parameter, &device), Some(state))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        state.to_device(device)
    }
}

fn elements(data: &TensorData) -> &[f32] {
    data.as_slice().expect("every tensor of this crate is f32")
}

fn elements_mut(data: &mut TensorData) -> &mut [f32] {
    data.as_mut_slice().expect("every tensor of this crate is f32")
}

#[cfg(test)]
mod tests {
    use burn::optim::AdamWConfig;

    use super::*;

    #[test]
    fn equals_the_one_of_burn() {
        let device = Device::flex();
        let reference = AdamWConfig::new().with_weight_decay(0.1).with_epsilon(EPSILON).build();
        let ours = AdamW { weight_decay: 0.1 };
        let start = Tensor::<2>::from_data([[0.5, -1.0, 2.0], [0.0, 1e-3, -3.0]], &device);
        let (mut expected, mut found) = (start.clone(), start);
        let (mut expected_state, mut found_state) = (None, None);
        for step in 0..5 {
            let gradient =
                Tensor::<2>::from_data([[1.0, -0.2, 0.0], [1e-4, 5.0, -1.0]], &device) * (step as f32 - 1.5);
            let learning_rate = 0.1 / f64::from(step + 1);
            (expected, expected_state) =
                reference.step(learning_rate, expected, gradient.clone(), expected_state);
            (found, found_state) = ours.step(learning_rate, found, gradient, found_state);
            let difference = (expected.clone() - found.clone()).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-6, "step {step}: {expected} {found}");
        }
    }

    #[test]
    fn biases_do_not_decay() {
        let device = Device::flex();
        let bias = Tensor::<1>::from_data([1.0, -2.0], &device);
        let (after, _) = AdamW { weight_decay: 0.5 }.step(0.1, bias.clone(), bias.zeros_like(), None);
        assert_eq!(after.into_data(), bias.into_data());
    }
}
