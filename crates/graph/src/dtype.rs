//! Element types.

use std::fmt;

/// The type of a tensor's elements.
///
/// Only what appears between a float CNN and its integer-only graph; files with other element
/// types are refused where they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// Unsigned 8 bit.
    U8,
    /// Signed 8 bit.
    I8,
    /// Signed 32 bit.
    I32,
    /// Signed 64 bit: shapes, axes and class indices only.
    I64,
    /// Truth values.
    Bool,
}

impl DType {
    /// Every element type, in declaration order.
    pub const ALL: [Self; 6] = [Self::F32, Self::U8, Self::I8, Self::I32, Self::I64, Self::Bool];

    /// The short name of the graph text: `f32`, `u8`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::Bool => "bool",
        }
    }

    /// Bytes of one element, as ONNX stores it in `raw_data`.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::F32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }

    /// The least and the greatest value, for integer types.
    pub const fn integer_range(self) -> Option<(i64, i64)> {
        match self {
            Self::U8 => Some((0, u8::MAX as i64)),
            Self::I8 => Some((i8::MIN as i64, i8::MAX as i64)),
            Self::I32 => Some((i32::MIN as i64, i32::MAX as i64)),
            Self::I64 => Some((i64::MIN, i64::MAX)),
            Self::F32 | Self::Bool => None,
        }
    }

    /// Whether this is an integer type (`bool` is not).
    pub const fn is_integer(self) -> bool {
        self.integer_range().is_some()
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
