//! Each layer of the integer graph against the same layer of the QDQ graph, given the same bytes.
//!
//! Two whole networks drift apart: a byte that fell to the other side of a rounding boundary makes
//! all that follows another number. So the QDQ graph is cut at its quantizers, and what each layer
//! reads are the bytes that the integer graph made. Then a layer may differ by its own rounding
//! only, and a wrong factor, zero point or channel shows at once.

use std::collections::HashMap;

use onnx2int_graph::range::{self, Ranges};
use onnx2int_graph::{Graph, GraphEditor, NodeId, Op, Tensor, ValueId, Verified, metadata, verify};
use onnx2int_interpreter::{run, run_observed};

use crate::Fault;
use crate::tables::function_of;

/// What is known of the rescale that took a quantizer's place.
pub(crate) struct Rescaled {
    /// The name of the accumulator; a sum of two branches has none.
    pub(crate) accumulator: Option<String>,
    /// Bytes in one unit of the accumulator, for each channel or one for all; of a sum, of both
    /// branches together.
    pub(crate) multipliers: Vec<f64>,
    /// The reported error bounds, in bytes.
    pub(crate) bounds: Vec<f64>,
}

/// The QDQ graph, cut, beside the integer graph.
pub(crate) struct Forced<'g> {
    integers: Verified<'g>,
    ranges: Ranges,
    cut: Graph,
    /// For each input of the cut graph but the first, the value of the integer graph.
    bytes: Vec<ValueId>,
    /// For the first outputs of the cut graph, what each is compared with.
    quantizers: Vec<Comparison>,
    /// For the outputs behind them but the last, the bytes of the integer graph and the quantizer's
    /// name: functions of one byte, which are exact.
    functions: Vec<(String, ValueId)>,
}

/// A quantizer's float operand is compared with the bytes of the integer graph.
struct Comparison {
    node: String,
    bytes: ValueId,
    accumulator: Option<ValueId>,
    /// Scale and zero point in the QDQ graph.
    scale: f64,
    zero_point: f64,
    /// What one unit of the accumulator is in bytes, for each channel.
    multipliers: Vec<f64>,
    bounds: Vec<f64>,
}

impl<'g> Forced<'g> {
    /// Cuts `pruned`, in which every quantizer stands behind a layer, a sum of two branches or a
    /// function of one byte. `rescales` has the accumulator, the multipliers and the error bounds behind
    /// each quantizer of the first two. A function that gives every code back is not in the integer
    /// graph, and not cut.
    pub(crate) fn new(
        pruned: &Graph,
        integers: Verified<'g>,
        rescales: &HashMap<String, Rescaled>,
    ) -> Result<Self, Fault> {
        let mut editor = GraphEditor::from(pruned.clone());
        let (mut bytes, mut quantizers, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
        let (mut functions, mut function_outputs) = (Vec::new(), Vec::new());
        let found: Vec<(NodeId, ValueId)> = pruned
            .nodes()
            .filter(|(_, node)| matches!(node.op, Op::QuantizeLinear { .. }))
            .filter_map(|(id, node)| Some((id, node.input(0)?)))
            .collect();
        for (id, operand) in found {
            let node = pruned.node(id);
            let missing = || Fault::form(&node.name, "the same quantizer in the integer graph");
            let is_function = function_of(pruned, node).is_some();
            if is_function && integers.node_by_name(&node.name).is_none() {
                continue;
            }
            let name = &pruned.value(node.output).name;
            // By the node: where the bytes are the output, they have its name now.
            let value =
                integers.node_by_name(&node.name).map(|id| integers.node(id).output).ok_or_else(missing)?;
            let input = editor.unique_name(&format!("{name}_forced"));
            let input = editor.add_input(&input, pruned.value(node.output).ty.clone())?;
            editor.redirect_uses(node.output, input);
            let zero_point = pruned.constant_operand(node, 2).and_then(Tensor::as_single::<u8>).unwrap_or(0);
            let scale =
                pruned.constant_operand(node, 1).and_then(Tensor::as_single::<f32>).ok_or_else(missing)?;
            bytes.push(value);
            if is_function {
                functions.push((node.name.clone(), value));
                function_outputs.push(node.output);
                continue;
            }
            let rescaled = rescales.get(&node.name).ok_or_else(missing)?;
            let accumulator = match &rescaled.accumulator {
                None => None,
                Some(name) => Some(integers.value_by_name(name).ok_or_else(missing)?),
            };
            outputs.push(operand);
            quantizers.push(Comparison {
                node: node.name.clone(),
                bytes: value,
                accumulator,
                scale: f64::from(scale),
                zero_point: f64::from(zero_point),
                multipliers: rescaled.multipliers.clone(),
                bounds: rescaled.bounds.clone(),
            });
        }
        outputs.extend(function_outputs);
        outputs.push(editor.graph().outputs()[0]);
        let distinct = outputs.iter().enumerate().all(|(index, value)| !outputs[..index].contains(value));
        if !distinct {
            return Err(Fault::form(pruned.name(), "a layer behind each quantizer"));
        }
        editor.set_outputs(outputs);
        let cut = editor.finish()?;
        Ok(Self { integers, ranges: range::analyze(integers), cut, bytes, quantizers, functions })
    }

    /// Compares layer by layer on one batch.
    pub(crate) fn check(&self, image: &Tensor) -> Result<(), Fault> {
        let mut seen = HashMap::new();
        let mut observe = |value: ValueId, tensor: &Tensor| {
            seen.insert(value, tensor.clone());
        };
        let outputs = run_observed(self.integers, std::slice::from_ref(image), &mut observe)
            .map_err(|source| Fault::run("the integer graph", source))?;
        let mut inputs = vec![image.clone()];
        inputs.extend(self.bytes.iter().map(|value| seen[value].clone()));
        let floats =
            run(verify(&self.cut)?, &inputs).map_err(|source| Fault::run("the QDQ graph, cut", source))?;
        for (comparison, float) in self.quantizers.iter().zip(&floats) {
            self.check_bytes(comparison, float, &seen[&comparison.bytes])?;
        }
        let functions = &floats[self.quantizers.len()..];
        for ((node, bytes), wanted) in self.functions.iter().zip(functions) {
            if seen[bytes] != *wanted {
                return Err(Fault::Function { node: node.clone() });
            }
        }
        self.check_logits(&functions[self.functions.len()], &outputs[0])
    }

    fn check_bytes(&self, comparison: &Comparison, float: &Tensor, bytes: &Tensor) -> Result<(), Fault> {
        let node = &comparison.node;
        let (Some(floats), Some(bytes)) = (float.as_slice::<f32>(), bytes.as_slice::<u8>()) else {
            return Err(Fault::form(node, "floats quantized to bytes"));
        };
        for (index, (&real, &byte)) in floats.iter().zip(bytes).enumerate() {
            let channel = channel(index, float.shape());
            let wanted = f64::from(real) / comparison.scale + comparison.zero_point;
            let wanted = wanted.clamp(0.0, 255.0);
            let at = |values: &[f64]| values[if values.len() == 1 { 0 } else { channel }];
            let lost = match comparison.accumulator {
                Some(accumulator) => self.float_error(accumulator, channel),
                // Of a sum: two products of 255 units at most, each rounded twice, and the sum.
                None => 255.0 / f64::from(1 << 21),
            };
            let rounding = lost * at(&comparison.multipliers);
            let allowed = 0.5 + 1e-3 + at(&comparison.bounds) + rounding;
            let found = f64::from(byte);
            if (found - wanted).abs() > allowed {
                return Err(Fault::Layer { node: node.clone(), channel, found, wanted, allowed });
            }
        }
        Ok(())
    }

    fn check_logits(&self, float: &Tensor, raw: &Tensor) -> Result<(), Fault> {
        let graph = self.integers.graph();
        let output = graph.outputs()[0];
        let node = &graph.value(output).name;
        let unit = metadata::logit_scale(graph).ok_or_else(|| Fault::form(node, "a logit scale"))?;
        let (Some(floats), Some(raw)) = (float.as_slice::<f32>(), raw.to_i64_vec()) else {
            return Err(Fault::form(node, "integer logits"));
        };
        // What brings several scales to one is off by up to 2^-12, and by half a factor where it shifts first.
        let (relative, units) = match graph.producer(output).map(|(_, node)| &node.op) {
            Some(Op::Mul) => (1.0 / 4096.0, 0.0),
            Some(Op::Add) if graph.node_by_name(&format!("{node}_pre_shift")).is_some() => {
                (1.0 / 4096.0, 4098.0)
            }
            _ => (0.0, 0.0),
        };
        for (index, (&real, raw)) in floats.iter().zip(raw).enumerate() {
            let channel = channel(index, float.shape());
            let (found, wanted) = (raw as f64 * unit, f64::from(real));
            let allowed = (self.float_error(output, channel) + units) * unit + relative * wanted.abs();
            if (found - wanted).abs() > allowed {
                return Err(Fault::Layer { node: node.clone(), channel, found, wanted, allowed });
            }
        }
        Ok(())
    }

    /// What float arithmetic may lose of a layer's result, in units of the accumulator.
    ///
    /// A term is the rounded product of two rounded factors, `i_scale (x - z)` and `w_scale w`; the
    /// bias' scale and the sum are rounded too: some 4 roundings of 2^-24, relative to the sum of
    /// the terms' magnitudes.
    fn float_error(&self, accumulator: ValueId, channel: usize) -> f64 {
        let graph = self.integers.graph();
        let sums = match graph.producer(accumulator) {
            Some((_, node)) if matches!(node.op, Op::Relu) => node.input(0).unwrap_or(accumulator),
            _ => accumulator,
        };
        let (low, high) = self.ranges.get(sums).map_or((0, 0), |range| range.channel(channel));
        let magnitude = (high - low) + low.abs().max(high.abs());
        magnitude as f64 / f64::from(1 << 21) + 1e-6
    }
}

/// The channel, along axis 1, of an element counted in row-major order.
fn channel(index: usize, shape: &[usize]) -> usize {
    let inner: usize = shape[2..].iter().product();
    index / inner % shape[1]
}
