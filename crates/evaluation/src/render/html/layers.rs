//! Layer by layer: how far the integers are from the floats.

use super::super::numbers::{percent, short, significant, thousands};
use super::summary::signed;
use super::{chart, escape, table};
use crate::{ActivationNoise, Histogram, LayerUse, MultiplierBits, Noise, NoiseSource, NoiseSources, Report};

/// Bars are of this many decibels: 8 bits give about 50 at best.
const FULL: f64 = 60.0;

/// What the parts of a bar of [`NoiseSource::ALL`] are called and drawn as.
const PARTS: [(&str, &str); 3] = [("weights", "part0"), ("activations", "part1"), ("rescale", "part2")];

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
    text += &sources(noise);
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
    text + &accumulators(noise)
}

/// What each source of noise does alone, and which is the loudest.
fn sources(noise: &Noise) -> String {
    let apart: Vec<(&ActivationNoise, &NoiseSources)> = noise
        .activations
        .iter()
        .filter_map(|activation| Some((activation, activation.sources.as_ref()?)))
        .collect();
    let Some((last, sources)) = apart.last() else {
        return "<p>Its sources are not told apart: that takes the stage <code>integer</code>, and a quantized model whose weights have the \
                names that <code>onnx2int quantize</code> gives them.</p>\n"
            .to_owned();
    };
    let mut text = match sources.dominant() {
        None => String::new(),
        Some(loudest) => format!(
            "<p>At <code>{}</code> the {} dominates: alone it leaves {} dB; {}.</p>\n",
            escape::text(&last.tensor),
            loudest.name(),
            decibels(sources.each()[loudest as usize]),
            others(sources, loudest)
        ),
    };
    let rows: Vec<Vec<String>> = apart
        .iter()
        .map(|(activation, sources)| {
            let mut cells = vec![escape::text(&activation.tensor), chart::parts(sources.shares(), PARTS)];
            cells.extend(NoiseSource::ALL.into_iter().zip(sources.each()).map(|(source, level)| {
                let level = decibels(level);
                if sources.dominant() == Some(source) { format!("<strong>{level}</strong>") } else { level }
            }));
            cells
        })
        .collect();
    let titles = [
        "tensor",
        "their power",
        "#weight rounding, dB",
        "#activation rounding, dB",
        "#fixed-point rescale, dB",
    ];
    text += &table::table("Each source of noise alone, against the float model", &titles, &rows);
    text + "<p class=\"note\">Alone means: the float model with the rounded weights and biases; the quantized model with the float ones; \
            the codes of the last stage against those of the stage before it, which has float quantizers. \
            More decibels are less noise, the loudest source is bold, and parts are shares of the three powers, which need not add up to the noise of all together.</p>\n"
}

fn others(sources: &NoiseSources, loudest: NoiseSource) -> String {
    let rest = NoiseSource::ALL.into_iter().filter(|&source| source != loudest);
    let rest = rest.map(|source| match sources.each()[source as usize] {
        Some(level) => format!("the {} alone {level:.1} dB", source.name()),
        None => format!("the {} alone is exact", source.name()),
    });
    rest.collect::<Vec<String>>().join(", ")
}

/// The sums that were seen beside those that can be, and the widths of multipliers.
fn accumulators(noise: &Noise) -> String {
    if noise.layers.is_empty() {
        return String::new();
    }
    let used = |layer: &LayerUse| {
        let size = |low: i64, high: i64| low.unsigned_abs().max(high.unsigned_abs());
        size(layer.low, layer.high) as f64 / size(layer.proven_low, layer.proven_high).max(1) as f64
    };
    let rows: Vec<Vec<String>> = noise
        .layers
        .iter()
        .map(|layer| {
            let range = |low, high| format!("{} to {}", signed(low), signed(high));
            vec![
                escape::text(&layer.node),
                range(layer.low, layer.high),
                range(layer.proven_low, layer.proven_high),
                format!("{}<br>{}", percent(used(layer)), chart::bar(used(layer), "bar")),
                format!("{} of {}", layer.bits, layer.proven_bits),
                layer.multipliers.map_or_else(|| "none".to_owned(), multipliers),
            ]
        })
        .collect();
    let titles = [
        "layer",
        "#sums on these images",
        "#sums on any image",
        "#used",
        "#bits used of proven",
        "#bits of its multipliers",
    ];
    table::table("The sums of each integer layer, and the multipliers behind it", &titles, &rows)
        + "<p class=\"note\">Sums are without the bias. What is used is the greatest magnitude seen against the greatest that the weights allow; \
           small in parentheses is how many multipliers there are.</p>\n"
}

fn multipliers(multipliers: MultiplierBits) -> String {
    let MultiplierBits { count, least, greatest } = multipliers;
    let bits = if least == greatest { least.to_string() } else { format!("{least} to {greatest}") };
    format!("{bits} <small>({count})</small>")
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
