//! What a run tells while it goes on.

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Epochs of the whole run.
    pub epochs: usize,
    /// Epochs that a checkpoint has already; 0 unless the run was resumed.
    pub epochs_done: usize,
    /// Steps of each epoch.
    pub steps_per_epoch: usize,
    /// Images of each epoch.
    pub training_images: usize,
    /// Images that judge each epoch.
    pub validation_images: usize,
}

/// One step that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The step of the epoch, from 1.
    pub step: usize,
    /// Mean loss over the batch, in nats.
    pub loss: f32,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// Images trained on a second, since the epoch began.
    pub images_per_second: f64,
}

/// One epoch that is over.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EpochSummary {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Mean loss over its steps, in nats, with dropout.
    pub training_loss: f64,
    /// The part of the validation images whose class is right, from 0 to 1; none if there are no
    /// validation images.
    pub validation_accuracy: Option<f64>,
    /// The course of the loss: means over consecutive parts of the epoch of equal length, 50 of them
    /// where there are enough steps.
    pub losses: Vec<f32>,
}

/// Follows a run, and may end it. `()` does neither.
pub trait Observer {
    /// Called once, before the first step.
    fn started(&mut self, _plan: &Plan) {}

    /// Called after each step.
    fn stepped(&mut self, _progress: &Progress) {}

    /// Called after each epoch, when its checkpoint is written.
    fn finished_epoch(&mut self, _summary: &EpochSummary) {}

    /// Asked before each step. After `true`, [`crate::train`] returns
    /// [`crate::TrainingError::Interrupted`]; the last finished epoch's checkpoint stays.
    fn cancelled(&mut self) -> bool {
        false
    }
}

impl Observer for () {}
