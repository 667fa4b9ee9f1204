//! How long each step took and how much memory it needed: what a report leaves out, because it
//! differs from run to run.

use serde::{Deserialize, Serialize};

use crate::EvaluationError;
use crate::json_text::{from_json, to_json};

/// The schema of timing files.
pub const TIMING_SCHEMA: &str = "onnx2int-timing/1";

/// The latest run of every step, in the order in which the steps first ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// [`TIMING_SCHEMA`].
    pub schema: String,
    /// One entry a step.
    pub entries: Vec<TimingEntry>,
}

/// One run of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingEntry {
    /// The step's name: `quantize`, `transform scale-out`, `evaluate folded`.
    pub step: String,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// The most memory the process had resident, in bytes, where the system tells it.
    pub peak_memory_bytes: Option<u64>,
    /// The command, as a person would type it.
    pub command: String,
    /// When it ended, as RFC 3339 in UTC.
    pub timestamp: String,
}

impl Default for Timing {
    fn default() -> Self {
        Self { schema: TIMING_SCHEMA.to_owned(), entries: Vec::new() }
    }
}

impl Timing {
    /// Adds an entry, in the place of an earlier one of the same step.
    pub fn record(&mut self, entry: TimingEntry) {
        match self.entries.iter_mut().find(|earlier| earlier.step == entry.step) {
            Some(earlier) => *earlier = entry,
            None => self.entries.push(entry),
        }
    }

    /// The contents of a timing file.
    pub fn to_json(&self) -> String {
        to_json(self)
    }

    /// Parses a timing file.
    ///
    /// # Errors
    /// [`EvaluationError::Schema`] or [`EvaluationError::Json`].
    pub fn from_json(text: &str) -> Result<Self, EvaluationError> {
        from_json("timing file", TIMING_SCHEMA, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(step: &str, seconds: f64, peak_memory_bytes: Option<u64>) -> TimingEntry {
        TimingEntry {
            step: step.to_owned(),
            seconds,
            peak_memory_bytes,
            command: format!("onnx2int {step}"),
            timestamp: "2026-01-02T03:04:05Z".to_owned(),
        }
    }

    #[test]
    fn a_step_that_ran_again_replaces_its_entry() {
        let mut timing = Timing::default();
        timing.record(entry("train", 300.5, Some(1 << 30)));
        timing.record(entry("quantize", 1.25, None));
        timing.record(entry("train", 0.1 + 0.2, None));
        assert_eq!(timing.entries, [entry("train", 0.1 + 0.2, None), entry("quantize", 1.25, None)]);
        assert_eq!(Timing::from_json(&timing.to_json()).unwrap(), timing);
    }

    #[test]
    fn a_report_is_not_taken_for_a_timing_file() {
        let error = Timing::from_json(r#"{"schema": "onnx2int-report/1"}"#).unwrap_err();
        assert!(matches!(error, EvaluationError::Schema { .. }), "{error}");
    }
}
