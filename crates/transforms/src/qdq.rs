//! What several passes ask of a graph in QDQ form: quantization parameters, where a value is
//! used, and the layers.

use onnx2int_graph::{DType, Graph, Node, NodeId, Op, Tensor, ValueId, movement};

use crate::TransformError;

/// Scale and zero point of a `QuantizeLinear` or `DequantizeLinear`, one of each per tensor or per
/// channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameters {
    /// The scales, positive and finite.
    pub(crate) scales: Vec<f32>,
    /// As many zero points.
    pub(crate) zero_points: Vec<i64>,
    /// The integer type.
    pub(crate) dtype: DType,
    /// The axis that several scales lie along, not negative.
    pub(crate) axis: usize,
}

impl Parameters {
    /// Reads them off a node; scale and zero point must be constant.
    pub(crate) fn of(graph: &Graph, node: &Node) -> Result<Self, TransformError> {
        let (axis, integers) = match node.op {
            Op::QuantizeLinear { axis } => (axis, graph.value(node.output)),
            Op::DequantizeLinear { axis } => {
                (axis, graph.operand(node, 0).expect("the operator has a first operand"))
            }
            _ => unreachable!("only quantizers have quantization parameters"),
        };
        let missing = |what: &str| {
            let reason = format!("expected a constant {what}; fold it into an initializer first");
            TransformError::refused("quantization-constant", &node.name, reason)
        };
        let scales = graph.constant_operand(node, 1).and_then(Tensor::as_slice::<f32>);
        let scales = scales.ok_or_else(|| missing("scale"))?.to_vec();
        let zero_points = match node.input(2) {
            None => vec![0; scales.len()],
            Some(_) => graph
                .constant_operand(node, 2)
                .and_then(Tensor::to_i64_vec)
                .ok_or_else(|| missing("zero point"))?,
        };
        if let Some(scale) = scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
            let reason = format!("expected positive finite scales, found {scale}");
            return Err(TransformError::refused("scale-positive", &node.name, reason));
        }
        let rank = integers.ty.rank() as i64;
        let axis = if axis < 0 { axis + rank } else { axis };
        Ok(Self { scales, zero_points, dtype: integers.ty.dtype, axis: usize::try_from(axis).unwrap_or(0) })
    }

    /// The one scale and zero point of the whole tensor, if that is how it is quantized.
    pub(crate) fn per_tensor(&self) -> Option<(f32, i64)> {
        match (self.scales.as_slice(), self.zero_points.as_slice()) {
            (&[scale], &[zero_point]) => Some((scale, zero_point)),
            _ => None,
        }
    }

    /// The scale of a channel.
    pub(crate) fn scale(&self, channel: usize) -> f32 {
        self.scales[if self.scales.len() == 1 { 0 } else { channel }]
    }

    /// The zero point, if all channels have the same.
    pub(crate) fn common_zero_point(&self) -> Option<i64> {
        let first = *self.zero_points.first()?;
        self.zero_points.iter().all(|&zero_point| zero_point == first).then_some(first)
    }
}

/// Where the elements of a value end up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sinks {
    /// Operand slots of nodes that are not movers.
    pub(crate) operands: Vec<(NodeId, usize)>,
    /// Graph outputs.
    pub(crate) outputs: Vec<ValueId>,
}

/// The uses of `value`, downwards through movers, each once.
pub(crate) fn sinks(graph: &Graph, value: ValueId) -> Sinks {
    let mut sinks = Sinks::default();
    for value in movement::carriers(graph, value) {
        if graph.outputs().contains(&value) {
            sinks.outputs.push(value);
        }
        let readers = graph.consumers(value);
        sinks.operands.extend(readers.filter(|&(id, slot)| !movement::moves_slot(graph.node(id), slot)));
    }
    sinks
}

/// A constant behind a `DequantizeLinear`: weights or a bias.
#[derive(Clone, Debug)]
pub(crate) struct DequantizedConstant<'g> {
    /// The `DequantizeLinear`.
    pub(crate) id: NodeId,
    /// The `DequantizeLinear`.
    pub(crate) node: &'g Node,
    /// The integers.
    pub(crate) tensor: &'g Tensor,
    /// Their name.
    pub(crate) name: &'g str,
    /// How they stand for real numbers.
    pub(crate) parameters: Parameters,
}

/// A `Conv` or `Gemm` whose weights, and bias if there is one, are quantized constants.
///
/// Its output has the channels along axis 1.
#[derive(Clone, Debug)]
pub(crate) struct Layer<'g> {
    /// The node.
    pub(crate) id: NodeId,
    /// The node.
    pub(crate) node: &'g Node,
    /// What it is applied to.
    pub(crate) input: ValueId,
    /// Operand 1.
    pub(crate) weights: DequantizedConstant<'g>,
    /// Operand 2.
    pub(crate) bias: Option<DequantizedConstant<'g>>,
    /// The number of output channels.
    pub(crate) channels: usize,
}

/// The whole numbers that a `Mul` weighs the positions of sums by, the same for all channels, if it
/// does that, and the slot that holds them; see the form of `AveragePool`.
pub(crate) fn position_weights(graph: &Graph, node: &Node) -> Option<(usize, Vec<i32>)> {
    if !matches!(node.op, Op::Mul) {
        return None;
    }
    let rank = graph.value(node.output).ty.rank();
    let slot = (0..2).find(|&slot| graph.constant_operand(node, slot).is_some())?;
    let weights = graph.constant_operand(node, slot)?;
    let over_space =
        rank > 2 && weights.rank() == rank && weights.shape()[..2] == [1, 1] && weights.len() > 1;
    let whole =
        |&weight: &f32| (weight.fract() == 0.0 && (1.0..16_777_216.0).contains(&weight)).then_some(weight);
    let weights = weights.as_slice::<f32>().filter(|_| over_space)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole numbers below 2^24")]
    let weights =
        weights.iter().map(|weight| whole(weight).map(|weight| weight as i32)).collect::<Option<_>>()?;
    Some((slot, weights))
}

/// Whether the operator is one that [`Layer::at`] reads.
pub(crate) const fn is_layer(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::Gemm(_))
}

impl<'g> Layer<'g> {
    /// Every layer of the graph, in execution order.
    pub(crate) fn all(graph: &'g Graph) -> Result<Vec<Self>, TransformError> {
        graph.nodes().filter(|(_, node)| is_layer(&node.op)).map(|(id, _)| Self::at(graph, id)).collect()
    }

    /// The layer at a `Conv` or `Gemm`.
    pub(crate) fn at(graph: &'g Graph, id: NodeId) -> Result<Self, TransformError> {
        let node = graph.node(id);
        let filters_axis = match &node.op {
            Op::Gemm(attributes) => {
                if attributes.alpha != 1.0 || attributes.beta != 1.0 || attributes.trans_a {
                    let reason = format!(
                        "expected alpha 1, beta 1 and transA 0, found {}, {} and {}; export the layer as \
                         a plain Gemm",
                        attributes.alpha,
                        attributes.beta,
                        u8::from(attributes.trans_a),
                    );
                    return Err(TransformError::refused("gemm-factors", &node.name, reason));
                }
                usize::from(!attributes.trans_b)
            }
            _ => 0,
        };
        let input = node.input(0).expect("the operator has a first operand");
        let Some(weights) = dequantized_constant(graph, node, 1)? else {
            let reason = "expected weights that are a DequantizeLinear of a constant; quantize them";
            return Err(TransformError::refused("weights-quantized", &node.name, reason));
        };
        let bias = match node.input(2) {
            None => None,
            Some(_) => match dequantized_constant(graph, node, 2)? {
                Some(bias) if bias.parameters.dtype == DType::I32 => Some(bias),
                _ => {
                    let reason = "expected a bias that is a DequantizeLinear of an int32 constant; \
                                  quantize it with scale i_scale * w_scale";
                    return Err(TransformError::refused("bias-quantized", &node.name, reason));
                }
            },
        };
        let channels = weights.tensor.shape()[filters_axis];
        let layer = Self { id, node, input, weights, bias, channels };
        layer.check_channel_axes(filters_axis)?;
        Ok(layer)
    }

    /// Several scales must lie along the output channels, and the weights' zero point must be one
    /// number: integer operators of real runtimes take no other.
    fn check_channel_axes(&self, filters_axis: usize) -> Result<(), TransformError> {
        let sides = [(Some(&self.weights), filters_axis), (self.bias.as_ref(), 0)];
        for (constant, axis) in sides.into_iter().filter_map(|(constant, axis)| Some((constant?, axis))) {
            let parameters = &constant.parameters;
            if parameters.scales.len() != 1 && parameters.axis != axis {
                let reason = format!(
                    "expected scales along axis {axis}, the output channels of {:?}, found axis {}",
                    self.node.name, parameters.axis
                );
                return Err(TransformError::refused("channel-axis", &constant.node.name, reason));
            }
            if parameters.common_zero_point().is_none() {
                let reason = "expected one zero point for all channels; quantize symmetrically";
                return Err(TransformError::refused("weight-zero-point", &constant.node.name, reason));
            }
        }
        if let Some(bias) = &self.bias
            && bias.parameters.common_zero_point() != Some(0)
        {
            let reason = "expected zero point 0 for an int32 bias";
            return Err(TransformError::refused("bias-quantized", &bias.node.name, reason));
        }
        Ok(())
    }
}

/// The constant behind a `DequantizeLinear` in that operand slot.
fn dequantized_constant<'g>(
    graph: &'g Graph,
    node: &Node,
    slot: usize,
) -> Result<Option<DequantizedConstant<'g>>, TransformError> {
    let Some((id, dequantize)) = node.input(slot).and_then(|value| graph.producer(value)) else {
        return Ok(None);
    };
    if !matches!(dequantize.op, Op::DequantizeLinear { .. }) {
        return Ok(None);
    }
    let Some(value) = graph.operand(dequantize, 0) else { return Ok(None) };
    let Some(tensor) = value.constant() else { return Ok(None) };
    let parameters = Parameters::of(graph, dequantize)?;
    Ok(Some(DequantizedConstant { id, node: dequantize, tensor, name: &value.name, parameters }))
}

/// What an i8 code and its zero point gain when they are stored as u8.
pub(crate) const SIGN_OFFSET: i64 = 128;

/// i8 codes, or their zero points, as u8 ones that are [`SIGN_OFFSET`] greater; none for other types.
pub(crate) fn unsigned(codes: &Tensor) -> Option<Tensor> {
    // Adding 128 modulo 256 is flipping the sign bit.
    let unsigned = codes.as_slice::<i8>()?.iter().map(|&code| code.cast_unsigned() ^ 0x80).collect();
    Some(Tensor::from_vec::<u8>(codes.shape(), unsigned).expect("as many elements as before"))
}

/// A zero point as a scalar of the type that it offsets.
pub(crate) fn zero_point_scalar(dtype: DType, zero_point: i64) -> Tensor {
    const FITS: &str = "a zero point was read from this type";
    match dtype {
        DType::U8 => Tensor::scalar(u8::try_from(zero_point).expect(FITS)),
        DType::I8 => Tensor::scalar(i8::try_from(zero_point).expect(FITS)),
        _ => Tensor::scalar(i32::try_from(zero_point).expect(FITS)),
    }
}
