//! The arguments of `onnx2int quantize`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Data, Preprocessing, Source, Threads};

#[derive(Args, Debug)]
pub(crate) struct Quantize {
    /// The float model
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// The quantized model to write
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) source: Source,
    /// One weight scale for each output channel instead of one for each layer
    #[arg(long)]
    pub(crate) per_axis: bool,
    /// per-axis: the weight scales of the layer that gives the logits
    #[arg(long, value_enum, default_value_t = Logits::Shared)]
    pub(crate) logits: Logits,
    /// Where quantizers are put, where there is a choice
    #[arg(long, value_enum, default_value_t = QuantizerPlacement::Integer)]
    pub(crate) placement: QuantizerPlacement,
    /// Bits of a weight, 2 to 8; with 7 no two products leave 16 bits, where kernels saturate
    #[arg(long, value_name = "BITS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=8))]
    pub(crate) weight_bits: u32,
    /// How the range of an activation is chosen
    #[arg(long, value_enum, default_value_t = CalibrationMethod::MinMax)]
    pub(crate) calibration: CalibrationMethod,
    /// percentile: what part of the values a range holds
    #[arg(long, value_name = "PERCENT", default_value_t = 99.99, value_parser = percent)]
    pub(crate) percentile: f64,
    /// Bring the channels between two layers to like ranges of weights first (cross-layer equalization, arXiv
    /// 1906.04721); the float network's function stays the same
    #[arg(long)]
    pub(crate) equalize: bool,
    /// Take the mean error of each channel on the calibration images out of its bias (bias correction, same paper)
    #[arg(long)]
    pub(crate) correct_bias: bool,
    /// Single tensors and nodes in TOML: exclude_nodes, exclude_op_types, [tensors."NAME"] with range, scale and
    /// zero_point, or calibration and percentile, and [nodes."NAME"] with weight_bits and per_axis
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Images to observe ranges on, evenly spread; the same number always takes the same images [default: 1000, or all
    /// of fewer]
    #[arg(long, value_name = "N")]
    pub(crate) calibration_samples: Option<usize>,
    #[command(flatten)]
    pub(crate) preprocessing: Preprocessing,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

/// The weight scales of the layer that gives the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Logits {
    /// One for all, so that raw integer sums are the logits
    Shared,
    /// One for each output channel, as in other layers; `lower` brings the sums to one scale and reports what that loses
    PerChannel,
}

/// Where quantizers are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizerPlacement {
    /// As integers serve best: raw sums for logits, one scale for the branches of a Concat, averages with a range of
    /// their own
    Integer,
    /// As in ONNX Runtime's static quantizer: logits quantized, branches of a Concat with ranges of their own, averages
    /// over windows with the scale of their operand
    Onnxruntime,
}

/// How the range of an activation is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CalibrationMethod {
    /// From the least to the greatest value
    MinMax,
    /// From the average of the images' least values to that of their greatest
    MovingAverage,
    /// What holds most values, without the outermost at both ends
    Percentile,
    /// The least divergence of the quantized values' distribution
    Entropy,
    /// The least mean squared error
    Mse,
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match percent > 50.0 && percent <= 100.0 {
        true => Ok(percent),
        false => Err("expected more than 50 and up to 100".to_owned()),
    }
}
