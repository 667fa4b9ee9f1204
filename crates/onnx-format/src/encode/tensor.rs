//! [`Tensor`] to `TensorProto`.

use crate::proto::TensorProto;
use crate::proto::tensor_proto::DataType;
use onnx2int_graph::{DType, Tensor};

/// An unnamed tensor as raw data: little-endian, row-major.
pub(super) fn tensor(tensor: &Tensor) -> TensorProto {
    TensorProto {
        dims: tensor.shape().iter().map(|&extent| extent as i64).collect(),
        data_type: data_type(tensor.dtype()) as i32,
        raw_data: tensor.to_le_bytes(),
        ..TensorProto::default()
    }
}

/// ONNX's number for an element type.
pub(super) fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float,
        DType::U8 => DataType::Uint8,
        DType::I8 => DataType::Int8,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
        DType::Bool => DataType::Bool,
    }
}
