//! What was proven and measured of the last model by other commands, as far as it is of this very file.

use serde::{Deserialize, Serialize};

/// What is known beyond scores; what was not checked is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// That nothing overflows.
    pub overflow: Option<OverflowProof>,
    /// That other runtimes compute the same.
    pub same_bits: Option<SameBits>,
}

/// A certificate that holds of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverflowProof {
    /// The model's stage.
    pub stage: String,
    /// SHA-256 of the model's file, in hexadecimal.
    pub digest: String,
    /// How many bounds of tensors had to be inside of what a rule allows, and are.
    pub obligations: usize,
    /// What the sums of each integer layer need, in execution order.
    pub layers: Vec<LayerBound>,
}

/// What the sums of an integer layer need for any input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBound {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// How many products a sum has.
    pub products: u64,
    /// The least sum, partial sums included.
    pub low: i64,
    /// The greatest one.
    pub high: i64,
    /// Bits of the least two's complement integer that holds both.
    pub bits: u32,
}

/// How runtimes compare with our interpreter, bit for bit, on every inner integer tensor and every output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SameBits {
    /// The model's stage.
    pub stage: String,
    /// SHA-256 of the model's file, in hexadecimal.
    pub digest: String,
    /// The runtimes, our interpreter first.
    pub runtimes: Vec<RuntimeBits>,
}

/// One runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeBits {
    /// Its name.
    pub name: String,
    /// Its version, where it is known.
    pub version: Option<String>,
    /// The images that it ran on.
    pub images: usize,
    /// Every bit was the interpreter's.
    pub equal: bool,
}
