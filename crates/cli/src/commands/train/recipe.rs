//! From options to a recipe.

use onnx2int_graph::metadata::ChannelNormalization;
use onnx2int_training::{Architecture, Backend, Kernels, QuantizedTraining, Recipe, Schedule};

use crate::arguments::{Network, RecipeOptions, TrainingBackend, TrainingKernels, TrainingSchedule};

/// The recipe of the chosen network, with what the options change.
pub(super) fn recipe(options: &RecipeOptions) -> anyhow::Result<Recipe> {
    let architecture = match options.network {
        Network::Standard => Architecture::Standard,
        Network::Small => Architecture::Small,
        Network::Tiny => Architecture::Tiny,
    };
    let base = Recipe::of(architecture);
    let base = if options.quick { base.quick() } else { base };
    let backend = match options.backend {
        TrainingBackend::Flex => Backend::Flex,
        TrainingBackend::Ndarray => Backend::NdArray,
    };
    Ok(Recipe {
        architecture,
        backend,
        kernels: match (options.kernels, backend) {
            (Some(TrainingKernels::Stock), _) | (None, Backend::NdArray) => Kernels::Stock,
            (Some(TrainingKernels::Fused), _) | (None, Backend::Flex) => Kernels::Fused,
        },
        epochs: options.epochs.map_or(base.epochs, |epochs| epochs as usize),
        seed: options.seed,
        batch_size: options.batch_size.map_or(base.batch_size, |images| images as usize),
        learning_rate: options.learning_rate.unwrap_or(base.learning_rate),
        schedule: options.schedule.map_or(base.schedule, |schedule| match schedule {
            TrainingSchedule::OneCycle => Schedule::OneCycle,
            TrainingSchedule::Cosine => Schedule::Cosine,
            TrainingSchedule::Constant => Schedule::Constant,
        }),
        weight_decay: options.weight_decay.unwrap_or(base.weight_decay),
        label_smoothing: options.label_smoothing.unwrap_or(base.label_smoothing),
        averaging: options.averaging.unwrap_or(base.averaging),
        max_shift: options.max_shift.map_or(base.max_shift, |pixels| pixels as usize),
        max_rotation: options.max_rotation.unwrap_or(base.max_rotation),
        quantization: match options.qat_epochs {
            Some(epochs) => Some(QuantizedTraining {
                epochs: epochs as usize,
                weight_bits: options.weight_bits.unwrap_or(8),
                mantissa_bits: options.mantissa_bits.unwrap_or(23),
            }),
            None => base.quantization,
        },
        subset: options.subset.map_or(base.subset, |images| Some(images as usize)),
        normalization: ChannelNormalization::new(
            options.mean.unwrap_or(base.normalization.mean),
            options.std.unwrap_or(base.normalization.std),
        )?,
    })
}
