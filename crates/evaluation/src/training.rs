//! How the float network was trained: the file that `onnx2int train` writes beside its model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::EvaluationError;

/// The course of a training, and what decided it. [`Training::from_json`] reads one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Everything that decides which weights the training ends in, by name.
    pub recipe: BTreeMap<String, String>,
    /// Steps of the optimizer in each epoch; at least 1.
    pub steps_per_epoch: usize,
    /// The epochs from the first on; at least one.
    pub epochs: Vec<TrainingEpoch>,
    /// The trained network on the test images, before it was exported.
    pub test_accuracy: TestAccuracy,
}

/// One pass over the training images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingEpoch {
    /// Counted from 1.
    pub epoch: usize,
    /// The mean loss of its steps; finite and not negative, as every loss here.
    pub training_loss: f64,
    /// The share of validation images that are right after it, in `[0, 1]`, unless there are none.
    pub validation_accuracy: Option<f64>,
    /// The mean loss of each of its parts, which are equally long and in order; at least one.
    pub losses: Vec<f64>,
}

/// How many images of all are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestAccuracy {
    /// Those whose class is the label; at most `images`.
    pub correct: usize,
    /// All of them; at least 1.
    pub images: usize,
}

impl Training {
    /// The schema of training files.
    pub const SCHEMA: &'static str = "onnx2int-training/1";

    /// The training as a file. It holds nothing that differs between two runs of a recipe.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct File<'a> {
            schema: &'static str,
            #[serde(flatten)]
            training: &'a Training,
        }
        let file = File { schema: Self::SCHEMA, training: self };
        let mut text = serde_json::to_string_pretty(&file).expect("text, numbers and lists are JSON");
        text.push('\n');
        text
    }

    /// Parses a training file.
    ///
    /// # Errors
    /// [`EvaluationError::Schema`], [`EvaluationError::Json`] or [`EvaluationError::DamagedTraining`].
    pub fn from_json(text: &str) -> Result<Self, EvaluationError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        const WHAT: &str = "training file";
        let invalid = |source| EvaluationError::Json { what: WHAT, schema: Self::SCHEMA, source };
        // The schema first: another version is told as such, not as a missing entry.
        let head: Head = serde_json::from_str(text).map_err(invalid)?;
        if head.schema != Self::SCHEMA {
            return Err(EvaluationError::Schema { what: WHAT, expected: Self::SCHEMA, found: head.schema });
        }
        let training: Self = serde_json::from_str(text).map_err(invalid)?;
        training.check()?;
        Ok(training)
    }

    /// Refuses what no training tells of itself.
    pub(crate) fn check(&self) -> Result<(), EvaluationError> {
        let require = |holds: bool, entry: &str, expected: &'static str, found: String| {
            let entry = entry.to_owned();
            if holds { Ok(()) } else { Err(EvaluationError::DamagedTraining { entry, expected, found }) }
        };
        let loss = |entry: &str, loss: f64| {
            let holds = loss.is_finite() && loss >= 0.0;
            require(holds, entry, "a finite number not below 0", loss.to_string())
        };
        require(self.steps_per_epoch > 0, "steps_per_epoch", "at least 1", "0".to_owned())?;
        require(!self.epochs.is_empty(), "epochs", "at least one", "none".to_owned())?;
        for (number, epoch) in (1..).zip(&self.epochs) {
            let entry = |name: &str| format!("{name} of epoch {number}");
            let in_order = epoch.epoch == number;
            require(in_order, &entry("epoch"), "epochs counted from 1", epoch.epoch.to_string())?;
            loss(&entry("training_loss"), epoch.training_loss)?;
            if let Some(accuracy) = epoch.validation_accuracy {
                let is_share = (0.0..=1.0).contains(&accuracy);
                require(is_share, &entry("validation_accuracy"), "0 to 1 or null", accuracy.to_string())?;
            }
            require(!epoch.losses.is_empty(), &entry("losses"), "at least one", "none".to_owned())?;
            for &part in &epoch.losses {
                loss(&entry("losses"), part)?;
            }
        }
        let TestAccuracy { correct, images } = self.test_accuracy;
        let is_share = images > 0 && correct <= images;
        let found = format!("{correct} of {images}");
        require(is_share, "test_accuracy", "images, and no more correct ones than there are", found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "schema": "onnx2int-training/1",
        "recipe": {"recipe version": "2", "epochs": "2"},
        "steps_per_epoch": 6,
        "epochs": [
            {"epoch": 1, "training_loss": 0.5, "validation_accuracy": 0.9836, "losses": [0.75, 0.25]},
            {"epoch": 2, "training_loss": 0.1, "validation_accuracy": null, "losses": [0.125, 0]}
        ],
        "test_accuracy": {"correct": 9930, "images": 10000}
    }"#;

    #[test]
    fn a_file_is_read_and_survives_as_data() {
        let training = Training::from_json(FILE).unwrap();
        assert_eq!(training.recipe["recipe version"], "2");
        assert_eq!(training.epochs[1].validation_accuracy, None);
        assert_eq!(training.epochs[1].losses, [0.125, 0.0]);
        assert_eq!(training.test_accuracy, TestAccuracy { correct: 9930, images: 10_000 });
        assert_eq!(Training::from_json(&training.to_json()).unwrap(), training);
    }

    /// The message of an error and of what caused it.
    #[track_caller]
    fn refusal(text: &str) -> String {
        let error = Training::from_json(text).unwrap_err();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    }

    #[test]
    fn another_file_is_told_by_its_schema() {
        let other = FILE.replace("training/1", "training/2");
        assert_eq!(
            refusal(&other),
            "the training file has schema \"onnx2int-training/2\", expected \"onnx2int-training/1\"; make it anew with \
             this version"
        );
        let score = refusal(r#"{"schema": "onnx2int-score/2"}"#);
        assert!(score.contains("has schema \"onnx2int-score/2\""), "{score}");
    }

    #[test]
    fn a_file_cut_short_anywhere_is_refused() {
        for (end, _) in FILE.char_indices() {
            let message = refusal(&FILE[..end]);
            assert!(message.contains("not valid JSON of schema \"onnx2int-training/1\""), "{message}");
        }
    }

    #[test]
    fn numbers_that_no_training_has_are_refused() {
        let cases = [
            ("0.75", "NaN", "not valid JSON"),
            // What a NaN is written as.
            ("0.75", "null", "invalid type: null, expected f64"),
            ("0.75", "1e999", "number out of range"),
            (
                "0.75",
                "-0.75",
                "expected a finite number not below 0 as losses of epoch 1, found -0.75; train anew",
            ),
            ("0.75, 0.25", "", "expected at least one as losses of epoch 1, found none"),
            ("0.1,", "-0.1,", "as training_loss of epoch 2, found -0.1"),
            ("0.9836", "98.36", "expected 0 to 1 or null as validation_accuracy of epoch 1, found 98.36"),
            ("\"epoch\": 2", "\"epoch\": 3", "expected epochs counted from 1 as epoch of epoch 2, found 3"),
            ("_epoch\": 6", "_epoch\": 0", "expected at least 1 as steps_per_epoch, found 0"),
            ("9930", "10001", "as test_accuracy, found 10001 of 10000"),
            ("9930, \"images\": 10000", "0, \"images\": 0", "as test_accuracy, found 0 of 0"),
        ];
        for (old, new, message) in cases {
            assert_eq!(FILE.matches(old).count(), 1, "{old}");
            let found = refusal(&FILE.replace(old, new));
            assert!(found.contains(message), "{message}: {found}");
        }
        let mut training = Training::from_json(FILE).unwrap();
        training.epochs[0].losses[1] = f64::NAN;
        assert!(training.check().unwrap_err().to_string().contains("losses of epoch 1, found NaN"));
        training.epochs.clear();
        assert!(training.check().unwrap_err().to_string().contains("as epochs, found none"));
    }
}
