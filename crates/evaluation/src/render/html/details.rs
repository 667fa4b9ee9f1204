//! The end of the page: files, rescale bounds, parameters, versions.

use std::collections::BTreeMap;

use super::super::numbers::{significant, thousands};
use super::{escape, summary, table};
use crate::{Report, RescaleBound};

/// Tables that few look at.
pub(super) fn details(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .stages
        .iter()
        .map(|row| {
            vec![
                escape::text(&row.name),
                escape::text(&row.file),
                summary::bytes(row.file_bytes),
                summary::bytes(row.census.total_weight_bytes()),
                thousands(row.census.nodes as u64),
                escape::text(&row.runtime),
                format!("<code>{}</code>", escape::text(&row.digest)),
            ]
        })
        .collect();
    let titles = ["stage", "file", "#file size", "#constants", "#nodes", "scored by", "SHA-256"];
    let mut text = table::table("Files", &titles, &rows);
    if !report.rescale_bounds.is_empty() {
        text += &rescales(&report.rescale_bounds);
    }
    text += &pairs("Parameters", "parameter", &report.parameters);
    text + &pairs("Versions", "software", &report.versions)
}

fn rescales(bounds: &[RescaleBound]) -> String {
    let rows: Vec<Vec<String>> = bounds
        .iter()
        .map(|bound| {
            let (channel, error) = bound.largest().unwrap_or((0, 0.0));
            vec![
                escape::text(&bound.layer),
                thousands(bound.errors.len() as u64),
                significant(error),
                channel.to_string(),
            ]
        })
        .collect();
    let titles = ["layer", "#channels", "#largest bound, in output units", "#in channel"];
    table::table("How far each rescale is from the exact result before its last rounding", &titles, &rows)
}

fn pairs(caption: &str, head: &str, pairs: &BTreeMap<String, String>) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> =
        pairs.iter().map(|(name, value)| vec![escape::text(name), escape::text(value)]).collect();
    table::table(caption, &[head, "value"], &rows)
}
