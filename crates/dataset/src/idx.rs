//! IDX files of any extents.
//!
//! The form of MNIST's files: a magic number (two zero bytes, 0x08 for unsigned bytes, the number of
//! axes), the extents, all big-endian 32-bit, and the data in row-major order.

use std::io::Read;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use onnx2int_graph::Tensor;

use crate::DatasetError;

/// How a gzip file begins.
pub(crate) const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// How an IDX file of bytes begins.
pub(crate) const MAGIC: &[u8] = &[0, 0, 8];

/// No array of images has more axes.
const MOST_AXES: u8 = 8;

/// Reads a file, plain or gzip, that is known to begin as one of the two. A packed one is unpacked
/// no further than its header says that it goes.
///
/// # Errors
/// [`DatasetError::Gzip`], [`DatasetError::Idx`] or [`DatasetError::Length`].
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Tensor, DatasetError> {
    if !bytes.starts_with(GZIP_MAGIC) {
        return read(path, bytes);
    }
    read(path, MultiGzDecoder::new(bytes)).map_err(|error| match error {
        DatasetError::Io { source, .. } => {
            DatasetError::Gzip { path: path.to_owned(), reason: source.to_string() }
        }
        other => other,
    })
}

fn read(path: &Path, mut bytes: impl Read) -> Result<Tensor, DatasetError> {
    let failed = |source| DatasetError::Io { action: "read", path: path.to_owned(), source };
    let not_idx = |found: String| DatasetError::Idx { path: path.to_owned(), found };
    let mut header = Vec::new();
    bytes.by_ref().take(4).read_to_end(&mut header).map_err(failed)?;
    let &[0, 0, 8, axes @ 1..=MOST_AXES] = header.as_slice() else {
        return Err(not_idx(format!("a file that begins with the bytes {header:02x?}")));
    };
    let mut extents = Vec::new();
    bytes.by_ref().take(4 * u64::from(axes)).read_to_end(&mut extents).map_err(failed)?;
    let (words, rest) = extents.as_chunks::<4>();
    let shape: Vec<usize> = words.iter().map(|&word| u32::from_be_bytes(word) as usize).collect();
    if !rest.is_empty() || shape.len() != usize::from(axes) {
        return Err(not_idx(format!("{} bytes of a header of {axes} axes", header.len() + extents.len())));
    }
    let header_length = 4 + 4 * shape.len();
    let size = shape.iter().try_fold(1_usize, |size, &extent| size.checked_mul(extent));
    let Some(expected) = size.and_then(|size| size.checked_add(header_length)) else {
        return Err(not_idx(format!("a header of the impossible shape {shape:?}")));
    };
    let mut data = Vec::new();
    // One byte more, to see that a file is too long; the vector grows with what is there.
    let limit = (expected - header_length) as u64 + 1;
    bytes.take(limit).read_to_end(&mut data).map_err(failed)?;
    let found = data.len() + header_length;
    if found != expected {
        let at_least = found > expected;
        return Err(DatasetError::Length { path: path.to_owned(), expected, found, at_least });
    }
    Ok(Tensor::from_vec(&shape, data).expect("the size was checked"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(shape: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn any_extents_are_read_plain_or_packed() {
        for shape in [&[3_u32][..], &[2, 1, 4], &[2, 3, 1, 2]] {
            let size: u32 = shape.iter().product();
            let data: Vec<u8> = (0..size).map(|byte| byte as u8).collect();
            let extents: Vec<usize> = shape.iter().map(|&extent| extent as usize).collect();
            let expected = Tensor::from_vec(&extents, data.clone()).unwrap();
            let plain = file(shape, &data);
            assert_eq!(decode(Path::new("a"), &plain).unwrap(), expected);
            assert_eq!(decode(Path::new("a.gz"), &packed(&plain)).unwrap(), expected);
        }
    }

    #[test]
    fn every_other_form_is_refused_by_name() {
        let whole = file(&[2, 3], &[1; 6]);
        let cut = packed(&whole);
        let huge = file(&[u32::MAX, u32::MAX, u32::MAX], &[]);
        let cases: [(&[u8], &str); 8] = [
            (&whole[..13], "should be 18 bytes long, by its header, and is 13"),
            (&[&whole[..], &[0]].concat(), "and is at least 19"),
            (&whole[..7], "7 bytes of a header of 2 axes"),
            (&file(&[], &[]), "begins with the bytes [00, 00, 08, 00]"),
            (b"\0\0\x0d\x01\0\0\0\0", "begins with the bytes [00, 00, 0d, 01]"),
            (&huge, "impossible shape"),
            (&packed(&[&whole[..], &[0]].concat()), "and is at least 19"),
            (&cut[..cut.len() - 9], "is not an intact gzip file"),
        ];
        for (bytes, expected) in cases {
            let message = decode(Path::new("odd-idx"), bytes).unwrap_err().to_string();
            assert!(message.contains("odd-idx") && message.contains(expected), "{expected}: {message}");
        }
    }
}
