//! Both runtimes on one graph: where they must agree, and by how much they may differ.

mod agreement;
mod observation;
mod refusals;

use onnx2int_graph::{DType, Graph, Tensor, verify};

use crate::{RuntimeError, RuntimeKind, Session, prepare};

/// A session of a graph's own outputs.
fn session(kind: RuntimeKind, graph: &Graph) -> Box<dyn Session> {
    prepare(kind, verify(graph).unwrap(), graph.outputs()).unwrap()
}

fn graph(text: &str) -> Graph {
    Graph::from_text(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The outputs of one runtime.
fn run(kind: RuntimeKind, graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
    session(kind, graph).run(inputs)
}

/// Noise of an element type, the same each time: all bytes, or floats in `-2..2`.
fn noise(dtype: DType, shape: &[usize]) -> Tensor {
    let mut state = 12_345u32;
    let bytes: Vec<u8> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    match dtype {
        DType::U8 => Tensor::from_vec(shape, bytes),
        DType::I8 => Tensor::from_vec(shape, bytes.iter().map(|&v| v as i8).collect()),
        DType::I32 => {
            Tensor::from_vec(shape, bytes.iter().map(|&v| i32::from(v as i8) * 1_000_003).collect())
        }
        DType::I64 => Tensor::from_vec(shape, bytes.iter().map(|&v| i64::from(v as i8)).collect()),
        DType::F32 => Tensor::from_vec(shape, bytes.iter().map(|&v| f32::from(v) / 64.0 - 2.0).collect()),
        DType::Bool => Tensor::from_vec(shape, bytes.iter().map(|&v| v > 127).collect()),
    }
    .unwrap()
}
