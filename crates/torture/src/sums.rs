//! Every sum of two branches against exact arithmetic, on all pairs of bytes.

use onnx2int_graph::{
    DType, Dim, Graph, GraphEditor, Node, Op, Tensor, TensorType, ValueId, Verified, movement, verify,
};
use onnx2int_interpreter::run;
use onnx2int_transforms::Site;

use crate::Fault;

/// The greatest multiplier of a branch that is promised to be exact enough: above it, a multiplier
/// whose products with bytes fit int32 has too few bits for half a unit.
const GREATEST_MULTIPLIER: f64 = 4096.0;

/// A quantizer of the sum or the difference of two dequantized values.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    /// Its name, and that of the `Cast` that takes its place.
    pub(crate) node: String,
    /// Units of the result in one of each branch; negative for what is subtracted.
    pub(crate) multipliers: [f64; 2],
    zero_points: [f64; 2],
    zero_point: f64,
    after_relu: bool,
}

impl Sum {
    /// What a quantizer quantizes, if it is a sum; data movement may lie in front of that.
    pub(crate) fn of(graph: &Graph, node: &Node) -> Option<Self> {
        let producer = |value: ValueId| graph.producer(value).map(|(_, node)| node);
        let (scale, zero_point) = parameters(graph, node)?;
        let mut sum = producer(node.input(0)?)?;
        let after_relu = matches!(sum.op, Op::Relu);
        if after_relu || matches!(sum.op, Op::Clip) {
            sum = producer(sum.input(0)?)?;
        }
        let sign = match sum.op {
            Op::Add => 1.0,
            Op::Sub => -1.0,
            _ => return None,
        };
        let branch = |slot: usize| {
            let origin = *movement::origins(graph, sum.input(slot)?).first()?;
            let dequantizer = producer(origin)?;
            matches!(dequantizer.op, Op::DequantizeLinear { .. }).then(|| parameters(graph, dequantizer))?
        };
        let (a, b) = (branch(0)?, branch(1)?);
        Some(Self {
            node: node.name.clone(),
            multipliers: [a.0 / scale, sign * b.0 / scale],
            zero_points: [a.1, b.1],
            zero_point,
            after_relu,
        })
    }

    /// Whether its multipliers are so large that it may be refused.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        self.multipliers.iter().any(|multiplier| multiplier.abs() > GREATEST_MULTIPLIER)
    }

    /// The sum in units of the result, with its zero point, not rounded. A scale times a difference of
    /// bytes is exact in f64, so that only the division and the sum round, by 2^-50 of their numbers.
    fn exact(&self, bytes: [u8; 2]) -> f64 {
        let term = |k: usize| self.multipliers[k] * (f64::from(bytes[k]) - self.zero_points[k]);
        let sum = term(0) + term(1);
        self.zero_point + if self.after_relu { sum.max(0.0) } else { sum }
    }

    /// Checks the operators that took the quantizer's place; gives the error bound, in output units.
    pub(crate) fn check(&self, graph: Verified<'_>, site: &Site) -> Result<f64, Fault> {
        let name = &self.node;
        let chain = Chain::find(graph.graph(), name).ok_or_else(|| Fault::form(name, "a fixed-point sum"))?;
        let &[reported] = site.error_bounds.as_slice() else {
            return Err(Fault::form(name, "one error bound"));
        };
        let stated = self.stated_bound(&chain);
        // 1e-9: bounds and multipliers are of f64.
        if reported > 0.5 || reported > stated + 1e-9 {
            return Err(Fault::Bound { node: name.clone(), channel: 0, reported, stated });
        }
        let pairs: Vec<[u8; 2]> = (0..=u8::MAX).flat_map(|a| (0..=u8::MAX).map(move |b| [a, b])).collect();
        let results = evaluate(graph.graph(), &chain, &pairs)?;
        for (&bytes, &found) in pairs.iter().zip(&results) {
            let exact = self.exact(bytes);
            let wanted = (exact + 0.5).floor().clamp(0.0, 255.0);
            let from_boundary = (exact + 0.5 - (exact + 0.5).round()).abs();
            let difference = (found as f64 - wanted).abs();
            if difference > 1.0 || (difference == 1.0 && from_boundary > reported + 1e-8) {
                return Err(Fault::Sum { node: name.clone(), bytes, found, exact, bound: reported });
            }
        }
        Ok(reported)
    }

    /// The bound that the design states: what rounding a multiplier loses of the byte that is
    /// furthest from its zero point.
    fn stated_bound(&self, chain: &Chain) -> f64 {
        let unit = chain.divisor as f64;
        let branch = |k: usize| {
            let furthest = self.zero_points[k].max(255.0 - self.zero_points[k]);
            (chain.multipliers[k] as f64 / unit - self.multipliers[k]).abs() * furthest
        };
        branch(0) + branch(1)
    }
}

/// The one scale and zero point of a quantizer or dequantizer.
fn parameters(graph: &Graph, node: &Node) -> Option<(f64, f64)> {
    let scale = graph.constant_operand(node, 1)?.as_single::<f32>()?;
    let zero_point = match graph.constant_operand(node, 2) {
        None => 0,
        Some(tensor) => *tensor.to_i64_vec()?.first()?,
    };
    Some((f64::from(scale), zero_point as f64))
}

/// The operators of a sum, read off the graph.
struct Chain {
    /// The bytes as i32.
    integers: [ValueId; 2],
    output: ValueId,
    multipliers: [i64; 2],
    divisor: i64,
}

impl Chain {
    fn find(graph: &Graph, name: &str) -> Option<Self> {
        let cast = graph.node(graph.node_by_name(name)?);
        if !matches!(cast.op, Op::Cast { to: DType::U8 }) {
            return None;
        }
        let producer = |value: ValueId| graph.producer(value).map(|(_, node)| node);
        let number = |node: &Node| graph.constant_operand(node, 1)?.to_i64_vec()?.first().copied();
        let mut at = cast.input(0)?;
        let mut divisor = None;
        for op in [Op::Div, Op::Min, Op::Max, Op::Add] {
            let node = producer(at).filter(|node| node.op == op)?;
            let constant = number(node)?;
            divisor.get_or_insert(constant);
            at = node.input(0)?;
        }
        let sum = producer(at).filter(|node| matches!(node.op, Op::Add))?;
        let branch = |slot: usize| {
            let product = producer(sum.input(slot)?).filter(|node| matches!(node.op, Op::Mul))?;
            let integers = product.input(0)?;
            producer(integers).filter(|node| matches!(node.op, Op::Cast { to: DType::I32 }))?;
            Some((integers, number(product)?))
        };
        let (a, b) = (branch(0)?, branch(1)?);
        Some(Self { integers: [a.0, b.0], output: cast.output, multipliers: [a.1, b.1], divisor: divisor? })
    }
}

/// The results for pairs of bytes.
fn evaluate(graph: &Graph, chain: &Chain, pairs: &[[u8; 2]]) -> Result<Vec<i64>, Fault> {
    let mut editor = GraphEditor::from(graph.clone());
    let rank = graph.value(chain.output).ty.rank();
    let mut inputs = Vec::new();
    for (k, &integers) in chain.integers.iter().enumerate() {
        let mut shape = vec![Dim::Fixed(1); rank];
        shape[0] = Dim::symbol("pairs");
        let name = editor.unique_name(&format!("branch{k}"));
        let input = editor.add_input(&name, TensorType::new(DType::I32, shape))?;
        editor.redirect_uses(integers, input);
        let mut extents = vec![1; rank];
        extents[0] = pairs.len();
        let bytes = pairs.iter().map(|pair| i32::from(pair[k])).collect();
        inputs.push(Tensor::from_vec::<i32>(&extents, bytes).expect("one byte each"));
    }
    editor.set_outputs([chain.output]);
    let alone = editor.finish()?;
    let image = &alone.value(alone.inputs()[0]).ty;
    let extents: Vec<usize> = image.shape.iter().map(|dim| dim.fixed().unwrap_or(1)).collect();
    let zeros = Tensor::from_vec::<u8>(&extents, vec![0; extents.iter().product()]).expect("one byte each");
    inputs.insert(0, zeros);
    let outputs = run(verify(&alone)?, &inputs).map_err(|source| Fault::run("a sum", source))?;
    outputs[0].to_i64_vec().ok_or_else(|| Fault::form(graph.name(), "integers"))
}
