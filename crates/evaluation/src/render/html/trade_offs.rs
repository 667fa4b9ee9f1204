//! What accuracy costs: a chart for each thing that was varied, and its numbers.

use super::super::numbers::{percent, percent_range, thousands};
use super::super::sweep::{not_measured, steady_from, title};
use super::line_chart::{self, Line, LineChart, Point};
use super::{escape, table};
use crate::{Accuracy, Report, SweepChart, SweepOutcome, SweepPoint, SweepSeries, Varied};

/// The charts, or by which command they are made.
pub(super) fn trade_offs(report: &Report) -> String {
    let Some(sweep) = &report.sweep else {
        return format!("<p>{}</p>\n", not_measured("<code>", "</code>"));
    };
    let float = report.stages.iter().find(|row| row.digest == sweep.float_digest);
    let float = float.map(|row| row.accuracy.fraction);
    let mut text = "<p>Each point is a model of integers only, scored on the test images; what is not varied is as \
                    <code>run-all</code> does it. Lines at a point are 95 % intervals, which say how far one accuracy can \
                    be trusted, not whether two of them differ: all are of the same images.</p>\n"
        .to_owned();
    for chart in &sweep.charts {
        text += &drawn(chart, float);
    }
    text
}

fn drawn(chart: &SweepChart, float: Option<f64>) -> String {
    let across = title(chart.varied);
    let lines =
        chart.series.iter().map(|series| Line { name: &series.name, points: points(series) }).collect();
    let log = chart.varied == Varied::CalibrationSamples;
    let reference = float.map(|share| (share, "float"));
    let mut text = format!("<h3>Accuracy over {}</h3>\n", escape::text(across));
    text += &format!("<p>{}</p>\n", escape::text(&steady(chart)));
    text += &line_chart::draw(&LineChart { across, log, reference, lines });
    for (series, point) in all(chart) {
        if let SweepOutcome::Refused { reason } = &point.outcome {
            text += &format!(
                "<p class=\"note\">\u{2717} refused at {}, {}: {}</p>\n",
                escape::text(&series.name),
                thousands(point.at.into()),
                escape::text(reason)
            );
        }
    }
    text + "<details><summary>The numbers</summary>\n" + &numbers(chart, across) + "</details>\n"
}

fn all(chart: &SweepChart) -> impl Iterator<Item = (&SweepSeries, &SweepPoint)> {
    chart.series.iter().flat_map(|series| series.points.iter().map(move |point| (series, point)))
}

fn points(series: &SweepSeries) -> Vec<Point> {
    let share = |accuracy: &Accuracy| [accuracy.low, accuracy.fraction, accuracy.high];
    let point = |point: &SweepPoint| Point { x: f64::from(point.at), share: point.accuracy().map(share) };
    series.points.iter().map(point).collect()
}

/// From where on each line stays where it ends, in a sentence.
fn steady(chart: &SweepChart) -> String {
    let mut places: Vec<(u32, Vec<&str>)> = Vec::new();
    for series in &chart.series {
        let Some(at) = steady_from(series) else { continue };
        match places.iter_mut().find(|(place, _)| *place == at) {
            Some((_, names)) => names.push(&series.name),
            None => places.push((at, vec![&series.name])),
        }
    }
    let Some(last) = all(chart).map(|(_, point)| point.at).max().filter(|_| !places.is_empty()) else {
        return "No line could be measured to its end.".to_owned();
    };
    let place = |(at, names): &(u32, Vec<&str>)| match chart.series.len() {
        1 => format!("from {} on", thousands((*at).into())),
        _ => format!("from {} on ({})", thousands((*at).into()), names.join(", ")),
    };
    let places: Vec<String> = places.iter().map(place).collect();
    format!(
        "The accuracy stays within the interval that it has at {}: {}.",
        thousands(last.into()),
        places.join("; ")
    )
}

fn numbers(chart: &SweepChart, across: &str) -> String {
    let row = |(series, point): (&SweepSeries, &SweepPoint)| {
        let mut cells = vec![escape::text(&series.name), thousands(point.at.into())];
        match &point.outcome {
            SweepOutcome::Measured { accuracy, agreeing } => cells.extend([
                percent(accuracy.fraction),
                percent_range(accuracy.low, accuracy.high),
                thousands(accuracy.correct as u64),
                format!("{} of {}", thousands(*agreeing as u64), thousands(accuracy.images as u64)),
            ]),
            SweepOutcome::Refused { .. } => {
                cells.push("refused".to_owned());
                cells.extend(["-", "-", "-"].map(str::to_owned));
            }
        }
        cells
    };
    let rows: Vec<Vec<String>> = all(chart).map(row).collect();
    let across = format!("#{across}");
    let titles = ["line", &across, "#accuracy", "#interval", "#right", "#class as float"];
    table::table("Every point", &titles, &rows)
}
