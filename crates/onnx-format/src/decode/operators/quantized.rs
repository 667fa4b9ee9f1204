//! Operators of quantized tensors, which files in ONNX Runtime's "QOperator" form are made of.
//!
//! Each stands for a float operator between quantizers, and is read as just that:
//! `DequantizeLinear` of every operand, the float operator, `QuantizeLinear`. An int32 bias has the
//! scale `x_scale * w_scale`, by definition.

use onnx2int_graph::{Activation, DType, Dim, GemmAttributes, Op, Tensor, TensorType};

use super::layers::{average_pool_attributes, conv_attributes};
use super::{Expansion, Node, Refusal, required};
use crate::decode::expansion::{Input, StepName};

/// The slots of a quantized tensor.
#[derive(Clone, Copy)]
struct Slots {
    value: usize,
    scale: usize,
    zero_point: usize,
}

/// A tensor in that slot, its scale and zero point in the next ones.
const fn from(value: usize) -> Slots {
    Slots { value, scale: value + 1, zero_point: value + 2 }
}

/// The axis of scales that there is one of; nothing reads it.
const NO_AXIS: i64 = 1;

/// `(x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, bias?)`.
pub(super) fn conv(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let attributes = conv_attributes(node, 3)?;
    let mut expansion = Expansion::new();
    let x = dequantized(&mut expansion, node, from(0), NO_AXIS)?;
    let w = dequantized(&mut expansion, node, from(3), 0)?;
    let bias = match node.operands.get(8)? {
        Some(_) => bias(&mut expansion, node, 8, bias_scale(node, 1.0)?)?,
        None => Input::Absent,
    };
    let float = expansion.step(StepName::OfOutput("float"), Op::Conv(attributes), [x, w, bias]);
    quantized(expansion, node, float, 6, 0)
}

/// `(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point)`; the scales of `a`
/// may be one for each row, those of `b` one for each column.
pub(super) fn matmul(node: &Node<'_>) -> Result<Expansion, Refusal> {
    if !is_single(node.operands.ty(6)?) {
        return Err(
            "operand 6 (y_scale): expected one scale for the tensor; scales for each row are not supported"
                .into(),
        );
    }
    let mut expansion = Expansion::new();
    let a = dequantized(&mut expansion, node, from(0), -2)?;
    let b = dequantized(&mut expansion, node, from(3), -1)?;
    let float = expansion.step(StepName::OfOutput("float"), Op::MatMul, [a, b]);
    quantized(expansion, node, float, 6, 0)
}

/// `(a, a_scale, a_zero_point, b, b_scale, b_zero_point, c?, y_scale?, y_zero_point?)`: without
/// `y_scale` the result is float.
pub(super) fn gemm(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let attributes = GemmAttributes {
        alpha: node.attributes.float("alpha")?.unwrap_or(1.0),
        beta: 1.0,
        trans_a: node.attributes.flag_or("transA", false)?,
        trans_b: node.attributes.flag_or("transB", false)?,
    };
    let mut expansion = Expansion::new();
    let a = dequantized(&mut expansion, node, from(0), NO_AXIS)?;
    let b = dequantized(&mut expansion, node, from(3), if attributes.trans_b { 0 } else { 1 })?;
    let c = match node.operands.get(6)? {
        Some(_) => bias(&mut expansion, node, 6, bias_scale(node, attributes.alpha)?)?,
        None => Input::Absent,
    };
    if node.operands.get(7)?.is_none() {
        return Ok(expansion.last(Op::Gemm(attributes), [a, b, c]));
    }
    let float = expansion.step(StepName::OfOutput("float"), Op::Gemm(attributes), [a, b, c]);
    quantized(expansion, node, float, 7, 0)
}

/// `(a, a_scale, a_zero_point?, b, b_scale, b_zero_point?, c_scale, c_zero_point?)`.
pub(super) fn add(node: &Node<'_>) -> Result<Expansion, Refusal> {
    of_two(node, Op::Add)
}

/// As [`add`].
pub(super) fn mul(node: &Node<'_>) -> Result<Expansion, Refusal> {
    of_two(node, Op::Mul)
}

fn of_two(node: &Node<'_>, op: Op) -> Result<Expansion, Refusal> {
    let mut expansion = Expansion::new();
    let a = dequantized(&mut expansion, node, from(0), NO_AXIS)?;
    let b = dequantized(&mut expansion, node, from(3), NO_AXIS)?;
    let float = expansion.step(StepName::OfOutput("float"), op, [a, b]);
    quantized(expansion, node, float, 6, 0)
}

/// `(y_scale, y_zero_point, x, x_scale, x_zero_point, ...)`, three operands for each tensor.
pub(super) fn concat(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let axis = required(node.attributes.int("axis")?, "axis")?;
    let count = node.operands.slots.len();
    if count < 5 || !(count - 2).is_multiple_of(3) {
        return Err(format!("expected 2 operands and 3 for each tensor, found {count}").into());
    }
    let mut expansion = Expansion::new();
    let parts = (2..count)
        .step_by(3)
        .map(|slot| dequantized(&mut expansion, node, from(slot), NO_AXIS))
        .collect::<Result<Vec<_>, _>>()?;
    let float = expansion.step(StepName::OfOutput("float"), Op::Concat { axis }, parts);
    quantized(expansion, node, float, 0, 2)
}

/// `(x, x_scale, x_zero_point?, y_scale, y_zero_point?)`.
pub(super) fn average_pool(node: &Node<'_>) -> Result<Expansion, Refusal> {
    expect_channels_first(node)?;
    let op = Op::AveragePool(average_pool_attributes(node)?);
    of_one(node, op)
}

/// As [`average_pool`].
pub(super) fn global_average_pool(node: &Node<'_>) -> Result<Expansion, Refusal> {
    expect_channels_first(node)?;
    of_one(node, Op::GlobalAveragePool)
}

/// As [`average_pool`].
pub(super) fn sigmoid(node: &Node<'_>) -> Result<Expansion, Refusal> {
    of_one(node, Op::Activation(Activation::Sigmoid))
}

/// As [`average_pool`].
pub(super) fn leaky_relu(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let alpha = node.attributes.float("alpha")?.unwrap_or(0.01);
    of_one(node, Op::Activation(Activation::LeakyRelu { alpha }))
}

fn of_one(node: &Node<'_>, op: Op) -> Result<Expansion, Refusal> {
    let mut expansion = Expansion::new();
    let x = dequantized(&mut expansion, node, from(0), NO_AXIS)?;
    let float = expansion.step(StepName::OfOutput("float"), op, [x]);
    quantized(expansion, node, float, 3, 0)
}

fn expect_channels_first(node: &Node<'_>) -> Result<(), String> {
    match node.attributes.int_or("channels_last", 0)? {
        0 => Ok(()),
        _ => Err("attribute \"channels_last\" is supported with value 0 only; onnxruntime sets it while it \
                  optimizes for one machine, so take the file from before"
            .to_owned()),
    }
}

/// `(x, scale, zero_point)`, as ONNX's operator of that name, but without `axis` the scale is one.
pub(super) fn quantize_linear(node: &Node<'_>) -> Result<Expansion, Refusal> {
    Ok(Expansion::same(Op::QuantizeLinear { axis: scale_axis(node)? }, &node.operands))
}

/// As [`quantize_linear`].
pub(super) fn dequantize_linear(node: &Node<'_>) -> Result<Expansion, Refusal> {
    Ok(Expansion::same(Op::DequantizeLinear { axis: scale_axis(node)? }, &node.operands))
}

fn scale_axis(node: &Node<'_>) -> Result<i64, Refusal> {
    node.attributes.expect_int("block_size", 0)?;
    let scale = node.operands.ty(1)?;
    match node.attributes.int("axis")? {
        Some(axis) => Ok(axis),
        None if is_single(scale) => Ok(NO_AXIS),
        None => Err(format!("attribute \"axis\" is missing, which scales {scale} need").into()),
    }
}

/// `DequantizeLinear` of an operand, whose scales, where there are several, are along `axis`.
fn dequantized(
    expansion: &mut Expansion,
    node: &Node<'_>,
    slots: Slots,
    axis: i64,
) -> Result<Input, Refusal> {
    let axis = match is_single(node.operands.ty(slots.scale)?) {
        true => NO_AXIS,
        false if axis < 0 => axis + node.operands.ty(slots.value)?.rank() as i64,
        false => axis,
    };
    let inputs = [slots.value, slots.scale, slots.zero_point].map(Input::Operand);
    let name = StepName::OfOperand(slots.value, "dequantized");
    Ok(expansion.step(name, Op::DequantizeLinear { axis }, inputs))
}

/// `DequantizeLinear` of an int32 bias, whose zero point is 0 and whose scales are along its last axis.
fn bias(expansion: &mut Expansion, node: &Node<'_>, slot: usize, scale: Tensor) -> Result<Input, Refusal> {
    let rank = node.operands.ty(slot)?.rank() as i64;
    let axis = if scale.rank() == 0 { NO_AXIS } else { rank - 1 };
    let inputs = [Input::Operand(slot), Input::Constant(scale)];
    let name = StepName::OfOperand(slot, "dequantized");
    Ok(expansion.step(name, Op::DequantizeLinear { axis }, inputs))
}

/// Whether this is the type of one scale for the whole tensor.
fn is_single(scale: &TensorType) -> bool {
    scale.rank() <= 1 && scale.shape.iter().all(|dim| *dim == Dim::Fixed(1))
}

/// `factor * x_scale * w_scale`, in f32 as runtimes do it: a scalar, or one for each channel.
fn bias_scale(node: &Node<'_>, factor: f32) -> Result<Tensor, Refusal> {
    let scales = |slot: usize| match node.operands.constant(slot)?.and_then(Tensor::as_slice::<f32>) {
        Some(scales) => Ok(scales),
        None => Err(Refusal::from(format!(
            "operand {slot} must be constant and f32, as the scale of the bias follows from it"
        ))),
    };
    let (x, w) = (scales(1)?, scales(4)?);
    let &[x] = x else {
        return Err(format!("operand 1: expected one scale for the tensor, found {}", x.len()).into());
    };
    Ok(match w {
        [w] => Tensor::scalar(factor * x * w),
        _ => Tensor::vector(w.iter().map(|w| factor * x * w).collect::<Vec<f32>>()),
    })
}

/// Ends in `QuantizeLinear` by the scale in that slot and the zero point in the next one. Where this
/// is left out, it is 0 in the type of the operand `like`.
fn quantized(
    expansion: Expansion,
    node: &Node<'_>,
    float: Input,
    scale: usize,
    like: usize,
) -> Result<Expansion, Refusal> {
    let zero_point = match node.operands.get(scale + 1)? {
        Some(_) => Input::Operand(scale + 1),
        None => match node.operands.ty(like)?.dtype {
            DType::I8 => Input::Constant(signed_zero(node, scale)?),
            DType::U8 | DType::F32 | DType::I32 | DType::I64 | DType::Bool => Input::Absent,
        },
    };
    Ok(expansion.last(Op::QuantizeLinear { axis: NO_AXIS }, [float, Input::Operand(scale), zero_point]))
}

/// Zero points of the shape of a scale.
fn signed_zero(node: &Node<'_>, scale: usize) -> Result<Tensor, Refusal> {
    match node.operands.ty(scale)?.fixed_shape() {
        Some(shape) if shape.iter().all(|&extent| extent == 1) => {
            Ok(Tensor::scalar(0_i8).reshape(&shape).expect("one element has any shape of ones"))
        }
        Some(_) | None => Err(format!("operand {} is missing; expected a zero point", scale + 1).into()),
    }
}
