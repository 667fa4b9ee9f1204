//! Everything that decides which weights a run ends in.

use std::ops::Range;

use burn::tensor::Device;
use onnx2int_graph::metadata::ChannelNormalization;

use crate::augmentation::Augmentation;
use crate::{Architecture, QuantizedTraining, TrainingError};

pub use crate::schedule::Schedule;

/// Changes whenever this crate would make other weights of the same settings: network, streams,
/// schedule, optimizer. Part of [`Recipe::settings`], so that old checkpoints and stamps expire.
pub const RECIPE_VERSION: &str = "2";

/// Which of burn's CPU backends computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// `burn-flex`: SIMD and threads.
    #[default]
    Flex,
    /// `burn-ndarray`: deprecated by burn.
    NdArray,
}

/// What computes the convolutions. Both compute the same, up to the rounding of sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kernels {
    /// All of them as one operator of our own ([`onnx2int_conv_stack`]); on the flex backend only.
    #[default]
    Fused,
    /// burn's operators, one by one.
    Stock,
}

/// The settings of a run. Every field is written into checkpoints, and a checkpoint that differs
/// in one of them is refused by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Which network is trained.
    pub architecture: Architecture,
    /// Which backend computes.
    pub backend: Backend,
    /// What computes the convolutions.
    pub kernels: Kernels,
    /// Passes over the training images; the learning rate's schedule spans them all.
    pub epochs: usize,
    /// Keys the initial weights, the order of the images and the dropped activations.
    pub seed: u64,
    /// Images of one step. What is left over of an epoch's order is left out of that epoch.
    pub batch_size: usize,
    /// The peak of the learning rate.
    pub learning_rate: f64,
    /// How the learning rate goes over the run.
    pub schedule: Schedule,
    /// AdamW's decoupled weight decay, applied to weights and not to biases.
    pub weight_decay: f64,
    /// The part of each answer's probability that is asked to be spread over all classes.
    pub label_smoothing: f64,
    /// What a step leaves of the past in the moving average of the weights that is kept; 0 keeps the
    /// last weights.
    pub averaging: f64,
    /// Each training image is shifted by up to this many pixels each way, at random.
    pub max_shift: usize,
    /// Each training image is turned by up to this many degrees each way, at random.
    pub max_rotation: f64,
    /// Rounding as the quantizer's in the last epochs; none: no rounding.
    pub quantization: Option<QuantizedTraining>,
    /// How many images of the training part are used, evenly spread over it; none: all.
    pub subset: Option<usize>,
    /// What the network is given for a pixel.
    pub normalization: ChannelNormalization,
}

impl Backend {
    /// Every backend, the default one first.
    pub const ALL: [Self; 2] = [Self::Flex, Self::NdArray];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
        }
    }

    /// The backend of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// What a user who chooses this backend should know first.
    pub const fn notice(self) -> Option<&'static str> {
        match self {
            Self::Flex => None,
            Self::NdArray => Some(
                "the ndarray backend is deprecated by burn and over 20 times slower than flex: an epoch of MNIST \
                 takes more than an hour",
            ),
        }
    }

    pub(crate) fn device(self) -> Device {
        match self {
            Self::Flex => Device::flex(),
            Self::NdArray =>
            {
                #[expect(deprecated, reason = "offered as long as burn has it, with a notice")]
                Device::ndarray()
            }
        }
    }
}

impl Kernels {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fused => "fused",
            Self::Stock => "stock",
        }
    }
}

impl Default for Recipe {
    /// The default recipe of the default network.
    fn default() -> Self {
        Self::of(Architecture::default())
    }
}

impl Recipe {
    /// The recipe of an architecture, for 55 000 images of MNIST, chosen by its accuracy on the 5 000
    /// validation images.
    pub fn of(architecture: Architecture) -> Self {
        // Fewer weights learn faster, and have less to remember the images by.
        let (epochs, learning_rate) = match architecture {
            Architecture::Standard => (5, 2e-3),
            Architecture::Small => (10, 5e-3),
            Architecture::Tiny => (15, 5e-3),
        };
        Self {
            architecture,
            backend: Backend::Flex,
            kernels: Kernels::Fused,
            epochs,
            seed: 1,
            batch_size: 64,
            learning_rate,
            schedule: Schedule::OneCycle,
            weight_decay: 1e-2,
            label_smoothing: 0.0,
            averaging: 0.0,
            max_shift: 1,
            max_rotation: 10.0,
            quantization: None,
            subset: None,
            normalization: ChannelNormalization::default(),
        }
    }

    /// A short run of it on 6 000 images, for a first look and for continuous integration.
    pub fn quick(self) -> Self {
        Self { epochs: 4, subset: Some(6_000), ..self }
    }

    /// Name and value of everything that decides which weights the run ends in,
    /// [`RECIPE_VERSION`] included. Equal settings (and equal data) make equal weights.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let Self {
            architecture,
            backend,
            kernels,
            epochs,
            seed,
            batch_size,
            learning_rate,
            schedule,
            weight_decay,
            label_smoothing,
            averaging,
            max_shift,
            max_rotation,
            quantization,
            subset,
            normalization: ChannelNormalization { mean, std },
        } = self;
        vec![
            ("recipe version", RECIPE_VERSION.to_owned()),
            ("network", architecture.name().to_owned()),
            ("backend", backend.name().to_owned()),
            ("kernels", kernels.name().to_owned()),
            ("epochs", epochs.to_string()),
            ("seed", seed.to_string()),
            ("batch size", batch_size.to_string()),
            ("learning rate", learning_rate.to_string()),
            ("schedule", schedule.name().to_owned()),
            ("weight decay", weight_decay.to_string()),
            ("label smoothing", label_smoothing.to_string()),
            ("averaging", averaging.to_string()),
            ("max shift", max_shift.to_string()),
            ("max rotation", max_rotation.to_string()),
            (
                "quantized training",
                quantization.map_or_else(
                    || "none".to_owned(),
                    |QuantizedTraining { epochs, weight_bits, mantissa_bits }| {
                        format!(
                            "the last {epochs} epochs, {weight_bits} weight bits, {mantissa_bits} mantissa bits"
                        )
                    },
                ),
            ),
            ("subset", subset.map_or_else(|| "all".to_owned(), |count| count.to_string())),
            ("mean", mean.to_string()),
            ("std", std.to_string()),
        ]
    }

    pub(crate) fn augmentation(&self) -> Augmentation {
        Augmentation { max_shift: self.max_shift, max_rotation: self.max_rotation }
    }

    /// Refuses settings that no run can have; `available` is the size of the training part.
    pub(crate) fn check(&self, available: usize) -> Result<(), TrainingError> {
        let images = self.subset.unwrap_or(available);
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let ChannelNormalization { mean, std } = self.normalization;
        let flaws = [
            (
                self.kernels == Kernels::Stock || self.backend == Backend::Flex,
                "kernels",
                "stock, as the fused kernels are for the flex backend".to_owned(),
            ),
            ((1..=10_000).contains(&self.epochs), "epochs", "1 to 10000".to_owned()),
            (images <= available, "subset", format!("at most the {available} images of the training part")),
            (
                self.batch_size >= 1 && self.batch_size <= images,
                "batch size",
                format!("1 to {images}, the images of an epoch"),
            ),
            (positive(self.learning_rate), "learning rate", "a number above 0".to_owned()),
            (
                self.weight_decay == 0.0 || positive(self.weight_decay),
                "weight decay",
                "a number not below 0".to_owned(),
            ),
            (
                (0.0..1.0).contains(&self.label_smoothing),
                "label smoothing",
                "a number from 0 to less than 1".to_owned(),
            ),
            ((0.0..1.0).contains(&self.averaging), "averaging", "a number from 0 to less than 1".to_owned()),
            (self.max_shift <= 4, "max shift", "0 to 4 pixels".to_owned()),
            ((0.0..=45.0).contains(&self.max_rotation), "max rotation", "0 to 45 degrees".to_owned()),
            (
                self.quantization.is_none_or(|quantization| {
                    (1..=self.epochs).contains(&quantization.epochs)
                        && (2..=8).contains(&quantization.weight_bits)
                        && (2..=23).contains(&quantization.mantissa_bits)
                }),
                "quantized training",
                format!("1 to {} epochs, 2 to 8 weight bits and 2 to 23 mantissa bits", self.epochs),
            ),
            (mean.is_finite(), "mean", "a finite number".to_owned()),
            (std.is_finite() && std > 0.0, "std", "a finite number above 0".to_owned()),
        ];
        let Some((_, setting, expected)) = flaws.into_iter().find(|(fine, _, _)| !fine) else {
            return Ok(());
        };
        let found = self
            .settings()
            .into_iter()
            .find(|(name, _)| *name == setting)
            .map_or(String::new(), |(_, value)| value);
        Err(TrainingError::Recipe { setting, found, expected })
    }

    /// The images that the run learns from, out of the training part.
    pub(crate) fn training_indices(&self, part: Range<usize>) -> Vec<usize> {
        let count = self.subset.unwrap_or(part.len());
        (0..count).map(|index| part.start + index * part.len() / count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_impossible_settings_by_name() {
        let default = Recipe::default;
        for (recipe, expected) in [
            (
                Recipe { backend: Backend::NdArray, ..default() },
                "the recipe's kernels is fused, expected stock",
            ),
            (Recipe { epochs: 0, ..default() }, "the recipe's epochs is 0, expected 1 to 10000"),
            (Recipe { batch_size: 0, ..default() }, "the recipe's batch size is 0"),
            (Recipe { batch_size: 101, subset: Some(100), ..default() }, "expected 1 to 100"),
            (Recipe { subset: Some(55_001), ..default() }, "the recipe's subset is 55001"),
            (Recipe { subset: Some(0), ..default() }, "the recipe's batch size is"),
            (Recipe { learning_rate: f64::NAN, ..default() }, "the recipe's learning rate is NaN"),
            (Recipe { weight_decay: -1.0, ..default() }, "the recipe's weight decay is -1"),
            (Recipe { max_shift: 28, ..default() }, "the recipe's max shift is 28"),
            (Recipe { max_rotation: -1.0, ..default() }, "the recipe's max rotation is -1"),
            (
                Recipe {
                    quantization: Some(QuantizedTraining { epochs: 0, weight_bits: 8, mantissa_bits: 23 }),
                    ..default()
                },
                "the recipe's quantized training is the last 0 epochs",
            ),
            (Recipe { label_smoothing: 1.0, ..default() }, "the recipe's label smoothing is 1"),
            (Recipe { averaging: f64::NAN, ..default() }, "the recipe's averaging is NaN"),
            (
                Recipe { normalization: ChannelNormalization { mean: 0.0, std: 0.0 }, ..default() },
                "the recipe's std is 0",
            ),
        ] {
            let message = recipe.check(55_000).expect_err("the recipe is impossible").to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert!(default().check(55_000).is_ok() && default().quick().check(55_000).is_ok());
    }

    #[test]
    fn settings_tell_any_two_recipes_apart() {
        let default = Recipe::default;
        let others = [
            Recipe { architecture: Architecture::Tiny, ..default() },
            Recipe { backend: Backend::NdArray, ..default() },
            Recipe { kernels: Kernels::Stock, ..default() },
            Recipe { epochs: 9, ..default() },
            Recipe { seed: 9, ..default() },
            Recipe { batch_size: 9, ..default() },
            Recipe { learning_rate: 9.0, ..default() },
            Recipe { weight_decay: 9.0, ..default() },
            Recipe { schedule: Schedule::Constant, ..default() },
            Recipe { label_smoothing: 0.9, ..default() },
            Recipe { averaging: 0.9, ..default() },
            Recipe { max_shift: 4, ..default() },
            Recipe { max_rotation: 9.0, ..default() },
            Recipe {
                quantization: Some(QuantizedTraining { epochs: 1, weight_bits: 8, mantissa_bits: 23 }),
                ..default()
            },
            Recipe { subset: Some(9), ..default() },
            Recipe { normalization: ChannelNormalization { mean: 0.5, std: 0.3081 }, ..default() },
            Recipe { normalization: ChannelNormalization { mean: 33.0 / 255.0, std: 0.5 }, ..default() },
        ];
        for other in others {
            let (mine, its) = (default().settings(), other.settings());
            assert_eq!(mine.iter().zip(&its).filter(|(a, b)| a != b).count(), 1, "{its:?}");
        }
    }

    #[test]
    fn subset_spreads_over_the_training_part() {
        let recipe = Recipe { subset: Some(4), ..Recipe::default() };
        assert_eq!(recipe.training_indices(0..100), [0, 25, 50, 75]);
        assert_eq!(Recipe::default().training_indices(0..5), [0, 1, 2, 3, 4]);
    }
}
