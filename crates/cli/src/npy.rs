//! Tensors as NumPy's `.npy` files, format 1.0.

use onnx2int_graph::{DType, Tensor};

/// The bytes of a `.npy` file: the magic, a header that is a Python literal, and the elements,
/// row-major and little-endian.
pub(crate) fn encode(tensor: &Tensor) -> Vec<u8> {
    let descriptor = match tensor.dtype() {
        DType::F32 => "<f4",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::Bool => "|b1",
    };
    let extents: String = tensor.shape().iter().map(|extent| format!("{extent},")).collect();
    let mut header = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': ({extents}), }}");
    // The elements begin at a multiple of 64, and the header ends in a line feed.
    let used = 10 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', used.next_multiple_of(64) - used));
    header.push('\n');
    let length = u16::try_from(header.len()).expect("a tensor has few axes");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(tensor.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `numpy.save` writes for `numpy.array([[1, -2, 3]], dtype=numpy.int32)`.
    #[test]
    fn the_bytes_are_those_of_numpy() {
        let bytes = encode(&Tensor::from_vec(&[1, 3], vec![1_i32, -2, 3]).unwrap());
        let header = "{'descr': '<i4', 'fortran_order': False, 'shape': (1,3,), }";
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert_eq!(bytes[10..128], *format!("{header:<117}\n").as_bytes());
        assert_eq!(bytes[128..], [1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 3, 0, 0, 0]);
    }

    #[test]
    fn a_scalar_and_a_vector_have_tuples_for_shapes() {
        for (tensor, shape) in [(Tensor::scalar(7_u8), "()"), (Tensor::vector(vec![7_u8]), "(1,)")] {
            let text = String::from_utf8_lossy(&encode(&tensor)).into_owned();
            assert!(text.contains(&format!("'shape': {shape}")), "{text}");
            assert!(encode(&tensor).len().is_multiple_of(64) || encode(&tensor).len() % 64 == 1);
        }
    }
}
