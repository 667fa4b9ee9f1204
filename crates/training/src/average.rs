//! An exponential moving average of the weights.
//!
//! The weights of a run jump around a minimum; their average lies nearer to it (Polyak and Juditsky:
//! Acceleration of Stochastic Approximation by Averaging, 1992).

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::network::Network;

/// Steps between two updates: neighboring weights differ too little to be worth a pass over them.
const INTERVAL: usize = 8;

/// The average so far.
#[derive(Clone, Debug)]
pub(crate) struct Average {
    network: Network,
}

impl Average {
    /// Begins with the weights themselves.
    pub(crate) fn new(network: &Network) -> Self {
        Self { network: network.valid() }
    }

    /// The average as a network, without automatic differentiation.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Takes the weights after step `step` of the run, from 0, into account. `decay` is what a step
    /// leaves of the past. Early on the past is short and the weights are far off, so that the decay
    /// grows with the steps.
    pub(crate) fn update(&mut self, network: &Network, decay: f64, step: usize) {
        if !step.is_multiple_of(INTERVAL) {
            return;
        }
        let decay = decay.min((1.0 + step as f64) / (10.0 + step as f64)).powi(INTERVAL as i32);
        let latest = network.valid();
        for (mean, latest) in self.network.convolutions.iter_mut().zip(latest.convolutions) {
            mix(&mut mean.weight, latest.weight, decay);
            if let (Some(mean), Some(latest)) = (&mut mean.bias, latest.bias) {
                mix(mean, latest, decay);
            }
        }
        for (mean, latest) in self.network.linear.iter_mut().zip(latest.linear) {
            mix(&mut mean.weight, latest.weight, decay);
            if let (Some(mean), Some(latest)) = (&mut mean.bias, latest.bias) {
                mix(mean, latest, decay);
            }
        }
    }
}

fn mix<const RANK: usize>(mean: &mut Param<Tensor<RANK>>, latest: Param<Tensor<RANK>>, decay: f64) {
    let mixed = mean.val().mul_scalar(decay) + latest.val().mul_scalar(1.0 - decay);
    *mean = Param::initialized(mean.id, mixed);
}
