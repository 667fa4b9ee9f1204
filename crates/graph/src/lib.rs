//! The intermediate representation of onnx2int: what a network is, between the float CNN and the
//! graph that holds integers and nothing else.
//!
//! # What a graph means
//!
//! A [`Graph`] is a function of tensors. It owns **values**, the tensors that flow, and **nodes**,
//! the operators that make values of others. A value comes from one [`Source`]: the caller (an
//! input), the graph itself (a constant), or a node. Every node has exactly one output.
//! Evaluation has no order but that of the data: a node's result depends on its operands and its
//! attributes and on nothing else, there is no state and no randomness, and two evaluations
//! on the same inputs give the same outputs. The nodes are stored in an order in which operands
//! come first.
//!
//! A **node** ([`Node`]) is an [`Op`] with its attributes, applied to operands in ONNX's order. An
//! operand that ONNX calls optional may be left out. The operators mean what ONNX's of the same
//! name mean at opset [`OPSET`], in inference mode; the enum is closed, so that a graph that can be
//! stored can also be printed, encoded, bounded and run.
//!
//! A **constant** is immutable and shared: nodes that read it read the same tensor, and an edit
//! replaces it for one reader by putting another constant into that operand slot. A `Constant` node
//! says the same thing as a constant; the stages from `sanitized` on have only the latter.
//!
//! A **type** ([`TensorType`]) is an element type and a list of extents. An extent is a number or a
//! **symbol**, known when the graph runs; equal symbols are equal extents. The batch is a symbol,
//! mostly `N`. Nothing may depend on its number: two symbols are never assumed equal, and a symbol
//! is never assumed to be 1, so that it does not broadcast with a number. Symbolic
//! extents that an exporter computes at run time (`Shape -> Gather -> Concat -> Reshape`) are followed
//! by [`shape_values`].
//!
//! **Names** are part of the graph: values and nodes each have one, unique among their kind, and
//! they survive from stage to stage where the thing is the same. A node mostly has the name of its
//! output. Constants made on the way are called `<output>_<role>` ([`Op::operand_role`]).
//!
//! **Metadata** ([`metadata`]) and [`QuantizationAnnotation`]s travel with the graph and are read by
//! people and by later steps; no operator reads them.
//!
//! # The families of operators
//!
//! - **Float layers** (`Conv`, `Gemm`, `MatMul`): sums of products in f32. The order of summation is
//!   not part of the meaning, so that executors may differ in the last bits.
//! - **Integer layers** (`ConvInteger`, `MatMulInteger`): `sum (x - x_zero_point) * (w - w_zero_point)` of
//!   8-bit operands, exact in i32. Padding stands for `x_zero_point`, and so adds nothing. The zero
//!   points are scalars, and a left out one is 0.
//! - **Quantization**: `QuantizeLinear` is `saturate(round(x / scale) + zero_point)`, rounding half to
//!   even; `DequantizeLinear` is `(q - zero_point) * scale`. A scale is one for the tensor, or one for
//!   each index of an axis. In the QDQ stages they bracket float operators: the integers between a
//!   quantizer and a dequantizer are what the integer stages compute with.
//! - **Element by element** (`Add`, `Max`, `Relu`, `Clip`, `Cast`, ...): operands broadcast as in numpy,
//!   and have one element type. Integer `Div` truncates; since runtimes do not agree on negative
//!   operands, a verified integer stage has none. An integer `Cast` keeps the low bits.
//! - **Functions of one number** ([`Activation`], `PRelu`, `BatchNormalization`): in f32. Of a byte
//!   there are 256 results, so that the integer stages look them up with `Gather`. The index of a
//!   `Gather` in a verified integer stage is inside its axis and not negative.
//! - **Averages** (`AveragePool`, `GlobalAveragePool`, `ReduceMean`): in f32; the order of summation is
//!   as open as that of the layers.
//! - **Data movement** (`Flatten`, `Reshape`, `Transpose`, `Concat`, `Slice`, ...), and `MaxPool`, which
//!   picks: no new number comes out, so that these commute with every increasing map of the
//!   elements, and with quantization by one scale for the tensor in particular. `Pad` moves as well,
//!   but what it pads with is a number of its own.
//!
//! # Integers
//!
//! Integer arithmetic is **exact**: in a graph that is verified at an integer stage, wrapping never
//! happens. [`range`] bounds every integer value for any input whatever, from the input types and
//! the actual weights; the verifier refuses a graph in which a sum, partial sums included, a product or a
//! narrowing `Cast` could leave its type, or a division could see a negative number. That is why the
//! last stage gives the same bits in every runtime, whatever it does on overflow.
//!
//! i64 is for shapes, axes and class indices only, `bool` for flags.
//!
//! # Stages
//!
//! A network passes through ten [`Stage`]s, each a legal ONNX model with a relation to the one
//! before ([`Relation`]). What is true at a stage is stated as rules, which [`verify_stage`] checks.
//!
//! # How graphs are made, checked and read
//!
//! [`GraphEditor`] is the only way to make or change a graph. [`verify()`] is the only way to a
//! [`Verified`] one, which is what executors, the range analysis and the encoder take; they may
//! rely on every rule of structure and type, and on those of the stage if that was asked for. [`infer`] has
//! the type rules. The text form ([`Graph::to_text`], [`Graph::from_text`]) is how documentation, tests
//! and diagnostics speak of graphs:
//!
//! ```
//! use onnx2int_graph::{Graph, Stage, verify_stage};
//!
//! let graph = Graph::from_text(
//!     "in %x: u8[N,2]
//!      const %w: i8[2,1] = [3, -4]
//!      %sum: i32[N,1] = MatMulInteger(%x, %w, 33u8, 0i8)
//!      out %sum",
//! )?;
//! verify_stage(&graph, Stage::ScaleOut)?;
//!
//! // 3 * (255 - 33) + 4 * 33 is the most that can come out.
//! let ranges = onnx2int_graph::range::analyze(onnx2int_graph::verify(&graph)?);
//! assert_eq!(ranges.get(graph.outputs()[0]).map(|range| range.hull()), Some((-987, 798)));
//!
//! let error = verify_stage(&graph, Stage::Float).unwrap_err();
//! assert_eq!(error.looks_like, Some(Stage::ScaleOut));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`mod@text`] describes the text form in full, [`mod@verify`] lists the rules of the verifier.

mod activation;
pub mod cost;
pub mod digest;
mod dtype;
mod editor;
pub mod float_tail;
mod graph;
pub mod infer;
pub mod metadata;
pub mod movement;
mod op;
pub mod pointwise;
pub mod range;
pub mod scales;
pub mod shape_values;
mod stage;
pub mod targets;
mod tensor;
pub mod text;
mod types;
pub mod verify;

pub use activation::Activation;
pub use dtype::DType;
pub use editor::{EditError, GraphEditor};
pub use graph::{Graph, Node, NodeId, QuantizationAnnotation, Source, Value, ValueId};
pub use op::{AveragePoolAttributes, ConvAttributes, GemmAttributes, Op, Pads, PoolWindow};
pub use stage::{Relation, Stage};
pub use tensor::{Array, Element, ElementCountError, Tensor};
pub use text::ParseError;
pub use types::{Dim, TensorType};
pub use verify::{Verified, VerifyError, Violation, looks_like, verify, verify_stage};

/// The ONNX operator set that every graph of this crate speaks, and that every file is written in.
pub const OPSET: i64 = 21;
