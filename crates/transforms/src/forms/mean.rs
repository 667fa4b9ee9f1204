//! A mean over all spatial axes is a `GlobalAveragePool`.
//!
//! Exporters write `x.mean((2, 3))` as `ReduceMean`; without the kept axes a `Flatten` follows. Keras has
//! channels last: a `Transpose` in front brings them to axis 1.

use onnx2int_graph::infer::resolve_axis;
use onnx2int_graph::pointwise::known_tensor;
use onnx2int_graph::{Graph, Node, NodeId, Op};

use crate::edits::{insert_behind, rewrite_each};
use crate::{RewriteLog, TransformError};

pub(super) fn rewrite(graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let sites: Vec<(NodeId, bool, Channels)> = graph
        .nodes()
        .filter_map(|(id, node)| match node.op {
            Op::ReduceMean { keepdims } => Some((id, keepdims, over_space(&graph, node)?)),
            _ => None,
        })
        .collect();
    rewrite_each(&graph, sites, |editor, (id, keepdims, channels)| {
        let node = graph.node(id);
        let rank = graph.operand(node, 0).map_or(0, |value| value.ty.rank());
        let mut operand = node.input(0);
        if channels == Channels::Last {
            let perm = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
            let output = &graph.value(node.output).name;
            operand = Some(editor.add_fresh_node(
                &format!("{output}_channels_first"),
                Op::Transpose { perm },
                [operand],
            )?);
        }
        editor.replace_node(id, Op::GlobalAveragePool, [operand]);
        if keepdims && channels == Channels::Last {
            let name = graph.value(node.output).name.clone();
            let pooled = editor.unique_name(&format!("{name}_pooled"));
            editor.rename_value(node.output, &pooled)?;
            let transpose = editor.unique_name(&format!("{}_channels_last", node.name));
            let perm = [0].into_iter().chain(2..rank).chain([1]).collect();
            insert_behind(editor, node.output, &transpose, Op::Transpose { perm }, &[], &name)?;
        }
        if !keepdims {
            let name = graph.value(node.output).name.clone();
            let pooled = editor.unique_name(&format!("{name}_pooled"));
            editor.rename_value(node.output, &pooled)?;
            let flatten = editor.unique_name(&format!("{}_flatten", node.name));
            insert_behind(editor, node.output, &flatten, Op::Flatten { axis: 1 }, &[], &name)?;
        }
        log.changed(&node.name, "ReduceMean over space is GlobalAveragePool");
        Ok(())
    })
}

/// Where the channels of what is averaged lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Channels {
    First,
    Last,
}

/// Where the channels lie, if a mean is over all axes but them and the batch.
fn over_space(graph: &Graph, node: &Node) -> Option<Channels> {
    let axes = known_tensor(graph, node.input(1)?)?.to_i64_vec()?;
    let rank = graph.operand(node, 0).map_or(0, |value| value.ty.rank());
    let mut resolved: Vec<usize> = axes.iter().filter_map(|&axis| resolve_axis(axis, rank).ok()).collect();
    resolved.sort_unstable();
    match rank {
        0..3 => None,
        _ if resolved.iter().copied().eq(2..rank) => Some(Channels::First),
        _ if resolved.iter().copied().eq(1..rank - 1) => Some(Channels::Last),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_form, check_form_unchanged};

    #[test]
    fn means_over_space_pool() {
        check_form(
            super::rewrite,
            "in %x: f32[N,3,4,4]
             const %axes: i64[2] = [-1, 2]
             %y = ReduceMean(%x, %axes) keepdims=0
             out %y",
            "in %x: f32[N,3,4,4]
             %y_pooled = GlobalAveragePool(%x) @y
             %y = Flatten(%y_pooled) @y_flatten
             out %y",
        );
        check_form(
            super::rewrite,
            "in %x: f32[N,3,4]
             const %axes: i64[1] = [2]
             %y = ReduceMean(%x, %axes) keepdims=1
             out %y",
            "in %x: f32[N,3,4]
             %y = GlobalAveragePool(%x)
             out %y",
        );
    }

    #[test]
    fn channels_that_are_last_are_brought_to_the_front() {
        check_form(
            super::rewrite,
            "in %x: f32[N,4,5,3]
             const %axes: i64[2] = [1, 2]
             %y = ReduceMean(%x, %axes) keepdims=0
             out %y",
            "in %x: f32[N,4,5,3]
             %y_channels_first = Transpose(%x) perm=[0,3,1,2]
             %y_pooled = GlobalAveragePool(%y_channels_first) @y
             %y = Flatten(%y_pooled) @y_flatten
             out %y",
        );
        check_form(
            super::rewrite,
            "in %x: f32[N,4,5,3]
             const %axes: i64[2] = [1, -2]
             %y = ReduceMean(%x, %axes) keepdims=1
             out %y",
            "in %x: f32[N,4,5,3]
             %y_channels_first = Transpose(%x) perm=[0,3,1,2]
             %y_pooled = GlobalAveragePool(%y_channels_first) @y
             %y = Transpose(%y_pooled) perm=[0,2,3,1] @y_channels_last
             out %y",
        );
    }

    #[test]
    fn other_means_are_left_alone() {
        check_form_unchanged(
            super::rewrite,
            "in %x: f32[N,3,4,4]
             const %axes: i64[1] = [1]
             %y = ReduceMean(%x, %axes) keepdims=1
             out %y",
        );
        check_form_unchanged(
            super::rewrite,
            "in %x: f32[N,3,4]
             const %axes: i64[2] = [1, 2]
             %y = ReduceMean(%x, %axes) keepdims=1
             out %y",
        );
    }
}
