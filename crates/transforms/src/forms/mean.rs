//! A mean over all spatial axes is a `GlobalAveragePool`.
//!
//! Exporters write `x.mean((2, 3))` as `ReduceMean`; without the kept axes a `Flatten` follows.

use onnx2int_graph::infer::resolve_axis;
use onnx2int_graph::pointwise::known_tensor;
use onnx2int_graph::{Graph, Node, NodeId, Op};

use crate::edits::{insert_behind, rewrite_each};
use crate::{RewriteLog, TransformError};

pub(super) fn rewrite(graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let sites: Vec<(NodeId, bool)> = graph
        .nodes()
        .filter_map(|(id, node)| match node.op {
            Op::ReduceMean { keepdims } if is_over_space(&graph, node) => Some((id, keepdims)),
            _ => None,
        })
        .collect();
    rewrite_each(&graph, sites, |editor, (id, keepdims)| {
        let node = graph.node(id);
        editor.replace_node(id, Op::GlobalAveragePool, [node.input(0)]);
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

fn is_over_space(graph: &Graph, node: &Node) -> bool {
    let axes = node.input(1).and_then(|axes| known_tensor(graph, axes)?.to_i64_vec());
    let rank = graph.operand(node, 0).map_or(0, |value| value.ty.rank());
    let Some(axes) = axes.filter(|_| rank > 2) else { return false };
    let mut resolved: Vec<usize> = axes.iter().filter_map(|&axis| resolve_axis(axis, rank).ok()).collect();
    resolved.sort_unstable();
    resolved.into_iter().eq(2..rank)
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
    fn other_means_are_left_alone() {
        check_form_unchanged(
            super::rewrite,
            "in %x: f32[N,3,4,4]
             const %axes: i64[1] = [1]
             %y = ReduceMean(%x, %axes) keepdims=1
             out %y",
        );
    }
}
