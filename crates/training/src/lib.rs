//! Training the float network, the first stage of the pipeline, with burn.
//!
//! This is the only crate that knows burn. [`train`] turns a [`Recipe`] and labeled images into a
//! [`Trained`] network, which answers with log-probabilities and exports itself as an
//! [`onnx2int_graph::Graph`].
//!
//! # What a recipe fixes
//!
//! Everything. Initial weights, the order of the images and the dropped activations come from
//! random streams keyed by the recipe's seed and the epoch, not from burn's process-wide generator.
//! On one machine, with one number of threads, a recipe ends in the same weights bit for bit,
//! whether the run was interrupted and resumed from a checkpoint or not, and whatever else the
//! process does meanwhile. Another number of threads or another processor may sum in another
//! order; the accuracy is the same to within a few images.
//!
//! Recipes are chosen by the accuracy on the validation images, which [`onnx2int_dataset::Images::split`]
//! sets aside. Nothing in this crate has access to a test set unless the caller hands it one.

mod architecture;
mod augmentation;
mod average;
mod batch;
mod checkpoint;
mod error;
mod export;
mod front;
mod network;
mod observer;
mod optimizer;
mod quantization;
mod random;
mod recipe;
mod schedule;
mod train;
mod trained;

pub use architecture::Architecture;
pub use checkpoint::Checkpoints;
pub use error::{RecipeDifference, TrainingError};
pub use observer::{EpochSummary, Observer, Plan, Progress};
pub use quantization::QuantizedTraining;
pub use recipe::{Backend, Kernels, RECIPE_VERSION, Recipe, Schedule};
pub use train::{time_steps, train};
pub use trained::Trained;

/// How many threads a run computes on: all of the machine's unless the environment variable
/// `RAYON_NUM_THREADS` says otherwise.
pub fn threads() -> usize {
    rayon::current_num_threads()
}
