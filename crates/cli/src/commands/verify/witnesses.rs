//! `onnx2int verify --witnesses`: inputs that try to break the bounds, run and written.

use std::fs;
use std::path::Path;

use anyhow::Context;
use onnx2int_certificate::LayerWitnesses;
use onnx2int_dataset::npy;
use onnx2int_graph::{Tensor, Verified, digest, range, verify};
use onnx2int_transforms::Executor;
use serde::Serialize;

use crate::execution::Interpreter;
use crate::{console, files};

/// `witnesses.json`.
#[derive(Serialize)]
struct Index {
    schema: &'static str,
    layers: Vec<Layer>,
}

/// The files of one layer.
#[derive(Serialize)]
struct Layer {
    node: String,
    /// `network`: the model is the network up to the layer; `layer`: the layer by itself.
    scope: &'static str,
    /// An ONNX file with one input and one output, the sums.
    model: String,
    /// u8 or i8, one entry of the batch for each witness.
    input: String,
    /// i32, the sum that each witness must give.
    expected: String,
    /// SHA-256 of all sums that the interpreter gave, i32, row-major, little-endian.
    sums_sha256: String,
    /// The shape of all sums.
    sums_shape: Vec<usize>,
    /// The proven range of each channel along axis 1, or of all channels.
    lows: Vec<i64>,
    highs: Vec<i64>,
    witnesses: Vec<Witness>,
}

#[derive(Serialize)]
struct Witness {
    channel: usize,
    side: &'static str,
    bound: i64,
    expected: i64,
    /// Whether the bound is attained, so that `expected` is the bound.
    is_attained: bool,
    /// The index of the sum in the output.
    position: Vec<usize>,
}

/// Builds the witnesses of every layer, runs them in the interpreter, and writes both.
pub(super) fn write(folder: &Path, graph: Verified<'_>, threads: usize) -> anyhow::Result<()> {
    let index_path = folder.join("witnesses.json");
    // An index of another run must not name files of this one.
    if index_path.exists() {
        fs::remove_file(&index_path).with_context(|| format!("cannot remove {index_path:?}"))?;
    }
    let ranges = range::analyze(graph);
    let attained = range::attained(graph, &ranges);
    let mut index = Index { schema: "onnx2int-witnesses/1", layers: Vec::new() };
    let layers = graph.graph().nodes().filter(|(_, node)| node.op.is_integer_layer());
    for (number, (id, _)) in layers.enumerate() {
        let witnesses = LayerWitnesses::of(graph, &ranges, &attained, id)?;
        let layer = write_layer(folder, number, &witnesses, threads)?;
        console::note(format_args!("{}", summary(&layer)));
        index.layers.push(layer);
    }
    anyhow::ensure!(!index.layers.is_empty(), "the model has no integer layer, and so no witnesses");
    let mut text = serde_json::to_string_pretty(&index)?;
    text.push('\n');
    files::write(&index_path, text.as_bytes())
}

fn write_layer(
    folder: &Path,
    number: usize,
    layer: &LayerWitnesses,
    threads: usize,
) -> anyhow::Result<Layer> {
    let graph = verify(&layer.graph).context("a layer taken out of a valid graph is valid")?;
    let outputs = Interpreter { threads }
        .run(graph, std::slice::from_ref(&layer.input))
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("cannot run the witnesses of layer {:?}", layer.node))?;
    let [sums] = outputs.as_slice() else { anyhow::bail!("layer {:?} gave no sums", layer.node) };
    layer.check(sums)?;

    let stem = format!("{number:02}-{}", plain(&layer.node));
    let write = |extension: &str, bytes: &[u8]| -> anyhow::Result<String> {
        let name = format!("{stem}.{extension}");
        files::write(&folder.join(&name), bytes)?;
        Ok(name)
    };
    let expected: Vec<i32> = layer
        .witnesses
        .iter()
        .map(|witness| i32::try_from(witness.expected).context("the interpreter found it in i32"))
        .collect::<anyhow::Result<_>>()?;
    Ok(Layer {
        node: layer.node.clone(),
        scope: if layer.is_network { "network" } else { "layer" },
        model: write("onnx", &onnx2int_onnx_format::encode(graph))?,
        input: write("input.npy", &npy::encode(&layer.input))?,
        expected: write("expected.npy", &npy::encode(&Tensor::vector(expected)))?,
        sums_sha256: digest::sha256(&sums.to_le_bytes()),
        sums_shape: sums.shape().to_vec(),
        lows: layer.range.bounds.iter().map(|bound| bound.0).collect(),
        highs: layer.range.bounds.iter().map(|bound| bound.1).collect(),
        witnesses: layer
            .witnesses
            .iter()
            .map(|witness| Witness {
                channel: witness.channel,
                side: witness.side.name(),
                bound: witness.bound,
                expected: witness.expected,
                is_attained: witness.bound == witness.expected,
                position: witness.position.clone(),
            })
            .collect(),
    })
}

fn summary(layer: &Layer) -> String {
    let attained = layer.witnesses.iter().filter(|witness| witness.is_attained).count();
    format!(
        "{} ({}): {} witnesses met, {attained} of them at their bound; no sum is out of bounds",
        layer.node,
        layer.scope,
        layer.witnesses.len()
    )
}

/// A node's name as part of a file's name.
fn plain(name: &str) -> String {
    let keep = |character: char| {
        if character.is_ascii_alphanumeric() || "-_.".contains(character) { character } else { '_' }
    };
    name.chars().map(keep).take(80).collect()
}
