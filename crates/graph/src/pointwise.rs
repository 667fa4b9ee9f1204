//! Functions of single elements: where the elements of a value come from, through operators that
//! compute each element of the result from the elements at the same place of their operands.

use std::collections::HashSet;

use crate::{Graph, Node, Op, Tensor, Value, ValueId};

/// Whether the operator computes each element of its result from the elements at the same place of
/// its operands, which broadcast, and from constants.
pub const fn is_pointwise(op: &Op) -> bool {
    match op {
        Op::Relu
        | Op::Clip
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Div
        | Op::Max
        | Op::Min
        | Op::PRelu
        | Op::BatchNormalization { .. }
        | Op::Activation(_) => true,
        Op::Conv(_)
        | Op::ConvInteger(_)
        | Op::Gemm(_)
        | Op::MatMul
        | Op::MatMulInteger
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::GlobalAveragePool
        | Op::ReduceMean { .. }
        | Op::QuantizeLinear { .. }
        | Op::DequantizeLinear { .. }
        | Op::Cast { .. }
        | Op::LogSoftmax { .. }
        | Op::Softmax { .. }
        | Op::Flatten { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Gather { .. }
        | Op::Slice
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Pad
        | Op::Identity
        | Op::Dropout
        | Op::Constant(_)
        | Op::Shape { .. }
        | Op::ArgMax { .. } => false,
    }
}

/// A value as a function of others, element by element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cone {
    /// The values that are not constant and that nothing pointwise makes, in the order of operands.
    pub leaves: Vec<ValueId>,
    /// The values between, the function's own among them unless it is a leaf; none is a leaf.
    pub inner: Vec<ValueId>,
}

/// Follows a value upwards through pointwise operators to the values that it is a function of.
///
/// Constants are not leaves, and neither is the `DequantizeLinear` of one. A value for which
/// `is_leaf` holds is not looked behind.
pub fn cone(graph: &Graph, value: ValueId, is_leaf: impl Fn(ValueId) -> bool) -> Cone {
    let mut cone = Cone { leaves: Vec::new(), inner: Vec::new() };
    let mut seen = HashSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if !seen.insert(value) || is_known(graph, value) {
            continue;
        }
        match graph.producer(value) {
            Some((_, node)) if is_pointwise(&node.op) && !is_leaf(value) => {
                cone.inner.push(value);
                open.extend(node.inputs.iter().rev().filter_map(|input| *input));
            }
            _ => cone.leaves.push(value),
        }
    }
    cone
}

/// Whether a value is constant, or the `DequantizeLinear` of a constant.
pub fn is_known(graph: &Graph, value: ValueId) -> bool {
    known_tensor(graph, value).is_some()
        || graph.producer(value).is_some_and(|(_, node)| {
            matches!(node.op, Op::DequantizeLinear { .. })
                && node.input(0).is_some_and(|integers| known_tensor(graph, integers).is_some())
        })
}

/// The tensor of a constant, or of a `Constant` node.
pub fn known_tensor(graph: &Graph, value: ValueId) -> Option<&Tensor> {
    match graph.producer(value) {
        Some((_, Node { op: Op::Constant(tensor), .. })) => Some(tensor),
        Some(_) => None,
        None => Value::constant(graph.value(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_followed_to_their_leaves() {
        let graph = Graph::from_text(
            "in %x: f32[N,4], %y: f32[N,4]
             const %w: i8[4] = [1, 2, 3, 4]
             %wd = DequantizeLinear(%w, 0.5, 0i8)
             %a = Mul(%x, %wd)
             %b = Relu(%a)
             %c = Mul(%x, %b)
             %d = Add(%c, %y)
             %f = Flatten(%d)
             %g = Relu(%f)
             out %g",
        )
        .unwrap();
        let value = |name| graph.value_by_name(name).unwrap();
        let of = |name, leaf: &str| {
            let cone = cone(&graph, value(name), |id| graph.value(id).name == leaf);
            let names = |ids: &[ValueId]| -> Vec<String> {
                ids.iter().map(|&id| graph.value(id).name.clone()).collect()
            };
            (names(&cone.leaves), names(&cone.inner))
        };
        let expect = |leaves: &[&str], inner: &[&str]| {
            let owned =
                |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
            (owned(leaves), owned(inner))
        };
        assert_eq!(of("c", ""), expect(&["x"], &["c", "b", "a"]));
        assert_eq!(of("d", ""), expect(&["x", "y"], &["d", "c", "b", "a"]));
        assert_eq!(of("d", "c"), expect(&["c", "y"], &["d"]));
        assert_eq!(of("g", ""), expect(&["f"], &["g"]));
        assert_eq!(of("x", ""), expect(&["x"], &[]));
        assert!(is_known(&graph, value("wd")) && !is_known(&graph, value("x")));
    }
}
