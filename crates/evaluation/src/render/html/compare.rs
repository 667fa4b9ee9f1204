//! Two runs side by side.

use std::collections::BTreeSet;

use super::super::numbers::{percent, percent_range, thousands};
use super::chart::{self, Axis};
use super::{escape, layers, summary, table, whole};
use crate::{LayerBound, Report, StageRow};

/// A page that sets report `b` beside report `a`; the names say which is which.
pub fn compare_html(a: (&str, &Report), b: (&str, &Report)) -> String {
    let pair = [a.1, b.1];
    let titles = [a.0, b.0];
    let parts = [
        ("outcome", "Outcome", outcome(pair)),
        ("accuracy", "Accuracy and size, stage by stage", accuracy(pair)),
        ("noise", "Noise, layer by layer", noise(pair)),
        ("sums", "Proven bits of sums", sums(pair)),
        ("parameters", "What the runs differ in", parameters(pair)),
    ];
    let parts: Vec<(String, String, String)> = parts
        .into_iter()
        .filter(|(_, _, content)| !content.is_empty())
        .map(|(id, title, content)| (id.to_owned(), title.to_owned(), content))
        .collect();
    let head = format!(
        "<p>A is <code>{}</code> ({}), B is <code>{}</code> ({}).</p>\n",
        escape::text(titles[0]),
        escape::text(&a.1.model),
        escape::text(titles[1]),
        escape::text(&b.1.model)
    );
    let footer = "Every number here is one of the two <code>report.json</code> files, or their difference.";
    whole("Two runs - onnx2int report", "Two runs", &head, &parts, std::iter::empty(), footer)
}

fn outcome([a, b]: [&Report; 2]) -> String {
    let mut text = String::new();
    if a.dataset != b.dataset {
        text += "<p class=\"lead\"><strong>The runs were scored on different images</strong>, so that their accuracies do not compare.</p>\n";
    }
    let (Some(last_a), Some(last_b)) = (a.stages.last(), b.stages.last()) else { return text };
    text += &format!(
        "<p class=\"lead\">A ends at <code>{}</code> with {}, B at <code>{}</code> with {}: {} percentage points.</p>\n",
        escape::text(&last_a.name),
        percent(last_a.accuracy.fraction),
        escape::text(&last_b.name),
        percent(last_b.accuracy.fraction),
        points(last_a, last_b)
    );
    text + "<p class=\"note\">Whether that is more than noise, the images say that only one of the two gets right: \
            <code>onnx2int evaluate --reference</code> with the score of the other run counts them.</p>\n"
}

fn points(a: &StageRow, b: &StageRow) -> String {
    format!("{:+.2}", (b.accuracy.fraction - a.accuracy.fraction) * 100.0)
}

fn accuracy(pair: [&Report; 2]) -> String {
    let [a, b] = pair.map(|report| report.stages.as_slice());
    let axis = Axis::around(a.iter().chain(b).flat_map(|row| [row.accuracy.low, row.accuracy.high]));
    let mut names: Vec<&str> = a.iter().map(|row| row.name.as_str()).collect();
    names.extend(b.iter().map(|row| row.name.as_str()).filter(|name| !a.iter().any(|row| row.name == *name)));
    let rows: Vec<Vec<String>> = names
        .iter()
        .map(|name| {
            let [in_a, in_b] = [a, b].map(|rows| rows.iter().find(|row| row.name == *name));
            let difference = match (in_a, in_b) {
                (Some(a), Some(b)) => points(a, b),
                _ => "-".to_owned(),
            };
            let size = |row: Option<&StageRow>| {
                row.map_or_else(|| "-".to_owned(), |row| summary::bytes(row.file_bytes))
            };
            vec![
                escape::text(name),
                interval(axis, "A", in_a),
                interval(axis, "B", in_b),
                difference,
                size(in_a),
                size(in_b),
            ]
        })
        .collect();
    let titles = ["stage", "A", "B", "#B - A, points", "#A, file", "#B, file"];
    table::table("Accuracy with its 95 % interval, on one scale", &titles, &rows)
}

fn interval(axis: Axis, run: &str, row: Option<&StageRow>) -> String {
    let Some(row) = row else { return "-".to_owned() };
    let accuracy = &row.accuracy;
    let range = percent_range(accuracy.low, accuracy.high);
    let chart = chart::accuracy(axis, run, accuracy, accuracy.fraction);
    format!("{}<small> {range}</small>{chart}", percent(accuracy.fraction))
}

fn noise([a, b]: [&Report; 2]) -> String {
    let (Some(a), Some(b)) = (&a.noise, &b.noise) else { return String::new() };
    let rows: Vec<Vec<String>> = a
        .activations
        .iter()
        .filter_map(|in_a| {
            let in_b = b.activations.iter().find(|in_b| in_b.tensor == in_a.tensor)?;
            let difference = in_a.decibels.zip(in_b.decibels);
            Some(vec![
                escape::text(&in_a.tensor),
                layers::decibels(in_a.decibels),
                layers::decibels(in_b.decibels),
                difference.map_or_else(|| "-".to_owned(), |(a, b)| format!("{:+.1}", b - a)),
            ])
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let titles = ["tensor", "#A", "#B", "#B - A"];
    table::table("Signal to quantization noise in decibels; more is better", &titles, &rows)
}

fn sums([a, b]: [&Report; 2]) -> String {
    let (Some(a), Some(b)) = (&a.evidence.overflow, &b.evidence.overflow) else { return String::new() };
    let rows: Vec<Vec<String>> = a
        .layers
        .iter()
        .filter_map(|in_a| {
            let in_b = b.layers.iter().find(|in_b| in_b.node == in_a.node)?;
            let bits = |layer: &LayerBound| format!("{} of 32", layer.bits);
            let products = thousands(in_a.products);
            Some(vec![escape::text(&in_a.node), products, bits(in_a), bits(in_b)])
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    table::table(
        "Bits that each layer's sums need for any input",
        &["layer", "#products in A", "#A", "#B"],
        &rows,
    )
}

fn parameters([a, b]: [&Report; 2]) -> String {
    let names: BTreeSet<&String> = a.parameters.keys().chain(b.parameters.keys()).collect();
    let shown = |report: &Report, name: &String| {
        report.parameters.get(name).map_or_else(|| "-".to_owned(), |value| escape::text(value))
    };
    let rows: Vec<Vec<String>> = names
        .into_iter()
        .filter(|name| a.parameters.get(*name) != b.parameters.get(*name))
        .map(|name| vec![escape::text(name), shown(a, name), shown(b, name)])
        .collect();
    if rows.is_empty() {
        return "<p>Their parameters are the same.</p>\n".to_owned();
    }
    table::table("Parameters that differ", &["parameter", "A", "B"], &rows)
}
