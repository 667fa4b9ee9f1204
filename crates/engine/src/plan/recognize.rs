//! Which chains of nodes are one step: what stands behind a sum until it is a byte.

use onnx2int_graph::{DType, Graph, NodeId, Op, Source, Tensor, ValueId};

use crate::rescale::ChannelRescale;

/// Who uses each value.
pub(crate) struct Uses {
    users: Vec<Vec<NodeId>>,
    is_output: Vec<bool>,
}

impl Uses {
    pub(crate) fn of(graph: &Graph) -> Self {
        let count = graph.values().len();
        let mut uses = Self { users: vec![Vec::new(); count], is_output: vec![false; count] };
        for (id, node) in graph.nodes() {
            for value in node.inputs.iter().flatten() {
                uses.users[value.index()].push(id);
            }
        }
        for value in graph.outputs() {
            uses.is_output[value.index()] = true;
        }
        uses
    }

    /// The only node that reads the value, where nothing else looks at it.
    pub(crate) fn only_user(&self, value: ValueId) -> Option<NodeId> {
        match self.users[value.index()][..] {
            [user] if !self.is_output[value.index()] => Some(user),
            _ => None,
        }
    }
}

/// The tensor of a constant operand.
pub(crate) fn constant(graph: &Graph, value: Option<ValueId>) -> Option<&Tensor> {
    graph.value(value?).constant()
}

/// An i32 constant as one number for each channel, where it has the same for all positions of a value of
/// that shape `[N, channels, ...]`.
pub(crate) fn per_channel(tensor: &Tensor, rank: usize, channels: usize) -> Option<Vec<i32>> {
    let elements = tensor.as_slice::<i32>()?;
    let shape = tensor.shape();
    if shape.len() > rank {
        return None;
    }
    let first_axis = rank - shape.len();
    let varies = |axis: usize, extent: usize| extent != 1 && axis + first_axis != 1;
    if shape.iter().enumerate().any(|(axis, &extent)| varies(axis, extent)) {
        return None;
    }
    match elements {
        [one] => Some(vec![*one; channels]),
        all if all.len() == channels => Some(all.to_vec()),
        _ => None,
    }
}

/// What a layer does with its sums.
pub(crate) struct Epilogue {
    /// Added to the sums of each channel.
    pub(crate) bias: Vec<i32>,
    /// None: the sums are the result.
    pub(crate) rescale: Option<Vec<ChannelRescale>>,
    /// The result is bytes, else i32.
    pub(crate) is_bytes: bool,
    /// The value that the last node of the chain makes.
    pub(crate) result: ValueId,
    /// The nodes of the chain.
    pub(crate) nodes: Vec<NodeId>,
}

/// The places of the normal form, in their order; a chain goes through them and never back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Bias,
    Low,
    Subtract,
    PreShift,
    High,
    Mantissa,
    Offset,
    Floor,
    Cap,
    Shift,
}

/// Where a rescale may end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Results {
    /// At a byte; a chain that makes none is a bias at most.
    Bytes,
    /// Also where the normal form does: logits brought to one scale stay i32.
    BytesOrIntegers,
}

/// The chain behind the sums `value`, as long as it has the normal form.
pub(crate) fn epilogue(
    graph: &Graph,
    uses: &Uses,
    value: ValueId,
    channels: usize,
    results: Results,
) -> Epilogue {
    let mut state = State {
        place: Place::Bias,
        bias: vec![0; channels],
        rescale: vec![ChannelRescale::NEUTRAL; channels],
    };
    let mut at = value;
    let mut nodes = Vec::new();
    let mut longest = Epilogue {
        bias: state.bias.clone(),
        rescale: None,
        is_bytes: false,
        result: value,
        nodes: Vec::new(),
    };
    while let Some(user) = uses.only_user(at) {
        let node = graph.node(user);
        nodes.push(user);
        if node.op == (Op::Cast { to: DType::U8 }) {
            let (bias, rescale) = (state.bias, Some(state.rescale));
            return Epilogue { bias, rescale, is_bytes: true, result: node.output, nodes };
        }
        let rank = graph.value(at).ty.rank();
        let operand = node.inputs.iter().flatten().find(|&&operand| operand != at).copied();
        let numbers = constant(graph, operand).and_then(|tensor| per_channel(tensor, rank, channels));
        let first = node.input(0) == Some(at);
        if state.take(&node.op, first, numbers, node.inputs.len()).is_none() {
            break;
        }
        at = node.output;
        let is_bias = state.place == Place::Bias;
        if is_bias || results == Results::BytesOrIntegers {
            longest = Epilogue {
                bias: state.bias.clone(),
                rescale: (!is_bias).then(|| state.rescale.clone()),
                is_bytes: false,
                result: at,
                nodes: nodes.clone(),
            };
        }
    }
    longest
}

struct State {
    place: Place,
    bias: Vec<i32>,
    rescale: Vec<ChannelRescale>,
}

impl State {
    /// Takes in one operator; `first` says whether the sums are its first operand. None where the normal
    /// form has no place for it.
    fn take(&mut self, op: &Op, first: bool, numbers: Option<Vec<i32>>, operands: usize) -> Option<()> {
        let place = match op {
            Op::Add => [Place::Bias, Place::Offset].into_iter().find(|&place| place >= self.place)?,
            Op::Max | Op::Relu => {
                [Place::Low, Place::Floor].into_iter().find(|&place| place >= self.place)?
            }
            Op::Sub => Place::Subtract,
            Op::Div => [Place::PreShift, Place::Shift].into_iter().find(|&place| place > self.place)?,
            Op::Min => [Place::High, Place::Cap].into_iter().find(|&place| place >= self.place)?,
            Op::Mul => Place::Mantissa,
            Op::Conv(_)
            | Op::ConvInteger(_)
            | Op::Gemm(_)
            | Op::MatMul
            | Op::MatMulInteger
            | Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalAveragePool
            | Op::ReduceMean { .. }
            | Op::BatchNormalization { .. }
            | Op::QuantizeLinear { .. }
            | Op::DequantizeLinear { .. }
            | Op::Activation(_)
            | Op::PRelu
            | Op::Clip
            | Op::Cast { .. }
            | Op::LogSoftmax { .. }
            | Op::Softmax { .. }
            | Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Gather { .. }
            | Op::Slice
            | Op::Pad
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Identity
            | Op::Dropout
            | Op::Constant(_)
            | Op::Shape { .. }
            | Op::ArgMax { .. } => return None,
        };
        let is_repeated = place == self.place && !matches!(op, Op::Add | Op::Max | Op::Relu | Op::Min);
        if place < self.place || is_repeated {
            return None;
        }
        let numbers = if *op == Op::Relu {
            vec![0; self.bias.len()]
        } else if operands != 2 || (matches!(op, Op::Sub | Op::Div) && !first) {
            return None;
        } else {
            numbers?
        };
        for ((channel, bias), number) in self.rescale.iter_mut().zip(&mut self.bias).zip(numbers) {
            match place {
                Place::Bias => *bias = bias.checked_add(number)?,
                Place::Low => channel.low = channel.low.max(number),
                Place::Subtract => channel.subtract = number,
                Place::PreShift => channel.pre_shift = shift_of(number)?,
                Place::High => channel.high = channel.high.min(number),
                Place::Mantissa => channel.mantissa = number,
                Place::Offset => channel.offset = channel.offset.checked_add(number)?,
                Place::Floor => channel.floor = channel.floor.max(number),
                Place::Cap => channel.cap = channel.cap.min(number),
                Place::Shift => channel.shift = shift_of(number)?,
            }
        }
        // The order of the places is that of a monotone map only while factors are positive.
        if place == Place::Mantissa && self.rescale.iter().any(|channel| channel.mantissa < 0) {
            return None;
        }
        self.place = place;
        Some(())
    }
}

/// The shift that divides by a power of two.
fn shift_of(divisor: i32) -> Option<i32> {
    (divisor > 0 && divisor.count_ones() == 1).then(|| divisor.trailing_zeros() as i32)
}

/// A branch of a sum: bytes times a number for each channel.
pub(crate) struct Branch {
    pub(crate) bytes: ValueId,
    pub(crate) mantissas: Vec<i32>,
}

/// The branch that makes `value`, if it is `Mul(Cast(bytes), constant)`.
pub(crate) fn branch(graph: &Graph, value: ValueId, channels: usize) -> Option<Branch> {
    let Source::Node(product) = graph.value(value).source else { return None };
    let product = graph.node(product);
    if product.op != Op::Mul {
        return None;
    }
    let rank = graph.value(value).ty.rank();
    let number = |slot| constant(graph, product.input(slot)).and_then(|t| per_channel(t, rank, channels));
    let (widened, mantissas) = match (number(0), number(1)) {
        (None, Some(mantissas)) => (product.input(0)?, mantissas),
        (Some(mantissas), None) => (product.input(1)?, mantissas),
        _ => return None,
    };
    let Source::Node(cast) = graph.value(widened).source else { return None };
    let cast = graph.node(cast);
    let bytes = cast.input(0)?;
    let is_widening = cast.op == (Op::Cast { to: DType::I32 }) && graph.value(bytes).ty.dtype == DType::U8;
    let same_shape = graph.value(bytes).ty.shape == graph.value(value).ty.shape;
    (is_widening && same_shape).then_some(Branch { bytes, mantissas })
}
