//! Where the elements of a value come from and go to, through the operators that only move them.

use std::collections::HashSet;

use crate::{Graph, Node, Op, ValueId};

/// Whether that operand slot of a node holds elements that the node moves.
pub fn moves_slot(node: &Node, slot: usize) -> bool {
    node.op.moves_data() && (slot == 0 || matches!(node.op, Op::Concat { .. }))
}

/// The values that the elements of `value` come from: upwards through movers, each value once, in
/// the order of operands.
pub fn origins(graph: &Graph, value: ValueId) -> Vec<ValueId> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if !seen.insert(value) {
            continue;
        }
        match graph.producer(value) {
            Some((_, node)) if node.op.moves_data() => {
                let moved = node.inputs.iter().enumerate().filter(|(slot, _)| moves_slot(node, *slot));
                open.extend(moved.filter_map(|(_, input)| *input).rev());
            }
            _ => found.push(value),
        }
    }
    found
}

/// `value` and every value that its elements go to: downwards through movers, each once.
pub fn carriers(graph: &Graph, value: ValueId) -> Vec<ValueId> {
    let mut found = vec![value];
    let mut seen = HashSet::from([value]);
    let mut next = 0;
    while let Some(&value) = found.get(next) {
        next += 1;
        for (consumer, slot) in graph.consumers(value) {
            let node = graph.node(consumer);
            if moves_slot(node, slot) && seen.insert(node.output) {
                found.push(node.output);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_followed_through_movers_and_no_further() {
        let graph = Graph::from_text(
            "in %x: u8[2,4]
             in %y: u8[2,4]
             %a = Identity(%x)
             %b = Flatten(%x) axis=1
             %c = Concat(%a, %y, %b) axis=1
             %d = Cast(%c) to=i32
             out %d",
        )
        .unwrap();
        let value = |name| graph.value_by_name(name).unwrap();
        assert_eq!(origins(&graph, value("c")), [value("x"), value("y")]);
        assert_eq!(origins(&graph, value("d")), [value("d")]);
        assert_eq!(carriers(&graph, value("x")), ["x", "a", "b", "c"].map(value));
    }
}
