//! Makes the Relu explicit that a uint8 quantizer implies.
//!
//! Quantizers leave out a Relu where the uint8 `QuantizeLinear` after it has zero point 0, because
//! that clips negative numbers to 0 all the same. Once the quantizer's scale is folded and the
//! quantizer becomes fixed-point arithmetic, the clip must be seen: it is what keeps the dividend
//! of that arithmetic from being negative.
//!
//! With `q(x) = clamp(round(x / s), 0, 255)` and `s > 0`: `q(max(x, 0)) = q(x)` for every `x`, bit
//! for bit.
//!
//! ```text
//! in      %x: f32[N,1,5,5], %w: f32[2,1,3,3]
//! Before  %y: f32[N,2,3,3] = Conv(%x, %w)
//!         %q: u8[N,2,3,3] = QuantizeLinear(%y, 0.1, 0u8)
//! After   %y: f32[N,2,3,3] = Conv(%x, %w)
//!         %y_relu: f32[N,2,3,3] = Relu(%y)
//!         %q: u8[N,2,3,3] = QuantizeLinear(%y_relu, 0.1, 0u8)
//! out     %q
//! ```
//!
//! # Equivalence
//! Exact. A graph whose Relus are all explicit already is left as it is.
//!
//! # Refuses
//! A quantizer behind a layer whose zero point is not constant (`quantization-constant`).

use onnx2int_graph::{DType, Graph, GraphEditor, NodeId, Op, Stage, ValueId, Verified};

use crate::edits::rewrite_each;
use crate::qdq::Parameters;
use crate::{Executor, RewriteLog, Transform, TransformError};

/// The `embed-act` transform; see the file's head.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbedAct;

impl Transform for EmbedAct {
    fn makes(&self) -> Stage {
        Stage::Activations
    }

    /// A quantizer may have kept every Relu, or a network have none; the stage's rules notice one
    /// that is missing.
    fn noop_allowed(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        graph: Verified<'_>,
        _executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError> {
        rewrite_each(&graph, find_sites(&graph)?, |editor, site| rewrite_site(editor, &site, log))
    }
}

/// The output of a layer, and the quantizers behind it that clip it at zero.
struct ImpliedRelu {
    layer: NodeId,
    output: ValueId,
    quantizers: Vec<NodeId>,
}

fn find_sites(graph: &Graph) -> Result<Vec<ImpliedRelu>, TransformError> {
    let mut sites = Vec::new();
    for (layer, node) in graph.nodes().filter(|(_, node)| ends_in_sum(&node.op)) {
        let mut quantizers = Vec::new();
        for (consumer, slot) in graph.consumers(node.output) {
            let quantizer = graph.node(consumer);
            if slot == 0 && matches!(quantizer.op, Op::QuantizeLinear { .. }) {
                let parameters = Parameters::of(graph, quantizer)?;
                if parameters.dtype == DType::U8 && parameters.zero_points.iter().all(|&z| z == 0) {
                    quantizers.push(consumer);
                }
            }
        }
        if !quantizers.is_empty() {
            sites.push(ImpliedRelu { layer, output: node.output, quantizers });
        }
    }
    Ok(sites)
}

/// Whether the operator's results can be negative although its network has a Relu behind it.
const fn ends_in_sum(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::Gemm(_) | Op::MatMul | Op::Add)
}

fn rewrite_site(
    editor: &mut GraphEditor,
    site: &ImpliedRelu,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let layer = editor.graph().node(site.layer).name.clone();
    let node_name = editor.unique_name(&format!("{layer}_relu"));
    let output_name = format!("{}_relu", editor.graph().value(site.output).name);
    let output_name = if output_name == node_name { output_name } else { editor.unique_name(&output_name) };
    let relu = editor.add_node(&node_name, Op::Relu, [Some(site.output)], &output_name)?;
    for &quantizer in &site.quantizers {
        editor.set_input(quantizer, 0, Some(relu));
    }
    log.changed(layer, format!("Relu {node_name:?} made explicit before its uint8 quantizer"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::EmbedAct;
    use crate::testing::{check, check_refused, check_unchanged};

    #[test]
    fn one_relu_serves_all_quantizers_and_no_other_reader() {
        let sites = check(
            &EmbedAct,
            "in %x: f32[N,3], %w: f32[3,2]
             %y = Gemm(%x, %w) @fc
             %q = QuantizeLinear(%y, 0.1, 0u8)
             %p = QuantizeLinear(%y, 0.2, 0u8)
             %s = QuantizeLinear(%y, 0.2, 3u8)
             out %q, %p, %s, %y",
            "in %x: f32[N,3], %w: f32[3,2]
             %y = Gemm(%x, %w) @fc
             %y_relu = Relu(%y) @fc_relu
             %q = QuantizeLinear(%y_relu, 0.1, 0u8)
             %p = QuantizeLinear(%y_relu, 0.2, 0u8)
             %s = QuantizeLinear(%y, 0.2, 3u8)
             out %q, %p, %s, %y",
        );
        assert_eq!(sites, ["fc: Relu \"fc_relu\" made explicit before its uint8 quantizer"]);
    }

    #[test]
    fn a_residual_add_implies_one_too() {
        check(
            &EmbedAct,
            "in %a: f32[N,3], %b: f32[N,3]
             %y = Add(%a, %b) @join
             %q = QuantizeLinear(%y, 0.1)
             out %q",
            "in %a: f32[N,3], %b: f32[N,3]
             %y = Add(%a, %b) @join
             %y_relu = Relu(%y) @join_relu
             %q = QuantizeLinear(%y_relu, 0.1)
             out %q",
        );
    }

    #[test]
    fn signed_and_offset_quantizers_and_explicit_relus_stay() {
        check_unchanged(
            &EmbedAct,
            "in %x: f32[N,3], %w: f32[3,2]
             %y = Gemm(%x, %w)
             %r = Relu(%y)
             %q = QuantizeLinear(%r, 0.1, 0u8)
             %s = QuantizeLinear(%y, 0.1, 0i8)
             %t = QuantizeLinear(%y, 0.1, 128u8)
             %i = QuantizeLinear(%x, 0.1, 0u8)
             out %q, %s, %t, %i",
        );
    }

    #[test]
    fn a_zero_point_that_is_computed_is_refused() {
        check_refused(
            &EmbedAct,
            "in %x: f32[N,3], %w: f32[3,2], %z: u8[]
             %y = Gemm(%x, %w)
             %q = QuantizeLinear(%y, 0.1, %z)
             out %q",
            "quantization-constant",
            "q",
        );
    }
}
