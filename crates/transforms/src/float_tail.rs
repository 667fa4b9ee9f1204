//! Networks whose end has no integer form: it may stay in floats, behind the integer part.
//!
//! [`cut`] names the nodes of the tail: those without an integer form, all that reads what they make,
//! and what lies between them and values that the integer part can end in. A pass sees the head
//! alone; [`Whole::put_together`] puts the tail behind what the pass made of it, and dequantizes what
//! has become an integer.

use std::collections::{HashMap, HashSet};

use onnx2int_graph::float_tail::{self, FloatTail};
use onnx2int_graph::pointwise::is_known;
use onnx2int_graph::{DType, Graph, GraphEditor, NodeId, Op, Source, Tensor, ValueId, metadata, movement};

use crate::qdq::{is_layer, sinks};
use crate::transform::UnsupportedNode;
use crate::{TransformError, survey};

/// The graph with the nodes that have to stay in floats named in its metadata.
///
/// # Errors
/// [`TransformError::Unsupported`], with these nodes, if no layer would be left before the tail, or if
/// it would read an input of the model.
pub(crate) fn cut(graph: Graph, unsupported: Vec<UnsupportedNode>) -> Result<Graph, TransformError> {
    let names: HashSet<&str> = unsupported.iter().map(|node| node.node.as_str()).collect();
    let mut tail: HashSet<NodeId> =
        graph.nodes().filter(|(_, node)| names.contains(node.name.as_str())).map(|(id, _)| id).collect();
    while let Some(more) = missing(&graph, &tail) {
        tail.insert(more);
    }
    let in_order = || graph.nodes().filter(|(id, _)| tail.contains(id)).map(|(_, node)| node);
    let reads_input = |value: &ValueId| matches!(graph.value(*value).source, Source::Input);
    let layers = graph.nodes().filter(|(id, node)| is_layer(&node.op) && !tail.contains(id)).count();
    let nameable = in_order().all(|node| !node.name.contains('\n'));
    if layers == 0 || !nameable || in_order().any(|node| node.inputs.iter().flatten().any(reads_input)) {
        return Err(TransformError::Unsupported { nodes: unsupported });
    }
    let names = float_tail::metadata_of(in_order().map(|node| node.name.as_str()));
    let mut editor = GraphEditor::from(graph);
    editor.set_metadata(metadata::FLOAT_TAIL, names);
    Ok(editor.finish()?)
}

/// Whether what has no integer form in a sanitized model is its end, behind layers that have one.
pub fn can_end_in_floats(graph: &Graph) -> bool {
    match survey(graph) {
        Err(TransformError::Unsupported { nodes }) => cut(graph.clone(), nodes).is_ok(),
        Ok(()) | Err(_) => false,
    }
}

/// A node that belongs to the tail and is not yet in it.
fn missing(graph: &Graph, tail: &HashSet<NodeId>) -> Option<NodeId> {
    let makes = |value: ValueId| match graph.value(value).source {
        Source::Node(node) => tail.contains(&node),
        Source::Input | Source::Constant(_) => false,
    };
    let reader = graph
        .nodes()
        .find(|(id, node)| !tail.contains(id) && node.inputs.iter().flatten().any(|&value| makes(value)));
    if let Some((id, _)) = reader {
        return Some(id);
    }
    let read = graph.nodes().filter(|(id, _)| tail.contains(id)).flat_map(|(_, node)| &node.inputs).flatten();
    read.copied().filter(|&value| !makes(value)).find_map(|value| match graph.value(value).source {
        Source::Node(node) if !can_end(graph, tail, value) => Some(node),
        Source::Node(_) | Source::Input | Source::Constant(_) => None,
    })
}

/// Whether the integer part can end in a value: dequantized codes, or the sums of a layer that nothing
/// else reads.
fn can_end(graph: &Graph, tail: &HashSet<NodeId>, value: ValueId) -> bool {
    movement::origins(graph, value).into_iter().all(|origin| {
        let Some((_, node)) = graph.producer(origin) else { return false };
        match node.op {
            Op::DequantizeLinear { .. } => {
                node.input(0).is_some_and(|codes| !is_known(graph, codes) && graph.producer(codes).is_some())
            }
            ref op if is_layer(op) => sinks(graph, origin).operands.iter().all(|(id, _)| tail.contains(id)),
            _ => false,
        }
    })
}

/// A graph with a float tail, taken apart.
pub(crate) struct Whole<'g> {
    graph: &'g Graph,
    tail: FloatTail,
    /// What is before the tail.
    pub(crate) head: Graph,
}

impl<'g> Whole<'g> {
    /// None for a graph without a tail.
    pub(crate) fn of(graph: &'g Graph) -> Result<Option<Self>, TransformError> {
        let tail = FloatTail::of(graph).map_err(|no_tail| {
            let reason = format!("expected {}, found {}", no_tail.expected, no_tail.found);
            TransformError::refused("float-tail-is-last", &no_tail.node, reason)
        })?;
        let Some(tail) = tail else { return Ok(None) };
        let head = tail.head(graph)?;
        Ok(Some(Self { graph, tail, head }))
    }

    /// The tail behind another head of the same function.
    pub(crate) fn put_together(&self, head: &Graph) -> Result<Graph, TransformError> {
        let mut editor = GraphEditor::from(head.clone());
        let ends: Vec<ValueId> = self.tail.boundary(self.graph);
        let new_ends: HashMap<ValueId, ValueId> =
            ends.iter().copied().zip(head.outputs().iter().copied()).collect();
        let mut names = Vec::new();
        // What the tail reads: floats.
        let mut made: HashMap<ValueId, ValueId> = HashMap::new();
        for (id, node) in self.graph.nodes().filter(|(id, _)| self.tail.contains(*id)) {
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for input in &node.inputs {
                inputs.push(match input {
                    None => None,
                    Some(input) => Some(match made.get(input) {
                        Some(&done) => done,
                        None => {
                            let value = self.read(*input, &new_ends, head, &mut editor, &mut names)?;
                            made.insert(*input, value);
                            value
                        }
                    }),
                });
            }
            let output = editor.unique_name(&self.graph.value(node.output).name);
            let name = editor.unique_name(&self.graph.node(id).name);
            made.insert(node.output, editor.add_node(&name, node.op.clone(), inputs, &output)?);
            names.push(name);
        }
        for key in head.metadata().keys().filter(|key| key.starts_with(metadata::LOGIT_SCALE)) {
            editor.remove_metadata(key);
        }
        let outputs: Vec<ValueId> = self
            .graph
            .outputs()
            .iter()
            .map(|output| new_ends.get(output).or_else(|| made.get(output)).copied())
            .collect::<Option<_>>()
            .expect("an output is made by the head or by the tail");
        for &output in outputs.iter().filter(|output| head.outputs().contains(output)) {
            if let Some(scale) = metadata::scale_of_output(head, output) {
                let key = metadata::output_scale_key(outputs.len(), &head.value(output).name);
                editor.set_metadata(&key, scale.to_string());
            }
        }
        editor.set_outputs(outputs);
        editor.set_metadata(metadata::FLOAT_TAIL, float_tail::metadata_of(names.iter().map(String::as_str)));
        Ok(editor.finish()?)
    }

    /// What stands for a value that the tail reads and does not make: a constant, or an end of the
    /// head, dequantized where that is an integer.
    fn read(
        &self,
        value: ValueId,
        ends: &HashMap<ValueId, ValueId>,
        head: &Graph,
        editor: &mut GraphEditor,
        names: &mut Vec<String>,
    ) -> Result<ValueId, TransformError> {
        let old = self.graph.value(value);
        if let Source::Constant(tensor) = &old.source {
            return Ok(editor.add_fresh_constant(&old.name, tensor.clone())?);
        }
        let end = *ends.get(&value).expect("what the tail reads and does not make is an end of the head");
        if old.ty.dtype != DType::F32 || head.value(end).ty.dtype == DType::F32 {
            return Ok(end);
        }
        let Some(scale) = metadata::scale_of_output(head, end) else {
            let reason = "expected a scale for what the float tail reads";
            return Err(TransformError::refused("float-tail-is-last", &old.name, reason));
        };
        #[expect(clippy::cast_possible_truncation, reason = "written as the text of an f32")]
        let scale = Tensor::scalar(scale as f32);
        let scale = editor.add_fresh_constant(&format!("{}_scale", old.name), scale)?;
        let output = editor.unique_name(&format!("{}_float", old.name));
        let name = editor.unique_name(&format!("{}_dequantize", old.name));
        names.push(name.clone());
        Ok(editor.add_node(&name, Op::DequantizeLinear { axis: 1 }, [Some(end), Some(scale)], &output)?)
    }
}
