//! Sums of products of 8-bit integers, as `ConvInteger` and `MatMulInteger` form them.
//!
//! The sum must fit i32 at the end, or it is an error. That partial sums fit too is proven before
//! anything runs: the verifier's bounds add each product with 0 included, so that they hold for any
//! order and any subset of the products. Here, partial sums of more than 32 bits are merely kept
//! exact.

use onnx2int_graph::{DType, Tensor, TensorType};

use crate::OpError;
use crate::operands::Operands;

/// An 8-bit operand minus its zero points, exactly: at most 255 in absolute value. There is one zero
/// point for the tensor, or one for each index of `axis`, counted from the last one.
pub(crate) fn centered(
    x: &Operands<'_>,
    slot: usize,
    zero_point_slot: usize,
    axis: AxisFromEnd,
) -> Result<Vec<i16>, OpError> {
    let tensor = x.tensor(slot)?;
    let elements = widened(tensor, slot)?;
    let Some(zero_point) = x.optional(zero_point_slot) else { return Ok(elements) };
    let zero_points = widened(zero_point, zero_point_slot)?;
    if let &[zero_point] = zero_points.as_slice() {
        return Ok(elements.into_iter().map(|v| v - zero_point).collect());
    }
    let (before, after) = tensor.shape().split_at(tensor.rank().saturating_sub(axis.0));
    if before.last() != Some(&zero_points.len()) || zero_point.rank() != 1 {
        return Err(OpError::shape(
            format!("one zero point at operand {zero_point_slot}, or as many as that axis has indices"),
            format!("{} for {}", TensorType::of(zero_point), TensorType::of(tensor)),
        ));
    }
    let inner = after.iter().product::<usize>().max(1);
    let index = |element: usize| element / inner % zero_points.len();
    Ok(elements.into_iter().enumerate().map(|(element, v)| v - zero_points[index(element)]).collect())
}

/// An axis, by the number of axes after it.
#[derive(Clone, Copy)]
pub(crate) struct AxisFromEnd(pub(crate) usize);

fn widened(tensor: &Tensor, slot: usize) -> Result<Vec<i16>, OpError> {
    match tensor {
        Tensor::U8(array) => Ok(array.iter().map(|&v| i16::from(v)).collect()),
        Tensor::I8(array) => Ok(array.iter().map(|&v| i16::from(v)).collect()),
        Tensor::F32(_) | Tensor::I32(_) | Tensor::I64(_) | Tensor::Bool(_) => {
            Err(OpError::OperandDtype { slot, expected: "u8 or i8", found: tensor.dtype() })
        }
    }
}

/// Whether no sum of that many products of [`centered`] operands leaves i32, whatever their values:
/// `products * 255 * 255 < 2^31`. Where it holds, [`add_product_i32`] is exact.
pub(crate) fn sum_fits_i32(products: usize) -> bool {
    products.checked_mul(255 * 255).is_some_and(|bound| bound <= i32::MAX as usize)
}

/// One more product, where [`sum_fits_i32`] says that no sum can wrap.
///
/// The operations are the wrapping ones because a check of each product, which the development
/// profile would add, keeps the compiler from vectorizing the loop.
pub(crate) fn add_product_i32(sum: i32, a: i16, b: i16) -> i32 {
    sum.wrapping_add(i32::from(a).wrapping_mul(i32::from(b)))
}

/// One more product, for sums of any length that memory can hold: 2^47 products fit.
pub(crate) fn add_product_i64(sum: i64, a: i16, b: i16) -> i64 {
    sum.wrapping_add(i64::from(a).wrapping_mul(i64::from(b)))
}

/// Exact sums as i32, or an error that names the first which does not fit.
pub(crate) fn narrowed(sums: &[i64]) -> Result<Vec<i32>, OpError> {
    sums.iter()
        .enumerate()
        .map(|(element, &sum)| {
            i32::try_from(sum).map_err(|_| OpError::Overflow {
                element,
                value: sum.to_string(),
                dtype: DType::I32,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_for_sums_in_i32_is_sharp() {
        assert!(33_025 * 255 * 255 <= i64::from(i32::MAX) && sum_fits_i32(33_025));
        assert!(33_026 * 255 * 255 > i64::from(i32::MAX) && !sum_fits_i32(33_026));
        assert!(!sum_fits_i32(usize::MAX));
    }

    #[test]
    fn the_longest_sums_in_i32_are_exact() {
        for (a, b) in [(255, 255), (-255, 255)] {
            let sum = (0..33_025).fold(0, |sum, _| add_product_i32(sum, a, b));
            let exact = (0..33_025).fold(0, |sum, _| add_product_i64(sum, a, b));
            assert_eq!(i64::from(sum), exact);
            assert_eq!(exact, 33_025 * i64::from(a) * i64::from(b));
        }
    }
}
