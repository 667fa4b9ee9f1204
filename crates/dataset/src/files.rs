//! The four files: their names, their form in the IDX format, and the digests of MNIST's.
//!
//! An IDX file is a magic number (two zero bytes, 0x08 for unsigned bytes, the number of axes),
//! the extents, all big-endian 32-bit, and the data in row-major order.

use std::path::Path;

use onnx2int_graph::digest::hexadecimal;

use crate::{CLASSES, DatasetError};

/// One of the four files of a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Its name when it is not packed.
    pub(crate) name: &'static str,
    /// The extents that the `mnist` crate insists on.
    extents: &'static [u32],
    /// SHA-256 of the bytes of MNIST's own file, unpacked.
    pub(crate) mnist_digest: &'static str,
}

/// All four, in the order of the fields of a [`crate::Dataset`].
pub(crate) const FILES: [File; 4] = [
    File {
        name: "train-images-idx3-ubyte",
        extents: &[60_000, 28, 28],
        mnist_digest: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    },
    File {
        name: "train-labels-idx1-ubyte",
        extents: &[60_000],
        mnist_digest: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    },
    File {
        name: "t10k-images-idx3-ubyte",
        extents: &[10_000, 28, 28],
        mnist_digest: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    },
    File {
        name: "t10k-labels-idx1-ubyte",
        extents: &[10_000],
        mnist_digest: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
];

impl File {
    /// The length of a well-formed file, in bytes.
    pub(crate) fn length(self) -> usize {
        self.header_length() + self.extents.iter().map(|&extent| extent as usize).product::<usize>()
    }

    /// Checks all that the `mnist` crate would panic on, and the labels.
    ///
    /// `path` is for messages; `bytes` may stop one byte after [`File::length`].
    pub(crate) fn check(self, path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
        let word = |index: usize| {
            bytes
                .get(4 * index..4 * index + 4)
                .map(|word| u32::from_be_bytes(word.try_into().expect("4 bytes")))
        };
        if word(0) != Some(self.magic()) {
            return Err(DatasetError::Magic {
                path: path.to_owned(),
                expected: self.magic(),
                found: describe_start(bytes),
            });
        }
        let length_error = || DatasetError::Length {
            path: path.to_owned(),
            expected: self.length(),
            found: bytes.len(),
            at_least: bytes.len() > self.length(),
        };
        let found: Vec<u32> = (1..=self.extents.len()).map_while(word).collect();
        if found.len() < self.extents.len() {
            return Err(length_error());
        }
        if found != self.extents {
            return Err(DatasetError::Shape {
                path: path.to_owned(),
                expected: self.extents.to_vec(),
                found,
            });
        }
        if bytes.len() != self.length() {
            return Err(length_error());
        }
        if self.extents.len() == 1 {
            let labels = &bytes[self.header_length()..];
            if let Some(index) = labels.iter().position(|&label| usize::from(label) >= CLASSES) {
                return Err(DatasetError::Label { path: path.to_owned(), index, found: labels[index] });
            }
        }
        Ok(())
    }

    fn magic(self) -> u32 {
        0x0800 | self.extents.len() as u32
    }

    fn header_length(self) -> usize {
        4 * (1 + self.extents.len())
    }
}

/// The first bytes of a file that is something else, and what it may be.
fn describe_start(bytes: &[u8]) -> String {
    let start = hexadecimal(&bytes[..bytes.len().min(4)]);
    match bytes {
        [] => "an empty file".to_owned(),
        [0x1f, 0x8b, ..] => format!("0x{start}, a gzip file: give its name the ending .gz"),
        [0, 0, 8, 1, ..] => format!("0x{start}, a file of labels"),
        [0, 0, 8, 3, ..] => format!("0x{start}, a file of images"),
        _ => format!("0x{start}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels_file() -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 1];
        bytes.extend(10_000_u32.to_be_bytes());
        bytes.extend((0..10_000).map(|index| (index % 10) as u8));
        bytes
    }

    fn message(bytes: &[u8]) -> String {
        FILES[3]
            .check(Path::new("t10k-labels-idx1-ubyte"), bytes)
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn accepts_the_right_form() {
        assert_eq!(message(&labels_file()), "");
    }

    #[test]
    fn refuses_every_other_form_by_name() {
        let mut labels = labels_file();
        labels[8 + 77] = 26;
        let cut = &labels_file()[..5_000];
        let mut long = labels_file();
        long.push(0);
        let mut other_size = labels_file();
        other_size[4..8].copy_from_slice(&20_800_u32.to_be_bytes());
        for (bytes, expected) in [
            (labels.as_slice(), "label 77 in \"t10k-labels-idx1-ubyte\" is 26, expected 0 to 9"),
            (cut, "should be 10008 bytes long, by its header, and is 5000"),
            (&long, "should be 10008 bytes long, by its header, and is at least 10009"),
            (&other_size, "holds data of shape [20800], expected [10000]"),
            (&[0, 0, 8, 1, 0], "should be 10008 bytes long, by its header, and is 5"),
            (&[0, 0, 8, 3, 0, 0, 0, 0], "expected 0x00000801, found 0x00000803, a file of images"),
            (&[0x1f, 0x8b, 8, 0], "give its name the ending .gz"),
            (&[], "found an empty file"),
        ] {
            let message = message(bytes);
            assert!(message.contains(expected), "{message}");
        }
    }
}
