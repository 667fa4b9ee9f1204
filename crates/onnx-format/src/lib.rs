//! ONNX bytes to [`Graph`](onnx2int_graph::Graph) and back.
//!
//! This is the only crate that sees protobuf types and operator names as strings. It works on
//! bytes and leaves files to its callers.
//!
//! [`decode`] reads models of ir_version 3 and later whose default operator set is one of
//! [`ACCEPTED_OPSETS`]. None of the operators of [`Op`](onnx2int_graph::Op) changed its meaning
//! from 13 on: newer versions only added element types and attributes whose defaults are the
//! older behavior, and turned attributes into operands. Older forms are read as what they are now.
//! A table says for each operator from which operator set on it is read, and up to which its changes
//! were compared. The operators of quantized tensors (`QLinearConv`, and those of the domain
//! `com.microsoft` that ONNX Runtime's quantizer writes) are read as the float operator between
//! `DequantizeLinear` and `QuantizeLinear`. What cannot be represented is refused, with every node at
//! fault named in one [`DecodeError`]; nothing is skipped.
//!
//! [`encode`] writes one operator set, [`OPSET`](onnx2int_graph::OPSET), and the same bytes for
//! the same graph.
//!
//! # What a round trip keeps
//!
//! `decode(encode(graph)) == graph` for every graph that came out of a
//! [`GraphEditor`](onnx2int_graph::GraphEditor). The other way, `encode(decode(bytes))` keeps the
//! function, names, metadata and quantization annotations, and drops what no output depends on,
//! documentation strings, the producer, names of extents that no input mentions, and nothing
//! else; nodes come in the order of [`finish`](onnx2int_graph::GraphEditor::finish).

mod annotation_keys;
mod decode;
mod encode;
mod error;
mod proto;

pub use decode::{ACCEPTED_OPSETS, ExternalData, decode, decode_with_data};
pub use encode::encode;
pub use error::{DecodeError, Place, Problem};
