//! Writes quantizers, dequantizers, integer weights and integer biases into the graph.

use std::collections::HashMap;

use onnx2int_dataset::Normalization;
use onnx2int_graph::scales::{LayerWeights, Parameters, activation_parameters, weight_limit};
use onnx2int_graph::{
    Graph, GraphEditor, Node, Op, QuantizationAnnotation, Stage, Tensor, ValueId, metadata, pointwise,
};

use crate::correct_bias::Corrections;
use crate::observe::Observed;
use crate::overrides::Resolved;
use crate::plan::{Layer, Plan};
use crate::{CalibrationError, LogitScales, Quantized, QuantizedTensor, Settings};

pub(crate) fn insert(
    graph: &Graph,
    plan: &Plan,
    observed: &Observed,
    normalization: &Normalization,
    settings: &Settings,
    resolved: &Resolved,
    corrections: &Corrections,
) -> Result<Quantized, CalibrationError> {
    let mut inserter = Inserter {
        graph,
        plan,
        observed,
        normalization,
        settings,
        resolved,
        corrections,
        editor: GraphEditor::from(graph.clone()),
        done: HashMap::new(),
        activations: Vec::new(),
    };
    for (id, node) in graph.nodes() {
        for &slot in plan.operands.get(&id).into_iter().flatten() {
            let x = node.input(slot).expect("the plan names operands that are there");
            let input = inserter.activation(x)?;
            inserter.editor.set_input(id, slot, Some(input.dequantized));
            if let Some(layer) = plan.layers.get(&id) {
                inserter.constants(*layer, node, input.parameters.scale)?;
            }
        }
    }
    for &output in &plan.outputs {
        inserter.output(output)?;
    }
    let Inserter { mut editor, activations, .. } = inserter;
    let is_float = |id, node: &Node| {
        matches!(node.op, Op::Conv(_) | Op::Gemm(_) | Op::MatMul) && !plan.layers.contains_key(&id)
    };
    match graph.nodes().any(|(id, node)| is_float(id, node)) {
        true => editor.remove_metadata(metadata::STAGE),
        false => editor.set_metadata(metadata::STAGE, Stage::Quantized.name()),
    }
    normalization.record(&mut editor);
    Ok(Quantized { graph: editor.finish()?, activations })
}

/// A value that went through a quantizer and a dequantizer.
#[derive(Clone, Copy)]
struct Activation {
    dequantized: ValueId,
    parameters: Parameters,
    scale: ValueId,
    zero_point: ValueId,
}

struct Inserter<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    observed: &'a Observed,
    normalization: &'a Normalization,
    settings: &'a Settings,
    resolved: &'a Resolved,
    corrections: &'a Corrections,
    editor: GraphEditor,
    done: HashMap<ValueId, Activation>,
    activations: Vec<QuantizedTensor>,
}

impl Inserter<'_> {
    /// The quantized and dequantized form of a float value, made on first use.
    fn activation(&mut self, value: ValueId) -> Result<Activation, CalibrationError> {
        if let Some(done) = self.done.get(&value) {
            return Ok(*done);
        }
        let base = self.graph.value(value).name.clone();
        let carried = self
            .graph
            .producer(value)
            .filter(|(id, _)| self.plan.carriers.contains(id))
            .and_then(|(_, node)| self.done.get(&node.input(0)?).copied());
        let (parameters, scale, zero_point) = match carried {
            // Moving data changes no value, so that the same parameters hold, and the same
            // constants are read: the pair is seen to do nothing.
            Some(operand) => (operand.parameters, operand.scale, operand.zero_point),
            None => {
                let (least, greatest, parameters) = self.range(value);
                let Parameters { scale, zero_point } = parameters;
                self.activations.push(QuantizedTensor {
                    name: base.clone(),
                    least,
                    greatest,
                    scale,
                    zero_point,
                });
                let scale = self.constant(&format!("{base}_scale"), Tensor::scalar(scale))?;
                let zero_point = self.constant(&format!("{base}_zero_point"), Tensor::scalar(zero_point))?;
                (parameters, scale, zero_point)
            }
        };
        let source = self.without_implied_relu(value, parameters);
        let quantize = Op::QuantizeLinear { axis: 1 };
        let quantized =
            self.node(&base, "quantize", quantize, vec![Some(source), Some(scale), Some(zero_point)])?;
        let name_of = |id| self.editor.graph().value(id).name.clone();
        let annotation = QuantizationAnnotation { scale: name_of(scale), zero_point: name_of(zero_point) };
        self.editor.annotate(quantized, Some(annotation));
        let dequantize = Op::DequantizeLinear { axis: 1 };
        let dequantized =
            self.node(&base, "dequantize", dequantize, vec![Some(quantized), Some(scale), Some(zero_point)])?;
        let activation = Activation { dequantized, parameters, scale, zero_point };
        self.done.insert(value, activation);
        Ok(activation)
    }

    /// Lets the caller have the quantized form of a graph output, under its name.
    fn output(&mut self, output: ValueId) -> Result<(), CalibrationError> {
        let dequantized = self.activation(output)?.dequantized;
        let name = self.graph.value(output).name.clone();
        let aside = self.editor.unique_name(&format!("{name}_float"));
        self.editor.rename_value(output, &aside)?;
        self.editor.rename_value(dequantized, &name)?;
        let outputs = self.editor.graph().outputs().iter();
        let swapped: Vec<ValueId> =
            outputs.map(|&old| if old == output { dequantized } else { old }).collect();
        self.editor.set_outputs(swapped);
        Ok(())
    }

    /// The range and parameters of a value that is not carried: fixed by the caller, observed, or those
    /// of the preprocessing.
    fn range(&self, value: ValueId) -> (f32, f32, Parameters) {
        let source = *self.plan.range_of.get(&value).unwrap_or(&value);
        if let Some(fixed) = self.resolved.tensors.get(&source).and_then(|chosen| chosen.fixed()) {
            return fixed;
        }
        let (least, greatest) = match value == self.plan.input {
            true => self.input_range(),
            false => self.observed[&source],
        };
        (least, greatest, activation_parameters(least, greatest))
    }

    /// From what the preprocessing makes of the least pixel to what it makes of the greatest.
    fn input_range(&self) -> (f32, f32) {
        let ends = (0..self.normalization.channels()).flat_map(|channel| {
            [self.normalization.apply(channel, 0), self.normalization.apply(channel, 255)]
        });
        ends.fold((f32::INFINITY, f32::NEG_INFINITY), |(least, greatest), end| {
            (least.min(end), greatest.max(end))
        })
    }

    /// A u8 quantizer at zero point 0 clips at 0: the Relu of a layer's or a sum's output before it
    /// does nothing.
    fn without_implied_relu(&self, value: ValueId, parameters: Parameters) -> ValueId {
        match self.graph.producer(value) {
            Some((id, Node { op: Op::Relu, inputs, .. }))
                if parameters.zero_point == 0 && self.plan.fused.contains(&id) =>
            {
                inputs[0].unwrap_or(value)
            }
            _ => value,
        }
    }

    /// Gives a layer integer weights and an integer bias.
    fn constants(&mut self, layer: Layer, node: &Node, input_scale: f32) -> Result<(), CalibrationError> {
        let weights = self.finite(node, 1)?;
        let bias = match node.input(2) {
            Some(_) => Some(self.finite(node, 2)?),
            None => None,
        };
        let values = weights.as_slice::<f32>().expect("checked to be f32");
        let mut biases =
            bias.as_ref().map(|bias| bias.as_slice::<f32>().expect("checked to be f32").to_vec());
        let corrections = self.corrections.get(&layer.node);
        for (bias, correction) in biases.iter_mut().flatten().zip(corrections.into_iter().flatten()) {
            #[expect(clippy::cast_possible_truncation, reason = "biases are stored as f32")]
            let corrected = (f64::from(*bias) + correction) as f32;
            *bias = corrected;
        }
        let shared = layer.logits && self.settings.logits == LogitScales::Shared;
        let own = self.resolved.nodes.get(&layer.node).copied().unwrap_or_default();
        let per_channel = own.per_axis.unwrap_or(self.settings.per_axis && !shared);
        let limit = weight_limit(own.weight_bits.unwrap_or(self.settings.weight_bits));
        let float = LayerWeights {
            values,
            shape: weights.shape(),
            channel_axis: layer.channel_axis,
            biases: biases.as_deref(),
        };
        let scales = float.scales(per_channel, input_scale, limit);
        let channel_of = float.channel_of();
        let scale_of = |channel: usize| scales[if per_channel { channel } else { 0 }];
        let quantized: Vec<i8> = values
            .iter()
            .enumerate()
            .map(|(index, value)| weight(value / scale_of(channel_of(index)), limit))
            .collect();
        let quantized = Tensor::from_vec(weights.shape(), quantized).expect("one element for each weight");
        let weights =
            self.dequantized_constant(node, 1, layer.channel_axis, quantized, &scales, per_channel)?;
        self.editor.set_input(layer.node, 1, Some(weights));
        if let Some(biases) = biases {
            let bias_scales: Vec<f32> = scales.iter().map(|scale| input_scale * scale).collect();
            let quantized = biases
                .iter()
                .enumerate()
                .map(|(channel, &bias)| {
                    integer_bias(bias, bias_scales[if per_channel { channel } else { 0 }])
                })
                .collect();
            let bias = self.dequantized_constant(
                node,
                2,
                0,
                Tensor::vector::<i32>(quantized),
                &bias_scales,
                per_channel,
            )?;
            self.editor.set_input(layer.node, 2, Some(bias));
        }
        Ok(())
    }

    /// A float constant operand, all of whose elements are numbers.
    fn finite(&self, node: &Node, slot: usize) -> Result<Tensor, CalibrationError> {
        let value = node.input(slot).expect("the plan checked that it is there");
        let tensor =
            pointwise::known_tensor(self.graph, value).expect("the plan checked that it is constant");
        let values = tensor.as_slice::<f32>().expect("a float layer has float constants");
        if values.iter().all(|value| value.is_finite()) {
            return Ok(tensor.clone());
        }
        let name = self.graph.operand(node, slot).map(|value| value.name.clone()).unwrap_or_default();
        Err(CalibrationError::WeightsNotFinite { tensor: name, node: node.name.clone() })
    }

    /// An integer initializer behind a `DequantizeLinear`; gives the latter's output.
    fn dequantized_constant(
        &mut self,
        node: &Node,
        slot: usize,
        axis: usize,
        quantized: Tensor,
        scales: &[f32],
        per_channel: bool,
    ) -> Result<ValueId, CalibrationError> {
        let base = self.graph.operand(node, slot).expect("the operand is there").name.clone();
        let shaped = |values: Vec<f32>| match per_channel {
            true => Tensor::vector(values),
            false => Tensor::scalar(values[0]),
        };
        let is_weight = quantized.dtype() == onnx2int_graph::DType::I8;
        let quantized = self.constant(&format!("{base}_quantized"), quantized)?;
        let scale = self.constant(&format!("{base}_scale"), shaped(scales.to_vec()))?;
        let mut inputs = vec![Some(quantized), Some(scale)];
        if is_weight {
            let zero_point = match per_channel {
                true => Tensor::vector(vec![0i8; scales.len()]),
                false => Tensor::scalar(0i8),
            };
            inputs.push(Some(self.constant(&format!("{base}_zero_point"), zero_point)?));
        }
        self.node(&base, "dequantize", Op::DequantizeLinear { axis: axis as i64 }, inputs)
    }

    fn constant(&mut self, name: &str, tensor: Tensor) -> Result<ValueId, CalibrationError> {
        Ok(self.editor.add_fresh_constant(name, tensor)?)
    }

    /// A node `<base>_<verb>` with the output `<base>_<verb>d`.
    fn node(
        &mut self,
        base: &str,
        verb: &str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
    ) -> Result<ValueId, CalibrationError> {
        let name = self.editor.unique_name(&format!("{base}_{verb}"));
        let output = self.editor.unique_name(&format!("{base}_{verb}d"));
        Ok(self.editor.add_node(&name, op, inputs, &output)?)
    }
}

/// Rounds half to even and saturates to `[-limit, limit]`.
#[expect(clippy::cast_possible_truncation, reason = "clamped to i8 just before")]
fn weight(value: f32, limit: f32) -> i8 {
    value.round_ties_even().clamp(-limit, limit) as i8
}

/// A bias in units of its scale; the scale keeps it within `2^30`.
#[expect(clippy::cast_possible_truncation, reason = "saturates at the ends of i32, which are out of reach")]
fn integer_bias(bias: f32, scale: f32) -> i32 {
    (f64::from(bias) / f64::from(scale)).round_ties_even() as i32
}
