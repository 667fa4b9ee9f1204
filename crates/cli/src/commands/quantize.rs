//! `onnx2int quantize`: a float model to 8-bit QDQ form.

use anyhow::Context;
use onnx2int_calibration::{LogitScales, Method, Overrides, Placement, Settings, quantize};
use onnx2int_dataset::{ImageSource, OpenOptions, open, spread};
use onnx2int_evaluation::ScoredModel;
use onnx2int_graph::{Graph, Stage, metadata, verify, verify_stage};
use onnx2int_transforms::{RewriteLog, prepare};

use crate::arguments::{CalibrationMethod, Logits, Quantize, QuantizerPlacement};
use crate::execution::Interpreter;
use crate::{console, files, images};

/// Images that ranges are observed on, unless the user says how many.
const SAMPLES: usize = 1000;

pub(crate) fn run(arguments: &Quantize) -> anyhow::Result<()> {
    let model = files::read_model(&arguments.model)?;
    files::check_writable(&arguments.output)?;
    let normalization = images::normalization(&model.graph, &model.file, &arguments.preprocessing)?;
    let (source, indices) = calibration_images(arguments, &model)?;
    let settings = Settings {
        per_axis: arguments.per_axis,
        weight_bits: arguments.weight_bits,
        logits: match arguments.logits {
            Logits::Shared => LogitScales::Shared,
            Logits::PerChannel => LogitScales::PerChannel,
        },
        placement: match arguments.placement {
            QuantizerPlacement::Integer => Placement::Integer,
            QuantizerPlacement::Onnxruntime => Placement::OnnxRuntime,
        },
        method: match arguments.calibration {
            CalibrationMethod::MinMax => Method::MinMax,
            CalibrationMethod::MovingAverage => Method::MovingAverage,
            CalibrationMethod::Percentile => Method::Percentile(arguments.percentile),
            CalibrationMethod::Entropy => Method::Entropy,
            CalibrationMethod::Mse => Method::MeanSquaredError,
        },
        equalize: arguments.equalize,
        correct_bias: arguments.correct_bias,
        overrides: overrides(arguments)?,
        threads: arguments.threads.count(),
    };
    let threads = settings.threads;
    let prepared = prepared(&model.graph, threads)
        .with_context(|| format!("cannot prepare {:?} to be quantized", arguments.model))?;
    let quantized = quantize(verify(&prepared)?, source.as_ref(), &indices, &normalization, settings)
        .with_context(|| format!("cannot quantize {:?}", arguments.model))?;
    // No stage is recorded where a layer was excluded.
    let verified = match quantized.graph.metadata().contains_key(metadata::STAGE) {
        true => verify_stage(&quantized.graph, Stage::Quantized),
        false => verify(&quantized.graph),
    };
    let verified =
        verified.context("the quantized model breaks a rule of its stage; this is a defect of onnx2int")?;
    files::write_model(&arguments.output, verified)?;
    for tensor in &quantized.activations {
        console::note(format_args!(
            "{:<12} in [{:.4}, {:.4}]: scale {:.6e}, zero point {}",
            tensor.name, tensor.least, tensor.greatest, tensor.scale, tensor.zero_point
        ));
    }
    console::note(format_args!("wrote {:?}, calibrated on {} images", arguments.output, indices.len()));
    Ok(())
}

/// What the file of `--config` says of single tensors and nodes.
fn overrides(arguments: &Quantize) -> anyhow::Result<Overrides> {
    let Some(path) = &arguments.config else { return Ok(Overrides::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
    toml::from_str(&text).with_context(|| format!("{path:?} is not a configuration of quantize"))
}

/// The graph with its operators in the forms that the quantizer knows; tells what was changed.
fn prepared(graph: &Graph, threads: usize) -> anyhow::Result<Graph> {
    let mut log = RewriteLog::default();
    let prepared = prepare(verify(graph)?, &Interpreter::new(threads), &mut log)?;
    for site in log.sites() {
        console::note(format_args!("{}: {}", site.node, site.change));
    }
    Ok(prepared)
}

/// A source and the images of it to calibrate on: of the user's own all are for training, of MNIST
/// the training part is.
fn calibration_images(
    arguments: &Quantize,
    model: &files::Model,
) -> anyhow::Result<(Box<dyn ImageSource>, Vec<usize>)> {
    let count = |available: usize| arguments.calibration_samples.unwrap_or(SAMPLES.min(available));
    let Some(path) = &arguments.source.images else {
        let train = files::load_dataset(&arguments.data.data_dir)?.train;
        let indices = train.calibration_indices(count(train.split().training.len()))?;
        return Ok((Box::new(train), indices));
    };
    let wanted = ScoredModel::of(&model.graph, &model.file, &model.digest)?.images;
    let options = OpenOptions { wanted, size: arguments.source.size, labels: None };
    let source = open(path, &options)?;
    let indices = spread(source.len(), count(source.len()))?;
    Ok((source, indices))
}
