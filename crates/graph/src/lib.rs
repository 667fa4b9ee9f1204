//! The intermediate representation of onnx2int. (Semantics prose to come.)

mod dtype;
mod editor;
mod graph;
pub mod infer;
pub mod metadata;
mod op;
pub mod range;
pub mod shape_values;
mod stage;
mod tensor;
mod text;
mod types;
mod verify;

pub use dtype::DType;
pub use editor::{EditError, GraphEditor};
pub use graph::{Graph, Node, NodeId, QuantizationAnnotation, Source, Value, ValueId};
pub use op::{ConvAttributes, GemmAttributes, MaxPoolAttributes, Op, Pads};
pub use stage::{Relation, Stage};
pub use tensor::{Array, Element, ElementCountError, Tensor};
pub use text::ParseError;
pub use types::{Dim, TensorType};
pub use verify::{Verified, VerifyError, Violation, looks_like, verify, verify_stage};

/// The ONNX operator set that every graph of this crate speaks, and that every file is written in.
pub const OPSET: i64 = 21;
