//! Graph fragments as text, for tests: constants in, one tensor out.

use std::error::Error;

use onnx2int_graph::{Graph, Tensor, verify};

use crate::{RunError, run};

/// Runs a graph text on these inputs.
pub(crate) fn run_text(text: &str, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
    let graph = Graph::from_text(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    run(verify(&graph).unwrap_or_else(|error| panic!("{error}\n{text}")), inputs)
}

/// The only output of a graph text without inputs.
pub(crate) fn value_of(text: &str) -> Tensor {
    run_text(text, &[]).unwrap_or_else(|error| panic!("{}\n{text}", chain(&error))).remove(0)
}

/// The message, with its causes, of a graph text without inputs that cannot be run.
pub(crate) fn refusal_of(text: &str) -> String {
    chain(&run_text(text, &[]).expect_err("the fragment must be refused"))
}

fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// A tensor from its shape and elements.
pub(crate) fn tensor<T: onnx2int_graph::Element>(shape: &[usize], elements: &[T]) -> Tensor {
    Tensor::from_vec(shape, elements.to_vec()).expect("the elements fill the shape")
}
