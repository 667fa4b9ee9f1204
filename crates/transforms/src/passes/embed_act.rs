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
//! A `Clip` between a layer, a sum or a product and its quantizers goes behind them, since `q` is increasing:
//! `q(clip(x; l, h)) = clip(q(x); q(l), q(h))`. There it does nothing where `q(l)` is the least code
//! and `q(h)` the greatest, as a calibrated quantizer has it behind a ReLU6; with `l = 0` alone it is
//! a Relu; otherwise it stays, as a function of the codes that `integer-ops` makes a table.
//!
//! ```text
//! in      %x: f32[N,1,5,5], %w: f32[2,1,3,3]
//! Before  %y: f32[N,2,3,3] = Conv(%x, %w)
//!         %c: f32[N,2,3,3] = Clip(%y, 0.0, 6.0)
//!         %q: u8[N,2,3,3] = QuantizeLinear(%c, 0.02, 0u8)
//! After   %y: f32[N,2,3,3] = Conv(%x, %w)
//!         %y_relu: f32[N,2,3,3] = Relu(%y)
//!         %q: u8[N,2,3,3] = QuantizeLinear(%y_relu, 0.02, 0u8)
//! out     %q
//! ```
//!
//! # Equivalence
//! Exact. A graph whose Relus are all explicit already is left as it is.
//!
//! # Refuses
//! A quantizer behind a layer whose zero point is not constant (`quantization-constant`).

use onnx2int_graph::pointwise::known_tensor;
use onnx2int_graph::{DType, Graph, GraphEditor, NodeId, Op, Stage, Tensor, ValueId, Verified};

use crate::edits::{bypass, rewrite_each};
use crate::qdq::{Parameters, position_weights};
use crate::survey::is_product_of_two;
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
        let clips = find_clips(&graph)?;
        let graph = rewrite_each(&graph, clips, |editor, site| rewrite_clip(editor, &site, log))?;
        rewrite_each(&graph, find_sites(&graph)?, |editor, site| rewrite_site(editor, &site, log))
    }
}

/// A `Clip` between a sum or a product and its quantizers.
struct Clip {
    node: NodeId,
    /// What is clipped, and the result.
    sum: ValueId,
    result: ValueId,
    quantizers: Vec<NodeId>,
    replacement: Replacement,
}

enum Replacement {
    /// The quantizers clip all the same.
    Nothing,
    Relu,
    /// The `Clip` goes behind the quantizers, with these operands.
    Behind(Vec<Option<ValueId>>),
}

fn find_clips(graph: &Graph) -> Result<Vec<Clip>, TransformError> {
    let mut sites = Vec::new();
    for (id, node) in graph.nodes().filter(|(_, node)| matches!(node.op, Op::Clip)) {
        let Some(sum) = node.input(0) else { continue };
        let behind_sum = graph.producer(sum).is_some_and(|(_, producer)| {
            ends_in_sum(&producer.op)
                || is_product_of_two(graph, producer)
                || position_weights(graph, producer).is_some()
        });
        let readers: Vec<_> = graph.consumers(node.output).collect();
        let quantized = readers
            .iter()
            .all(|&(reader, slot)| slot == 0 && matches!(graph.node(reader).op, Op::QuantizeLinear { .. }));
        if !behind_sum || !quantized || graph.outputs().contains(&node.output) {
            continue;
        }
        let bound = |slot: usize, missing: f32| match node.input(slot) {
            None => Some(missing),
            Some(value) => known_tensor(graph, value).and_then(Tensor::as_single::<f32>),
        };
        let (Some(low), Some(high)) = (bound(1, f32::NEG_INFINITY), bound(2, f32::INFINITY)) else {
            let reason = "expected constant bounds; fold them into initializers first";
            return Err(TransformError::refused("clip-bounds", &node.name, reason));
        };
        let quantizers: Vec<NodeId> = readers.into_iter().map(|(reader, _)| reader).collect();
        let (mut low_implied, mut high_implied) = (true, true);
        for &quantizer in &quantizers {
            let (least, greatest) = end_codes(graph, quantizer, low, high)?;
            low_implied &= least;
            high_implied &= greatest;
        }
        let replacement = match (low_implied, high_implied) {
            (true, true) => Replacement::Nothing,
            (false, true) if low == 0.0 => Replacement::Relu,
            _ => Replacement::Behind(node.inputs.clone()),
        };
        sites.push(Clip { node: id, sum, result: node.output, quantizers, replacement });
    }
    Ok(sites)
}

/// Whether a quantizer gives the bounds its least and its greatest code.
fn end_codes(graph: &Graph, quantizer: NodeId, low: f32, high: f32) -> Result<(bool, bool), TransformError> {
    let node = graph.node(quantizer);
    let parameters = Parameters::of(graph, node)?;
    let (Some((scale, zero_point)), Some((least, greatest))) =
        (parameters.per_tensor(), parameters.dtype.integer_range())
    else {
        let reason = "expected one scale for the whole tensor; quantize activations per tensor";
        return Err(TransformError::refused("clip-quantizer", &node.name, reason));
    };
    let code = |bound: f32| f64::from((bound / scale).round_ties_even()) + zero_point as f64;
    Ok((code(low) <= least as f64, code(high) >= greatest as f64))
}

fn rewrite_clip(editor: &mut GraphEditor, site: &Clip, log: &mut RewriteLog) -> Result<(), TransformError> {
    let name = editor.graph().node(site.node).name.clone();
    match &site.replacement {
        Replacement::Nothing => {
            bypass(editor, site.result, site.sum)?;
            log.changed(name, "Clip removed: its quantizers clip there");
        }
        Replacement::Relu => {
            editor.replace_node(site.node, Op::Relu, [Some(site.sum)]);
            log.changed(name, "Clip is Relu: its quantizers clip the upper end");
        }
        Replacement::Behind(operands) => {
            bypass(editor, site.result, site.sum)?;
            for &quantizer in &site.quantizers {
                clip_codes(editor, quantizer, &name, operands.clone())?;
            }
            log.changed(name, "Clip moved behind the quantizer, to the codes");
        }
    }
    Ok(())
}

/// Puts a `DequantizeLinear`, the `Clip` and the quantizer once more behind a quantizer.
fn clip_codes(
    editor: &mut GraphEditor,
    quantizer: NodeId,
    clip: &str,
    mut operands: Vec<Option<ValueId>>,
) -> Result<(), TransformError> {
    let node = editor.graph().node(quantizer).clone();
    let name = editor.graph().value(node.output).name.clone();
    let readers: Vec<_> = editor.graph().consumers(node.output).collect();
    let add = |editor: &mut GraphEditor, suffix: &str, op: Op, inputs: Vec<Option<ValueId>>| {
        editor.add_fresh_node(&format!("{name}_{suffix}"), op, inputs)
    };
    let (scale, zero_point) = (node.input(1), node.input(2));
    let dequantize = Op::DequantizeLinear { axis: 1 };
    let floats = add(editor, "to_clip", dequantize, vec![Some(node.output), scale, zero_point])?;
    operands[0] = Some(floats);
    let clipped = add(editor, clip, Op::Clip, operands)?;
    let codes = add(editor, "clipped", node.op.clone(), vec![Some(clipped), scale, zero_point])?;
    for (reader, slot) in readers {
        editor.set_input(reader, slot, Some(codes));
    }
    Ok(())
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
    matches!(op, Op::Conv(_) | Op::Gemm(_) | Op::MatMul | Op::Add | Op::Sub)
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
    fn a_clip_behind_a_product_goes_too() {
        check(
            &EmbedAct,
            "in %a: u8[N,3], %b: u8[N,3]
             %ad = DequantizeLinear(%a, 0.1, 3u8)
             %af = Flatten(%ad)
             %bd = DequantizeLinear(%b, 0.1, 3u8)
             %y = Mul(%af, %bd) @join
             %c = Clip(%y, 0.0, 6.0)
             %q = QuantizeLinear(%c, 0.02, 0u8)
             out %q",
            "in %a: u8[N,3], %b: u8[N,3]
             %ad = DequantizeLinear(%a, 0.1, 3u8)
             %af = Flatten(%ad)
             %bd = DequantizeLinear(%b, 0.1, 3u8)
             %y = Mul(%af, %bd) @join
             %q = QuantizeLinear(%y, 0.02, 0u8)
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
