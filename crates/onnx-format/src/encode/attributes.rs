//! The attributes of a node, all that have a part in its meaning, in alphabetical order.

use crate::proto::AttributeProto;
use crate::proto::attribute_proto::AttributeType;
use onnx2int_graph::{Activation, AveragePoolAttributes, Dim, Graph, Node, Op, Pads};

use super::tensor::{data_type, tensor};

pub(super) fn attributes(graph: &Graph, node: &Node) -> Vec<AttributeProto> {
    match &node.op {
        Op::Conv(attributes) | Op::ConvInteger(attributes) => vec![
            ints("dilations", &attributes.dilations),
            int("group", attributes.group as i64),
            ints("kernel_shape", &weight_kernel(graph, node)),
            pads(&attributes.pads),
            ints("strides", &attributes.strides),
        ],
        Op::MaxPool(attributes) => vec![
            int("ceil_mode", attributes.ceil_mode.into()),
            ints("dilations", &attributes.dilations),
            ints("kernel_shape", &attributes.kernel_shape),
            pads(&attributes.pads),
            ints("strides", &attributes.strides),
        ],
        Op::AveragePool(AveragePoolAttributes { window, count_include_pad }) => {
            // ONNX Runtime hands attributes on to its QLinearAveragePool, which knows no dilations.
            let dilated = window.dilations.iter().any(|&dilation| dilation != 1);
            let dilations = dilated.then(|| ints("dilations", &window.dilations));
            let first = [
                int("ceil_mode", window.ceil_mode.into()),
                int("count_include_pad", (*count_include_pad).into()),
            ];
            let last = [
                ints("kernel_shape", &window.kernel_shape),
                pads(&window.pads),
                ints("strides", &window.strides),
            ];
            first.into_iter().chain(dilations).chain(last).collect()
        }
        Op::ReduceMean { keepdims } => {
            vec![int("keepdims", (*keepdims).into()), int("noop_with_empty_axes", 0)]
        }
        Op::BatchNormalization { epsilon } => {
            // At inference nothing reads `momentum`, and every tool has its default.
            vec![float("epsilon", *epsilon), int("training_mode", 0)]
        }
        Op::Activation(function) => activation(*function),
        Op::Pad => vec![string("mode", "constant")],
        Op::Gemm(attributes) => vec![
            float("alpha", attributes.alpha),
            float("beta", attributes.beta),
            int("transA", attributes.trans_a.into()),
            int("transB", attributes.trans_b.into()),
        ],
        Op::QuantizeLinear { axis }
        | Op::DequantizeLinear { axis }
        | Op::LogSoftmax { axis }
        | Op::Softmax { axis }
        | Op::Flatten { axis }
        | Op::Concat { axis }
        | Op::Gather { axis } => vec![int("axis", *axis)],
        Op::Cast { to } => vec![int("to", data_type(*to) as i64)],
        Op::Reshape { allow_zero } => vec![int("allowzero", (*allow_zero).into())],
        Op::Transpose { perm } => vec![ints("perm", perm)],
        Op::Constant(value) => {
            vec![AttributeProto { t: Some(tensor(value)), ..attribute("value", AttributeType::Tensor) }]
        }
        Op::Shape { start, end } => {
            let end = end.map(|end| int("end", end));
            end.into_iter().chain([int("start", *start)]).collect()
        }
        Op::ArgMax { axis, keepdims } => {
            vec![int("axis", *axis), int("keepdims", (*keepdims).into())]
        }
        Op::MatMul
        | Op::MatMulInteger
        | Op::GlobalAveragePool
        | Op::Relu
        | Op::PRelu
        | Op::Clip
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Div
        | Op::Max
        | Op::Min
        | Op::Slice
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Identity
        | Op::Dropout => Vec::new(),
    }
}

fn activation(activation: Activation) -> Vec<AttributeProto> {
    match activation {
        Activation::LeakyRelu { alpha } | Activation::Elu { alpha } => vec![float("alpha", alpha)],
        Activation::HardSigmoid { alpha, beta } => vec![float("alpha", alpha), float("beta", beta)],
        Activation::Gelu { tanh } => vec![string("approximate", if tanh { "tanh" } else { "none" })],
        Activation::HardSwish
        | Activation::Sigmoid
        | Activation::Tanh
        | Activation::Softplus
        | Activation::Erf => Vec::new(),
    }
}

/// The spatial extents of a convolution's weights, which the type rules want to be known.
fn weight_kernel(graph: &Graph, node: &Node) -> Vec<usize> {
    let weights = graph.operand(node, 1).into_iter().flat_map(|weights| weights.ty.shape.iter().skip(2));
    weights.filter_map(Dim::fixed).collect()
}

fn pads(pads: &Pads) -> AttributeProto {
    let both: Vec<usize> = pads.begin.iter().chain(&pads.end).copied().collect();
    ints("pads", &both)
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeType::Int) }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&value| value as i64).collect();
    AttributeProto { ints, ..attribute(name, AttributeType::Ints) }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, AttributeType::Float) }
}

fn string(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: s.as_bytes().to_vec(), ..attribute(name, AttributeType::String) }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() }
}
