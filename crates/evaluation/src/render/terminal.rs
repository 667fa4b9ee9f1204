//! The stage table on a terminal: plain text, at most 120 columns.

use super::numbers::{
    accuracy, agreement, gap, lost_and_gained, measure_footnotes, percent, percent_range, significant, units,
};
use super::table::Table;
use crate::{Report, RescaleBound, StageRow};

/// The widest name that leaves room for the other columns.
const NAME_WIDTH: usize = 16;

/// The longest line, which a table of the longest names and numbers reaches.
const WIDTH: usize = 120;

/// The report's stage table, and what it says beyond it in a few lines.
///
/// No line is longer than 120 characters, and there is a final line feed.
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
        "#vs float",
        "#p",
        "#as before",
        "#gap",
        "#weights",
        "#nodes",
        "#f32",
    ]);
    for row in &report.stages {
        let [versus_float, p] = lost_and_gained(row.versus_float.as_ref());
        table.row([
            shortened(&row.name),
            percent(row.accuracy.fraction),
            percent_range(row.accuracy.low, row.accuracy.high),
            agreement(row.versus_float.as_ref()),
            versus_float,
            p,
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
    let mut lines = accuracies(report);
    lines.extend([
        format!("as float, as before: images with the same class; {} images in all", report.dataset.images),
        "vs float: images lost and gained; p: how often chance alone makes such a difference (McNemar, mid-p)"
            .to_owned(),
        "gap: the largest difference of a logit from the row before; f32: float tensors".to_owned(),
    ]);
    let changed: Vec<String> = report.stages.iter().filter_map(|row| changed_images(report, row)).collect();
    if !changed.is_empty() {
        lines.extend(wrapped("images whose class changed from the row before: ", &changed, ", "));
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

/// Each accuracy in words, rows in sequence that do not differ in one line.
fn accuracies(report: &Report) -> Vec<String> {
    let said = |row: &StageRow| {
        let test = row
            .versus_float
            .as_ref()
            .map(|float| format!("against {}: {}", shortened(&float.reference), float.paired_test));
        (accuracy(&row.accuracy), test)
    };
    let runs = report.stages.chunk_by(|row, next| said(row) == said(next));
    runs.flat_map(|rows| {
        let names = match rows {
            [first, .., last] => format!("{} to {}: ", shortened(&first.name), shortened(&last.name)),
            rows => rows.iter().map(|row| format!("{}: ", shortened(&row.name))).collect(),
        };
        let (accuracy, test) = said(&rows[0]);
        let items: Vec<String> = std::iter::once(accuracy).chain(test).collect();
        wrapped(&names, &items, "; ")
    })
    .collect()
}

/// The images whose class changed at a row, if any did, and what that means for its accuracy.
fn changed_images(report: &Report, row: &StageRow) -> Option<String> {
    let count = report.changed_images.iter().filter(|changed| changed.stage == row.name).count();
    let test = row.versus_previous.as_ref()?.paired_test;
    (count > 0).then(|| format!("{} {count} ({test})", shortened(&row.name)))
}

/// Items after a head, broken into lines of at most [`WIDTH`] characters.
fn wrapped(head: &str, items: &[String], separator: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = head.to_owned();
    for (index, item) in items.iter().enumerate() {
        let before = if index == 0 { "" } else { separator };
        // One character is left for the separator at a line's end.
        if line.chars().count() + before.len() + item.chars().count() >= WIDTH {
            lines.push(format!("{line}{}", before.trim_end()));
            line = format!("  {item}");
        } else {
            line += before;
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
