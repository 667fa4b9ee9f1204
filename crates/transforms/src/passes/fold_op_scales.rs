//! Folds the scales of a layer's input and weights into the scale of its output quantizer.
//!
//! For a Conv or Gemm with input `i_scale (x - z)`, weights `w_scale_c w` and bias
//! `i_scale w_scale_c b` in channel `c`, the result is `i_scale w_scale_c A_c` with the integer
//! accumulator `A_c = sum w (x - z) + b`. So
//!
//! - `quantize(i_scale w_scale_c A_c; o_scale) = quantize(A_c; o_scale / (i_scale w_scale_c))`,
//!   computed in f64 and stored as f32: a scale of each channel, along axis 1;
//! - the scales of input, weights and bias become 1. MaxPool, Flatten and other data movement in
//!   front of the layer, and a Relu behind it, commute with a positive scale;
//! - a graph output that is not quantized, the logits, gets a `Mul` by `i_scale w_scale` behind it
//!   that gives it back its unit. `integer-ops` makes that Mul a `DequantizeLinear`, which is what
//!   it is, and which takes no float operand; `scale-out` removes it.
//!
//! ```text
//! in      %x: u8[N,1,5,5]
//! const   %w: i8[2,1,3,3] = cycle [1, -2, 3]
//! const   %b: i32[2] = [7, -9]
//! Before  const %ws: f32[2] = [0.25, 0.5]
//!         const %wz: i8[2] = [0, 0]
//!         const %bs: f32[2] = [0.125, 0.25]
//!         %xd: f32[N,1,5,5] = DequantizeLinear(%x, 0.5, 3u8)
//!         %wd: f32[2,1,3,3] = DequantizeLinear(%w, %ws, %wz) axis=0
//!         %bd: f32[2] = DequantizeLinear(%b, %bs) axis=0
//!         %y: f32[N,2,3,3] = Conv(%xd, %wd, %bd)
//!         %r: f32[N,2,3,3] = Relu(%y)
//!         %q: u8[N,2,3,3] = QuantizeLinear(%r, 4.0, 0u8)
//! After   const %wz: i8[] = 0
//!         const %q_scale: f32[2] = [32.0, 16.0]
//!         const %q_zero_point: u8[2] = [0, 0]
//!         %xd: f32[N,1,5,5] = DequantizeLinear(%x, 1.0, 3u8)
//!         %wd: f32[2,1,3,3] = DequantizeLinear(%w, 1.0, %wz) axis=0
//!         %bd: f32[2] = DequantizeLinear(%b, 1.0) axis=0
//!         %y: f32[N,2,3,3] = Conv(%xd, %wd, %bd)
//!         %r: f32[N,2,3,3] = Relu(%y)
//!         %q: u8[N,2,3,3] = QuantizeLinear(%r, %q_scale, %q_zero_point)
//! out     %q
//! ```
//!
//! The layer of the logits:
//!
//! ```text
//! in      %x: u8[N,4]
//! const   %w: i8[3,4] = cycle [1, -2, 3]
//! Before  %xd: f32[N,4] = DequantizeLinear(%x, 0.5, 0u8)
//!         %wd: f32[3,4] = DequantizeLinear(%w, 0.25, 0i8)
//!         %logits: f32[N,3] = Gemm(%xd, %wd) transB=1 @fc
//! After   const %logits_scale: f32[] = 0.125
//!         %xd: f32[N,4] = DequantizeLinear(%x, 1.0, 0u8)
//!         %wd: f32[3,4] = DequantizeLinear(%w, 1.0, 0i8)
//!         %logits_accumulator: f32[N,3] = Gemm(%xd, %wd) transB=1 @fc
//!         %logits: f32[N,3] = Mul(%logits_accumulator, %logits_scale) @logits_dequantize
//! out     %logits
//! ```
//!
//! # Equivalence
//! The same real function. A `DequantizeLinear` that something else reads too (a residual Add, the
//! caller) keeps its scale for that, and the layers get one of their own.
//!
//! ONNX Runtime's default optimization fuses a Conv with a per-axis quantizer right behind it and
//! then fails (a Relu between them, as `embed-act` leaves it, prevents that).
//!
//! # Refuses
//! A layer that is not quantized (`weights-quantized`, `bias-quantized`, `gemm-factors`,
//! `channel-axis`, `weight-zero-point`); an input that is not an 8-bit value with one scale
//! (`layer-input`); a bias whose scale is not `i_scale * w_scale` (`bias-scale`); an output that goes
//! neither to quantizers nor to the caller, or to both (`layer-output`).

use std::collections::HashSet;

use onnx2int_graph::{DType, Graph, GraphEditor, NodeId, Op, Stage, Tensor, ValueId, Verified, movement};

use crate::edits::{rewrite_each, set_constant, set_constant_named};
use crate::qdq::{
    DequantizedConstant, Layer, Parameters, is_layer, position_weights, sinks, zero_point_scalar,
};
use crate::{Executor, RewriteLog, Transform, TransformError};

/// The greatest relative difference between a bias' scale and `i_scale * w_scale` that is put down
/// to float rounding.
const BIAS_SCALE_TOLERANCE: f64 = 1e-5;

/// The `fold-op-scales` transform; see the file's head.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldOpScales;

impl Transform for FoldOpScales {
    fn makes(&self) -> Stage {
        Stage::Folded
    }

    fn rewrite(
        &self,
        graph: Verified<'_>,
        _executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError> {
        let mut unit = HashSet::new();
        rewrite_each(&graph, find_sites(&graph)?, |editor, site| {
            rewrite_site(&graph, editor, &site, &mut unit, log)
        })
    }
}

/// A layer whose scales are folded.
struct FoldedLayer<'g> {
    layer: Layer<'g>,
    /// The `DequantizeLinear` nodes that its input comes from.
    dequantizers: Vec<NodeId>,
    /// `i_scale * w_scale` of each channel; one where all channels agree.
    unit_scales: Vec<f64>,
    outlet: Outlet,
}

/// Where the result of a layer, and of a Relu behind it, goes.
enum Outlet {
    /// To these quantizers.
    Quantizers(Vec<NodeId>),
    /// To the caller.
    Output(ValueId),
}

fn find_sites(graph: &Graph) -> Result<Vec<FoldedLayer<'_>>, TransformError> {
    Layer::all(graph)?
        .into_iter()
        .map(|layer| {
            let (dequantizers, input_scale) = layer_input(graph, &layer)?;
            let weights = &layer.weights.parameters;
            let unit_scale = |channel: usize| input_scale * f64::from(weights.scale(channel));
            if let Some(bias) = &layer.bias {
                check_bias_scale(&layer, bias, unit_scale)?;
            }
            let mut unit_scales: Vec<f64> = (0..layer.channels).map(unit_scale).collect();
            if unit_scales.windows(2).all(|pair| pair[0] == pair[1]) {
                unit_scales.truncate(1);
            }
            let outlet = outlet(graph, &layer)?;
            Ok(FoldedLayer { layer, dequantizers, unit_scales, outlet })
        })
        .collect()
}

/// Where a layer's input comes from, and its scale.
fn layer_input(graph: &Graph, layer: &Layer<'_>) -> Result<(Vec<NodeId>, f64), TransformError> {
    let refused = |reason: String| Err(TransformError::refused("layer-input", &layer.node.name, reason));
    let mut dequantizers = Vec::new();
    let mut scale: Option<f32> = None;
    for origin in movement::origins(graph, layer.input) {
        let name = &graph.value(origin).name;
        let Some((id, node)) =
            graph.producer(origin).filter(|(_, node)| matches!(node.op, Op::DequantizeLinear { .. }))
        else {
            return refused(format!(
                "expected an input that comes from DequantizeLinear, found {name:?}; quantize it"
            ));
        };
        let parameters = Parameters::of(graph, node)?;
        let (DType::U8 | DType::I8, Some((own, _))) = (parameters.dtype, parameters.per_tensor()) else {
            return refused(format!("expected {name:?} to be an 8-bit value with one scale"));
        };
        if scale.is_some_and(|scale| scale != own) {
            return refused(format!(
                "expected joined inputs to have one scale, found {own} at {name:?}; quantize them alike"
            ));
        }
        scale = Some(own);
        dequantizers.push(id);
    }
    match scale {
        Some(scale) => Ok((dequantizers, f64::from(scale))),
        None => refused("expected an input that comes from DequantizeLinear".to_owned()),
    }
}

/// Folding takes both scales away at once, which is right only if the bias counts in the units of
/// the products.
fn check_bias_scale(
    layer: &Layer<'_>,
    bias: &DequantizedConstant<'_>,
    unit_scale: impl Fn(usize) -> f64,
) -> Result<(), TransformError> {
    for channel in 0..layer.channels {
        let (found, expected) = (f64::from(bias.parameters.scale(channel)), unit_scale(channel));
        if (found / expected - 1.0).abs() > BIAS_SCALE_TOLERANCE {
            let reason = format!(
                "expected the bias scale of channel {channel} to be i_scale * w_scale = {expected:e}, found \
                 {found:e}; quantize the bias with the scale of the products"
            );
            return Err(TransformError::refused("bias-scale", &layer.node.name, reason));
        }
    }
    Ok(())
}

/// Follows a layer's result through Relus, weights of positions, and data movement in front of the
/// caller.
fn outlet(graph: &Graph, layer: &Layer<'_>) -> Result<Outlet, TransformError> {
    let refused = |reason: String| {
        let reason = format!("expected an output that goes to quantizers, or to the caller, {reason}");
        Err(TransformError::refused("layer-output", &layer.node.name, reason))
    };
    let mut quantizers = Vec::new();
    let mut outputs = Vec::new();
    let mut open = vec![layer.node.output];
    while let Some(value) = open.pop() {
        if graph.outputs().contains(&value) {
            outputs.push(value);
        }
        for (consumer, slot) in graph.consumers(value) {
            let node = graph.node(consumer);
            match node.op {
                Op::Relu => open.push(node.output),
                Op::Mul if position_weights(graph, node).is_some() => open.push(node.output),
                Op::QuantizeLinear { .. } if slot == 0 => quantizers.push(consumer),
                // Channels stay along axis 1 where they are all that there is.
                Op::Flatten { axis: 1 } | Op::Squeeze | Op::Reshape { .. }
                    if graph.value(node.output).ty.shape.get(1) == graph.value(value).ty.shape.get(1) =>
                {
                    open.push(node.output);
                }
                _ => return refused(format!("found {:?} ({}) reading it", node.name, node.op.name())),
            }
        }
    }
    quantizers.sort_unstable();
    match (quantizers.is_empty(), outputs.as_slice()) {
        (false, []) => Ok(Outlet::Quantizers(quantizers)),
        (true, &[output]) => Ok(Outlet::Output(output)),
        (true, []) => refused("found no reader".to_owned()),
        _ => refused("found several of them".to_owned()),
    }
}

fn rewrite_site(
    graph: &Graph,
    editor: &mut GraphEditor,
    site: &FoldedLayer<'_>,
    unit: &mut HashSet<NodeId>,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let layer = &site.layer;
    for &dequantizer in &site.dequantizers {
        if unit.insert(dequantizer) {
            unit_input(graph, editor, dequantizer)?;
        }
    }
    for constant in std::iter::once(&layer.weights).chain(&layer.bias) {
        if unit.insert(constant.id) {
            unit_constant(editor, constant)?;
        }
    }
    let name = &layer.node.name;
    match &site.outlet {
        Outlet::Quantizers(quantizers) => {
            for &quantizer in quantizers {
                let scales = fold_quantizer(graph, editor, quantizer, &site.unit_scales)?;
                let quantizer = &graph.node(quantizer).name;
                let (least, greatest) = extent(&scales);
                log.changed(name, format!("scales folded into quantizer {quantizer:?}"))
                    .note("least output scale", f64::from(least))
                    .note("greatest output scale", f64::from(greatest));
            }
        }
        &Outlet::Output(output) => {
            let node = dequantize_output(editor, output, &site.unit_scales)?;
            log.changed(name, format!("scales of the graph output moved behind it to {node:?}"));
        }
    }
    Ok(())
}

/// Gives the layers behind a `DequantizeLinear` the scale 1. Other readers keep the old one, under
/// the old name.
fn unit_input(graph: &Graph, editor: &mut GraphEditor, id: NodeId) -> Result<(), TransformError> {
    let node = graph.node(id);
    let mut layers = Vec::new();
    let mut others = graph.outputs().contains(&node.output);
    for (consumer, slot) in graph.consumers(node.output) {
        match reads_for_layers(graph, consumer, slot) {
            Some(true) => layers.push((consumer, slot)),
            Some(false) => others = true,
            None => {
                let reason = format!(
                    "expected its elements to go to layers only or to others only, found both behind {:?}",
                    graph.node(consumer).name
                );
                return Err(TransformError::refused("layer-input", &node.name, reason));
            }
        }
    }
    if !others {
        set_constant(editor, id, 1, Tensor::scalar(1.0_f32))?;
        // What the integers stand for cannot be read off a constant any more.
        if let Some(integers) = node.input(0) {
            editor.annotate(integers, None);
        }
        return Ok(());
    }
    let output = &graph.value(node.output).name;
    let name = editor.unique_name(&format!("{}_integers", node.name));
    let output =
        if *output == node.name { name.clone() } else { editor.unique_name(&format!("{output}_integers")) };
    let scale = editor.unique_name(&format!("{output}_scale"));
    let mut inputs = node.inputs.clone();
    inputs[1] = Some(editor.add_constant(&scale, Tensor::scalar(1.0_f32))?);
    let integers = editor.add_node(&name, node.op.clone(), inputs, &output)?;
    for (consumer, slot) in layers {
        editor.set_input(consumer, slot, Some(integers));
    }
    Ok(())
}

/// Whether what that operand holds ends up in layers only; none if in layers and elsewhere.
fn reads_for_layers(graph: &Graph, consumer: NodeId, slot: usize) -> Option<bool> {
    let node = graph.node(consumer);
    let layer_at = |id: NodeId| is_layer(&graph.node(id).op);
    if !movement::moves_slot(node, slot) {
        return Some(layer_at(consumer) && slot == 0);
    }
    let sinks = sinks(graph, node.output);
    let to_layers = sinks.operands.iter().filter(|&&(id, slot)| layer_at(id) && slot == 0).count();
    match (to_layers, sinks.operands.len() - to_layers + sinks.outputs.len()) {
        (_, 0) => Some(true),
        (0, _) => Some(false),
        _ => None,
    }
}

/// Gives weights or a bias the scale 1, and one zero point instead of one for each channel.
fn unit_constant(editor: &mut GraphEditor, constant: &DequantizedConstant<'_>) -> Result<(), TransformError> {
    // First the zero point: it must have the scale's shape in the end, whatever it had before.
    if let Some(zero_point) = constant.node.input(2)
        && editor.graph().value(zero_point).ty.rank() != 0
    {
        let name = editor.graph().value(zero_point).name.clone();
        let number = constant.parameters.common_zero_point().expect("checked for layers");
        let scalar = zero_point_scalar(constant.parameters.dtype, number);
        set_constant_named(editor, constant.id, 2, scalar, &name)?;
    }
    set_constant(editor, constant.id, 1, Tensor::scalar(1.0_f32))?;
    Ok(())
}

/// Divides the quantizer's scale by the units of the accumulators; gives the new scales.
fn fold_quantizer(
    graph: &Graph,
    editor: &mut GraphEditor,
    id: NodeId,
    unit_scales: &[f64],
) -> Result<Vec<f32>, TransformError> {
    let node = graph.node(id);
    let parameters = Parameters::of(graph, node)?;
    let Some((scale, zero_point)) = parameters.per_tensor() else {
        let reason = "expected one scale for the whole tensor; quantize activations per tensor";
        return Err(TransformError::refused("layer-output", &node.name, reason));
    };
    // In f64, rounded once: what is stored is the f32 nearest to the quotient.
    let scales: Vec<f32> = unit_scales.iter().map(|unit| (f64::from(scale) / unit) as f32).collect();
    if let Some(scale) = scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
        let reason = format!("expected a folded scale in the range of f32, found {scale:e}");
        return Err(TransformError::refused("scale-positive", &node.name, reason));
    }
    if let &[scale] = scales.as_slice() {
        set_constant(editor, id, 1, Tensor::scalar(scale))?;
        return Ok(scales);
    }
    editor.replace_node(id, Op::QuantizeLinear { axis: 1 }, node.inputs.clone());
    set_constant(editor, id, 1, Tensor::vector(scales.clone()))?;
    set_constant(editor, id, 2, vector_of(parameters.dtype, zero_point, scales.len()))?;
    Ok(scales)
}

/// A zero point for each channel.
fn vector_of(dtype: DType, zero_point: i64, channels: usize) -> Tensor {
    match zero_point_scalar(dtype, zero_point) {
        Tensor::U8(array) => Tensor::vector(vec![array.first().copied().unwrap_or(0); channels]),
        Tensor::I8(array) => Tensor::vector(vec![array.first().copied().unwrap_or(0); channels]),
        other => unreachable!("an 8-bit quantizer has an 8-bit zero point, not {}", other.dtype()),
    }
}

/// Gives a graph output back its units behind the layer; gives the node's name.
fn dequantize_output(
    editor: &mut GraphEditor,
    output: ValueId,
    unit_scales: &[f64],
) -> Result<String, TransformError> {
    let value = editor.graph().value(output);
    let (name, rank) = (value.name.clone(), value.ty.rank());
    let scales: Vec<f32> = unit_scales.iter().map(|&scale| scale as f32).collect();
    let scales = match scales.as_slice() {
        &[scale] => Tensor::scalar(scale),
        _ => {
            let mut shape = vec![1; rank];
            shape[1] = scales.len();
            Tensor::from_vec(&shape, scales).expect("one scale for each channel")
        }
    };
    let accumulator = editor.unique_name(&format!("{name}_accumulator"));
    editor.rename_value(output, &accumulator)?;
    let scale = editor.add_fresh_constant(&format!("{name}_scale"), scales)?;
    let node = editor.unique_name(&format!("{name}_dequantize"));
    editor.insert_after(output, &node, Op::Mul, &[scale], &name)?;
    Ok(node)
}

fn extent(scales: &[f32]) -> (f32, f32) {
    scales.iter().fold((f32::INFINITY, 0.0), |(least, greatest), &scale| {
        (f32::min(least, scale), f32::max(greatest, scale))
    })
}

#[cfg(test)]
mod tests {
    use super::FoldOpScales;
    use crate::testing::{check, check_refused};

    /// A layer of two channels with one scale, and what follows it.
    fn layer(bias_scale: &str, rest: &str) -> String {
        format!(
            "in %x: u8[N,2]
             const %w: i8[2,2] = [1, 2, 3, 4]
             const %b: i32[2] = [7, 8]
             %xd = DequantizeLinear(%x, 0.5, 3u8)
             %wd = DequantizeLinear(%w, 0.25, 0i8)
             %bd = DequantizeLinear(%b, {bias_scale})
             %y = Gemm(%xd, %wd, %bd) transB=1 @fc
             {rest}"
        )
    }

    /// [`layer`] with the scales folded.
    fn folded(rest: &str) -> String {
        layer("1.0", rest).replace("%x, 0.5", "%x, 1.0").replace("%w, 0.25", "%w, 1.0")
    }

    #[test]
    fn channels_that_agree_keep_one_scale() {
        let sites = check(
            &FoldOpScales,
            &layer("0.125", "%q = QuantizeLinear(%y, 4.0, 9u8)\nout %q"),
            &folded("%q = QuantizeLinear(%y, 32.0, 9u8)\nout %q"),
        );
        assert_eq!(sites, ["fc: scales folded into quantizer \"q\""]);
    }

    #[test]
    fn each_quantizer_of_a_layer_is_folded() {
        check(
            &FoldOpScales,
            &layer(
                "0.125",
                "%r = Relu(%y)
                 %q = QuantizeLinear(%y, 4.0, 9u8)
                 %p = QuantizeLinear(%r, 2.0, 0u8)
                 out %q, %p",
            ),
            &folded(
                "%r = Relu(%y)
                 %q = QuantizeLinear(%y, 32.0, 9u8)
                 %p = QuantizeLinear(%r, 16.0, 0u8)
                 out %q, %p",
            ),
        );
    }

    #[test]
    fn a_residual_add_keeps_the_real_scale() {
        check(
            &FoldOpScales,
            &layer(
                "0.125",
                "%yq = QuantizeLinear(%y, 4.0, 9u8)
                 %yd = DequantizeLinear(%yq, 4.0, 9u8)
                 %s = Add(%xd, %yd)
                 %sq = QuantizeLinear(%s, 1.5, 0u8)
                 out %sq",
            ),
            "in %x: u8[N,2]
             const %w: i8[2,2] = [1, 2, 3, 4]
             const %b: i32[2] = [7, 8]
             const %xd_zero_point: u8[] = 3
             %xd = DequantizeLinear(%x, 0.5, %xd_zero_point)
             %xd_integers = DequantizeLinear(%x, 1.0, %xd_zero_point)
             %wd = DequantizeLinear(%w, 1.0, 0i8)
             %bd = DequantizeLinear(%b, 1.0)
             %y = Gemm(%xd_integers, %wd, %bd) transB=1 @fc
             %yq = QuantizeLinear(%y, 32.0, 9u8)
             %yd = DequantizeLinear(%yq, 4.0, 9u8)
             %s = Add(%xd, %yd)
             %sq = QuantizeLinear(%s, 1.5, 0u8)
             out %sq",
        );
    }

    #[test]
    fn logits_of_each_channel_get_a_scale_each() {
        check(
            &FoldOpScales,
            "in %x: u8[N,1,2]
             const %w: i8[2,1,1] = [1, 2]
             const %ws: f32[2] = [0.25, 0.5]
             %xd = DequantizeLinear(%x, 0.5, 3u8)
             %wd = DequantizeLinear(%w, %ws) axis=0
             %map = Conv(%xd, %wd) @conv
             out %map",
            "in %x: u8[N,1,2]
             const %w: i8[2,1,1] = [1, 2]
             const %map_scale: f32[1,2,1] = [0.125, 0.25]
             %xd = DequantizeLinear(%x, 1.0, 3u8)
             %wd = DequantizeLinear(%w, 1.0) axis=0
             %map_accumulator = Conv(%xd, %wd) @conv
             %map = Mul(%map_accumulator, %map_scale) @map_dequantize
             out %map",
        );
    }

    #[test]
    fn a_bias_in_other_units_is_refused() {
        check_refused(
            &FoldOpScales,
            &layer("0.12501", "%q = QuantizeLinear(%y, 4.0, 9u8)\nout %q"),
            "bias-scale",
            "fc",
        );
    }

    #[test]
    fn outputs_that_go_elsewhere_are_refused() {
        for rest in [
            "%s = Add(%y, %y)\nout %s",
            "%q = QuantizeLinear(%y, 4.0, 9u8)\nout %q, %y",
            "%f = Transpose(%y) perm=[1,0]\n%q = QuantizeLinear(%f, 4.0, 9u8)\nout %q",
        ] {
            check_refused(&FoldOpScales, &layer("0.125", rest), "layer-output", "fc");
        }
    }

    #[test]
    fn inputs_that_are_not_one_quantized_value_are_refused() {
        let float = "in %x: f32[N,2]
             const %w: i8[2,2] = [1, 2, 3, 4]
             %wd = DequantizeLinear(%w, 0.25, 0i8)
             %y = Gemm(%x, %wd) @fc
             out %y";
        check_refused(&FoldOpScales, float, "layer-input", "fc");
        let joined = "in %p: u8[N,1], %q: u8[N,1]
             const %w: i8[2,2] = [1, 2, 3, 4]
             %pd = DequantizeLinear(%p, 0.25, 0u8)
             %qd = DequantizeLinear(%q, 0.5, 0u8)
             %c = Concat(%pd, %qd) axis=1
             %wd = DequantizeLinear(%w, 0.25, 0i8)
             %y = Gemm(%c, %wd) @fc
             out %y";
        check_refused(&FoldOpScales, joined, "layer-input", "fc");
    }

    #[test]
    fn layers_that_integers_cannot_do_are_refused() {
        let gemm = |weights: &str, attributes: &str| {
            format!(
                "in %x: u8[2,2]
                 const %w: i8[2,2] = [1, 2, 3, 4]
                 const %s: f32[2] = [0.25, 0.5]
                 const %z: i8[2] = [0, 1]
                 const %n: i8[2] = [0, 0]
                 %xd = DequantizeLinear(%x, 0.5, 3u8)
                 %wd = DequantizeLinear(%w, {weights}
                 %y = Gemm(%xd, %wd) {attributes} @fc
                 out %y"
            )
        };
        let cases = [
            ("0.5)", "alpha=2.0", "gemm-factors", "fc"),
            ("0.5)", "transA=1", "gemm-factors", "fc"),
            ("%s, %n) axis=0", "", "channel-axis", "wd"),
            ("%s, %n) axis=1", "transB=1", "channel-axis", "wd"),
            ("%s, %z) axis=0", "transB=1", "weight-zero-point", "wd"),
            ("-0.5)", "", "scale-positive", "wd"),
        ];
        for (weights, attributes, rule, node) in cases {
            check_refused(&FoldOpScales, &gemm(weights, attributes), rule, node);
        }
        let float = "in %x: u8[N,2], %w: f32[2,2]
             %xd = DequantizeLinear(%x, 0.5, 3u8)
             %y = Gemm(%xd, %w) @fc
             out %y";
        check_refused(&FoldOpScales, float, "weights-quantized", "fc");
    }
}
