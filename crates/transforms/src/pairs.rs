//! Quantizers and dequantizers around data movement.

use onnx2int_graph::pointwise::known_tensor;
use onnx2int_graph::{DType, Graph, Node, Op, ValueId, movement};

use crate::TransformError;
use crate::qdq::Parameters;

/// The operands whose elements a node moves, if it moves floats.
pub(crate) fn moved_floats(graph: &Graph, node: &Node) -> Vec<(usize, ValueId)> {
    if !node.op.moves_data() || graph.value(node.output).ty.dtype != DType::F32 {
        return Vec::new();
    }
    let moved = node.inputs.iter().enumerate().filter(|(slot, _)| movement::moves_slot(node, *slot));
    moved.filter_map(|(slot, input)| Some((slot, (*input)?))).collect()
}

/// The number that a `Pad` adds, if it is known and is one; quantizers quantize it as well.
pub(crate) fn padding(graph: &Graph, node: &Node) -> Option<f32> {
    let value = match node.input(2) {
        None => 0.0,
        Some(value) => match graph.producer(value) {
            Some((_, dequantize)) if matches!(dequantize.op, Op::DequantizeLinear { .. }) => {
                let codes = graph.constant_operand(dequantize, 0)?.to_i64_vec()?;
                let (scale, zero_point) = Parameters::of(graph, dequantize).ok()?.per_tensor()?;
                let &[code] = codes.as_slice() else { return None };
                (code - zero_point) as f32 * scale
            }
            _ => known_tensor(graph, value)?.as_single::<f32>()?,
        },
    };
    (!value.is_nan()).then_some(value)
}

/// The code that uint8 parameters of a whole tensor give a number, and whether it is dequantized to
/// the same number: `saturate(round_half_even(value / scale) + zero_point)`, as `QuantizeLinear` does.
pub(crate) fn code_of(value: f32, parameters: &Parameters) -> Option<(u8, bool)> {
    let (scale, zero_point) = parameters.per_tensor().filter(|_| parameters.dtype == DType::U8)?;
    let code = f64::from((value / scale).round_ties_even()) + zero_point as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to u8 just before")]
    let code = code.clamp(0.0, 255.0) as u8;
    let back = (f32::from(code) - zero_point as f32) * scale;
    Some((code, back == value))
}

/// The `DequantizeLinear` that a value comes from, with its parameters, if there is one for the
/// whole tensor and what it reads is computed.
pub(crate) fn dequantizer(
    graph: &Graph,
    value: ValueId,
) -> Result<Option<(&Node, Parameters)>, TransformError> {
    let Some((_, node)) = graph.producer(value) else { return Ok(None) };
    let is_constant = || graph.constant_operand(node, 0).is_some();
    if !matches!(node.op, Op::DequantizeLinear { .. }) || is_constant() {
        return Ok(None);
    }
    let parameters = Parameters::of(graph, node)?;
    Ok(parameters.per_tensor().is_some().then_some((node, parameters)))
}

/// The dequantizers of all operands, if there is one for each and all have the same parameters.
pub(crate) fn common_dequantizer<'g>(
    graph: &'g Graph,
    operands: &[(usize, ValueId)],
) -> Result<Option<(&'g Node, Parameters)>, TransformError> {
    let mut common = None;
    for &(_, operand) in operands {
        match (dequantizer(graph, operand)?, &common) {
            (None, _) => return Ok(None),
            (Some((_, own)), Some((_, first))) if own != *first => return Ok(None),
            (found, None) => common = found,
            (Some(_), Some(_)) => {}
        }
    }
    Ok(common)
}

/// The readers of a value, if they are quantizers of one scale and the same parameters, and the
/// caller does not get it.
pub(crate) fn quantizers_only(
    graph: &Graph,
    value: ValueId,
) -> Result<Option<Vec<(Node, Parameters)>>, TransformError> {
    let mut quantizers: Vec<(Node, Parameters)> = Vec::new();
    for (reader, slot) in graph.consumers(value) {
        let node = graph.node(reader);
        if slot != 0 || !matches!(node.op, Op::QuantizeLinear { .. }) {
            return Ok(None);
        }
        let parameters = Parameters::of(graph, node)?;
        let alike = quantizers.first().is_none_or(|(_, first)| *first == parameters);
        if !alike || parameters.per_tensor().is_none() {
            return Ok(None);
        }
        quantizers.push((node.clone(), parameters));
    }
    let is_output = graph.outputs().contains(&value);
    Ok(Some(quantizers).filter(|quantizers| !is_output && !quantizers.is_empty()))
}
