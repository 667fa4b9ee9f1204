//! Layer by layer: how far the integers are from the floats.

use super::super::numbers::{percent, short, significant, thousands};
use super::{chart, escape, table};
use crate::{ActivationNoise, Histogram, Noise, Report};

/// Bars are of this many decibels: 8 bits give about 50 at best.
const FULL: f64 = 60.0;

/// The noise of activations and weights, where it was measured.
pub(super) fn layers(report: &Report) -> String {
    let Some(noise) = report.noise.as_ref().filter(|noise| !noise.activations.is_empty()) else {
        return String::new();
    };
    let mut text = noisiest(noise);
    let rows: Vec<Vec<String>> = noise.activations.iter().map(activation).collect();
    let titles = [
        "tensor",
        "#signal to noise, dB",
        "distribution",
        "#range of the codes",
        "#one unit",
        "#beyond the codes",
    ];
    text += &table::table("Activations of the last stage against those of the float model", &titles, &rows);
    text += "<p class=\"note\">Signal to noise is <code>10 log10(sum x\u{b2} / sum (x - y)\u{b2})</code> of float elements x and what the codes stand for, y; \
             less is noisier, 6 dB are one bit, and a layer has the noise of all before it. In a distribution gray bars are the floats, the line is the integers, \
             and heights are square roots of counts.</p>\n";
    if !noise.weights.is_empty() {
        let rows: Vec<Vec<String>> = noise
            .weights
            .iter()
            .map(|weight| {
                vec![
                    escape::text(&weight.tensor),
                    level(weight.decibels),
                    thousands(weight.scales as u64),
                    weight.worst_channel.map_or_else(|| "-".to_owned(), |channel| channel.to_string()),
                    weight.worst_decibels.map_or_else(|| "-".to_owned(), |decibels| format!("{decibels:.1}")),
                ]
            })
            .collect();
        let titles = ["weights", "#signal to noise, dB", "#scales", "#worst channel", "#its dB"];
        text += &table::table("Weights against those of the float model", &titles, &rows);
    }
    text
}

fn noisiest(noise: &Noise) -> String {
    let heard = noise.activations.iter().filter_map(|activation| Some((activation.decibels?, activation)));
    let worst = heard.min_by(|a, b| a.0.total_cmp(&b.0));
    let clipped = noise
        .activations
        .iter()
        .filter(|activation| activation.beyond() > 0.0)
        .max_by(|a, b| a.beyond().total_cmp(&b.beyond()));
    let images = thousands(noise.images as u64);
    let mut text = match worst {
        None => format!("<p>On {images} images the integers are exactly the floats."),
        Some((decibels, activation)) => format!(
            "<p>The noisiest is <code>{}</code>: {decibels:.1} dB, measured on {images} images.",
            escape::text(&activation.tensor)
        ),
    };
    text += &match clipped {
        None => " No element lies beyond the codes of its layer.".to_owned(),
        Some(activation) => format!(
            " Most elements beyond the codes has <code>{}</code>: {}.",
            escape::text(&activation.tensor),
            percent(activation.beyond())
        ),
    };
    text + "</p>\n"
}

fn activation(activation: &ActivationNoise) -> Vec<String> {
    let range = activation.histogram.as_ref().map_or_else(
        || "-".to_owned(),
        |histogram| format!("{} to {}", significant(histogram.low), significant(histogram.high)),
    );
    let beyond =
        activation.histogram.as_ref().map_or_else(|| "-".to_owned(), |_| percent(activation.beyond()));
    vec![
        escape::text(&activation.tensor),
        level(activation.decibels),
        activation.histogram.as_ref().map_or_else(String::new, histogram),
        range,
        short(activation.scale),
        beyond,
    ]
}

/// `37.9`, or `exact` where there is no noise.
pub(super) fn decibels(decibels: Option<f64>) -> String {
    decibels.map_or_else(|| "exact".to_owned(), |decibels| format!("{decibels:.1}"))
}

fn level(level: Option<f64>) -> String {
    decibels(level) + &level.map_or_else(String::new, |level| chart::bar(level / FULL, "bar"))
}

fn histogram(histogram: &Histogram) -> String {
    let Histogram { float, integer, .. } = histogram;
    let most = float.iter().chain(integer).copied().max().unwrap_or(0).max(1);
    let height = |count: u64| (count as f64 / most as f64).sqrt() * 36.0;
    let mut bars = String::new();
    for (bin, &count) in float.iter().enumerate().filter(|(_, count)| **count > 0) {
        bars += &format!("M{} 38v-{:.1}h2.4v{1:.1}z", bin as f64 * 2.5, height(count));
    }
    let mut line = "M0 38".to_owned();
    for &count in integer {
        line += &format!("V{:.1}h2.5", 38.0 - height(count));
    }
    let peak =
        |bins: &[u64]| bins.iter().enumerate().max_by_key(|(_, count)| **count).map_or(0, |(bin, _)| bin);
    let bins = float.len().max(1);
    let center = |bin: usize| {
        let share = (bin as f64 + 0.5) / bins as f64;
        significant(histogram.low + share * (histogram.high - histogram.low))
    };
    format!(
        "<svg class=\"histogram\" role=\"img\" aria-label=\"Distribution over the range of the codes: floats are most frequent near {}, integers near {}\" \
         width=\"160\" height=\"40\" viewBox=\"0 0 160 40\"><path class=\"float\" d=\"{bars}\"/><path class=\"integer\" d=\"{line}V38\"/></svg>",
        center(peak(float)),
        center(peak(integer))
    )
}
