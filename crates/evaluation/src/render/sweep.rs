//! The section of `report.md` about what accuracy costs, and what the page says of it too.

use super::numbers::{percent, thousands};
use super::table::{Table, escape};
use crate::{Report, SweepChart, SweepOutcome, SweepSeries, Varied};

/// What is varied, as the title of an axis.
pub(super) const fn title(varied: Varied) -> &'static str {
    match varied {
        Varied::MantissaBits => "mantissa bits",
        Varied::CalibrationSamples => "calibration images",
        Varied::WeightBits => "weight bits",
    }
}

/// By which command it is measured, between these marks of code.
pub(super) fn not_measured(open: &str, close: &str) -> String {
    format!(
        "Not measured of this float model: {open}cargo xtask sweep{close} measures accuracy against mantissa bits, \
         calibration images and weight bits."
    )
}

/// The least place from which on every accuracy of a line lies within the interval of its last one.
pub(super) fn steady_from(series: &SweepSeries) -> Option<u32> {
    let last = series.points.last()?.accuracy()?;
    let is_steady = |point: &&crate::SweepPoint| {
        point.accuracy().is_some_and(|accuracy| (last.low..=last.high).contains(&accuracy.fraction))
    };
    series.points.iter().rev().take_while(is_steady).last().map(|point| point.at)
}

/// The section without its title: a table for each thing that was varied.
pub(super) fn sweep(report: &Report) -> String {
    let Some(sweep) = &report.sweep else { return not_measured("`", "`") + "\n" };
    let blocks: Vec<String> = sweep.charts.iter().map(chart).collect();
    blocks.join("\n")
}

/// A line for each place, a column for each line of the chart.
fn chart(chart: &SweepChart) -> String {
    let names = chart.series.iter().map(|series| format!("#{}", series.name));
    let mut table = Table::new(std::iter::once(format!("#{}", title(chart.varied))).chain(names));
    let mut places: Vec<u32> =
        chart.series.iter().flat_map(|series| &series.points).map(|point| point.at).collect();
    places.sort_unstable();
    places.dedup();
    let mut reasons = Vec::new();
    for at in places {
        let mut cells = vec![thousands(at.into())];
        for series in &chart.series {
            let point = series.points.iter().find(|point| point.at == at);
            cells.push(match point.map(|point| &point.outcome) {
                None => String::new(),
                Some(SweepOutcome::Measured { accuracy, .. }) => percent(accuracy.fraction),
                Some(SweepOutcome::Refused { reason }) => {
                    reasons.push(format!("{} at {at} is refused: {reason}.", series.name));
                    "refused".to_owned()
                }
            });
        }
        table.row(cells);
    }
    let mut text = table.to_markdown();
    if !reasons.is_empty() {
        text.push('\n');
    }
    for reason in reasons {
        text += &format!("{}\n", escape(&reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Accuracy, SweepPoint, SweepSetting};

    fn series(correct: &[Option<usize>]) -> SweepSeries {
        let setting = SweepSetting {
            mantissa_bits: 23,
            weight_bits: 8,
            per_axis: true,
            calibration: "min-max".to_owned(),
            calibration_samples: 1000,
        };
        let point = |(at, correct): (u32, &Option<usize>)| SweepPoint {
            at,
            setting: setting.clone(),
            outcome: match correct {
                Some(correct) => {
                    SweepOutcome::Measured { accuracy: Accuracy::of(*correct, 1000), agreeing: 900 }
                }
                None => SweepOutcome::Refused { reason: "m = 0".to_owned() },
            },
        };
        SweepSeries { name: "a|b".to_owned(), points: (2..).zip(correct).map(point).collect() }
    }

    #[test]
    fn a_line_is_steady_from_where_it_stays_within_the_interval_of_its_end() {
        // Of 990 of 1000 the interval is 98.2 to 99.5 %.
        assert_eq!(steady_from(&series(&[Some(985), Some(900), Some(984), Some(990)])), Some(4));
        assert_eq!(steady_from(&series(&[Some(990)])), Some(2));
        assert_eq!(steady_from(&series(&[Some(990), None, Some(990)])), Some(4));
        assert_eq!(steady_from(&series(&[Some(990), None])), None);
        assert_eq!(steady_from(&series(&[])), None);
    }

    #[test]
    fn what_is_refused_has_its_reason_below_the_table() {
        let varied = Varied::MantissaBits;
        let text = chart(&SweepChart { varied, series: vec![series(&[None, Some(990)])] });
        assert!(text.contains("99.00 %") && text.contains("refused"), "{text}");
        assert!(text.ends_with("a\\|b at 2 is refused: m = 0.\n"), "{text}");
    }
}
