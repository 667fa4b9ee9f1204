//! A `Pad` of zeros in front of a convolution is the convolution's own padding.

use onnx2int_graph::infer::resolve_axis;
use onnx2int_graph::pointwise::known_tensor;
use onnx2int_graph::{ConvAttributes, Graph, Node, NodeId, Op, Pads};

use crate::edits::rewrite_each;
use crate::{RewriteLog, TransformError};

pub(super) fn rewrite(graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let sites: Vec<(NodeId, &ConvAttributes, &Node, Pads)> = graph
        .nodes()
        .filter_map(|(id, node)| {
            let Op::Conv(attributes) = &node.op else { return None };
            let (_, pad) = graph.producer(node.input(0)?)?;
            Some((id, attributes, pad, zeros_around(&graph, pad)?))
        })
        .collect();
    rewrite_each(&graph, sites, |editor, (id, attributes, pad, around)| {
        let sum =
            |own: &[usize], more: &[usize]| own.iter().zip(more).map(|(own, more)| own + more).collect();
        let pads = Pads {
            begin: sum(&attributes.pads.begin, &around.begin),
            end: sum(&attributes.pads.end, &around.end),
        };
        let mut inputs = graph.node(id).inputs.clone();
        inputs[0] = pad.input(0);
        editor.replace_node(id, Op::Conv(ConvAttributes { pads, ..attributes.clone() }), inputs);
        log.changed(&graph.node(id).name, format!("pads as {:?} did before it", pad.name));
        Ok(())
    })
}

/// What a `Pad` adds around the spatial axes, if that is all that it does and it adds zeros.
fn zeros_around(graph: &Graph, node: &Node) -> Option<Pads> {
    if !matches!(node.op, Op::Pad) {
        return None;
    }
    let adds_zeros = match node.input(2) {
        None => true,
        Some(value) => known_tensor(graph, value)?.as_single::<f32>() == Some(0.0),
    };
    let numbers = |slot| known_tensor(graph, node.input(slot)?)?.to_i64_vec();
    let rank = graph.operand(node, 0)?.ty.rank();
    let axes: Vec<usize> = match node.input(3) {
        None => (0..rank).collect(),
        Some(_) => {
            numbers(3)?.into_iter().map(|axis| resolve_axis(axis, rank).ok()).collect::<Option<_>>()?
        }
    };
    let pads = numbers(1)?;
    let spatial = rank.checked_sub(2)?;
    let mut around = Pads::symmetric(0, spatial);
    for (position, &axis) in axes.iter().enumerate() {
        let begin = usize::try_from(*pads.get(position)?).ok()?;
        let end = usize::try_from(*pads.get(position + axes.len())?).ok()?;
        match axis.checked_sub(2) {
            Some(spatial) => (around.begin[spatial], around.end[spatial]) = (begin, end),
            None if (begin, end) == (0, 0) => {}
            None => return None,
        }
    }
    adds_zeros.then_some(around)
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_form, check_form_unchanged};

    #[test]
    fn zeros_around_the_image_are_padding() {
        check_form(
            super::rewrite,
            "in %x: f32[N,1,4,4], %w: f32[2,1,3,3]
             const %pads: i64[8] = [0, 0, 1, 0, 0, 0, 2, 0]
             %p = Pad(%x, %pads)
             %y = Conv(%p, %w) pads=[0,1,0,1]
             out %y",
            "in %x: f32[N,1,4,4], %w: f32[2,1,3,3]
             %y = Conv(%x, %w) pads=[1,1,2,1]
             out %y",
        );
    }

    #[test]
    fn other_values_and_axes_are_left_alone() {
        for (pads, value) in [("[0, 1, 0, 0, 0, 0, 0, 0]", ""), ("[0, 0, 1, 0, 0, 0, 2, 0]", ", 1.0")] {
            check_form_unchanged(
                super::rewrite,
                &format!(
                    "in %x: f32[N,1,4,4], %w: f32[2,C,3,3]
                     const %pads: i64[8] = {pads}
                     %p = Pad(%x, %pads{value})
                     %y = Relu(%p)
                     out %y"
                ),
            );
        }
    }
}
