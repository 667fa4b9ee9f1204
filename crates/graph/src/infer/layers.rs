//! Convolutions and matrix products.

use super::window::Window;
use super::{BYTES, NUMBERS, Operands, TypeError, TypeRule, broadcast, error};
use crate::{ConvAttributes, DType, Dim, GemmAttributes, TensorType};

pub(super) fn conv(x: &Operands<'_>, attributes: &ConvAttributes) -> Result<TensorType, TypeError> {
    x.typed(0, &[DType::F32])?;
    x.typed(1, &[DType::F32])?;
    let output = convolved(x, attributes, DType::F32)?;
    if x.get(2).is_some() {
        let bias = x.typed(2, &[DType::F32])?;
        if bias.shape != output.shape[1..2] {
            return error(TypeRule::OperandShape, format!("a bias of {} elements", output.shape[1]), bias);
        }
    }
    Ok(output)
}

pub(super) fn conv_integer(x: &Operands<'_>, attributes: &ConvAttributes) -> Result<TensorType, TypeError> {
    let input = x.typed(0, &BYTES)?;
    let weights = x.typed(1, &BYTES)?;
    zero_point(x, 2, input.dtype, None)?;
    zero_point(x, 3, weights.dtype, weights.shape.first())?;
    convolved(x, attributes, DType::I32)
}

/// One zero point for the tensor, or one for each index of the axis of that extent. (ONNX Runtime's
/// CPU kernels take a single one only; the rules of our integer stages ask for that.)
fn zero_point(x: &Operands<'_>, slot: usize, dtype: DType, extent: Option<&Dim>) -> Result<(), TypeError> {
    if x.get(slot).is_none() {
        return Ok(());
    }
    let zero_point = x.typed(slot, &[dtype])?;
    let fits = match zero_point.shape.as_slice() {
        [] | [Dim::Fixed(1)] => true,
        [own] => Some(own) == extent,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let expected = match extent {
        Some(extent) => format!("one zero point, or {extent} of them"),
        None => "one zero point".to_owned(),
    };
    error(TypeRule::OperandShape, expected, zero_point)
}

fn convolved(x: &Operands<'_>, attributes: &ConvAttributes, dtype: DType) -> Result<TensorType, TypeError> {
    let (input, weights) = (x.ty(0)?, x.ty(1)?);
    let rank = input.rank();
    if rank < 3 || weights.rank() != rank {
        return error(
            TypeRule::OperandShape,
            "x [N, C, spatial...] and w [filters, C/group, kernel...] of one rank",
            format!("{input} and {weights}"),
        );
    }
    let Some(kernel) = weights.fixed_shape() else {
        return error(TypeRule::OperandShape, "weights of known shape", weights);
    };
    let group = attributes.group;
    if group == 0 {
        return error(TypeRule::Attribute, "at least one group", "group 0");
    }
    let channels = kernel[1].checked_mul(group);
    if !kernel[0].is_multiple_of(group) || input.shape[1].fixed() != channels || channels.is_none() {
        return error(
            TypeRule::OperandShape,
            format!("{group} groups of {} input channels, and filters in as many groups", kernel[1]),
            format!("{input} and {weights}"),
        );
    }
    let window = Window {
        kernel: &kernel[2..],
        strides: &attributes.strides,
        pads: &attributes.pads,
        dilations: &attributes.dilations,
        ceil: false,
    };
    let mut shape = vec![input.shape[0].clone(), Dim::Fixed(kernel[0])];
    shape.extend(window.slide(input)?);
    Ok(TensorType { dtype, shape })
}

pub(super) fn gemm(x: &Operands<'_>, attributes: &GemmAttributes) -> Result<TensorType, TypeError> {
    let a = x.typed(0, &[DType::F32])?;
    let b = x.typed(1, &[DType::F32])?;
    if a.rank() != 2 || b.rank() != 2 {
        return error(TypeRule::OperandShape, "two matrices", format!("{a} and {b}"));
    }
    let pick = |ty: &TensorType, transposed: bool| {
        let (rows, columns) = (ty.shape[0].clone(), ty.shape[1].clone());
        if transposed { (columns, rows) } else { (rows, columns) }
    };
    let (rows, inner) = pick(a, attributes.trans_a);
    let (b_inner, columns) = pick(b, attributes.trans_b);
    if inner != b_inner {
        return error(TypeRule::OperandShape, format!("inner extent {inner} on both sides"), b_inner);
    }
    let shape = vec![rows, columns];
    if x.get(2).is_some() {
        let c = x.typed(2, &[DType::F32])?;
        if broadcast(&shape, &c.shape)? != shape {
            return error(TypeRule::OperandShape, "a c that broadcasts to the product", c);
        }
    }
    Ok(TensorType { dtype: DType::F32, shape })
}

pub(super) fn matmul(x: &Operands<'_>, dtypes: &[DType]) -> Result<TensorType, TypeError> {
    let a = x.typed(0, dtypes)?;
    let b = x.typed(1, &[a.dtype])?;
    // A vector is a matrix of one row, or of one column, that the result does not have.
    let (is_row, is_column) = (a.rank() == 1, b.rank() == 1);
    let (mut rows, mut columns) = (a.clone(), b.clone());
    if is_row {
        rows.shape.insert(0, Dim::Fixed(1));
    }
    if is_column {
        columns.shape.push(Dim::Fixed(1));
    }
    let mut ty = product(&rows, &columns, a.dtype)?;
    let rank = ty.rank();
    if is_column {
        ty.shape.remove(rank - 1);
    }
    if is_row {
        ty.shape.remove(rank - 2);
    }
    Ok(ty)
}

pub(super) fn matmul_integer(x: &Operands<'_>) -> Result<TensorType, TypeError> {
    let a = x.typed(0, &BYTES)?;
    let b = x.typed(1, &BYTES)?;
    let rows = a.rank().checked_sub(2).map(|axis| &a.shape[axis]);
    zero_point(x, 2, a.dtype, rows)?;
    zero_point(x, 3, b.dtype, b.shape.last())?;
    product(a, b, DType::I32)
}

fn product(a: &TensorType, b: &TensorType, dtype: DType) -> Result<TensorType, TypeError> {
    debug_assert!(NUMBERS.contains(&dtype));
    if a.rank() < 2 || b.rank() < 2 {
        return error(TypeRule::OperandShape, "operands of rank 2 or more", format!("{a} and {b}"));
    }
    let (a_batch, a_matrix) = a.shape.split_at(a.rank() - 2);
    let (b_batch, b_matrix) = b.shape.split_at(b.rank() - 2);
    if a_matrix[1] != b_matrix[0] {
        return error(TypeRule::OperandShape, format!("inner extent {} on both sides", a_matrix[1]), b);
    }
    let mut shape = broadcast(a_batch, b_batch)?;
    shape.extend([a_matrix[0].clone(), b_matrix[1].clone()]);
    Ok(TensorType { dtype, shape })
}
