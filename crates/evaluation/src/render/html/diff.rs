//! Two graphs, node beside node: which are the same, which changed, which came and which went.

use std::collections::HashMap;

use crate::{GraphSummary, NodeSummary, ValueSummary};

/// Comparing takes time and memory by the product of both numbers of nodes.
pub(super) const MOST_NODES: usize = 1_500;

/// Nodes that stand side by side; of a graph that has none here there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub before: Option<usize>,
    pub after: Option<usize>,
    /// Both are one node, by its name; else they only share a row.
    pub same_node: bool,
    /// What changed of that node, a word each.
    pub changes: Vec<&'static str>,
}

impl Pair {
    /// Nothing is to be seen here.
    pub(super) fn is_unchanged(&self) -> bool {
        self.same_node && self.changes.is_empty()
    }
}

/// The nodes of a graph that are drawn: a constant stands within the nodes that read it.
pub(super) fn drawn(graph: &GraphSummary) -> Vec<usize> {
    (0..graph.nodes.len()).filter(|&index| graph.nodes[index].op != "Constant").collect()
}

/// Both graphs in rows, each in its own order: the longest common subsequence of names, and beside each other what is
/// between. None for graphs that are too large.
pub(super) fn align(before: &GraphSummary, after: &GraphSummary) -> Option<Vec<Pair>> {
    let (old, new) = (drawn(before), drawn(after));
    if old.len().max(new.len()) > MOST_NODES {
        return None;
    }
    let name_of = |graph: &GraphSummary, index: usize| graph.nodes[index].name.clone();
    let mut numbers = HashMap::new();
    let mut number = |name: String| {
        let next = numbers.len();
        *numbers.entry(name).or_insert(next)
    };
    let old_names: Vec<usize> = old.iter().map(|&index| number(name_of(before, index))).collect();
    let new_names: Vec<usize> = new.iter().map(|&index| number(name_of(after, index))).collect();

    // The longest common subsequence of what follows each pair of positions.
    let width = new.len() + 1;
    let mut longest = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i * width + j] = if old_names[i] == new_names[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let mut pairs = Vec::new();
    let (mut i, mut j) = (0, 0);
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old_names[i] == new_names[j] {
            side_by_side(&mut gone, &mut come, &mut pairs);
            let changes = changes((before, &before.nodes[old[i]]), (after, &after.nodes[new[j]]));
            pairs.push(Pair { before: Some(old[i]), after: Some(new[j]), same_node: true, changes });
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && longest[(i + 1) * width + j] >= longest[i * width + j + 1])
        {
            gone.push(old[i]);
            i += 1;
        } else {
            come.push(new[j]);
            j += 1;
        }
    }
    side_by_side(&mut gone, &mut come, &mut pairs);
    Some(pairs)
}

fn side_by_side(gone: &mut Vec<usize>, come: &mut Vec<usize>, pairs: &mut Vec<Pair>) {
    for row in 0..gone.len().max(come.len()) {
        let (before, after) = (gone.get(row).copied(), come.get(row).copied());
        pairs.push(Pair { before, after, ..Pair::default() });
    }
    gone.clear();
    come.clear();
}

/// What differs between two nodes of one name.
fn changes(before: (&GraphSummary, &NodeSummary), after: (&GraphSummary, &NodeSummary)) -> Vec<&'static str> {
    let mut changes = Vec::new();
    if before.1.op != after.1.op {
        changes.push("operator");
    }
    let operands =
        |(graph, node): (&GraphSummary, &NodeSummary), constant: bool| -> Vec<Option<ValueSummary>> {
            node.inputs
                .iter()
                .flatten()
                .map(|name| graph.values.get(name).cloned())
                .filter(|value| value.as_ref().is_some_and(|value| value.constant.is_some()) == constant)
                .collect()
        };
    if operands(before, true) != operands(after, true) {
        changes.push("constants");
    }
    let of_type = |(graph, node): (&GraphSummary, &NodeSummary)| graph.values.get(&node.output).cloned();
    if operands(before, false) != operands(after, false) || of_type(before) != of_type(after) {
        changes.push("types");
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of nodes `name:operator`.
    fn chain(nodes: &[&str]) -> GraphSummary {
        let mut graph = GraphSummary { inputs: vec!["x".to_owned()], ..GraphSummary::default() };
        let mut last = "x".to_owned();
        for node in nodes {
            let (name, op) = node.split_once(':').unwrap();
            let output = format!("{name}_out");
            let value = ValueSummary { dtype: "u8".to_owned(), shape: vec!["N".to_owned()], constant: None };
            graph.values.insert(output.clone(), value);
            graph.nodes.push(NodeSummary {
                name: name.to_owned(),
                op: op.to_owned(),
                inputs: vec![Some(std::mem::replace(&mut last, output.clone()))],
                output,
            });
        }
        graph.outputs = vec![last];
        graph
    }

    fn shown(before: &[&str], after: &[&str]) -> Vec<String> {
        let (before, after) = (chain(before), chain(after));
        let name = |graph: &GraphSummary, index: Option<usize>| {
            index.map_or_else(|| "-".to_owned(), |index| graph.nodes[index].name.clone())
        };
        align(&before, &after)
            .unwrap()
            .iter()
            .map(|pair| {
                let kind = if pair.is_unchanged() { "same".to_owned() } else { pair.changes.join(" ") };
                format!("{} {} {kind}", name(&before, pair.before), name(&after, pair.after))
                    .trim()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn what_stays_stands_in_one_row_and_what_is_replaced_beside_what_replaces_it() {
        assert_eq!(
            shown(&["a:Conv", "q:QuantizeLinear", "b:Relu"], &["a:ConvInteger", "m:Mul", "d:Div", "b:Relu"]),
            ["a a operator", "q m", "- d", "b b same"]
        );
        assert_eq!(shown(&["a:Conv", "a2:Constant"], &["a:Conv"]), ["a a same"]);
        assert!(shown(&[], &[]).is_empty());
    }

    #[test]
    fn graphs_beyond_measure_are_not_compared() {
        let many: Vec<String> = (0..=MOST_NODES).map(|number| format!("{number}:Add")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(align(&chain(&many), &chain(&[])), None);
    }
}
