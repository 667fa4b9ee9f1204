//! `report.json`: the whole report, for programs.

use crate::Report;
use crate::json_text::to_json;

/// The report as JSON, which [`Report::from_json`] reads back.
pub fn json(report: &Report) -> String {
    to_json(report)
}
