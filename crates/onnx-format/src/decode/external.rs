//! Tensors whose elements lie in another file (ONNX IR specification, "External Tensor Data").

use std::borrow::Cow;

use crate::proto::TensorProto;
use crate::proto::tensor_proto::DataLocation;
use onnx2int_graph::TensorType;

use super::size::check_size;
use super::tensor::{dtype, shape};

/// A part of another file that holds the elements of a constant, row-major and little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalData {
    /// The file as the model names it, relative to its own folder; not checked in any way.
    pub location: String,
    /// The first byte.
    pub offset: u64,
    /// Bytes: as many as the constant's type and extents take.
    pub length: u64,
}

/// Gives the bytes of a part of another file, or says why not.
pub(super) type Fetch<'f> = &'f mut dyn FnMut(&ExternalData) -> Result<Vec<u8>, String>;

/// Whether the elements are said to lie in another file.
pub(super) fn is_external(proto: &TensorProto) -> bool {
    proto.data_location == Some(DataLocation::External as i32) || !proto.external_data.is_empty()
}

/// The tensor with its elements within itself.
pub(super) fn fetched<'t>(proto: &'t TensorProto, fetch: Fetch<'_>) -> Result<Cow<'t, TensorProto>, String> {
    if !is_external(proto) {
        return Ok(Cow::Borrowed(proto));
    }
    let part = part(proto)?;
    let raw_data = fetch(&part)?;
    if raw_data.len() as u64 != part.length {
        return Err(format!("expected {} bytes of {:?}, got {}", part.length, part.location, raw_data.len()));
    }
    let mut own = proto.clone();
    own.external_data.clear();
    own.data_location = None;
    own.raw_data = raw_data;
    Ok(Cow::Owned(own))
}

/// Where the elements are.
fn part(proto: &TensorProto) -> Result<ExternalData, String> {
    if !proto.raw_data.is_empty() {
        return Err("its data is both here and in another file".to_owned());
    }
    let ty = TensorType::fixed(dtype(proto.data_type)?, &shape(&proto.dims)?);
    check_size(&ty)?;
    let elements: usize = ty.shape.iter().filter_map(onnx2int_graph::Dim::fixed).product();
    let expected = (elements * ty.dtype.size()) as u64;
    let entry = |key: &str| {
        proto.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    };
    let number = |key: &str, otherwise: u64| match entry(key) {
        None => Ok(otherwise),
        Some(text) => text.parse().map_err(|_| format!("{key} {text:?} of its data is no number of bytes")),
    };
    let location = entry("location").unwrap_or_default().to_owned();
    let (offset, length) = (number("offset", 0)?, number("length", expected)?);
    if length != expected {
        return Err(format!("{ty} takes {expected} bytes, {length} are said to be in {location:?}"));
    }
    Ok(ExternalData { location, offset, length })
}
