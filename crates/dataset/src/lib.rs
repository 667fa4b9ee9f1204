//! MNIST, and data of MNIST's exact form, from IDX files that are already there.
//!
//! [`Dataset::load`] reads four files of MNIST's names, plain or gzip, and checks everything that
//! can be wrong with them before the `mnist` crate, which panics on what is wrong, parses them.
//! Nothing is ever downloaded. [`Images`] holds the pixels as the bytes that they are: what a
//! network is given is made from them a batch at a time by a [`Normalization`].
//!
//! Every choice of images is deterministic and free of a seed: [`Images::split`] takes the last
//! twelfth of the training set for validation, [`Images::calibration_indices`] spreads over the
//! rest.

mod cache;
mod check;
mod error;
mod files;
mod images;
mod load;
mod sampling;

pub use check::check_file;
pub use error::DatasetError;
pub use images::{CLASSES, Images, PIXELS, SIDE};
pub use load::{Dataset, Origin};
pub use onnx2int_graph::metadata::Normalization;
pub use sampling::Split;
