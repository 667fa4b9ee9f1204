//! Which tensors of a graph are observed.

use onnx2int_graph::{Graph, Tensor, ValueId};
use serde::Serialize;

/// A tensor that a node computes for every image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TracedTensor {
    /// Its name in the file.
    pub name: String,
    /// The name of the node that computes it.
    pub node: String,
    /// That node's operator, as ONNX calls it.
    pub op: &'static str,
    /// The element type: `u8`, `i8`, `i32`, `i64`, or `f32` and `bool` where a single tensor was asked for.
    pub dtype: &'static str,
    /// The extents for one image, without the batch.
    pub shape: Vec<usize>,
}

/// An integer tensor that a node computes and that has no slice for each image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name in the file.
    pub name: String,
    /// The name of the node that computes it.
    pub node: String,
    /// Why it is not observed.
    pub reason: String,
}

/// The integer tensors that nodes compute, in the order of the nodes.
pub(crate) struct Selection {
    pub(crate) values: Vec<ValueId>,
    pub(crate) left_out: Vec<LeftOut>,
}

impl Selection {
    /// Takes every integer tensor whose first extent is that of the graph's input, the batch.
    pub(crate) fn of(graph: &Graph) -> Self {
        let batch = graph.inputs().first().and_then(|&input| graph.value(input).ty.shape.first());
        let mut selection = Self { values: Vec::new(), left_out: Vec::new() };
        for (_, node) in graph.nodes() {
            let value = graph.value(node.output);
            if !value.ty.dtype.is_integer() {
                continue;
            }
            if batch.is_some() && value.ty.shape.first() == batch {
                selection.values.push(node.output);
            } else {
                selection.left_out.push(LeftOut {
                    name: value.name.clone(),
                    node: node.name.clone(),
                    reason: format!("it is {}, whose first axis is not the batch", value.ty),
                });
            }
        }
        selection
    }
}

/// Describes computed values; `results` are the tensors of one run, which tell the extents that the types leave open.
pub(crate) fn described(graph: &Graph, values: &[ValueId], results: &[Tensor]) -> Vec<TracedTensor> {
    let producers = values.iter().filter_map(|&id| Some((id, graph.producer(id)?.1)));
    producers
        .zip(results)
        .map(|((id, node), result)| TracedTensor {
            name: graph.value(id).name.clone(),
            node: node.name.clone(),
            op: node.op.name(),
            dtype: result.dtype().name(),
            shape: result.shape().iter().skip(1).copied().collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_integer_tensor_of_the_batch_is_taken_and_the_others_are_named() {
        let graph = Graph::from_text(
            "in %x: u8[N,4]
             const %w: i8[4,2] = [1, 2, 3, 4, 5, 6, 7, 8]
             %extents = Shape(%x) @extents
             %sum = MatMulInteger(%x, %w, 0u8, 0i8) @product
             %real = Cast(%sum) to=f32
             %byte = QuantizeLinear(%real, 0.5, 3u8) @quantize
             out %byte, %extents",
        )
        .unwrap();
        let selection = Selection::of(&graph);
        let names: Vec<_> = selection.values.iter().map(|&id| graph.value(id).name.as_str()).collect();
        assert_eq!(names, ["sum", "byte"]);
        assert_eq!(selection.left_out.len(), 1);
        let left_out = &selection.left_out[0];
        assert_eq!((left_out.name.as_str(), left_out.node.as_str()), ("extents", "extents"));
        assert!(left_out.reason.contains("i64[2]"), "{}", left_out.reason);

        let results = [
            Tensor::from_vec(&[3, 2], vec![0_i32; 6]).unwrap(),
            Tensor::from_vec(&[3, 2], vec![0_u8; 6]).unwrap(),
        ];
        let described = described(&graph, &selection.values, &results);
        assert_eq!((described[0].op, described[0].dtype), ("MatMulInteger", "i32"));
        assert_eq!((described[1].node.as_str(), described[1].dtype), ("quantize", "u8"));
        assert_eq!(described[1].shape, [2]);
    }
}
