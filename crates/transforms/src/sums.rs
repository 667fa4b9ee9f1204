//! The sum or the difference of two quantized values, in fixed point.
//!
//! A residual connection adds two values of different scales and quantizes the sum. The three
//! scales become two multipliers; see [`crate::rescale::plan_sum`] for the constants and the error
//! bound.
//!
//! ```text
//! u8 a -> Cast i32 -> Mul m_a \
//!                              Add -> Add offset -> Max low -> Min -> Div 2^s -> Cast u8
//! u8 b -> Cast i32 -> Mul m_b /
//! ```

use onnx2int_graph::{DType, Graph, GraphEditor, Node, NodeId, Op, Tensor, ValueId};

use crate::qdq::Parameters;
use crate::rescale::{SumRequest, SumRescale, plan_sum};
use crate::{RewriteLog, TransformError};

/// A quantizer of the sum of two dequantized values.
pub(crate) struct QuantizedSum<'g> {
    quantizer: NodeId,
    node: &'g Node,
    codes: [ValueId; 2],
    request: SumRequest,
}

impl<'g> QuantizedSum<'g> {
    /// The sum in front of a quantizer, if that is what it quantizes.
    pub(crate) fn before(
        graph: &'g Graph,
        quantizer: NodeId,
        mantissa_bits: u32,
    ) -> Result<Option<Self>, TransformError> {
        let node = graph.node(quantizer);
        let producer =
            |value: Option<ValueId>| value.and_then(|value| graph.producer(value)).map(|(_, node)| node);
        let Some(mut sum) = producer(node.input(0)) else { return Ok(None) };
        let after_relu = matches!(sum.op, Op::Relu);
        if after_relu {
            match producer(sum.input(0)) {
                Some(node) => sum = node,
                None => return Ok(None),
            }
        }
        let sign = match sum.op {
            Op::Add => 1.0,
            Op::Sub => -1.0,
            _ => return Ok(None),
        };
        let output = parameters(graph, node)?;
        let mut codes = Vec::with_capacity(2);
        let mut operands = Vec::with_capacity(2);
        for slot in 0..2 {
            let Some(dequantizer) =
                producer(sum.input(slot)).filter(|node| matches!(node.op, Op::DequantizeLinear { .. }))
            else {
                return Ok(None);
            };
            operands.push(parameters(graph, dequantizer)?);
            codes.push(dequantizer.input(0).expect("the operator has a first operand"));
        }
        let scale = |k: usize| f64::from(operands[k].0) / f64::from(output.0);
        Ok(Some(Self {
            quantizer,
            node,
            codes: [codes[0], codes[1]],
            request: SumRequest {
                multipliers: [scale(0), sign * scale(1)],
                zero_points: [operands[0].1, operands[1].1],
                zero_point: output.1,
                after_relu,
                mantissa_bits,
            },
        }))
    }

    /// Emits the operators; the quantizer itself becomes the last `Cast`, so that its name and its
    /// output stay.
    pub(crate) fn rewrite(
        self,
        editor: &mut GraphEditor,
        log: &mut RewriteLog,
    ) -> Result<(), TransformError> {
        let rescale = plan_sum(&self.request).map_err(|error| {
            TransformError::refused("fixed-point-rescale", &self.node.name, error.to_string())
        })?;
        let mut x = self.multiply(editor, &rescale)?;
        let steps = [
            ("round", Op::Add, "offset", rescale.offset),
            ("saturate_low", Op::Max, "least_dividend", rescale.low),
            ("saturate_high", Op::Min, "greatest_dividend", rescale.greatest_dividend()),
            ("shift", Op::Div, "divisor", 1 << rescale.shift),
        ];
        for (operator, op, constant, value) in steps {
            let constant = self.constant(editor, constant, value)?;
            x = self.node(editor, operator, op, [Some(x), Some(constant)])?;
        }
        editor.replace_node(self.quantizer, Op::Cast { to: DType::U8 }, [Some(x)]);
        let change = "sum of two branches to fixed point";
        let site = log.changed(&self.node.name, change);
        site.note("error bound [output units]", rescale.error_bound);
        for (branch, multiplier) in ["first", "second"].into_iter().zip(rescale.multipliers) {
            site.note(format!("mantissa of the {branch} branch"), f64::from(multiplier));
        }
        site.note("fraction bits", f64::from(rescale.shift));
        site.error_bounds = vec![rescale.error_bound];
        Ok(())
    }

    /// The sum of the products.
    fn multiply(&self, editor: &mut GraphEditor, rescale: &SumRescale) -> Result<ValueId, TransformError> {
        let mut products = Vec::with_capacity(2);
        for (k, branch) in ["a", "b"].into_iter().enumerate() {
            let cast = Op::Cast { to: DType::I32 };
            let integers = self.node(editor, &format!("{branch}_integer"), cast, [Some(self.codes[k])])?;
            let mantissa = self.constant(editor, &format!("{branch}_mantissa"), rescale.multipliers[k])?;
            let name = format!("{branch}_multiply");
            products.push(Some(self.node(editor, &name, Op::Mul, [Some(integers), Some(mantissa)])?));
        }
        self.node(editor, "sum", Op::Add, products)
    }

    fn node(
        &self,
        editor: &mut GraphEditor,
        operator: &str,
        op: Op,
        inputs: impl Into<Vec<Option<ValueId>>>,
    ) -> Result<ValueId, TransformError> {
        Ok(editor.add_fresh_node(&format!("{}_{operator}", self.node.name), op, inputs)?)
    }

    fn constant(&self, editor: &mut GraphEditor, role: &str, value: i32) -> Result<ValueId, TransformError> {
        Ok(editor.add_fresh_constant(&format!("{}_{role}", self.node.name), Tensor::scalar(value))?)
    }
}

/// The one scale and the uint8 zero point of a quantizer or dequantizer.
fn parameters(graph: &Graph, node: &Node) -> Result<(f32, u8), TransformError> {
    let parameters = Parameters::of(graph, node)?;
    let zero_point =
        parameters.per_tensor().and_then(|(scale, zero)| Some((scale, u8::try_from(zero).ok()?)));
    zero_point.filter(|_| parameters.dtype == DType::U8).ok_or_else(|| {
        let reason = "expected uint8 codes of one scale and zero point around a sum of two branches";
        TransformError::refused("sum-of-codes", &node.name, reason)
    })
}
