//! Operators that move elements, speak of shapes, or are constants.

use onnx2int_graph::shape_values::ShapeValues;
use onnx2int_graph::{DType, Element, Op, Tensor};

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

/// A tensor of one number is a constant, if its shape is known.
pub(super) fn constant_of_shape(node: &Node<'_>) -> Result<Expansion, Refusal> {
    node.operands.expect_at_most(1)?;
    let Some(shape) = ShapeValues::numbers_of(node.operands.graph, node.operands.required(0)?) else {
        return Err("its shape depends on the input's; only a constant one is supported".into());
    };
    let extents = shape.iter().map(|&extent| usize::try_from(extent).ok()).collect::<Option<Vec<_>>>();
    let count = |extents: &Vec<usize>| extents.iter().try_fold(1_usize, |all, &one| all.checked_mul(one));
    let Some(extents) = extents.filter(|extents| count(extents).is_some_and(|count| count <= MOST_FILLED))
    else {
        return Err(format!("expected a shape of at most {MOST_FILLED} elements, found {shape:?}").into());
    };
    let value = node.attributes.tensor("value")?.unwrap_or_else(|| Tensor::scalar(0.0_f32));
    let count = extents.iter().product();
    fn filled<T: Element>(value: &Tensor, extents: &[usize], count: usize) -> Option<Tensor> {
        let &[value] = value.as_slice::<T>()? else { return None };
        Tensor::from_vec(extents, vec![value; count]).ok()
    }
    let tensor = match value.dtype() {
        DType::F32 => filled::<f32>(&value, &extents, count),
        DType::U8 => filled::<u8>(&value, &extents, count),
        DType::I8 => filled::<i8>(&value, &extents, count),
        DType::I32 => filled::<i32>(&value, &extents, count),
        DType::I64 => filled::<i64>(&value, &extents, count),
        DType::Bool => filled::<bool>(&value, &extents, count),
    };
    let tensor = tensor.ok_or("attribute \"value\" is not a single number")?;
    Ok(Expansion::one(Op::Constant(tensor), []))
}

/// So many elements a node of a few bytes may make.
const MOST_FILLED: usize = 256;

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
