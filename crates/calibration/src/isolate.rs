//! Networks in which one part of quantization is done alone, so that what it costs can be measured.
//!
//! A quantized network differs from its float one in its weights and in its activations; each of the two graphs made here
//! has one of these differences. They are of no stage, and only meant to be run.

use onnx2int_graph::{Graph, GraphEditor, Node, Op, ValueId, metadata, pointwise};

use crate::CalibrationError;

/// The float network and the quantized one, each with the weights and biases of the other.
#[derive(Clone, Debug)]
pub struct Isolated {
    /// The float network with what the codes of its weights and biases stand for: only weights are rounded.
    pub weights: Graph,
    /// The quantized network with float weights and biases: only activations are rounded.
    pub activations: Graph,
}

/// Takes apart what quantization does to weights and to activations.
///
/// None where weights of `quantized` are not those of `float` under the name that [`crate::quantize`] gives them: another
/// tool's, or such as were brought to another form first.
///
/// # Errors
/// A defect: exchanging a constant for one of the same type is always possible.
pub fn isolate(float: &Graph, quantized: &Graph) -> Result<Option<Isolated>, CalibrationError> {
    let codes = |node: &Node| quantized.constant_operand(node, 0).is_some();
    let dequantizers =
        quantized.nodes().filter(|(_, node)| matches!(node.op, Op::DequantizeLinear { .. }) && codes(node));
    let Some(pairs) =
        dequantizers.map(|(_, node)| Pair::of(float, quantized, node)).collect::<Option<Vec<_>>>()
    else {
        return Ok(None);
    };
    let mut weights = GraphEditor::from(float.clone());
    let mut activations = GraphEditor::from(quantized.clone());
    for pair in &pairs {
        let dequantized = graft(&mut weights, quantized, pair.dequantizer)?;
        weights.replace_uses(pair.real, dequantized)?;
        let real = pointwise::known_tensor(float, pair.real).expect("a pair has a constant").clone();
        let real = activations.add_fresh_constant(&float.value(pair.real).name, real)?;
        activations.replace_uses(pair.dequantizer.output, real)?;
    }
    for editor in [&mut weights, &mut activations] {
        editor.remove_metadata(metadata::STAGE);
    }
    Ok(Some(Isolated { weights: weights.finish()?, activations: activations.finish()? }))
}

/// A constant of the float network, and what gives it back from its codes.
struct Pair<'g> {
    real: ValueId,
    dequantizer: &'g Node,
}

impl<'g> Pair<'g> {
    fn of(float: &Graph, quantized: &Graph, dequantizer: &'g Node) -> Option<Self> {
        let name = quantized.operand(dequantizer, 0)?.name.strip_suffix("_quantized")?;
        let real = float.value_by_name(name)?;
        pointwise::known_tensor(float, real)?;
        let is_constant = |&id: &ValueId| quantized.value(id).constant().is_some();
        if !dequantizer.inputs.iter().flatten().all(is_constant) {
            return None;
        }
        let same_type = float.value(real).ty == quantized.value(dequantizer.output).ty;
        same_type.then_some(Self { real, dequantizer })
    }
}

/// Adds a node of another graph all of whose operands are constants, with these.
fn graft(editor: &mut GraphEditor, from: &Graph, node: &Node) -> Result<ValueId, CalibrationError> {
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for &input in &node.inputs {
        inputs.push(match input {
            None => None,
            Some(id) => {
                let tensor = from.value(id).constant().expect("a pair has constants only").clone();
                Some(editor.add_fresh_constant(&from.value(id).name, tensor)?)
            }
        });
    }
    Ok(editor.add_fresh_node(&node.name, node.op.clone(), inputs)?)
}
