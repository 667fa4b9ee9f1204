//! The tiny network and what the transforms make of it, shared by the golden test and the example
//! that writes the golden files.

use std::fs;
use std::path::PathBuf;

use onnx2int_graph::metadata::Normalization;
use onnx2int_graph::{Graph, Stage, Tensor, Verified};
use onnx2int_transforms::{Applied, Options, Probe, apply, pipeline};

/// Where the golden files are.
pub(crate) fn file(stage: Stage) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!(
        "{:02}-{}.graph",
        stage.index(),
        stage.name()
    ))
}

/// The quantized network that the others are made of.
pub(crate) fn quantized() -> Graph {
    let text = fs::read_to_string(file(Stage::Quantized)).expect("the quantized network is there");
    Graph::from_text(&text).expect("the quantized network is a graph")
}

/// Runs graphs by the interpreter.
pub(crate) fn interpreter(graph: Verified<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    onnx2int_interpreter::run(graph, inputs).map_err(|error| error.to_string())
}

/// Images of noise, of black, of white and of a gradient.
pub(crate) fn images() -> Tensor {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut pixels: Vec<u8> = (0..29 * 36).map(|_| noise()).collect();
    pixels.extend([0; 36]);
    pixels.extend([255; 36]);
    pixels.extend((0..36).map(|pixel| pixel * 7));
    Tensor::from_vec(&[32, 1, 6, 6], pixels).expect("32 images")
}

/// Every later stage, made by the driver.
pub(crate) fn lower() -> Vec<(Stage, Applied)> {
    let probe = Probe { images: images(), normalization: Normalization::default() };
    let mut graph = quantized();
    let mut made = Vec::new();
    for transform in pipeline(&Options::default()) {
        let applied = apply(transform.as_ref(), &graph, &interpreter, &probe)
            .unwrap_or_else(|error| panic!("{error}: {}", error.failure));
        graph = applied.graph.clone();
        made.push((transform.makes(), applied));
    }
    made
}
