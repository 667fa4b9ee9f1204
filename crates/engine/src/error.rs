//! What the engine refuses.

use onnx2int_graph::VerifyError;
use onnx2int_interpreter::RunError;

/// Why a graph or its inputs cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The graph is not one of integers alone, proven not to overflow.
    #[error(
        "graph {graph:?} is not at stage scale_out, and the engine runs no other; \
         `onnx2int lower` makes such a file, and the runtimes tract and interpreter run every stage"
    )]
    Stage {
        /// The graph's name.
        graph: String,
        /// The rules that it breaks.
        source: Box<VerifyError>,
    },
    /// The graph has a float tail.
    #[error(
        "value {value:?} has the type {ty}, and the engine runs integers alone; the runtimes tract and \
         interpreter run a float tail"
    )]
    NotIntegers {
        /// The value's name.
        value: String,
        /// Its type.
        ty: String,
    },
    /// A value that has no fixed number of elements for each image.
    #[error(
        "value {value:?} has the type {ty}, and the engine needs one image along the first axis and \
         fixed extents along the others"
    )]
    Extents {
        /// The value's name.
        value: String,
        /// Its type.
        ty: String,
    },
    /// A kernel that this processor lacks.
    #[error("this processor has no instructions for the kernel {kernel}; it has {available}")]
    Kernel {
        /// The kernel that was asked for.
        kernel: &'static str,
        /// Those that can be asked for here.
        available: String,
    },
    /// The threads could not be started.
    #[error("the engine cannot start its threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// Inputs that are not of the declared types.
    #[error("the inputs are not those of the graph")]
    Inputs(#[source] Box<RunError>),
    /// A slice of another length than the graph's types say.
    #[error("{what} has {found} elements, and {images} images need {expected}")]
    Length {
        /// Which slice.
        what: String,
        /// Its length.
        found: usize,
        /// The images of the batch.
        images: usize,
        /// The length that it must have.
        expected: usize,
    },
    /// `run_into` on a graph that has not one u8 input and one i32 output.
    #[error("graph {graph:?} has not one u8 input and one i32 output; use `Engine::run`")]
    NotImagesToLogits {
        /// The graph's name.
        graph: String,
    },
    /// A node without a fast path failed.
    #[error("node {node:?} cannot be run")]
    Interpreted {
        /// The node's name.
        node: String,
        /// Why.
        source: Box<RunError>,
    },
}
