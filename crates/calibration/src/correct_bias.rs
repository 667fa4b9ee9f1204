//! Bias correction: takes the mean error that quantization makes in a layer's outputs out of its bias.
//!
//! Rounded weights and clipped activations shift the outputs of a channel by a mean that is not 0,
//! and the shift goes on through all later layers. With `y` the float layer's output before its
//! activation and `y'` that of the quantized network, on the calibration images,
//!
//! ```text
//! b_i := b_i - (E[y'_i] - E[y_i])
//! ```
//!
//! (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
//! arXiv 1906.04721, section 4.2, equations 14 to 17, in the empirical form of appendix D). Layers are corrected in
//! execution order, each behind layers that are corrected already.

use std::collections::BTreeMap;

use onnx2int_graph::{GemmAttributes, Graph, GraphEditor, NodeId, Op, Tensor, ValueId};

use crate::observe::Observation;
use crate::plan::Plan;
use crate::{CalibrationError, Unsupported, observe};

/// What is added to the biases of layers, one for each output channel.
pub(crate) type Corrections = BTreeMap<NodeId, Vec<f64>>;

/// The graph with a bias, if of zeros, in every layer: a mean can be taken out of what is there only.
///
/// # Errors
/// Names each `MatMul` of a rank above 2, which has no bias.
pub(crate) fn with_biases(graph: &Graph, plan: &Plan) -> Result<Graph, CalibrationError> {
    let mut editor = GraphEditor::from(graph.clone());
    let mut unsupported = Vec::new();
    for layer in plan.layers.values() {
        let node = graph.node(layer.node);
        let (Some(x), Some(weights), None) = (node.input(0), graph.operand(node, 1), node.input(2)) else {
            continue;
        };
        let channels = weights.ty.shape[layer.channel_axis].fixed().expect("constants have fixed shapes");
        let op = match &node.op {
            Op::MatMul if graph.value(x).ty.rank() == 2 => Op::Gemm(GemmAttributes::default()),
            Op::MatMul => {
                unsupported.push(Unsupported {
                    node: node.name.clone(),
                    op: node.op.name(),
                    reason: "a matrix product of this rank has no bias to correct; quantize without bias \
                             correction, or make it a Gemm"
                        .to_owned(),
                });
                continue;
            }
            op => op.clone(),
        };
        let name = format!("{}_bias", node.name);
        let bias = editor.add_fresh_constant(&name, Tensor::vector(vec![0.0_f32; channels]))?;
        editor.replace_node(layer.node, op, vec![Some(x), node.input(1), Some(bias)]);
    }
    match unsupported.is_empty() {
        true => Ok(editor.finish()?),
        false => Err(CalibrationError::Unsupported { nodes: unsupported }),
    }
}

/// The corrections of all layers; `quantized` makes the quantized graph with those found so far.
pub(crate) fn corrections(
    observation: Observation<'_>,
    plan: &Plan,
    quantized: impl Fn(&Corrections) -> Result<Graph, CalibrationError>,
) -> Result<Corrections, CalibrationError> {
    let float = observation.graph.graph();
    let outputs: Vec<ValueId> = plan.layers.keys().map(|&layer| float.node(layer).output).collect();
    let wanted = observe::means(Observation { values: &outputs, ..observation })?;
    let mut corrections = Corrections::new();
    for (&layer, wanted) in plan.layers.keys().zip(&wanted) {
        let graph = quantized(&corrections)?;
        let found = graph.node_by_name(&float.node(layer).name).expect("layers keep their names");
        let output = [graph.node(found).output];
        let verified = onnx2int_graph::verify(&graph).map_err(CalibrationError::Verify)?;
        let found = observe::means(Observation { graph: verified, values: &output, ..observation })?;
        let correction = wanted.iter().zip(&found[0]).map(|(wanted, found)| wanted - found).collect();
        corrections.insert(layer, correction);
    }
    Ok(corrections)
}
