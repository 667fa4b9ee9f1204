//! Stage by stage: what the step did, what was promised of it and what was measured, and its graphs.

use serde_json::Value;

use super::super::numbers::{gap, measure_footnotes, percent, short, significant, thousands};
use super::diagram::{Column, Item, Mark};
use super::{diagram, diff, escape, table};
use crate::{Report, StageRow, Training, TransformRecord};

/// What all diagrams of a page may take; the page is to stay below 6 MB, and the network that can be tried takes more.
const DIAGRAM_BYTES: usize = 3 << 19;

/// Unchanged nodes that are still drawn at each side of a change.
const CONTEXT: usize = 1;

/// One part that opens for each stage.
pub(super) fn stages(report: &Report) -> String {
    let mut room = DIAGRAM_BYTES;
    let mut text = "<p>Each step opens: what it changed, what was promised and measured, and the graph before and after. \
                    In diagrams new nodes say <b>+ new</b>, nodes that go say <b>\u{2212} goes</b>, and changed ones <b>~</b> with what changed.</p>\n"
        .to_owned();
    for (index, row) in report.stages.iter().enumerate() {
        let previous = index.checked_sub(1).map(|before| &report.stages[before]);
        let is_open = if index + 1 == report.stages.len() { " open" } else { "" };
        text += &format!(
            "<details class=\"stage\"{is_open}>\n<summary>{}</summary>\n",
            summary(index, row, report)
        );
        let record = report.transforms.iter().find(|record| record.stage == row.name);
        text += &relation(row, record, report);
        if let (0, Some(training)) = (index, &report.training) {
            text += &trained(training);
        }
        if let Some(record) = record {
            text += &sites(record);
        }
        if let Some(previous) = previous {
            let drawing = side_by_side(previous, row);
            text += &framed(drawing, "before and after", row, &mut room);
        }
        let drawing = full(row);
        let frame = framed(drawing, "the whole graph", row, &mut room);
        text += &format!(
            "<details class=\"full\">\n<summary>The whole graph of <code>{}</code>, {} nodes</summary>\n{frame}</details>\n",
            escape::text(&row.name),
            thousands(row.graph.nodes.len() as u64)
        );
        text += "</details>\n";
    }
    for footnote in measure_footnotes(report) {
        text += &format!("<p class=\"note\">{}.</p>\n", escape::text(&footnote));
    }
    text
}

fn summary(index: usize, row: &StageRow, report: &Report) -> String {
    let made_by = row
        .made_by
        .as_ref()
        .map_or_else(String::new, |name| format!(" <span class=\"muted\">by {}</span>", escape::text(name)));
    let changed = row.versus_previous.as_ref().map_or_else(String::new, |versus| {
        match report.dataset.images.saturating_sub(versus.agreeing) {
            0 => "no class changed".to_owned(),
            1 => "1 class changed".to_owned(),
            changed => format!("{} classes changed", thousands(changed as u64)),
        }
    });
    format!(
        "<span class=\"step\">{index}</span> <b>{}</b>{made_by} <span class=\"muted right\">{}{}{changed}</span>",
        escape::text(&row.name),
        percent(row.accuracy.fraction),
        if changed.is_empty() { "" } else { ", " }
    )
}

/// What is promised and what was found.
fn relation(row: &StageRow, record: Option<&TransformRecord>, report: &Report) -> String {
    let mut rows = Vec::new();
    if let Some(promise) = &row.relation {
        rows.push(vec!["promised".to_owned(), escape::text(promise)]);
    }
    if let Some(measured) = record.and_then(|record| record.details.get("probe")).and_then(probe) {
        rows.push(vec!["measured by the transform".to_owned(), measured]);
    }
    if let Some(versus) = &row.versus_previous {
        let bits = versus.different_outputs.map_or_else(String::new, |outputs| {
            format!("; {} outputs differ in bits", thousands(outputs as u64))
        });
        rows.push(vec![
            "measured on all images".to_owned(),
            format!(
                "{} of {} keep their class; {}; the largest gap of a score is {}{bits}",
                thousands(versus.agreeing as u64),
                thousands(report.dataset.images as u64),
                escape::text(&versus.paired_test.to_string()),
                escape::text(&gap(Some(versus)))
            ),
        ]);
    }
    let floats = row.census.float_tensors();
    rows.push(vec![
        "graph".to_owned(),
        format!("{} nodes, {floats} float tensors", thousands(row.census.nodes as u64)),
    ]);
    table::table(&format!("What holds of {}", row.name), &["", ""], &rows)
}

/// The numeric probe of a record, as far as it is what we know.
fn probe(probe: &Value) -> Option<String> {
    let images = probe.get("images")?.as_u64()?;
    let mut text = format!("{} inputs", thousands(images));
    if let Some(changes) = probe.get("argmax_changes").and_then(Value::as_u64) {
        text += &format!(", {} classes changed", thousands(changes));
    }
    if let Some(gap) = probe.get("largest_gap").and_then(Value::as_f64) {
        text += &format!(", largest gap {}", significant(gap));
    }
    if let Some(logit) = probe.get("largest_logit").and_then(Value::as_f64) {
        text += &format!(" at scores up to {}", significant(logit));
    }
    Some(text)
}

fn trained(training: &Training) -> String {
    let recipe: Vec<String> = training
        .recipe
        .iter()
        .map(|(name, value)| format!("{} {}", escape::text(name), escape::text(value)))
        .collect();
    let last = training.epochs.last();
    let loss =
        last.map_or_else(String::new, |epoch| format!(", to a loss of {}", significant(epoch.training_loss)));
    format!("<p>Trained for {} epochs{loss}. Recipe: {}.</p>\n", training.epochs.len(), recipe.join(", "))
}

fn sites(record: &TransformRecord) -> String {
    if record.sites.is_empty() {
        return "<p>There was nothing to change.</p>\n".to_owned();
    }
    let with_numbers = record.sites.iter().any(|site| !site.notes.is_empty());
    let rows: Vec<Vec<String>> = record
        .sites
        .iter()
        .map(|site| {
            let mut cells = vec![escape::text(&site.node), escape::text(&site.change)];
            if with_numbers {
                let notes = site.notes.iter();
                let notes = notes.map(|note| format!("{}: {}", escape::text(&note.name), short(note.value)));
                cells.push(notes.collect::<Vec<_>>().join("<br>"));
            }
            cells
        })
        .collect();
    let titles: &[&str] = if with_numbers { &["node", "change", "numbers"] } else { &["node", "change"] };
    table::table(&format!("What {} changed: {} places", record.transform, rows.len()), titles, &rows)
}

/// A diagram that scrolls and zooms, as long as there is room on the page.
fn framed(drawing: Option<String>, what: &str, row: &StageRow, room: &mut usize) -> String {
    match drawing {
        Some(drawing) if drawing.len() <= *room => {
            *room -= drawing.len();
            let name = escape::text(&row.name);
            format!(
                "<div class=\"frame\"><div class=\"zoom\" hidden><button type=\"button\" data-zoom=\"0.8\" aria-label=\"smaller\">\u{2212}</button>\
                 <button type=\"button\" data-zoom=\"1.25\" aria-label=\"larger\">+</button>\
                 <button type=\"button\" data-zoom=\"0\">fit</button></div>\
                 <div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{name}, {what}\">\n{drawing}</div></div>\n"
            )
        }
        _ => format!(
            "<p>The diagram of {what} is too large for this page; <code>report.json</code> has the graph.</p>\n"
        ),
    }
}

fn full(row: &StageRow) -> Option<String> {
    let nodes = diff::drawn(&row.graph);
    if nodes.len() > diff::MOST_NODES {
        return None;
    }
    let mut items = vec![Item::Inputs];
    items.extend(nodes.into_iter().map(|node| Item::Node(node, Mark::Plain)));
    items.push(Item::Outputs);
    let column = Column { title: String::new(), graph: &row.graph, items };
    Some(diagram::draw(&[column], &format!("{}, {}", row.name, diagram::describe(&row.graph))))
}

fn side_by_side(before: &StageRow, after: &StageRow) -> Option<String> {
    let pairs = diff::align(&before.graph, &after.graph)?;
    let near = |at: usize| {
        let ends = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(pairs.len());
        pairs[ends].iter().any(|pair| !pair.is_unchanged())
    };
    let (mut left, mut right) = (vec![Item::Inputs], vec![Item::Inputs]);
    let mut at = 0;
    let (mut gone, mut come, mut changed) = (0, 0, 0);
    while at < pairs.len() {
        let folded = pairs[at..].iter().enumerate().take_while(|(offset, _)| !near(at + offset)).count();
        // A fold of one node says less than the node.
        if folded > 1 {
            let run = &pairs[at..at + folded];
            left.push(Item::Fold(run.iter().filter_map(|pair| pair.before).collect()));
            right.push(Item::Fold(run.iter().filter_map(|pair| pair.after).collect()));
            at += folded;
            continue;
        }
        let pair = &pairs[at];
        let (old, new) = match (pair.same_node, pair.changes.is_empty()) {
            (true, true) => (Mark::Plain, Mark::Plain),
            (true, false) => {
                changed += 1;
                (Mark::Changed(pair.changes.clone()), Mark::Changed(pair.changes.clone()))
            }
            (false, _) => {
                gone += usize::from(pair.before.is_some());
                come += usize::from(pair.after.is_some());
                (Mark::Gone, Mark::New)
            }
        };
        left.push(pair.before.map_or(Item::Empty, |node| Item::Node(node, old)));
        right.push(pair.after.map_or(Item::Empty, |node| Item::Node(node, new)));
        at += 1;
    }
    left.push(Item::Outputs);
    right.push(Item::Outputs);
    let column = |title: &str, graph, items| Column { title: title.to_owned(), graph, items };
    let label = format!(
        "{} beside {}: {gone} nodes go, {come} are new, {changed} change; before, {}; after, {}",
        before.name,
        after.name,
        diagram::describe(&before.graph),
        diagram::describe(&after.graph)
    );
    let columns = [
        column(&format!("before: {}", before.name), &before.graph, left),
        column(&format!("after: {}", after.name), &after.graph, right),
    ];
    Some(diagram::draw(&columns, &label))
}
