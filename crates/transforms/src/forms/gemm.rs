//! Every matrix product with constant weights is a `Gemm` without factors.
//!
//! - `MatMul` of a matrix by constant weights is a `Gemm` without bias;
//! - `alpha` goes into float weights, `beta` into a float bias, and `transA` before the layer;
//! - a bias of one number, or of shape `[1, C]`, gets the shape `[C]`.

use onnx2int_graph::pointwise::{is_known, known_tensor};
use onnx2int_graph::{GemmAttributes, Graph, GraphEditor, Node, NodeId, Op, Tensor};

use crate::edits::{rewrite_each, set_constant_named};
use crate::{RewriteLog, TransformError};

pub(super) fn plain(graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let sites: Vec<NodeId> = graph
        .nodes()
        .filter(|(_, node)| matches!(node.op, Op::Gemm(_) | Op::MatMul))
        .map(|(id, _)| id)
        .collect();
    rewrite_each(&graph, sites, |editor, id| {
        let node = graph.node(id);
        match &node.op {
            Op::MatMul => from_matmul(&graph, editor, id, log),
            Op::Gemm(attributes) => without_factors(&graph, editor, id, attributes, log),
            _ => unreachable!("only these were chosen"),
        }
    })
}

fn rank(graph: &Graph, node: &Node, slot: usize) -> Option<usize> {
    graph.operand(node, slot).map(|value| value.ty.rank())
}

fn from_matmul(
    graph: &Graph,
    editor: &mut GraphEditor,
    id: NodeId,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let node = graph.node(id);
    let weights_known = node.input(1).is_some_and(|weights| is_known(graph, weights));
    if !weights_known || rank(graph, node, 0) != Some(2) || rank(graph, node, 1) != Some(2) {
        return Ok(());
    }
    editor.replace_node(id, Op::Gemm(GemmAttributes::default()), node.inputs.clone());
    log.changed(&node.name, "MatMul by constant weights is Gemm");
    Ok(())
}

fn without_factors(
    graph: &Graph,
    editor: &mut GraphEditor,
    id: NodeId,
    attributes: &GemmAttributes,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let node = graph.node(id);
    let float = |slot| {
        let tensor = node.input(slot).and_then(|value| known_tensor(graph, value))?;
        Some((tensor, tensor.as_slice::<f32>()?))
    };
    let mut plain = attributes.clone();
    if attributes.alpha != 1.0
        && let Some((tensor, values)) = float(1)
    {
        let scaled = values.iter().map(|&value| value * attributes.alpha).collect();
        set_values(graph, editor, id, 1, tensor.shape(), scaled)?;
        plain.alpha = 1.0;
    }
    if let Some((tensor, values)) = float(2) {
        let columns = graph.value(node.output).ty.shape[1].fixed();
        let beta = attributes.beta;
        let is_row = tensor.rank() < 2 || tensor.shape()[0] == 1;
        if let Some(columns) = columns.filter(|_| is_row && (beta != 1.0 || tensor.shape() != [values.len()]))
        {
            let one = |column: usize| values[if values.len() == 1 { 0 } else { column }] * beta;
            set_values(graph, editor, id, 2, &[columns], (0..columns).map(one).collect())?;
            plain.beta = 1.0;
        }
    } else if node.input(2).is_none() {
        plain.beta = 1.0;
    }
    let mut inputs = editor.graph().node(id).inputs.clone();
    if attributes.trans_a {
        inputs[0] = Some(editor.add_fresh_node(
            &format!("{}_transposed", node.name),
            Op::Transpose { perm: vec![1, 0] },
            [inputs[0]],
        )?);
        plain.trans_a = false;
    }
    if plain != *attributes {
        editor.replace_node(id, Op::Gemm(plain), inputs);
        log.changed(&node.name, "factors of the Gemm folded into its operands");
    }
    Ok(())
}

/// Puts other numbers in the place of a float constant, under its name.
fn set_values(
    graph: &Graph,
    editor: &mut GraphEditor,
    id: NodeId,
    slot: usize,
    shape: &[usize],
    values: Vec<f32>,
) -> Result<(), TransformError> {
    let name = graph.operand(graph.node(id), slot).expect("the operand was read").name.clone();
    let tensor = Tensor::from_vec(shape, values).expect("as many numbers as the shape has");
    set_constant_named(editor, id, slot, tensor, &name)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check_form;

    #[test]
    fn a_matmul_by_constant_weights_is_a_gemm() {
        check_form(
            super::plain,
            "in %x: f32[N,2], %y: f32[2,2]
             const %w: f32[2,3] = cycle [1.0, 2.0]
             const %q: i8[3,2] = cycle [1, 2]
             %a = MatMul(%x, %w)
             %qd = DequantizeLinear(%q, 0.5, 0i8)
             %b = MatMul(%a, %qd)
             %c = MatMul(%b, %y)
             out %c",
            "in %x: f32[N,2], %y: f32[2,2]
             const %w: f32[2,3] = cycle [1.0, 2.0]
             const %q: i8[3,2] = cycle [1, 2]
             %a = Gemm(%x, %w)
             %qd = DequantizeLinear(%q, 0.5, 0i8)
             %b = Gemm(%a, %qd)
             %c = MatMul(%b, %y)
             out %c",
        );
    }

    #[test]
    fn factors_go_into_the_operands() {
        check_form(
            super::plain,
            "in %x: f32[2,N]
             const %w: f32[2,3] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
             const %b: f32[1,3] = [1.0, 2.0, 3.0]
             %y = Gemm(%x, %w, %b) alpha=0.5 beta=2.0 transA=1
             out %y",
            "in %x: f32[2,N]
             const %w: f32[2,3] = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
             const %b: f32[3] = [2.0, 4.0, 6.0]
             %y_transposed = Transpose(%x) perm=[1,0]
             %y = Gemm(%y_transposed, %w, %b)
             out %y",
        );
    }
}
