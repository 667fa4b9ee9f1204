//! From a graph to steps.

use std::collections::HashSet;

use onnx2int_graph::{
    ConvAttributes, DType, Dim, Graph, GraphEditor, Node, NodeId, Op, PoolWindow, Source, Tensor, ValueId,
};

use super::recognize::{Epilogue, Uses, branch, constant, epilogue, per_channel};
use super::{Buffer, BufferId, Interpreted, Plan, Port, Step, Work};
use crate::EngineError;
use crate::lanes::{Lanes, MOST_LANES, element_bytes};
use crate::pack::{Run, pack};
use crate::rescale::Rescale;
use crate::steps::depthwise::Depthwise;
use crate::steps::layer::{Layer, Walk};
use crate::steps::simple::{Border, Concat, MaxPool, Reorder, Sum, Table};

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

struct Builder<'g, S> {
    graph: &'g Graph,
    uses: Uses,
    plan: Plan,
    /// The buffer that holds each value.
    made: Vec<Option<BufferId>>,
    lanes: std::marker::PhantomData<S>,
}

impl<S: Lanes> Builder<'_, S> {
    /// The extents of a value without the batch.
    fn port(&mut self, value: ValueId) -> Result<Port, EngineError> {
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

    fn add_buffer(&mut self, dtype: DType, elements: usize, channels: usize) -> BufferId {
        let element_bytes = dtype.size();
        let channels = channels.max(1);
        self.plan.buffers.push(Buffer { dtype, elements, element_bytes, channels });
        BufferId(self.plan.buffers.len() - 1)
    }

    fn add_step(
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
    fn buffer_of(&mut self, value: ValueId) -> Result<BufferId, EngineError> {
        if let Some(buffer) = self.made[value.index()] {
            return Ok(buffer);
        }
        let found = self.graph.value(value);
        Err(EngineError::Extents { value: found.name.clone(), ty: found.ty.to_string() })
    }

    /// The buffer of a value with that many channels in each pixel.
    fn with_channels(&mut self, value: ValueId, channels: usize) -> Result<BufferId, EngineError> {
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

    /// The weights of an integer layer less their zero point, if they fit a signed byte.
    fn signed_weights(&self, node: &Node) -> Option<(Vec<i8>, Vec<usize>)> {
        let weights = constant(self.graph, node.input(1))?;
        let zero_point = match node.input(3) {
            None => 0,
            Some(value) => single(constant(self.graph, Some(value))?)?,
        };
        let signed = |weight: i32| i8::try_from(weight - zero_point).ok();
        let elements = match weights.dtype() {
            DType::U8 => {
                weights.as_slice::<u8>()?.iter().map(|&w| signed(w.into())).collect::<Option<_>>()?
            }
            DType::I8 => {
                weights.as_slice::<i8>()?.iter().map(|&w| signed(w.into())).collect::<Option<_>>()?
            }
            _ => return None,
        };
        Some((elements, weights.shape().to_vec()))
    }

    /// The zero point of a layer's input.
    fn input_zero_point(&self, node: &Node) -> Option<u8> {
        match node.input(2) {
            None => Some(0),
            Some(value) => u8::try_from(single(constant(self.graph, Some(value))?)?).ok(),
        }
    }

    fn convolution(
        &mut self,
        id: NodeId,
        node: &Node,
        attributes: &ConvAttributes,
    ) -> Result<Option<Vec<NodeId>>, EngineError> {
        let graph = self.graph;
        let Some((weights, weight_shape)) = self.signed_weights(node) else { return Ok(None) };
        let (Some(zero_point), Some(x)) = (self.input_zero_point(node), node.input(0)) else {
            return Ok(None);
        };
        let (from, to) = (self.port(x)?, self.port(node.output)?);
        let ([filters, depth, kernel @ ..], [channels, extents @ ..]) = (&weight_shape[..], &from.shape[..])
        else {
            return Ok(None);
        };
        let ([_, output @ ..], true) = (&to.shape[..], from.dtype == DType::U8) else { return Ok(None) };
        let (Some([kernel_rows, kernel_columns]), Some([height, width]), Some([rows, columns])) =
            (plane(kernel, 1), plane(extents, 1), plane(output, 1))
        else {
            return Ok(None);
        };
        let attribute = |values: &[usize], neutral| plane(values, neutral).unwrap_or([neutral; 2]);
        let strides = attribute(&attributes.strides, 1);
        let dilations = attribute(&attributes.dilations, 1);
        let (begin, end) = (attribute(&attributes.pads.begin, 0), attribute(&attributes.pads.end, 0));
        let (filters, depth, channels, groups) = (*filters, *depth, *channels, attributes.group);

        let is_depthwise = depth == 1 && filters == groups && groups > 1;
        let widened = element_bytes::<S>() == 2 && !is_depthwise;
        let border = Border {
            height,
            width,
            channels,
            rows: (begin[0], end[0]),
            columns: (begin[1], end[1]),
            fill: zero_point,
            widened,
        };
        let mut input = self.with_channels(x, channels)?;
        let is_bordered = begin != [0; 2] || end != [0; 2];
        if is_bordered || widened {
            input = self.bordered(x, input, border);
        }
        let line = border.bordered_width() * channels;
        let tap = |row: usize, column: usize| row * dilations[0] * line + column * dilations[1] * channels;

        let mut tail = epilogue(graph, &self.uses, node.output, filters);
        let mut nodes = vec![id];
        nodes.extend(&tail.nodes);
        let pool = self.pool_behind(&tail, is_depthwise, rows, columns);
        if let Some((pool, result)) = pool {
            nodes.push(pool);
            tail.result = result;
        }
        fold_zero_point(&mut tail.bias, &weights, zero_point);
        let result = self.port(tail.result)?;
        let name = graph.value(tail.result).name.clone();
        let result_buffer = self.add_buffer(result.dtype, result.elements(), filters);
        let multiply_adds = (rows * columns * weights.len()) as u64;
        let result_columns = if pool.is_some() { columns / 2 } else { columns };
        let mut walk = Walk {
            rows,
            columns,
            row_step: strides[0] * line,
            column_step: strides[1] * channels,
            output_row_step: result_columns * filters,
            output_column_step: filters,
        };
        let is_pointwise = [kernel_rows, kernel_columns, strides[0], strides[1]] == [1; 4];
        if is_pointwise && !is_bordered && pool.is_none() {
            // Rows touch, so that all pixels are one row.
            walk = Walk { rows: 1, columns: rows * columns, ..walk };
        }
        let rescale = tail.rescale.as_deref().map(Rescale::new);
        let work = if is_depthwise {
            let taps = || (0..kernel_rows * kernel_columns).map(|t| (t / kernel_columns, t % kernel_columns));
            let padding = Depthwise::padded(channels) - channels;
            let weights = taps().enumerate().flat_map(|(index, _)| {
                let of_channel = |channel| i32::from(weights[channel * kernel_rows * kernel_columns + index]);
                (0..channels).map(of_channel).chain(std::iter::repeat_n(0, padding)).collect::<Vec<i32>>()
            });
            let depthwise = Depthwise {
                channels,
                taps: taps().map(|(row, column)| tap(row, column)).collect(),
                weights: weights.collect(),
                bias: padded(tail.bias),
                rescale,
            };
            Work::Depthwise { depthwise, walk }
        } else {
            let mut runs = Vec::new();
            for row in 0..kernel_rows {
                if groups == 1 && dilations[1] == 1 {
                    add_run(&mut runs, Run { offset: tap(row, 0), elements: kernel_columns * channels });
                } else {
                    for column in 0..kernel_columns {
                        add_run(&mut runs, Run { offset: tap(row, column), elements: depth });
                    }
                }
            }
            let cells = kernel_rows * kernel_columns;
            let packed = pack::<S>(groups, filters / groups, depth, &runs, 4, |filter, element| {
                let (cell, channel) = (element / depth, element % depth);
                weights[(filter * depth + channel) * cells + cell]
            });
            let layer = Layer { runs, packed, bias: padded(tail.bias), rescale, pooled: pool.is_some() };
            Work::Convolution { layer, walk }
        };
        self.add_step(&name, work, vec![input], result_buffer, multiply_adds);
        self.made[tail.result.index()] = Some(result_buffer);
        Ok(Some(nodes))
    }

    /// A copy of a value as a kernel wants it.
    fn bordered(&mut self, value: ValueId, from: BufferId, border: Border) -> BufferId {
        let name = self.graph.value(value).name.clone();
        let element_bytes = if border.widened { 2 } else { 1 };
        let elements = border.bytes() / element_bytes;
        let output = self.add_buffer(DType::U8, elements, border.channels);
        self.plan.buffers[output.0].element_bytes = element_bytes;
        self.add_step(&name, Work::Border(border), vec![from], output, 0);
        output
    }

    /// The pooling of 2 by 2 that alone reads the bytes of a layer.
    fn pool_behind(
        &self,
        tail: &Epilogue,
        is_depthwise: bool,
        rows: usize,
        columns: usize,
    ) -> Option<(NodeId, ValueId)> {
        if is_depthwise || tail.rescale.is_none() || rows < 2 || columns < 2 {
            return None;
        }
        let user = self.uses.only_user(tail.result)?;
        let node = self.graph.node(user);
        let Op::MaxPool(attributes) = &node.op else { return None };
        let is_plain = attributes.kernel_shape == [2, 2]
            && attributes.strides == [2, 2]
            && attributes.dilations == [1, 1]
            && attributes.pads.begin == [0, 0]
            && attributes.pads.end == [0, 0];
        // Rounded up, a last window would be smaller.
        let is_whole = !attributes.ceil_mode || (rows.is_multiple_of(2) && columns.is_multiple_of(2));
        (is_plain && is_whole).then_some((user, node.output))
    }

    fn matrix_product(&mut self, id: NodeId, node: &Node) -> Result<Option<Vec<NodeId>>, EngineError> {
        let graph = self.graph;
        let Some((weights, shape)) = self.signed_weights(node) else { return Ok(None) };
        let (Some(zero_point), Some(x)) = (self.input_zero_point(node), node.input(0)) else {
            return Ok(None);
        };
        let from = self.port(x)?;
        let ([depth, filters], DType::U8, 1) = (&shape[..], from.dtype, from.shape.len()) else {
            return Ok(None);
        };
        let (depth, filters) = (*depth, *filters);
        let mut input = self.buffer_of(x)?;
        let channels = self.plan.buffers[input.0].channels;
        if element_bytes::<S>() == 2 {
            let none = (0, 0);
            let border = Border {
                height: 1,
                width: 1,
                channels: depth,
                rows: none,
                columns: none,
                fill: 0,
                widened: true,
            };
            input = self.bordered(x, input, border);
        }
        let mut tail = epilogue(graph, &self.uses, node.output, filters);
        fold_matrix_zero_point(&mut tail.bias, &weights, zero_point);
        let runs = vec![Run { offset: 0, elements: depth }];
        let positions = depth / channels;
        let packed = pack::<S>(1, filters, 0, &runs, 2, |filter, element| {
            // The buffer lies channels-last, the rows of the matrix in the order of the graph.
            let row = element % channels * positions + element / channels;
            weights[row * filters + filter]
        });
        let result = self.port(tail.result)?;
        let name = graph.value(tail.result).name.clone();
        let output = self.add_buffer(result.dtype, filters, filters);
        let rescale = tail.rescale.as_deref().map(Rescale::new);
        let layer = Layer { runs, packed, bias: padded(tail.bias), rescale, pooled: false };
        self.add_step(&name, Work::MatrixProduct { layer }, vec![input], output, weights.len() as u64);
        self.made[tail.result.index()] = Some(output);
        let mut nodes = vec![id];
        nodes.extend(tail.nodes);
        Ok(Some(nodes))
    }

    fn max_pool(
        &mut self,
        id: NodeId,
        node: &Node,
        attributes: &PoolWindow,
    ) -> Result<Option<Vec<NodeId>>, EngineError> {
        let Some(x) = node.input(0) else { return Ok(None) };
        let (from, to) = (self.port(x)?, self.port(node.output)?);
        let ([channels, input @ ..], [_, output @ ..], DType::U8) =
            (&from.shape[..], &to.shape[..], from.dtype)
        else {
            return Ok(None);
        };
        let (Some(input), Some(output), Some(kernel)) =
            (plane(input, 1), plane(output, 1), plane(&attributes.kernel_shape, 1))
        else {
            return Ok(None);
        };
        let buffer = self.with_channels(x, *channels)?;
        let pool = MaxPool {
            channels: *channels,
            input,
            output,
            kernel,
            strides: plane(&attributes.strides, 1).unwrap_or([1; 2]),
            dilations: plane(&attributes.dilations, 1).unwrap_or([1; 2]),
            pads: plane(&attributes.pads.begin, 0).unwrap_or([0; 2]),
        };
        self.simple(node.output, Work::MaxPool(pool), vec![buffer], *channels, to.elements());
        Ok(Some(vec![id]))
    }

    /// A step that makes bytes.
    fn simple(
        &mut self,
        result: ValueId,
        work: Work,
        inputs: Vec<BufferId>,
        channels: usize,
        elements: usize,
    ) {
        let name = self.graph.value(result).name.clone();
        let output = self.add_buffer(DType::U8, elements, channels);
        self.add_step(&name, work, inputs, output, 0);
        self.made[result.index()] = Some(output);
    }

    /// The channels of a value: its second extent.
    fn channels(&self, value: ValueId) -> Option<usize> {
        match self.graph.value(value).ty.shape.get(1) {
            Some(Dim::Fixed(channels)) => Some(*channels),
            _ => None,
        }
    }

    /// The nodes before an Add that is a sum of two branches of bytes, and the branches.
    fn sum(&self, node: &Node) -> Option<(Vec<NodeId>, [super::recognize::Branch; 2])> {
        if node.op != Op::Add {
            return None;
        }
        let channels = self.channels(node.output)?;
        let [a, b] = [node.input(0)?, node.input(1)?];
        // One that broadcasts over positions is left to the interpreter.
        if [a, b].iter().any(|&value| self.graph.value(value).ty != self.graph.value(node.output).ty) {
            return None;
        }
        let branches = [branch(self.graph, a, channels)?, branch(self.graph, b, channels)?];
        epilogue(self.graph, &self.uses, node.output, channels).rescale?;
        let mut nodes = Vec::new();
        for value in [a, b] {
            // Taken up only if nothing else needs them.
            let Source::Node(product) = self.graph.value(value).source else { return None };
            self.uses.only_user(value)?;
            let widened = self.graph.node(product).inputs.iter().flatten();
            for &operand in widened {
                if let Source::Node(cast) = self.graph.value(operand).source {
                    self.uses.only_user(operand)?;
                    nodes.push(cast);
                }
            }
            nodes.push(product);
        }
        Some((nodes, branches))
    }

    fn sum_step(&mut self, id: NodeId, node: &Node) -> Result<Option<Vec<NodeId>>, EngineError> {
        let (Some((mut nodes, [a, b])), Some(channels)) = (self.sum(node), self.channels(node.output)) else {
            return Ok(None);
        };
        let tail = epilogue(self.graph, &self.uses, node.output, channels);
        let Some(rescale) = tail.rescale.as_deref().map(Rescale::new) else { return Ok(None) };
        let inputs = vec![self.with_channels(a.bytes, channels)?, self.with_channels(b.bytes, channels)?];
        let elements = self.port(tail.result)?.elements();
        let mantissas = [padded(a.mantissas), padded(b.mantissas)];
        let sum = Sum { channels, mantissas, bias: padded(tail.bias), rescale };
        self.simple(tail.result, Work::Sum(sum), inputs, channels, elements);
        nodes.push(id);
        nodes.extend(tail.nodes);
        Ok(Some(nodes))
    }

    /// The nodes before a Gather that looks bytes up, the bytes and where each channel's table begins.
    fn table(&self, node: &Node) -> Option<(Vec<NodeId>, ValueId, Vec<usize>)> {
        let (Op::Gather { axis: 0 }, Some(index)) = (&node.op, node.input(1)) else { return None };
        let table = constant(self.graph, node.input(0))?;
        if (table.dtype(), table.rank()) != (DType::U8, 1) {
            return None;
        }
        let mut nodes = Vec::new();
        let mut at = index;
        let mut starts = vec![0];
        let widened = |value: ValueId| match self.graph.value(value).source {
            Source::Node(made_by) if self.uses.only_user(value).is_some() => Some(made_by),
            _ => None,
        };
        let mut made_by = widened(at)?;
        if self.graph.node(made_by).op == Op::Add {
            let add = self.graph.node(made_by);
            let operand = |slot| constant(self.graph, add.input(slot));
            let (next, offsets) = match (operand(0), operand(1)) {
                (None, Some(offsets)) => (add.input(0)?, offsets),
                (Some(offsets), None) => (add.input(1)?, offsets),
                _ => return None,
            };
            let channels = self.channels(node.output)?;
            let offsets = per_channel(offsets, self.graph.value(at).ty.rank(), channels)?;
            starts = offsets.into_iter().map(|offset| usize::try_from(offset).ok()).collect::<Option<_>>()?;
            nodes.push(made_by);
            at = next;
            made_by = widened(at)?;
        }
        let cast = self.graph.node(made_by);
        let bytes = cast.input(0)?;
        let is_widening =
            cast.op == (Op::Cast { to: DType::I32 }) && self.graph.value(bytes).ty.dtype == DType::U8;
        // Every byte has an entry, or the table would be shorter than what may be looked up.
        let is_whole = starts.iter().all(|start| start + 256 <= table.len());
        nodes.push(made_by);
        (is_widening && is_whole).then_some((nodes, bytes, starts))
    }

    fn table_step(&mut self, id: NodeId, node: &Node) -> Result<Option<Vec<NodeId>>, EngineError> {
        let Some((mut nodes, bytes, starts)) = self.table(node) else { return Ok(None) };
        let Some(entries) = constant(self.graph, node.input(0)).and_then(|t| t.as_slice::<u8>()) else {
            return Ok(None);
        };
        let buffer = match starts.len() {
            1 => self.buffer_of(bytes)?,
            channels => self.with_channels(bytes, channels)?,
        };
        let channels = self.plan.buffers[buffer.0].channels;
        let elements = self.port(node.output)?.elements();
        let table = Table { entries: entries.to_vec(), starts };
        self.simple(node.output, Work::Table(table), vec![buffer], channels, elements);
        nodes.push(id);
        Ok(Some(nodes))
    }

    fn concat(&mut self, id: NodeId, node: &Node, axis: i64) -> Result<Option<Vec<NodeId>>, EngineError> {
        let to = self.port(node.output)?;
        let is_channels = axis == 1 || axis == -(to.shape.len() as i64);
        let operands: Option<Vec<ValueId>> = node.inputs.iter().copied().collect();
        let (Some(operands), DType::U8, true) = (operands, to.dtype, is_channels) else { return Ok(None) };
        if operands.iter().any(|&operand| self.made[operand.index()].is_none()) {
            return Ok(None);
        }
        let mut inputs = Vec::new();
        let mut places = Vec::new();
        let mut first = 0;
        for operand in operands {
            let Some(&channels) = self.port(operand)?.shape.first() else { return Ok(None) };
            inputs.push(self.with_channels(operand, channels)?);
            places.push((first, channels));
            first += channels;
        }
        let work = Work::Concat { concat: Concat { channels: first }, places };
        self.simple(node.output, work, inputs, first, to.elements());
        Ok(Some(vec![id]))
    }
}

/// How many channels a value has in each pixel: its first extent behind the batch, all of a vector.
fn image_channels(shape: &[usize]) -> usize {
    shape.first().copied().unwrap_or(1).max(1)
}

/// One or two spatial extents as height and width.
fn plane(extents: &[usize], neutral: usize) -> Option<[usize; 2]> {
    match *extents {
        [width] => Some([neutral, width]),
        [height, width] => Some([height, width]),
        _ => None,
    }
}

/// The only element of an 8-bit constant.
fn single(tensor: &Tensor) -> Option<i32> {
    let signed = tensor.as_single::<i8>().map(i32::from);
    signed.or_else(|| tensor.as_single::<u8>().map(i32::from))
}

/// Filled up with zeros for vectors.
fn padded(mut numbers: Vec<i32>) -> Vec<i32> {
    numbers.extend([0; 4 * MOST_LANES]);
    numbers
}

/// `sum w (x - z)` is `sum w x` less `z sum w`; weights are `[filter][...]`.
fn fold_zero_point(bias: &mut [i32], weights: &[i8], zero_point: u8) {
    let depth = weights.len() / bias.len().max(1);
    for (bias, weights) in bias.iter_mut().zip(weights.chunks(depth.max(1))) {
        let sum: i32 = weights.iter().map(|&weight| i32::from(weight)).sum();
        // What leaves i32 here comes back in the sums, which are exact modulo 2^32 and fit at the end.
        *bias = bias.wrapping_sub(sum.wrapping_mul(zero_point.into()));
    }
}

/// The same for a matrix `[row][filter]`.
fn fold_matrix_zero_point(bias: &mut [i32], weights: &[i8], zero_point: u8) {
    for row in weights.chunks(bias.len().max(1)) {
        for (bias, &weight) in bias.iter_mut().zip(row) {
            *bias = bias.wrapping_sub(i32::from(weight) * i32::from(zero_point));
        }
    }
}

/// Appends a run, or makes the last one longer where they touch.
fn add_run(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.offset + last.elements == run.offset => last.elements += run.elements,
        _ => runs.push(run),
    }
}
