//! The first transform, part by part: what lies between the quantizers of both graphs, given the same
//! bytes.
//!
//! A whole network would not do: an average is a convolution of ones from the sanitized stage on, whose
//! float rounding differs, so that a byte may fall to the other side of a rounding boundary.

use std::collections::HashMap;

use onnx2int_graph::{DType, Graph, GraphEditor, NodeId, Op, Tensor, TensorType, ValueId, movement, verify};
use onnx2int_interpreter::run;

use crate::Fault;
use crate::noise::Noise;

/// What two orders of float arithmetic may differ by, relative to the largest number of a tensor.
const TOLERANCE: f32 = 1e-6;

/// A model with every float bias rounded to the units of its layer, which is what is promised of it.
pub(crate) fn with_rounded_biases(graph: &Graph) -> Result<Graph, Fault> {
    let mut editor = GraphEditor::from(graph.clone());
    for (id, node) in graph.nodes().filter(|(_, node)| matches!(node.op, Op::Conv(_) | Op::Gemm(_))) {
        let Some(biases) = graph.constant_operand(node, 2).and_then(Tensor::as_slice::<f32>) else {
            continue;
        };
        let scales = |slot: usize| -> Option<&[f32]> {
            let origin = *movement::origins(graph, node.input(slot)?).first()?;
            graph.constant_operand(graph.producer(origin)?.1, 1)?.as_slice::<f32>()
        };
        let (Some(&[input]), Some(weights)) = (scales(0), scales(1)) else {
            return Err(Fault::form(&node.name, "quantized operands"));
        };
        let rounded = biases.iter().enumerate().map(|(channel, &bias)| {
            let unit = input * weights[if weights.len() == 1 { 0 } else { channel }];
            #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^21 in magnitude")]
            let integer = (f64::from(bias) / f64::from(unit)).round_ties_even() as i32;
            integer as f32 * unit
        });
        let rounded = Tensor::vector::<f32>(rounded.collect());
        let name = editor.unique_name(&format!("{}_rounded", node.name));
        let rounded = editor.add_constant(&name, rounded)?;
        editor.set_input(id, 2, Some(rounded));
    }
    Ok(editor.finish()?)
}

/// Whether a float average is in the graph.
pub(crate) fn has_average(graph: &Graph) -> bool {
    graph.nodes().any(|(_, node)| matches!(node.op, Op::AveragePool(_) | Op::GlobalAveragePool))
}

/// Compares what both graphs give each quantizer that both have, from random bytes behind all of them.
pub(crate) fn check(before: &Graph, after: &Graph, image: &Tensor, noise: &mut Noise) -> Result<(), Fault> {
    let batch = image.shape()[0];
    let mut bytes: HashMap<String, Vec<u8>> = HashMap::new();
    let old = Cut::new(before, after)?.run(batch, image, &mut bytes, noise)?;
    let new = Cut::new(after, before)?.run(batch, image, &mut bytes, noise)?;
    for (name, wanted) in &old {
        let found = new.get(name).and_then(Tensor::as_slice::<f32>);
        let (Some(found), Some(wanted)) = (found, wanted.as_slice::<f32>()) else {
            return Err(Fault::form(name, "floats in both graphs"));
        };
        let largest = wanted.iter().fold(0.0, |largest: f32, number| largest.max(number.abs()));
        let allowed = largest * TOLERANCE;
        let near = found.len() == wanted.len()
            && found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() <= allowed);
        if !near {
            return Err(Fault::Sanitized { node: name.clone() });
        }
    }
    Ok(())
}

/// A graph cut at its quantizers.
struct Cut {
    graph: Graph,
    /// The names of the quantizers, as the inputs behind the first.
    quantizers: Vec<String>,
}

impl Cut {
    /// Cuts at each quantizer that is in `other` as well.
    fn new(graph: &Graph, other: &Graph) -> Result<Self, Fault> {
        let mut editor = GraphEditor::from(graph.clone());
        let found: Vec<(NodeId, ValueId)> = graph
            .nodes()
            .filter(|(_, node)| matches!(node.op, Op::QuantizeLinear { .. }))
            .filter(|(_, node)| other.node_by_name(&node.name).is_some())
            .filter_map(|(id, node)| Some((id, node.input(0)?)))
            .collect();
        let (mut quantizers, mut outputs) = (Vec::new(), Vec::new());
        for &(id, _) in &found {
            let node = graph.node(id);
            let input = editor.unique_name(&format!("{}_forced", node.name));
            let input = editor.add_input(&input, graph.value(node.output).ty.clone())?;
            editor.redirect_uses(node.output, input);
            quantizers.push(node.name.clone());
        }
        // Behind the redirections, where a quantizer may read the dequantizer of another.
        for &(id, operand) in &found {
            let name = editor.unique_name(&format!("{}_read", graph.node(id).name));
            outputs.push(editor.add_node(&name, Op::Identity, [Some(operand)], &name)?);
        }
        editor.set_outputs(outputs);
        Ok(Self { graph: editor.finish()?, quantizers })
    }

    /// What each quantizer would read, by its name, of bytes that are made for the first graph and are
    /// the same for the second.
    fn run(
        &self,
        batch: usize,
        image: &Tensor,
        bytes: &mut HashMap<String, Vec<u8>>,
        noise: &mut Noise,
    ) -> Result<HashMap<String, Tensor>, Fault> {
        let mut inputs = vec![image.clone()];
        for (name, &input) in self.quantizers.iter().zip(&self.graph.inputs()[1..]) {
            let TensorType { dtype, shape } = &self.graph.value(input).ty;
            let extents: Vec<usize> = shape.iter().map(|dim| dim.fixed().unwrap_or(batch)).collect();
            let count = extents.iter().product();
            let bytes =
                bytes.entry(name.clone()).or_insert_with(|| (0..count).map(|_| noise.byte()).collect());
            inputs.push(match dtype {
                DType::U8 => Tensor::from_vec::<u8>(&extents, bytes.clone()).expect("a byte each"),
                // int8 codes are 128 less.
                _ => {
                    let codes = bytes.iter().map(|byte| (byte ^ 0x80).cast_signed()).collect();
                    Tensor::from_vec::<i8>(&extents, codes).expect("a byte each")
                }
            });
        }
        let outputs =
            run(verify(&self.graph)?, &inputs).map_err(|source| Fault::run("a graph, cut", source))?;
        Ok(self.quantizers.iter().cloned().zip(outputs).collect())
    }
}
