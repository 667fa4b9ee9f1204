//! What a training came to, for the report.

use onnx2int_evaluation::{TestAccuracy, Training, TrainingEpoch};
use onnx2int_training::{EpochSummary, Trained};

/// The content of the file beside the model.
pub(super) fn summary(trained: &Trained, steps_per_epoch: usize, test_accuracy: TestAccuracy) -> String {
    let settings = trained.recipe().settings();
    let epoch = |summary: &EpochSummary| TrainingEpoch {
        epoch: summary.epoch,
        training_loss: summary.training_loss,
        validation_accuracy: summary.validation_accuracy,
        losses: summary.losses.iter().copied().map(f64::from).collect(),
    };
    Training {
        recipe: settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        steps_per_epoch,
        epochs: trained.history().iter().map(epoch).collect(),
        test_accuracy,
    }
    .to_json()
}
