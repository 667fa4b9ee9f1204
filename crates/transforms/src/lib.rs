//! The passes that take a quantized (QDQ) network to a graph of integers, and their driver.
//!
//! Each pass is one file of `passes/`, named as its type and its command-line name; its head states
//! the algebra, shows a picture of the graph text before and after (a test runs the picture), and
//! says what it refuses. [`apply`] drives a pass, [`pipeline`] lists them in order.

mod driver;
mod edits;
mod float_tail;
mod forms;
mod pairs;
pub mod passes;
mod pipeline;
mod probe;
mod products;
mod qdq;
pub mod rescale;
mod sums;
mod survey;
mod tables;
#[cfg(test)]
mod testing;
mod transform;

pub use driver::{Applied, DriverError, Failure, Probe, Record, apply, sanitize_with_float_tail};
pub use float_tail::can_end_in_floats;
pub use forms::prepare;
pub use pipeline::{Options, pipeline, transform_for};
pub use probe::{ProbeError, ProbeResult, SAME_FUNCTION_TOLERANCE, WITHIN_ONE_UNIT_TOLERANCE, compare};
pub use survey::survey;
pub use transform::{Executor, Note, RewriteLog, Site, Transform, TransformError, UnsupportedNode};
