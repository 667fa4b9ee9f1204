//! `report.md`: the report for people, as GitHub shows Markdown.

use std::collections::{BTreeMap, BTreeSet};

use super::numbers::{
    accuracy, agreement, gap, measure_footnotes, percent, percent_range, probability, short, significant,
    thousands, units,
};
use super::sweep::sweep;
use super::table::{Table, escape};
use super::training::training;
use crate::{ChangedImage, Confusion, Flip, Margin, PairedTest, Report, RescaleBound, StageRow};

/// A page that lists more changed images than this is no longer read; the JSON has them all.
const CHANGED_IMAGES_SHOWN: usize = 200;

/// The report as Markdown, with a final line feed.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# {}\n\n{}", escape(&report.model), headline(report));
    let sections = [
        ("Stages", stages(report)),
        ("Images lost and gained", paired_tests(report)),
        ("Training", report.training.as_ref().map(training).unwrap_or_default()),
        ("Files and sizes", files(report)),
        ("Operators", counts(report, "operator", |row| &row.census.operators)),
        ("Tensors by element type", counts(report, "type", |row| &row.census.tensors)),
        ("Confusion matrices", confusions(report)),
        ("Images whose class changed", changed_images(report)),
        ("What each transform did", transforms(report)),
        ("Rescale error bounds", rescale_bounds(report)),
        ("Trade-offs", sweep(report)),
        ("Parameters", pairs("parameter", &report.parameters)),
        ("Versions", pairs("software", &report.versions)),
    ];
    for (title, body) in sections {
        if !body.is_empty() {
            text += &format!("\n## {title}\n\n{body}");
        }
    }
    text
}

fn headline(report: &Report) -> String {
    let mut text = format!(
        "Scored on {} images of {}.\n",
        thousands(report.dataset.images as u64),
        escape(&report.dataset.name)
    );
    if let [first, .., last] = report.stages.as_slice() {
        let points = (last.accuracy.fraction - first.accuracy.fraction) * 100.0;
        text += &format!(
            "Accuracy is {} at `{}` and {} at `{}` ({points:+.2} percentage points).\n",
            accuracy(&first.accuracy),
            first.name,
            accuracy(&last.accuracy),
            last.name,
        );
        if let Some(comparison) = &last.versus_float {
            text += &format!(
                "Against `{}`, `{}` has {}.\n",
                comparison.reference, last.name, comparison.paired_test
            );
        }
    }
    let integer_only: Vec<String> = report
        .stages
        .iter()
        .filter(|row| row.census.float_tensors() == 0)
        .map(|row| format!("`{}`", row.name))
        .collect();
    if !integer_only.is_empty() {
        text += &format!("No float tensor is left in {}.\n", integer_only.join(", "));
    }
    text
}

fn stages(report: &Report) -> String {
    let mut table = Table::new([
        "stage",
        "made by",
        "#right",
        "#accuracy",
        "#95 % interval",
        "#as float",
        "#as before",
        "#gap to float",
        "#gap to before",
        "promised",
        "runtime",
    ]);
    for row in &report.stages {
        table.row([
            row.name.clone(),
            row.made_by.clone().unwrap_or_else(|| "-".to_owned()),
            thousands(row.accuracy.correct as u64),
            percent(row.accuracy.fraction),
            percent_range(row.accuracy.low, row.accuracy.high),
            agreement(row.versus_float.as_ref()),
            agreement(row.versus_previous.as_ref()),
            gap(row.versus_float.as_ref()),
            gap(row.versus_previous.as_ref()),
            row.relation.clone().unwrap_or_else(|| "-".to_owned()),
            row.runtime.clone(),
        ]);
    }
    let mut text = table.to_markdown();
    text += "\nThe interval is Wilson's.\n";
    text += "\"As float\" and \"as before\" are the shares of images with the same class as the float model and as \
             the row before; a gap is the largest difference of any logit from theirs, integers times their scale.\n";
    for footnote in measure_footnotes(report) {
        text += &format!("\n{}.\n", escape(&footnote));
    }
    text
}

fn paired_tests(report: &Report) -> String {
    let mut table = Table::new(["stage", "against", "#lost", "#gained", "#p", "#exact p", "verdict"]);
    let mut compared = false;
    for row in &report.stages {
        let previous = row.versus_previous.as_ref();
        // The float model's successor is compared with it once.
        let previous = previous.filter(|previous| {
            row.versus_float.as_ref().is_none_or(|float| float.reference != previous.reference)
        });
        for comparison in row.versus_float.as_ref().into_iter().chain(previous) {
            compared = true;
            let test = &comparison.paired_test;
            table.row([
                row.name.clone(),
                comparison.reference.clone(),
                thousands(test.lost as u64),
                thousands(test.gained as u64),
                probability(test.mid_p),
                probability(test.exact_p),
                test.verdict().to_string(),
            ]);
        }
    }
    if !compared {
        return String::new();
    }
    format!(
        "{}\nLost are the images that only the other is right on, gained those that only this row is right on.\n\
         If both were equally good, each of them would be a toss of a coin; p is how often chance alone parts them so \
         far (McNemar's test, two-sided mid-p), and {} or more is called noise.\n\
         An interval is of one accuracy by itself: whether two of them overlap says little about models that were scored on the same images.\n",
        table.to_markdown(),
        PairedTest::SIGNIFICANCE
    )
}

fn files(report: &Report) -> String {
    let types = keys(report, |row| &row.census.weight_bytes);
    let titles = ["stage", "file", "#file bytes", "#weight bytes"].map(str::to_owned);
    let by_type = types.iter().map(|name| format!("#{name} weights"));
    let mut table = Table::new(titles.into_iter().chain(by_type).chain(["SHA-256".to_owned()]));
    for row in &report.stages {
        let mut cells = vec![
            row.name.clone(),
            row.file.clone(),
            thousands(row.file_bytes),
            thousands(row.census.total_weight_bytes()),
        ];
        cells.extend(types.iter().map(|&name| count(row.census.weight_bytes.get(name).copied())));
        cells.push(row.digest.chars().take(16).collect());
        table.row(cells);
    }
    format!(
        "{}\nWeights are all constants of the graph: kernels, biases, scales, zero points, shapes.\n",
        table.to_markdown()
    )
}

/// One line for each name that is counted, one column for each row of the report.
fn counts(report: &Report, head: &str, of: fn(&StageRow) -> &BTreeMap<String, usize>) -> String {
    let titles = report.stages.iter().map(|row| format!("#{}", row.name));
    let mut table = Table::new(std::iter::once(head.to_owned()).chain(titles));
    for name in keys(report, of) {
        let mut cells = vec![name.to_owned()];
        cells.extend(report.stages.iter().map(|row| count(of(row).get(name).map(|&count| count as u64))));
        table.row(cells);
    }
    let mut totals = vec!["all".to_owned()];
    totals.extend(report.stages.iter().map(|row| thousands(of(row).values().sum::<usize>() as u64)));
    table.row(totals);
    table.to_markdown()
}

fn keys<'a, T: 'a>(report: &'a Report, of: fn(&StageRow) -> &BTreeMap<String, T>) -> BTreeSet<&'a str> {
    report.stages.iter().flat_map(|row| of(row).keys()).map(String::as_str).collect()
}

fn count(count: Option<u64>) -> String {
    count.map_or_else(String::new, thousands)
}

fn confusions(report: &Report) -> String {
    let blocks: Vec<String> = report.confusions.iter().map(confusion).collect();
    blocks.join("\n")
}

fn confusion(confusion: &Confusion) -> String {
    let classes = (0..confusion.counts.len()).map(|class| format!("#{class}"));
    let mut table = Table::new(std::iter::once("label".to_owned()).chain(classes));
    for (label, row) in confusion.counts.iter().enumerate() {
        let mut cells = vec![label.to_string()];
        cells.extend(row.iter().map(|&images| if images == 0 { String::new() } else { images.to_string() }));
        table.row(cells);
    }
    format!("`{}`: a line a label, a column a predicted class.\n\n{}", confusion.stage, table.to_markdown())
}

fn changed_images(report: &Report) -> String {
    let changed = &report.changed_images;
    if changed.is_empty() {
        return if report.stages.len() > 1 { "None.\n".to_owned() } else { String::new() };
    }
    let mut table = Table::new([
        "stage",
        "#image",
        "#label",
        "#before",
        "#after",
        "outcome",
        "#margin before",
        "#margin after",
    ]);
    for ChangedImage { stage, flip } in changed.iter().take(CHANGED_IMAGES_SHOWN) {
        table.row([
            stage.clone(),
            flip.image.to_string(),
            flip.label.to_string(),
            flip.before.to_string(),
            flip.after.to_string(),
            outcome(flip).to_owned(),
            margin(flip.margin_before),
            margin(flip.margin_after),
        ]);
    }
    let mut text = format!(
        "{}\nA margin is by how much the class given was ahead of the runner-up, in the unit of that model's outputs, \
         and as a share of the largest range that its outputs have on any one image.\n",
        table.to_markdown()
    );
    if changed.len() > CHANGED_IMAGES_SHOWN {
        text += &format!(
            "These are the first {CHANGED_IMAGES_SHOWN} of {}; `report.json` has all.\n",
            thousands(changed.len() as u64)
        );
    }
    text
}

fn margin(margin: Margin) -> String {
    format!("{} ({})", short(margin.value), percent(margin.relative))
}

fn outcome(flip: &Flip) -> &'static str {
    if flip.after == flip.label {
        "now right"
    } else if flip.before == flip.label {
        "now wrong"
    } else {
        "still wrong"
    }
}

fn transforms(report: &Report) -> String {
    let blocks: Vec<String> = report
        .transforms
        .iter()
        .map(|record| {
            let head = format!("### `{}` makes `{}`\n\n", record.transform, record.stage);
            if record.sites.is_empty() {
                return format!("{head}Nothing to change.\n");
            }
            let mut table = Table::new(["node", "change", "numbers"]);
            for site in &record.sites {
                let notes: Vec<String> =
                    site.notes.iter().map(|note| format!("{}: {}", note.name, short(note.value))).collect();
                table.row([site.node.clone(), site.change.clone(), notes.join("; ")]);
            }
            head + &table.to_markdown()
        })
        .collect();
    blocks.join("\n")
}

fn rescale_bounds(report: &Report) -> String {
    if report.rescale_bounds.is_empty() {
        return String::new();
    }
    let mut table =
        Table::new(["layer", "#channels", "#largest bound", "#in channel", "#channels above 1/8"]);
    for bound in &report.rescale_bounds {
        let (channel, error) = bound.largest().map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |(channel, error)| (channel.to_string(), significant(error)),
        );
        let above = bound.errors.iter().filter(|&&error| error > 0.125).count();
        table.row([bound.layer.clone(), bound.errors.len().to_string(), error, channel, above.to_string()]);
    }
    let largest = report.rescale_bounds.iter().filter_map(RescaleBound::largest);
    let largest = largest.map(|(_, error)| error).fold(0.0, f64::max);
    format!(
        "{}\nA rescale is off by at most {}, and only where the exact result lies within the bound of a \
         rounding boundary.\n",
        table.to_markdown(),
        units(RescaleBound::units(largest))
    )
}

fn pairs(head: &str, pairs: &BTreeMap<String, String>) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let mut table = Table::new([head, "value"]);
    for (name, value) in pairs {
        table.row([name.clone(), value.clone()]);
    }
    table.to_markdown()
}
