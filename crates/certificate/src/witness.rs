//! Inputs that take the accumulators of a layer to their extremes.

use ndarray::{ArrayD, Axis, IxDyn};
use onnx2int_graph::range::{Attainment, ChannelRange, LayerSums, Obstacle, Ranges, Side};
use onnx2int_graph::{
    DType, Dim, Graph, GraphEditor, Node, NodeId, Op, Source, Tensor, TensorType, ValueId, Verified,
};

use crate::WitnessError;

/// For each channel of a layer and each side an input, and the sum that it must give.
///
/// A layer that reads the graph's one input, moved at most, comes with the network up to its sums,
/// and its witnesses are real images; any other comes by itself, with its own weights, zero
/// points, padding and extents, and each element of its witnesses is inside the operand's range.
#[derive(Clone, Debug)]
pub struct LayerWitnesses {
    /// The layer.
    pub node: String,
    /// Whether `graph` is the network up to the layer, and not the layer by itself.
    pub is_network: bool,
    /// One input with a symbolic batch, one output: the sums.
    pub graph: Graph,
    /// One entry of the batch for each witness.
    pub input: Tensor,
    /// What they show, in the order of the batch: each channel's low side, then its high side.
    pub witnesses: Vec<Witness>,
    /// The proven range of the sums.
    pub range: ChannelRange,
}

/// The extreme of one channel on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The filter or column; 0 where one bound holds for all.
    pub channel: usize,
    /// Least or greatest.
    pub side: Side,
    /// The bound that was proven, partial sums included.
    pub bound: i64,
    /// The furthest finished sum, which this witness gives; the bound itself where it is attained.
    pub expected: i64,
    /// The index of that sum in the output, batch included.
    pub position: Vec<usize>,
}

impl LayerWitnesses {
    /// Builds the witnesses of one integer layer; `ranges` and `attained` must be of this graph.
    ///
    /// # Errors
    /// A layer whose extremes are not known, and an operand of unknown extents.
    pub fn of(
        graph: Verified<'_>,
        ranges: &Ranges,
        attained: &[Option<Attainment>],
        node: NodeId,
    ) -> Result<Self, WitnessError> {
        let graph = graph.graph();
        let layer = graph.node(node);
        let sums = LayerSums::of(graph, ranges, layer)
            .map_err(|obstacle| WitnessError::Undecided { node: layer.name.clone(), obstacle })?;
        let (Some(operand), Some(range)) = (layer.input(0), ranges.get(layer.output)) else {
            let obstacle = Obstacle::NotFollowed;
            return Err(WitnessError::Undecided { node: layer.name.clone(), obstacle });
        };
        let operand_type = &graph.value(operand).ty;
        let refused = || WitnessError::Operand { node: layer.name.clone(), found: operand_type.to_string() };
        let extents: Vec<usize> =
            operand_type.shape[1..].iter().map(Dim::fixed).collect::<Option<_>>().ok_or_else(refused)?;

        let builder = Builder { layer, sums: &sums, extents: &extents, range };
        let witnesses = builder.witnesses();
        let elements = builder.elements(&witnesses);
        let shape: Vec<usize> = std::iter::once(witnesses.len()).chain(extents.iter().copied()).collect();
        let input = tensor(operand_type.dtype, &shape, &elements).ok_or_else(refused)?;
        let is_free = attained[operand.index()].as_ref().is_some_and(|attainment| attainment.is_free);
        let whole = if is_free { moved_back(graph, operand, &input) } else { None };
        let (is_network, extracted, input) = match whole {
            Some(image) => (true, network(graph, layer), image),
            None => (false, alone(graph, layer, operand), input),
        };
        let graph = extracted
            .map_err(|source| WitnessError::Extract { node: layer.name.clone(), source: Box::new(source) })?;
        Ok(Self {
            node: layer.name.clone(),
            is_network,
            graph,
            input,
            witnesses: witnesses.into_iter().map(|(witness, _, _)| witness).collect(),
            range: range.clone(),
        })
    }

    /// Checks what a runtime gave for [`LayerWitnesses::input`]: each witness meets its extreme, and
    /// no sum of any channel at any position is outside of the proven range.
    ///
    /// # Errors
    /// The first sum that is not as it must be.
    pub fn check(&self, sums: &Tensor) -> Result<(), WitnessError> {
        let node = || self.node.clone();
        let wrong_shape = || WitnessError::Shape {
            node: node(),
            expected: vec![self.witnesses.len()],
            found: TensorType::of(sums).to_string(),
        };
        let array = sums.as_array::<i32>().ok_or_else(wrong_shape)?;
        for (index, witness) in self.witnesses.iter().enumerate() {
            let found = i64::from(*array.get(IxDyn(&witness.position)).ok_or_else(wrong_shape)?);
            if found != witness.expected {
                return Err(WitnessError::NotMet {
                    node: node(),
                    channel: witness.channel,
                    side: witness.side.name(),
                    witness: index,
                    expected: witness.expected,
                    found,
                });
            }
        }
        for (channel, lane) in array.axis_iter(Axis(1)).enumerate() {
            let (low, high) = match self.range.axis {
                Some(_) => *self.range.bounds.get(channel).ok_or_else(wrong_shape)?,
                None => self.range.hull(),
            };
            if let Some(&found) = lane.iter().find(|&&sum| i64::from(sum) < low || i64::from(sum) > high) {
                return Err(WitnessError::OutOfBounds {
                    node: node(),
                    channel,
                    low,
                    high,
                    found: found.into(),
                });
            }
        }
        Ok(())
    }
}

/// A witness with its filter and its window.
type Placed = (Witness, usize, usize);

struct Builder<'a> {
    layer: &'a Node,
    sums: &'a LayerSums,
    /// The operand's, without the batch.
    extents: &'a [usize],
    range: &'a ChannelRange,
}

impl Builder<'_> {
    fn witnesses(&self) -> Vec<Placed> {
        let extremes = self.sums.extremes();
        let mut placed = Vec::new();
        for (channel, &bound) in self.range.bounds.iter().enumerate() {
            for side in Side::BOTH {
                // One bound for all columns is met by the column that goes furthest.
                let filters = if self.range.bounds.len() == extremes.len() {
                    channel..channel + 1
                } else {
                    0..extremes.len()
                };
                let furthest = filters.max_by_key(|&filter| {
                    let value = extremes[filter][side as usize].value;
                    match side {
                        Side::Low => -value,
                        Side::High => value,
                    }
                });
                let Some(filter) = furthest else { continue };
                let extreme = extremes[filter][side as usize];
                let witness = Witness {
                    channel,
                    side,
                    bound: side.of(bound),
                    expected: extreme.value,
                    position: self.position(placed.len(), filter, extreme.window),
                };
                placed.push((witness, filter, extreme.window));
            }
        }
        placed
    }

    /// `[batch, filter, spatial...]` for a convolution, `[batch, 0..., column]` for a product.
    fn position(&self, batch: usize, filter: usize, window: usize) -> Vec<usize> {
        let mut position = vec![batch];
        if matches!(self.layer.op, Op::ConvInteger(_)) {
            position.push(filter);
            position.extend(&self.sums.windows()[window].position);
        } else {
            position.extend(std::iter::repeat_n(0, self.extents.len() - 1));
            position.push(filter);
        }
        position
    }

    /// The operands of all witnesses, row-major. What a witness does not choose is as near to the
    /// zero point as its range lets it be.
    fn elements(&self, placed: &[Placed]) -> Vec<i64> {
        let size: usize = self.extents.iter().product();
        let quiet: Vec<i64> =
            self.sums.operand().iter().map(|&(low, high)| self.sums.zero_point().clamp(low, high)).collect();
        let is_convolution = matches!(self.layer.op, Op::ConvInteger(_));
        let (channels, plane) = match (is_convolution, self.extents) {
            (true, [channels, rest @ ..]) => (*channels, rest.iter().product()),
            (false, [.., inner]) => (*inner, 1),
            (_, []) => (0, 1),
        };
        let mut elements: Vec<i64> = Vec::with_capacity(size * placed.len());
        for (witness, filter, window) in placed {
            let start = elements.len();
            elements.extend((0..size).map(|index| quiet[index / plane % channels]));
            for choice in self.sums.choices(*filter, witness.side, *window) {
                elements[start + choice.channel * plane + choice.input] = choice.value;
            }
        }
        elements
    }
}

/// An 8-bit tensor; none for another type.
fn tensor(dtype: DType, shape: &[usize], elements: &[i64]) -> Option<Tensor> {
    let narrowed = |element: &i64| u8::try_from(*element).ok();
    let narrowed_signed = |element: &i64| i8::try_from(*element).ok();
    match dtype {
        DType::U8 => Tensor::from_vec(shape, elements.iter().map(narrowed).collect::<Option<Vec<_>>>()?).ok(),
        DType::I8 => {
            Tensor::from_vec(shape, elements.iter().map(narrowed_signed).collect::<Option<Vec<_>>>()?).ok()
        }
        DType::F32 | DType::I32 | DType::I64 | DType::Bool => None,
    }
}

/// The graph input that a free tensor is made of; none where the graph has other inputs too, or where
/// the batch is not the first axis throughout, or fixed.
fn moved_back(graph: &Graph, operand: ValueId, tensor: &Tensor) -> Option<Tensor> {
    let &[input] = graph.inputs() else { return None };
    let (mut value, mut tensor) = (operand, tensor.clone());
    loop {
        let [Dim::Symbol(_), rest @ ..] = graph.value(value).ty.shape.as_slice() else { return None };
        let rest: Vec<usize> = rest.iter().map(Dim::fixed).collect::<Option<_>>()?;
        let shape: Vec<usize> = std::iter::once(tensor.shape().first().copied()?).chain(rest).collect();
        tensor = tensor.reshape(&shape).ok()?;
        match &graph.value(value).source {
            Source::Input => return (value == input).then_some(tensor),
            Source::Constant(_) => return None,
            Source::Node(id) => {
                let node = graph.node(*id);
                if let Op::Transpose { perm } = &node.op {
                    tensor = transposed_back(&tensor, perm)?;
                }
                value = node.input(0)?;
            }
        }
    }
}

fn transposed_back(tensor: &Tensor, perm: &[usize]) -> Option<Tensor> {
    if perm.first() != Some(&0) {
        return None;
    }
    let mut inverse = vec![0; perm.len()];
    for (to, &from) in perm.iter().enumerate() {
        inverse[from] = to;
    }
    fn permuted<T: onnx2int_graph::Element>(array: ArrayD<T>, axes: &[usize]) -> Tensor {
        Tensor::from_array(array.permuted_axes(axes.to_vec()).into())
    }
    match tensor {
        Tensor::U8(array) => Some(permuted(array.to_owned(), &inverse)),
        Tensor::I8(array) => Some(permuted(array.to_owned(), &inverse)),
        Tensor::F32(_) | Tensor::I32(_) | Tensor::I64(_) | Tensor::Bool(_) => None,
    }
}

/// The network up to the sums of a layer.
fn network(graph: &Graph, layer: &Node) -> Result<Graph, onnx2int_graph::EditError> {
    let mut editor = GraphEditor::from(graph.clone());
    editor.set_outputs([layer.output]);
    // The stage's rules speak of whole networks.
    editor.remove_metadata(onnx2int_graph::metadata::STAGE);
    editor.finish()
}

/// A layer by itself, with a symbolic batch.
fn alone(graph: &Graph, layer: &Node, operand: ValueId) -> Result<Graph, onnx2int_graph::EditError> {
    let mut editor = GraphEditor::new(&layer.name);
    let value = graph.value(operand);
    let mut shape = value.ty.shape.clone();
    shape[0] = Dim::symbol("N");
    let input = editor.add_input(&value.name, TensorType::new(value.ty.dtype, shape))?;
    let mut inputs = vec![Some(input)];
    for slot in 1..layer.inputs.len() {
        let constant = match (graph.operand(layer, slot), graph.constant_operand(layer, slot)) {
            // One constant may be the zero point of both operands.
            (Some(value), Some(tensor)) => {
                Some(editor.add_constant(&editor.unique_name(&value.name), tensor.clone())?)
            }
            _ => None,
        };
        inputs.push(constant);
    }
    let output = editor.add_node(&layer.name, layer.op.clone(), inputs, &graph.value(layer.output).name)?;
    editor.set_outputs([output]);
    editor.finish()
}
