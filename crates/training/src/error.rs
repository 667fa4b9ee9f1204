//! Why a run did not end in a trained network.

use std::io;
use std::path::PathBuf;

use onnx2int_dataset::{CLASSES, ImageShape, MNIST_SHAPE};

/// What can go wrong in training and export.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A setting that no run can have.
    #[error("the recipe's {setting} is {found}, expected {expected}")]
    Recipe {
        /// The setting's name, as [`crate::Recipe::settings`] gives it.
        setting: &'static str,
        /// Its value.
        found: String,
        /// The values it may have.
        expected: String,
    },
    /// Images of another form.
    #[error(
        "the networks are trained on images of {} with labels from 0 to {}, found images of {shape} {}",
        MNIST_SHAPE, CLASSES - 1, if *labeled { "with labels" } else { "without labels" }
    )]
    Images {
        /// Their shape.
        shape: ImageShape,
        /// Whether they have labels.
        labeled: bool,
    },
    /// The loss is not a number any more.
    #[error(
        "training diverged: the loss was {loss} at step {step} of epoch {epoch}; use a learning rate below \
         {learning_rate}"
    )]
    Diverged {
        /// The epoch, from 1.
        epoch: usize,
        /// The step of the epoch, from 1.
        step: usize,
        /// The loss.
        loss: f32,
        /// The recipe's learning rate.
        learning_rate: f64,
    },
    /// The observer asked to stop.
    #[error("training was interrupted in epoch {epoch} of {epochs}{}", resume_hint(*.epochs_saved))]
    Interrupted {
        /// The epoch that was not finished, from 1.
        epoch: usize,
        /// Epochs of the whole run.
        epochs: usize,
        /// Epochs that the checkpoint has; 0 if there is none.
        epochs_saved: usize,
    },
    /// A checkpoint cannot be read or written.
    #[error("cannot {action} the checkpoint {path:?}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A checkpoint file is damaged, or is none.
    #[error("{path:?} is not an intact checkpoint ({reason}): remove it, or train without resuming")]
    DamagedCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint of another run.
    #[error(
        "the checkpoint {path:?} is of another run ({}): resume with that run's settings, or train without \
         resuming",
        list(.differences)
    )]
    OtherRecipe {
        /// The file.
        path: PathBuf,
        /// Every setting that differs.
        differences: Vec<RecipeDifference>,
    },
    /// The exported graph was refused.
    #[error("cannot export the trained network")]
    Export(#[from] onnx2int_graph::EditError),
}

/// A setting in which a checkpoint differs from the recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeDifference {
    /// The setting's name.
    pub setting: String,
    /// Its value in the checkpoint.
    pub saved: String,
    /// Its value in the recipe.
    pub wanted: String,
}

fn list(differences: &[RecipeDifference]) -> String {
    let each: Vec<String> = differences
        .iter()
        .map(|RecipeDifference { setting, saved, wanted }| {
            format!("{setting} is {saved} there and {wanted} here")
        })
        .collect();
    each.join(", ")
}

fn resume_hint(epochs_saved: usize) -> String {
    match epochs_saved {
        0 => "; no epoch was saved".to_owned(),
        1 => "; epoch 1 is saved and can be resumed".to_owned(),
        _ => format!("; epochs 1 to {epochs_saved} are saved and can be resumed"),
    }
}
