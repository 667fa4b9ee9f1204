//! The few forms that operators are brought to before anything else: one rewriting a file.
//!
//! Exporters say the same thing in many ways. What can be said with fewer operators is said so
//! here, once, and neither the quantizer nor a later pass knows the other ways. Each form keeps the
//! real function.
//!
//! [`prepare`] does this to a float network before it is quantized; [`crate::passes::Sanitize`]
//! does it to a quantized one, and more that only a quantized one needs.

mod affine;
mod average_pool;
mod float_bias;
mod gemm;
mod mean;
mod pad;
mod quantizers;
mod scalar;
mod signed;

use onnx2int_graph::{Graph, Tensor, Verified, verify};

use crate::passes::sanitize::fold;
use crate::{Executor, RewriteLog, TransformError};

type Form = fn(Graph, &mut RewriteLog) -> Result<Graph, TransformError>;

/// Forms of float and quantized networks alike.
const COMMON: [Form; 3] = [gemm::plain, mean::rewrite, pad::rewrite];

/// Folds constants and shapes of a float network, and brings its operators to the forms that the
/// quantizer knows; a scale and an offset for each channel behind a layer go into its weights.
///
/// # Errors
/// A node that looks like one of these and cannot be rewritten.
pub fn prepare(
    graph: Verified<'_>,
    executor: &dyn Executor,
    log: &mut RewriteLog,
) -> Result<Graph, TransformError> {
    let mut graph = fold(graph, executor, log)?;
    for form in COMMON.into_iter().chain([affine::rewrite as Form]) {
        graph = form(graph, log)?;
    }
    // Layers that lost what was behind them may leave something to fold.
    fold(verify(&graph)?, executor, log)
}

/// Brings the operators of a quantized network to the forms that the passes know.
pub(crate) fn of_quantized(graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let own: [Form; 5] =
        [scalar::rewrite, average_pool::rewrite, signed::rewrite, quantizers::rewrite, float_bias::rewrite];
    COMMON.into_iter().chain(own).try_fold(graph, |graph, form| form(graph, log))
}

/// One number for each of `channels` along axis 1 of a tensor of that rank, from a float constant
/// that broadcasts to it; none where it varies along another axis.
fn per_channel(constant: &Tensor, rank: usize, channels: usize) -> Option<Vec<f64>> {
    let values = constant.as_slice::<f32>()?;
    let lead = rank.checked_sub(constant.rank())?;
    let varies = (0..constant.rank()).filter(|&axis| constant.shape()[axis] != 1);
    match varies.map(|axis| axis + lead).collect::<Vec<_>>().as_slice() {
        [] => Some(vec![f64::from(*values.first()?); channels]),
        [1] if values.len() == channels => Some(values.iter().map(|&value| f64::from(value)).collect()),
        _ => None,
    }
}
