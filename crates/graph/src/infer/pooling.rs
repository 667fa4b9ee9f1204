//! Pooling, averages and normalization: what is done to each channel by itself.

use super::movement::distinct_axes;
use super::window::Window;
use super::{Operands, TypeError, TypeRule, error};
use crate::{AveragePoolAttributes, DType, Dim, PoolWindow, TensorType};

pub(super) fn max_pool(x: &Operands<'_>, window: &PoolWindow) -> Result<TensorType, TypeError> {
    pooled(x.typed(0, &[DType::F32, DType::U8, DType::I8])?, window)
}

pub(super) fn average_pool(
    x: &Operands<'_>,
    attributes: &AveragePoolAttributes,
) -> Result<TensorType, TypeError> {
    pooled(x.typed(0, &[DType::F32])?, &attributes.window)
}

/// `[N, C, spatial...]` under a window each position of which meets the input.
fn pooled(input: &TensorType, window: &PoolWindow) -> Result<TensorType, TypeError> {
    let PoolWindow { kernel_shape: kernel, strides, pads, dilations, ceil_mode } = window;
    let window = Window { kernel, strides, pads, dilations, ceil: *ceil_mode };
    if input.rank() < 3 {
        return error(TypeRule::OperandShape, "x [N, C, spatial...]", input);
    }
    // A window that lies in the padding altogether has no maximum and no average; ONNX Runtime
    // refuses such padding too.
    let pads = window.pads.begin.iter().chain(&window.pads.end);
    if pads.zip(window.kernel.iter().cycle()).any(|(pad, kernel)| pad >= kernel) {
        return error(
            TypeRule::Attribute,
            format!("pads below the kernel shape {:?}", window.kernel),
            format!("{:?} and {:?}", window.pads.begin, window.pads.end),
        );
    }
    // A dilated window can step over an input that is narrower than its steps.
    for (axis, dim) in input.shape[2..].iter().enumerate() {
        let Some(dilation) = window.dilations.get(axis) else { break };
        let padded = window.pads.begin.get(axis).is_some_and(|&pad| pad > 0);
        if padded && dim.fixed().is_some_and(|extent| *dilation > extent) {
            return error(
                TypeRule::Attribute,
                format!("dilations of at most the input's extent {dim} where it is padded"),
                format!("{:?}", window.dilations),
            );
        }
    }
    let mut shape = input.shape[..2].to_vec();
    shape.extend(window.slide(input)?);
    Ok(TensorType { dtype: input.dtype, shape })
}

pub(super) fn global_average_pool(x: &Operands<'_>) -> Result<TensorType, TypeError> {
    let input = x.typed(0, &[DType::F32])?;
    if input.rank() < 3 {
        return error(TypeRule::OperandShape, "x [N, C, spatial...]", input);
    }
    averaged(input, &(2..input.rank()).collect::<Vec<_>>(), true)
}

pub(super) fn reduce_mean(x: &Operands<'_>, keepdims: bool) -> Result<TensorType, TypeError> {
    let input = x.typed(0, &[DType::F32])?;
    let axes = match x.get(1) {
        Some(_) => distinct_axes(&x.numbers(1)?, input.rank())?,
        None => Vec::new(),
    };
    let axes = if axes.is_empty() { (0..input.rank()).collect() } else { axes };
    averaged(input, &axes, keepdims)
}

/// The type of averages over `axes`, each of which must have an element to average.
fn averaged(input: &TensorType, axes: &[usize], keepdims: bool) -> Result<TensorType, TypeError> {
    if axes.iter().any(|&axis| input.shape[axis] == Dim::Fixed(0)) {
        return error(TypeRule::OperandShape, format!("an element along axes {axes:?}"), input);
    }
    let kept = |(axis, dim): (usize, &Dim)| match (axes.contains(&axis), keepdims) {
        (false, _) => Some(dim.clone()),
        (true, true) => Some(Dim::Fixed(1)),
        (true, false) => None,
    };
    Ok(TensorType { dtype: input.dtype, shape: input.shape.iter().enumerate().filter_map(kept).collect() })
}

pub(super) fn batch_normalization(x: &Operands<'_>) -> Result<TensorType, TypeError> {
    let input = x.typed(0, &[DType::F32])?;
    let Some(channels) = input.shape.get(1) else {
        return error(TypeRule::OperandShape, "x [N, C, ...]", input);
    };
    for slot in 1..5 {
        let parameter = x.typed(slot, &[DType::F32])?;
        if parameter.shape != [channels.clone()] {
            let expected = format!("operand {slot} of shape [{channels}], one element for each channel");
            return error(TypeRule::OperandShape, expected, parameter);
        }
    }
    Ok(input.clone())
}
