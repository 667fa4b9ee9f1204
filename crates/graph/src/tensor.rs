//! Constant and run-time tensors: an element type and a dense row-major array.

use ndarray::{ArcArray, IxDyn};
use sha2::{Digest, Sha256};

use crate::DType;
use crate::digest::hexadecimal;

/// A shared, row-major n-dimensional array. Cloning it does not copy elements.
pub type Array<T> = ArcArray<T, IxDyn>;

/// A tensor of one of the element types of [`DType`].
///
/// The array is always in standard (row-major, contiguous) layout, so that [`Tensor::as_slice`]
/// gives the elements in ONNX order. Constants are immutable and shared.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// 32-bit floats.
    F32(Array<f32>),
    /// Unsigned bytes.
    U8(Array<u8>),
    /// Signed bytes.
    I8(Array<i8>),
    /// 32-bit integers.
    I32(Array<i32>),
    /// 64-bit integers.
    I64(Array<i64>),
    /// Truth values.
    Bool(Array<bool>),
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that is the element of some [`Tensor`].
pub trait Element: sealed::Sealed + Copy + PartialEq + Send + Sync + 'static {
    /// The element type of tensors of `Self`.
    const DTYPE: DType;
    /// Wraps an array that is in standard layout.
    #[doc(hidden)]
    fn wrap(array: Array<Self>) -> Tensor;
    /// The array, if the tensor has this element type.
    #[doc(hidden)]
    fn unwrap(tensor: &Tensor) -> Option<&Array<Self>>;
}

macro_rules! element {
    ($($ty:ty => $variant:ident),*) => {$(
        impl sealed::Sealed for $ty {}
        impl Element for $ty {
            const DTYPE: DType = DType::$variant;
            fn wrap(array: Array<Self>) -> Tensor {
                Tensor::$variant(array)
            }
            fn unwrap(tensor: &Tensor) -> Option<&Array<Self>> {
                match tensor {
                    Tensor::$variant(array) => Some(array),
                    _ => None,
                }
            }
        }
    )*};
}
element!(f32 => F32, u8 => U8, i8 => I8, i32 => I32, i64 => I64, bool => Bool);

/// Runs one expression for whichever array a [`Tensor`] holds.
///
/// `match_tensor!(tensor, array => array.len())`
#[macro_export]
macro_rules! match_tensor {
    ($tensor:expr, $array:ident => $body:expr) => {
        match $tensor {
            $crate::Tensor::F32($array) => $body,
            $crate::Tensor::U8($array) => $body,
            $crate::Tensor::I8($array) => $body,
            $crate::Tensor::I32($array) => $body,
            $crate::Tensor::I64($array) => $body,
            $crate::Tensor::Bool($array) => $body,
        }
    };
}

/// A number of elements that does not fill a shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{elements} elements do not fill shape {shape:?}")]
pub struct ElementCountError {
    /// The elements given.
    pub elements: usize,
    /// The shape to fill.
    pub shape: Vec<usize>,
}

impl Tensor {
    /// A tensor of the given shape from row-major elements.
    pub fn from_vec<T: Element>(shape: &[usize], elements: Vec<T>) -> Result<Self, ElementCountError> {
        let count = elements.len();
        Array::from_shape_vec(IxDyn(shape), elements)
            .map(T::wrap)
            .map_err(|_| ElementCountError { elements: count, shape: shape.to_vec() })
    }

    /// A rank 0 tensor.
    pub fn scalar<T: Element>(value: T) -> Self {
        T::wrap(Array::from_elem(IxDyn(&[]), value))
    }

    /// A rank 1 tensor.
    pub fn vector<T: Element>(values: Vec<T>) -> Self {
        T::wrap(Array::from_shape_vec(IxDyn(&[values.len()]), values).expect("a vector fills its own length"))
    }

    /// A tensor from any array, brought to standard layout.
    pub fn from_array<T: Element>(array: ndarray::CowArray<'_, T, IxDyn>) -> Self {
        T::wrap(array.as_standard_layout().into_owned().into_shared())
    }

    /// The element type.
    pub const fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::U8(_) => DType::U8,
            Self::I8(_) => DType::I8,
            Self::I32(_) => DType::I32,
            Self::I64(_) => DType::I64,
            Self::Bool(_) => DType::Bool,
        }
    }

    /// The extents, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        match_tensor!(self, array => array.shape())
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape().len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match_tensor!(self, array => array.len())
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The array, if the elements are of type `T`.
    pub fn as_array<T: Element>(&self) -> Option<&Array<T>> {
        T::unwrap(self)
    }

    /// The elements in row-major order, if they are of type `T`.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        T::unwrap(self).map(|array| array.as_slice().expect("tensors are in standard layout"))
    }

    /// The only element, if there is exactly one and it is of type `T`; any rank.
    pub fn as_single<T: Element>(&self) -> Option<T> {
        match self.as_slice::<T>() {
            Some(&[value]) => Some(value),
            _ => None,
        }
    }

    /// The elements widened to `i64`, if they are integers.
    pub fn to_i64_vec(&self) -> Option<Vec<i64>> {
        match self {
            Self::U8(a) => Some(a.iter().map(|&v| i64::from(v)).collect()),
            Self::I8(a) => Some(a.iter().map(|&v| i64::from(v)).collect()),
            Self::I32(a) => Some(a.iter().map(|&v| i64::from(v)).collect()),
            Self::I64(a) => Some(a.iter().copied().collect()),
            Self::F32(_) | Self::Bool(_) => None,
        }
    }

    /// The same elements under another shape of the same size.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self, ElementCountError> {
        fn go<T: Element>(array: &Array<T>, shape: &[usize]) -> Result<Tensor, ElementCountError> {
            array
                .clone()
                .into_shape_with_order(IxDyn(shape))
                .map(T::wrap)
                .map_err(|_| ElementCountError { elements: array.len(), shape: shape.to_vec() })
        }
        match_tensor!(self, array => go(array, shape))
    }

    /// The elements as little-endian bytes in row-major order, as ONNX `raw_data` holds them.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        // A loop that the compiler turns into copies: traces hash megabytes for each image.
        fn bytes_of<T: Element, const N: usize>(array: &Array<T>, bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
            let elements = array.as_slice().expect("tensors are in standard layout");
            let mut all = vec![0; N * elements.len()];
            for (place, &element) in all.as_chunks_mut().0.iter_mut().zip(elements) {
                *place = bytes(element);
            }
            all
        }
        match self {
            Self::F32(a) => bytes_of(a, f32::to_le_bytes),
            Self::U8(a) => bytes_of(a, u8::to_le_bytes),
            Self::I8(a) => bytes_of(a, i8::to_le_bytes),
            Self::I32(a) => bytes_of(a, i32::to_le_bytes),
            Self::I64(a) => bytes_of(a, i64::to_le_bytes),
            Self::Bool(a) => bytes_of(a, |value| [u8::from(value)]),
        }
    }

    /// SHA-256 over element type, shape and elements, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(format!("{}{:?}", self.dtype(), self.shape()));
        hasher.update(self.to_le_bytes());
        hexadecimal(&hasher.finalize())
    }
}
