//! Sessions of our interpreter.

use onnx2int_graph::{Graph, Tensor};
use onnx2int_interpreter::run;

use crate::prepare::verified;
use crate::{RuntimeError, Session};

/// A graph of its own, interpreted anew in every run.
pub(crate) struct InterpreterSession {
    graph: Graph,
}

impl InterpreterSession {
    pub(crate) fn new(graph: Graph) -> Self {
        Self { graph }
    }
}

impl Session for InterpreterSession {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        // A `Verified` borrows its graph, so that a session that owns one cannot keep it; checking
        // again costs microseconds where a run costs milliseconds.
        run(verified(&self.graph)?, inputs).map_err(RuntimeError::Interpreter)
    }
}
