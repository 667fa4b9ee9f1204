//! What every operator of [`onnx2int_graph::Op`] means, by running it: the oracle of the project.
//!
//! Each kernel is the textbook loop, in an order that the compiler can vectorize, and nothing
//! more: no fusion, no threads, no intrinsics. Where an executor and this crate differ, the
//! executor is wrong, or this crate has a bug that a hand-computed test can show.
//!
//! # Numbers
//!
//! - **Integers are checked, always.** A result that its element type cannot hold, or a division
//!   by zero, is an error that names the node; nothing ever wraps or saturates in silence. The two
//!   places where ONNX itself drops or clamps do what ONNX says: an integer `Cast` keeps the low
//!   bits, `QuantizeLinear` saturates.
//! - Integer `Div` truncates towards zero.
//! - **Float sums of products** (`Conv`, `Gemm`, `MatMul`) are accumulated in f64 and rounded to
//!   f32 once, so that the oracle is at least as exact as any f32 kernel. Softmax likewise.
//! - Other float operators are one f32 operation per element, as IEEE 754 defines it.
//! - **NaN** passes through float arithmetic, `Relu`, `Clip`, `Max`, `Min` and `MaxPool`. Where
//!   the result could not show it (`QuantizeLinear`, `ArgMax`, `Cast` to an integer), it is an
//!   error.

mod average;
mod broadcast;
mod cast;
mod conv;
mod elementwise;
mod error;
mod evaluate;
#[cfg(test)]
mod fragment;
mod inputs;
mod matmul;
mod movement;
mod operands;
mod pool;
mod quantize;
mod run;
mod search;
mod softmax;
mod sums;
mod window;

pub use error::{OpError, RunError};
pub use inputs::check_inputs;
pub use run::{run, run_observed};
