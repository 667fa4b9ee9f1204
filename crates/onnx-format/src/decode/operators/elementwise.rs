//! Operators that work element by element, normalizations along an axis, and quantizers.

use onnx2int_graph::{Activation, DType, Op, Tensor};

use super::{Expansion, Node, Refusal, element_type, required};
use crate::decode::attributes::Attributes;
use crate::decode::expansion::{Input, StepName};

pub(super) fn cast(node: &Node<'_>) -> Result<Expansion, Refusal> {
    // Both speak of 8-bit floats only, which no graph of ours has.
    node.attributes.int("saturate")?;
    node.attributes.string("round_mode")?;
    let to = element_type(required(node.attributes.int("to")?, "to")?)?;
    Ok(Expansion::same(Op::Cast { to }, &node.operands))
}

/// Before set 11 the bounds are attributes, of floats.
pub(super) fn clip(node: &Node<'_>) -> Result<Expansion, Refusal> {
    if node.opset >= 11 {
        return Ok(Expansion::same(Op::Clip, &node.operands));
    }
    node.operands.expect_at_most(1)?;
    let bound = |name| -> Result<Input, String> {
        Ok(match node.attributes.float(name)? {
            Some(bound) => Input::Constant(Tensor::scalar(bound)),
            None => Input::Absent,
        })
    };
    Ok(Expansion::one(Op::Clip, [Input::Operand(0), bound("min")?, bound("max")?]))
}

/// `a + b + c + ...`, from the left.
pub(super) fn sum(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let count = node.operands.slots.len();
    let mut expansion = Expansion::new();
    let mut so_far = Input::Operand(0);
    for slot in 1..count.saturating_sub(1) {
        so_far = expansion.step(StepName::OfOperand(slot, "sum"), Op::Add, [so_far, Input::Operand(slot)]);
    }
    Ok(match count {
        0 => return Err("expected at least one operand".into()),
        1 => expansion.last(Op::Identity, [so_far]),
        _ => expansion.last(Op::Add, [so_far, Input::Operand(count - 1)]),
    })
}

/// At inference this is the identity; a model that drops out while it runs is refused.
///
/// Before set 12 the ratio is an attribute, and there is no training mode.
pub(super) fn dropout(node: &Node<'_>) -> Result<Expansion, Refusal> {
    if node.opset < 12 {
        node.operands.expect_at_most(1)?;
        node.attributes.float("ratio")?;
        return Ok(Expansion::same(Op::Dropout, &node.operands));
    }
    node.attributes.int("seed")?;
    let in_training = match node.operands.get(2)? {
        None => false,
        Some(_) => node.operands.constant(2)?.and_then(Tensor::as_single::<bool>) != Some(false),
    };
    if in_training {
        return Err(
            "operand 2 (training_mode) must be constant and false; export the model for inference".into()
        );
    }
    Ok(Expansion::same(Op::Dropout, &node.operands))
}

pub(super) fn softmax(node: &Node<'_>) -> Result<Expansion, Refusal> {
    Ok(Expansion::same(Op::Softmax { axis: softmax_axis(node)? }, &node.operands))
}

pub(super) fn log_softmax(node: &Node<'_>) -> Result<Expansion, Refusal> {
    Ok(Expansion::same(Op::LogSoftmax { axis: softmax_axis(node)? }, &node.operands))
}

/// Before set 13 the axes from `axis` on are merged and normalized together, which is the same
/// where there is one.
fn softmax_axis(node: &Node<'_>) -> Result<i64, Refusal> {
    if node.opset >= 13 {
        return Ok(node.attributes.int_or("axis", -1)?);
    }
    let axis = node.attributes.int_or("axis", 1)?;
    let ty = node.operands.ty(0)?;
    if axis == -1 || axis == ty.rank() as i64 - 1 {
        return Ok(axis);
    }
    Err(format!(
        "attribute \"axis\": in operator set {} it merges all axes from {axis} on; expected the last axis of \
         {ty}, or operator set 13 and above (onnx.version_converter changes it)",
        node.opset
    )
    .into())
}

pub(super) fn leaky_relu(node: &Node<'_>) -> Result<Expansion, Refusal> {
    activation(node, |a| Ok(Activation::LeakyRelu { alpha: a.float("alpha")?.unwrap_or(0.01) }))
}

pub(super) fn elu(node: &Node<'_>) -> Result<Expansion, Refusal> {
    activation(node, |a| Ok(Activation::Elu { alpha: a.float("alpha")?.unwrap_or(1.0) }))
}

pub(super) fn hard_sigmoid(node: &Node<'_>) -> Result<Expansion, Refusal> {
    activation(node, |a| {
        Ok(Activation::HardSigmoid {
            alpha: a.float("alpha")?.unwrap_or(0.2),
            beta: a.float("beta")?.unwrap_or(0.5),
        })
    })
}

pub(super) fn gelu(node: &Node<'_>) -> Result<Expansion, Refusal> {
    activation(node, |a| match a.string("approximate")? {
        None | Some("none") => Ok(Activation::Gelu { tanh: false }),
        Some("tanh") => Ok(Activation::Gelu { tanh: true }),
        Some(other) => Err(format!("attribute \"approximate\": expected none or tanh, found {other:?}")),
    })
}

fn activation(
    node: &Node<'_>,
    read: impl FnOnce(&Attributes<'_>) -> Result<Activation, String>,
) -> Result<Expansion, Refusal> {
    Ok(Expansion::same(Op::Activation(read(&node.attributes)?), &node.operands))
}

pub(super) fn quantize_linear(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let Node { attributes, operands, .. } = node;
    attributes.expect_int("block_size", 0)?;
    // Speaks of 8-bit floats only.
    attributes.int("saturate")?;
    expect_f32(attributes, "precision")?;
    let axis = attributes.int_or("axis", 1)?;
    // ONNX: 0 stands for "as the zero point says", and a type must agree with the zero point's.
    let number = attributes.int_or("output_dtype", 0)?;
    if number != 0 {
        let wanted = element_type(number)?;
        let made = match operands.get(2)? {
            Some(zero_point) => operands.graph.value(zero_point).ty.dtype,
            None => DType::U8,
        };
        if wanted != made {
            let reason =
                format!("attribute \"output_dtype\" is {wanted}, but the zero point makes it {made}");
            return Err(reason.into());
        }
    }
    Ok(Expansion::same(Op::QuantizeLinear { axis }, operands))
}

pub(super) fn dequantize_linear(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let Node { attributes, operands, .. } = node;
    attributes.expect_int("block_size", 0)?;
    expect_f32(attributes, "output_dtype")?;
    Ok(Expansion::same(Op::DequantizeLinear { axis: attributes.int_or("axis", 1)? }, operands))
}

/// An element type that may only be that of the scale, which is f32; 0 stands for just that.
fn expect_f32(attributes: &Attributes<'_>, name: &str) -> Result<(), String> {
    match attributes.int_or(name, 0)? {
        0 => Ok(()),
        number => match element_type(number) {
            Ok(DType::F32) => Ok(()),
            Ok(other) => Err(format!("attribute {name:?}: expected the scale's type f32, found {other}")),
            Err(reason) => Err(format!("attribute {name:?}: {reason}")),
        },
    }
}
