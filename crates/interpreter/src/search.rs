//! `ArgMax`.

use onnx2int_graph::{Element, Tensor};

use crate::OpError;
use crate::operands::{Operands, filled, resolve_axis};

/// The index of the greatest element along an axis, as i64; the first one wins. NaN is an error.
pub(crate) fn arg_max(x: &Operands<'_>, axis: i64, keepdims: bool) -> Result<Tensor, OpError> {
    let tensor = x.tensor(0)?;
    let axis = resolve_axis(axis, tensor.rank())?;
    let mut shape = tensor.shape().to_vec();
    let (extent, inner) = (shape[axis], shape[axis + 1..].iter().product());
    if extent == 0 {
        return Err(OpError::shape(format!("an element along axis {axis}"), format!("{shape:?}")));
    }
    let indices = match tensor {
        Tensor::F32(_) => {
            let elements = x.elements::<f32>(0)?;
            if let Some(element) = elements.iter().position(|v| v.is_nan()) {
                return Err(OpError::NotANumber { element });
            }
            greatest(elements, extent, inner)
        }
        Tensor::U8(_) => greatest(x.elements::<u8>(0)?, extent, inner),
        Tensor::I8(_) => greatest(x.elements::<i8>(0)?, extent, inner),
        Tensor::I32(_) => greatest(x.elements::<i32>(0)?, extent, inner),
        Tensor::I64(_) => greatest(x.elements::<i64>(0)?, extent, inner),
        Tensor::Bool(_) => {
            return Err(OpError::OperandDtype { slot: 0, expected: "a number type", found: tensor.dtype() });
        }
    };
    if keepdims {
        shape[axis] = 1;
    } else {
        shape.remove(axis);
    }
    Ok(filled(&shape, indices))
}

fn greatest<T: Element + PartialOrd>(elements: &[T], extent: usize, inner: usize) -> Vec<i64> {
    let mut indices = Vec::new();
    for slab in elements.chunks_exact((extent * inner).max(1)) {
        for start in 0..inner {
            let mut best = 0;
            for index in 1..extent {
                if slab[start + index * inner] > slab[start + best * inner] {
                    best = index;
                }
            }
            indices.push(best as i64);
        }
    }
    indices
}

#[cfg(test)]
mod tests {
    use crate::fragment::{refusal_of, tensor, value_of};

    #[test]
    fn the_first_of_equals_wins_along_the_axis() {
        let text = "const %x: i32[2,3] = [1, 5, 5, -1, -2, -1]\n %y = ArgMax(%x) axis=1 keepdims=0\n out %y";
        assert_eq!(value_of(text), tensor(&[2], &[1i64, 0]));
        let text = "const %x: u8[2,3] = [1, 5, 5, 2, 4, 6]\n %y = ArgMax(%x) axis=0 keepdims=1\n out %y";
        assert_eq!(value_of(text), tensor(&[1, 3], &[1i64, 0, 1]));
    }

    #[test]
    fn not_a_number_has_no_rank() {
        let text = "const %x: f32[2] = [0.0, nan]\n %y = ArgMax(%x) axis=0\n out %y";
        assert!(refusal_of(text).contains("element 1 of the operand is not a number"));
    }
}
