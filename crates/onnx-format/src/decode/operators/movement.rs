//! Operators that move elements, speak of shapes, or are constants.

use onnx2int_graph::{Op, Tensor};

use super::{Expansion, Node, Refusal, required};
use crate::decode::expansion::Input;

pub(super) fn constant(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let attributes = &node.attributes;
    let candidates = [
        attributes.tensor("value")?,
        attributes.float("value_float")?.map(Tensor::scalar),
        attributes.floats("value_floats")?.map(|floats| Tensor::vector(floats.to_vec())),
        attributes.int("value_int")?.map(Tensor::scalar),
        attributes.ints("value_ints")?.map(|ints| Tensor::vector(ints.to_vec())),
    ];
    // Before counting: a constant of another kind (sparse, strings) has its attribute named.
    attributes.finish()?;
    let mut given = candidates.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(tensor), None) => Ok(Expansion::same(Op::Constant(tensor), &node.operands)),
        (None, _) => Err("no attribute gives its value".into()),
        (Some(_), Some(_)) => Err("several attributes give its value".into()),
    }
}

pub(super) fn transpose(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let perm = match node.attributes.extents("perm", 0)? {
        Some(perm) => perm,
        None => (0..node.operands.ty(0)?.rank()).rev().collect(),
    };
    Ok(Expansion::same(Op::Transpose { perm }, &node.operands))
}

pub(super) fn arg_max(node: &Node<'_>) -> Result<Expansion, Refusal> {
    node.attributes.expect_int("select_last_index", 0)?;
    let op = Op::ArgMax {
        axis: node.attributes.int_or("axis", 0)?,
        keepdims: node.attributes.flag_or("keepdims", true)?,
    };
    Ok(Expansion::same(op, &node.operands))
}

pub(super) fn shape(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let op = Op::Shape { start: node.attributes.int_or("start", 0)?, end: node.attributes.int("end")? };
    Ok(Expansion::same(op, &node.operands))
}

/// Before set 10 the bounds are attributes.
pub(super) fn slice(node: &Node<'_>) -> Result<Expansion, Refusal> {
    if node.opset >= 10 {
        return Ok(Expansion::same(Op::Slice, &node.operands));
    }
    node.operands.expect_at_most(1)?;
    let list = |name| -> Result<Input, Refusal> { Ok(numbers(required(node.attributes.ints(name)?, name)?)) };
    let (starts, ends) = (list("starts")?, list("ends")?);
    let axes = node.attributes.ints("axes")?.map_or(Input::Absent, numbers);
    Ok(Expansion::one(Op::Slice, [Input::Operand(0), starts, ends, axes]))
}

pub(super) fn squeeze(node: &Node<'_>) -> Result<Expansion, Refusal> {
    if node.opset >= 13 {
        Ok(Expansion::same(Op::Squeeze, &node.operands))
    } else {
        with_axes(node, Op::Squeeze)
    }
}

pub(super) fn unsqueeze(node: &Node<'_>) -> Result<Expansion, Refusal> {
    if node.opset >= 13 {
        Ok(Expansion::same(Op::Unsqueeze, &node.operands))
    } else {
        with_axes(node, Op::Unsqueeze)
    }
}

/// `op` of operand 0 and axes that an attribute gives.
pub(super) fn with_axes(node: &Node<'_>, op: Op) -> Result<Expansion, Refusal> {
    node.operands.expect_at_most(1)?;
    let axes = node.attributes.ints("axes")?.map(numbers);
    Ok(Expansion::one(op, [Input::Operand(0)].into_iter().chain(axes)))
}

/// Before set 11 pads and value are attributes.
pub(super) fn pad(node: &Node<'_>) -> Result<Expansion, Refusal> {
    match node.attributes.string("mode")? {
        None | Some("constant") => {}
        Some(other) => {
            return Err(format!(
                "attribute \"mode\" is supported with value \"constant\" only, found {other:?}; \
                 pad with constants, or outside of the model"
            )
            .into());
        }
    }
    if node.opset >= 11 {
        return Ok(Expansion::same(Op::Pad, &node.operands));
    }
    node.operands.expect_at_most(1)?;
    let pads = numbers(required(node.attributes.ints("pads")?, "pads")?);
    let value = node.attributes.float("value")?.map(|value| Input::Constant(Tensor::scalar(value)));
    Ok(Expansion::one(Op::Pad, [Input::Operand(0), pads].into_iter().chain(value)))
}

fn numbers(numbers: &[i64]) -> Input {
    Input::Constant(Tensor::vector(numbers.to_vec()))
}
