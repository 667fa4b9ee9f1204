//! int8 activations are uint8 activations.
//!
//! `s (q - z)` with an int8 `q` and `z` is `s ((q + 128) - (z + 128))`: the same real numbers, bit
//! for bit, and quantizing saturates at the same ones.

use std::collections::HashMap;

use onnx2int_graph::pointwise::known_tensor;
use onnx2int_graph::{DType, Graph, GraphEditor, Node, NodeId, Op, Tensor, ValueId, movement};

use crate::edits::set_constant;
use crate::qdq;
use crate::{RewriteLog, TransformError};

pub(super) fn rewrite(graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let mut sites = Vec::new();
    let mut pads = Vec::new();
    for (id, node) in graph.nodes() {
        let makes_i8 = graph.value(node.output).ty.dtype == DType::I8;
        if matches!(node.op, Op::QuantizeLinear { .. }) && makes_i8 {
            sites.push((id, dequantizers(&graph, node)?));
        }
        if matches!(node.op, Op::Pad) && makes_i8 {
            pads.push((id, added(&graph, node)?));
        }
    }
    let mut moved = HashMap::new();
    let mut editor = GraphEditor::from(graph.clone());
    for (quantizer, dequantizers) in sites {
        for &id in std::iter::once(&quantizer).chain(&dequantizers) {
            let node = graph.node(id);
            let zero_point = match node.input(2) {
                Some(old) => match moved.get(&old) {
                    Some(&new) => new,
                    None => {
                        let new = unsigned(&graph, &mut editor, node, old)?;
                        moved.insert(old, new);
                        new
                    }
                },
                // Without one a DequantizeLinear has the zero point 0.
                None => {
                    editor.add_fresh_constant(&format!("{}_zero_point", node.name), Tensor::scalar(128_u8))?
                }
            };
            editor.set_input(id, 2, Some(zero_point));
        }
        editor.annotate(graph.node(quantizer).output, None);
        log.changed(&graph.node(quantizer).name, "int8 codes are uint8 codes, 128 greater");
    }
    for (pad, code) in pads {
        set_constant(&mut editor, pad, 2, code)?;
    }
    Ok(editor.finish()?)
}

/// The code that a `Pad` of int8 codes adds, as a uint8 one.
fn added(graph: &Graph, pad: &Node) -> Result<Tensor, TransformError> {
    let code = match pad.input(2) {
        None => Some(Tensor::scalar(128_u8)),
        Some(value) => known_tensor(graph, value).and_then(qdq::unsigned),
    };
    code.ok_or_else(|| {
        let reason = "expected a constant to pad int8 codes with; fold it into an initializer first";
        TransformError::refused("quantization-constant", &pad.name, reason)
    })
}

/// The nodes that read the codes of a quantizer, through data movement.
fn dequantizers(graph: &Graph, quantizer: &Node) -> Result<Vec<NodeId>, TransformError> {
    let mut found = Vec::new();
    for value in movement::carriers(graph, quantizer.output) {
        let readers = graph.consumers(value);
        for (id, slot) in readers.filter(|&(id, slot)| !movement::moves_slot(graph.node(id), slot)) {
            if slot != 0 || !matches!(graph.node(id).op, Op::DequantizeLinear { .. }) {
                let reason = format!(
                    "expected int8 codes to be read by DequantizeLinear only, found {:?} ({})",
                    graph.node(id).name,
                    graph.node(id).op.name()
                );
                return Err(TransformError::refused("int8-activation", &quantizer.name, reason));
            }
            found.push(id);
        }
        if graph.outputs().contains(&value) {
            let reason = "expected a model whose outputs are real numbers, found int8 codes";
            return Err(TransformError::refused("int8-activation", &quantizer.name, reason));
        }
    }
    Ok(found)
}

fn unsigned(
    graph: &Graph,
    editor: &mut GraphEditor,
    node: &Node,
    zero_point: ValueId,
) -> Result<ValueId, TransformError> {
    let value = graph.value(zero_point);
    let Some(tensor) = value.constant().and_then(qdq::unsigned) else {
        let reason = "expected a constant int8 zero point; fold it into an initializer first";
        return Err(TransformError::refused("quantization-constant", &node.name, reason));
    };
    Ok(editor.add_fresh_constant(&format!("{}_unsigned", value.name), tensor)?)
}

#[cfg(test)]
mod tests {
    use crate::testing::check_form;

    #[test]
    fn codes_move_by_128() {
        check_form(
            super::rewrite,
            "in %x: f32[N,1,2,2]
             const %z: i8[] = -3
             %q = QuantizeLinear(%x, 0.5, %z)
             %m = MaxPool(%q) kernel_shape=[2,2]
             %d = DequantizeLinear(%m, 0.5, %z)
             %p = QuantizeLinear(%d, 0.25, %z)
             %e = DequantizeLinear(%p, 0.25, %z)
             out %e",
            "in %x: f32[N,1,2,2]
             const %z_unsigned: u8[] = 125
             %q = QuantizeLinear(%x, 0.5, %z_unsigned)
             %m = MaxPool(%q) kernel_shape=[2,2]
             %d = DequantizeLinear(%m, 0.5, %z_unsigned)
             %p = QuantizeLinear(%d, 0.25, %z_unsigned)
             %e = DequantizeLinear(%p, 0.25, %z_unsigned)
             out %e",
        );
    }

    #[test]
    fn what_a_pad_adds_moves_too() {
        check_form(
            super::rewrite,
            "in %x: f32[N,1,2,2]
             const %around: i64[8] = [0, 0, 1, 1, 0, 0, 1, 1]
             %q = QuantizeLinear(%x, 0.5, -3i8)
             %p = Pad(%q, %around, -3i8)
             %r = Pad(%p, %around)
             %d = DequantizeLinear(%r, 0.5, -3i8)
             out %d",
            "in %x: f32[N,1,2,2]
             const %around: i64[8] = [0, 0, 1, 1, 0, 0, 1, 1]
             const %q_zero_point_unsigned: u8[] = 125
             const %d_zero_point_unsigned: u8[] = 125
             const %r_value: u8[] = 128
             %q = QuantizeLinear(%x, 0.5, %q_zero_point_unsigned)
             %p = Pad(%q, %around, 125u8)
             %r = Pad(%p, %around, %r_value)
             %d = DequantizeLinear(%r, 0.5, %d_zero_point_unsigned)
             out %d",
        );
    }
}
