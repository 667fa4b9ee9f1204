//! The keys of `quantization_annotation` entries, as ONNX names them.

/// Names the initializer that holds the scale.
pub(crate) const SCALE: &str = "SCALE_TENSOR";
/// Names the initializer that holds the zero point.
pub(crate) const ZERO_POINT: &str = "ZERO_POINT_TENSOR";
