//! Cross-layer equalization: brings the channels between two layers to like ranges of weights.
//!
//! One weight scale for a whole layer is wasted on a channel whose weights are far smaller than
//! those of another. Between two layers the scale of a channel is free: for any `s_i > 0` and a
//! positively homogeneous function `f`, `f(s x) = s f(x)`,
//!
//! ```text
//! y_i = sum_j W2_ji f(W1_i x + b1_i) = sum_j (W2_ji s_i) f((W1_i / s_i) x + b1_i / s_i)
//! s_i = sqrt(r1_i / r2_i),    r1_i = max |W1_i|,  r2_i = max_j |W2_ji|
//! ```
//!
//! after which both layers have the range `sqrt(r1_i r2_i)` in the channel, which is optimal for
//! one scale a layer (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and
//! Bias Correction", arXiv 1906.04721, section 4.1, equations 5 to 11; appendix A). Pairs are gone through
//! again until nothing changes, as a layer is the second of one pair and the first of the next.
//!
//! Between the two may lie Relu, LeakyRelu, poolings and the flattening of channels; each value has
//! one reader and is no output. Relu6 and other functions are not homogeneous and end a pair. The
//! function of the network stays the same in real numbers; in f32 each weight is rounded once.

use std::collections::BTreeMap;

use onnx2int_graph::pointwise::known_tensor;
use onnx2int_graph::{Activation, Graph, GraphEditor, Node, NodeId, Op, Tensor, ValueId};

use crate::CalibrationError;
use crate::plan::{Layer, Plan};

/// Rounds over all pairs; a chain of layers settles in far fewer.
const ROUNDS: usize = 50;

/// A round that changes no channel by more than this part is the last.
const SETTLED: f64 = 1e-4;

/// A channel whose weights are below this part of its layer's largest is left alone: at 8 bits it is
/// dead, and its scale would only make its bias large.
const LIVE: f64 = 1.0 / 65_536.0;

/// The graph with equalized weights, of the same function; and how many pairs of layers were changed.
///
/// # Errors
/// Weights that are not finite.
pub(crate) fn equalize(graph: &Graph, plan: &Plan) -> Result<(Graph, usize), CalibrationError> {
    let pairs: Vec<Pair> = plan.layers.values().filter_map(|first| Pair::find(graph, plan, first)).collect();
    let mut constants = Constants { graph, of: BTreeMap::new() };
    for _ in 0..ROUNDS {
        let mut change = 0.0_f64;
        for pair in &pairs {
            change = change.max(pair.equalize(&mut constants)?);
        }
        if change < SETTLED {
            break;
        }
    }
    let mut editor = GraphEditor::from(graph.clone());
    for ((node, slot), values) in constants.of {
        // A constant of its own: another layer may read the same one.
        let operand = graph.operand(graph.node(node), slot).expect("it was read");
        let shape = operand.ty.fixed_shape().expect("constants have fixed shapes");
        #[expect(clippy::cast_possible_truncation, reason = "weights are stored as f32")]
        let values = values.into_iter().map(|value| value as f32).collect();
        let tensor = Tensor::from_vec(&shape, values).expect("as many as before");
        let name = format!("{}_equalized", operand.name);
        let constant = editor.add_fresh_constant(&name, tensor)?;
        editor.set_input(node, slot, Some(constant));
    }
    Ok((editor.finish()?, pairs.len()))
}

/// Two layers, with nothing between them that would not scale with its input.
struct Pair {
    first: Layer,
    second: NodeId,
    channels: usize,
    /// Inputs of the second layer that one channel of the first makes: above 1 where it is flattened.
    elements: usize,
}

/// The weights and biases that pairs read, in f64, by layer and operand.
struct Constants<'g> {
    graph: &'g Graph,
    of: BTreeMap<(NodeId, usize), Vec<f64>>,
}

impl Constants<'_> {
    /// An operand's elements; nothing where a bias is left out.
    fn get(&mut self, node: NodeId, slot: usize) -> Result<Option<&mut Vec<f64>>, CalibrationError> {
        let Some(value) = self.graph.node(node).input(slot) else { return Ok(None) };
        if !self.of.contains_key(&(node, slot)) {
            let tensor = known_tensor(self.graph, value).expect("the plan checked that it is constant");
            let values = tensor.as_slice::<f32>().expect("a float layer has float constants");
            if !values.iter().all(|value| value.is_finite()) {
                return Err(CalibrationError::WeightsNotFinite {
                    tensor: self.graph.value(value).name.clone(),
                    node: self.graph.node(node).name.clone(),
                });
            }
            self.of.insert((node, slot), values.iter().map(|&value| f64::from(value)).collect());
        }
        Ok(self.of.get_mut(&(node, slot)))
    }
}

impl Pair {
    /// The layer behind a layer, if the channels between them can be scaled.
    fn find(graph: &Graph, plan: &Plan, first: &Layer) -> Option<Self> {
        let mut value = graph.node(first.node).output;
        let shape = &graph.value(value).ty.shape;
        let channels = shape.get(1)?.fixed()?;
        // The rows of a matrix product of higher rank are not channels.
        let is_matrix = !matches!(graph.node(first.node).op, Op::Conv(_));
        if is_matrix && shape.len() != 2 {
            return None;
        }
        loop {
            let (reader, slot) = only_reader(graph, value)?;
            let node = graph.node(reader);
            if slot != 0 {
                return None;
            }
            if plan.layers.contains_key(&reader) {
                let inputs = graph.value(value).ty.shape.get(1)?.fixed()?;
                let matrix = !matches!(node.op, Op::Conv(_));
                if matrix && graph.value(value).ty.rank() != 2 || inputs % channels != 0 {
                    return None;
                }
                return Some(Self { first: *first, second: reader, channels, elements: inputs / channels });
            }
            if !(is_homogeneous(&node.op) || flattens(graph, node)) {
                return None;
            }
            value = node.output;
        }
    }

    /// Scales the channels; gives the largest part by which one was changed.
    fn equalize(&self, constants: &mut Constants<'_>) -> Result<f64, CalibrationError> {
        let graph = constants.graph;
        let shape = |node: NodeId| {
            let weights = graph.operand(graph.node(node), 1).and_then(|value| value.ty.fixed_shape());
            weights.expect("the plan checked that weights are constant")
        };
        let (first, second) = (shape(self.first.node), shape(self.second));
        let output_of = axis_index(&first, self.first.channel_axis);
        let input_of = self.input_channel(graph.node(self.second), &second);
        let ranges = |values: &[f64], channel_of: &dyn Fn(usize) -> usize| {
            let mut ranges = vec![0.0_f64; self.channels];
            for (index, value) in values.iter().enumerate() {
                let range = &mut ranges[channel_of(index)];
                *range = range.max(value.abs());
            }
            ranges
        };
        let weights = "a layer has weights";
        let r1 = ranges(constants.get(self.first.node, 1)?.expect(weights), &output_of);
        let r2 = ranges(constants.get(self.second, 1)?.expect(weights), &input_of);
        let largest = |ranges: &[f64]| ranges.iter().copied().fold(0.0, f64::max);
        let (live1, live2) = (LIVE * largest(&r1), LIVE * largest(&r2));
        let scales: Vec<f64> = r1
            .iter()
            .zip(&r2)
            .map(|(&r1, &r2)| if r1 > live1 && r2 > live2 { (r1 / r2).sqrt() } else { 1.0 })
            .collect();
        for (index, value) in constants.get(self.first.node, 1)?.expect(weights).iter_mut().enumerate() {
            *value /= scales[output_of(index)];
        }
        for (value, scale) in constants.get(self.first.node, 2)?.into_iter().flatten().zip(&scales) {
            *value /= scale;
        }
        for (index, value) in constants.get(self.second, 1)?.expect(weights).iter_mut().enumerate() {
            *value *= scales[input_of(index)];
        }
        Ok(scales.iter().map(|scale| (scale - 1.0).abs()).fold(0.0, f64::max))
    }

    /// From the position of a weight of the second layer to the channel that it reads.
    fn input_channel(&self, node: &Node, shape: &[usize]) -> impl Fn(usize) -> usize + use<> {
        let axis = match &node.op {
            Op::Gemm(attributes) if !attributes.trans_b => 0,
            Op::MatMul => 0,
            _ => 1,
        };
        // Of a convolution in groups, a filter has the inputs of its own group only.
        let (groups, filters) = match &node.op {
            Op::Conv(attributes) => (attributes.group, shape[0]),
            _ => (1, 1),
        };
        let elements = self.elements;
        let (position, filter_of) = (axis_index(shape, axis), axis_index(shape, 0));
        let inputs_of_group = shape[axis];
        move |index| {
            let group = if groups == 1 { 0 } else { filter_of(index) / (filters / groups) };
            (group * inputs_of_group + position(index)) / elements
        }
    }
}

/// From the position of an element to its position along an axis.
fn axis_index(shape: &[usize], axis: usize) -> impl Fn(usize) -> usize + use<> {
    let (inner, extent): (usize, usize) = (shape[axis + 1..].iter().product(), shape[axis]);
    move |index| index / inner % extent
}

fn only_reader(graph: &Graph, value: ValueId) -> Option<(NodeId, usize)> {
    let mut readers = graph.consumers(value);
    let reader = readers.next()?;
    (readers.next().is_none() && !graph.outputs().contains(&value)).then_some(reader)
}

/// Whether `f(s x) = s f(x)` for a positive `s` in each channel, and channels stay where they are.
fn is_homogeneous(op: &Op) -> bool {
    matches!(
        op,
        Op::Relu
            | Op::Activation(Activation::LeakyRelu { .. })
            | Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalAveragePool
            | Op::Identity
            | Op::Dropout
    )
}

/// Whether a node makes `[N, C * spatial]` of `[N, C, spatial...]`: a channel's elements stay together.
fn flattens(graph: &Graph, node: &Node) -> bool {
    if !matches!(node.op, Op::Flatten { .. } | Op::Reshape { .. }) {
        return false;
    }
    let (Some(from), to) = (graph.operand(node, 0), &graph.value(node.output).ty) else { return false };
    let extents: Option<Vec<usize>> = from.ty.shape.iter().skip(1).map(|dim| dim.fixed()).collect();
    to.rank() == 2
        && from.ty.shape.first() == to.shape.first()
        && extents.is_some_and(|extents| to.shape[1].fixed() == Some(extents.iter().product()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use onnx2int_graph::verify;
    use proptest::prelude::*;

    use super::*;
    use crate::Placement;
    use crate::plan::plan;

    /// A convolution, a depthwise one, one in two groups behind a pooling, and two linear layers.
    fn network(weights: &[f32], between: &str) -> Graph {
        let cycle: Vec<String> = weights.iter().map(|weight| format!("{weight:?}")).collect();
        let cycle = format!("cycle [{}]", cycle.join(", "));
        let text = format!(
            "in    %input: f32[N,1,6,6]
             const %w1: f32[4,1,3,3] = {cycle}
             const %b1: f32[4] = [0.5, -0.25, 0.0, 2.0]
             const %w2: f32[4,1,3,3] = {cycle}
             const %w3: f32[6,2,1,1] = {cycle}
             const %b3: f32[6] = [0.5, -0.25, 0.0, 2.0, 1.0, -1.0]
             const %w4: f32[5,24] = {cycle}
             const %b4: f32[5] = [0.5, -0.25, 0.0, 2.0, 1.0]
             const %w5: f32[5,3] = {cycle}
             %conv: f32[N,4,6,6] = Conv(%input, %w1, %b1) pads=[1,1,1,1]
             %relu: f32[N,4,6,6] = {between}
             %depthwise: f32[N,4,4,4] = Conv(%relu, %w2) group=4
             %leaky: f32[N,4,4,4] = LeakyRelu(%depthwise) alpha=0.25
             %pool: f32[N,4,2,2] = MaxPool(%leaky) kernel_shape=[2,2] strides=[2,2]
             %groups: f32[N,6,2,2] = Conv(%pool, %w3, %b3) group=2
             %flatten: f32[N,24] = Flatten(%groups)
             %fc: f32[N,5] = Gemm(%flatten, %w4, %b4) transB=1
             %relu4: f32[N,5] = Relu(%fc)
             %logits: f32[N,3] = MatMul(%relu4, %w5)
             out %logits"
        );
        Graph::from_text(&text).unwrap()
    }

    fn run(graph: &Graph, pixels: &[f32]) -> Vec<f32> {
        let input = Tensor::from_vec(&[1, 1, 6, 6], pixels.to_vec()).unwrap();
        let outputs = onnx2int_interpreter::run(verify(graph).unwrap(), &[input]).unwrap();
        outputs[0].as_slice::<f32>().unwrap().to_vec()
    }

    fn weights(graph: &Graph, name: &str) -> Vec<f32> {
        let node = graph.node(graph.node_by_name(name).unwrap());
        graph.constant_operand(node, 1).unwrap().as_slice::<f32>().unwrap().to_vec()
    }

    #[test]
    fn both_sides_of_a_pair_get_the_same_ranges() {
        let graph = network(&[0.5, -2.0, 0.01, 30.0, 0.125, -0.75, 1.0], "Relu(%conv)");
        let (equalized, pairs) =
            equalize(&graph, &plan(&graph, Placement::Integer, &HashSet::new()).unwrap()).unwrap();
        assert_eq!(pairs, 4);
        let range = |values: &[f32]| values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let (fc, logits) = (weights(&equalized, "fc"), weights(&equalized, "logits"));
        for (row, column) in fc.chunks(24).zip(logits.chunks(3)) {
            assert!((range(row) / range(column) - 1.0).abs() < 1e-3, "{row:?} {column:?}");
        }
    }

    #[test]
    fn what_is_not_homogeneous_or_read_twice_ends_a_pair() {
        for between in ["Sigmoid(%conv)", "Add(%conv, %conv)"] {
            let graph = network(&[0.5, -2.0, 0.01, 30.0], between);
            let (equalized, pairs) =
                equalize(&graph, &plan(&graph, Placement::Integer, &HashSet::new()).unwrap()).unwrap();
            assert_eq!(pairs, 3, "{between}");
            assert_eq!(weights(&equalized, "conv"), weights(&graph, "conv"), "{between}");
        }
    }

    #[test]
    fn a_dead_channel_is_left_alone() {
        let mut elements = vec![1.0_f32; 36];
        elements[9..18].fill(0.0);
        elements[18..27].fill(1e-20);
        let graph = network(&elements, "Relu(%conv)");
        let (equalized, _) =
            equalize(&graph, &plan(&graph, Placement::Integer, &HashSet::new()).unwrap()).unwrap();
        assert_eq!(weights(&equalized, "conv")[9..27], weights(&graph, "conv")[9..27]);
    }

    proptest! {
        #[test]
        fn the_function_stays_the_same(
            weights in prop::collection::vec(-3.0f32..3.0, 1..40),
            factors in prop::collection::vec(prop_oneof![Just(0.0f32), 0.001f32..1.0], 1..5),
            pixels in prop::collection::vec(-1.0f32..2.0, 36),
        ) {
            let spread: Vec<f32> =
                weights.iter().enumerate().map(|(i, weight)| weight * factors[i % factors.len()]).collect();
            let graph = network(&spread, "Relu(%conv)");
            let (equalized, _) = equalize(&graph, &plan(&graph, Placement::Integer, &HashSet::new()).unwrap()).unwrap();
            let (before, after) = (run(&graph, &pixels), run(&equalized, &pixels));
            // Logits may cancel: the error is relative to the sum of magnitudes that they are made of.
            let magnitude = before.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
            for (a, b) in before.iter().zip(&after) {
                prop_assert!((a - b).abs() <= 1e-5 * magnitude, "{} {}", a, b);
            }
        }
    }
}
