//! From a data folder to images.

use std::fs;
use std::path::{Path, PathBuf};

use mnist::MnistBuilder;
use onnx2int_graph::digest::sha256;

use crate::files::{FILES, File};
use crate::{DatasetError, Images, cache};

/// A training set and a test set.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// 60 000 images; [`Images::split`] sets some aside for validation.
    pub train: Images,
    /// 10 000 images, for the final score only.
    pub test: Images,
    origin: Origin,
}

/// Whose data it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// MNIST, byte for byte.
    Mnist,
    /// Other data of the same form (Fashion-MNIST, KMNIST, ...).
    Other {
        /// SHA-256 over the SHA-256 of the four unpacked files, in hexadecimal.
        digest: String,
    },
}

impl Dataset {
    /// Reads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    /// `t10k-labels-idx1-ubyte`, each plain or with `.gz` (plain wins), from `directory`.
    ///
    /// Gzip files are unpacked once into `cache_directory`, which need not exist and is not
    /// touched if all four files are plain.
    ///
    /// # Errors
    /// A file is missing, damaged, or not of MNIST's exact form; or three of the four are
    /// MNIST's, byte for byte, and one is not: a damaged or swapped file, not another data set.
    pub fn load(directory: &Path, cache_directory: &Path) -> Result<Self, DatasetError> {
        if !directory.is_dir() {
            return Err(DatasetError::NoDirectory { directory: directory.to_owned() });
        }
        let mut files = Vec::with_capacity(FILES.len());
        for file in FILES {
            files.push(Located::find(directory, file, cache_directory)?);
        }
        let origin = origin(&files)?;
        let [train_images, train_labels, test_images, test_labels] =
            [0, 1, 2, 3].map(|index| files[index].text());
        let (train_images, train_labels) = (train_images?, train_labels?);
        let (test_images, test_labels) = (test_images?, test_labels?);
        // The paths are whole, so the base folder is none.
        let parsed = MnistBuilder::new()
            .base_path("")
            .training_images_filename(train_images)
            .training_labels_filename(train_labels)
            .test_images_filename(test_images)
            .test_labels_filename(test_labels)
            .label_format_digit()
            .training_set_length(60_000)
            .validation_set_length(0)
            .test_set_length(10_000)
            .finalize();
        Ok(Self {
            train: images(parsed.trn_img, parsed.trn_lbl)?,
            test: images(parsed.tst_img, parsed.tst_lbl)?,
            origin,
        })
    }

    /// Whether this is MNIST.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// The `mnist` crate splits one vector, which leaves the training set with spare capacity.
fn images(mut pixels: Vec<u8>, mut labels: Vec<u8>) -> Result<Images, DatasetError> {
    pixels.shrink_to_fit();
    labels.shrink_to_fit();
    Images::new(pixels, labels)
}

/// A checked plain file.
struct Located {
    file: File,
    /// As the user knows it: the packed file, if it is packed.
    source: PathBuf,
    /// Where the plain bytes are.
    plain: PathBuf,
    /// SHA-256 of the plain bytes.
    digest: String,
}

impl Located {
    fn find(directory: &Path, file: File, cache_directory: &Path) -> Result<Self, DatasetError> {
        let plain = directory.join(file.name);
        if plain.is_file() {
            let bytes = fs::read(&plain).map_err(|source| DatasetError::Io {
                action: "read",
                path: plain.clone(),
                source,
            })?;
            file.check(&plain, &bytes)?;
            return Ok(Self { file, source: plain.clone(), plain, digest: sha256(&bytes) });
        }
        let archive = directory.join(format!("{}.gz", file.name));
        if !archive.is_file() {
            return Err(DatasetError::Missing { directory: directory.to_owned(), name: file.name });
        }
        let copy = cache::unpack(&archive, file, cache_directory)?;
        Ok(Self { file, source: archive, plain: copy.path, digest: copy.digest })
    }

    fn is_of_mnist(&self) -> bool {
        self.digest == self.file.mnist_digest
    }

    fn text(&self) -> Result<&str, DatasetError> {
        self.plain.to_str().ok_or_else(|| DatasetError::Unicode { path: self.plain.clone() })
    }
}

/// One odd file out of four is damage. Two may be meant: noise added to all images under MNIST's
/// own labels, or another test set.
fn origin(files: &[Located]) -> Result<Origin, DatasetError> {
    let others: Vec<&Located> = files.iter().filter(|located| !located.is_of_mnist()).collect();
    match others.as_slice() {
        [] => Ok(Origin::Mnist),
        [odd] => Err(DatasetError::Altered {
            path: odd.source.clone(),
            expected: odd.file.mnist_digest,
            found: odd.digest.clone(),
        }),
        _ => {
            let digests: String = files.iter().map(|located| located.digest.as_str()).collect();
            Ok(Origin::Other { digest: sha256(digests.as_bytes()) })
        }
    }
}
