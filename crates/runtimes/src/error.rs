//! Why a runtime could not run a graph.

use onnx2int_engine::EngineError;
use onnx2int_graph::{EditError, TensorType, VerifyError};
use onnx2int_interpreter::RunError;

/// Why a runtime could not run a graph.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The tensors given are not what the graph takes; the same check for every runtime.
    #[error("these are not the inputs of the graph")]
    Inputs(#[source] RunError),
    /// The interpreter stopped at a node.
    #[error("the interpreter cannot run the graph")]
    Interpreter(#[source] RunError),
    /// The engine refused the graph, or stopped at a node.
    #[error("the engine cannot run the graph")]
    Engine(#[source] EngineError),
    /// The graph could not be cut down to the values asked for.
    #[error("graph {graph:?} cannot be reduced to the values asked for")]
    Select {
        /// The graph's name.
        graph: String,
        /// What the editor refused.
        source: Box<EditError>,
    },
    /// The graph, cut down to the values asked for, breaks a rule.
    #[error("graph {graph:?}, reduced to the values asked for, breaks a rule")]
    Unverified {
        /// The graph's name.
        graph: String,
        /// The rules broken.
        source: VerifyError,
    },
    /// Tract refused the graph; its message names the node.
    #[error("tract cannot prepare graph {graph:?} for inputs of shapes {shapes:?}: {message}")]
    TractPrepare {
        /// The graph's name.
        graph: String,
        /// The shapes of the inputs.
        shapes: Vec<Vec<usize>>,
        /// What tract says, causes included.
        message: String,
    },
    /// Tract stopped while running; its message names the node.
    #[error("tract cannot run graph {graph:?}: {message}")]
    TractRun {
        /// The graph's name.
        graph: String,
        /// What tract says, causes included.
        message: String,
    },
    /// Tract computed something else than the graph declares.
    #[error("tract computed {found} for value {value:?}; expected {expected}")]
    TractResult {
        /// The value's name.
        value: String,
        /// The type that the graph declares.
        expected: Box<TensorType>,
        /// What tract gave: an element type and a shape.
        found: String,
    },
    /// A batch that cannot be cut into parts.
    #[error("expected an input whose first axis is the batch, found {found}")]
    NoBatch {
        /// The type of the input.
        found: TensorType,
    },
    /// The parts of a batch gave results that do not fit together.
    #[error("output {output} of images {first} and later: expected {expected}, found {found}")]
    PartResult {
        /// The position of the output.
        output: usize,
        /// The first image of the part.
        first: usize,
        /// What fits the parts before.
        expected: String,
        /// What the part gave.
        found: String,
    },
}
