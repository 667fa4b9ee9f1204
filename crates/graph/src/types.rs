//! Tensor types: an element type and a shape whose extents may be symbolic.

use std::fmt;
use std::sync::Arc;

use crate::{DType, Tensor};

/// One extent of a shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// Known when the graph is written.
    Fixed(usize),
    /// Known at run time only; equal names mean equal extents. The batch is usually `N`.
    Symbol(Arc<str>),
}

impl Dim {
    /// A symbolic extent.
    pub fn symbol(name: &str) -> Self {
        Self::Symbol(name.into())
    }

    /// The extent, if it is known.
    pub const fn fixed(&self) -> Option<usize> {
        match self {
            Self::Fixed(extent) => Some(*extent),
            Self::Symbol(_) => None,
        }
    }
}

impl From<usize> for Dim {
    fn from(extent: usize) -> Self {
        Self::Fixed(extent)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(extent) => write!(f, "{extent}"),
            Self::Symbol(name) => f.write_str(name),
        }
    }
}

/// What is known of a value before anything runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The extents, outermost first; empty for a scalar.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: impl Into<Vec<Dim>>) -> Self {
        Self { dtype, shape: shape.into() }
    }

    /// The type of a tensor.
    pub fn of(tensor: &Tensor) -> Self {
        Self::fixed(tensor.dtype(), tensor.shape())
    }

    /// A type all of whose extents are known.
    pub fn fixed(dtype: DType, shape: &[usize]) -> Self {
        Self { dtype, shape: shape.iter().map(|&extent| Dim::Fixed(extent)).collect() }
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The extents, if all are known.
    pub fn fixed_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(Dim::fixed).collect()
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Self { dtype, shape: self.shape.clone() }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, dim) in self.shape.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}
