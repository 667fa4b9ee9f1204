//! Random quantized networks, and what must hold of each on its way to integers.
//!
//! [`networks`] makes networks of every kind that the pipeline takes: convolutions in one and two
//! dimensions with strides, dilations, groups and uneven pads, branches, residual connections, pooling,
//! averages, functions of single elements and data movement, inputs of several preprocessings, int8
//! activations, dead and near-dead channels, weights at their ends, all zero points, biases up to 2^30,
//! multipliers from 2^-30 to 2^12. [`build()`] writes one as a QDQ graph, [`check()`] takes a graph
//! through all transforms and checks every promise on the way; [`torture()`] does both for one
//! case of a seed and shrinks what fails to a graph that can be written down, which
//! [`check()`] fails again.
//!
//! This crate runs tests and is used by tests only: `cargo xtask torture`, and `cargo test`.

mod build;
mod check;
mod engine;
mod exact;
mod fault;
mod forced;
mod images;
mod network;
mod noise;
pub mod refusal;
mod rescales;
mod sanitized;
mod sums;
mod tables;
mod torture;

pub use build::build;
pub use check::{Outcome, check};
pub use fault::Fault;
pub use network::{
    Activation, After, Average, Block, Branch, Convolution, Encoding, Ending, Flatten, Function, Groups,
    Input, Join, Joint, Layer, Movement, Multiplier, Network, Pool, Rescaling, Residual, Weights, Window,
    networks,
};
pub use refusal::Refusal;
pub use torture::{Failure, Tally, torture};
