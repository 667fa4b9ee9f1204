//! `onnx2int transform`: one step of the lowering.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use onnx2int_graph::metadata::{self, Normalization};
use onnx2int_graph::{Graph, GraphEditor, Op, Stage, verify_stage};
use onnx2int_transforms::passes::{EncodeWeights, Encoding};
use onnx2int_transforms::{Applied, Options, Probe, Record, apply, transform_for};

use crate::arguments::{Preprocessing, Transform, TransformOptions};
use crate::execution::{self, Interpreter};
use crate::{console, files};

pub(crate) fn run(arguments: &Transform) -> anyhow::Result<()> {
    let model = files::read_model(&arguments.model)?;
    let transform = transform(arguments, &model.graph)?;
    files::check_writable(&arguments.output)?;
    arguments.record.as_deref().map_or(Ok(()), files::check_writable)?;
    let interpreter = Interpreter::new(arguments.threads.count());
    let model_graph = with_preprocessing(&model.graph, &arguments.options)?;
    let applied = apply(transform.as_ref(), &model_graph, &interpreter, &execution::probe(&model_graph))
        .with_context(|| format!("cannot transform {:?}", arguments.model))?;
    write(&arguments.output, &applied, transform.makes())?;
    if let Some(path) = &arguments.record {
        files::write(path, serde_json::to_string_pretty(&applied.record)?.as_bytes())?;
    }
    print(&applied.record);
    console::note(format_args!("wrote {:?}", arguments.output));
    Ok(())
}

/// The transform that the command line names.
fn transform(
    arguments: &Transform,
    graph: &Graph,
) -> anyhow::Result<Box<dyn onnx2int_transforms::Transform>> {
    if arguments.name != EncodeWeights::NAME {
        let stage = Stage::ALL.into_iter().find(|stage| stage.made_by() == arguments.name);
        return stage
            .and_then(|stage| transform_for(stage, &pipeline_options(&arguments.options)))
            .ok_or_else(|| anyhow!("no transform is called {:?}", arguments.name));
    }
    let named = |encoding: &Encoding| Some(encoding.name()) == arguments.encoding.as_deref();
    let encoding = Encoding::ALL.into_iter().find(named).context("encode-weights needs --as")?;
    let stage = match execution::stage(graph) {
        Some(stage @ (Stage::Integer | Stage::ScaleOut)) => stage,
        found => bail!(
            "cannot transform {:?}: expected a model at stage integer or scale_out, found {}; make it so with \
             `onnx2int lower` first",
            arguments.model,
            found.map_or("none in its metadata", Stage::name)
        ),
    };
    Ok(Box::new(EncodeWeights { stage, encoding }))
}

/// Makes the graph of `stage` from that of the stage before.
pub(crate) fn step(
    graph: &Graph,
    stage: Stage,
    options: &TransformOptions,
    interpreter: &Interpreter,
    probe: &Probe,
) -> anyhow::Result<Applied> {
    let transform = transform_for(stage, &pipeline_options(options))
        .with_context(|| format!("no transform makes the stage {stage}"))?;
    Ok(apply(transform.as_ref(), graph, interpreter, probe)?)
}

/// The graph with what the user tells of its preprocessing in its metadata.
///
/// Quantizers of others keep the metadata of the float model that they were given: what that says of
/// the stage is dropped where there are quantizers.
pub(crate) fn with_preprocessing(graph: &Graph, options: &TransformOptions) -> anyhow::Result<Graph> {
    let Preprocessing { mean, std } = &options.preprocessing;
    let quantized = graph.nodes().any(|(_, node)| matches!(node.op, Op::QuantizeLinear { .. }));
    if quantized && execution::stage(graph) == Some(Stage::Float) {
        let mut editor = GraphEditor::from(graph.clone());
        editor.remove_metadata(metadata::STAGE);
        return with_preprocessing(&editor.finish()?, options);
    }
    if mean.is_empty() && std.is_empty() {
        return Ok(graph.clone());
    }
    let stored = Normalization::of(graph);
    let of = |given: &[f32], stored: Option<Vec<f32>>, name: &str| match (given, stored) {
        ([], None) => Err(anyhow!("the model's metadata does not tell its {name}; give it with --{name}")),
        ([], Some(stored)) => Ok(stored),
        (given, _) => Ok(given.to_vec()),
    };
    let means = of(mean, stored.as_ref().map(Normalization::means), "mean")?;
    let stds = of(std, stored.as_ref().map(Normalization::stds), "std")?;
    let mut editor = GraphEditor::from(graph.clone());
    Normalization::new(&means, &stds)?.record(&mut editor);
    Ok(editor.finish()?)
}

fn pipeline_options(options: &TransformOptions) -> Options {
    Options { scale: options.scale, zero_point: options.zero_point, mantissa_bits: options.mantissa_bits }
}

/// Writes the graph of a stage.
pub(crate) fn write(path: &Path, applied: &Applied, stage: Stage) -> anyhow::Result<()> {
    files::write_model(path, verify_stage(&applied.graph, stage)?)
}

/// Tells what a transform did, place by place.
pub(crate) fn print(record: &Record) {
    let places = match record.sites.len() {
        1 => "1 place".to_owned(),
        count => format!("{count} places"),
    };
    console::note(format_args!(
        "{}: {places} changed, {} to {} nodes",
        record.transform, record.nodes_before, record.nodes_after
    ));
    for site in &record.sites {
        let notes: Vec<_> =
            site.notes.iter().map(|note| format!("{} {}", note.name, short(note.value))).collect();
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        console::note(format_args!("  {}: {}{notes}", site.node, site.change));
    }
}

fn short(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e9 { format!("{value}") } else { format!("{value:.3e}") }
}
