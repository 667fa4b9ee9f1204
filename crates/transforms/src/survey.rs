//! Looks at a sanitized model as a whole and names every node that no pass will take, at once.
//!
//! The passes refuse the first node that they cannot rewrite. Someone who brings a network wants to
//! know all of them before anything is done.

use onnx2int_graph::pointwise::{self, Cone};
use onnx2int_graph::{DType, Graph, Node, NodeId, Op, ValueId, movement};

use crate::qdq::{Layer, is_layer, position_weights};
use crate::transform::UnsupportedNode;
use crate::{TransformError, pairs};

/// Every node of a sanitized model that has no integer form.
///
/// # Errors
/// [`TransformError::Unsupported`] lists all of them, each with the reason and the way out.
pub fn survey(graph: &Graph) -> Result<(), TransformError> {
    let mut nodes = Vec::new();
    for (id, node) in graph.nodes() {
        if let Err(reason) = judge(graph, id, node) {
            nodes.push(UnsupportedNode { node: node.name.clone(), op: node.op.name(), reason });
        }
    }
    match nodes.is_empty() {
        true => Ok(()),
        false => Err(TransformError::Unsupported { nodes }),
    }
}

fn judge(graph: &Graph, id: NodeId, node: &Node) -> Result<(), String> {
    if graph.value(node.output).ty.dtype != DType::F32 || pointwise::is_known(graph, node.output) {
        return Ok(());
    }
    match &node.op {
        op if is_layer(op) => Layer::at(graph, id).map(|_| ()).map_err(|error| match error {
            TransformError::Refused { reason, .. } => reason,
            other => other.to_string(),
        }),
        Op::Pad => judge_pad(graph, node),
        op if op.moves_data() => Ok(()),
        Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } => Ok(()),
        op if pointwise::is_pointwise(op) => judge_pointwise(graph, node),
        Op::MatMul => Err("a product of two values that are computed; only one with constant weights and a \
                           matrix has an integer form"
            .to_owned()),
        Op::Softmax { .. } | Op::LogSoftmax { .. } => {
            Err("only a last softmax can be dropped, since it keeps the order of the classes".to_owned())
        }
        Op::ReduceMean { .. } => {
            Err("only a mean over all spatial axes is an average; split it into such".to_owned())
        }
        Op::Cast { .. } => Err("a change of type within the network; export without it".to_owned()),
        Op::AveragePool(_) | Op::GlobalAveragePool => {
            Err("its operand is not quantized; quantize the tensor in front of it".to_owned())
        }
        Op::Conv(_)
        | Op::ConvInteger(_)
        | Op::Gemm(_)
        | Op::MatMulInteger
        | Op::MaxPool(_)
        | Op::BatchNormalization { .. }
        | Op::Relu
        | Op::Activation(_)
        | Op::PRelu
        | Op::Clip
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Div
        | Op::Max
        | Op::Min
        | Op::Flatten { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Gather { .. }
        | Op::Slice
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Identity
        | Op::Dropout
        | Op::Constant(_)
        | Op::Shape { .. }
        | Op::ArgMax { .. } => Err("no integer form".to_owned()),
    }
}

/// A pad of floats that no quantizer took up: what it adds must be a number that a code stands for.
fn judge_pad(graph: &Graph, node: &Node) -> Result<(), String> {
    let Some(value) = pairs::padding(graph, node) else {
        return Err("expected a constant number to pad with".to_owned());
    };
    for origin in movement::origins(graph, node.output) {
        let dequantizer = pairs::dequantizer(graph, origin).map_err(|error| error.to_string())?;
        let Some((dequantizer, parameters)) = dequantizer else {
            return Err(format!(
                "it pads {:?}, which is not quantized; quantize the tensor behind it",
                graph.value(origin).name
            ));
        };
        if pairs::code_of(value, &parameters).is_none_or(|(_, exact)| !exact) {
            return Err(format!(
                "it pads with {value}, which no code of {:?} stands for; quantize the tensor behind it",
                dequantizer.name
            ));
        }
    }
    Ok(())
}

/// A function of one quantized value, a sum of two, or a Relu or Clip behind a layer or a sum.
fn judge_pointwise(graph: &Graph, node: &Node) -> Result<(), String> {
    if position_weights(graph, node).is_some() {
        return Ok(());
    }
    let from_sum = |value: ValueId| {
        graph.producer(value).is_some_and(|(_, node)| {
            is_layer(&node.op)
                || is_sum_of_two(graph, node)
                || is_product_of_two(graph, node)
                || position_weights(graph, node).is_some()
        })
    };
    if let (Op::Relu | Op::Clip, Some(operand)) = (&node.op, node.input(0))
        && from_sum(operand)
    {
        return Ok(());
    }
    if is_sum_of_two(graph, node) || is_product_of_two(graph, node) {
        return Ok(());
    }
    let Cone { leaves, .. } = pointwise::cone(graph, node.output, |value| {
        let of_two = |node| is_sum_of_two(graph, node) || is_product_of_two(graph, node);
        graph.producer(value).is_some_and(|(_, node)| of_two(node))
    });
    match leaves.as_slice() {
        &[leaf] if is_dequantized(graph, leaf) => judge_readers(graph, node),
        &[leaf] => Err(format!(
            "it computes with {:?}, which is not quantized; quantize the tensor in front of it",
            graph.value(leaf).name
        )),
        leaves => Err(format!(
            "it computes with {} values of the network; only Add, Sub and Mul of two quantized values have an integer form",
            leaves.len()
        )),
    }
}

/// What reads a function of codes must quantize it, or be part of the function.
fn judge_readers(graph: &Graph, node: &Node) -> Result<(), String> {
    if graph.outputs().contains(&node.output) {
        return Err("its result is an output of the model and not quantized; quantize it, or end the model \
                    before it"
            .to_owned());
    }
    let stranger = graph.consumers(node.output).map(|(id, _)| graph.node(id)).find(|reader| {
        !matches!(reader.op, Op::QuantizeLinear { .. })
            && !pointwise::is_pointwise(&reader.op)
            && !reader.op.moves_data()
    });
    match stranger {
        Some(reader) => {
            Err(format!("its result goes to {:?} ({}) and is not quantized", reader.name, reader.op.name()))
        }
        None => Ok(()),
    }
}

fn is_sum_of_two(graph: &Graph, node: &Node) -> bool {
    matches!(node.op, Op::Add | Op::Sub) && takes_two(graph, node)
}

/// Whether a node multiplies two dequantized values, data movement between them and it or not.
pub(crate) fn is_product_of_two(graph: &Graph, node: &Node) -> bool {
    matches!(node.op, Op::Mul) && takes_two(graph, node)
}

fn takes_two(graph: &Graph, node: &Node) -> bool {
    (0..2).all(|slot| node.input(slot).is_some_and(|value| is_dequantized(graph, value)))
        && node.input(0) != node.input(1)
}

/// Whether a value comes from dequantized codes that are computed, through movement.
fn is_dequantized(graph: &Graph, value: ValueId) -> bool {
    let origins = movement::origins(graph, value);
    origins.into_iter().all(|origin| {
        graph.producer(origin).is_some_and(|(_, node)| {
            matches!(node.op, Op::DequantizeLinear { .. }) && !pointwise::is_known(graph, origin)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::survey;
    use crate::TransformError;
    use crate::testing::parse;

    #[test]
    fn all_nodes_without_an_integer_form_are_named_at_once() {
        let graph = parse(
            "in %x: f32[N,2]
             const %w: i8[2,2] = [1, 2, 3, 4]
             %xq = QuantizeLinear(%x, 0.5, 3u8)
             %xd = DequantizeLinear(%xq, 0.5, 3u8)
             %wd = DequantizeLinear(%w, 0.25, 0i8)
             %y = Gemm(%xd, %wd) @fc
             %a = Tanh(%y)
             %aq = QuantizeLinear(%a, 0.5, 3u8)
             %ad = DequantizeLinear(%aq, 0.5, 3u8)
             %p = Div(%ad, %xd)
             %pq = QuantizeLinear(%p, 0.5, 3u8)
             %pd = DequantizeLinear(%pq, 0.5, 3u8)
             %s = Softmax(%pd) axis=-1
             %t = Add(%pd, %ad)
             %tq = QuantizeLinear(%t, 0.5, 3u8)
             %td = DequantizeLinear(%tq, 0.5, 3u8)
             %o = Sigmoid(%td)
             const %around: i64[4] = [0, 1, 0, 1]
             %z = Pad(%td, %around, 0.3)
             %v = Pad(%y, %around)
             out %s, %o, %z, %v",
        );
        let error = survey(&graph).unwrap_err();
        let TransformError::Unsupported { nodes } = &error else { panic!("{error}") };
        let named: Vec<(&str, &str)> = nodes.iter().map(|node| (node.node.as_str(), node.op)).collect();
        assert_eq!(
            named,
            [("a", "Tanh"), ("p", "Div"), ("s", "Softmax"), ("o", "Sigmoid"), ("z", "Pad"), ("v", "Pad")]
        );
        let told = error.to_string();
        for part in ["computes with \"y\", which is not quantized", "pads with 0.3", "pads \"y\""] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn what_has_an_integer_form_passes() {
        let graph = parse(
            "in %x: f32[N,2]
             const %w: i8[2,2] = [1, 2, 3, 4]
             %xq = QuantizeLinear(%x, 0.5, 3u8)
             %xd = DequantizeLinear(%xq, 0.5, 3u8)
             %wd = DequantizeLinear(%w, 0.25, 0i8)
             %y = Gemm(%xd, %wd) @fc
             %r = Clip(%y, 0.0, 6.0)
             %rq = QuantizeLinear(%r, 0.5, 3u8)
             %rd = DequantizeLinear(%rq, 0.5, 3u8)
             %h = HardSigmoid(%rd)
             %m = Mul(%h, %rd)
             %mq = QuantizeLinear(%m, 0.5, 3u8)
             %md = DequantizeLinear(%mq, 0.5, 3u8)
             %t = Sub(%md, %rd)
             %u = Relu(%t)
             %uq = QuantizeLinear(%u, 0.5, 3u8)
             %ud = DequantizeLinear(%uq, 0.5, 3u8)
             out %ud",
        );
        survey(&graph).unwrap();
    }
}
