//! A graph as a report keeps it: what a diagram shows, without the weights themselves.

use std::collections::BTreeMap;

use onnx2int_graph::{Graph, Op, Tensor};
use serde::{Deserialize, Serialize};

/// Nodes in execution order, and the tensors between them by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GraphSummary {
    /// The tensors that the caller gives.
    pub inputs: Vec<String>,
    /// The tensors that the caller gets.
    pub outputs: Vec<String>,
    /// The nodes in execution order.
    pub nodes: Vec<NodeSummary>,
    /// Every tensor by its name: inputs, constants and results.
    pub values: BTreeMap<String, ValueSummary>,
}

/// One application of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    /// Its name, unique in the graph.
    pub name: String,
    /// The operator.
    pub op: String,
    /// The operands' names in ONNX order; none is an optional one left out.
    pub inputs: Vec<Option<String>>,
    /// The result's name.
    pub output: String,
}

/// A tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueSummary {
    /// Its element type.
    pub dtype: String,
    /// The extents, outermost first: a number, or the name of one that is known at run time only.
    pub shape: Vec<String>,
    /// What it holds, if it is a constant.
    pub constant: Option<ConstantSummary>,
}

/// The elements of a constant in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConstantSummary {
    /// The least element; none without elements, or where one is not a finite number.
    pub least: Option<f64>,
    /// The greatest element, likewise.
    pub greatest: Option<f64>,
    /// SHA-256 of type, shape and elements, in hexadecimal.
    pub digest: String,
}

impl GraphSummary {
    /// Describes a graph.
    pub fn of(graph: &Graph) -> Self {
        let name = |id| graph.value(id).name.clone();
        let nodes = graph.nodes().map(|(_, node)| NodeSummary {
            name: node.name.clone(),
            op: node.op.name().to_owned(),
            inputs: node.inputs.iter().map(|input| input.map(name)).collect(),
            output: name(node.output),
        });
        let values = graph.values().map(|(id, value)| {
            // A constant may be a node as well as an initializer.
            let by_node = graph.producer(id).and_then(|(_, node)| match &node.op {
                Op::Constant(tensor) => Some(tensor),
                _ => None,
            });
            let summary = ValueSummary {
                dtype: value.ty.dtype.name().to_owned(),
                shape: value.ty.shape.iter().map(ToString::to_string).collect(),
                constant: value.constant().or(by_node).map(constant),
            };
            (value.name.clone(), summary)
        });
        Self {
            inputs: graph.inputs().iter().map(|&id| name(id)).collect(),
            outputs: graph.outputs().iter().map(|&id| name(id)).collect(),
            nodes: nodes.collect(),
            values: values.collect(),
        }
    }
}

fn constant(tensor: &Tensor) -> ConstantSummary {
    let (least, greatest) = match tensor {
        Tensor::Bool(array) => hull(array.iter().map(|&value| f64::from(u8::from(value)))),
        Tensor::I64(array) => hull(array.iter().map(|&value| value as f64)),
        Tensor::F32(array) => hull(array.iter().map(|&value| f64::from(value))),
        Tensor::U8(array) => hull(array.iter().map(|&value| f64::from(value))),
        Tensor::I8(array) => hull(array.iter().map(|&value| f64::from(value))),
        Tensor::I32(array) => hull(array.iter().map(|&value| f64::from(value))),
    }
    .unzip();
    ConstantSummary { least, greatest, digest: tensor.digest() }
}

fn hull(mut elements: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
    let all_finite = elements.all(|element| {
        (least, greatest) = (least.min(element), greatest.max(element));
        element.is_finite()
    });
    (all_finite && least <= greatest).then_some((least, greatest))
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::{DType, Dim, GraphEditor, TensorType};

    use super::*;

    #[test]
    fn nodes_types_and_ranges_are_kept() {
        let mut editor = GraphEditor::new("tiny");
        let image = editor
            .add_input("image", TensorType::new(DType::F32, [Dim::symbol("N"), Dim::Fixed(2)]))
            .unwrap();
        let bias = editor.add_constant("bias", Tensor::vector(vec![-0.5_f32, 2.0])).unwrap();
        let sum = editor.add_node("add", Op::Add, [Some(image), Some(bias)], "sum").unwrap();
        let limit = editor.add_constant("limit", Tensor::scalar(f32::INFINITY)).unwrap();
        let least = editor.add_node("min", Op::Min, [Some(sum), Some(limit)], "least").unwrap();
        editor.set_outputs([least]);
        let summary = GraphSummary::of(&editor.finish().unwrap());

        assert_eq!(
            (summary.inputs.as_slice(), summary.outputs.as_slice()),
            (&["image".to_owned()][..], &["least".to_owned()][..])
        );
        assert_eq!(summary.nodes[0].op, "Add");
        assert_eq!(summary.nodes[0].inputs, [Some("image".to_owned()), Some("bias".to_owned())]);
        assert_eq!(summary.values["sum"].shape, ["N", "2"]);
        let bias = summary.values["bias"].constant.as_ref().unwrap();
        assert_eq!((bias.least, bias.greatest), (Some(-0.5), Some(2.0)));
        // JSON has no infinity.
        assert_eq!(summary.values["limit"].constant.as_ref().unwrap().greatest, None);
    }
}
