//! `onnx2int transform`: one step of the lowering.

use std::path::Path;

use anyhow::{Context, anyhow};
use onnx2int_graph::{Graph, Stage, verify_stage};
use onnx2int_transforms::{Applied, Options, Record, apply, transform_for};

use crate::arguments::{Transform, TransformOptions};
use crate::execution::{self, Interpreter};
use crate::{console, files};

pub(crate) fn run(arguments: &Transform) -> anyhow::Result<()> {
    let stage = Stage::ALL
        .into_iter()
        .find(|stage| stage.made_by() == arguments.name)
        .ok_or_else(|| anyhow!("no transform is called {:?}", arguments.name))?;
    let model = files::read_model(&arguments.model)?;
    files::check_writable(&arguments.output)?;
    arguments.record.as_deref().map_or(Ok(()), files::check_writable)?;
    let applied = step(&model.graph, stage, &arguments.options, arguments.threads.count())
        .with_context(|| format!("cannot transform {:?}", arguments.model))?;
    write(&arguments.output, &applied, stage)?;
    if let Some(path) = &arguments.record {
        files::write(path, serde_json::to_string_pretty(&applied.record)?.as_bytes())?;
    }
    print(&applied.record);
    console::note(format_args!("wrote {:?}", arguments.output));
    Ok(())
}

/// Makes the graph of `stage` from that of the stage before.
pub(crate) fn step(
    graph: &Graph,
    stage: Stage,
    options: &TransformOptions,
    threads: usize,
) -> anyhow::Result<Applied> {
    let transform = transform_for(stage, &pipeline_options(options))
        .with_context(|| format!("no transform makes the stage {stage}"))?;
    Ok(apply(transform.as_ref(), graph, &Interpreter { threads }, &execution::probe(graph))?)
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
