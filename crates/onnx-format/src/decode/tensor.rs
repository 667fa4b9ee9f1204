//! `TensorProto` to [`Tensor`].

use crate::proto::TensorProto;
use crate::proto::tensor_proto::DataType;
use onnx2int_graph::{DType, Element, Tensor, TensorType};

use super::external::is_external;
use super::size::check_size;

/// Reads a tensor. The error says what was expected and found, without the tensor's name.
///
/// The number of elements that the extents claim must be the number of elements present, so that
/// nothing is allocated on the word of a damaged file.
pub(super) fn tensor(proto: &TensorProto) -> Result<Tensor, String> {
    let dtype = dtype(proto.data_type)?;
    if is_external(proto) {
        return Err("its data is in another file; save the model as a single file".to_owned());
    }
    if proto.segment.is_some() {
        return Err("tensors in segments are not supported".to_owned());
    }
    let shape = shape(&proto.dims)?;
    check_size(&TensorType::fixed(dtype, &shape))?;
    let count = shape.iter().product();
    let data = Data { proto, dtype, shape: &shape, count };
    match dtype {
        DType::F32 => data.read(f32::from_le_bytes, &proto.float_data, Some),
        DType::U8 => data.read(u8::from_le_bytes, &proto.int32_data, |v| u8::try_from(v).ok()),
        DType::I8 => data.read(i8::from_le_bytes, &proto.int32_data, |v| i8::try_from(v).ok()),
        DType::I32 => data.read(i32::from_le_bytes, &proto.int32_data, Some),
        DType::I64 => data.read(i64::from_le_bytes, &proto.int64_data, Some),
        DType::Bool => {
            let truth = |v: i32| match v {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            };
            if proto.raw_data.is_empty() {
                return data.read(|[byte]: [u8; 1]| byte != 0, &proto.int32_data, truth);
            }
            match proto.raw_data.iter().find(|&&byte| byte > 1) {
                Some(byte) => Err(format!("expected truth values 0 and 1, found {byte}")),
                None => data.read(|[byte]: [u8; 1]| byte != 0, &proto.int32_data, truth),
            }
        }
    }
}

/// The element type of a number of ONNX's `TensorProto.DataType`.
pub(super) fn dtype(number: i32) -> Result<DType, String> {
    let found = match DataType::try_from(number) {
        Ok(DataType::Float) => return Ok(DType::F32),
        Ok(DataType::Uint8) => return Ok(DType::U8),
        Ok(DataType::Int8) => return Ok(DType::I8),
        Ok(DataType::Int32) => return Ok(DType::I32),
        Ok(DataType::Int64) => return Ok(DType::I64),
        Ok(DataType::Bool) => return Ok(DType::Bool),
        Ok(other) => format!("{other:?}").to_uppercase(),
        Err(_) => format!("number {number}"),
    };
    Err(format!("element type {found} is not supported; expected FLOAT, UINT8, INT8, INT32, INT64 or BOOL"))
}

pub(super) fn shape(dims: &[i64]) -> Result<Vec<usize>, String> {
    dims.iter()
        .map(|&extent| usize::try_from(extent).map_err(|_| format!("negative extent in shape {dims:?}")))
        .collect()
}

/// Where the elements of one tensor are.
struct Data<'a> {
    proto: &'a TensorProto,
    dtype: DType,
    shape: &'a [usize],
    count: usize,
}

impl Data<'_> {
    /// Takes the elements from `raw_data`, or else from the typed field of their type.
    fn read<T: Element, F: Copy + std::fmt::Debug, const SIZE: usize>(
        &self,
        from_bytes: impl Fn([u8; SIZE]) -> T,
        typed: &[F],
        from_field: impl Fn(F) -> Option<T>,
    ) -> Result<Tensor, String> {
        let raw = &self.proto.raw_data;
        let fields = self.typed_fields();
        let elements: Vec<T> = if raw.is_empty() {
            if fields != typed.len() {
                return Err(format!("{} elements are not in the field of type {}", fields, self.dtype));
            }
            self.check_count(typed.len())?;
            typed
                .iter()
                .map(|&field| {
                    from_field(field).ok_or_else(|| format!("{field:?} does not fit {}", self.dtype))
                })
                .collect::<Result<_, _>>()?
        } else {
            if fields != 0 {
                return Err("both raw_data and a typed field hold elements".to_owned());
            }
            let (chunks, rest) = raw.as_chunks::<SIZE>();
            if !rest.is_empty() {
                return Err(format!("{} bytes are no whole number of {} elements", raw.len(), self.dtype));
            }
            self.check_count(chunks.len())?;
            chunks.iter().map(|&bytes| from_bytes(bytes)).collect()
        };
        Tensor::from_vec(self.shape, elements).map_err(|error| error.to_string())
    }

    fn check_count(&self, present: usize) -> Result<(), String> {
        if present == self.count {
            return Ok(());
        }
        Err(format!("shape {:?} takes {} elements, found {present}", self.shape, self.count))
    }

    /// How many elements all typed fields hold together.
    fn typed_fields(&self) -> usize {
        let TensorProto { float_data, int32_data, int64_data, string_data, double_data, uint64_data, .. } =
            self.proto;
        [
            float_data.len(),
            int32_data.len(),
            int64_data.len(),
            string_data.len(),
            double_data.len(),
            uint64_data.len(),
        ]
        .iter()
        .sum()
    }
}
