//! `sweep.json`: what was measured, as the report reads it.
//!
//! `crates/evaluation/tests/sweep.json` is such a file, which `onnx2int_evaluation` reads and a test here writes: the two
//! agree without one depending on the other.

use std::fmt::Write as _;

use anyhow::Context;
use onnx2int_statistics::Accuracy;
use serde::Serialize;

use super::measure::Outcome;
use super::plan::{Chart, Series, Setting, Varied};

const SCHEMA: &str = "onnx2int-sweep/1";

/// All lines.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sweep {
    schema: &'static str,
    /// SHA-256 of the float model's file: a sweep says nothing of another one.
    float_digest: String,
    charts: Vec<Chart<Point>>,
}

/// What came of one setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    /// Where it stands on the axis.
    at: u32,
    setting: Setting,
    #[serde(flatten)]
    found: Found,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Found {
    Measured { accuracy: Accuracy, agreeing: usize },
    Refused { reason: String },
}

impl Found {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Measured { images, correct, agreeing } => {
                Self::Measured { accuracy: Accuracy::of(correct, images), agreeing }
            }
            Outcome::Refused { reason } => Self::Refused { reason },
        }
    }
}

impl Sweep {
    /// The plan with what came of each of its settings.
    ///
    /// # Errors
    /// A setting of which nothing is known.
    pub(crate) fn new(
        float_digest: String,
        charts: Vec<Chart<Setting>>,
        outcome: impl Fn(&Setting) -> Option<Outcome>,
    ) -> anyhow::Result<Self> {
        let point = |varied: Varied, setting: Setting| -> anyhow::Result<Point> {
            let outcome =
                outcome(&setting).with_context(|| format!("{} was not measured", setting.label()))?;
            Ok(Point { at: varied.of(&setting), setting, found: Found::of(outcome) })
        };
        let series = |varied: Varied, Series { name, points }: Series<Setting>| {
            let points =
                points.into_iter().map(|setting| point(varied, setting)).collect::<Result<_, _>>()?;
            Ok(Series { name, points })
        };
        let chart = |Chart { varied, series: lines }: Chart<Setting>| -> anyhow::Result<Chart<Point>> {
            let series = lines.into_iter().map(|line| series(varied, line)).collect::<anyhow::Result<_>>()?;
            Ok(Chart { varied, series })
        };
        let charts = charts.into_iter().map(chart).collect::<Result<_, _>>()?;
        Ok(Self { schema: SCHEMA, float_digest, charts })
    }

    /// Each line in a line: its least and its greatest accuracy, and where they are.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        for chart in &self.charts {
            for Series { name, points } in &chart.series {
                let varied = match chart.varied {
                    Varied::MantissaBits => "mantissa bits",
                    Varied::CalibrationSamples => "calibration samples",
                    Varied::WeightBits => "weight bits",
                };
                let _ = write!(text, "{varied}, {name}:");
                let found: Vec<(u32, f64)> = points
                    .iter()
                    .filter_map(|point| match point.found {
                        Found::Measured { accuracy, .. } => Some((point.at, accuracy.fraction)),
                        Found::Refused { .. } => None,
                    })
                    .collect();
                let worst = found.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a });
                let best = found.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
                let _ = match (worst, best) {
                    (Some(worst), Some(best)) if worst.1 < best.1 => write!(
                        text,
                        " {:.2} % at {} to {:.2} % at {}",
                        100.0 * worst.1,
                        worst.0,
                        100.0 * best.1,
                        best.0
                    ),
                    (Some((_, share)), _) => write!(text, " {:.2} %", 100.0 * share),
                    (None, _) => Ok(()),
                };
                let refused = points.len() - found.len();
                if refused > 0 {
                    let _ = write!(text, " ({refused} of {} refused)", points.len());
                }
                text.push('\n');
            }
        }
        text.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(setting: &Setting) -> Option<Outcome> {
        let measured =
            |bits: u32, agreeing| Outcome::Measured { images: 32, correct: bits as usize, agreeing };
        Some(match (setting.mantissa_bits, setting.per_axis) {
            (2, _) => Outcome::Refused { reason: "node \"fc\": m = 0".to_owned() },
            (bits, true) => measured(bits, 30),
            (_, false) => measured(setting.weight_bits, 9),
        })
    }

    /// Two lines of two points.
    fn sweep() -> Sweep {
        let mantissa = |mantissa_bits| Setting { mantissa_bits, ..Setting::default() };
        let weights = |weight_bits| Setting { weight_bits, per_axis: false, ..Setting::default() };
        let series =
            |name: &str, points: [Setting; 2]| Series { name: name.to_owned(), points: points.to_vec() };
        let charts = vec![
            Chart {
                varied: Varied::MantissaBits,
                series: vec![series("default settings", [mantissa(2), mantissa(23)])],
            },
            Chart {
                varied: Varied::WeightBits,
                series: vec![series("per tensor", [weights(2), weights(8)])],
            },
        ];
        Sweep::new("ab".repeat(32), charts, outcome).unwrap()
    }

    #[test]
    fn the_file_is_the_one_that_the_report_reads() {
        let written = serde_json::to_string_pretty(&sweep()).unwrap() + "\n";
        let read = include_str!("../../../evaluation/tests/sweep.json");
        assert_eq!(written, read.replace("\r\n", "\n"));
    }

    #[test]
    fn a_summary_has_both_ends_and_what_was_refused() {
        let expected = "mantissa bits, default settings: 71.88 % (1 of 2 refused)\n\
                        weight bits, per tensor: 6.25 % at 2 to 25.00 % at 8";
        assert_eq!(sweep().summary(), expected);
    }

    #[test]
    fn nothing_is_written_of_what_was_not_measured() {
        let error = Sweep::new(String::new(), super::super::plan::charts(), |_| None).unwrap_err();
        assert!(error.to_string().contains("was not measured"), "{error}");
    }
}
