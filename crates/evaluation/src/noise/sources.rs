//! The noise of each source alone: weights that were rounded, activations that were rounded, and fixed-point rescales.

use std::ops::Range;

use onnx2int_dataset::ImageSource;
use onnx2int_graph::{Graph, Tensor, ValueId, Verified};
use serde::{Deserialize, Serialize};

use super::{Observed, Site, decibels, float_logits};
use crate::EvaluationError;

/// Models in which one source of noise is on, or off, alone.
#[derive(Clone, Copy, Debug)]
pub struct Isolated<'g> {
    /// The float model with what the codes of its weights and biases stand for.
    pub weights: Verified<'g>,
    /// The quantized model with float weights and biases.
    pub activations: Verified<'g>,
    /// The integer-only model with float quantizers in place of its rescales: stage integer.
    pub exact_rescale: Verified<'g>,
}

/// Signal to noise of a tensor where one source alone makes noise, in decibels; none where it makes none, or where there is
/// no signal.
///
/// The signal is the float model's for all three, so that their noises can be compared. They need not add up to that of the
/// whole: one may undo a part of another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseSources {
    /// Weights and biases are rounded to their codes, and nothing else.
    pub weights: Option<f64>,
    /// Activations are rounded and clipped to their codes, and nothing else.
    pub activations: Option<f64>,
    /// The last stage's codes against those of the stage before, whose quantizers are float.
    pub rescale: Option<f64>,
}

/// What makes noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseSource {
    /// The rounding of weights and biases.
    Weights,
    /// The rounding and clipping of activations.
    Activations,
    /// The rounding of the fixed-point rescales.
    Rescale,
}

impl NoiseSource {
    /// In the order of [`NoiseSources::each`].
    pub const ALL: [Self; 3] = [Self::Weights, Self::Activations, Self::Rescale];

    /// In a word or two: `weight rounding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weights => "weight rounding",
            Self::Activations => "activation rounding",
            Self::Rescale => "fixed-point rescale",
        }
    }
}

impl NoiseSources {
    /// In decibels.
    pub const fn each(&self) -> [Option<f64>; 3] {
        [self.weights, self.activations, self.rescale]
    }

    /// What part of the three noises' power each of them is; all 0 where none makes noise.
    pub fn shares(&self) -> [f64; 3] {
        // Of the loudest, so that no power is out of the range of f64.
        let loudest = self.each().into_iter().flatten().fold(f64::INFINITY, f64::min);
        let powers =
            self.each().map(|level| level.map_or(0.0, |level| 10_f64.powf((loudest - level) / 10.0)));
        let sum: f64 = powers.iter().sum();
        powers.map(|power| if sum > 0.0 { power / sum } else { 0.0 })
    }

    /// The loudest source, if there is any noise.
    pub fn dominant(&self) -> Option<NoiseSource> {
        let levels = NoiseSource::ALL.into_iter().zip(self.each());
        let heard = levels.filter_map(|(source, level)| Some((source, level?)));
        heard.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(source, _)| source)
    }
}

/// The three models, watched at all sites.
pub(super) struct Observers<'g>([Observed<'g>; 3]);

impl<'g> Observers<'g> {
    /// None where one of the models lacks a site.
    pub(super) fn of(
        isolated: Isolated<'g>,
        float: &Graph,
        integer: &Graph,
        sites: &[Site],
    ) -> Option<Result<Self, EvaluationError>> {
        let Isolated { weights, activations, exact_rescale } = isolated;
        let find = |graph: Verified<'g>, of: &dyn Fn(&Site) -> Option<ValueId>| {
            let values = sites.iter().map(of).collect::<Option<Vec<ValueId>>>()?;
            Some(Observed::new(graph, &values))
        };
        let codes = |site: &Site| &integer.value(site.integer).name;
        let found = [
            find(weights, &|site| weights.graph().value_by_name(&float.value(site.float).name))?,
            find(activations, &|site| match site.is_code {
                true => activations.graph().value_by_name(codes(site)),
                false => float_logits(activations.graph()),
            })?,
            find(exact_rescale, &|site| match site.is_code {
                true => exact_rescale.graph().value_by_name(codes(site)),
                false => exact_rescale.graph().outputs().first().copied(),
            })?,
        ];
        let [weights, activations, exact_rescale] = found;
        Some((|| Ok(Self([weights?, activations?, exact_rescale?])))())
    }

    pub(super) fn fixed_batch(&self) -> Option<usize> {
        self.0.iter().find_map(|observed| observed.model.fixed_batch)
    }

    /// The tensors of all sites in each model.
    pub(super) fn run(
        &self,
        images: &dyn ImageSource,
        part: Range<usize>,
    ) -> Result<[Vec<Tensor>; 3], EvaluationError> {
        let [weights, activations, exact_rescale] = &self.0;
        Ok([
            weights.run(images, part.clone())?,
            activations.run(images, part.clone())?,
            exact_rescale.run(images, part)?,
        ])
    }
}

/// Sums of squares over the images so far.
#[derive(Default)]
pub(super) struct Apart {
    noises: [f64; 3],
    elements: usize,
}

impl Apart {
    /// Adds a batch: the float model's tensor, the integer-only model's, and those of the three models.
    pub(super) fn add(&mut self, site: &Site, reals: &Tensor, codes: &Tensor, apart: [&Tensor; 3]) {
        let [weights, activations, exact] = apart.map(|tensor| meant(site, tensor));
        let (reals, codes) = (meant(site, reals), meant(site, codes));
        let pairs = [(&reals, &weights), (&reals, &activations), (&exact, &codes)];
        // Another shape is another tensor that has the name by chance.
        if pairs.iter().any(|(a, b)| a.len() != b.len()) {
            return;
        }
        self.elements += reals.len();
        for (noise, (expected, found)) in self.noises.iter_mut().zip(pairs) {
            *noise += expected.iter().zip(found).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        }
    }

    pub(super) fn finish(&self, signal: f64) -> Option<NoiseSources> {
        let [weights, activations, rescale] = self.noises.map(|noise| decibels(signal, noise));
        (self.elements > 0).then_some(NoiseSources { weights, activations, rescale })
    }
}

/// The real numbers that a tensor stands for: floats stand for themselves.
fn meant(site: &Site, tensor: &Tensor) -> Vec<f64> {
    match (tensor.as_slice::<f32>(), tensor.to_i64_vec()) {
        (Some(reals), _) => reals.iter().map(|&real| f64::from(real)).collect(),
        (None, Some(codes)) => {
            codes.iter().map(|code| site.scale * (code - site.zero_point) as f64).collect()
        }
        (None, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_power_and_the_loudest_dominates() {
        // 10 dB less is ten times the power.
        let sources = NoiseSources { weights: Some(40.0), activations: Some(30.0), rescale: None };
        let [weights, activations, rescale] = sources.shares();
        assert!((weights - 1.0 / 11.0).abs() < 1e-12 && (activations - 10.0 / 11.0).abs() < 1e-12);
        assert_eq!((rescale, sources.dominant()), (0.0, Some(NoiseSource::Activations)));
        let silent = NoiseSources { weights: None, activations: None, rescale: None };
        assert_eq!((silent.shares(), silent.dominant()), ([0.0; 3], None));
        let extreme = NoiseSources { weights: Some(-9e3), activations: Some(9e3), rescale: None };
        assert_eq!(extreme.shares(), [1.0, 0.0, 0.0]);
    }
}
