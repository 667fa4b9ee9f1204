//! One node of every operator, written and read again.

use onnx2int_graph::{
    Activation, AveragePoolAttributes, ConvAttributes, DType, Dim, GemmAttributes, Graph, GraphEditor, Op,
    Pads, PoolWindow, Tensor, TensorType, verify,
};
use onnx2int_onnx_format::{decode, encode};

/// Which sample an operator has. No wildcard: a new operator does not compile before it has one.
fn sample_index(op: &Op) -> usize {
    match op {
        Op::Conv(_) => 0,
        Op::ConvInteger(_) => 1,
        Op::Gemm(_) => 2,
        Op::MatMul => 3,
        Op::MatMulInteger => 4,
        Op::MaxPool(_) => 5,
        Op::QuantizeLinear { .. } => 6,
        Op::DequantizeLinear { .. } => 7,
        Op::Relu => 8,
        Op::Clip => 9,
        Op::Add => 10,
        Op::Sub => 11,
        Op::Mul => 12,
        Op::Div => 13,
        Op::Max => 14,
        Op::Min => 15,
        Op::Cast { .. } => 16,
        Op::LogSoftmax { .. } => 17,
        Op::Softmax { .. } => 18,
        Op::Flatten { .. } => 19,
        Op::Reshape { .. } => 20,
        Op::Transpose { .. } => 21,
        Op::Concat { .. } => 22,
        Op::Gather { .. } => 23,
        Op::Slice => 24,
        Op::Squeeze => 25,
        Op::Unsqueeze => 26,
        Op::Identity => 27,
        Op::Dropout => 28,
        Op::Constant(_) => 29,
        Op::Shape { .. } => 30,
        Op::ArgMax { .. } => 31,
        Op::AveragePool(_) => 32,
        Op::GlobalAveragePool => 33,
        Op::ReduceMean { .. } => 34,
        Op::BatchNormalization { .. } => 35,
        Op::PRelu => 36,
        Op::Pad => 37,
        Op::Activation(Activation::LeakyRelu { .. }) => 38,
        Op::Activation(Activation::Elu { .. }) => 39,
        Op::Activation(Activation::HardSigmoid { .. }) => 40,
        Op::Activation(Activation::HardSwish) => 41,
        Op::Activation(Activation::Sigmoid) => 42,
        Op::Activation(Activation::Tanh) => 43,
        Op::Activation(Activation::Softplus) => 44,
        Op::Activation(Activation::Erf) => 45,
        Op::Activation(Activation::Gelu { .. }) => 46,
    }
}
const OPERATORS: usize = 47;

/// Whether an operand is the graph's input or a constant.
enum Operand {
    Input(DType, Vec<Dim>),
    Constant(Tensor),
    Absent,
}
use Operand::{Absent, Constant};

fn image(dtype: DType) -> Operand {
    Operand::Input(dtype, vec![Dim::symbol("N"), 2.into(), 7.into(), 5.into()])
}

fn matrix(dtype: DType) -> Operand {
    Operand::Input(dtype, vec![Dim::symbol("N"), 6.into()])
}

fn floats(shape: &[usize]) -> Operand {
    let count = shape.iter().product::<usize>();
    Constant(Tensor::from_vec(shape, (0..count).map(|n| 0.5 + n as f32).collect()).expect("they fill it"))
}

fn bytes(shape: &[usize]) -> Operand {
    Constant(Tensor::from_vec(shape, vec![-3_i8; shape.iter().product()]).expect("they fill it"))
}

fn numbers(numbers: &[i64]) -> Operand {
    Constant(Tensor::vector(numbers.to_vec()))
}

/// Attributes without a default among them, so that none can be lost unseen.
fn samples() -> Vec<(Op, Vec<Operand>)> {
    let conv = ConvAttributes {
        strides: vec![2, 1],
        pads: Pads { begin: vec![1, 0], end: vec![2, 3] },
        dilations: vec![1, 2],
        group: 2,
    };
    let pool = PoolWindow {
        kernel_shape: vec![3, 2],
        strides: vec![2, 1],
        pads: Pads { begin: vec![1, 0], end: vec![0, 1] },
        dilations: vec![2, 1],
        ceil_mode: true,
    };
    let average = AveragePoolAttributes { window: pool.clone(), count_include_pad: true };
    let gemm = GemmAttributes { alpha: 0.0, beta: -2.5, trans_a: false, trans_b: true };
    let x_zero_point = Constant(Tensor::scalar(33_u8));
    let zero_points = || Constant(Tensor::vector(vec![1_i8, 2]));
    vec![
        (Op::Conv(conv.clone()), vec![image(DType::F32), floats(&[4, 1, 3, 2]), floats(&[4])]),
        (Op::ConvInteger(conv), vec![image(DType::U8), bytes(&[4, 1, 3, 2]), x_zero_point, bytes(&[])]),
        (Op::Gemm(gemm), vec![matrix(DType::F32), floats(&[3, 6]), floats(&[3])]),
        (Op::MatMul, vec![matrix(DType::F32), floats(&[6, 3])]),
        (Op::MatMulInteger, vec![matrix(DType::U8), bytes(&[6, 3]), Absent, bytes(&[])]),
        (Op::MaxPool(pool), vec![image(DType::U8)]),
        (Op::QuantizeLinear { axis: -3 }, vec![image(DType::F32), floats(&[2]), zero_points()]),
        (Op::DequantizeLinear { axis: -3 }, vec![image(DType::I8), floats(&[2]), zero_points()]),
        (Op::Relu, vec![image(DType::I32)]),
        (Op::Clip, vec![image(DType::F32), Absent, floats(&[])]),
        (Op::Add, vec![image(DType::F32), floats(&[5])]),
        (Op::Sub, vec![image(DType::F32), floats(&[5])]),
        (Op::Mul, vec![image(DType::F32), floats(&[5])]),
        (Op::Div, vec![image(DType::F32), floats(&[5])]),
        (Op::Max, vec![image(DType::F32), floats(&[5]), floats(&[])]),
        (Op::Min, vec![image(DType::F32)]),
        (Op::Cast { to: DType::Bool }, vec![image(DType::F32)]),
        (Op::LogSoftmax { axis: 0 }, vec![matrix(DType::F32)]),
        (Op::Softmax { axis: 0 }, vec![matrix(DType::F32)]),
        (Op::Flatten { axis: 2 }, vec![image(DType::U8)]),
        (Op::Reshape { allow_zero: true }, vec![image(DType::U8), numbers(&[-1, 35, 2])]),
        (Op::Transpose { perm: vec![2, 0, 3, 1] }, vec![image(DType::U8)]),
        (Op::Concat { axis: 1 }, vec![matrix(DType::F32), matrix(DType::F32)]),
        (Op::Gather { axis: 1 }, vec![matrix(DType::F32), numbers(&[3, 1])]),
        (Op::Slice, vec![matrix(DType::F32), numbers(&[5]), numbers(&[0]), numbers(&[1]), numbers(&[-2])]),
        (Op::Squeeze, vec![Operand::Input(DType::F32, vec![Dim::symbol("N"), 1.into()]), numbers(&[1])]),
        (Op::Unsqueeze, vec![matrix(DType::F32), numbers(&[-1])]),
        (Op::Identity, vec![matrix(DType::I64)]),
        (Op::Dropout, vec![matrix(DType::F32), floats(&[]), Constant(Tensor::scalar(false))]),
        (Op::Constant(Tensor::vector(vec![1_u8, 2])), vec![]),
        (Op::Shape { start: 1, end: Some(-1) }, vec![image(DType::F32)]),
        (Op::ArgMax { axis: 1, keepdims: false }, vec![matrix(DType::F32)]),
        (Op::AveragePool(average), vec![image(DType::F32)]),
        (Op::GlobalAveragePool, vec![image(DType::F32)]),
        (Op::ReduceMean { keepdims: false }, vec![image(DType::F32), numbers(&[-1, 2])]),
        (
            Op::BatchNormalization { epsilon: 0.5 },
            vec![image(DType::F32), floats(&[2]), floats(&[2]), floats(&[2]), floats(&[2])],
        ),
        (Op::PRelu, vec![image(DType::F32), floats(&[2, 1, 1])]),
        (Op::Pad, vec![image(DType::U8), numbers(&[1, 2]), Constant(Tensor::scalar(3_u8)), numbers(&[-1])]),
        activation(Activation::LeakyRelu { alpha: 0.5 }),
        activation(Activation::Elu { alpha: 0.5 }),
        activation(Activation::HardSigmoid { alpha: 0.5, beta: 0.25 }),
        activation(Activation::HardSwish),
        activation(Activation::Sigmoid),
        activation(Activation::Tanh),
        activation(Activation::Softplus),
        activation(Activation::Erf),
        activation(Activation::Gelu { tanh: true }),
    ]
}

fn activation(activation: Activation) -> (Op, Vec<Operand>) {
    (Op::Activation(activation), vec![image(DType::F32)])
}

fn graph_of(op: Op, operands: Vec<Operand>) -> Graph {
    let mut editor = GraphEditor::new("sample");
    let inputs: Vec<_> = operands
        .into_iter()
        .enumerate()
        .map(|(slot, operand)| {
            let name = format!("operand {slot}");
            match operand {
                Operand::Input(dtype, shape) => Some(
                    editor
                        .add_input(&name, TensorType::new(dtype, shape))
                        .expect("a sample fits its operator"),
                ),
                Constant(tensor) => {
                    Some(editor.add_constant(&name, tensor).expect("a sample fits its operator"))
                }
                Absent => None,
            }
        })
        .collect();
    let output = editor.add_node("the node", op, inputs, "the output").expect("a sample fits its operator");
    editor.set_outputs([output]);
    editor.finish().expect("a sample fits its operator")
}

#[test]
fn every_operator_survives() {
    let mut seen = [false; OPERATORS];
    for (op, operands) in samples() {
        seen[sample_index(&op)] = true;
        let graph = graph_of(op, operands);
        let bytes = encode(verify(&graph).unwrap());
        assert_eq!(decode(&bytes).unwrap(), graph, "{}", graph.to_text());
    }
    assert!(seen.iter().all(|&seen| seen), "a sample for each operator: {seen:?}");
}
