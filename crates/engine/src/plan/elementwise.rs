//! Steps without weights: poolings, sums of two branches, tables, concatenation.

use onnx2int_graph::{DType, Dim, Node, NodeId, Op, PoolWindow, Source, ValueId};

use super::build::Builder;
use super::layers::{padded, plane};
use super::recognize::{Branch, Results, branch, constant, epilogue, per_channel};
use super::{BufferId, Work};
use crate::EngineError;
use crate::lanes::Lanes;
use crate::rescale::Rescale;
use crate::steps::simple::{Concat, MaxPool, Sum, Table};

impl<S: Lanes> Builder<'_, S> {
    pub(super) fn max_pool(
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
    pub(super) fn sum(&self, node: &Node) -> Option<(Vec<NodeId>, [Branch; 2])> {
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
        epilogue(self.graph, &self.uses, node.output, channels, Results::Bytes).rescale?;
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

    pub(super) fn sum_step(&mut self, id: NodeId, node: &Node) -> Result<Option<Vec<NodeId>>, EngineError> {
        let (Some((mut nodes, [a, b])), Some(channels)) = (self.sum(node), self.channels(node.output)) else {
            return Ok(None);
        };
        let tail = epilogue(self.graph, &self.uses, node.output, channels, Results::Bytes);
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
    pub(super) fn table(&self, node: &Node) -> Option<(Vec<NodeId>, ValueId, Vec<usize>)> {
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

    pub(super) fn table_step(&mut self, id: NodeId, node: &Node) -> Result<Option<Vec<NodeId>>, EngineError> {
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

    pub(super) fn concat(
        &mut self,
        id: NodeId,
        node: &Node,
        axis: i64,
    ) -> Result<Option<Vec<NodeId>>, EngineError> {
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
