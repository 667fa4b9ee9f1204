//! Static quantization of a float network to 8-bit QDQ form.
//!
//! Three steps, one file each: [`plan`] decides what is quantized, [`observe`] runs the float
//! network on training images and chooses the range of every such tensor by a [`Method`],
//! [`insert`] writes `QuantizeLinear`/`DequantizeLinear` pairs, weights and biases. The form is that
//! of ONNX Runtime's static quantizer: u8 activations, i8 symmetric weights in `[-127, 127]`
//! (fewer bits on request), i32
//! biases of scale `input scale * weight scale`, pairs around `MaxPool` and `Flatten`, and no `Relu`
//! where the u8 quantizer at zero point 0 implies it.
//!
//! On request [`equalize`] changes the float network first, and [`correct_bias`] the biases last.
//! [`isolate`](fn@isolate) takes a quantized network apart again: what rounding the weights does alone, and the activations.
//!
//! Own choices:
//! - the logits layer's output is not quantized, and its weights have one scale unless
//!   [`LogitScales::PerChannel`] is asked for, so that the raw i32 logits share one scale;
//! - the input's range is not observed but follows from the preprocessing;
//! - an all-zero channel takes the layer's median scale, and no weight scale is so small that the
//!   i32 bias exceeds `2^30`: a near-dead channel can neither divide by zero nor overflow.

mod correct_bias;
mod equalize;
mod error;
mod histogram;
mod insert;
mod isolate;
mod observe;
mod overrides;
mod plan;

use onnx2int_dataset::{ImageSource, Normalization};
use onnx2int_graph::{Graph, Verified, verify};
use serde::Serialize;

use correct_bias::Corrections;
use overrides::Chosen;

pub use error::{CalibrationError, Unsupported};
pub use isolate::{Isolated, isolate};
pub use overrides::{MethodName, NodeOverride, Overrides, TensorOverride};

/// Settings of [`quantize`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// One weight scale for each output channel instead of one for each layer.
    pub per_axis: bool,
    /// Bits of a weight, 2 to 8: weights are from `-(2^(bits-1) - 1)` to `2^(bits-1) - 1`.
    pub weight_bits: u32,
    /// Whether `per_axis` goes for the layer of the logits too.
    pub logits: LogitScales,
    /// Where quantizers are put.
    pub placement: Placement,
    /// How the range of an activation is chosen.
    pub method: Method,
    /// Equalize the ranges of channels between layers first (Nagel et al. 2019, section 4.1).
    pub equalize: bool,
    /// Take the mean error of each layer's channels out of its bias (section 4.2 there).
    pub correct_bias: bool,
    /// What goes for single tensors and nodes instead.
    pub overrides: Overrides,
    /// Threads that run the float network.
    pub threads: usize,
}

/// The weight scales of the layer that gives the logits, where weights have one for each channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogitScales {
    /// One for all channels: the raw i32 sums are the logits, in one unit.
    #[default]
    Shared,
    /// One for each channel, as in all other layers and in ONNX Runtime's quantizer: finer weights,
    /// and the integer stages have to bring the logits to one scale.
    PerChannel,
}

/// Where quantizers are put, where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// As integers serve best: logits stay raw sums, the branches of a `Concat` have the range of its result, so that
    /// nothing is brought to another scale there, and an average has a range of its own.
    #[default]
    Integer,
    /// As ONNX Runtime's static quantizer has them: logits are quantized, each branch of a `Concat` has a range of
    /// its own, and the result of an `AveragePool` has the scale of its operand.
    OnnxRuntime,
}

/// How the range of an activation follows from what was observed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Method {
    /// From the least to the greatest value.
    #[default]
    MinMax,
    /// From the average over images of the least value to that of the greatest, late images weighing
    /// more.
    MovingAverage,
    /// What holds so many percent of the values, above 50 and up to 100.
    Percentile(f64),
    /// The least Kullback-Leibler divergence of the quantized values' distribution.
    Entropy,
    /// The least mean squared error.
    MeanSquaredError,
}

/// What was observed of one tensor, and the parameters that follow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuantizedTensor {
    /// The tensor's name in the float graph.
    pub name: String,
    /// The least value seen.
    pub least: f32,
    /// The greatest value seen.
    pub greatest: f32,
    /// Real value of one unit.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: u8,
}

/// A quantized network.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The network in QDQ form; its metadata names the stage unless a layer was excluded, which no
    /// stage allows.
    pub graph: Graph,
    /// Every activation that was quantized, in execution order.
    pub activations: Vec<QuantizedTensor>,
}

/// Quantizes a float network.
///
/// `indices` are the images of `images` that ranges are observed on; they are read in small
/// batches, so that memory does not grow with their number.
///
/// # Errors
/// Lists every node that cannot be quantized; names an entry of the overrides that matches nothing; names a tensor that is not finite on the data, or an
/// image that cannot be read.
pub fn quantize(
    graph: Verified<'_>,
    images: &dyn ImageSource,
    indices: &[usize],
    normalization: &Normalization,
    settings: Settings,
) -> Result<Quantized, CalibrationError> {
    let planned = |graph: &Graph| plan::plan(graph, settings.placement, &settings.overrides.excluded(graph)?);
    let mut own = graph.graph().clone();
    if settings.equalize {
        own = equalize::equalize(&own, &planned(&own)?)?.0;
    }
    if settings.correct_bias {
        own = correct_bias::with_biases(&own, &planned(&own)?)?;
    }
    let graph = verify(&own).map_err(CalibrationError::Verify)?;
    let plan = planned(graph.graph())?;
    let resolved = settings.overrides.resolve(graph.graph(), &plan)?;
    let input = &graph.value(plan.input).ty;
    let extents: Vec<_> = input.shape.iter().skip(1).map(|dim| dim.fixed()).collect();
    let found = images.shape();
    if extents != [found.channels, found.height, found.width].map(Some) {
        return Err(CalibrationError::Images { wanted: input.to_string(), found });
    }
    let observation = observe::Observation {
        graph,
        values: &plan.observed,
        images,
        indices,
        normalization,
        threads: settings.threads,
    };
    let observed = observe::observe(observation, |value| match resolved.tensors.get(&value) {
        Some(&Chosen::Method(method)) => method,
        _ => settings.method,
    })?;
    let quantized = |corrections: &Corrections| {
        insert::insert(&own, &plan, &observed, normalization, &settings, &resolved, corrections)
    };
    let corrections = match settings.correct_bias {
        true => {
            let graph = |corrections: &Corrections| Ok(quantized(corrections)?.graph);
            correct_bias::corrections(observation, &plan, graph)?
        }
        false => Corrections::new(),
    };
    quantized(&corrections)
}
