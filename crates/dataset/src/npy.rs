//! Tensors as NumPy's `.npy` files.
//!
//! The format, after `numpy.lib.format`: `\x93NUMPY`, the version in two bytes, the length of the
//! header in two bytes (version 1) or four (2 and 3), little-endian; the header, a Python dictionary
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`; the elements. Written here rather
//! than taken from a crate, because those that read it bring a parser generator for that one line.

use ndarray::{CowArray, IxDyn, ShapeBuilder};
use onnx2int_graph::{DType, Element, Tensor};

/// Why bytes are no tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NpyError {
    /// Another kind of file, or one that ends in its header.
    #[error("expected a .npy file of version 1, 2 or 3")]
    NotNpy,
    /// A header that is not as `numpy.save` writes it.
    #[error("the header {header:?}: expected {expected}")]
    Header {
        /// The header's text.
        header: String,
        /// What it lacks.
        expected: &'static str,
    },
    /// Elements that no tensor of ours has.
    #[error(
        "expected elements of float32, uint8, int8, int32, int64 or bool, found {found:?}; convert them with \
         `array.astype`"
    )]
    Elements {
        /// The header's `descr`.
        found: String,
    },
    /// More or fewer elements than the header says.
    #[error("shape {shape:?} takes elements of {size} bytes each, found {found} bytes")]
    Length {
        /// The header's shape.
        shape: Vec<usize>,
        /// The bytes of an element.
        size: usize,
        /// The bytes behind the header.
        found: usize,
    },
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The element type as NumPy writes it: `<f4`.
    pub(crate) descr: String,
    pub(crate) shape: Vec<usize>,
    is_fortran: bool,
}

/// Reads a tensor. Elements are float32, uint8, int8, int32, int64 or bool of either byte order; the array may be in
/// C or in Fortran order.
///
/// # Errors
/// [`NpyError`].
pub fn decode(bytes: &[u8]) -> Result<Tensor, NpyError> {
    let (header, data) = header(bytes)?;
    let (is_big_endian, kind) = match header.descr.split_at_checked(1) {
        Some((">", kind)) => (true, kind),
        Some(("<" | "|" | "=", kind)) => (false, kind),
        _ => (false, header.descr.as_str()),
    };
    let layout = Layout { header: &header, is_big_endian, data };
    match kind {
        "f4" => layout.tensor(f32::from_le_bytes),
        "u1" => layout.tensor(u8::from_le_bytes),
        "i1" => layout.tensor(i8::from_le_bytes),
        "i4" => layout.tensor(i32::from_le_bytes),
        "i8" => layout.tensor(i64::from_le_bytes),
        "b1" => layout.tensor(|[byte]: [u8; 1]| byte != 0),
        _ => Err(NpyError::Elements { found: header.descr }),
    }
}

pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Elements begin at a multiple of this.
const ALIGNMENT: usize = 64;

/// The header, and the bytes behind it.
pub(crate) fn header(bytes: &[u8]) -> Result<(Header, &[u8]), NpyError> {
    let (header, data) = split(bytes).ok_or(NpyError::NotNpy)?;
    let text = std::str::from_utf8(header).map_err(|_| NpyError::NotNpy)?;
    let lacks = |expected| NpyError::Header { header: text.trim_end().to_owned(), expected };
    let descr = entry(text, "descr").ok_or_else(|| lacks("an entry \"descr\""))?;
    let is_fortran = match entry(text, "fortran_order") {
        Some("True") => true,
        Some("False") => false,
        _ => return Err(lacks("an entry \"fortran_order\" of True or False")),
    };
    let shape = entry(text, "shape").and_then(shape).ok_or_else(|| lacks("numbers in a tuple \"shape\""))?;
    Ok((Header { descr: descr.trim_matches(['\'', '"']).to_owned(), shape, is_fortran }, data))
}

/// The header's bytes and the elements.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (&[major, _], rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = match major {
        1 => {
            let (&length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_le_bytes(length)), rest)
        }
        2 | 3 => {
            let (&length, rest) = rest.split_first_chunk()?;
            (usize::try_from(u32::from_le_bytes(length)).ok()?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The text of one entry of the header: up to the comma, or a whole parenthesis.
fn entry<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    [format!("'{key}'"), format!("\"{key}\"")].iter().find_map(|quoted| {
        let value = header.split_once(quoted.as_str())?.1.trim_start().strip_prefix(':')?.trim_start();
        let end = if value.starts_with('(') { value.find(')')? + 1 } else { value.find([',', '}'])? };
        Some(value[..end].trim_end())
    })
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let extents = inner.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    extents.map(|extent| extent.parse().ok()).collect()
}

/// Where the elements are and how they lie.
struct Layout<'a> {
    header: &'a Header,
    is_big_endian: bool,
    data: &'a [u8],
}

impl Layout<'_> {
    fn tensor<T: Element, const SIZE: usize>(
        &self,
        from: impl Fn([u8; SIZE]) -> T,
    ) -> Result<Tensor, NpyError> {
        let Header { shape, is_fortran, .. } = self.header;
        let (chunks, rest) = self.data.as_chunks::<SIZE>();
        let claimed = shape.iter().try_fold(1_usize, |count, &extent| count.checked_mul(extent));
        let length = || NpyError::Length { shape: shape.clone(), size: SIZE, found: self.data.len() };
        if !rest.is_empty() || claimed != Some(chunks.len()) {
            return Err(length());
        }
        let ordered = |mut bytes: [u8; SIZE]| {
            if self.is_big_endian {
                bytes.reverse();
            }
            from(bytes)
        };
        let elements: Vec<T> = chunks.iter().map(|&bytes| ordered(bytes)).collect();
        let array = ndarray::Array::from_shape_vec(IxDyn(shape).set_f(*is_fortran), elements);
        Ok(Tensor::from_array(CowArray::from(array.map_err(|_| length())?)))
    }
}

/// The bytes of a `.npy` file of version 1, in C order and little-endian.
pub fn encode(tensor: &Tensor) -> Vec<u8> {
    let descr = match tensor.dtype() {
        DType::F32 => "<f4",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::Bool => "|b1",
    };
    let extents: String = tensor.shape().iter().map(|extent| format!("{extent}, ")).collect();
    let header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", extents.trim_end());
    let before = MAGIC.len() + 4;
    // Spaces and a line break fill up to the alignment.
    let length = (before + header.len() + 1).next_multiple_of(ALIGNMENT) - before;
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    let short = u16::try_from(length).expect("64 extents of 20 digits are far below 65 536 characters");
    bytes.extend(short.to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = length - 1).bytes());
    bytes.extend(tensor.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of version 1.0 with this header, as numpy writes it but for the padding.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    fn refusal(header: &str, data: &[u8]) -> String {
        decode(&file(header, data)).unwrap_err().to_string()
    }

    #[test]
    fn every_element_type_survives() {
        for tensor in [
            Tensor::from_vec(&[2, 1], vec![1.5f32, -0.0]).unwrap(),
            Tensor::vector(vec![0u8, 255]),
            Tensor::vector(vec![-128i8, 127]),
            Tensor::scalar(i32::MIN),
            Tensor::vector(vec![i64::MIN, i64::MAX]),
            Tensor::vector(vec![true, false]),
            Tensor::from_vec::<f32>(&[3, 0, 2], vec![]).unwrap(),
        ] {
            assert_eq!(decode(&encode(&tensor)).unwrap(), tensor);
        }
    }

    #[test]
    fn both_orders_of_elements_and_of_bytes_are_read() {
        let header = "{'descr': '>i4', 'fortran_order': True, 'shape': (2, 2), }\n";
        let data = [1i32, 2, 3, 4].map(i32::to_be_bytes).concat();
        let expected = Tensor::from_vec(&[2, 2], vec![1, 3, 2, 4]).unwrap();
        assert_eq!(decode(&file(header, &data)).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let header = |descr: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
        };
        assert!(refusal(&header("<f8", "(1,)"), &[0; 8]).contains("found \"<f8\""));
        assert!(
            refusal(&header("|u1", "(3,)"), &[0; 2])
                .contains("shape [3] takes elements of 1 bytes each, found 2 bytes")
        );
        assert!(refusal(&header("|u1", "(3,)"), &[0; 4]).contains("found 4 bytes"));
        assert!(refusal(&header("|u1", "(-3,)"), &[0; 4]).contains("expected numbers in a tuple"));
        assert!(
            refusal("{'descr': '|u1', 'shape': (1,), }\n", &[0])
                .contains("expected an entry \"fortran_order\"")
        );
        assert!(decode(b"\x89PNG").unwrap_err().to_string().contains("expected a .npy file"));
    }

    #[test]
    fn a_header_that_claims_more_than_there_is_is_refused() {
        for shape in ["(4294967296, 1048576)", "(4294967296, 4294967296)", "(1, 2)"] {
            let header = format!("{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}\n");
            assert!(refusal(&header, &[0; 8]).contains("found 8 bytes"));
        }
    }

    #[test]
    fn the_header_is_what_numpy_writes() {
        let written = encode(&Tensor::vector(vec![1i32, 2]));
        assert_eq!(written.len(), 128 + 8);
        assert_eq!(&written[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert!(written[10..].starts_with(b"{'descr': '<i4', 'fortran_order': False, 'shape': (2,), } "));
        assert_eq!(written[127], b'\n');
    }
}
