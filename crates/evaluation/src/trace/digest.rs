//! SHA-256 cut to eight bytes.

use onnx2int_dataset::{DatasetError, ImageSource};
use onnx2int_graph::digest::hexadecimal;
use sha2::{Digest, Sha256};

/// The bytes kept of a digest. Different tensors agree by chance in one of 2^64 comparisons, and a trace of 10 000 images
/// makes some hundred thousand.
pub(crate) const DIGEST_BYTES: usize = 8;

/// The digest of a tensor's elements for one image: the first bytes of their SHA-256.
pub(crate) fn digest_of(elements: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(&Sha256::digest(elements)[..DIGEST_BYTES]);
    digest
}

/// SHA-256 of the pixels of all images, in hexadecimal; they are read a few at a time.
pub(crate) fn images_digest(images: &dyn ImageSource) -> Result<String, DatasetError> {
    const AT_ONCE: usize = 64;
    let mut hasher = Sha256::new();
    for start in (0..images.len()).step_by(AT_ONCE) {
        let indices: Vec<usize> = (start..images.len().min(start + AT_ONCE)).collect();
        hasher.update(images.read(&indices)?);
    }
    Ok(hexadecimal(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::Tensor;

    use super::*;

    /// `scripts/trace_onnx.py` asserts the same constant of the same tensor before it traces anything.
    #[test]
    fn the_digest_is_the_one_that_python_computes() {
        let image = Tensor::from_vec(&[2, 2], vec![1_i32, -2, 256, i32::MIN]).unwrap();
        assert_eq!(digest_of(&image.to_le_bytes()), [0x96, 0x28, 0x66, 0x92, 0xf1, 0x71, 0x7c, 0xf6]);
        assert_eq!(digest_of(&[]), [0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14]);
    }
}
