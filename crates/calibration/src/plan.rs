//! Decides what is quantized, and refuses what cannot be.

use std::collections::BTreeSet;

use onnx2int_graph::{DType, Graph, Node, NodeId, Op, Tensor, ValueId};

use crate::{CalibrationError, Unsupported};

/// A layer with constant weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub(crate) node: NodeId,
    /// The axis of the weights that runs along output channels.
    pub(crate) channel_axis: usize,
    /// Its output is the logits: nothing but a normalization comes after it.
    pub(crate) logits: bool,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// In execution order.
    pub(crate) layers: Vec<Layer>,
    /// Nodes that move or select data: their results have the parameters of their operand.
    pub(crate) carriers: Vec<NodeId>,
    /// The tensors whose range has to be seen, in execution order.
    pub(crate) observed: Vec<ValueId>,
    /// The graph input, whose range follows from the preprocessing.
    pub(crate) input: ValueId,
}

pub(crate) fn plan(graph: &Graph) -> Result<Plan, CalibrationError> {
    let input = float_input(graph)?;
    let mut plan = Plan { layers: Vec::new(), carriers: Vec::new(), observed: Vec::new(), input };
    let mut unsupported = Vec::new();
    for (id, node) in graph.nodes() {
        match role(graph, id, node) {
            Ok(Role::Layer(layer)) => plan.layers.push(layer),
            Ok(Role::Carrier) => plan.carriers.push(id),
            Ok(Role::Untouched) => {}
            Err(reason) => {
                unsupported.push(Unsupported { node: node.name.clone(), op: node.op.name(), reason });
            }
        }
    }
    if !unsupported.is_empty() {
        return Err(CalibrationError::Unsupported { nodes: unsupported });
    }
    if plan.layers.is_empty() {
        return Err(CalibrationError::NoLayers);
    }
    let carriers: BTreeSet<_> = plan.carriers.iter().copied().collect();
    let consumers = plan.layers.iter().map(|layer| layer.node).chain(carriers.iter().copied());
    let wanted: BTreeSet<_> = consumers.filter_map(|id| graph.node(id).input(0)).collect();
    let carried = |value| graph.producer(value).is_some_and(|(id, _)| carriers.contains(&id));
    plan.observed = graph
        .nodes()
        .map(|(_, node)| node.output)
        .filter(|value| wanted.contains(value) && !carried(*value))
        .collect();
    Ok(plan)
}

enum Role {
    Layer(Layer),
    Carrier,
    Untouched,
}

fn role(graph: &Graph, id: NodeId, node: &Node) -> Result<Role, String> {
    let layer = |channel_axis| {
        constant_weights(graph, node)?;
        Ok(Role::Layer(Layer { node: id, channel_axis, logits: ends_the_network(graph, node.output) }))
    };
    match &node.op {
        Op::Conv(_) => layer(0),
        Op::Gemm(attributes) => {
            if attributes.alpha != 1.0 || attributes.beta != 1.0 || attributes.trans_a {
                return Err(
                    "expected alpha 1, beta 1 and transA 0; fold the factors into the weights".to_owned()
                );
            }
            let bias = graph.operand(node, 2);
            if bias.is_some_and(|bias| bias.ty.rank() != 1) {
                return Err("expected a bias of rank 1, one element for each output".to_owned());
            }
            layer(usize::from(!attributes.trans_b))
        }
        Op::MatMul => match graph.operand(node, 1).map(|weights| weights.ty.rank()) {
            Some(2) => layer(1),
            _ => Err("expected a constant matrix as second operand".to_owned()),
        },
        Op::MaxPool(_) | Op::Flatten { .. } | Op::Reshape { .. }
            if graph.value(node.output).ty.dtype == DType::F32 =>
        {
            Ok(Role::Carrier)
        }
        Op::Relu | Op::Identity | Op::Dropout => Ok(Role::Untouched),
        Op::Cast { to: DType::F32 }
            if graph.operand(node, 0).is_some_and(|value| value.ty.dtype == DType::F32) =>
        {
            Ok(Role::Untouched)
        }
        Op::Softmax { .. } | Op::LogSoftmax { .. } | Op::ArgMax { .. } => {
            match graph.outputs().contains(&node.output) {
                true => Ok(Role::Untouched),
                false => Err("expected as the last node only; its result is used".to_owned()),
            }
        }
        Op::Constant(_) => Ok(Role::Untouched),
        // Arithmetic on shapes is not part of the network's arithmetic.
        _ if graph.value(node.output).ty.dtype == DType::I64 => Ok(Role::Untouched),
        Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } => {
            Err("the model is quantized already; lower it as it is".to_owned())
        }
        _ => Err("the quantizer has no rule for this operator yet; \
                  supported are Conv, Gemm, MatMul, Relu, MaxPool, Flatten, Reshape and a final Softmax"
            .to_owned()),
    }
}

fn constant_weights(graph: &Graph, node: &Node) -> Result<(), String> {
    for (slot, what) in [(1, "weights"), (2, "bias")] {
        if node.input(slot).is_some() && tensor(graph, node, slot).is_none() {
            return Err(format!("expected constant {what}"));
        }
    }
    Ok(())
}

/// The tensor of an operand that is an initializer or the result of a `Constant` node.
pub(crate) fn tensor<'g>(graph: &'g Graph, node: &Node, slot: usize) -> Option<&'g Tensor> {
    let value = node.input(slot)?;
    match graph.producer(value) {
        Some((_, Node { op: Op::Constant(tensor), .. })) => Some(tensor),
        _ => graph.value(value).constant(),
    }
}

/// Whether nothing but a normalization or an argmax lies between a value and the outputs.
fn ends_the_network(graph: &Graph, value: ValueId) -> bool {
    let mut consumers = graph.consumers(value).peekable();
    if consumers.peek().is_none() {
        return graph.outputs().contains(&value);
    }
    consumers.all(|(id, _)| {
        let node = graph.node(id);
        let passes =
            matches!(node.op, Op::Softmax { .. } | Op::LogSoftmax { .. } | Op::ArgMax { .. } | Op::Identity);
        passes && ends_the_network(graph, node.output)
    })
}

fn float_input(graph: &Graph) -> Result<ValueId, CalibrationError> {
    if let &[input] = graph.inputs() {
        let ty = &graph.value(input).ty;
        let are_fixed = ty.shape.iter().skip(1).all(|dim| dim.fixed().is_some());
        if ty.dtype == DType::F32 && ty.rank() == 4 && are_fixed {
            return Ok(input);
        }
    }
    let found: Vec<_> = graph.inputs().iter().map(|&input| graph.value(input).ty.to_string()).collect();
    Err(CalibrationError::Input {
        found: if found.is_empty() { "none".to_owned() } else { found.join(", ") },
    })
}
