//! The graph: nodes and values behind typed ids.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Op, Tensor, TensorType};

/// Names a node of one [`Graph`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

/// Names a value of one [`Graph`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

impl NodeId {
    /// The position in the graph's node arena, dense from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ValueId {
    /// The position in the graph's value arena, dense from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node{}", self.0)
    }
}

impl fmt::Debug for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "value{}", self.0)
    }
}

/// One application of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique among the nodes of the graph.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// Operands in ONNX order; `None` is an optional operand left out.
    pub inputs: Vec<Option<ValueId>>,
    /// The result. Every operator of [`Op`] has exactly one.
    pub output: ValueId,
}

impl Node {
    /// The operand in that slot, if it is there.
    pub fn input(&self, slot: usize) -> Option<ValueId> {
        self.inputs.get(slot).copied().flatten()
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Given by the caller.
    Input,
    /// Stored in the graph (an ONNX initializer).
    Constant(Tensor),
    /// The result of a node.
    Node(NodeId),
}

/// How an 8-bit value stands for real numbers: `scale * (q - zero_point)`.
///
/// Kept in ONNX's `quantization_annotation`, which Netron shows; no operator reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantizationAnnotation {
    /// The name of the initializer that holds the scale.
    pub scale: String,
    /// The name of the initializer that holds the zero point.
    pub zero_point: String,
}

/// A tensor that flows along the edges of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Unique among the values of the graph.
    pub name: String,
    /// Its element type and shape.
    pub ty: TensorType,
    /// Where it comes from.
    pub source: Source,
    /// The real numbers that it stands for, as told to readers of the file.
    pub annotation: Option<QuantizationAnnotation>,
}

impl Value {
    /// The tensor of a constant.
    pub const fn constant(&self) -> Option<&Tensor> {
        match &self.source {
            Source::Constant(tensor) => Some(tensor),
            Source::Input | Source::Node(_) => None,
        }
    }
}

/// A network. See the crate documentation for what it means.
///
/// Only [`crate::GraphEditor`] makes and changes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) values: Vec<Value>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Graph {
    /// The graph's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The nodes in execution order: a node's operands come before it.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index as u32), node))
    }

    /// All values: inputs, constants and results.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = (ValueId, &Value)> + ExactSizeIterator {
        self.values.iter().enumerate().map(|(index, value)| (ValueId(index as u32), value))
    }

    /// The node of that id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The value of that id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// What the caller gives, in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// What the caller gets, in order.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Free-form key and value pairs (ONNX `metadata_props`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The node that makes a value, if one does.
    pub fn producer(&self, value: ValueId) -> Option<(NodeId, &Node)> {
        match self.value(value).source {
            Source::Node(id) => Some((id, self.node(id))),
            Source::Input | Source::Constant(_) => None,
        }
    }

    /// Every node and operand slot that reads a value, in execution order.
    pub fn consumers(&self, value: ValueId) -> impl Iterator<Item = (NodeId, usize)> + '_ {
        self.nodes().flat_map(move |(id, node)| {
            node.inputs
                .iter()
                .enumerate()
                .filter(move |(_, input)| **input == Some(value))
                .map(move |(slot, _)| (id, slot))
        })
    }

    /// The value of an operand, if the operand is there.
    pub fn operand(&self, node: &Node, slot: usize) -> Option<&Value> {
        node.input(slot).map(|id| self.value(id))
    }

    /// The tensor of an operand, if it is there and constant.
    pub fn constant_operand(&self, node: &Node, slot: usize) -> Option<&Tensor> {
        self.operand(node, slot).and_then(Value::constant)
    }

    /// The value of that name.
    pub fn value_by_name(&self, name: &str) -> Option<ValueId> {
        self.values().find(|(_, value)| value.name == name).map(|(id, _)| id)
    }

    /// The node of that name.
    pub fn node_by_name(&self, name: &str) -> Option<NodeId> {
        self.nodes().find(|(_, node)| node.name == name).map(|(id, _)| id)
    }
}
