//! What can go wrong with certificates and witnesses.

use onnx2int_graph::range::Obstacle;
use onnx2int_graph::{EditError, VerifyError};

/// Why a model has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// The stage proves nothing about integers.
    #[error(
        "a model of stage {stage:?} computes its layers in floats, about which a certificate says nothing; \
         certify the integer or the scale_out model that `onnx2int lower` makes of it"
    )]
    Stage {
        /// The stage asked for.
        stage: &'static str,
    },
    /// The model breaks rules of its stage.
    #[error("no certificate for a model that breaks the rules of its stage")]
    Rules {
        /// Which, and where.
        source: VerifyError,
    },
    /// A tensor without elements, of which nothing can be said.
    #[error("no certificate for a model with a tensor of no elements: {tensor:?}, of type {found}")]
    Empty {
        /// The tensor's name.
        tensor: String,
        /// Its type.
        found: String,
    },
}

/// Why a text is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No JSON, or not of this form.
    #[error("not a certificate of schema {schema:?}")]
    Json {
        /// The schema that was expected.
        schema: &'static str,
        /// Where, and what was expected there.
        source: serde_json::Error,
    },
    /// Another schema.
    #[error("expected schema {expected:?}, found {found:?}; make the certificate anew with this version")]
    Schema {
        /// The schema that this version reads.
        expected: &'static str,
        /// What the file says.
        found: String,
    },
    /// Entries that cannot all be true, whatever the model.
    #[error("{entity}: expected {expected}, found {found}")]
    Inconsistent {
        /// The entry.
        entity: String,
        /// What must be there.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// Why a layer has no witnesses, or what they found.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The layer's extremes are not known.
    #[error("layer {node:?} has no witnesses ({})", onnx2int_graph::range::Attained::No(*.obstacle).name())]
    Undecided {
        /// The layer.
        node: String,
        /// Why.
        obstacle: Obstacle,
    },
    /// An operand whose extents beside the batch are not known.
    #[error(
        "layer {node:?}: expected an operand of 8-bit integers with known extents after the first, found {found}"
    )]
    Operand {
        /// The layer.
        node: String,
        /// The operand's type.
        found: String,
    },
    /// The layer cannot be taken by itself.
    #[error("layer {node:?} cannot be taken out of its graph")]
    Extract {
        /// The layer.
        node: String,
        /// What was refused.
        source: Box<EditError>,
    },
    /// What ran the witnesses gave another shape or type.
    #[error("layer {node:?}: expected sums of i32{expected:?}, found {found}")]
    Shape {
        /// The layer.
        node: String,
        /// The shape expected.
        expected: Vec<usize>,
        /// What was given.
        found: String,
    },
    /// A witness does not meet its extreme.
    #[error(
        "layer {node:?}, channel {channel}: expected the {side} extreme {expected} of witness {witness}, found {found}"
    )]
    NotMet {
        /// The layer.
        node: String,
        /// The channel.
        channel: usize,
        /// `low` or `high`.
        side: &'static str,
        /// The position in the batch.
        witness: usize,
        /// The sum expected.
        expected: i64,
        /// The sum found.
        found: i64,
    },
    /// A sum is outside of what was proven: the proof or the runtime is wrong.
    #[error("layer {node:?}, channel {channel}: expected sums in [{low}, {high}], found {found}")]
    OutOfBounds {
        /// The layer.
        node: String,
        /// The channel.
        channel: usize,
        /// The least value.
        low: i64,
        /// The greatest value.
        high: i64,
        /// The sum found.
        found: i64,
    },
}
