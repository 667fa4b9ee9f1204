//! Lets data movement work on codes, and removes the quantize/dequantize pairs that this leaves.
//!
//! A quantizer puts a pair around every operator, also around MaxPool, Flatten and their kin, which
//! take integers as well as floats. With `d(q) = s (q - z)`, `Q` a quantizer of one scale and zero
//! point, and `m` an operator that moves elements or picks the greatest, bit for bit:
//!
//! - dequantizers sink: `m(d(q)) = d(m(q))`, because `d` is the same increasing map for all elements;
//!   a `Pad` adds the code `c` of what it added, if `d(c)` is that number exactly;
//! - pairs go: `Q(d(q)) = q` for the `Q` of the same `s` and `z`, because `s (q - z) / s` rounds to
//!   `q - z`.
//!
//! ```text
//! in      %q: u8[N,2,4,4]
//! Before  %d: f32[N,2,4,4] = DequantizeLinear(%q, 0.5, 3u8)
//!         %m: f32[N,2,2,2] = MaxPool(%d) kernel_shape=[2,2] strides=[2,2]
//!         %mq: u8[N,2,2,2] = QuantizeLinear(%m, 0.5, 3u8)
//!         %md: f32[N,2,2,2] = DequantizeLinear(%mq, 0.5, 3u8)
//!         %f: f32[N,2,2,2] = Relu(%md)
//! After   %m: u8[N,2,2,2] = MaxPool(%q) kernel_shape=[2,2] strides=[2,2]
//!         %md: f32[N,2,2,2] = DequantizeLinear(%m, 0.5, 3u8)
//!         %f: f32[N,2,2,2] = Relu(%md)
//! out     %f
//! ```
//!
//! A Relu between two pairs of the same parameters (some quantizers write that) loses the pair
//! before it: `Q(max(d(Q(y)), 0)) = Q(max(y, 0))`.
//!
//! ```text
//! in      %y: f32[N,2,4,4]
//! Before  %yq: i8[N,2,4,4] = QuantizeLinear(%y, 0.5, 0i8)
//!         %yd: f32[N,2,4,4] = DequantizeLinear(%yq, 0.5, 0i8)
//!         %r: f32[N,2,4,4] = Relu(%yd)
//!         %rq: i8[N,2,4,4] = QuantizeLinear(%r, 0.5, 0i8)
//!         %rd: f32[N,2,4,4] = DequantizeLinear(%rq, 0.5, 0i8)
//! After   %r: f32[N,2,4,4] = Relu(%y)
//!         %rq: i8[N,2,4,4] = QuantizeLinear(%r, 0.5, 0i8)
//!         %rd: f32[N,2,4,4] = DequantizeLinear(%rq, 0.5, 0i8)
//! out     %rd
//! ```
//!
//! # Equivalence
//! Exact. A graph without such places is left as it is.
//!
//! # Refuses
//! A quantizer whose scale or zero point is not constant or not positive (`quantization-constant`,
//! `scale-positive`).

use onnx2int_graph::{Graph, GraphEditor, NodeId, Op, Stage, Tensor, Verified};

use crate::edits::{bypass, insert_behind, set_constant};
use crate::pairs::{code_of, common_dequantizer, dequantizer, moved_floats, padding, quantizers_only};
use crate::qdq::Parameters;
use crate::{Executor, RewriteLog, Transform, TransformError};

/// The `prune-qdq` transform; see the file's head.
#[derive(Clone, Copy, Debug, Default)]
pub struct PruneQdq;

impl Transform for PruneQdq {
    fn makes(&self) -> Stage {
        Stage::Pruned
    }

    /// A network of layers alone has no such pair; the stage's rules notice one that is left.
    fn noop_allowed(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        graph: Verified<'_>,
        _executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError> {
        let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
        let mut editor = GraphEditor::from(graph.graph().clone());
        // Each looks at the graph as the ones before left it.
        for &id in &nodes {
            sink_dequantizers(&mut editor, id, log)?;
        }
        for &id in &nodes {
            remove_pair(&mut editor, id, log)?;
        }
        for &id in &nodes {
            join_relu(&mut editor, id, log)?;
        }
        Ok(editor.finish()?)
    }
}

/// `m(d(q)) = d(m(q))`, where all operands of `m` are dequantized by the same parameters.
fn sink_dequantizers(
    editor: &mut GraphEditor,
    id: NodeId,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let graph = editor.graph();
    let mover = graph.node(id).clone();
    let operands = moved_floats(graph, &mover);
    let Some((dequantize, parameters)) = common_dequantizer(graph, &operands)? else { return Ok(()) };
    let added = match mover.op {
        Op::Pad => match padding(graph, &mover).and_then(|value| code_of(value, &parameters)) {
            Some((code, true)) => Some(code),
            _ => return Ok(()),
        },
        _ => None,
    };
    let (scale, zero_point) = (dequantize.input(1), dequantize.input(2));
    let mut codes = Vec::with_capacity(operands.len());
    for &(slot, operand) in &operands {
        codes.push((slot, dequantizer(graph, operand)?.and_then(|(node, _)| node.input(0))));
    }
    let name = graph.value(mover.output).name.clone();
    let is_output = graph.outputs().contains(&mover.output);
    for (slot, codes) in codes {
        editor.set_input(id, slot, codes);
    }
    if let Some(code) = added {
        set_constant(editor, id, 2, Tensor::scalar(code))?;
    }
    let result = match is_output {
        true => {
            let aside = editor.unique_name(&format!("{name}_codes"));
            editor.rename_value(mover.output, &aside)?;
            name
        }
        false => editor.unique_name(&format!("{name}_dequantized")),
    };
    let node = editor.unique_name(&format!("{}_dequantize", mover.name));
    insert_behind(
        editor,
        mover.output,
        &node,
        Op::DequantizeLinear { axis: 1 },
        &[scale, zero_point],
        &result,
    )?;
    log.changed(&mover.name, "works on codes; dequantized behind it");
    Ok(())
}

/// `Q(d(q)) = q` for the same parameters.
fn remove_pair(editor: &mut GraphEditor, id: NodeId, log: &mut RewriteLog) -> Result<(), TransformError> {
    let graph = editor.graph();
    let quantize = graph.node(id);
    let Some(input) = quantize.input(0).filter(|_| matches!(quantize.op, Op::QuantizeLinear { .. })) else {
        return Ok(());
    };
    let Some((dequantize, parameters)) = dequantizer(graph, input)? else { return Ok(()) };
    let Some(codes) =
        dequantize.input(0).filter(|_| Parameters::of(graph, quantize).ok() == Some(parameters))
    else {
        return Ok(());
    };
    let change = format!("pair {:?}, {:?} removed", dequantize.name, quantize.name);
    let (beside, quantized) = (dequantize.name.clone(), quantize.output);
    bypass(editor, quantized, codes)?;
    log.changed(beside, change);
    Ok(())
}

/// `Q(max(d(Q(y)), 0)) = Q(max(y, 0))` for the same parameters.
fn join_relu(editor: &mut GraphEditor, id: NodeId, log: &mut RewriteLog) -> Result<(), TransformError> {
    let graph = editor.graph();
    let relu = graph.node(id);
    let Some(input) = relu.input(0).filter(|_| matches!(relu.op, Op::Relu)) else { return Ok(()) };
    let Some((dequantize, parameters)) = dequantizer(graph, input)? else { return Ok(()) };
    let quantize = dequantize.input(0).and_then(|codes| graph.producer(codes)).map(|(_, node)| node);
    let Some(quantize) = quantize.filter(|node| matches!(node.op, Op::QuantizeLinear { .. })) else {
        return Ok(());
    };
    let behind = quantizers_only(graph, relu.output)?;
    let alike = behind.is_some_and(|behind| behind[0].1 == parameters);
    if !alike || Parameters::of(graph, quantize)? != parameters {
        return Ok(());
    }
    let change = format!("pair {:?}, {:?} removed", quantize.name, dequantize.name);
    let (name, source) = (relu.name.clone(), quantize.input(0));
    editor.set_input(id, 0, source);
    log.changed(name, change);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::PruneQdq;
    use crate::testing::{check, check_unchanged};

    #[test]
    fn a_row_of_pairs_goes_and_the_first_stays() {
        let sites = check(
            &PruneQdq,
            "in %y: f32[N,2,4,4]
             %r = Relu(%y)
             %q0 = QuantizeLinear(%r, 0.1, 0u8)
             %d0 = DequantizeLinear(%q0, 0.1, 0u8)
             %m = MaxPool(%d0) kernel_shape=[2,2] strides=[2,2] @pool
             %q1 = QuantizeLinear(%m, 0.1, 0u8)
             %d1 = DequantizeLinear(%q1, 0.1, 0u8)
             %q2 = QuantizeLinear(%d1, 0.1, 0u8)
             %d2 = DequantizeLinear(%q2, 0.1, 0u8)
             %f = Flatten(%d2)
             %q3 = QuantizeLinear(%f, 0.1, 0u8)
             %d3 = DequantizeLinear(%q3, 0.1, 0u8)
             out %d3",
            "in %y: f32[N,2,4,4]
             %r = Relu(%y)
             %q0 = QuantizeLinear(%r, 0.1, 0u8)
             %m = MaxPool(%q0) kernel_shape=[2,2] strides=[2,2] @pool
             %f = Flatten(%m)
             %d3 = DequantizeLinear(%f, 0.1, 0u8)
             out %d3",
        );
        assert_eq!(sites[0], "pool: works on codes; dequantized behind it");
    }

    #[test]
    fn codes_behind_a_pair_keep_their_own_meaning() {
        // The halves of the second pair differ, and so does the quantizer from what is before it.
        check(
            &PruneQdq,
            "in %q: u8[N,2,4,4]
             %d = DequantizeLinear(%q, 0.1, 7u8)
             %f = Flatten(%d)
             %fq = QuantizeLinear(%f, 0.1, 7u8)
             %fd = DequantizeLinear(%fq, 0.3, 7u8)
             out %fd",
            "in %q: u8[N,2,4,4]
             %f = Flatten(%q)
             %fd = DequantizeLinear(%f, 0.3, 7u8)
             out %fd",
        );
    }

    #[test]
    fn an_output_keeps_its_name() {
        check(
            &PruneQdq,
            "in %q: u8[N,2,1,1]
             %d = DequantizeLinear(%q, 0.1, 7u8)
             %logits = Flatten(%d)
             out %logits",
            "in %q: u8[N,2,1,1]
             const %d_scale: f32[] = 0.1
             const %d_zero_point: u8[] = 7
             %logits_codes = Flatten(%q) @logits
             %logits = DequantizeLinear(%logits_codes, %d_scale, %d_zero_point) @logits_dequantize
             out %logits",
        );
    }

    #[test]
    fn pairs_behind_a_layer_and_changes_of_scale_stay() {
        check_unchanged(
            &PruneQdq,
            "in %x: f32[N,3], %w: f32[3,2]
             %xq = QuantizeLinear(%x, 0.1, 0u8)
             %xd = DequantizeLinear(%xq, 0.1, 0u8)
             %y = Gemm(%xd, %w)
             %yq = QuantizeLinear(%y, 0.3, 0u8)
             %yd = DequantizeLinear(%yq, 0.3, 0u8)
             %o = QuantizeLinear(%yd, 0.2, 0u8)
             out %o",
        );
    }

    #[test]
    fn a_pad_adds_the_code_of_what_it_added() {
        let network = |after: &str| {
            format!(
                "in %q: u8[N,2,4,4]
                 const %pads: i64[8] = [0, 1, 0, 0, 0, 0, 0, 2]
                 {after}
                 %r = Relu(%d)
                 out %r"
            )
        };
        for (operands, code) in [("%pads", 7), ("%pads, 1.5", 10), ("%pads, -3.5", 0)] {
            check(
                &PruneQdq,
                &network(&format!("%f = DequantizeLinear(%q, 0.5, 7u8)\n%d = Pad(%f, {operands})")),
                &network(&format!(
                    "const %f_scale: f32[] = 0.5
                     const %f_zero_point: u8[] = 7
                     %d = Pad(%q, %pads, {code}u8)
                     %d_dequantized = DequantizeLinear(%d, %f_scale, %f_zero_point) @d_dequantize"
                ))
                .replace("Relu(%d)", "Relu(%d_dequantized)"),
            );
        }
        // Neither a number between two codes nor one beyond them is any code's.
        for value in ["1.25", "-4.0", "125.0"] {
            check_unchanged(
                &PruneQdq,
                &network(&format!("%f = DequantizeLinear(%q, 0.5, 7u8)\n%d = Pad(%f, %pads, {value})")),
            );
        }
    }

    #[test]
    fn a_relu_between_pairs_of_other_scales_stays_a_function_of_codes() {
        check_unchanged(
            &PruneQdq,
            "in %y: f32[N,2]
             %yq = QuantizeLinear(%y, 0.1, 100u8)
             %yd = DequantizeLinear(%yq, 0.1, 100u8)
             %r = Relu(%yd)
             %rq = QuantizeLinear(%r, 0.05, 0u8)
             %rd = DequantizeLinear(%rq, 0.05, 0u8)
             out %rd",
        );
    }
}
