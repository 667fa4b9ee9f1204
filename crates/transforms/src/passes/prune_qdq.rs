//! Removes quantize/dequantize pairs that only surround data movement.
//!
//! A quantizer puts a pair around every operator, also around MaxPool, Flatten and their kin, which
//! take integers as well as floats. The pair right after the activation stays: its scale becomes
//! one per channel when the layer's scales are folded into it, and such a scale cannot follow a
//! Flatten or a Concat.
//!
//! With `d(q) = s (q - z)`, `q` in the range of its type, `Q` the quantizer of the same `s` and `z`,
//! and `m` an operator that moves elements or picks the greatest: `Q(m(d(q))) = m(q)`, because
//! `s (q - z) / s` rounds to `q - z`. So `d(Q(m(d(q)))) = m(d(q))`, bit for bit.
//!
//! ```text
//! in      %q: u8[N,2,4,4]
//! Before  %d: f32[N,2,4,4] = DequantizeLinear(%q, 0.5, 3u8)
//!         %m: f32[N,2,2,2] = MaxPool(%d) kernel_shape=[2,2] strides=[2,2]
//!         %mq: u8[N,2,2,2] = QuantizeLinear(%m, 0.5, 3u8)
//!         %md: f32[N,2,2,2] = DequantizeLinear(%mq, 0.5, 3u8)
//!         %f: f32[N,8] = Flatten(%md)
//! After   %d: f32[N,2,4,4] = DequantizeLinear(%q, 0.5, 3u8)
//!         %m: f32[N,2,2,2] = MaxPool(%d) kernel_shape=[2,2] strides=[2,2]
//!         %f: f32[N,8] = Flatten(%m)
//! out     %f
//! ```
//!
//! A Relu between two pairs of the same parameters (some quantizers write that) loses the pair
//! before it: `Q(max(d(Q(y)), 0)) = Q(max(y, 0))`.
//!
//! ```text
//! in      %y: f32[N,2,4,4]
//! Before  %yq: i8[N,2,4,4] = QuantizeLinear(%y, 0.5, 0i8)
//!         %yd: f32[N,2,4,4] = DequantizeLinear(%yq, 0.5, 0i8)
//!         %r: f32[N,2,4,4] = Relu(%yd)
//!         %rq: i8[N,2,4,4] = QuantizeLinear(%r, 0.5, 0i8)
//!         %rd: f32[N,2,4,4] = DequantizeLinear(%rq, 0.5, 0i8)
//! After   %r: f32[N,2,4,4] = Relu(%y)
//!         %rq: i8[N,2,4,4] = QuantizeLinear(%r, 0.5, 0i8)
//!         %rd: f32[N,2,4,4] = DequantizeLinear(%rq, 0.5, 0i8)
//! out     %rd
//! ```
//!
//! # Equivalence
//! Exact. A graph without such pairs is left as it is.
//!
//! # Refuses
//! A pair whose parameters are not those of the pair before it (`pair-parameters`): removing it
//! would change the function.

use onnx2int_graph::{Graph, GraphEditor, Node, NodeId, Op, Stage, Verified, movement};

use crate::edits::{bypass, rewrite_each};
use crate::qdq::Parameters;
use crate::{Executor, RewriteLog, Transform, TransformError};

/// The `prune-qdq` transform; see the file's head.
#[derive(Clone, Copy, Debug, Default)]
pub struct PruneQdq;

impl Transform for PruneQdq {
    fn makes(&self) -> Stage {
        Stage::Pruned
    }

    /// A network of layers alone has no such pair; the stage's rules notice one that is left.
    fn noop_allowed(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        graph: Verified<'_>,
        _executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError> {
        rewrite_each(&graph, find_sites(&graph)?, |editor, site| rewrite_site(editor, &site, log))
    }
}

/// A `QuantizeLinear` and a `DequantizeLinear` behind it that together change nothing.
struct UselessPair {
    quantize: NodeId,
    dequantize: NodeId,
    /// What the pair stands next to.
    beside: String,
}

fn find_sites(graph: &Graph) -> Result<Vec<UselessPair>, TransformError> {
    let mut sites = Vec::new();
    for (dequantize, dequantize_node) in graph.nodes() {
        let Some((quantize, quantize_node)) = pair(graph, dequantize_node) else { continue };
        let parameters = Parameters::of(graph, quantize_node)?;
        let beside = match before_pair(graph, quantize_node) {
            Before::Moved(node, origin) => {
                same_parameters(graph, quantize_node, &parameters, origin)?;
                node.name.clone()
            }
            Before::Computed => match relu_behind(graph, dequantize_node) {
                Some((relu, next)) => {
                    same_parameters(graph, next, &parameters, quantize_node)?;
                    relu.name.clone()
                }
                None => continue,
            },
        };
        same_parameters(graph, dequantize_node, &parameters, quantize_node)?;
        sites.push(UselessPair { quantize, dequantize, beside });
    }
    Ok(sites)
}

/// The quantizer whose result this dequantizes, if it is a `DequantizeLinear` of such.
fn pair<'g>(graph: &'g Graph, node: &Node) -> Option<(NodeId, &'g Node)> {
    if !matches!(node.op, Op::DequantizeLinear { .. }) {
        return None;
    }
    let quantizer = node.input(0).and_then(|value| graph.producer(value))?;
    matches!(quantizer.1.op, Op::QuantizeLinear { .. }).then_some(quantizer)
}

/// What stands before a pair.
enum Before<'g> {
    /// Only data movement up to another `DequantizeLinear`: the node right before the pair, and
    /// that one.
    Moved(&'g Node, &'g Node),
    /// Something that makes new numbers: the pair stays.
    Computed,
}

fn before_pair<'g>(graph: &'g Graph, quantize: &Node) -> Before<'g> {
    let input = quantize.input(0).expect("the operator has a first operand");
    let Some((_, direct)) = graph.producer(input) else { return Before::Computed };
    let mut dequantizers = Vec::new();
    for origin in movement::origins(graph, input) {
        match graph.producer(origin) {
            Some((_, node)) if matches!(node.op, Op::DequantizeLinear { .. }) => dequantizers.push(node),
            _ => return Before::Computed,
        }
    }
    // Several come from a Concat; they are all alike, or `find_sites` refuses the first that is not.
    let differing = dequantizers.iter().find(|node| {
        let parameters = |node| Parameters::of(graph, node).ok();
        parameters(node) != parameters(quantize)
    });
    match differing.or(dequantizers.first()) {
        Some(&origin) => Before::Moved(direct, origin),
        None => Before::Computed,
    }
}

/// The Relu that alone reads a value, with the quantizer that alone reads the Relu.
fn relu_behind<'g>(graph: &'g Graph, dequantize: &Node) -> Option<(&'g Node, &'g Node)> {
    let only_reader = |node: &Node| {
        let mut readers = graph.consumers(node.output);
        match (readers.next(), readers.next(), graph.outputs().contains(&node.output)) {
            (Some((reader, 0)), None, false) => Some(graph.node(reader)),
            _ => None,
        }
    };
    let relu = only_reader(dequantize).filter(|node| matches!(node.op, Op::Relu))?;
    let next = only_reader(relu).filter(|node| matches!(node.op, Op::QuantizeLinear { .. }))?;
    Some((relu, next))
}

fn same_parameters(
    graph: &Graph,
    node: &Node,
    parameters: &Parameters,
    other: &Node,
) -> Result<(), TransformError> {
    let (own, others) = (Parameters::of(graph, node)?, Parameters::of(graph, other)?);
    if own == others && own == *parameters && own.per_tensor().is_some() {
        return Ok(());
    }
    let show = |parameters: &Parameters| match parameters.per_tensor() {
        Some((scale, zero_point)) => format!("{} scale {scale}, zero point {zero_point}", parameters.dtype),
        None => format!("{} with {} scales", parameters.dtype, parameters.scales.len()),
    };
    let reason = format!(
        "expected the one scale and zero point of {:?} ({}), found {}; quantize both with the same parameters",
        other.name,
        show(&others),
        show(&own),
    );
    Err(TransformError::refused("pair-parameters", &node.name, reason))
}

fn rewrite_site(
    editor: &mut GraphEditor,
    site: &UselessPair,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    // Read anew: an earlier site may have taken away what stood before this pair.
    let graph = editor.graph();
    let (quantize, dequantize) = (graph.node(site.quantize), graph.node(site.dequantize));
    let change = format!("pair {:?}, {:?} removed", quantize.name, dequantize.name);
    let (old, new) = (dequantize.output, quantize.input(0).expect("the operator has a first operand"));
    bypass(editor, old, new)?;
    log.changed(&site.beside, change);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::PruneQdq;
    use crate::testing::{check, check_refused, check_unchanged};

    #[test]
    fn a_row_of_pairs_goes_and_the_first_stays() {
        let sites = check(
            &PruneQdq,
            "in %y: f32[N,2,4,4]
             %r = Relu(%y)
             %q0 = QuantizeLinear(%r, 0.1, 0u8)
             %d0 = DequantizeLinear(%q0, 0.1, 0u8)
             %m = MaxPool(%d0) kernel_shape=[2,2] strides=[2,2] @pool
             %q1 = QuantizeLinear(%m, 0.1, 0u8)
             %d1 = DequantizeLinear(%q1, 0.1, 0u8)
             %q2 = QuantizeLinear(%d1, 0.1, 0u8)
             %d2 = DequantizeLinear(%q2, 0.1, 0u8)
             %f = Flatten(%d2)
             %q3 = QuantizeLinear(%f, 0.1, 0u8)
             %d3 = DequantizeLinear(%q3, 0.1, 0u8)
             out %d3",
            "in %y: f32[N,2,4,4]
             %r = Relu(%y)
             %q0 = QuantizeLinear(%r, 0.1, 0u8)
             %d0 = DequantizeLinear(%q0, 0.1, 0u8)
             %m = MaxPool(%d0) kernel_shape=[2,2] strides=[2,2] @pool
             %d3 = Flatten(%m) @f
             out %d3",
        );
        assert_eq!(sites.len(), 3);
        assert_eq!(sites[0], "pool: pair \"q1\", \"d1\" removed");
    }

    #[test]
    fn other_readers_keep_the_quantized_value() {
        check(
            &PruneQdq,
            "in %q: u8[N,2,4,4]
             %d = DequantizeLinear(%q, 0.1, 7u8)
             %f = Flatten(%d)
             %fq = QuantizeLinear(%f, 0.1, 7u8)
             %fd = DequantizeLinear(%fq, 0.1, 7u8)
             %r = Relu(%fd)
             out %r, %fq",
            "in %q: u8[N,2,4,4]
             %d = DequantizeLinear(%q, 0.1, 7u8)
             %f = Flatten(%d)
             %fq = QuantizeLinear(%f, 0.1, 7u8)
             %r = Relu(%f)
             out %r, %fq",
        );
    }

    #[test]
    fn branches_of_one_scale_lose_the_pair_behind_their_concat() {
        check(
            &PruneQdq,
            "in %p: u8[N,2], %q: u8[N,3]
             %pd = DequantizeLinear(%p, 0.1, 7u8)
             %qd = DequantizeLinear(%q, 0.1, 7u8)
             %c = Concat(%pd, %qd) axis=1
             %cq = QuantizeLinear(%c, 0.1, 7u8)
             %cd = DequantizeLinear(%cq, 0.1, 7u8)
             %r = Relu(%cd)
             out %r",
            "in %p: u8[N,2], %q: u8[N,3]
             %pd = DequantizeLinear(%p, 0.1, 7u8)
             %qd = DequantizeLinear(%q, 0.1, 7u8)
             %c = Concat(%pd, %qd) axis=1
             %r = Relu(%c)
             out %r",
        );
    }

    #[test]
    fn pairs_behind_a_layer_and_a_lone_quantizer_stay() {
        check_unchanged(
            &PruneQdq,
            "in %x: f32[N,3], %w: f32[3,2]
             %xq = QuantizeLinear(%x, 0.1, 0u8)
             %xd = DequantizeLinear(%xq, 0.1, 0u8)
             %y = Gemm(%xd, %w)
             %yq = QuantizeLinear(%y, 0.3, 0u8)
             %yd = DequantizeLinear(%yq, 0.3, 0u8)
             %f = Flatten(%yd)
             %o = QuantizeLinear(%f, 0.3, 0u8)
             out %o",
        );
    }

    #[test]
    fn a_pair_that_changes_numbers_is_refused() {
        for parameters in ["0.2, 7u8", "0.1, 8u8", "0.1, 7i8"] {
            let graph = format!(
                "in %q: u8[N,2,4,4]
                 %d = DequantizeLinear(%q, 0.1, 7u8)
                 %f = Flatten(%d)
                 %fq = QuantizeLinear(%f, {parameters})
                 %fd = DequantizeLinear(%fq, {parameters})
                 out %fd"
            );
            check_refused(&PruneQdq, &graph, "pair-parameters", "fq");
        }
    }

    #[test]
    fn a_pair_whose_halves_differ_is_refused() {
        check_refused(
            &PruneQdq,
            "in %q: u8[N,2,4,4]
             %d = DequantizeLinear(%q, 0.1, 7u8)
             %f = Flatten(%d)
             %fq = QuantizeLinear(%f, 0.1, 7u8)
             %fd = DequantizeLinear(%fq, 0.3, 7u8)
             out %fd",
            "pair-parameters",
            "fd",
        );
    }

    #[test]
    fn a_relu_between_pairs_of_other_scales_is_refused() {
        check_refused(
            &PruneQdq,
            "in %y: f32[N,2]
             %yq = QuantizeLinear(%y, 0.1, 100u8)
             %yd = DequantizeLinear(%yq, 0.1, 100u8)
             %r = Relu(%yd)
             %rq = QuantizeLinear(%r, 0.05, 0u8)
             %rd = DequantizeLinear(%rq, 0.05, 0u8)
             out %rd",
            "pair-parameters",
            "rq",
        );
    }
}
