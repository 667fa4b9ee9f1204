//! What can keep a network from being quantized.

use std::fmt;

use onnx2int_dataset::{DatasetError, ImageShape};
use onnx2int_graph::EditError;
use onnx2int_runtimes::RuntimeError;

/// A node that the quantizer has no rule for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The node's name.
    pub node: String,
    /// Its operator.
    pub op: &'static str,
    /// Why not, and the way out.
    pub reason: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {:?} ({}): {}", self.node, self.op, self.reason)
    }
}

/// Why a network was not quantized.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// Nodes that the quantizer has no rule for: all of them.
    #[error("{} cannot be quantized:{}", count(nodes.len()), list(nodes))]
    Unsupported {
        /// In execution order.
        nodes: Vec<Unsupported>,
    },
    /// The network has nothing to quantize.
    #[error("the model has no Conv, Gemm or MatMul with constant weights: there is nothing to quantize")]
    NoLayers,
    /// The images are not those that the network takes.
    #[error("the model takes {wanted}, found images of {found} (channels x height x width)")]
    Images {
        /// The type of the network's input.
        wanted: String,
        /// The images' shape.
        found: ImageShape,
    },
    /// An image cannot be read.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// The network does not take images.
    #[error(
        "the model must have one input f32[N,C,H,W] with fixed channels, height and width, found {found}"
    )]
    Input {
        /// The inputs that it has.
        found: String,
    },
    /// A tensor has values that are infinite or not numbers.
    #[error("tensor {tensor:?} holds values that are not finite on the calibration images")]
    NotFinite {
        /// The tensor's name.
        tensor: String,
    },
    /// A constant has values that are infinite or not numbers.
    #[error("initializer {tensor:?} of node {node:?} holds values that are not finite")]
    WeightsNotFinite {
        /// The initializer's name.
        tensor: String,
        /// The layer that reads it.
        node: String,
    },
    /// The float network did not run.
    #[error("the float model cannot be run for calibration")]
    Run(#[from] RuntimeError),
    /// An entry of the overrides matches nothing, or contradicts itself.
    #[error("{entry} of the configuration: {reason}")]
    Override {
        /// The entry.
        entry: String,
        /// Why it cannot be followed, and what could be meant.
        reason: String,
    },
    /// What was made on the way breaks a rule of graphs.
    #[error("a graph that the quantizer made breaks a rule; this is a defect of onnx2int")]
    Verify(#[source] onnx2int_graph::VerifyError),
    /// The graph could not be changed as planned.
    #[error("the quantized graph cannot be made")]
    Edit(#[from] EditError),
}

fn count(nodes: usize) -> String {
    match nodes {
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes"),
    }
}

fn list(nodes: &[Unsupported]) -> String {
    nodes.iter().map(|node| format!("\n  {node}")).collect()
}
