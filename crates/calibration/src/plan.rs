//! Decides what is quantized, and refuses what cannot be.
//!
//! A value is quantized where an operator that computes in integers reads it: layers and averages,
//! sums of two values, data movement, and functions of one value (activations, constants, a
//! normalization that no layer took up). Nothing is quantized inside of such a function, and nothing
//! between a layer or a sum and the Relu or Clip right behind it, which its quantizer takes over.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use onnx2int_graph::pointwise::{self, Cone, known_tensor};
use onnx2int_graph::{DType, Graph, Node, NodeId, Op, Tensor, ValueId, movement};

use crate::{CalibrationError, Placement, Unsupported};

/// A layer with constant weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub(crate) node: NodeId,
    /// The axis of the weights that runs along output channels.
    pub(crate) channel_axis: usize,
    /// Its output is the logits: nothing but a normalization comes after it.
    pub(crate) logits: bool,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// In execution order.
    pub(crate) layers: BTreeMap<NodeId, Layer>,
    /// The operand slots that read a quantized value, by node.
    pub(crate) operands: BTreeMap<NodeId, Vec<usize>>,
    /// Nodes that move, select or average data, whose results have the parameters of their operand.
    pub(crate) carriers: BTreeSet<NodeId>,
    /// Relus and Clips that the quantizer behind a layer or a sum takes over.
    pub(crate) fused: HashSet<NodeId>,
    /// Graph outputs that are quantized: they come from no layer, unless [`Placement::OnnxRuntime`] is asked for.
    pub(crate) outputs: Vec<ValueId>,
    /// Quantized values that take the range of another one, a `Concat` that alone reads them.
    pub(crate) range_of: BTreeMap<ValueId, ValueId>,
    /// The tensors whose range has to be seen, in execution order.
    pub(crate) observed: Vec<ValueId>,
    /// The graph input, whose range follows from the preprocessing.
    pub(crate) input: ValueId,
}

/// Plans the graph; `excluded` nodes stay float.
pub(crate) fn plan(
    graph: &Graph,
    placement: Placement,
    excluded: &HashSet<NodeId>,
) -> Result<Plan, CalibrationError> {
    let mut planner = Planner {
        graph,
        plan: Plan {
            layers: BTreeMap::new(),
            operands: BTreeMap::new(),
            carriers: BTreeSet::new(),
            fused: HashSet::new(),
            outputs: Vec::new(),
            range_of: BTreeMap::new(),
            observed: Vec::new(),
            input: float_input(graph)?,
        },
        placement,
        excluded,
        sums: HashSet::new(),
    };
    let mut unsupported = Vec::new();
    for (id, node) in graph.nodes() {
        if let Err(reason) = planner.visit(id, node) {
            unsupported.push(Unsupported { node: node.name.clone(), op: node.op.name(), reason });
        }
    }
    if !unsupported.is_empty() {
        return Err(CalibrationError::Unsupported { nodes: unsupported });
    }
    if planner.plan.layers.is_empty() {
        return Err(CalibrationError::NoLayers);
    }
    Ok(planner.finish())
}

struct Planner<'g> {
    graph: &'g Graph,
    plan: Plan,
    placement: Placement,
    excluded: &'g HashSet<NodeId>,
    /// What layers and sums of two values give, with the Relu behind them: a function starts here.
    sums: HashSet<ValueId>,
}

impl Planner<'_> {
    /// Finds out what a node is; the error says why it cannot be quantized, and the way out.
    fn visit(&mut self, id: NodeId, node: &Node) -> Result<(), String> {
        let graph = self.graph;
        let result = &graph.value(node.output).ty;
        // Arithmetic on shapes is not part of the network's arithmetic.
        if result.dtype == DType::I64 && !matches!(node.op, Op::ArgMax { .. }) {
            return Ok(());
        }
        if self.excluded.contains(&id) {
            // Whoever reads it quantizes what it gives.
            self.sums.insert(node.output);
            return Ok(());
        }
        match &node.op {
            Op::Conv(_) => self.layer(id, node, 0),
            Op::Gemm(attributes) => {
                if attributes.alpha != 1.0 || attributes.beta != 1.0 || attributes.trans_a {
                    return Err("expected alpha 1, beta 1 and transA 0 beside constant operands".to_owned());
                }
                if graph.operand(node, 2).is_some_and(|bias| bias.ty.rank() != 1) {
                    return Err("expected a bias of rank 1, one element for each output".to_owned());
                }
                self.layer(id, node, usize::from(!attributes.trans_b))
            }
            Op::MatMul => match graph.operand(node, 1).map(|weights| weights.ty.rank()) {
                Some(2) => self.layer(id, node, 1),
                _ => Err("expected a constant matrix as second operand".to_owned()),
            },
            Op::AveragePool(_) | Op::GlobalAveragePool => {
                self.sums.insert(node.output);
                if self.placement == Placement::OnnxRuntime && matches!(node.op, Op::AveragePool(_)) {
                    self.plan.carriers.insert(id);
                }
                self.reads(id, vec![0]);
                Ok(())
            }
            Op::MaxPool(_)
            | Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Slice
            | Op::Pad
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Gather { .. } => self.movement(id, node),
            op if pointwise::is_pointwise(op) => self.pointwise(id, node),
            Op::Identity | Op::Dropout | Op::Constant(_) => Ok(()),
            Op::Cast { to: DType::F32 }
                if graph.operand(node, 0).is_some_and(|value| value.ty.dtype == DType::F32) =>
            {
                Ok(())
            }
            Op::Softmax { .. } | Op::LogSoftmax { .. } | Op::ArgMax { .. } => {
                if !graph.outputs().contains(&node.output) {
                    return Err("expected as the last node only; its result is used".to_owned());
                }
                if node.input(0).is_some_and(|logits| !self.stays_float(logits)) {
                    self.reads(id, vec![0]);
                }
                Ok(())
            }
            Op::QuantizeLinear { .. }
            | Op::DequantizeLinear { .. }
            | Op::ConvInteger(_)
            | Op::MatMulInteger => Err("the model is quantized already; lower it as it is".to_owned()),
            Op::ReduceMean { .. } => {
                Err("expected a mean over all spatial axes, and over no other".to_owned())
            }
            Op::Cast { to } => {
                Err(format!("expected no change of type within the network, found one to {to}"))
            }
            // The pointwise ones are above; a guard does not count as an arm.
            Op::BatchNormalization { .. }
            | Op::Relu
            | Op::Activation(_)
            | Op::PRelu
            | Op::Clip
            | Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Max
            | Op::Min
            | Op::Shape { .. } => Err("the quantizer has no rule for this operator".to_owned()),
        }
    }

    fn reads(&mut self, id: NodeId, slots: Vec<usize>) {
        self.plan.operands.insert(id, slots);
    }

    fn layer(&mut self, id: NodeId, node: &Node, channel_axis: usize) -> Result<(), String> {
        for (slot, what) in [(1, "weights"), (2, "bias")] {
            if node.input(slot).is_some_and(|value| known_tensor(self.graph, value).is_none()) {
                return Err(format!("expected constant {what}"));
            }
        }
        let logits = ends_the_network(self.graph, node.output);
        self.plan.layers.insert(id, Layer { node: id, channel_axis, logits });
        self.sums.insert(node.output);
        self.reads(id, vec![0]);
        Ok(())
    }

    fn movement(&mut self, id: NodeId, node: &Node) -> Result<(), String> {
        // Behind the logits nothing is quantized, and a shape is no activation.
        if self.stays_float(node.output) || self.graph.value(node.output).ty.dtype != DType::F32 {
            return Ok(());
        }
        let moved: Vec<usize> = (0..node.inputs.len())
            .filter(|&slot| movement::moves_slot(node, slot) && node.input(slot).is_some())
            .collect();
        if moved
            .iter()
            .any(|&slot| node.input(slot).is_some_and(|value| pointwise::is_known(self.graph, value)))
        {
            return Err("expected values of the network to move, found a constant among them".to_owned());
        }
        if matches!(node.op, Op::Pad) {
            let added = match node.input(2) {
                None => Some(0.0),
                Some(value) => known_tensor(self.graph, value).and_then(Tensor::as_single::<f32>),
            };
            if !added.is_some_and(f32::is_finite) {
                return Err("expected a finite constant to pad with; give the operator behind it pads of \
                            its own"
                    .to_owned());
            }
        }
        // What a Pad adds must have a code as well: its result has a range of its own.
        if !matches!(node.op, Op::Concat { .. } | Op::Pad) {
            self.plan.carriers.insert(id);
        }
        self.reads(id, moved);
        Ok(())
    }

    /// An operator that works element by element: fused to what is before it, a function of one
    /// value, or a sum of two.
    fn pointwise(&mut self, id: NodeId, node: &Node) -> Result<(), String> {
        let graph = self.graph;
        if let (Op::Relu | Op::Clip, Some(operand)) = (&node.op, node.input(0)) {
            let alone = graph.consumers(operand).count() == 1 && !graph.outputs().contains(&operand);
            if alone && self.is_bare_sum(operand) {
                self.sums.insert(node.output);
                self.plan.fused.insert(id);
                return Ok(());
            }
        }
        let Cone { leaves, .. } = pointwise::cone(graph, node.output, |value| self.sums.contains(&value));
        match (leaves.as_slice(), &node.op) {
            ([], _) => Err("it depends on constants only; run sanitize first".to_owned()),
            (&[leaf], _) => {
                let operand = |slot: &usize| node.input(*slot) == Some(leaf);
                let slots: Vec<usize> = (0..node.inputs.len()).filter(operand).collect();
                if !slots.is_empty() {
                    self.reads(id, slots);
                }
                Ok(())
            }
            (_, Op::Add | Op::Sub | Op::Mul) => {
                if (0..2).any(|slot| node.input(slot).is_some_and(|value| pointwise::is_known(graph, value)))
                {
                    return Err("expected two values of the network, found a constant".to_owned());
                }
                self.sums.insert(node.output);
                self.reads(id, vec![0, 1]);
                Ok(())
            }
            (leaves, _) => Err(format!(
                "it computes with {} values of the network; only Add, Sub and Mul may with two",
                leaves.len()
            )),
        }
    }

    /// Whether a layer or a sum gives the value, with no Relu behind it yet.
    fn is_bare_sum(&self, value: ValueId) -> bool {
        let fused = self.graph.producer(value).is_some_and(|(id, _)| self.plan.fused.contains(&id));
        self.sums.contains(&value) && !fused
    }

    /// Whether a value is not quantized: logits are, as sums, in integers already.
    fn stays_float(&self, value: ValueId) -> bool {
        self.placement == Placement::Integer && self.is_logits(value)
    }

    /// Whether the elements of a value come from the layer of the logits.
    fn is_logits(&self, value: ValueId) -> bool {
        movement::origins(self.graph, value).into_iter().all(|origin| {
            self.graph.producer(origin).is_some_and(|(id, node)| {
                let pool = matches!(node.op, Op::AveragePool(_) | Op::GlobalAveragePool);
                self.plan.layers.get(&id).is_some_and(|layer| layer.logits)
                    || (pool || self.excluded.contains(&id)) && ends_the_network(self.graph, node.output)
            })
        })
    }

    fn finish(mut self) -> Plan {
        let graph = self.graph;
        let outputs = graph.outputs().iter().copied();
        let float = |&output: &ValueId| graph.value(output).ty.dtype == DType::F32;
        let ends = |&output: &ValueId| {
            let tail = graph.producer(output).is_some_and(|(_, node)| {
                matches!(node.op, Op::Softmax { .. } | Op::LogSoftmax { .. } | Op::ArgMax { .. })
            });
            !tail && !self.stays_float(output)
        };
        self.plan.outputs = outputs.filter(float).filter(ends).collect();

        let mut wanted: BTreeSet<ValueId> = self.plan.outputs.iter().copied().collect();
        for (&id, slots) in &self.plan.operands {
            wanted.extend(slots.iter().filter_map(|&slot| graph.node(id).input(slot)));
        }
        let carried =
            |value: ValueId| graph.producer(value).is_some_and(|(id, _)| self.plan.carriers.contains(&id));
        for &value in wanted.iter().filter(|&&value| value != self.plan.input && !carried(value)) {
            let source = self.range_source(value);
            if source != value {
                self.plan.range_of.insert(value, source);
            }
        }
        wanted.remove(&self.plan.input);
        let needed = |value: &ValueId| wanted.contains(value) && !carried(*value);
        let seen = |value: &ValueId| !self.plan.range_of.contains_key(value);
        self.plan.observed = graph.nodes().map(|(_, node)| node.output).filter(needed).filter(seen).collect();
        self.plan
    }

    /// The value whose range a value takes: a `Concat` or a `Pad` that alone reads it, through
    /// movement, so that nothing has to be brought to another scale there.
    fn range_source(&self, value: ValueId) -> ValueId {
        let graph = self.graph;
        let mut readers = graph.consumers(value);
        let (Some((reader, _)), None) = (readers.next(), readers.next()) else { return value };
        let node = graph.node(reader);
        if graph.outputs().contains(&value) || !self.plan.operands.contains_key(&reader) {
            return value;
        }
        let behind = self.range_source(node.output);
        match node.op {
            Op::Concat { .. } if self.placement == Placement::OnnxRuntime => value,
            Op::Concat { .. } | Op::Pad => behind,
            _ if self.plan.carriers.contains(&reader) && behind != node.output => behind,
            _ => value,
        }
    }
}

/// Whether nothing but data movement, a normalization or an argmax lies between a value and the
/// outputs.
fn ends_the_network(graph: &Graph, value: ValueId) -> bool {
    let mut consumers = graph.consumers(value).peekable();
    if consumers.peek().is_none() {
        return graph.outputs().contains(&value);
    }
    consumers.all(|(id, slot)| {
        let node = graph.node(id);
        let passes = matches!(
            node.op,
            Op::Softmax { .. }
                | Op::LogSoftmax { .. }
                | Op::ArgMax { .. }
                | Op::Identity
                | Op::Flatten { .. }
                | Op::Reshape { .. }
                | Op::Squeeze
        );
        // A Shape that only serves a Reshape asks for extents.
        let asks = matches!(node.op, Op::Shape { .. });
        asks || passes && slot == 0 && ends_the_network(graph, node.output)
    })
}

fn float_input(graph: &Graph) -> Result<ValueId, CalibrationError> {
    if let &[input] = graph.inputs() {
        let ty = &graph.value(input).ty;
        let are_fixed = ty.shape.iter().skip(1).all(|dim| dim.fixed().is_some());
        if ty.dtype == DType::F32 && ty.rank() == 4 && are_fixed {
            return Ok(input);
        }
    }
    let found: Vec<_> = graph.inputs().iter().map(|&input| graph.value(input).ty.to_string()).collect();
    Err(CalibrationError::Input {
        found: if found.is_empty() { "none".to_owned() } else { found.join(", ") },
    })
}
