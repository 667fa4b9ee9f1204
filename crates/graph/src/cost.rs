//! What a graph costs to run.

use crate::{Dim, Graph, Node, Op, ValueId};

/// Multiplications and additions of all layers for one image; an extent that is not known counts as 1.
pub fn multiply_adds(graph: &Graph) -> u64 {
    graph.nodes().map(|(_, node)| of_node(graph, node)).sum()
}

fn of_node(graph: &Graph, node: &Node) -> u64 {
    // Of an output element: what its filter, or its row and column, have of taps.
    let taps = match &node.op {
        Op::Conv(_) | Op::ConvInteger(_) => extents(graph, node.input(1)).skip(1).product(),
        Op::Gemm(attributes) => {
            extents(graph, node.input(1)).nth(usize::from(attributes.trans_b)).unwrap_or(1)
        }
        Op::MatMul | Op::MatMulInteger => extents(graph, node.input(0)).last().unwrap_or(1),
        _ => return 0,
    };
    // The first extent is the batch.
    extents(graph, Some(node.output)).skip(1).product::<u64>() * taps
}

fn extents(graph: &Graph, value: Option<ValueId>) -> impl Iterator<Item = u64> + '_ {
    let shape: &[Dim] = value.map_or(&[], |value| &graph.value(value).ty.shape);
    shape.iter().map(|dim| dim.fixed().map_or(1, |extent| extent as u64))
}

#[cfg(test)]
mod tests {
    use super::multiply_adds;
    use crate::Graph;

    #[test]
    fn layers_count_their_taps_at_each_output() {
        let graph = Graph::from_text(
            "in %x: f32[N,4,5,5], %w: f32[6,2,3,3], %v: f32[7,54], %u: f32[7,3]
             %a = Conv(%x, %w) group=2
             %b = Relu(%a)
             %c = Flatten(%b)
             %d = Gemm(%c, %v) transB=1
             %e = MatMul(%d, %u)
             out %e",
        )
        .unwrap();
        assert_eq!(multiply_adds(&graph), 6 * 9 * 18 + 7 * 54 + 3 * 7);
    }
}
