//! Graphs as SVG: boxes in execution order from top to bottom, as people know them from Netron.
//!
//! Arrows between neighbors run straight down; every other edge has a lane at the right. So any graph has a drawing,
//! two of them can stand side by side row by row, and a column is as narrow as a phone.

use std::collections::{BTreeSet, HashMap};

use super::super::numbers::{short, thousands};
use super::escape;
use crate::{GraphSummary, ValueSummary};

const BOX: usize = 284;
const HEAD: usize = 24;
const LINE: usize = 16;
/// Between two rows: an arrow, and the type of what flows.
const GAP: usize = 34;
const LANE: usize = 10;
/// Characters of a line in a box.
const CHARACTERS: usize = 37;

/// What stands in one row of a column.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// Nothing: the other graph has something here.
    Empty,
    /// The graph's inputs.
    Inputs,
    /// The graph's outputs.
    Outputs,
    /// A node with what is said of it, if anything is.
    Node(usize, Mark),
    /// Nodes that are not drawn one by one.
    Fold(Vec<usize>),
}

/// What is marked of a node, by a word, the border's form and a color.
#[derive(Clone, Debug)]
pub(super) enum Mark {
    Plain,
    Gone,
    New,
    Changed(Vec<&'static str>),
}

/// A graph, or a part of it; all columns of a drawing have one item for each row.
pub(super) struct Column<'a> {
    pub title: String,
    pub graph: &'a GraphSummary,
    pub items: Vec<Item>,
}

/// The drawing; `label` says what it is to those who do not see it.
pub(super) fn draw(columns: &[Column<'_>], label: &str) -> String {
    let rows = columns.iter().map(|column| column.items.len()).max().unwrap_or(0);
    let height_of = |row: usize| {
        columns.iter().filter_map(|column| Some(content(column.graph, column.items.get(row)?).height())).max()
    };
    let top = if columns.iter().any(|column| !column.title.is_empty()) { 30 } else { 6 };
    let mut places = Vec::with_capacity(rows);
    let mut y = top;
    for row in 0..rows {
        places.push(y);
        y += height_of(row).unwrap_or(0) + GAP;
    }
    let height = y.saturating_sub(GAP) + 6;
    let (mut left, mut body) = (4, String::new());
    for column in columns {
        let (text, width) = draw_column(column, &places, left);
        body += &text;
        left += width + 24;
    }
    let width = left.saturating_sub(20);
    format!(
        "<svg class=\"diagram\" role=\"img\" aria-label=\"{}\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         xmlns=\"http://www.w3.org/2000/svg\">{body}</svg>\n",
        escape::text(label)
    )
}

/// An item as it is written: a head and lines below it.
#[derive(Default)]
struct Content {
    head: String,
    lines: Vec<String>,
    class: &'static str,
    mark: &'static str,
    /// The whole names, shown when pointed at.
    title: String,
    drawn: bool,
}

impl Content {
    fn height(&self) -> usize {
        match (self.drawn, self.lines.len()) {
            (false, _) => 0,
            (true, 0) => HEAD,
            (true, lines) => HEAD + LINE * lines + 8,
        }
    }
}

fn content(graph: &GraphSummary, item: &Item) -> Content {
    let ends = |head: &str, names: &[String]| Content {
        head: head.to_owned(),
        lines: names.iter().map(|name| escape::short(name, CHARACTERS)).collect(),
        class: "end",
        title: escape::text(&names.join(", ")),
        drawn: true,
        ..Content::default()
    };
    match item {
        Item::Empty => Content::default(),
        Item::Inputs => ends("input", &graph.inputs),
        Item::Outputs => ends("output", &graph.outputs),
        Item::Fold(nodes) => Content {
            head: format!("\u{22ee} {} unchanged nodes", nodes.len()),
            class: "fold",
            title: nodes
                .iter()
                .map(|&node| escape::text(&graph.nodes[node].name))
                .collect::<Vec<_>>()
                .join(", "),
            drawn: true,
            ..Content::default()
        },
        Item::Node(index, mark) => node(graph, *index, mark),
    }
}

fn node(graph: &GraphSummary, index: usize, mark: &Mark) -> Content {
    let node = &graph.nodes[index];
    let mut lines = Vec::new();
    let mark = match mark {
        Mark::Plain => "",
        Mark::Gone => {
            lines.push("<tspan class=\"word\">\u{2212} goes</tspan>".to_owned());
            "gone"
        }
        Mark::New => {
            lines.push("<tspan class=\"word\">+ new</tspan>".to_owned());
            "new"
        }
        Mark::Changed(what) => {
            lines.push(format!("<tspan class=\"word\">~ {}</tspan>", what.join(", ")));
            "changed"
        }
    };
    lines.push(escape::short(&node.name, CHARACTERS));
    for name in node.inputs.iter().flatten() {
        if let Some(value) = graph.values.get(name)
            && value.constant.is_some()
        {
            lines.extend(constant(name, value));
        }
    }
    Content {
        head: escape::short(&node.op, 30),
        lines,
        class: category(&node.op),
        mark,
        title: escape::text(&node.name),
        drawn: true,
    }
}

/// A constant in a line or two: its name, type, and the range of its elements.
fn constant(name: &str, value: &ValueSummary) -> Vec<String> {
    let Some(constant) = &value.constant else { return Vec::new() };
    let class = |text: &str| format!("<tspan class=\"constant\">{text}</tspan>");
    let elements: Option<usize> = value.shape.iter().map(|extent| extent.parse::<usize>().ok()).product();
    match (elements, constant.least, constant.greatest) {
        (Some(1), Some(only), _) => {
            let tail = format!(" = {} {}", short(only), value.dtype);
            let most = CHARACTERS.saturating_sub(tail.chars().count());
            vec![class(&format!("{}{}", escape::short(name, most.max(8)), escape::text(&tail)))]
        }
        (_, Some(least), Some(greatest)) => {
            let kind = kind(value);
            let range = if least == greatest {
                format!(", all {}", short(least))
            } else {
                format!(", {} to {}", short(least), short(greatest))
            };
            vec![
                class(&escape::short(name, CHARACTERS)),
                class(&format!("\u{2003}{}", escape::short(&format!("{kind}{range}"), CHARACTERS))),
            ]
        }
        _ => vec![class(&escape::short(&format!("{name}: {}", kind(value)), CHARACTERS))],
    }
}

/// `u8 N x 32 x 28 x 28`.
fn kind(value: &ValueSummary) -> String {
    if value.shape.is_empty() {
        return format!("{} scalar", value.dtype);
    }
    format!("{} {}", value.dtype, value.shape.join("\u{d7}"))
}

/// The color of an operator, as a class.
fn category(op: &str) -> &'static str {
    match op {
        "Conv" | "ConvInteger" | "Gemm" | "MatMul" | "MatMulInteger" => "layer",
        "Relu" | "Clip" | "Sigmoid" | "Tanh" | "LeakyRelu" | "HardSigmoid" | "HardSwish" | "Elu"
        | "Softmax" | "LogSoftmax" | "Min" | "Max" => "activation",
        "QuantizeLinear" | "DequantizeLinear" | "Cast" => "quantizer",
        "MaxPool" | "AveragePool" | "GlobalAveragePool" | "ReduceMean" => "pool",
        "Flatten" | "Reshape" | "Transpose" | "Concat" | "Slice" | "Pad" | "Squeeze" | "Unsqueeze"
        | "Gather" | "Identity" => "movement",
        _ => "arithmetic",
    }
}

/// One graph with its edges, and how wide it is.
fn draw_column(column: &Column<'_>, places: &[usize], left: usize) -> (String, usize) {
    let Column { title, graph, items } = column;
    let contents: Vec<Content> = items.iter().map(|item| content(graph, item)).collect();
    let bottom = |row: usize| places[row] + contents[row].height();
    let center = left + BOX / 2;
    let (straight, lanes, lane_count) = edges(graph, items);
    let mut text = String::new();
    if !title.is_empty() {
        text += &format!("<text class=\"column\" x=\"{left}\" y=\"18\">{}</text>", escape::text(title));
    }
    for (from, to) in straight {
        text += &format!(
            "<path class=\"edge\" d=\"M{center} {}V{}\"/>{}",
            bottom(from),
            places[to] - 2,
            head(center, places[to], false)
        );
    }
    for (from, to, lane) in lanes {
        let (edge, x) = (left + BOX, left + BOX + LANE * (lane + 1));
        let (start, end) = (bottom(from).saturating_sub(8), places[to] + 12);
        text += &format!(
            "<path class=\"edge\" d=\"M{edge} {start}H{x}V{end}H{}\"/>{}",
            edge + 2,
            head(edge, end, true)
        );
    }
    for (row, (item, content)) in items.iter().zip(&contents).enumerate() {
        if !content.drawn {
            continue;
        }
        text += &boxed(content, left, places[row]);
        if let Some(value) = result(graph, item) {
            text += &format!(
                "<text class=\"type\" x=\"{}\" y=\"{}\">{}</text>",
                center + 8,
                bottom(row) + 20,
                escape::short(&kind(value), 20)
            );
        }
    }
    (text, BOX + LANE * lane_count + if lane_count > 0 { 4 } else { 0 })
}

/// The tip of an arrow.
fn head(x: usize, y: usize, to_the_left: bool) -> String {
    let path = if to_the_left { format!("M{x} {y}l7 -4v8z") } else { format!("M{x} {y}l-4 -7h8z") };
    format!("<path class=\"tip\" d=\"{path}\"/>")
}

fn boxed(content: &Content, left: usize, y: usize) -> String {
    let height = content.height();
    let mut text =
        format!("<g class=\"box {} {}\"><title>{}</title>", content.class, content.mark, content.title);
    text += &format!(
        "<rect class=\"body\" x=\"{left}\" y=\"{y}\" width=\"{BOX}\" height=\"{height}\" rx=\"5\"/>"
    );
    let round = if content.lines.is_empty() {
        format!("<rect class=\"head\" x=\"{left}\" y=\"{y}\" width=\"{BOX}\" height=\"{HEAD}\" rx=\"5\"/>")
    } else {
        format!(
            "<path class=\"head\" d=\"M{left} {}v-{1}a5 5 0 0 1 5 -5h{2}a5 5 0 0 1 5 5v{1}z\"/>",
            y + HEAD,
            HEAD - 5,
            BOX - 10
        )
    };
    text += &round;
    text += &format!("<text class=\"op\" x=\"{}\" y=\"{}\">{}</text>", left + 10, y + 17, content.head);
    for (line, words) in content.lines.iter().enumerate() {
        text += &format!("<text x=\"{}\" y=\"{}\">{words}</text>", left + 10, y + HEAD + LINE * (line + 1));
    }
    // The border comes last, so that nothing covers what it says.
    text += &format!(
        "<rect class=\"border\" x=\"{left}\" y=\"{y}\" width=\"{BOX}\" height=\"{height}\" rx=\"5\"/></g>"
    );
    text
}

/// The tensor that leaves an item downwards.
fn result<'a>(graph: &'a GraphSummary, item: &Item) -> Option<&'a ValueSummary> {
    let name = match item {
        Item::Inputs => graph.inputs.first()?,
        Item::Node(index, _) => &graph.nodes[*index].output,
        Item::Fold(nodes) => &graph.nodes[*nodes.last()?].output,
        Item::Empty | Item::Outputs => return None,
    };
    graph.values.get(name)
}

/// Rows joined by straight arrows, rows joined by lanes with the number of the lane, and the number of lanes.
#[expect(clippy::type_complexity, reason = "two lists of edges, and nothing else has this form")]
fn edges(
    graph: &GraphSummary,
    items: &[Item],
) -> (BTreeSet<(usize, usize)>, Vec<(usize, usize, usize)>, usize) {
    let mut producers: HashMap<&str, usize> = HashMap::new();
    let (mut straight, mut others) = (BTreeSet::new(), BTreeSet::new());
    let mut above = None;
    for (row, item) in items.iter().enumerate() {
        let nodes: &[usize] = match item {
            Item::Node(index, _) => std::slice::from_ref(index),
            Item::Fold(nodes) => nodes,
            Item::Empty | Item::Inputs | Item::Outputs => &[],
        };
        let mut reads: Vec<&str> = Vec::new();
        for &node in nodes {
            reads.extend(graph.nodes[node].inputs.iter().flatten().map(String::as_str));
        }
        if matches!(item, Item::Outputs) {
            reads.extend(graph.outputs.iter().map(String::as_str));
        }
        for name in reads {
            match producers.get(name) {
                Some(&from) if Some(from) == above => drop(straight.insert((from, row))),
                Some(&from) => drop(others.insert((from, row))),
                // A constant, or what a fold makes for itself.
                None => {}
            }
        }
        for &node in nodes {
            producers.insert(&graph.nodes[node].output, row);
        }
        if matches!(item, Item::Inputs) {
            producers.extend(graph.inputs.iter().map(|name| (name.as_str(), row)));
        }
        if !matches!(item, Item::Empty) {
            above = Some(row);
        }
    }
    // Short edges first, so that they are next to the boxes; a lane is free where nothing on it overlaps.
    let mut sorted: Vec<(usize, usize)> = others.into_iter().collect();
    sorted.sort_by_key(|&(from, to)| (to - from, from));
    let mut lanes: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut placed = Vec::new();
    for (from, to) in sorted {
        let free = |lane: &Vec<(usize, usize)>| lane.iter().all(|&(start, end)| to <= start || end <= from);
        let lane = lanes.iter().position(free).unwrap_or_else(|| {
            lanes.push(Vec::new());
            lanes.len() - 1
        });
        lanes[lane].push((from, to));
        placed.push((from, to, lane));
    }
    (straight, placed, lanes.len())
}

/// A graph in words: what the diagram's label says.
pub(super) fn describe(graph: &GraphSummary) -> String {
    let mut runs: Vec<(&str, usize)> = Vec::new();
    for node in graph.nodes.iter().filter(|node| node.op != "Constant") {
        match runs.last_mut() {
            Some((op, count)) if *op == node.op => *count += 1,
            _ => runs.push((&node.op, 1)),
        }
    }
    let shown: Vec<String> = runs
        .iter()
        .take(60)
        .map(|(op, count)| if *count == 1 { (*op).to_owned() } else { format!("{count} {op}") })
        .collect();
    let more = if runs.len() > 60 { ", and more" } else { "" };
    format!("{} nodes: {}{more}", thousands(graph.nodes.len() as u64), shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeSummary;

    fn node(name: &str, inputs: &[&str]) -> NodeSummary {
        let inputs = inputs.iter().map(|name| Some((*name).to_owned())).collect();
        NodeSummary { name: name.to_owned(), op: "Add".to_owned(), inputs, output: name.to_owned() }
    }

    #[test]
    fn neighbors_have_straight_arrows_and_every_other_edge_a_lane() {
        let graph = GraphSummary {
            inputs: vec!["x".to_owned()],
            outputs: vec!["c".to_owned()],
            // c adds a, which is two rows above, and b, twice.
            nodes: vec![node("a", &["x", "w"]), node("b", &["a"]), node("c", &["a", "b", "b"])],
            ..GraphSummary::default()
        };
        let mut items = vec![Item::Inputs];
        items.extend((0..3).map(|index| Item::Node(index, Mark::Plain)));
        items.push(Item::Outputs);
        let (straight, lanes, count) = edges(&graph, &items);
        assert_eq!(straight.into_iter().collect::<Vec<_>>(), [(0, 1), (1, 2), (2, 3), (3, 4)]);
        assert_eq!((lanes.as_slice(), count), (&[(1, 3, 0)][..], 1));

        let folded =
            [Item::Inputs, Item::Fold(vec![0, 1]), Item::Empty, Item::Node(2, Mark::New), Item::Outputs];
        let (straight, lanes, _) = edges(&graph, &folded);
        assert_eq!(straight.into_iter().collect::<Vec<_>>(), [(0, 1), (1, 3), (3, 4)]);
        assert!(lanes.is_empty());
    }

    #[test]
    fn edges_that_overlap_have_lanes_of_their_own() {
        let names = ["a", "b", "c", "d"];
        let mut graph =
            GraphSummary { nodes: names.map(|name| node(name, &[])).to_vec(), ..GraphSummary::default() };
        graph.nodes[2].inputs = vec![Some("a".to_owned())];
        graph.nodes[3].inputs = vec![Some("b".to_owned()), Some("a".to_owned())];
        let items: Vec<Item> = (0..4).map(|index| Item::Node(index, Mark::Plain)).collect();
        let (straight, lanes, count) = edges(&graph, &items);
        assert!(straight.is_empty());
        assert_eq!((lanes.as_slice(), count), (&[(0, 2, 0), (1, 3, 1), (0, 3, 2)][..], 3));
    }
}
