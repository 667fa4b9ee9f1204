//! Charts: a line of inline SVG for each row of a table. Places are in percent, so that a chart is as wide as its cell,
//! and text stays outside at the page's size.

use super::super::numbers::{percent, percent_range};
use crate::Accuracy;

/// From the least to the greatest number that a chart has to show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Holds all numbers, of which there may be none, with some space at both ends.
    pub(super) fn around(numbers: impl Iterator<Item = f64>) -> Self {
        let (low, high) = numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), number| {
            (low.min(number), high.max(number))
        });
        if low > high {
            return Self { low: 0.0, high: 1.0 };
        }
        let space = if high > low { (high - low) * 0.06 } else { 0.01 };
        Self { low: low - space, high: high + space }
    }

    /// Where a number stands, in percent.
    fn place(self, number: f64) -> f64 {
        ((number - self.low) / (self.high - self.low) * 100.0).clamp(0.0, 100.0)
    }
}

/// An accuracy with its interval, and a dashed line at a share to compare with. `of` says whose it is to those who do
/// not see it, and is escaped.
pub(super) fn accuracy(axis: Axis, of: &str, accuracy: &Accuracy, reference: f64) -> String {
    let Accuracy { low, fraction, high, .. } = *accuracy;
    let label = format!("{of}: {}, interval {} percent", percent(fraction), percent_range(low, high));
    let [low, middle, high, reference] = [low, fraction, high, reference].map(|number| axis.place(number));
    format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"{label}\" width=\"100%\" height=\"22\">\
         <line class=\"reference\" x1=\"{reference:.2}%\" x2=\"{reference:.2}%\" y1=\"0\" y2=\"22\"/>\
         <line class=\"interval\" x1=\"{low:.2}%\" x2=\"{high:.2}%\" y1=\"11\" y2=\"11\"/>\
         <line class=\"interval\" x1=\"{low:.2}%\" x2=\"{low:.2}%\" y1=\"6\" y2=\"16\"/>\
         <line class=\"interval\" x1=\"{high:.2}%\" x2=\"{high:.2}%\" y1=\"6\" y2=\"16\"/>\
         <circle class=\"estimate\" cx=\"{middle:.2}%\" cy=\"11\" r=\"5\"/></svg>"
    )
}

/// A bar from the left that fills this share of its cell. Its number stands beside it, so that it has no label.
pub(super) fn bar(share: f64, class: &str) -> String {
    format!(
        "<svg class=\"chart\" aria-hidden=\"true\" width=\"100%\" height=\"12\">\
         <rect class=\"track\" width=\"100%\" height=\"12\" rx=\"2\"/>\
         <rect class=\"{class}\" width=\"{:.1}%\" height=\"12\" rx=\"2\"/></svg>",
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) * 100.0 }
    )
}

/// A bar of parts side by side, each of a name and a class, and their shares in words below it.
pub(super) fn parts<const COUNT: usize>(shares: [f64; COUNT], parts: [(&str, &str); COUNT]) -> String {
    let mut bar = String::new();
    let mut words: Vec<String> = Vec::new();
    let mut start = 0.0;
    for (share, (name, class)) in shares.into_iter().zip(parts) {
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0 - start) };
        bar += &format!(
            "<rect class=\"{class}\" x=\"{:.2}%\" width=\"{:.2}%\" height=\"14\"/>",
            start * 100.0,
            share * 100.0
        );
        start += share;
        words.push(format!("{name} {}", percent(share)));
    }
    format!(
        "<svg class=\"chart parts\" aria-hidden=\"true\" width=\"100%\" height=\"14\">\
         <rect class=\"track\" width=\"100%\" height=\"14\"/>{bar}</svg><small>{}</small>",
        words.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_inside_whatever_the_numbers() {
        for numbers in [vec![], vec![0.5], vec![0.5, 0.5], vec![-3.0, 8.0], vec![0.0, 1e-300]] {
            let axis = Axis::around(numbers.iter().copied());
            for number in numbers.into_iter().chain([f64::MAX, f64::MIN]) {
                assert!((0.0..=100.0).contains(&axis.place(number)), "{axis:?} {number}");
            }
        }
        for share in [f64::NAN, -1.0, 7.0] {
            assert!(!bar(share, "bar").contains("NaN"), "{share}");
        }
    }

    #[test]
    fn parts_lie_beside_each_other_and_are_told_in_words() {
        let text = parts([0.25, 0.75], [("a", "one"), ("b", "two")]);
        assert!(text.contains("<rect class=\"one\" x=\"0.00%\" width=\"25.00%\""), "{text}");
        assert!(text.contains("<rect class=\"two\" x=\"25.00%\" width=\"75.00%\""), "{text}");
        assert!(text.ends_with("<small>a 25.00 %, b 75.00 %</small>"), "{text}");
        assert!(!parts([f64::NAN, 9.0], [("a", "one"), ("b", "two")]).contains("NaN"));
    }
}
