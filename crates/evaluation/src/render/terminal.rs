//! The stage table on a terminal: plain text, at most 100 columns.

use super::numbers::{agreement, gap, measure_footnotes, percent, percent_range, significant, units};
use super::table::Table;
use crate::{Report, RescaleBound, StageRow};

/// The widest name that leaves room for the other columns.
const NAME_WIDTH: usize = 16;

/// The report's stage table, and what it says beyond it in a few lines.
///
/// No line is longer than 100 characters, and there is a final line feed.
pub fn terminal(report: &Report) -> String {
    let mut text = stage_table(report).to_text();
    text.push('\n');
    for footnote in measure_footnotes(report) {
        text += &format!("{footnote}\n");
    }
    for line in summary(report) {
        text += &line;
        text.push('\n');
    }
    text
}

fn stage_table(report: &Report) -> Table {
    let mut table = Table::new([
        "stage",
        "#accuracy",
        "#95 % interval",
        "#as float",
        "#as before",
        "#gap",
        "#weights",
        "#nodes",
        "#f32",
    ]);
    for row in &report.stages {
        table.row([
            shortened(&row.name),
            percent(row.accuracy.fraction),
            percent_range(row.accuracy.low, row.accuracy.high),
            agreement(row.versus_float.as_ref()),
            agreement(row.versus_previous.as_ref()),
            gap(row.versus_previous.as_ref()),
            bytes(row.census.total_weight_bytes()),
            row.census.nodes.to_string(),
            row.census.float_tensors().to_string(),
        ]);
    }
    table
}

fn summary(report: &Report) -> Vec<String> {
    let mut lines = vec![
        format!("as float, as before: images with the same class; {} images in all", report.dataset.images),
        "gap: the largest difference of a logit from the row before; f32: float tensors".to_owned(),
    ];
    let changed: Vec<String> = report
        .stages
        .iter()
        .filter_map(|row| Some((row, changed_images(report, row)?)))
        .map(|(row, count)| format!("{} {count}", shortened(&row.name)))
        .collect();
    if !changed.is_empty() {
        lines.extend(wrapped("images whose class changed: ", &changed));
    }
    let worst = report
        .rescale_bounds
        .iter()
        .filter_map(|bound| Some((bound, bound.largest()?)))
        .reduce(|worst, next| if next.1.1 > worst.1.1 { next } else { worst });
    if let Some((bound, (channel, error))) = worst {
        let layer = shortened(&bound.layer);
        lines.push(format!(
            "rescale: within {}; error bound at most {} ({layer}, channel {channel})",
            units(RescaleBound::units(error)),
            significant(error)
        ));
    }
    lines
}

/// The images whose class changed at a row, if any did.
fn changed_images(report: &Report, row: &StageRow) -> Option<usize> {
    let count = report.changed_images.iter().filter(|changed| changed.stage == row.name).count();
    (count > 0).then_some(count)
}

/// Items after a head, broken into lines of at most 100 characters.
fn wrapped(head: &str, items: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = head.to_owned();
    for (index, item) in items.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        if line.chars().count() + separator.len() + item.chars().count() > 99 {
            lines.push(format!("{line},"));
            line = format!("  {item}");
        } else {
            line += separator;
            line += item;
        }
    }
    lines.push(line);
    lines
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_WIDTH {
        return name.to_owned();
    }
    let start: String = name.chars().take(NAME_WIDTH - 3).collect();
    format!("{start}...")
}

/// A size in decimal units: `940 B`, `6.5 MB`.
fn bytes(count: u64) -> String {
    let (unit, divisor) = match count {
        0..1000 => return format!("{count} B"),
        1000..1_000_000 => ("kB", 1e3),
        1_000_000..1_000_000_000 => ("MB", 1e6),
        _ => ("GB", 1e9),
    };
    format!("{:.1} {unit}", count as f64 / divisor)
}
