//! Tensors to tract and back. Both sides hold dense row-major elements, copied as one block.

use onnx2int_graph::{DType, Element, Tensor, match_tensor};
use tract_onnx::prelude::{Datum, DatumType, TDim, Tensor as TractTensor, TractResult};
use tract_onnx::tract_core::internal::{anyhow, bail};

/// The element type that tract knows by another name.
pub(crate) fn to_tract_dtype(dtype: DType) -> DatumType {
    match dtype {
        DType::F32 => f32::datum_type(),
        DType::U8 => u8::datum_type(),
        DType::I8 => i8::datum_type(),
        DType::I32 => i32::datum_type(),
        DType::I64 => i64::datum_type(),
        DType::Bool => bool::datum_type(),
    }
}

/// A copy for tract.
pub(crate) fn to_tract(tensor: &Tensor) -> TractResult<TractTensor> {
    fn copied<T: Datum + Copy>(shape: &[usize], elements: &[T]) -> TractResult<TractTensor> {
        TractTensor::from_shape(shape, elements)
    }
    match_tensor!(tensor, array => {
        let elements = array.as_slice().ok_or_else(|| anyhow!("a tensor is not in row-major order"))?;
        copied(array.shape(), elements)
    })
}

/// A copy of what tract computed, as the element type that the graph declares.
///
/// Tract computes i64 values as symbolic dimensions: they are turned back to numbers.
pub(crate) fn from_tract(tensor: &TractTensor, dtype: DType) -> TractResult<Tensor> {
    if tensor.datum_type() == TDim::datum_type() && dtype == DType::I64 {
        return from_tract(&*tensor.cast_to::<i64>()?, dtype);
    }
    if tensor.datum_type() != to_tract_dtype(dtype) {
        bail!("{:?} elements", tensor.datum_type());
    }
    fn copied<T: Datum + Copy + Element>(tensor: &TractTensor) -> TractResult<Tensor> {
        let view = tensor.to_plain_array_view::<T>()?;
        let elements = view.as_slice().ok_or_else(|| anyhow!("a tensor is not in row-major order"))?;
        Ok(Tensor::from_vec(tensor.shape(), elements.to_vec())?)
    }
    match dtype {
        DType::F32 => copied::<f32>(tensor),
        DType::U8 => copied::<u8>(tensor),
        DType::I8 => copied::<i8>(tensor),
        DType::I32 => copied::<i32>(tensor),
        DType::I64 => copied::<i64>(tensor),
        DType::Bool => copied::<bool>(tensor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_comes_back() {
        let tensors = [
            Tensor::from_vec(&[2, 1], vec![1.5f32, f32::MIN]).unwrap(),
            Tensor::vector(vec![0u8, 255]),
            Tensor::vector(vec![-128i8, 127]),
            Tensor::scalar(i32::MIN),
            Tensor::from_vec(&[1, 1, 2], vec![i64::MIN, i64::MAX]).unwrap(),
            Tensor::vector(vec![true, false]),
            Tensor::from_vec(&[0, 3], Vec::<u8>::new()).unwrap(),
        ];
        for tensor in tensors {
            let there = to_tract(&tensor).unwrap();
            assert_eq!(there.datum_type(), to_tract_dtype(tensor.dtype()));
            assert_eq!(from_tract(&there, tensor.dtype()).unwrap(), tensor);
        }
    }

    #[test]
    fn symbolic_dimensions_become_numbers() {
        let dimensions =
            TractTensor::from(tract_onnx::prelude::tract_ndarray::arr1(&[TDim::from(3), TDim::from(-1)]));
        assert_eq!(from_tract(&dimensions, DType::I64).unwrap(), Tensor::vector(vec![3i64, -1]));
    }

    #[test]
    fn another_element_type_is_refused() {
        let floats = to_tract(&Tensor::scalar(1.0f32)).unwrap();
        assert!(from_tract(&floats, DType::I32).is_err());
    }
}
