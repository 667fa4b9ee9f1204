//! Running graphs: our interpreter, our engine and tract behind one trait.
//!
//! [`prepare`] makes a [`Session`] that computes any values of a graph, inner ones too, so that
//! callers observe what flows through a network without changing it. [`run_parallel`] spreads a
//! batch of images over threads, and [`run_batches`] images that are read meanwhile.
//!
//! # What runtimes agree on
//!
//! The interpreter is the oracle. The engine runs graphs of stage scale_out, to the same bits. Tract gives the same bits on integer operators. It differs on
//! floats: it sums in f32 and in another order, and its `QuantizeLinear` multiplies by the inverse
//! of the scale where ONNX divides, so that an 8-bit value that lies next to a rounding boundary
//! may be off by one. Plain tract, which neither declutters nor optimizes, also takes the sums of
//! integer convolutions and products through f32, so that those beyond 2^24 lose their last bits.

mod convert;
mod engine;
mod error;
mod interpreter;
mod kernels;
mod kind;
mod parallel;
mod prepare;
#[cfg(test)]
mod tests;
mod tract;

pub use engine::{EngineSettings, engine_plan, prepare_engine};
pub use error::RuntimeError;
pub use kind::RuntimeKind;
pub use onnx2int_engine::{Kernel, peak_multiply_adds};
pub use parallel::{run_batches, run_parallel};
pub use prepare::{Session, prepare};
