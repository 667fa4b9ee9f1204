//! Image by image: what changed its class, what is most wrong, and the confusion matrices.

use super::super::numbers::{percent, short, thousands};
use super::{bitmap, chart, escape, table};
use crate::report::WORST_SHOWN;
use crate::{ChangedImage, Confusion, Report, ShownImage, ShownScores};

/// Of more classes only those have bars that are the label or given.
const MOST_BARS: usize = 20;

/// An image can change at several stages.
const MOST_FIGURES: usize = 60;

/// Changed and worst images.
pub(super) fn images(report: &Report) -> String {
    changed(report) + &worst(report)
}

fn changed(report: &Report) -> String {
    if report.stages.len() < 2 {
        return String::new();
    }
    let mut text = "<h3>Images whose class changed</h3>\n".to_owned();
    if report.changed_images.is_empty() {
        return text
            + "<p>None: every stage gives every image the class that the stage before gave it.</p>\n";
    }
    text += &format!(
        "<p>{} changes in all. Bars are the scores of the classes above the lowest one, from the stage before and from the stage.</p>\n",
        thousands(report.changed_images.len() as u64)
    );
    let (mut figures, mut left_out) = (Vec::new(), 0);
    for changed in &report.changed_images {
        match report.shown_images.iter().find(|shown| shown.image == changed.flip.image) {
            Some(shown) if figures.len() < MOST_FIGURES => {
                figures.push(changed_figure(report, changed, shown));
            }
            _ => left_out += 1,
        }
    }
    text += &gallery(&figures);
    if left_out > 0 {
        text += &format!("<p>{} more are in <code>report.json</code>.</p>\n", thousands(left_out));
    }
    text
}

fn changed_figure(report: &Report, changed: &ChangedImage, shown: &ShownImage) -> String {
    let flip = &changed.flip;
    let outcome = if flip.after == flip.label {
        "now right"
    } else if flip.before == flip.label {
        "now wrong"
    } else {
        "still wrong"
    };
    let row = report.stages.iter().position(|row| row.name == changed.stage);
    let before = row.and_then(|row| row.checked_sub(1)).map(|row| report.stages[row].name.as_str());
    let pair: Vec<&ShownScores> = [before, Some(&changed.stage)]
        .into_iter()
        .flatten()
        .filter_map(|name| shown.scores_of(name))
        .collect();
    format!(
        "<figure>{}<figcaption><strong>{outcome}</strong> at <code>{}</code>: image {}, a {}, was {} (margin {}, {}), is {} (margin {}, {}).</figcaption>{}</figure>\n",
        picture(shown),
        escape::text(&changed.stage),
        flip.image,
        flip.label,
        flip.before,
        short(flip.margin_before.value),
        percent(flip.margin_before.relative),
        flip.after,
        short(flip.margin_after.value),
        percent(flip.margin_after.relative),
        bars(shown, &pair)
    )
}

fn worst(report: &Report) -> String {
    let Some(last) = report.stages.last() else { return String::new() };
    let behind = |shown: &ShownImage| {
        let scores = shown.scores_of(&last.name)?;
        let output = |class: u32| scores.outputs.get(class as usize).copied();
        (scores.class != shown.label).then(|| Some(output(scores.class)? - output(shown.label)?))?
    };
    let mut wrong: Vec<(f64, &ShownImage)> =
        report.shown_images.iter().filter_map(|shown| Some((behind(shown)?, shown))).collect();
    if wrong.is_empty() {
        return String::new();
    }
    wrong.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.image.cmp(&b.1.image)));
    // Changed ones are among them that nobody chose for this.
    wrong.truncate(WORST_SHOWN);
    let count = last.accuracy.images - last.accuracy.correct;
    let text = format!(
        "<h3>Images that <code>{}</code> is most wrong about</h3>\n<p>{} of the {} wrong ones, the one first whose label is furthest behind, in units of the last stage. Bars are the scores of the classes above the lowest one; an arrow points at the class given.</p>\n",
        escape::text(&last.name),
        wrong.len(),
        thousands(count as u64)
    );
    let figures = wrong.into_iter().map(|(distance, shown)| {
        let ends = [report.stages.first(), Some(last)].into_iter().flatten();
        let scores: Vec<&ShownScores> = ends.filter_map(|row| shown.scores_of(&row.name)).collect();
        let class = scores.last().map_or(0, |scores| scores.class);
        format!(
            "<figure>{}<figcaption>Image {}, a {}, is taken for a {class}; its own score is {} lower.</figcaption>{}</figure>\n",
            picture(shown),
            shown.image,
            shown.label,
            distance_text(distance),
            bars(shown, &scores)
        )
    });
    text + &gallery(&figures.collect::<Vec<_>>())
}

/// So many figures are open to everyone; the others would push away what comes after them, most of all on a phone.
const FIGURES_OPEN: usize = 6;

/// Figures side by side; those beyond the first few open on request.
fn gallery(figures: &[String]) -> String {
    let (first, more) = figures.split_at(figures.len().min(FIGURES_OPEN));
    let mut text = format!("<div class=\"gallery\">\n{}</div>\n", first.concat());
    if !more.is_empty() {
        text += &format!(
            "<details class=\"more\">\n<summary>{} more images</summary>\n<div class=\"gallery\">\n{}</div>\n</details>\n",
            more.len(),
            more.concat()
        );
    }
    text
}

/// Raw integers are counts and read as such.
fn distance_text(distance: f64) -> String {
    let is_count = distance.fract() == 0.0 && (0.0..1e15).contains(&distance);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of moderate size")]
    let count = distance as u64;
    if is_count { thousands(count) } else { short(distance) }
}

fn picture(shown: &ShownImage) -> String {
    match shown.pixels.as_ref().and_then(bitmap::data_url) {
        Some(url) => format!(
            "<img src=\"{url}\" alt=\"test image {}, labelled {}\" width=\"84\" height=\"84\">",
            shown.image, shown.label
        ),
        None => format!("<div class=\"no-image\">image {} is not stored</div>", shown.image),
    }
}

/// The scores of all classes in one or two models. The class given has an arrow, the label a word.
fn bars(shown: &ShownImage, models: &[&ShownScores]) -> String {
    if models.is_empty() {
        return String::new();
    }
    let heads: String = models
        .iter()
        .map(|scores| format!("<th scope=\"col\">{}</th>", escape::text(&scores.stage)))
        .collect();
    let mut text = format!(
        "<table class=\"scores\"><thead><tr><th scope=\"col\">class</th>{heads}</tr></thead><tbody>\n"
    );
    let classes = models.iter().map(|scores| scores.outputs.len()).max().unwrap_or(0);
    let matters = |class: usize| {
        class == shown.label as usize || models.iter().any(|scores| scores.class as usize == class)
    };
    let ranges: Vec<(f64, f64)> = models
        .iter()
        .map(|scores| {
            let hull = |(low, high): (f64, f64), &value: &f64| (low.min(value), high.max(value));
            scores.outputs.iter().fold((f64::INFINITY, f64::NEG_INFINITY), hull)
        })
        .collect();
    for class in (0..classes).filter(|&class| classes <= MOST_BARS || matters(class)) {
        let label = if class == shown.label as usize { " label" } else { "" };
        text += &format!("<tr><th scope=\"row\">{class}{label}</th>");
        for (scores, (least, greatest)) in models.iter().zip(&ranges) {
            let value = scores.outputs.get(class).copied().unwrap_or(0.0);
            let given = class == scores.class as usize;
            text += &format!(
                "<td title=\"{}\">{}<span class=\"given\">{}</span></td>",
                short(value),
                chart::bar((value - least) / (greatest - least), if given { "bar" } else { "bar other" }),
                if given { "\u{25c0}<span class=\"visually-hidden\"> class given</span>" } else { "" }
            );
        }
        text += "</tr>\n";
    }
    text + "</tbody></table>"
}

/// A table for each matrix: darker is more, and the number is in each cell.
pub(super) fn confusions(report: &Report) -> String {
    if report.confusions.is_empty() {
        return String::new();
    }
    let blocks: String = report.confusions.iter().map(confusion).collect();
    format!(
        "<p>A row is a label, a column the class given. What is off the diagonal is wrong.</p>\n<div class=\"matrices\">\n{blocks}</div>\n"
    )
}

fn confusion(confusion: &Confusion) -> String {
    let classes: Vec<String> = (0..confusion.counts.len()).map(|class| format!("#{class}")).collect();
    let mut titles = vec!["label"];
    titles.extend(classes.iter().map(String::as_str));
    let most_wrong = wrong(confusion).map(|(_, _, images)| images).max().unwrap_or(1).max(1);
    let rows: Vec<Vec<String>> = confusion
        .counts
        .iter()
        .enumerate()
        .map(|(label, row)| {
            let cells = row.iter().enumerate().map(|(class, &images)| match (images, label == class) {
                (0, _) => String::new(),
                (_, true) => format!("<b>{images}</b>"),
                (_, false) => {
                    // Four shades, so that a number is readable on each.
                    let shade = (images * 4).div_ceil(most_wrong);
                    format!("<span class=\"wrong shade{shade}\">{images}</span>")
                }
            });
            std::iter::once(label.to_string()).chain(cells).collect()
        })
        .collect();
    let worst = wrong(confusion).max_by_key(|&(_, _, images)| images).filter(|&(_, _, images)| images > 0);
    let sentence = worst.map_or_else(String::new, |(label, class, images)| {
        format!("<p class=\"note\">Most often, {images} times, a {label} is taken for a {class}.</p>\n")
    });
    let caption = format!("Confusion matrix of {}", confusion.stage);
    format!("<div class=\"matrix\">{}{sentence}</div>\n", table::table(&caption, &titles, &rows))
}

fn wrong(confusion: &Confusion) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
    confusion.counts.iter().enumerate().flat_map(|(label, row)| {
        row.iter()
            .enumerate()
            .filter(move |(class, _)| *class != label)
            .map(move |(class, &images)| (label, class, images))
    })
}
