//! What a training came to, for the report.

use serde::Serialize;

use onnx2int_training::{EpochSummary, Trained};

/// The file beside the model. It holds nothing that differs between two runs of a recipe.
#[derive(Serialize)]
struct Summary<'a> {
    format: &'static str,
    recipe: serde_json::Map<String, serde_json::Value>,
    steps_per_epoch: usize,
    epochs: &'a [EpochSummary],
    test_accuracy: Right,
}

/// Images whose class is right.
#[derive(Serialize)]
struct Right {
    correct: usize,
    images: usize,
}

/// The file's content.
pub(super) fn summary(
    trained: &Trained,
    steps_per_epoch: usize,
    correct: usize,
    images: usize,
) -> anyhow::Result<Vec<u8>> {
    let summary = Summary {
        format: "onnx2int training 1",
        recipe: settings(trained.recipe()),
        steps_per_epoch,
        epochs: trained.history(),
        test_accuracy: Right { correct, images },
    };
    let mut text = serde_json::to_vec_pretty(&summary)?;
    text.push(b'\n');
    Ok(text)
}

/// A recipe's settings as a JSON object.
pub(super) fn settings(recipe: &onnx2int_training::Recipe) -> serde_json::Map<String, serde_json::Value> {
    recipe.settings().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}
