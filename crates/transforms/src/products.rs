//! The product of two quantized values, in integers.
//!
//! `s_a (a - z_a) * s_b (b - z_b)` is `s_a s_b P` with the integer `P = (a - z_a) (b - z_b)`, which is
//! at most `255^2` in magnitude: an accumulator like that of a layer, whose quantizer takes it with the
//! scale `s / (s_a s_b)`.

use onnx2int_graph::{DType, Graph, GraphEditor, Node, NodeId, Op, Tensor, ValueId};

use crate::edits::set_constant;
use crate::qdq::Parameters;
use crate::{RewriteLog, TransformError};

/// Replaces every product of two dequantized values in front of quantizers.
pub(crate) fn rewrite(graph: &Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let mut editor = GraphEditor::from(graph.clone());
    for (id, node) in graph.nodes() {
        if let Some(product) = Product::at(graph, id, node)? {
            product.replace(graph, &mut editor, log)?;
        }
    }
    Ok(editor.finish()?)
}

/// The `DequantizeLinear` of computed codes in that operand slot, if there is one.
fn dequantizer<'g>(graph: &'g Graph, node: &Node, slot: usize) -> Option<&'g Node> {
    let (_, node) = graph.producer(node.input(slot)?)?;
    let computed = graph.constant_operand(node, 0).is_none();
    (matches!(node.op, Op::DequantizeLinear { .. }) && computed).then_some(node)
}

struct Product<'g> {
    id: NodeId,
    node: &'g Node,
    codes: [ValueId; 2],
    zero_points: [i32; 2],
    /// What one unit of the product stands for.
    unit: f64,
    /// A Relu behind it, if there is one.
    relu: Option<NodeId>,
    quantizers: Vec<NodeId>,
}

impl<'g> Product<'g> {
    fn at(graph: &'g Graph, id: NodeId, node: &'g Node) -> Result<Option<Self>, TransformError> {
        let factors = (dequantizer(graph, node, 0), dequantizer(graph, node, 1));
        let (Op::Mul, (Some(a), Some(b))) = (&node.op, factors) else { return Ok(None) };
        let mut operands = Vec::with_capacity(2);
        for dequantize in [a, b] {
            let parameters = Parameters::of(graph, dequantize)?;
            let (DType::U8, Some((scale, zero_point))) = (parameters.dtype, parameters.per_tensor()) else {
                let reason = "expected uint8 codes of one scale and zero point as factors";
                return Err(TransformError::refused("product-of-codes", &dequantize.name, reason));
            };
            let codes = dequantize.input(0).expect("the operator has a first operand");
            operands.push((codes, i32::try_from(zero_point).unwrap_or(0), f64::from(scale)));
        }
        let mut readers: Vec<(NodeId, usize)> = graph.consumers(node.output).collect();
        let mut end = node.output;
        let relu = match readers.as_slice() {
            &[(reader, _)] if matches!(graph.node(reader).op, Op::Relu) => {
                end = graph.node(reader).output;
                readers = graph.consumers(end).collect();
                Some(reader)
            }
            _ => None,
        };
        let quantized =
            |&(reader, _): &(NodeId, usize)| matches!(graph.node(reader).op, Op::QuantizeLinear { .. });
        if !readers.iter().all(quantized) || graph.outputs().contains(&end) {
            let reason = "expected a product of two values to be quantized";
            return Err(TransformError::refused("product-of-codes", &node.name, reason));
        }
        Ok(Some(Self {
            id,
            node,
            codes: [operands[0].0, operands[1].0],
            zero_points: [operands[0].1, operands[1].1],
            unit: operands[0].2 * operands[1].2,
            relu,
            quantizers: readers.into_iter().map(|(reader, _)| reader).collect(),
        }))
    }

    fn replace(
        &self,
        graph: &Graph,
        editor: &mut GraphEditor,
        log: &mut RewriteLog,
    ) -> Result<(), TransformError> {
        let name = graph.value(self.node.output).name.clone();
        let mut factors = Vec::with_capacity(2);
        for (slot, role) in ["a", "b"].into_iter().enumerate() {
            let integer = editor.unique_name(&format!("{name}_{role}_integer"));
            let cast = Op::Cast { to: DType::I32 };
            let mut x = editor.add_node(&integer, cast, [Some(self.codes[slot])], &integer)?;
            if self.zero_points[slot] != 0 {
                let centered = editor.unique_name(&format!("{name}_{role}_centered"));
                let zero_point = editor
                    .add_fresh_constant(&format!("{centered}_b"), Tensor::scalar(self.zero_points[slot]))?;
                x = editor.add_node(&centered, Op::Sub, [Some(x), Some(zero_point)], &centered)?;
            }
            factors.push(Some(x));
        }
        editor.replace_node(self.id, Op::Mul, factors);
        let mut accumulator = self.node.output;
        if let Some(relu) = self.relu {
            editor.set_input(relu, 0, Some(accumulator));
            accumulator = graph.node(relu).output;
        }
        let float = editor.add_fresh_node(
            &format!("{}_float", graph.value(accumulator).name),
            Op::Cast { to: DType::F32 },
            [Some(accumulator)],
        )?;
        for &quantizer in &self.quantizers {
            let parameters = Parameters::of(graph, graph.node(quantizer))?;
            let Some((scale, _)) = parameters.per_tensor() else {
                let reason = "expected one scale for the whole tensor; quantize activations per tensor";
                return Err(TransformError::refused("product-of-codes", &graph.node(quantizer).name, reason));
            };
            #[expect(clippy::cast_possible_truncation, reason = "rounded once to the f32 that is stored")]
            let scale = (f64::from(scale) / self.unit) as f32;
            if !(scale.is_finite() && scale > 0.0) {
                let reason = format!("expected a folded scale in the range of f32, found {scale:e}");
                return Err(TransformError::refused("scale-positive", &graph.node(quantizer).name, reason));
            }
            editor.set_input(quantizer, 0, Some(float));
            set_constant(editor, quantizer, 1, Tensor::scalar(scale))?;
        }
        log.changed(&self.node.name, "product of two quantized values in int32");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_form, check_form_unchanged};

    #[test]
    fn products_are_integers() {
        check_form(
            |graph, log| super::rewrite(&graph, log),
            "in %x: u8[N,2], %y: u8[N,2]
             %d = DequantizeLinear(%x, 0.5, 3u8)
             %e = DequantizeLinear(%y, 0.25, 0u8)
             %p = Mul(%d, %e)
             %r = Relu(%p)
             %q = QuantizeLinear(%r, 1.0, 0u8)
             out %q",
            "in %x: u8[N,2], %y: u8[N,2]
             const %p_a_centered_b: i32[] = 3
             %p_a_integer = Cast(%x) to=i32
             %p_a_centered = Sub(%p_a_integer, %p_a_centered_b)
             %p_b_integer = Cast(%y) to=i32
             %p = Mul(%p_a_centered, %p_b_integer)
             %r = Relu(%p)
             %r_float = Cast(%r) to=f32
             %q = QuantizeLinear(%r_float, 8.0, 0u8)
             out %q",
        );
    }

    #[test]
    fn products_with_constants_are_left_alone() {
        check_form_unchanged(
            |graph, log| super::rewrite(&graph, log),
            "in %x: u8[N,2]
             %d = DequantizeLinear(%x, 0.5, 3u8)
             %p = Mul(%d, 2.0)
             %q = QuantizeLinear(%p, 1.0, 0u8)
             out %q",
        );
    }
}
