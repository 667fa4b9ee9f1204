//! Images with or without labels, from files that are already there.
//!
//! [`open`] takes any of the usual forms: folders of PNG and JPEG files, `.npy`, `.npz` and IDX
//! arrays. What it gives is an [`ImageSource`], which is read a batch at a time; [`Images`] is one
//! that lies in memory, as the bytes that pixels are, and a [`View`] is another one seen otherwise.
//! What a network is given is made from the bytes by a [`Normalization`].
//!
//! # MNIST
//!
//! [`Dataset::load`] is for MNIST, and data of its exact form: it reads four files of MNIST's names, plain or gzip, and checks everything that
//! can be wrong with them before the `mnist` crate, which panics on what is wrong, parses them.
//! Nothing is ever downloaded.
//!
//! Every choice of images is deterministic and free of a seed: [`Images::split`] takes the last
//! twelfth of the training set for validation, [`Images::calibration_indices`] spreads over the
//! rest, and [`spread`] over all of any other source.

mod array;
mod cache;
mod check;
mod decode;
mod error;
mod files;
mod idx;
mod image_files;
mod images;
mod load;
pub mod npy;
mod npz;
mod open;
mod sampling;
mod shape;
mod source;
mod view;

pub use array::read_labels;
pub use check::check_file;
pub use error::DatasetError;
pub use image_files::ImageFiles;
pub use images::{CLASSES, Images, MNIST_SHAPE, PIXELS, SIDE};
pub use load::{Dataset, Origin};
pub use onnx2int_graph::metadata::Normalization;
pub use open::{OpenOptions, open};
pub use sampling::{Split, spread};
pub use shape::{ImageShape, WantedShape};
pub use source::ImageSource;
pub use view::View;
