//! Numbers as people read them.

use std::collections::BTreeSet;

use crate::{Accuracy, ComparisonSummary, GapMeasure, Report};

/// A share as `99.11 %`. Only a share of exactly 1 reads `100.00 %`, only one of 0 `0.00 %`: "all
/// images agree" must not be a matter of rounding.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", hundredths(share))
}

/// Two shares as `98.90 to 99.28`, in percent.
pub(super) fn percent_range(low: f64, high: f64) -> String {
    format!("{} to {}", hundredths(low), hundredths(high))
}

/// An accuracy with everything that it takes to judge it:
/// `9,919 of 10,000, 99.19 % [98.99, 99.35]`.
pub(super) fn accuracy(accuracy: &Accuracy) -> String {
    format!(
        "{} of {}, {} [{}, {}]",
        thousands(accuracy.correct as u64),
        thousands(accuracy.images as u64),
        percent(accuracy.fraction),
        hundredths(accuracy.low),
        hundredths(accuracy.high)
    )
}

/// The images lost and gained, `-2 +1`, and the p-value, `0.62`; `-` where nothing is compared.
pub(super) fn lost_and_gained(comparison: Option<&ComparisonSummary>) -> [String; 2] {
    comparison.map_or_else(
        || ["-", "-"].map(str::to_owned),
        |comparison| {
            let test = comparison.paired_test;
            [format!("-{} +{}", test.lost, test.gained), probability(test.mid_p)]
        },
    )
}

/// A p-value as tables show it; below 0.1 with the digits that 0.05 is compared with.
pub(super) fn probability(p: f64) -> String {
    match p {
        ..0.001 => "< 0.001".to_owned(),
        ..0.1 => format!("{p:.3}"),
        _ => format!("{p:.2}"),
    }
}

/// The share of agreeing images, `-` where there is nothing to agree with.
pub(super) fn agreement(comparison: Option<&ComparisonSummary>) -> String {
    comparison.map_or_else(|| "-".to_owned(), |comparison| percent(comparison.agreement))
}

/// The largest logit gap with the mark of its measure, `-` where there is none.
pub(super) fn gap(comparison: Option<&ComparisonSummary>) -> String {
    comparison.and_then(|comparison| comparison.largest_logit_gap).map_or_else(
        || "-".to_owned(),
        |gap| format!("{}{}", significant(gap.value), measure_mark(gap.measure)),
    )
}

/// Three significant digits: `0.281`, `1.91e-6`; 0 is `0`.
pub(super) fn significant(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if (0.001..1.0).contains(&magnitude) {
        let decimals = (2.0 - magnitude.log10().floor()) as usize;
        format!("{value:.decimals$}")
    } else if (1.0..100.0).contains(&magnitude) {
        format!("{value:.2}")
    } else {
        format!("{value:.2e}")
    }
}

/// A short number where its size allows, else [`significant`].
pub(super) fn short(value: f64) -> String {
    let plain = format!("{value}");
    if plain.len() <= 8 { plain } else { significant(value) }
}

/// `1,669,418`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The sign that follows a gap which is not one of plain logits.
pub(super) const fn measure_mark(measure: GapMeasure) -> &'static str {
    match measure {
        GapMeasure::Logits => "",
        GapMeasure::LogSoftmax => "*",
        GapMeasure::Softmax => "**",
    }
}

/// What each sign in a report stands for, one sentence a sign.
pub(super) fn measure_footnotes(report: &Report) -> Vec<String> {
    let measures: BTreeSet<GapMeasure> = report
        .stages
        .iter()
        .flat_map(|row| [&row.versus_float, &row.versus_previous])
        .flatten()
        .filter_map(|comparison| comparison.largest_logit_gap)
        .map(|gap| gap.measure)
        .collect();
    let reason = |measure| match measure {
        GapMeasure::Logits => None,
        GapMeasure::LogSoftmax => Some("between the log-softmax of both: one of the two ends in LogSoftmax"),
        GapMeasure::Softmax => Some("between the softmax of both: one of the two ends in Softmax"),
    };
    measures
        .into_iter()
        .filter_map(|measure| Some(format!("{} {}", measure_mark(measure), reason(measure)?)))
        .collect()
}

fn hundredths(share: f64) -> String {
    let percent = share * 100.0;
    let rounded = (percent * 100.0).round() / 100.0;
    let honest = if rounded >= 100.0 && share < 1.0 {
        99.99
    } else if rounded <= 0.0 && share > 0.0 {
        0.01
    } else {
        rounded
    };
    format!("{honest:.2}")
}

/// A number of output units in words.
pub(super) fn units(count: u64) -> String {
    match count {
        1 => "one unit".to_owned(),
        count => format!("{count} units"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_as_percent_and_all_means_all() {
        let table = [
            (1.0, "100.00 %"),
            (0.99999, "99.99 %"),
            (0.9911, "99.11 %"),
            (0.00001, "0.01 %"),
            (0.0, "0.00 %"),
        ];
        for (share, text) in table {
            assert_eq!(percent(share), text, "{share}");
        }
    }

    #[test]
    fn an_accuracy_has_its_counts_and_its_interval() {
        assert_eq!(accuracy(&Accuracy::of(9919, 10_000)), "9,919 of 10,000, 99.19 % [98.99, 99.35]");
        assert_eq!(accuracy(&Accuracy::of(6, 6)), "6 of 6, 100.00 % [60.97, 100.00]");
    }

    #[test]
    fn probabilities_keep_the_digits_that_matter() {
        let shown = [1.0, 0.625, 0.0499, 0.0504, 0.001, 0.000_999].map(probability);
        assert_eq!(shown, ["1.00", "0.62", "0.050", "0.050", "0.001", "< 0.001"]);
    }

    #[test]
    fn numbers_read_well_at_any_size() {
        assert_eq!(["0", "1.91e-6", "1.23e4"], [0.0, 1.9073e-6, 12_345.6].map(significant));
        assert_eq!(["0.500", "-0.00281", "12.35"], [0.5, -0.002_812, 12.345_6].map(significant));
        assert_eq!(["0.0125", "33", "0.333"], [0.0125, 33.0, 1.0 / 3.0].map(short));
        assert_eq!(["0", "999", "1,000", "1,669,418"], [0, 999, 1000, 1_669_418].map(thousands));
    }
}
