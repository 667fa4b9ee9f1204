//! What accuracy costs: the file that `cargo xtask sweep` writes beside the models of a run.

use serde::{Deserialize, Serialize};

use crate::json_text::from_json;
use crate::{Accuracy, EvaluationError};

/// Accuracy at other settings than those of the run. [`Sweep::from_json`] reads one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// SHA-256 of the float model's file, in hexadecimal: it says nothing of another one.
    pub float_digest: String,
    /// One for each thing that is varied.
    pub charts: Vec<SweepChart>,
}

/// Lines over one axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepChart {
    /// What differs along a line.
    pub varied: Varied,
    /// The lines.
    pub series: Vec<SweepSeries>,
}

/// What differs along a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Varied {
    /// Bits of the multipliers of the last stage.
    MantissaBits,
    /// Training images that ranges are observed on.
    CalibrationSamples,
    /// Bits of a weight.
    WeightBits,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepSeries {
    /// What tells it from the others.
    pub name: String,
    /// In the order of `at`.
    pub points: Vec<SweepPoint>,
}

/// What came of one setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// Where it stands on the axis; at least 1.
    pub at: u32,
    /// All of the setting.
    pub setting: SweepSetting,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: SweepOutcome,
}

/// How a model was taken from floats to integers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepSetting {
    /// Bits of the multipliers of the last stage.
    pub mantissa_bits: u32,
    /// Bits of a weight.
    pub weight_bits: u32,
    /// One weight scale for each channel, not one for each layer.
    pub per_axis: bool,
    /// How the range of an activation was chosen.
    pub calibration: String,
    /// Training images that ranges were observed on.
    pub calibration_samples: u32,
}

/// What came of a setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepOutcome {
    /// The integer-only model was made and scored.
    Measured {
        /// How often it is right.
        accuracy: Accuracy,
        /// The images with the class of the float model.
        agreeing: usize,
    },
    /// There is no such model.
    Refused {
        /// Why not.
        reason: String,
    },
}

impl SweepPoint {
    /// The accuracy, unless the setting was refused.
    pub(crate) fn accuracy(&self) -> Option<&Accuracy> {
        match &self.outcome {
            SweepOutcome::Measured { accuracy, .. } => Some(accuracy),
            SweepOutcome::Refused { .. } => None,
        }
    }
}

impl Sweep {
    /// The schema of sweep files.
    pub const SCHEMA: &'static str = "onnx2int-sweep/1";

    /// Parses `sweep.json`.
    ///
    /// # Errors
    /// [`EvaluationError::Schema`], [`EvaluationError::Json`] or [`EvaluationError::DamagedSweep`].
    pub fn from_json(text: &str) -> Result<Self, EvaluationError> {
        let sweep: Self = from_json("sweep", Self::SCHEMA, text)?;
        sweep.check()?;
        Ok(sweep)
    }

    /// Refuses what no sweep tells of itself.
    pub(crate) fn check(&self) -> Result<(), EvaluationError> {
        let points = self.charts.iter().flat_map(|chart| &chart.series).flat_map(|series| {
            series.points.iter().map(move |point| (format!("{:?} at {}", series.name, point.at), point))
        });
        for (entry, point) in points {
            let damaged = |expected, found| EvaluationError::DamagedSweep { entry, expected, found };
            if point.at == 0 {
                return Err(damaged("a place of at least 1", "0".to_owned()));
            }
            let SweepOutcome::Measured { accuracy, agreeing } = &point.outcome else { continue };
            let Accuracy { images, correct, fraction, low, high } = *accuracy;
            let ordered = 0.0 <= low && low <= fraction && fraction <= high && high <= 1.0;
            if images == 0 || correct > images || *agreeing > images || !ordered {
                let found = format!(
                    "{correct} right and {agreeing} as float of {images}, {low} to {fraction} to {high}"
                );
                return Err(damaged("an accuracy with its interval", found));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../tests/sweep.json");

    #[test]
    fn the_file_of_the_task_is_read() {
        let sweep = Sweep::from_json(FILE).unwrap();
        assert_eq!(sweep.float_digest, "ab".repeat(32));
        let [mantissas, weights] = sweep.charts.as_slice() else { panic!("two charts") };
        assert_eq!([mantissas.varied, weights.varied], [Varied::MantissaBits, Varied::WeightBits]);
        let [refused, measured] = mantissas.series[0].points.as_slice() else { panic!("two points") };
        assert_eq!(refused.outcome, SweepOutcome::Refused { reason: "node \"fc\": m = 0".to_owned() });
        assert_eq!((measured.at, measured.accuracy()), (23, Some(&Accuracy::of(23, 32))));
        assert!(!weights.series[0].points[0].setting.per_axis);
    }

    #[test]
    fn what_no_sweep_tells_is_refused() {
        for (old, new) in [
            ("\"at\": 23", "\"at\": 0"),
            ("\"agreeing\": 30", "\"agreeing\": 33"),
            ("\"correct\": 23", "\"correct\": 33"),
            ("\"fraction\": 0.71875", "\"fraction\": 7.1875"),
            ("\"varied\": \"weight_bits\"", "\"varied\": \"moods\""),
            ("onnx2int-sweep/1", "onnx2int-sweep/9"),
        ] {
            assert!(FILE.contains(old), "{old}");
            assert!(Sweep::from_json(&FILE.replacen(old, new, 1)).is_err(), "{new}");
        }
    }
}
