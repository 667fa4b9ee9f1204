//! A quantizer stands right behind what it quantizes, in front of data movement.
//!
//! `Q(m(x)) = m(Q(x))`, bit for bit, for an operator `m` that moves elements or picks the greatest:
//! `Q` is the same increasing map for all elements. A `Concat` of values with other scales than its
//! own thus leaves a change of scale in front of it, which `integer-ops` makes a table.
//!
//! A `Pad` adds the code of what it added: `Q(Pad(x, v)) = Pad(Q(x), Q(v))`.

use onnx2int_graph::{Graph, GraphEditor, NodeId, Op, Tensor};

use crate::edits::{bypass, set_constant};
use crate::pairs::{code_of, common_dequantizer, dequantizer, moved_floats, padding, quantizers_only};
use crate::{RewriteLog, TransformError};

pub(super) fn rewrite(graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let mut editor = GraphEditor::from(graph);
    // Upwards, each looking at the graph as the ones behind it left it.
    for &id in nodes.iter().rev() {
        raise_quantizers(&mut editor, id, log)?;
    }
    Ok(editor.finish()?)
}

/// `Q(m(x)) = m(Q(x))`, where quantizers of the same parameters are all that read `m`.
///
/// Where all of `m`'s operands are dequantized alike, these sink instead, which moves less; but not
/// through a `Pad`, since what it adds always has a code of `Q` and not always one of theirs.
fn raise_quantizers(
    editor: &mut GraphEditor,
    id: NodeId,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let graph = editor.graph();
    let mover = graph.node(id).clone();
    let operands = moved_floats(graph, &mover);
    let any_constant = operands.iter().any(|&(_, operand)| graph.value(operand).constant().is_some());
    let pads = matches!(mover.op, Op::Pad);
    if operands.is_empty() || any_constant || !pads && common_dequantizer(graph, &operands)?.is_some() {
        return Ok(());
    }
    let Some(quantizers) = quantizers_only(graph, mover.output)? else { return Ok(()) };
    let (first, parameters) = &quantizers[0];
    let added = if pads {
        let Some((code, _)) = padding(graph, &mover).and_then(|value| code_of(value, parameters)) else {
            return Ok(());
        };
        Some(code)
    } else {
        None
    };
    let (scale, zero_point) = (first.input(1), first.input(2));
    for (slot, operand) in operands {
        let graph = editor.graph();
        let codes = match dequantizer(graph, operand)? {
            Some((node, own)) if own == *parameters => node.input(0),
            _ => {
                let name = graph.value(operand).name.clone();
                let node = editor.unique_name(&format!("{name}_quantize"));
                let output = editor.unique_name(&format!("{name}_quantized"));
                let inputs = [Some(operand), scale, zero_point];
                Some(editor.add_node(&node, Op::QuantizeLinear { axis: 1 }, inputs, &output)?)
            }
        };
        editor.set_input(id, slot, codes);
    }
    if let Some(code) = added {
        set_constant(editor, id, 2, Tensor::scalar(code))?;
    }
    for (quantizer, _) in &quantizers {
        bypass(editor, quantizer.output, mover.output)?;
        log.changed(&mover.name, format!("quantizer {:?} rose before it", quantizer.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check_form;

    #[test]
    fn a_quantizer_rises_through_movement_to_the_layer() {
        check_form(
            super::rewrite,
            "in %y: f32[N,2,4,4]
             %r = Relu(%y)
             %m = MaxPool(%r) kernel_shape=[2,2] strides=[2,2]
             %f = Flatten(%m)
             %q = QuantizeLinear(%f, 0.1, 0u8)
             %d = DequantizeLinear(%q, 0.1, 0u8)
             out %d",
            "in %y: f32[N,2,4,4]
             const %q_scale: f32[] = 0.1
             const %q_zero_point: u8[] = 0
             %r = Relu(%y)
             %r_quantized = QuantizeLinear(%r, %q_scale, %q_zero_point) @r_quantize
             %m = MaxPool(%r_quantized) kernel_shape=[2,2] strides=[2,2]
             %f = Flatten(%m)
             %d = DequantizeLinear(%f, 0.1, 0u8)
             out %d",
        );
    }

    #[test]
    fn branches_are_brought_to_the_scale_of_their_concat() {
        check_form(
            super::rewrite,
            "in %p: u8[N,2], %q: u8[N,3]
             %pd = DequantizeLinear(%p, 0.1, 7u8)
             %qd = DequantizeLinear(%q, 0.2, 7u8)
             %c = Concat(%pd, %qd) axis=1
             %cq = QuantizeLinear(%c, 0.2, 7u8)
             %cd = DequantizeLinear(%cq, 0.2, 7u8)
             %r = Relu(%cd)
             out %r",
            "in %p: u8[N,2], %q: u8[N,3]
             const %cq_scale: f32[] = 0.2
             const %cq_zero_point: u8[] = 7
             %pd = DequantizeLinear(%p, 0.1, 7u8)
             %pd_quantized = QuantizeLinear(%pd, %cq_scale, %cq_zero_point) @pd_quantize
             %c = Concat(%pd_quantized, %q) axis=1
             %cd = DequantizeLinear(%c, 0.2, 7u8)
             %r = Relu(%cd)
             out %r",
        );
    }

    #[test]
    fn a_pad_adds_the_code_that_its_quantizer_gives() {
        let network = |pad: &str| {
            format!(
                "in %q: u8[N,2,4,4]
                 const %pads: i64[2] = [1, 1]
                 const %axes: i64[1] = [1]
                 %d = DequantizeLinear(%q, 0.5, 7u8)
                 {pad}
                 %e = DequantizeLinear(%pq, 0.25, 9u8)
                 out %e"
            )
        };
        // 0.3 lies between two codes, and 100 beyond them.
        for (value, code) in [("0.3", 10), ("100.0", 255), ("0.0", 9)] {
            check_form(
                super::rewrite,
                &network(&format!(
                    "%p = Pad(%d, %pads, {value}, %axes)\n%pq = QuantizeLinear(%p, 0.25, 9u8)"
                )),
                &network(&format!(
                    "const %pq_scale: f32[] = 0.25
                     const %pq_zero_point: u8[] = 9
                     %d_quantized = QuantizeLinear(%d, %pq_scale, %pq_zero_point) @d_quantize
                     %p = Pad(%d_quantized, %pads, {code}u8, %axes)"
                ))
                .replace("(%pq,", "(%p,"),
            );
        }
        // A quantizer may have quantized the number as well.
        check_form(
            super::rewrite,
            &network(
                "const %c: i8[] = -3
                 %v = DequantizeLinear(%c, 0.1, -6i8)
                 %p = Pad(%d, %pads, %v, %axes)
                 %pq = QuantizeLinear(%p, 0.5, 7u8)",
            ),
            &network("%p = Pad(%q, %pads, 8u8, %axes)").replace("(%pq,", "(%p,"),
        );
        // Nothing but codes of the same parameters lies in front of it.
        check_form(
            super::rewrite,
            &network("%p = Pad(%d, %pads, 0.3, %axes)\n%pq = QuantizeLinear(%p, 0.5, 7u8)"),
            &network("%p = Pad(%q, %pads, 8u8, %axes)").replace("(%pq,", "(%p,"),
        );
    }
}
