//! Line charts with axes: inline SVG whose places across are in percent and down in pixels, so that it is as wide as the
//! page and its text keeps the page's size. A line has a dash pattern, a marker and its name at its end; colors repeat that.

use super::super::numbers::{percent, thousands};
use super::escape;

/// The height of the plot itself.
const HEIGHT: f64 = 240.0;

/// Patterns of lines and markers, after which they repeat.
const KINDS: usize = 5;

/// Lines lie beside each other by so many pixels, so that intervals at one place are told apart.
const ASIDE: f64 = 3.0;

/// Names of lines keep this distance.
const NAME_HEIGHT: f64 = 16.0;

/// A drawing of lines.
pub(super) struct LineChart<'a> {
    /// What is varied; escaped where it is shown, as all texts here.
    pub(super) across: &'a str,
    /// Numbers across grow by factors.
    pub(super) log: bool,
    /// A share to compare with, and what it is.
    pub(super) reference: Option<(f64, &'a str)>,
    pub(super) lines: Vec<Line<'a>>,
}

/// A line.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) points: Vec<Point>,
}

/// A share with its interval, or none where there is nothing to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) share: Option<[f64; 3]>,
}

/// The chart, with a text for those who do not see it; nothing without a point.
pub(super) fn draw(chart: &LineChart<'_>) -> String {
    let all = || chart.lines.iter().flat_map(|line| &line.points);
    let Some(across) = Across::around(all().map(|point| point.x), chart.log) else { return String::new() };
    let reference = chart.reference.map(|(share, _)| share);
    let shares = all().filter_map(|point| point.share).flatten().chain(reference);
    let up = Up::around(shares);
    let mut text = format!(
        "<div class=\"plot\"><svg class=\"lines\" role=\"img\" aria-label=\"{}\" width=\"100%\" height=\"{HEIGHT}\">",
        escape::text(&described(chart))
    );
    text += &format!("<text class=\"axis\" x=\"-44\" y=\"-12\">{}</text>", up.title());
    for (share, label) in up.ticks() {
        let y = up.place(share);
        text += &format!(
            "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"axis\" x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            y + 4.0
        );
    }
    for x in across.ticks() {
        let place = across.place(x);
        text += &format!(
            "<svg x=\"{place:.2}%\" y=\"{HEIGHT}\" overflow=\"visible\"><path class=\"zero\" d=\"M0 0v5\"/>\
             <text class=\"axis\" y=\"20\" text-anchor=\"middle\">{}</text></svg>",
            whole(x)
        );
    }
    text += &format!(
        "<line class=\"zero\" x1=\"0\" x2=\"100%\" y1=\"{HEIGHT}\" y2=\"{HEIGHT}\"/>\
         <text class=\"axis\" x=\"50%\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
        HEIGHT + 40.0,
        escape::text(chart.across)
    );
    if let Some(y) = reference.map(|share| up.place(share)) {
        text += &format!("<line class=\"reference\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
    }
    let middle = (chart.lines.len() as f64 - 1.0) / 2.0;
    for (index, line) in chart.lines.iter().enumerate() {
        let aside = (index as f64 - middle) * ASIDE;
        text += &format!("<g class=\"line kind{}\" transform=\"translate({aside:.1} 0)\">", index % KINDS);
        text += &drawn(line, index, &across, &up);
        text += "</g>";
    }
    text + &names(chart, &up) + "</svg></div>\n"
}

/// Intervals, the way from each point to the next, and a marker for each.
fn drawn(line: &Line<'_>, index: usize, across: &Across, up: &Up) -> String {
    let mut text = String::new();
    let place = |point: &Point| Some((across.place(point.x), up.place(point.share?[1])));
    for pair in line.points.windows(2) {
        if let (Some((x1, y1)), Some((x2, y2))) = (place(&pair[0]), place(&pair[1])) {
            text += &format!(
                "<line class=\"way\" x1=\"{x1:.2}%\" x2=\"{x2:.2}%\" y1=\"{y1:.1}\" y2=\"{y2:.1}\"/>"
            );
        }
    }
    for point in &line.points {
        let x = across.place(point.x);
        text += &match point.share {
            Some([low, share, high]) => format!(
                "<line class=\"whisker\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
                 <svg x=\"{x:.2}%\" y=\"{:.1}\" overflow=\"visible\"><path class=\"marker\" d=\"{}\"/></svg>",
                up.place(low),
                up.place(high),
                up.place(share),
                marker(index)
            ),
            None => format!(
                "<svg x=\"{x:.2}%\" y=\"{HEIGHT}\" overflow=\"visible\"><path class=\"refused\" d=\"M-5 -13l10 10m0 -10l-10 10\"/></svg>"
            ),
        };
    }
    text
}

/// The outline of a marker around the origin.
const fn marker(index: usize) -> &'static str {
    match index % KINDS {
        0 => "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
        1 => "M-3.6 -3.6h7.2v7.2h-7.2z",
        2 => "M0 -5l4.6 8.2h-9.2z",
        3 => "M0 -5.2l5 5.2l-5 5.2l-5 -5.2z",
        _ => "M-5 -3.4h10l-5 8.4z",
    }
}

/// The name of each line at its end, moved apart where they would lie on each other; one line needs none.
fn names(chart: &LineChart<'_>, up: &Up) -> String {
    let mut names: Vec<(f64, Option<usize>, &str)> = Vec::new();
    if let Some((share, name)) = chart.reference {
        names.push((up.place(share), None, name));
    }
    if chart.lines.len() > 1 {
        for (index, line) in chart.lines.iter().enumerate() {
            let end = line.points.iter().rev().find_map(|point| point.share);
            names.push((end.map_or(HEIGHT, |share| up.place(share[1])), Some(index), line.name));
        }
    }
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    for at in 1..names.len() {
        names[at].0 = names[at].0.max(names[at - 1].0 + NAME_HEIGHT);
    }
    // What was pushed out of the plot pushes back.
    let mut most = HEIGHT;
    for name in names.iter_mut().rev() {
        name.0 = name.0.min(most);
        most = name.0 - NAME_HEIGHT;
    }
    let mut text = String::new();
    for (y, index, name) in names {
        let (class, sign) = match index {
            Some(index) => (
                format!("line kind{}", index % KINDS),
                format!("<path class=\"marker\" transform=\"translate(16 0)\" d=\"{}\"/>", marker(index)),
            ),
            None => ("line".to_owned(), "<path class=\"reference\" d=\"M4 0h18\"/>".to_owned()),
        };
        text += &format!(
            "<svg class=\"{class}\" x=\"100%\" y=\"{y:.1}\" overflow=\"visible\">{sign}<text x=\"27\" y=\"4\">{}</text></svg>",
            escape::text(name)
        );
    }
    text
}

/// What the chart shows, in words.
fn described(chart: &LineChart<'_>) -> String {
    let mut text = format!("Line chart of the accuracy over {}.", chart.across);
    for line in &chart.lines {
        let mut measured =
            line.points.iter().filter_map(|point| point.share.map(|share| (point.x, share[1])));
        text += &format!(" {}: ", line.name);
        text += &match (measured.next(), measured.next_back()) {
            (Some(first), Some(last)) => format!(
                "{} at {} to {} at {}",
                percent(first.1),
                whole(first.0),
                percent(last.1),
                whole(last.0)
            ),
            (Some(only), None) => format!("{} at {}", percent(only.1), whole(only.0)),
            (None, _) => "nothing measured".to_owned(),
        };
        let refused: Vec<String> =
            line.points.iter().filter(|point| point.share.is_none()).map(|point| whole(point.x)).collect();
        if !refused.is_empty() {
            text += &format!(", refused at {}", refused.join(", "));
        }
        text.push('.');
    }
    if let Some((share, name)) = chart.reference {
        text += &format!(" A dashed line is at {}, {name}.", percent(share));
    }
    text
}

/// A whole number as it stands on an axis.
fn whole(x: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is not negative"
    )]
    thousands(x.round() as u64)
}

/// The axis across.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Across {
    low: f64,
    high: f64,
    log: bool,
}

impl Across {
    fn around(numbers: impl Iterator<Item = f64>, log: bool) -> Option<Self> {
        let (low, high) = hull(numbers)?;
        // Nothing below 1 is at home on a logarithmic axis.
        Some(if log { Self { low: low.max(1.0), high: high.max(1.0), log } } else { Self { low, high, log } })
    }

    /// In percent of the width; a single number stands in the middle.
    fn place(&self, x: f64) -> f64 {
        let scaled = |x: f64| if self.log { x.max(1.0).ln() } else { x };
        let (low, high) = (scaled(self.low), scaled(self.high));
        if high > low { ((scaled(x) - low) / (high - low) * 100.0).clamp(0.0, 100.0) } else { 50.0 }
    }

    /// Powers of ten, or whole numbers of which there are not too many.
    fn ticks(&self) -> Vec<f64> {
        const MOST: f64 = 8.0;
        let inside = |x: &f64| (self.low..=self.high).contains(x);
        if self.log && self.high >= 10.0 * self.low {
            return (0..=18).map(|exponent| 10_f64.powi(exponent)).filter(inside).collect();
        }
        let steps = [1.0, 2.0, 5.0];
        let step = (0..18)
            .flat_map(|exponent| steps.map(|step| step * 10_f64.powi(exponent)))
            .find(|step| (self.high - self.low) / step < MOST)
            .unwrap_or(1e18);
        let first = (self.low / step).ceil();
        (0..=8).map(|count| (first + f64::from(count)) * step).filter(inside).collect()
    }
}

/// The axis upwards, of shares: even, or by factors of what is left to 1 where that spans more than one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Up {
    Even {
        low: f64,
        high: f64,
    },
    /// From the most to the least that is left to 1.
    Errors {
        most: f64,
        least: f64,
    },
}

impl Up {
    fn around(shares: impl Iterator<Item = f64>) -> Self {
        const FACTOR: f64 = 10.0;
        let shares: Vec<f64> = shares.collect();
        let (low, high) = hull(shares.iter().copied()).unwrap_or((0.0, 1.0));
        let left = shares.iter().map(|share| 1.0 - share).filter(|&left| left > 0.0);
        if let Some((least, most)) = hull(left)
            && most > FACTOR * least
        {
            return Self::Errors { most: most * 1.1, least: least / 1.1 };
        }
        let space = if high > low { (high - low) * 0.06 } else { 0.01 };
        Self::Even { low: low - space, high: high + space }
    }

    /// In pixels from the top.
    fn place(&self, share: f64) -> f64 {
        let up = match *self {
            Self::Even { low, high } => (share - low) / (high - low),
            Self::Errors { most, least } => {
                (most / (1.0 - share).clamp(least, most)).ln() / (most / least).ln()
            }
        };
        HEIGHT - up.clamp(0.0, 1.0) * HEIGHT
    }

    const fn title(&self) -> &'static str {
        match self {
            Self::Even { .. } => "accuracy, %",
            Self::Errors { .. } => "accuracy, %; what is left to 100 on a logarithmic scale",
        }
    }

    /// Shares with their labels in percent.
    fn ticks(&self) -> Vec<(f64, String)> {
        match *self {
            Self::Even { low, high } => {
                let (low, high) = (low.max(0.0) * 100.0, high.min(1.0) * 100.0);
                let steps = (-6..3).flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| (digit, exponent)));
                let sized = steps.map(|(digit, exponent)| (digit * 10_f64.powi(exponent), exponent));
                let (step, exponent) =
                    { sized }.find(|(step, _)| (high - low) / step <= 6.0).unwrap_or((100.0, 2));
                let decimals = usize::try_from(-exponent).unwrap_or(0);
                let first = (low / step).ceil();
                (0..=6)
                    .map(|count| (first + f64::from(count)) * step)
                    .filter(|tick| *tick <= high)
                    .map(|tick| (tick / 100.0, format!("{tick:.decimals$}")))
                    .collect()
            }
            Self::Errors { most, least } => {
                let rare = most / least > 300.0;
                let digits: &[f64] = if rare { &[1.0] } else { &[5.0, 2.0, 1.0] };
                let tens =
                    (1..=12).flat_map(|k| digits.iter().map(move |digit| (digit * 10_f64.powi(-k), k)));
                // Of the greatest errors, 10 and 50 percent of accuracy are told.
                let greatest = [(0.9, 1), (0.5, 1)].into_iter().filter(|(left, _)| rare || *left > 0.5);
                greatest
                    .chain(tens)
                    .filter(|(left, _)| (least..=most).contains(left))
                    .map(|(left, k)| {
                        (
                            1.0 - left,
                            format!("{:.*}", usize::try_from(k - 2).unwrap_or(0), 100.0 * (1.0 - left)),
                        )
                    })
                    .collect()
            }
        }
    }
}

fn hull(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    numbers.fold(None, |hull, number| match hull {
        None => Some((number, number)),
        Some((low, high)) => Some((number.min(low), number.max(high))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, share: f64) -> Point {
        Point { x, share: Some([share, share, share]) }
    }

    fn chart(log: bool, lines: Vec<Line<'static>>) -> String {
        draw(&LineChart { across: "a<b", log, reference: None, lines })
    }

    #[test]
    fn factors_are_equal_distances_on_a_logarithmic_axis() {
        let across = Across::around([1.0, 10_000.0].into_iter(), true).unwrap();
        let places: Vec<f64> = [1.0, 10.0, 100.0, 1_000.0, 10_000.0].map(|x| across.place(x)).to_vec();
        for (place, expected) in places.iter().zip([0.0, 25.0, 50.0, 75.0, 100.0]) {
            assert!((place - expected).abs() < 1e-9, "{places:?}");
        }
        assert_eq!(across.ticks(), [1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!(Across::around([2.0, 23.0].into_iter(), false).unwrap().ticks(), [5.0, 10.0, 15.0, 20.0]);
        assert_eq!(Across::around([2.0, 8.0].into_iter(), false).unwrap().ticks().len(), 7);
    }

    #[test]
    fn accuracies_close_to_each_other_are_even_and_others_by_their_errors() {
        let even = Up::around([0.99, 0.994].into_iter());
        assert!(matches!(even, Up::Even { .. }));
        let labels: Vec<String> = even.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["99.0", "99.1", "99.2", "99.3", "99.4"]);
        let errors = Up::around([0.1, 0.99, 1.0].into_iter());
        let labels: Vec<String> = errors.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["10", "50", "80", "90", "95", "98", "99"]);
        // What is left shrinks by ten from 90 to 99 %, as from 0 to 90 %.
        let distance = |a: f64, b: f64| errors.place(a) - errors.place(b);
        assert!((distance(0.5, 0.95) - distance(0.9, 0.99)).abs() < 1e-9);
        assert!(errors.place(1.0) >= 0.0, "all right is at the top and not beyond");
    }

    #[test]
    fn a_single_point_stands_in_the_middle_and_no_point_is_no_chart() {
        let text = chart(true, vec![Line { name: "one", points: vec![point(7.0, 0.5)] }]);
        assert!(text.contains("<svg x=\"50.00%\" y=\"120.0\""), "{text}");
        assert!(
            text.contains("aria-label=\"Line chart of the accuracy over a&lt;b. one: 50.00 % at 7.\""),
            "{text}"
        );
        assert!(!text.contains("class=\"way\"") && !text.contains("NaN"), "{text}");
        assert_eq!(chart(false, vec![Line { name: "none", points: Vec::new() }]), "");
        let refused = Point { x: 7.0, share: None };
        assert!(
            chart(false, vec![Line { name: "none", points: vec![refused] }]).contains("nothing measured")
        );
    }

    #[test]
    fn a_refused_point_is_a_cross_that_no_line_crosses() {
        let refused = Point { x: 3.0, share: None };
        let points = vec![point(1.0, 0.9), point(2.0, 0.92), refused, point(4.0, 0.94)];
        let text = chart(false, vec![Line { name: "<i>", points }]);
        assert_eq!(text.matches("class=\"way\"").count(), 1, "only between its neighbors");
        assert_eq!(text.matches("class=\"refused\"").count(), 1);
        assert!(text.contains("&lt;i&gt;: 90.00 % at 1 to 94.00 % at 4, refused at 3."), "{text}");
        assert!(!text.contains("<i>"), "{text}");
    }

    #[test]
    fn names_of_lines_that_end_together_do_not_lie_on_each_other() {
        let lines = ["a", "b", "c"].map(|name| Line { name, points: vec![point(1.0, 0.9), point(2.0, 0.9)] });
        let lines: Vec<Line<'_>> = lines.into_iter().collect();
        let chart = LineChart { across: "x", log: false, reference: Some((0.9, "float")), lines };
        let up = Up::around([0.9].into_iter());
        let text = names(&chart, &up);
        for y in ["120.0", "136.0", "152.0", "168.0"] {
            assert!(text.contains(&format!("y=\"{y}\"")), "{y}: {text}");
        }
    }
}
