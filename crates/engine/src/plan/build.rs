//! From a graph to steps.

use std::collections::HashSet;

use onnx2int_graph::{DType, Dim, Graph, GraphEditor, Node, NodeId, Op, ValueId};

use super::recognize::Uses;
use super::{Buffer, BufferId, Interpreted, Plan, Port, Step, Work};
use crate::EngineError;
use crate::lanes::Lanes;
use crate::steps::simple::Reorder;

/// Plans a graph of stage scale_out for an instruction set.
pub(crate) fn build<S: Lanes>(graph: &Graph, _lanes: S) -> Result<Plan, EngineError> {
    let mut builder = Builder::<S> {
        graph,
        uses: Uses::of(graph),
        plan: Plan {
            buffers: Vec::new(),
            steps: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            batch: None,
        },
        made: vec![None; graph.values().len()],
        lanes: std::marker::PhantomData,
    };
    for (position, &input) in graph.inputs().iter().enumerate() {
        builder.import(position, input)?;
    }
    let mut done: HashSet<NodeId> = HashSet::new();
    // A sum of two branches is planned where its first node stands, which may be before the second branch:
    // nodes that another one takes up are left to it.
    let order: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let taken_up = builder.taken_up();
    for id in order {
        if done.contains(&id) || taken_up.contains(&id) {
            continue;
        }
        for node in builder.step(id)? {
            done.insert(node);
        }
    }
    for &output in graph.outputs() {
        let port = builder.port(output)?;
        let buffer = builder.buffer_of(output)?;
        builder.plan.outputs.push((port, buffer));
    }
    Ok(builder.plan)
}

/// A plan in the making.
pub(super) struct Builder<'g, S> {
    pub(super) graph: &'g Graph,
    pub(super) uses: Uses,
    pub(super) plan: Plan,
    /// The buffer that holds each value.
    pub(super) made: Vec<Option<BufferId>>,
    lanes: std::marker::PhantomData<S>,
}

impl<S: Lanes> Builder<'_, S> {
    /// The extents of a value without the batch.
    pub(super) fn port(&mut self, value: ValueId) -> Result<Port, EngineError> {
        let found = self.graph.value(value);
        let refusal = || EngineError::Extents { value: found.name.clone(), ty: found.ty.to_string() };
        let (batch, extents) = found.ty.shape.split_first().ok_or_else(refusal)?;
        match batch {
            Dim::Symbol(_) => {}
            Dim::Fixed(images) if self.plan.batch.is_none_or(|batch| batch == *images) => {
                self.plan.batch = Some(*images);
            }
            Dim::Fixed(_) => return Err(refusal()),
        }
        let shape = extents.iter().map(|dim| match dim {
            Dim::Fixed(extent) => Ok(*extent),
            Dim::Symbol(_) => Err(refusal()),
        });
        Ok(Port { dtype: found.ty.dtype, shape: shape.collect::<Result<_, _>>()? })
    }

    pub(super) fn add_buffer(&mut self, dtype: DType, elements: usize, channels: usize) -> BufferId {
        let element_bytes = dtype.size();
        let channels = channels.max(1);
        self.plan.buffers.push(Buffer { dtype, elements, element_bytes, channels });
        BufferId(self.plan.buffers.len() - 1)
    }

    pub(super) fn add_step(
        &mut self,
        name: &str,
        work: Work,
        inputs: Vec<BufferId>,
        output: BufferId,
        multiply_adds: u64,
    ) {
        self.plan.steps.push(Step { name: name.to_owned(), work, inputs, output, multiply_adds });
    }

    fn import(&mut self, position: usize, input: ValueId) -> Result<(), EngineError> {
        let port = self.port(input)?;
        let elements = port.elements();
        let to_channels = image_channels(&port.shape);
        let name = self.graph.value(input).name.clone();
        let buffer = self.add_buffer(port.dtype, elements, to_channels);
        let reorder = Reorder { elements, from_channels: elements.max(1), to_channels };
        self.plan.inputs.push(port);
        self.made[input.index()] = Some(buffer);
        self.add_step(&name, Work::Import { input: position, reorder }, Vec::new(), buffer, 0);
        Ok(())
    }

    /// The buffer of a value that a step before this one made.
    pub(super) fn buffer_of(&mut self, value: ValueId) -> Result<BufferId, EngineError> {
        if let Some(buffer) = self.made[value.index()] {
            return Ok(buffer);
        }
        let found = self.graph.value(value);
        Err(EngineError::Extents { value: found.name.clone(), ty: found.ty.to_string() })
    }

    /// The buffer of a value with that many channels in each pixel.
    pub(super) fn with_channels(&mut self, value: ValueId, channels: usize) -> Result<BufferId, EngineError> {
        let buffer = self.buffer_of(value)?;
        let from = &self.plan.buffers[buffer.0];
        if from.channels == channels {
            return Ok(buffer);
        }
        let (elements, dtype, from_channels) = (from.elements, from.dtype, from.channels);
        let name = self.graph.value(value).name.clone();
        let output = self.add_buffer(dtype, elements, channels);
        let reorder = Reorder { elements, from_channels, to_channels: channels };
        self.add_step(&name, Work::Reorder(reorder), vec![buffer], output, 0);
        Ok(output)
    }

    /// Nodes that a sum of two branches or a table takes up from behind.
    fn taken_up(&self) -> HashSet<NodeId> {
        let mut nodes = HashSet::new();
        for (_, node) in self.graph.nodes() {
            if let Some((branches, _)) = self.sum(node) {
                nodes.extend(branches);
            }
            if let Some((chain, ..)) = self.table(node) {
                nodes.extend(chain);
            }
        }
        nodes
    }

    /// The steps for a node, and the nodes that they take up.
    fn step(&mut self, id: NodeId) -> Result<Vec<NodeId>, EngineError> {
        let graph = self.graph;
        let node = graph.node(id);
        let taken = match &node.op {
            Op::ConvInteger(attributes) => self.convolution(id, node, attributes)?,
            Op::MatMulInteger => self.matrix_product(id, node)?,
            Op::MaxPool(attributes) => self.max_pool(id, node, attributes)?,
            Op::Add => self.sum_step(id, node)?,
            Op::Gather { .. } => self.table_step(id, node)?,
            Op::Concat { axis } => self.concat(id, node, *axis)?,
            Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Identity
            | Op::Dropout => self.view(id, node)?,
            Op::Conv(_)
            | Op::Gemm(_)
            | Op::MatMul
            | Op::AveragePool(_)
            | Op::GlobalAveragePool
            | Op::ReduceMean { .. }
            | Op::BatchNormalization { .. }
            | Op::QuantizeLinear { .. }
            | Op::DequantizeLinear { .. }
            | Op::Relu
            | Op::Activation(_)
            | Op::PRelu
            | Op::Clip
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Max
            | Op::Min
            | Op::Cast { .. }
            | Op::LogSoftmax { .. }
            | Op::Softmax { .. }
            | Op::Transpose { .. }
            | Op::Slice
            | Op::Pad
            | Op::Constant(_)
            | Op::Shape { .. }
            | Op::ArgMax { .. } => None,
        };
        match taken {
            Some(nodes) => Ok(nodes),
            None => self.interpreted(id, node),
        }
    }

    /// Same elements in the same order: nothing to do.
    fn view(&mut self, id: NodeId, node: &Node) -> Result<Option<Vec<NodeId>>, EngineError> {
        let Some(from) = node.input(0) else { return Ok(None) };
        let (before, after) = (self.port(from)?, self.port(node.output)?);
        // A reshape that moves elements between images is no view.
        if before.elements() != after.elements() {
            return Ok(None);
        }
        self.made[node.output.index()] = Some(self.buffer_of(from)?);
        Ok(Some(vec![id]))
    }

    fn interpreted(&mut self, id: NodeId, node: &Node) -> Result<Vec<NodeId>, EngineError> {
        let graph = self.graph;
        let port = self.port(node.output)?;
        let mut inputs = Vec::new();
        let mut shapes = Vec::new();
        let mut editor = GraphEditor::new(&node.name);
        let mut operands = Vec::new();
        let edited = |error| panic!("a node of a verified graph can stand alone: {error}");
        for operand in &node.inputs {
            let Some(operand) = *operand else {
                operands.push(None);
                continue;
            };
            let value = graph.value(operand);
            let existing =
                editor.graph().values().find(|(_, other)| other.name == value.name).map(|(id, _)| id);
            let standing = match (existing, value.constant()) {
                (Some(existing), _) => existing,
                (None, Some(tensor)) => {
                    editor.add_constant(&value.name, tensor.clone()).unwrap_or_else(edited)
                }
                (None, None) => {
                    let port = self.port(operand)?;
                    inputs.push(self.with_channels(operand, port.elements().max(1))?);
                    shapes.push(port.shape);
                    editor.add_input(&value.name, value.ty.clone()).unwrap_or_else(edited)
                }
            };
            operands.push(Some(standing));
        }
        let name = &graph.value(node.output).name;
        let result = editor.add_node(&node.name, node.op.clone(), operands, name).unwrap_or_else(edited);
        editor.set_outputs([result]);
        let alone = editor.finish().unwrap_or_else(|error| panic!("a node alone is a graph: {error}"));
        let elements = port.elements();
        let output = self.add_buffer(port.dtype, elements, elements);
        let work = Work::Interpreted(Box::new(Interpreted { graph: alone, shapes }));
        self.add_step(name, work, inputs, output, 0);
        self.made[node.output.index()] = Some(output);
        Ok(vec![id])
    }
}

/// How many channels a value has in each pixel: its first extent behind the batch, all of a vector.
fn image_channels(shape: &[usize]) -> usize {
    shape.first().copied().unwrap_or(1).max(1)
}
