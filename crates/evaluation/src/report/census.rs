//! What a graph is made of, counted.

use std::collections::BTreeMap;

use onnx2int_graph::{DType, Graph, Op, Tensor};
use serde::{Deserialize, Serialize};

/// Nodes, tensors and weights of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// The number of nodes.
    pub nodes: usize,
    /// Nodes of each operator.
    pub operators: BTreeMap<String, usize>,
    /// Tensors of each element type: inputs, constants and results.
    pub tensors: BTreeMap<String, usize>,
    /// The bytes of all constants of each element type, a shared one counted once.
    pub weight_bytes: BTreeMap<String, u64>,
}

impl Census {
    /// Counts a graph.
    pub fn of(graph: &Graph) -> Self {
        let mut census = Self { nodes: graph.nodes().len(), ..Self::default() };
        for (_, node) in graph.nodes() {
            *census.operators.entry(node.op.name().to_owned()).or_default() += 1;
            if let Op::Constant(tensor) = &node.op {
                census.add_weights(tensor);
            }
        }
        for (_, value) in graph.values() {
            *census.tensors.entry(value.ty.dtype.name().to_owned()).or_default() += 1;
            if let Some(tensor) = value.constant() {
                census.add_weights(tensor);
            }
        }
        census
    }

    /// The bytes of all constants.
    pub fn total_weight_bytes(&self) -> u64 {
        self.weight_bytes.values().sum()
    }

    /// The tensors that hold floats; an integer-only graph has none.
    pub fn float_tensors(&self) -> usize {
        self.tensors.get(DType::F32.name()).copied().unwrap_or(0)
    }

    fn add_weights(&mut self, tensor: &Tensor) {
        let bytes = (tensor.len() * tensor.dtype().size()) as u64;
        *self.weight_bytes.entry(tensor.dtype().name().to_owned()).or_default() += bytes;
    }
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::{Dim, GraphEditor, TensorType};

    use super::*;

    #[test]
    fn everything_is_counted_once() {
        let mut editor = GraphEditor::new("tiny");
        let image =
            editor.add_input("image", TensorType::new(DType::U8, [Dim::symbol("N"), Dim::Fixed(2)])).unwrap();
        let weight = Tensor::from_vec(&[2, 3], vec![1_i8; 6]).unwrap();
        let weight = editor.add_constant("weight", weight).unwrap();
        let sum = editor.add_node("product", Op::MatMulInteger, [Some(image), Some(weight)], "sum").unwrap();
        let bias = editor.add_constant("bias", Tensor::vector(vec![1_i32, 2, 3])).unwrap();
        let once = editor.add_node("add", Op::Add, [Some(sum), Some(bias)], "once").unwrap();
        let twice = editor.add_node("add_again", Op::Add, [Some(once), Some(bias)], "twice").unwrap();
        let floor = Op::Constant(Tensor::scalar(0_i32));
        let floor = editor.add_node("floor", floor, [], "zero").unwrap();
        let clipped = editor.add_node("clip", Op::Max, [Some(twice), Some(floor)], "clipped").unwrap();
        editor.set_outputs([clipped]);
        let census = Census::of(&editor.finish().unwrap());

        let count = |pairs: &[(&str, usize)]| -> BTreeMap<String, usize> {
            pairs.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
        };
        assert_eq!(census.nodes, 5);
        assert_eq!(census.operators, count(&[("Add", 2), ("Constant", 1), ("MatMulInteger", 1), ("Max", 1)]));
        assert_eq!(census.tensors, count(&[("i32", 6), ("i8", 1), ("u8", 1)]));
        assert_eq!(census.weight_bytes, BTreeMap::from([("i32".to_owned(), 16), ("i8".to_owned(), 6)]));
        assert_eq!((census.total_weight_bytes(), census.float_tensors()), (22, 0));
    }
}
