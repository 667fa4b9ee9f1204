//! Which networks may be refused, and by which rule.

use onnx2int_graph::{Graph, Node, Op, Stage, Tensor};

use crate::Fault;
use crate::sums::Sum;

/// A transform, or the verifier behind it, named the rule that a network breaks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Refusal {
    /// The stage that could not be made.
    pub stage: Stage,
    /// The rule.
    pub rule: &'static str,
}

/// A refusal that the generator has to reckon with.
pub struct Legitimate {
    /// The stage that cannot be made.
    pub stage: Stage,
    /// The rule that says so.
    pub rule: &'static str,
    /// Why there are such networks among those that are generated.
    pub reason: &'static str,
    /// Whether the network, at stage quantized, gives cause for it.
    cause: fn(&Graph) -> bool,
}

/// All of them. A network that gives no cause, or a rule that is not here, is a fault.
pub const LEGITIMATE: &[Legitimate] = &[
    Legitimate {
        stage: Stage::Integer,
        rule: "accumulator-fits-i32",
        reason: "a sum of products can leave int32",
        cause: may_overflow,
    },
    Legitimate {
        stage: Stage::Integer,
        rule: "integer-op-fits-i32",
        reason: "a bias near 2^30 on top of a wide sum",
        cause: may_overflow,
    },
    Legitimate {
        stage: Stage::ScaleOut,
        rule: "common-logit-scale",
        reason: "logits of several scales whose sums span more than int32",
        cause: has_logit_scales,
    },
    Legitimate {
        stage: Stage::ScaleOut,
        rule: "fixed-point-rescale",
        reason: "a sum whose scale is thousands of times finer than that of a branch",
        cause: has_wild_sum,
    },
];

/// Whether that refusal is right.
pub(crate) fn judge(graph: &Graph, stage: Stage, rule: &str, message: &str) -> Result<Refusal, Fault> {
    let known = LEGITIMATE.iter().find(|known| known.stage == stage && known.rule == rule);
    match known {
        Some(known) if (known.cause)(graph) => Ok(Refusal { stage, rule: known.rule }),
        _ => Err(Fault::Refused { stage, rule: rule.to_owned(), message: message.to_owned() }),
    }
}

fn has_wild_sum(graph: &Graph) -> bool {
    let quantizers = graph.nodes().filter(|(_, node)| matches!(node.op, Op::QuantizeLinear { .. }));
    quantizers.filter_map(|(_, node)| Sum::of(graph, node)).any(|sum| sum.is_out_of_reach())
}

/// Whether a layer has a channel whose weights times 255, and bias, exceed 2^31 in magnitude.
fn may_overflow(graph: &Graph) -> bool {
    graph.nodes().any(|(_, node)| magnitude(graph, node).is_some_and(|magnitude| magnitude >= 1 << 31))
}

/// The greatest `255 * sum |w| + |b|` of a layer's channels; none for other nodes.
fn magnitude(graph: &Graph, node: &Node) -> Option<i64> {
    let axis = match &node.op {
        Op::Conv(_) => 0,
        Op::Gemm(attributes) => usize::from(!attributes.trans_b),
        _ => return None,
    };
    let behind = |slot: usize| Some(graph.producer(node.input(slot)?)?.1);
    let weights = graph.constant_operand(behind(1)?, 0)?;
    let zero_point = graph.constant_operand(behind(1)?, 2)?.to_i64_vec()?[0];
    let inner: usize = weights.shape()[axis + 1..].iter().product();
    let mut sums = vec![0; weights.shape()[axis]];
    let channels = sums.len();
    for (index, weight) in weights.to_i64_vec()?.into_iter().enumerate() {
        sums[index / inner % channels] += 255 * (weight - zero_point).abs();
    }
    if let Some(biases) = behind(2).and_then(|bias| graph.constant_operand(bias, 0)?.to_i64_vec()) {
        for (sum, bias) in sums.iter_mut().zip(biases) {
            *sum += bias.abs();
        }
    }
    sums.into_iter().max()
}

/// Whether the last layer has a weight scale for each channel.
fn has_logit_scales(graph: &Graph) -> bool {
    let last = graph.nodes().rev().find(|(_, node)| matches!(node.op, Op::Conv(_) | Op::Gemm(_)));
    let weights = last.and_then(|(_, node)| graph.producer(node.input(1)?)).map(|(_, node)| node);
    let scales = weights.and_then(|node| graph.constant_operand(node, 1)).map(Tensor::len);
    scales.is_some_and(|scales| scales > 1)
}
