//! The top of the page: what came out, in sentences and in one chart.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::super::numbers::{percent, percent_range, thousands};
use super::chart::{self, Axis};
use super::{escape, table};
use crate::{OverflowProof, Report, RuntimeBits, SameBits, StageRow, Verdict};

/// What is under the title.
pub(super) fn head(report: &Report) -> String {
    let version =
        report.versions.get("onnx2int").map_or_else(String::new, |version| format!(", onnx2int {version}"));
    format!(
        "<p>{} stages, scored on {} images of {}{}.</p>\n",
        report.stages.len(),
        thousands(report.dataset.images as u64),
        escape::text(&report.dataset.name),
        escape::text(&version)
    )
}

/// How a question came out. Each has a sign and a word of its own: color only repeats them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    NotChecked,
}

impl Answer {
    const fn class(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::NotChecked => "unknown",
        }
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Yes => "\u{2713} yes",
            Self::No => "\u{2717} no",
            Self::NotChecked => "? not checked",
        }
    }
}

struct Question {
    /// The word of the verdict for each answer: yes, no, not checked.
    words: [&'static str; 3],
    title: &'static str,
    answer: Answer,
    reason: String,
}

/// The verdict in a sentence, and a card for each of its four parts.
pub(super) fn verdict(report: &Report) -> String {
    let Some(last) = report.stages.last() else { return "<p>No model was scored.</p>\n".to_owned() };
    let questions = [
        integer_only(last),
        accuracy_kept(report, last),
        overflow_proven(report, last),
        same_bits(report, last),
    ];
    let words = questions.each_ref().map(|question| match question.answer {
        Answer::Yes => question.words[0],
        Answer::No => question.words[1],
        Answer::NotChecked => question.words[2],
    });
    let mut text = format!(
        "<p class=\"lead\"><code>{}</code> is {}; its accuracy is {}; overflow is {}; bits across runtimes are {}.</p>\n<div class=\"cards\">\n",
        escape::text(&last.name),
        words[0],
        words[1],
        words[2],
        words[3]
    );
    for Question { title, answer, reason, .. } in &questions {
        text += &format!(
            "<div class=\"card {}\"><h3>{title}</h3><p class=\"answer\">{}</p><p>{reason}</p></div>\n",
            answer.class(),
            answer.sign()
        );
    }
    text + "</div>\n"
}

fn integer_only(last: &StageRow) -> Question {
    let (floats, tensors) = (last.census.float_tensors(), last.census.tensors.values().sum::<usize>());
    Question {
        words: ["integer-only", "<strong>not integer-only</strong>", ""],
        title: "Integers only",
        answer: if floats == 0 { Answer::Yes } else { Answer::No },
        reason: format!("{floats} of {tensors} tensors of the last stage hold floats."),
    }
}

fn accuracy_kept(report: &Report, last: &StageRow) -> Question {
    let words = ["kept", "<strong>not kept</strong>", "not compared with a float model"];
    let title = "Accuracy kept";
    let Some(versus) = &last.versus_float else {
        let reason = "There is no float model among the stages to compare with.".to_owned();
        return Question { words, title, answer: Answer::NotChecked, reason };
    };
    let test = &versus.paired_test;
    let float = report.stages.iter().find(|row| row.name == versus.reference);
    let before = float.map_or_else(String::new, |row| format!("{} before, ", percent(row.accuracy.fraction)));
    Question {
        words,
        title,
        answer: if test.verdict() == Verdict::RealLoss { Answer::No } else { Answer::Yes },
        reason: format!(
            "{before}{} now: {}.",
            percent(last.accuracy.fraction),
            escape::text(&test.to_string())
        ),
    }
}

fn overflow_proven(report: &Report, last: &StageRow) -> Question {
    let (answer, reason) = match proof(report, last) {
        Some(proof) => (
            Answer::Yes,
            format!(
                "A certificate of this file holds: {} bounds, for any input whatsoever.",
                thousands(proof.obligations as u64)
            ),
        ),
        None => (
            Answer::NotChecked,
            "No certificate of this file was found; <code>cargo xtask prove</code> makes one.".to_owned(),
        ),
    };
    Question {
        words: ["proven impossible", "possible", "not checked"],
        title: "Overflow proven impossible",
        answer,
        reason,
    }
}

/// Only what is of the very file that the report is about.
fn proof<'a>(report: &'a Report, last: &StageRow) -> Option<&'a OverflowProof> {
    report.evidence.overflow.as_ref().filter(|proof| proof.digest == last.digest)
}

fn same_bits(report: &Report, last: &StageRow) -> Question {
    let evidence = report.evidence.same_bits.as_ref().filter(|evidence| evidence.digest == last.digest);
    let (answer, reason) = match evidence {
        Some(SameBits { runtimes, .. }) if !runtimes.is_empty() => {
            let named = |runtime: &RuntimeBits| {
                let version = runtime.version.iter().map(|version| format!(" {}", escape::text(version)));
                let verdict = if runtime.equal { "" } else { " <strong>differs</strong>" };
                escape::text(&runtime.name) + &version.collect::<String>() + verdict
            };
            // Most were asked about the same images.
            let mut by_images: BTreeMap<Reverse<usize>, Vec<String>> = BTreeMap::new();
            for runtime in runtimes {
                by_images.entry(Reverse(runtime.images)).or_default().push(named(runtime));
            }
            let list: Vec<String> = by_images
                .iter()
                .map(|(images, names)| {
                    format!("on {} images {}", thousands(images.0 as u64), names.join(", "))
                })
                .collect();
            let all = runtimes.iter().all(|runtime| runtime.equal);
            let equal = runtimes.iter().filter(|runtime| runtime.equal).count();
            let answer = if all { Answer::Yes } else { Answer::No };
            (answer, format!("Equal in {equal} of {} runtimes: {}.", runtimes.len(), list.join("; ")))
        }
        _ => (
            Answer::NotChecked,
            "No comparison of this file was found; <code>cargo xtask conform</code> makes one.".to_owned(),
        ),
    };
    Question {
        words: ["equal", "<strong>not equal</strong>", "not checked"],
        title: "Same bits in every runtime",
        answer,
        reason,
    }
}

/// The accuracy of each stage as a chart in a table, with the size of its file.
pub(super) fn accuracy(report: &Report) -> String {
    let Some(first) = report.stages.first() else { return String::new() };
    let ends = report.stages.iter().flat_map(|row| [row.accuracy.low, row.accuracy.high]);
    let axis = Axis::around(ends);
    let largest = report.stages.iter().map(|row| row.file_bytes).max().unwrap_or(0).max(1);
    let mut text = format!("<p>{}</p>\n", where_lost(report));
    text += "<table class=\"stacked\" role=\"table\">\n<caption>Accuracy with its 95 % interval, and the size of the file</caption>\n\
             <thead role=\"rowgroup\"><tr role=\"row\"><th role=\"columnheader\" scope=\"col\">stage</th><th role=\"columnheader\" scope=\"col\" class=\"number\">right</th>\
             <th role=\"columnheader\" scope=\"col\">interval</th><th role=\"columnheader\" scope=\"col\" class=\"number\">classes changed</th>\
             <th role=\"columnheader\" scope=\"col\">file</th></tr></thead>\n<tbody role=\"rowgroup\">\n";
    for row in &report.stages {
        let accuracy = &row.accuracy;
        let name = escape::text(&row.name);
        let range = percent_range(accuracy.low, accuracy.high);
        let chart = chart::accuracy(axis, &name, accuracy, first.accuracy.fraction);
        let changed = row.versus_previous.as_ref().map_or_else(
            || "-".to_owned(),
            |versus| {
                let test = versus.paired_test;
                let changed = report.dataset.images.saturating_sub(versus.agreeing);
                format!("{} <small>(-{} +{})</small>", thousands(changed as u64), test.lost, test.gained)
            },
        );
        text += &format!(
            "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\">{name}</th><td role=\"cell\" class=\"number\">{}</td>\
             <td role=\"cell\" class=\"wide\">{chart}<small>{range}</small></td>\
             <td role=\"cell\" class=\"number\"><span class=\"phone\">changed: </span>{changed}</td>\
             <td role=\"cell\" class=\"size\">{}<small>{}</small></td></tr>\n",
            percent(accuracy.fraction),
            chart::bar(row.file_bytes as f64 / largest as f64, "bar"),
            bytes(row.file_bytes)
        );
    }
    text + "</tbody>\n</table>\n<p class=\"note\">The dot is the share of images that are right, the line Wilson's 95 % interval, the dashed line the \
            first stage. The intervals are of one accuracy each; whether two stages differ is said by the images that only one of them gets right, \
            lost (-) and gained (+), counted against the row above.</p>\n"
}

/// Which step lost most, in a sentence.
fn where_lost(report: &Report) -> String {
    let net = |row: &&StageRow| {
        row.versus_previous
            .as_ref()
            .map_or(0, |versus| versus.paired_test.lost as i64 - versus.paired_test.gained as i64)
    };
    match report.stages.iter().max_by_key(net).filter(|row| net(row) > 0) {
        None => "No step lost more images than it gained.".to_owned(),
        Some(row) => format!(
            "Most was lost at <code>{}</code>: {} against the stage before.",
            escape::text(&row.name),
            row.versus_previous
                .as_ref()
                .map_or_else(String::new, |versus| escape::text(&versus.paired_test.to_string()))
        ),
    }
}

/// `1.6 MB`.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.2} MB", bytes as f64 / 1e6),
    }
}

/// The proven range of each layer's sums, where there is a certificate of the last file.
pub(super) fn overflow(report: &Report) -> String {
    let Some(proof) = report.stages.last().and_then(|last| proof(report, last)) else {
        return "<p>Not checked: no certificate of the last stage's file was found.</p>\n".to_owned();
    };
    let tightest = proof.layers.iter().max_by_key(|layer| layer.bits);
    let mut text =
        "<p>No: for any input whatsoever, every sum, partial sum, product and index stays inside its type."
            .to_owned();
    if let Some(layer) = tightest {
        text += &format!(
            " The tightest is <code>{}</code>, whose sums need {} of 32 bits.",
            escape::text(&layer.node),
            layer.bits
        );
    }
    text += "</p>\n";
    let rows: Vec<Vec<String>> = proof
        .layers
        .iter()
        .map(|layer| {
            vec![
                escape::text(&layer.node),
                format!("{}<br>{}", layer.bits, chart::bar(f64::from(layer.bits) / 32.0, "bar")),
                escape::text(&layer.op),
                thousands(layer.products),
                signed(layer.low),
                signed(layer.high),
            ]
        })
        .collect();
    text + &table::table(
        "The proven range of each layer's sums",
        &["layer", "#bits of 32", "operator", "#products in a sum", "#least", "#greatest"],
        &rows,
    )
}

/// With a minus sign, not a hyphen.
pub(super) fn signed(number: i64) -> String {
    let sign = if number < 0 { "\u{2212}" } else { "" };
    format!("{sign}{}", thousands(number.unsigned_abs()))
}
