//! Bounds, extremes and witnesses of random layers, against the interpreter on every extreme input.

#![expect(clippy::unwrap_used, reason = "a test may stop where its own layers are wrong")]

use onnx2int_certificate::LayerWitnesses;
use onnx2int_graph::range::{self, LayerSums, Side};
use onnx2int_graph::{Graph, NodeId, Tensor, verify};
use onnx2int_interpreter::{run, run_observed};
use proptest::prelude::*;

/// A network of one clipped byte tensor and one layer on it.
#[derive(Clone, Debug)]
struct Layer {
    group: usize,
    channels_per_group: usize,
    filters_per_group: usize,
    extent: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: (usize, usize),
    weights: Vec<i8>,
    zero_point: u8,
    /// The operand's range: between a constant for Max and one for Min; the whole type if none.
    clip: Option<(u8, u8)>,
    is_product: bool,
}

fn weight() -> impl Strategy<Value = i8> {
    prop_oneof![3 => any::<i8>(), 1 => Just(0), 1 => prop_oneof![Just(-128), Just(127)]]
}

fn layer() -> impl Strategy<Value = Layer> {
    let geometry = (1..3_usize, 1..3_usize, 1..3_usize, 1..4_usize, 1..4_usize, 1..3_usize, 1..3_usize);
    let clip =
        prop_oneof![Just(None), (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Some((a.min(b), a.max(b))))];
    (
        geometry,
        (0..3_usize, 0..3_usize),
        prop::collection::vec(weight(), 24),
        any::<u8>(),
        clip,
        any::<bool>(),
    )
        .prop_map(|(geometry, pads, weights, zero_point, clip, is_product)| {
            let (group, channels_per_group, filters_per_group, extent, kernel, stride, dilation) = geometry;
            Layer {
                group,
                channels_per_group,
                filters_per_group,
                extent,
                kernel,
                stride,
                dilation,
                pads,
                weights,
                zero_point,
                clip,
                is_product,
            }
        })
        .prop_filter("a window that fits into the padded input", |layer| {
            layer.is_product
                || (layer.kernel - 1) * layer.dilation < layer.extent + layer.pads.0 + layer.pads.1
        })
}

impl Layer {
    fn graph(&self) -> Graph {
        parse(&format!("{}\nout %y", self.text()))
    }

    /// The layer with everything that may follow one, and every tensor an output.
    fn followed(&self) -> Graph {
        let filters = self.group * self.filters_per_group;
        let constant = |name: &str, number: &dyn Fn(i32) -> i32| {
            let numbers: Vec<String> =
                (0..filters).map(|filter| number(self.weights[filter].into()).to_string()).collect();
            let shape = if self.is_product { format!("1,{filters}") } else { format!("1,{filters},1") };
            format!("const %{name}: i32[{shape}] = [{}]", numbers.join(", "))
        };
        let constants = [
            constant("bias", &|weight| weight * 100),
            constant("factor", &|weight| weight % 4),
            constant("least", &|weight| (weight % 7).max(0)),
            constant("most", &|weight| 127 + weight),
        ];
        let (pool, output) = match self.is_product {
            true => ("%p = Identity(%bytes)", "%f = Identity(%p)"),
            false => ("%p = MaxPool(%bytes) kernel_shape=[1]", "%f = Flatten(%p)"),
        };
        parse(&format!(
            "{}\n{}
            %a = Add(%y, %bias)
            %b = Mul(%a, %factor)
            %c = Sub(100i32, %b)
            %d = Max(%c, %least)
            %e = Div(%d, 3i32)
            %g = Min(%e, %most)
            %h = Min(%g, 255i32)
            %r = Relu(%h)
            %bytes = Cast(%r) to=u8
            {pool}
            {output}
            out %f",
            self.text(),
            constants.join("\n")
        ))
    }

    fn text(&self) -> String {
        let channels = self.group * self.channels_per_group;
        let filters = self.group * self.filters_per_group;
        let list = |count: usize| {
            let weights: Vec<String> =
                (0..count).map(|i| self.weights[i % self.weights.len()].to_string()).collect();
            weights.join(", ")
        };
        let (shape, weights, node) = if self.is_product {
            let inner = channels * self.extent;
            let weights = format!("const %w: i8[{inner},{filters}] = [{}]", list(inner * filters));
            let node = format!("%y = MatMulInteger(%q, %w, {}u8, 0i8)", self.zero_point);
            (format!("N,{inner}"), weights, node)
        } else {
            let count = filters * self.channels_per_group * self.kernel;
            let weights = format!(
                "const %w: i8[{filters},{},{}] = [{}]",
                self.channels_per_group,
                self.kernel,
                list(count)
            );
            let node = format!(
                "%y = ConvInteger(%q, %w, {}u8, 0i8) group={} strides=[{}] dilations=[{}] pads=[{},{}]",
                self.zero_point, self.group, self.stride, self.dilation, self.pads.0, self.pads.1
            );
            (format!("N,{channels},{}", self.extent), weights, node)
        };
        let clip = match self.clip {
            None => "%q = Flatten(%x) axis=1".to_owned(),
            Some((low, high)) => format!(
                "%wide = Cast(%x) to=i32\n%low = Max(%wide, {low}i32)\n%high = Min(%low, {high}i32)\n%q = Cast(%high) to=u8"
            ),
        };
        let clip = if self.clip.is_none() && !self.is_product { "%q = Identity(%x)" } else { &clip };
        format!("in %x: u8[{shape}]\n{weights}\n{clip}\n{node}")
    }
}

fn parse(text: &str) -> Graph {
    Graph::from_text(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The image's extents.
fn extents(graph: &Graph) -> Vec<usize> {
    let shape = &graph.value(graph.inputs()[0]).ty.shape;
    shape[1..].iter().map(|dim| dim.fixed().unwrap()).collect()
}

fn layer_of(graph: &Graph) -> NodeId {
    graph.nodes().find(|(_, node)| node.op.is_integer_layer()).unwrap().0
}

/// Every combination of the two ends of the operand's range, as one batch; sums of products are
/// greatest and least at such inputs.
fn corners(low: u8, high: u8, size: usize) -> Vec<u8> {
    let images = 0..1_u32 << size;
    images
        .flat_map(|image| (0..size).map(move |bit| if image >> bit & 1 == 0 { low } else { high }))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// The extremes are those of a search over all inputs that can be extreme, and a bound is called
    /// attained exactly where that search meets it.
    #[test]
    fn extremes_and_claims_match_a_search_over_all_inputs(layer in layer()) {
        let graph = layer.graph();
        let verified = verify(&graph).unwrap();
        let ranges = range::analyze(verified);
        let id = layer_of(&graph);
        let extremes = LayerSums::of(&graph, &ranges, graph.node(id)).unwrap().extremes();
        let output = graph.node(id).output;
        let claims = &range::attained(verified, &ranges)[output.index()].clone().unwrap().channels;

        let size = layer.group * layer.channels_per_group * layer.extent;
        let (low, high) = layer.clip.unwrap_or((0, 255));
        let shape = extents(&graph);
        let batch = [&[1 << size], shape.as_slice()].concat();
        let sums = run(verified, &[Tensor::from_vec(&batch, corners(low, high, size)).unwrap()]).unwrap().remove(0);
        let filters = sums.shape()[1];
        let positions: usize = sums.shape()[2..].iter().product();
        let elements = sums.to_i64_vec().unwrap();
        let bounds = ranges.get(output).unwrap();
        for filter in 0..filters {
            let of_filter = || elements.iter().enumerate().filter(|(i, _)| i / positions % filters == filter).map(|(_, &sum)| sum);
            let found = (of_filter().min().unwrap(), of_filter().max().unwrap());
            let bound = bounds.channel(filter);
            prop_assert!(bound.0 <= found.0 && found.1 <= bound.1, "{found:?} leaves {bound:?}");
            for side in Side::BOTH {
                prop_assert_eq!(extremes[filter][side as usize].value, side.of(found), "filter {}", filter);
                let claim = claims[filter][side as usize];
                prop_assert_eq!(claim.is_claimed(), side.of(found) == side.of(bound), "{}", claim.name());
            }
        }
    }

    /// Witnesses meet their extremes in the interpreter, whose arithmetic is checked.
    #[test]
    fn witnesses_meet_their_extremes(layer in layer()) {
        let graph = layer.graph();
        let verified = verify(&graph).unwrap();
        let ranges = range::analyze(verified);
        let attained = range::attained(verified, &ranges);
        let witnesses = LayerWitnesses::of(verified, &ranges, &attained, layer_of(&graph)).unwrap();
        prop_assert_eq!(witnesses.is_network, layer.clip.is_none());
        let extracted = verify(&witnesses.graph).unwrap();
        let sums = run(extracted, std::slice::from_ref(&witnesses.input)).unwrap().remove(0);
        witnesses.check(&sums).unwrap();
        // One unit more or less anywhere is noticed.
        let mut wrong = sums.to_i64_vec().unwrap();
        let start = witnesses.witnesses[0].position[1] * sums.shape()[2..].iter().product::<usize>();
        wrong[start + witnesses.witnesses[0].position.get(2).unwrap_or(&0)] += 1;
        let wrong = Tensor::from_vec(sums.shape(), wrong.iter().map(|&sum| sum as i32).collect()).unwrap();
        prop_assert!(witnesses.check(&wrong).is_err());
    }

    /// What is claimed of the tensors behind a layer on the image is met by some image.
    #[test]
    fn claims_behind_a_layer_are_met(mut layer in layer()) {
        layer.clip = None;
        let graph = layer.followed();
        let verified = verify(&graph).unwrap();
        let ranges = range::analyze(verified);
        let attained = range::attained(verified, &ranges);
        let size = layer.group * layer.channels_per_group * layer.extent;
        let batch = [&[1 << size], extents(&graph).as_slice()].concat();
        let images = Tensor::from_vec(&batch, corners(0, 255, size)).unwrap();
        let mut claimed = 0;
        run_observed(verified, &[images], &mut |id, tensor| {
            let (Some(range), Some(claims)) = (ranges.get(id), &attained[id.index()]) else { return };
            let inner: usize = tensor.shape()[2..].iter().product();
            let elements = tensor.to_i64_vec().unwrap();
            for (channel, (&bound, claims)) in range.bounds.iter().zip(&claims.channels).enumerate() {
                let of_channel = |index: usize| range.axis.is_none() || index / inner % tensor.shape()[1] == channel;
                for side in Side::BOTH.into_iter().filter(|&side| claims[side as usize].is_claimed()) {
                    claimed += 1;
                    let met = elements.iter().enumerate().any(|(i, &e)| of_channel(i) && e == side.of(bound));
                    assert!(met, "{} channel {channel}: {} {bound:?}", graph.value(id).name, side.name());
                }
            }
        })
        .unwrap();
        prop_assert!(claimed >= 2, "the image itself takes every value");
    }

    /// No input takes any tensor of a network out of its bounds.
    #[test]
    fn no_input_leaves_the_bounds(layer in layer(), pixels in prop::collection::vec(any::<u8>(), 60)) {
        let graph = layer.followed();
        let verified = verify(&graph).unwrap();
        let ranges = range::analyze(verified);
        let shape = extents(&graph);
        let size: usize = shape.iter().product();
        let batch = [&[5], shape.as_slice()].concat();
        let images = Tensor::from_vec(&batch, pixels[..5 * size.min(12)].iter().copied().cycle().take(5 * size).collect()).unwrap();
        run_observed(verified, &[images], &mut |id, tensor| {
            let Some(range) = ranges.get(id) else { return };
            let inner: usize = tensor.shape()[2..].iter().product();
            for (index, element) in tensor.to_i64_vec().unwrap().into_iter().enumerate() {
                let (low, high) = range.channel(index / inner % tensor.shape()[1]);
                assert!((low..=high).contains(&element), "{}: {element} leaves [{low}, {high}]", graph.value(id).name);
            }
        })
        .unwrap();
    }
}
