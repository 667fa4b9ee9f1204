//! The section of `report.md` about the training.

use super::curve::log_curve;
use super::numbers::{accuracy, percent, significant, thousands};
use super::table::{Table, escape};
use crate::{Accuracy, TestAccuracy, Training};

/// A table of more epochs than this is no longer read; the JSON has them all.
const EPOCHS_SHOWN: usize = 50;

/// The section without its title: recipe, epochs, and the curve of the loss.
pub(super) fn training(training: &Training) -> String {
    let Training { recipe, steps_per_epoch, epochs, test_accuracy: TestAccuracy { correct, images } } =
        training;
    let settings: Vec<String> =
        recipe.iter().map(|(name, value)| format!("{} {}", escape(name), escape(value))).collect();
    let mut text = String::new();
    if !settings.is_empty() {
        text += &format!("Recipe: {}.\n\n", settings.join(", "));
    }
    let mut table = Table::new(["#epoch", "#mean loss", "#validation accuracy"]);
    let left_out = epochs.len().saturating_sub(EPOCHS_SHOWN);
    for epoch in &epochs[left_out..] {
        table.row([
            epoch.epoch.to_string(),
            significant(epoch.training_loss),
            epoch.validation_accuracy.map_or_else(|| "-".to_owned(), percent),
        ]);
    }
    text += &table.to_markdown();
    text.push('\n');
    if left_out > 0 {
        text += &format!(
            "These are the last {EPOCHS_SHOWN} of {} epochs; `report.json` has all.\n",
            thousands(epochs.len() as u64)
        );
    }
    text += &format!(
        "On the test images the trained network, before its export, was right on {}.\n",
        accuracy(&Accuracy::of(*correct, *images))
    );
    let losses: Vec<&[f64]> = epochs.iter().map(|epoch| epoch.losses.as_slice()).collect();
    let time_title = format!("epochs of {} steps", thousands(*steps_per_epoch as u64));
    if let Some(curve) = log_curve(&losses, "training loss, logarithmic", &time_title) {
        text += &format!("\n```text\n{curve}```\n");
    }
    text
}
