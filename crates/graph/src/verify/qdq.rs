//! The rules of the stages in floats: the float network and its QDQ forms.

use std::collections::HashSet;

use super::rule::{Report, Rule};
use super::stages::Context;
use crate::movement::{carriers, moves_slot, origins};
use crate::pointwise::known_tensor;
use crate::{DType, Graph, Node, Op, Tensor, ValueId};

pub(super) fn input_is_float(context: &Context<'_>, report: &mut Report) {
    inputs_are(context.graph, DType::F32, Rule::InputIsFloat, report);
}

pub(super) fn input_is_u8(context: &Context<'_>, report: &mut Report) {
    inputs_are(context.graph, DType::U8, Rule::InputIsU8, report);
}

fn inputs_are(graph: &Graph, dtype: DType, rule: Rule, report: &mut Report) {
    for &input in graph.inputs() {
        let value = graph.value(input);
        if value.ty.dtype != dtype {
            report.add(rule, &value.name, format!("an input of type {dtype}"), &value.ty);
        }
    }
}

pub(super) fn no_quantization(context: &Context<'_>, report: &mut Report) {
    for (_, node) in context.graph.nodes() {
        if matches!(
            node.op,
            Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } | Op::ConvInteger(_) | Op::MatMulInteger
        ) {
            report.add(Rule::NoQuantization, &node.name, "float operators only", node.op.name());
        }
    }
}

pub(super) fn layers_are_quantized(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    let mut any = false;
    for (_, node) in graph.nodes().filter(|(_, node)| is_float_layer(graph, node)) {
        any = true;
        for (slot, input) in node.inputs.iter().enumerate() {
            let Some(input) = *input else { continue };
            let role = node.op.operand_role(slot);
            if slot == 2 && known_tensor(graph, input).is_some() {
                continue;
            }
            let origins = match slot {
                0 => origins(graph, input),
                _ => vec![input],
            };
            // The second operand of MatMul may be an activation.
            let constant = slot > 0 && !matches!(node.op, Op::MatMul);
            for origin in origins {
                let dequantize = dequantizer(graph, origin);
                let is_right = dequantize.is_some_and(|dequantize| {
                    !constant || dequantize.input(0).is_some_and(|value| known_tensor(graph, value).is_some())
                });
                if !is_right {
                    let of_constant = if constant { " of a constant" } else { "" };
                    report.add(
                        Rule::LayersAreQuantized,
                        &node.name,
                        format!("operand {role} to come from DequantizeLinear{of_constant}"),
                        describe(graph, origin),
                    );
                }
            }
        }
    }
    if !any {
        report.add(
            Rule::LayersAreQuantized,
            graph.name(),
            "at least one Conv, Gemm or MatMul of floats",
            "none",
        );
    }
}

pub(super) fn bias_is_quantized(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for (_, node) in graph.nodes().filter(|(_, node)| is_float_layer(graph, node)) {
        if let Some(bias) = node.input(2)
            && known_tensor(graph, bias).is_some()
        {
            report.add(
                Rule::BiasIsQuantized,
                &node.name,
                "a bias that comes from DequantizeLinear of a constant",
                format!("the constant {:?}", graph.value(bias).name),
            );
        }
    }
}

pub(super) fn scales_are_positive(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for (_, node) in graph.nodes() {
        if !matches!(node.op, Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. }) {
            continue;
        }
        let scales = node.input(1).and_then(|value| known_tensor(graph, value)?.as_slice::<f32>());
        let found = match scales {
            None => "a scale that is computed".to_owned(),
            Some(scales) => match scales.iter().find(|&&scale| !(scale.is_finite() && scale > 0.0)) {
                None => continue,
                Some(scale) => scale.to_string(),
            },
        };
        report.add(Rule::ScalesArePositive, &node.name, "constant scales, finite and above 0", found);
    }
}

pub(super) fn constants_are_folded(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for (_, node) in graph.nodes() {
        // Weights stay integers: what they stand for is part of the graph.
        if matches!(node.op, Op::DequantizeLinear { .. }) {
            continue;
        }
        let all_constant = node.inputs.iter().flatten().all(|&id| graph.value(id).constant().is_some());
        let found = if matches!(node.op, Op::Shape { .. }) {
            "the extents of a tensor"
        } else if all_constant {
            "a node of constants only"
        } else {
            continue;
        };
        report.add(
            Rule::ConstantsAreFolded,
            &node.name,
            "what is known before anything runs to be a constant",
            format!("{found} ({})", node.op.name()),
        );
    }
}

pub(super) fn no_idle_node(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for (_, node) in graph.nodes() {
        let operand_dtype = graph.operand(node, 0).map(|value| value.ty.dtype);
        let is_idle_cast = matches!(node.op, Op::Cast { to } if Some(to) == operand_dtype);
        if is_idle_cast || matches!(node.op, Op::Identity | Op::Dropout) {
            report.add(Rule::NoIdleNode, &node.name, "no node that gives its operand", node.op.name());
        }
    }
}

pub(super) fn no_cast(context: &Context<'_>, report: &mut Report) {
    for (_, node) in context.graph.nodes() {
        if let Op::Cast { to } = node.op {
            report.add(Rule::NoCast, &node.name, "no Cast", format!("a Cast to {to}"));
        }
    }
}

pub(super) fn no_trailing_softmax(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for &output in graph.outputs() {
        if let Some((_, node)) = graph.producer(output)
            && matches!(node.op, Op::Softmax { .. } | Op::LogSoftmax { .. })
        {
            let name = &graph.value(output).name;
            report.add(Rule::NoTrailingSoftmax, name, "logits as the output", node.op.name());
        }
    }
}

pub(super) fn input_is_dequantized(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for &input in graph.inputs() {
        for value in carriers(graph, input) {
            for (consumer, slot) in graph.consumers(value) {
                let node = graph.node(consumer);
                let is_right = slot == 0 && matches!(node.op, Op::DequantizeLinear { .. });
                if !is_right && !moves_slot(node, slot) {
                    report.add(
                        Rule::InputIsDequantized,
                        &node.name,
                        format!("only DequantizeLinear to compute with input {:?}", graph.value(input).name),
                        node.op.name(),
                    );
                }
            }
        }
    }
}

pub(super) fn relu_is_explicit(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for (_, node) in graph.nodes() {
        let zero_is_least = matches!(node.op, Op::QuantizeLinear { .. })
            && graph.value(node.output).ty.dtype == DType::U8
            && match node.input(2) {
                None => true,
                Some(zero_point) => known_tensor(graph, zero_point)
                    .and_then(Tensor::as_slice::<u8>)
                    .is_some_and(|zero_points| zero_points.iter().all(|&zero_point| zero_point == 0)),
            };
        if zero_is_least
            && let Some((_, producer)) = node.input(0).and_then(|id| graph.producer(id))
            && (is_float_layer(graph, producer) || matches!(producer.op, Op::Add))
        {
            report.add(
                Rule::ReluIsExplicit,
                &node.name,
                "a Relu before a u8 quantizer with zero point 0",
                format!("{} {:?}", producer.op.name(), producer.name),
            );
        }
    }
}

pub(super) fn quantizer_changes_values(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for (_, node) in graph.nodes() {
        let (Op::QuantizeLinear { .. }, Some(input)) = (&node.op, node.input(0)) else { continue };
        let origins = origins(graph, input);
        let same = origins.iter().all(|&origin| {
            dequantizer(graph, origin).is_some_and(|other| has_parameters_of(graph, node, other))
        });
        if same && let Some(&origin) = origins.first() {
            report.add(
                Rule::QuantizerChangesValues,
                &node.name,
                "no quantizer that gives back what was dequantized",
                format!("{} with the same scale and zero point before it", describe(graph, origin)),
            );
        }
    }
}

/// Whether two quantizers have one scale and zero point, for the whole tensor.
fn has_parameters_of(graph: &Graph, node: &Node, other: &Node) -> bool {
    let scale = |node: &Node| known_tensor(graph, node.input(1)?)?.as_single::<f32>();
    let zero_point = |node: &Node| match node.input(2) {
        None => Some(0),
        Some(value) => match known_tensor(graph, value)?.to_i64_vec()?.as_slice() {
            &[zero_point] => Some(zero_point),
            _ => None,
        },
    };
    let integer = |quantize: &Node, dequantize: &Node| {
        Some(graph.value(quantize.output).ty.dtype)
            == graph.operand(dequantize, 0).map(|value| value.ty.dtype)
    };
    scale(node).is_some()
        && scale(node) == scale(other)
        && zero_point(node).is_some()
        && zero_point(node) == zero_point(other)
        && integer(node, other)
}

pub(super) fn layer_scales_are_one(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    let mut parameters: Vec<(&Node, &Node)> = Vec::new();
    for (_, node) in graph.nodes() {
        if is_float_layer(graph, node) {
            for &input in node.inputs.iter().flatten() {
                let dequantizers = origins(graph, input).into_iter().filter_map(|id| dequantizer(graph, id));
                parameters.extend(dequantizers.map(|dequantize| (node, dequantize)));
            }
        } else if let Some((layer, bias)) = separate_bias(graph, node) {
            parameters.push((layer, bias));
        }
    }
    let mut seen = HashSet::new();
    for (layer, dequantize) in parameters {
        let scales = graph.constant_operand(dequantize, 1).and_then(Tensor::as_slice::<f32>);
        let other = scales.unwrap_or_default().iter().find(|&&scale| scale != 1.0);
        if let Some(other) = other
            && seen.insert(dequantize.output)
        {
            report.add(
                Rule::LayerScalesAreOne,
                &dequantize.name,
                format!("scale 1 for what layer {:?} reads", layer.name),
                other,
            );
        }
    }
}

/// The layer and the `DequantizeLinear` that an Add of a bias joins.
fn separate_bias<'g>(graph: &'g Graph, node: &Node) -> Option<(&'g Node, &'g Node)> {
    if !matches!(node.op, Op::Add) {
        return None;
    }
    let producer = |slot: usize| node.input(slot).and_then(|id| graph.producer(id)).map(|(_, node)| node);
    let (a, b) = (producer(0)?, producer(1)?);
    let is_bias = |node: &Node| {
        matches!(node.op, Op::DequantizeLinear { .. }) && graph.constant_operand(node, 0).is_some()
    };
    match (is_float_layer(graph, a), is_float_layer(graph, b)) {
        (true, _) if is_bias(b) => Some((a, b)),
        (_, true) if is_bias(a) => Some((b, a)),
        _ => None,
    }
}

pub(super) fn bias_is_separate(context: &Context<'_>, report: &mut Report) {
    let graph = context.graph;
    for (_, node) in graph.nodes().filter(|(_, node)| is_float_layer(graph, node)) {
        if let Some(bias) = graph.operand(node, 2) {
            let found = format!("operand {} {:?}", node.op.operand_role(2), bias.name);
            report.add(Rule::BiasIsSeparate, &node.name, "a layer without bias", found);
        }
    }
}

/// Whether the node is a layer that computes in floats.
pub(super) fn is_float_layer(graph: &Graph, node: &Node) -> bool {
    let is_float_product =
        || matches!(node.op, Op::MatMul) && graph.value(node.output).ty.dtype == DType::F32;
    matches!(node.op, Op::Conv(_) | Op::Gemm(_)) || is_float_product()
}

/// The node that dequantizes a value, if that is where it comes from.
fn dequantizer(graph: &Graph, value: ValueId) -> Option<&Node> {
    let (_, node) = graph.producer(value)?;
    matches!(node.op, Op::DequantizeLinear { .. }).then_some(node)
}

fn describe(graph: &Graph, value: ValueId) -> String {
    let name = &graph.value(value).name;
    match graph.producer(value) {
        Some((_, node)) => format!("{:?} from {} {:?}", name, node.op.name(), node.name),
        None => format!("{name:?}"),
    }
}
