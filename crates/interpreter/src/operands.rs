//! The operands of one node, with the questions that kernels ask.

use onnx2int_graph::{Element, Tensor, TensorType};

use crate::OpError;

/// The operands of one node, in ONNX order.
pub(crate) struct Operands<'a>(pub(crate) Vec<Option<&'a Tensor>>);

impl<'a> Operands<'a> {
    /// The number of slots, including those left out in the middle.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn optional(&self, slot: usize) -> Option<&'a Tensor> {
        self.0.get(slot).copied().flatten()
    }

    pub(crate) fn tensor(&self, slot: usize) -> Result<&'a Tensor, OpError> {
        self.optional(slot).ok_or(OpError::MissingOperand { slot })
    }

    /// The elements of an operand that must be of type `T`.
    pub(crate) fn elements<T: Element>(&self, slot: usize) -> Result<&'a [T], OpError> {
        let tensor = self.tensor(slot)?;
        tensor.as_slice::<T>().ok_or(OpError::OperandDtype {
            slot,
            expected: T::DTYPE.name(),
            found: tensor.dtype(),
        })
    }

    /// The elements of an operand that may be left out, and must be of type `T` if it is there.
    pub(crate) fn optional_elements<T: Element>(&self, slot: usize) -> Result<Option<&'a [T]>, OpError> {
        self.optional(slot).map(|_| self.elements(slot)).transpose()
    }

    /// The integers of an operand, widened.
    pub(crate) fn integers(&self, slot: usize) -> Result<Vec<i64>, OpError> {
        let tensor = self.tensor(slot)?;
        tensor.to_i64_vec().ok_or(OpError::OperandDtype {
            slot,
            expected: "an integer type",
            found: tensor.dtype(),
        })
    }

    /// Element types and shapes, for messages: `u8[1,1,28,28], i8[32,1,3,3], none`.
    pub(crate) fn describe(&self) -> String {
        if self.0.is_empty() {
            return "no operand".to_owned();
        }
        let types: Vec<_> = self
            .0
            .iter()
            .map(|operand| operand.map_or("none".to_owned(), |tensor| TensorType::of(tensor).to_string()))
            .collect();
        types.join(", ")
    }
}

/// A tensor of as many elements as the kernel computed for `shape`.
pub(crate) fn filled<T: Element>(shape: &[usize], elements: Vec<T>) -> Tensor {
    Tensor::from_vec(shape, elements).expect("a kernel computes every element of its result")
}

/// A possibly negative axis as an index below `rank`.
pub(crate) fn resolve_axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let resolved = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(resolved)
        .ok()
        .filter(|&index| index < rank)
        .ok_or_else(|| OpError::shape(format!("an axis of a rank {rank} tensor"), axis.to_string()))
}
