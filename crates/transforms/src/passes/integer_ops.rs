//! Replaces Conv and Gemm by ConvInteger and MatMulInteger.
//!
//! After `fold-op-scales` a layer's operands are integers that are written as floats: `x - z` from
//! a `DequantizeLinear` of scale 1, `w - 0`, and the bias. ConvInteger and MatMulInteger take the
//! 8-bit values themselves with their zero points, so that every such `DequantizeLinear` goes; the
//! bias is added, and the Relu taken, in i32; MaxPool, Flatten and other data movement in front of a
//! layer move bytes. `sum (w - z_w)(x - z_x) + b` is the same integer as before, and exact now
//! (floats were exact up to 2^24 only).
//!
//! - A quantizer behind it reads a `Cast` to f32: runtimes have no QuantizeLinear of int32.
//! - Both zero points are wired, as scalars: runtimes that pad take the padding's value from there.
//! - MatMulInteger does not transpose: weights of a Gemm with transB get a transposed copy.
//! - i8 weights with zero point `z` are stored as u8 with zero point `z + 128`: every difference
//!   `w - z_w`, and with it every sum, stays as it is. Processors without VNNI add pairs of
//!   u8 x i8 products in 16 bits with saturation, and ONNX Runtime's MatMulInteger is silently
//!   wrong there; its u8 x u8 kernels are exact everywhere, and its ConvInteger is several times
//!   faster with them.
//! - The `Mul` that gives the logits back their unit becomes a `DequantizeLinear`.
//!
//! ```text
//! in      %x: u8[N,1,5,5]
//! const   %w: i8[2,1,3,3] = cycle [1, -2, 3]
//! const   %b: i32[1,2,1,1] = [7, -9]
//! const   %xz: u8[] = 3
//! const   %wz: i8[] = 0
//! Before  %xd: f32[N,1,5,5] = DequantizeLinear(%x, 1.0, %xz)
//!         %wd: f32[2,1,3,3] = DequantizeLinear(%w, 1.0, %wz)
//!         %bd: f32[1,2,1,1] = DequantizeLinear(%b, 1.0)
//!         %y_without_bias: f32[N,2,3,3] = Conv(%xd, %wd) @conv
//!         %y: f32[N,2,3,3] = Add(%y_without_bias, %bd) @conv_bias_add
//!         %r: f32[N,2,3,3] = Relu(%y)
//!         %q: u8[N,2,3,3] = QuantizeLinear(%r, 16.0, 0u8)
//! After   const %w_unsigned: u8[2,1,3,3] = cycle [129, 126, 131]
//!         %y_without_bias: i32[N,2,3,3] = ConvInteger(%x, %w_unsigned, %xz, 128u8) @conv
//!         %y: i32[N,2,3,3] = Add(%y_without_bias, %b) @conv_bias_add
//!         %r: i32[N,2,3,3] = Relu(%y)
//!         %r_float: f32[N,2,3,3] = Cast(%r) to=f32
//!         %q: u8[N,2,3,3] = QuantizeLinear(%r_float, 16.0, 0u8)
//! out     %q
//! ```
//!
//! The layer of the logits:
//!
//! ```text
//! in      %x: u8[N,1,2,2]
//! const   %w: i8[3,4] = [1, -2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
//! const   %xz: u8[] = 0
//! const   %wz: i8[] = 0
//! const   %logits_scale: f32[] = 0.125
//! Before  %xd: f32[N,1,2,2] = DequantizeLinear(%x, 1.0, %xz)
//!         %f: f32[N,4] = Flatten(%xd)
//!         %wd: f32[3,4] = DequantizeLinear(%w, 1.0, %wz)
//!         %logits_accumulator: f32[N,3] = Gemm(%f, %wd) transB=1 @fc
//!         %logits: f32[N,3] = Mul(%logits_accumulator, %logits_scale) @logits_dequantize
//! After   const %w_unsigned: u8[4,3] = [129, 133, 137, 126, 134, 138, 131, 135, 139, 132, 136, 140]
//!         %f: u8[N,4] = Flatten(%x)
//!         %logits_accumulator: i32[N,3] = MatMulInteger(%f, %w_unsigned, %xz, 128u8) @fc
//!         %logits: f32[N,3] = DequantizeLinear(%logits_accumulator, %logits_scale) @logits_dequantize
//! out     %logits
//! ```
//!
//! # Equivalence
//! The same real function; the accumulators are exact.
//!
//! # Refuses
//! A layer with a bias of its own (`bias-split`) or with scales other than 1 (`scale-folded`);
//! inputs with several zero points (`layer-input`); an operator on accumulators, or on the bytes
//! before a layer, that has no integer form (`accumulator-reader`).

use std::collections::HashSet;

use onnx2int_graph::{
    DType, Graph, GraphEditor, Node, NodeId, Op, Stage, Tensor, ValueId, Verified, movement,
};

use crate::edits::{set_constant, set_constant_named};
use crate::qdq::{
    Layer, Parameters, SIGN_OFFSET, is_layer, position_weights, sinks, unsigned, zero_point_scalar,
};
use crate::{Executor, RewriteLog, Transform, TransformError, products, tables};

/// The `integer-ops` transform; see the file's head.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntegerOps;

impl Transform for IntegerOps {
    fn makes(&self) -> Stage {
        Stage::Integer
    }

    fn rewrite(
        &self,
        graph: Verified<'_>,
        executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError> {
        let sites = find_sites(&graph)?;
        let mut rewriter = Rewriter {
            graph: &graph,
            editor: GraphEditor::from(graph.graph().clone()),
            bytes: HashSet::new(),
            accumulators: HashSet::new(),
        };
        for site in &sites {
            rewriter.read_bytes(site)?;
        }
        // In execution order, so that each node finds its operands done.
        let mut sites = sites.iter().peekable();
        for (id, node) in graph.nodes() {
            match sites.next_if(|site| site.layer.id == id) {
                Some(site) => rewriter.rewrite_layer(site, log)?,
                None => rewriter.rewrite_reader(id, node, log)?,
            }
        }
        let graph = tables::rewrite(rewriter.editor.finish()?, executor, log)?;
        products::rewrite(&graph, log)
    }
}

/// A layer whose operands are integers.
struct IntegerLayer<'g> {
    layer: Layer<'g>,
    /// The `DequantizeLinear` nodes that its input comes from.
    dequantizers: Vec<(NodeId, &'g Node)>,
    /// Their zero point.
    input_zero_point: i64,
    input_dtype: DType,
}

fn find_sites(graph: &Graph) -> Result<Vec<IntegerLayer<'_>>, TransformError> {
    let mut sites = Vec::new();
    for layer in Layer::all(graph)? {
        let refused = |rule, reason| Err(TransformError::refused(rule, &layer.node.name, reason));
        if layer.bias.is_some() {
            let reason = "expected the bias as an Add of its own; run split-bias-add first".to_owned();
            return refused("bias-split", reason);
        }
        let mut dequantizers = Vec::new();
        let mut quantization: Option<(i64, DType)> = None;
        for origin in movement::origins(graph, layer.input) {
            let name = &graph.value(origin).name;
            let Some((id, node)) =
                graph.producer(origin).filter(|(_, node)| matches!(node.op, Op::DequantizeLinear { .. }))
            else {
                return refused(
                    "layer-input",
                    format!("expected an input that comes from DequantizeLinear, found {name:?}"),
                );
            };
            let parameters = Parameters::of(graph, node)?;
            let Some((1.0, zero_point)) = parameters.per_tensor() else {
                return refused(
                    "scale-folded",
                    format!("expected scale 1 at {:?}; run fold-op-scales first", node.name),
                );
            };
            if quantization.is_some_and(|first| first != (zero_point, parameters.dtype)) {
                return refused(
                    "layer-input",
                    format!("expected one zero point for all that is joined, found another at {name:?}"),
                );
            }
            quantization = Some((zero_point, parameters.dtype));
            dequantizers.push((id, node));
        }
        if layer.weights.parameters.per_tensor().is_none_or(|(scale, _)| scale != 1.0) {
            let name = &layer.weights.node.name;
            return refused(
                "scale-folded",
                format!("expected scale 1 and one zero point at {name:?}; run fold-op-scales first"),
            );
        }
        let Some((input_zero_point, input_dtype)) = quantization else {
            return refused("layer-input", "expected an input that comes from DequantizeLinear".to_owned());
        };
        sites.push(IntegerLayer { layer, dequantizers, input_zero_point, input_dtype });
    }
    Ok(sites)
}

/// The graph on its way from floats that hold integers to integers.
struct Rewriter<'g> {
    /// The graph before.
    graph: &'g Graph,
    editor: GraphEditor,
    /// Values that were differences to a zero point and are the 8-bit values themselves now.
    bytes: HashSet<ValueId>,
    /// Values that are i32 now.
    accumulators: HashSet<ValueId>,
}

impl Rewriter<'_> {
    /// Lets the readers of a layer's `DequantizeLinear` nodes read the 8-bit values.
    fn read_bytes(&mut self, site: &IntegerLayer<'_>) -> Result<(), TransformError> {
        for &(_, node) in &site.dequantizers {
            let sinks = sinks(self.graph, node.output);
            let stranger =
                sinks.operands.iter().find(|&&(id, slot)| slot != 0 || !is_layer(&self.graph.node(id).op));
            if let Some(&(stranger, _)) = stranger {
                let stranger = self.graph.node(stranger);
                return Err(accumulator_reader(stranger, "the bytes in front of a layer"));
            }
            if !sinks.outputs.is_empty() {
                let reason = "expected its elements to go to layers only, found a graph output too";
                return Err(TransformError::refused("accumulator-reader", &node.name, reason));
            }
            let bytes = node.input(0).expect("the operator has a first operand");
            self.editor.redirect_uses(node.output, bytes);
            self.bytes.insert(bytes);
        }
        Ok(())
    }

    fn rewrite_layer(&mut self, site: &IntegerLayer<'_>, log: &mut RewriteLog) -> Result<(), TransformError> {
        let layer = &site.layer;
        let input = self.editor.graph().node(layer.id).input(0);
        let (op, transposes) = match &layer.node.op {
            Op::Conv(attributes) => (Op::ConvInteger(attributes.clone()), false),
            Op::Gemm(attributes) => (Op::MatMulInteger, attributes.trans_b),
            other => unreachable!("{} is no layer", other.name()),
        };
        self.editor.replace_node(layer.id, op, [input, layer.weights.node.input(0)]);
        let input_zero_point = site.dequantizers.first().and_then(|(_, node)| node.input(2));
        self.wire_zero_point(layer.id, 2, input_zero_point, site.input_dtype, site.input_zero_point)?;
        self.wire_weights(layer, transposes)?;

        self.accumulators.insert(layer.node.output);
        let op = self.editor.graph().node(layer.id).op.name();
        let change = if transposes { "with transposed weights" } else { "on the 8-bit values" };
        log.changed(&layer.node.name, format!("{} is {op} now, {change}", layer.node.op.name()));
        Ok(())
    }

    /// Gives an integer layer its weights as u8, with the rows of a matrix along the inner extent.
    fn wire_weights(&mut self, layer: &Layer<'_>, transposes: bool) -> Result<(), TransformError> {
        let parameters = &layer.weights.parameters;
        let mut zero_point = parameters.common_zero_point().expect("checked for layers");
        let mut tensor = layer.weights.tensor.clone();
        let mut name = layer.weights.name.to_owned();
        if transposes {
            tensor = transposed(&tensor);
            name.push_str("_transposed");
        }
        if let Some(unsigned) = unsigned(&tensor) {
            tensor = unsigned;
            zero_point += SIGN_OFFSET;
            name = format!("{}_unsigned", layer.weights.name);
        }
        if transposes || parameters.dtype == DType::I8 {
            set_constant_named(&mut self.editor, layer.id, 1, tensor, &name)?;
        }
        let present = layer.weights.node.input(2).filter(|_| parameters.dtype == DType::U8);
        self.wire_zero_point(layer.id, 3, present, DType::U8, zero_point)
    }

    /// Puts a zero point into an operand slot: the constant that is there already if it is a
    /// scalar, since integer operators of real runtimes take no other.
    fn wire_zero_point(
        &mut self,
        node: NodeId,
        slot: usize,
        present: Option<ValueId>,
        dtype: DType,
        zero_point: i64,
    ) -> Result<(), TransformError> {
        match present {
            Some(value) if self.graph.value(value).ty.rank() == 0 => {
                self.editor.set_input(node, slot, Some(value));
            }
            _ => {
                let tensor = zero_point_scalar(dtype, zero_point);
                set_constant(&mut self.editor, node, slot, tensor)?;
            }
        }
        Ok(())
    }

    /// A node that is no layer: follows bytes and accumulators through it.
    fn rewrite_reader(
        &mut self,
        id: NodeId,
        node: &Node,
        log: &mut RewriteLog,
    ) -> Result<(), TransformError> {
        let inputs = self.editor.graph().node(id).inputs.clone();
        let reads = |values: &HashSet<ValueId>| inputs.iter().flatten().any(|value| values.contains(value));
        if node.op.moves_data() && reads(&self.bytes) {
            self.retype(id);
            self.bytes.insert(node.output);
            return Ok(());
        }
        if !reads(&self.accumulators) {
            return Ok(());
        }
        match &node.op {
            Op::Relu => {
                self.retype(id);
                self.accumulators.insert(node.output);
            }
            Op::Add => {
                self.add_integers(id, node)?;
                self.accumulators.insert(node.output);
                log.changed(&node.name, "bias added in int32");
            }
            Op::QuantizeLinear { .. } => {
                let value = inputs[0].expect("the operator has a first operand");
                let float = self.cast_to_float(value)?;
                self.editor.set_input(id, 0, Some(float));
                log.changed(&node.name, "reads the accumulator through a Cast");
            }
            Op::Mul if position_weights(self.graph, node).is_some() => {
                self.weigh(id, node)?;
                self.accumulators.insert(node.output);
                log.changed(&node.name, "positions weighed in int32");
            }
            Op::Flatten { .. } | Op::Squeeze | Op::Reshape { .. } => {
                self.retype(id);
                self.accumulators.insert(node.output);
            }
            Op::Mul => {
                self.dequantize(id, node)?;
                log.changed(&node.name, "Mul by the scale is DequantizeLinear now");
            }
            _ => return Err(accumulator_reader(node, "an integer accumulator")),
        }
        Ok(())
    }

    /// Infers a node's type anew, now that its operands have other types.
    fn retype(&mut self, id: NodeId) {
        let first = self.editor.graph().node(id).input(0);
        self.editor.set_input(id, 0, first);
    }

    /// An Add of an accumulator and a bias behind a `DequantizeLinear` of scale 1.
    fn add_integers(&mut self, id: NodeId, node: &Node) -> Result<(), TransformError> {
        for slot in 0..2 {
            let value = node.input(slot).expect("the operator has two operands");
            if self.accumulators.contains(&value) {
                continue;
            }
            let bias = self.graph.producer(value).map(|(_, bias)| bias);
            let integers =
                bias.filter(|bias| is_integer_bias(self.graph, bias)).and_then(|bias| bias.input(0));
            if integers.is_none() {
                return Err(accumulator_reader(node, "an integer accumulator and something else"));
            }
            self.editor.set_input(id, slot, integers);
        }
        Ok(())
    }

    /// A Mul of an accumulator by a whole number for each position.
    fn weigh(&mut self, id: NodeId, node: &Node) -> Result<(), TransformError> {
        let (slot, weights) = position_weights(self.graph, node).expect("the caller asked");
        let value = self.graph.operand(node, slot).expect("the weights were read");
        let shape = value.ty.fixed_shape().expect("a constant has fixed extents");
        let weights = Tensor::from_vec::<i32>(&shape, weights).expect("as many weights as before");
        set_constant_named(&mut self.editor, id, slot, weights, &value.name)?;
        Ok(())
    }

    /// The f32 form of an accumulator; one `Cast` serves all of its quantizers.
    fn cast_to_float(&mut self, value: ValueId) -> Result<ValueId, TransformError> {
        let graph = self.editor.graph();
        let cast = Op::Cast { to: DType::F32 };
        let present = graph.consumers(value).map(|(id, _)| graph.node(id)).find(|node| node.op == cast);
        if let Some(present) = present {
            return Ok(present.output);
        }
        Ok(self.editor.add_fresh_node(&format!("{}_float", graph.value(value).name), cast, [Some(value)])?)
    }

    /// A Mul of an accumulator by a constant of one number, or one for each channel.
    fn dequantize(&mut self, id: NodeId, node: &Node) -> Result<(), TransformError> {
        let slot = usize::from(node.input(0).is_some_and(|value| self.accumulators.contains(&value)));
        let scale = node.input(slot).expect("the operator has two operands");
        let accumulator = node.input(1 - slot);
        let Some(tensor) = self.graph.value(scale).constant() else {
            return Err(accumulator_reader(node, "an integer accumulator and something else"));
        };
        let inputs = [accumulator, Some(scale)];
        let rank = self.graph.value(node.output).ty.rank();
        let along_channels =
            (0..tensor.rank()).all(|axis| tensor.shape()[axis] == 1 || axis + rank == tensor.rank() + 1);
        if !along_channels {
            return Err(accumulator_reader(
                node,
                "an integer accumulator and a scale that is not along axis 1",
            ));
        }
        self.editor.replace_node(id, Op::DequantizeLinear { axis: 1 }, inputs);
        if tensor.rank() > 0 {
            let flat = tensor.reshape(&[tensor.len()]).expect("a vector takes all elements");
            let name = &self.graph.value(scale).name;
            set_constant_named(&mut self.editor, id, 1, flat, name)?;
        }
        Ok(())
    }
}

/// Whether the node turns an int32 constant into floats of the same numbers.
fn is_integer_bias(graph: &Graph, node: &Node) -> bool {
    let constant = graph.constant_operand(node, 0);
    matches!(node.op, Op::DequantizeLinear { .. })
        && constant.is_some_and(|tensor| tensor.dtype() == DType::I32)
        && Parameters::of(graph, node).is_ok_and(|parameters| {
            parameters.scales.iter().all(|&scale| scale == 1.0) && parameters.common_zero_point() == Some(0)
        })
}

fn accumulator_reader(node: &Node, operand: &str) -> TransformError {
    let reason = format!(
        "expected a Relu, the Add of a quantized bias, a quantizer or the scale of an output, found {} on {operand}",
        node.op.name()
    );
    TransformError::refused("accumulator-reader", &node.name, reason)
}

/// A matrix with rows and columns exchanged.
fn transposed(matrix: &Tensor) -> Tensor {
    onnx2int_graph::match_tensor!(matrix, array => Tensor::from_array(array.t().into()))
}

#[cfg(test)]
mod tests;
