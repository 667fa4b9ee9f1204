//! What a certificate says, as plain data.

use serde::{Deserialize, Serialize};

/// The schema of the files that this version reads and writes.
pub const SCHEMA: &str = "onnx2int-certificate/1";

/// Bounds of every integer tensor of a model, for any input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// [`SCHEMA`].
    pub schema: String,
    /// The ONNX file.
    pub model: ModelFile,
    /// The stage whose rules the model keeps: `integer` or `scale_out`.
    pub stage: String,
    /// The graph's inputs, in its order. The bounds hold for every input of these types.
    pub inputs: Vec<Input>,
    /// Every constant, sorted by name.
    pub constants: Vec<Constant>,
    /// The integer result of every node that has one, in execution order.
    pub tensors: Vec<TensorBounds>,
    /// Every integer layer, in execution order.
    pub layers: Vec<Layer>,
    /// What must be true of the bounds for nothing to overflow, in execution order.
    pub obligations: Vec<Obligation>,
}

/// The ONNX file that a certificate is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// SHA-256 of the file, in lower-case hexadecimal.
    pub sha256: String,
    /// The file's size.
    pub bytes: u64,
}

/// One extent of a shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Extent {
    /// Known.
    Fixed(u64),
    /// Known when the graph runs.
    Symbol(String),
}

/// A graph input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The tensor's name.
    pub name: String,
    /// `u8`, `i8`, `i32`, `i64`, `f32` or `bool`.
    pub dtype: String,
    /// The extents, outermost first.
    pub shape: Vec<Extent>,
    /// The least value assumed: that of the type.
    pub low: i64,
    /// The greatest value assumed: that of the type.
    pub high: i64,
}

/// A constant tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// The tensor's name.
    pub name: String,
    /// As [`Input::dtype`].
    pub dtype: String,
    /// The extents, outermost first.
    pub shape: Vec<u64>,
    /// SHA-256 of the elements in row-major order, little-endian, in hexadecimal.
    pub sha256: String,
}

/// The bounds of a node's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorBounds {
    /// The tensor's name.
    pub name: String,
    /// The node that makes it.
    pub node: String,
    /// The node's operator.
    pub op: String,
    /// As [`Input::dtype`].
    pub dtype: String,
    /// The extents, outermost first.
    pub shape: Vec<Extent>,
    /// 1 if there is a bound for each index of axis 1, none if one bound holds for all elements.
    pub axis: Option<u64>,
    /// The least values.
    pub lows: Vec<i64>,
    /// The greatest values.
    pub highs: Vec<i64>,
    /// Which of them some input meets exactly.
    pub attained: AttainedRuns,
}

/// Which bounds are attained, as runs: how many channels, and
/// [`Attained::name`](onnx2int_graph::range::Attained::name). Neighboring runs differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttainedRuns {
    /// Of the least values.
    pub lows: Vec<(u64, String)>,
    /// Of the greatest values.
    pub highs: Vec<(u64, String)>,
}

/// What the sums of an integer layer need, before the bias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// The node.
    pub node: String,
    /// `ConvInteger` or `MatMulInteger`.
    pub op: String,
    /// The tensor that is convolved or multiplied.
    pub operand: String,
    /// The tensor of the sums.
    pub output: String,
    /// How many products a sum has.
    pub products: u64,
    /// The least sum of all channels, partial sums included.
    pub low: i64,
    /// The greatest one.
    pub high: i64,
    /// Bits of the least two's complement integer that holds both.
    pub bits: u32,
    /// 32 less `bits`.
    pub headroom: u32,
    /// Which of `int16`, `int24`, `f32-exact` and `int32` hold both.
    pub fits: Vec<String>,
    /// The same for each filter or column, or once where one bound holds for all.
    pub channels: Vec<LayerChannel>,
}

/// What the sums of one filter or column need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerChannel {
    /// The least sum, partial sums included.
    pub low: i64,
    /// The greatest one.
    pub high: i64,
    /// As [`Layer::bits`].
    pub bits: u32,
    /// As [`Layer::headroom`].
    pub headroom: u32,
    /// As [`Layer::fits`].
    pub fits: Vec<String>,
    /// Whether `low` is attained, as in [`AttainedRuns`].
    pub low_attained: String,
    /// Whether `high` is attained.
    pub high_attained: String,
}

/// `least <= low` and `high <= greatest`: what a rule asks of a tensor's bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Obligation {
    /// The rule of the verifier: `accumulator-fits-i32`, `integer-op-fits-i32`, `narrowing-cast-is-clipped`,
    /// `gather-index-in-range`, `dividend-is-non-negative` or `divisor-is-positive`.
    pub rule: String,
    /// The node that it is about.
    pub node: String,
    /// The tensor whose bounds are asked for.
    pub tensor: String,
    /// The tensor's least value.
    pub low: i64,
    /// The tensor's greatest value.
    pub high: i64,
    /// The least value allowed.
    pub least: i64,
    /// The greatest value allowed.
    pub greatest: i64,
}

impl Obligation {
    /// Whether the bounds are inside of what is allowed.
    pub const fn holds(&self) -> bool {
        self.least <= self.low && self.high <= self.greatest
    }
}
