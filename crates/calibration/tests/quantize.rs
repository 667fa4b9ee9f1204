//! A small network from float to QDQ form.

#![expect(clippy::unwrap_used, reason = "what a test's own functions cannot do fails the test")]

use onnx2int_calibration::{
    CalibrationError, LogitScales, Method, Overrides, Placement, Quantized, Settings, quantize,
};
use onnx2int_dataset::{Images, Normalization, PIXELS};
use onnx2int_graph::{Graph, Op, Stage, Tensor, verify, verify_stage};

const NETWORK: &str = "
graph small
in    %input: f32[N,1,28,28]
const %conv.weight: f32[3,1,3,3] = cycle [0.5, -0.25, 0.125, -0.75, 1.0]
const %conv.bias: f32[3] = [0.1, -0.2, 0.0]
const %fc.weight: f32[4,147] = cycle [0.03, -0.02, 0.01, 0.05, -0.04, 0.02, -0.03]
const %fc.bias: f32[4] = [0.5, -0.5, 0.25, 0.0]
%conv: f32[N,3,28,28] = Conv(%input, %conv.weight, %conv.bias) pads=[1,1,1,1]
%relu: f32[N,3,28,28] = Relu(%conv)
%pool: f32[N,3,7,7] = MaxPool(%relu) kernel_shape=[4,4] strides=[4,4]
%flatten: f32[N,147] = Flatten(%pool)
%fc: f32[N,4] = Gemm(%flatten, %fc.weight, %fc.bias) transB=1
%log_softmax: f32[N,4] = LogSoftmax(%fc)
out %log_softmax
";

fn network() -> Graph {
    Graph::from_text(NETWORK).unwrap()
}

fn images(count: usize) -> Images {
    let pixels = (0..count * PIXELS).map(|i| ((i * 37) % 251) as u8 * u8::from(i % 5 != 0)).collect();
    Images::new(pixels, vec![0; count]).unwrap()
}

fn settings(per_axis: bool) -> Settings {
    Settings {
        per_axis,
        weight_bits: 8,
        logits: LogitScales::Shared,
        placement: Placement::Integer,
        method: Method::MinMax,
        equalize: false,
        correct_bias: false,
        overrides: Overrides::default(),
        threads: 2,
    }
}

fn quantized(text: &str, per_axis: bool) -> Result<Quantized, CalibrationError> {
    let graph = Graph::from_text(text).unwrap();
    let images = images(45);
    let indices: Vec<usize> = (0..45).collect();
    quantize(verify(&graph).unwrap(), &images, &indices, &Normalization::default(), settings(per_axis))
}

fn run(graph: &Graph, images: &Images) -> Tensor {
    let indices: Vec<usize> = (0..images.len()).collect();
    let pixels = images.gather_normalized(&indices, &Normalization::default());
    let input = Tensor::from_vec(&[images.len(), 1, 28, 28], pixels).unwrap();
    onnx2int_interpreter::run(verify(graph).unwrap(), &[input]).unwrap().remove(0)
}

#[test]
fn the_form_is_that_of_the_quantized_stage() {
    let graph = quantized(NETWORK, true).unwrap().graph;
    verify_stage(&graph, Stage::Quantized).unwrap();
    let count = |wanted: &str| graph.nodes().filter(|(_, node)| node.op.name() == wanted).count();
    assert_eq!(count("Relu"), 0, "the quantizer at zero point 0 implies it");
    // Input, relu, pool, flatten; the logits are not quantized.
    assert_eq!(count("QuantizeLinear"), 4);
    assert_eq!(count("DequantizeLinear"), 4 + 2 + 2);
    let shape = |name: &str| graph.value(graph.value_by_name(name).unwrap()).ty.to_string();
    assert_eq!(shape("conv.weight_scale"), "f32[3]");
    assert_eq!(shape("conv.weight_quantized"), "i8[3,1,3,3]");
    assert_eq!(shape("conv.bias_quantized"), "i32[3]");
    assert_eq!(shape("fc.weight_scale"), "f32[]", "logits share one scale");
    let output = graph.outputs()[0];
    assert!(matches!(graph.producer(output).unwrap().1.op, Op::LogSoftmax { .. }));
    // What moves data reads the parameters of its operand.
    let pool = graph.node(graph.node_by_name("pool_quantize").unwrap());
    let relu = graph.node(graph.node_by_name("relu_quantize").unwrap());
    assert_eq!(pool.inputs[1..], relu.inputs[1..]);
    assert!(graph.value(relu.output).annotation.is_some());
}

#[test]
fn logits_have_scales_of_their_own_where_asked_for() {
    let graph = network();
    let images = images(5);
    let with = |per_axis| {
        let settings = Settings { logits: LogitScales::PerChannel, ..settings(per_axis) };
        let verified = verify(&graph).unwrap();
        let quantized =
            quantize(verified, &images, &[0, 1, 2, 3, 4], &Normalization::default(), settings).unwrap().graph;
        verify_stage(&quantized, Stage::Quantized).unwrap();
        ["fc.weight_scale", "fc.bias_scale"]
            .map(|name| quantized.value(quantized.value_by_name(name).unwrap()).ty.to_string())
    };
    assert_eq!(with(true), ["f32[4]", "f32[4]"]);
    assert_eq!(with(false), ["f32[]", "f32[]"], "one for each layer is asked for");
}

#[test]
fn the_input_range_is_that_of_the_preprocessing() {
    let activations = quantized(NETWORK, true).unwrap().activations;
    let input = &activations[0];
    assert_eq!((input.name.as_str(), input.zero_point), ("input", 33));
    assert!((f64::from(input.scale) * 255.0 * 0.3081 - 1.0).abs() < 1e-6, "{input:?}");
    let names: Vec<_> = activations.iter().map(|activation| activation.name.as_str()).collect();
    assert_eq!(names, ["input", "relu"]);
}

#[test]
fn observed_ranges_are_those_of_the_interpreter() {
    let relu = quantized(NETWORK, true).unwrap().activations.remove(1);
    let graph = network();
    let images = images(45);
    let indices: Vec<usize> = (0..45).collect();
    let pixels = images.gather_normalized(&indices, &Normalization::default());
    let input = Tensor::from_vec(&[45, 1, 28, 28], pixels).unwrap();
    let value = graph.value_by_name("relu").unwrap();
    let mut greatest = f32::NEG_INFINITY;
    onnx2int_interpreter::run_observed(verify(&graph).unwrap(), &[input], &mut |id, tensor| {
        if id == value {
            greatest = tensor.as_slice::<f32>().unwrap().iter().copied().fold(greatest, f32::max);
        }
    })
    .unwrap();
    assert_eq!(relu.least, 0.0);
    assert!((relu.greatest - greatest).abs() <= 1e-5 * greatest, "{} {greatest}", relu.greatest);
}

#[test]
fn the_quantized_network_stays_near_the_float_one() {
    let images = images(6);
    let float = run(&network(), &images);
    for per_axis in [true, false] {
        let graph = quantized(NETWORK, per_axis).unwrap().graph;
        let found = run(&graph, &images);
        for (a, b) in float.as_slice::<f32>().unwrap().iter().zip(found.as_slice::<f32>().unwrap()) {
            assert!((a - b).abs() < 0.1, "{a} {b}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let graph = network();
    let images = images(45);
    let indices: Vec<usize> = (0..45).collect();
    let with = |method, threads| {
        let settings = Settings { method, threads, ..settings(true) };
        quantize(verify(&graph).unwrap(), &images, &indices, &Normalization::default(), settings)
            .unwrap()
            .graph
    };
    let methods = [
        Method::MinMax,
        Method::MovingAverage,
        Method::Percentile(99.0),
        Method::Entropy,
        Method::MeanSquaredError,
    ];
    for method in methods {
        assert_eq!(with(method, 1), with(method, 3), "{method:?}");
    }
}

#[test]
fn a_dead_and_a_near_dead_channel_neither_divide_by_zero_nor_overflow() {
    let weights = "cycle [0.5, -0.25, 0.125, -0.75, 1.0]";
    let mut elements = vec!["0.5"; 9];
    elements.extend(["0.0"; 9]);
    elements.extend(["1e-30"; 9]);
    let text = NETWORK.replacen(weights, &format!("[{}]", elements.join(", ")), 1);
    let graph = quantized(&text, true).unwrap().graph;
    let constant = |name: &str| graph.value(graph.value_by_name(name).unwrap()).constant().unwrap().clone();
    let scales = constant("conv.weight_scale").as_slice::<f32>().unwrap().to_vec();
    assert!(scales.iter().all(|scale| scale.is_normal() && *scale > 0.0), "{scales:?}");
    let biases = constant("conv.bias_quantized").as_slice::<i32>().unwrap().to_vec();
    assert!(biases.iter().all(|bias| bias.abs() <= 1 << 30), "{biases:?}");
}

#[test]
fn all_nodes_without_a_rule_are_named_at_once() {
    let text = NETWORK.replace("%relu: f32[N,3,28,28] = Relu(%conv)", "%relu = Div(%conv, %input)").replace(
        "%flatten: f32[N,147] = Flatten(%pool)",
        "%soft = Softmax(%pool) axis=1\n%flatten: f32[N,147] = Flatten(%soft)",
    );
    let message = quantized(&text, true).unwrap_err().to_string();
    assert!(message.starts_with("2 nodes cannot be quantized"), "{message}");
    assert!(message.contains("\"relu\" (Div)") && message.contains("\"soft\" (Softmax)"), "{message}");
}

#[test]
fn what_is_not_finite_is_named() {
    // Sums that leave f32 show on the data.
    let text = NETWORK.replace("cycle [0.5, -0.25, 0.125, -0.75, 1.0]", "splat 3e38");
    let error = quantized(&text, true).unwrap_err();
    assert!(matches!(&error, CalibrationError::NotFinite { tensor } if tensor == "relu"), "{error}");
    // A Relu hides a NaN; the bias itself does not.
    for (from, to, layer) in [
        ("[0.1, -0.2, 0.0]", "[0.1, nan, 0.0]", "conv"),
        ("[0.5, -0.5, 0.25, 0.0]", "[0.5, inf, 0.25, 0.0]", "fc"),
    ] {
        let error = quantized(&NETWORK.replace(from, to), true).unwrap_err();
        assert!(
            matches!(&error, CalibrationError::WeightsNotFinite { node, .. } if node == layer),
            "{error}"
        );
    }
}

#[test]
fn every_method_stays_within_what_was_seen() {
    let graph = network();
    let images = images(45);
    let indices: Vec<usize> = (0..45).collect();
    let with = |method| {
        let settings = Settings { method, ..settings(true) };
        let verified = verify(&graph).unwrap();
        quantize(verified, &images, &indices, &Normalization::default(), settings).unwrap().activations
    };
    let widest = with(Method::MinMax);
    for method in [Method::MovingAverage, Method::Percentile(95.0), Method::Entropy, Method::MeanSquaredError]
    {
        let chosen = with(method);
        let within = chosen.iter().zip(&widest).all(|(own, whole)| {
            own.least >= whole.least.min(0.0) && own.greatest <= whole.greatest.max(0.0) && own.scale > 0.0
        });
        assert!(within, "{method:?}: {chosen:?} in {widest:?}");
        // The input's range is that of the preprocessing, whatever the method.
        assert_eq!(chosen[0], widest[0]);
    }
    assert!(with(Method::Percentile(95.0))[1].scale < widest[1].scale);
}

/// The mean over images and places of each channel of a layer's output, by the interpreter.
fn channel_means(graph: &Graph, layer: &str, images: &Images) -> Vec<f64> {
    let indices: Vec<usize> = (0..images.len()).collect();
    let pixels = images.gather_normalized(&indices, &Normalization::default());
    let input = Tensor::from_vec(&[images.len(), 1, 28, 28], pixels).unwrap();
    let output = graph.node(graph.node_by_name(layer).unwrap()).output;
    let mut means = Vec::new();
    onnx2int_interpreter::run_observed(verify(graph).unwrap(), &[input], &mut |id, tensor| {
        if id == output {
            let (shape, values) = (tensor.shape(), tensor.as_slice::<f32>().unwrap());
            let places: usize = shape[2..].iter().product();
            means = vec![0.0; shape[1]];
            for (position, value) in values.iter().enumerate() {
                means[position / places % shape[1]] += f64::from(*value) / (shape[0] * places) as f64;
            }
        }
    })
    .unwrap();
    means
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(12))]
    #[test]
    fn corrected_biases_leave_a_smaller_mean_error(
        weights in proptest::collection::vec(-1.0f32..1.0, 7..30), weight_bits in 3u32..=5, per_axis: bool,
        has_bias: bool,
    ) {
        let weights: Vec<String> = weights.iter().map(|weight| format!("{weight:?}")).collect();
        let mut text = NETWORK
            .replace("0.5, -0.25, 0.125, -0.75, 1.0", &weights.join(", "))
            .replace("0.03, -0.02, 0.01, 0.05, -0.04, 0.02, -0.03", &weights.join(", "));
        if !has_bias {
            text = text.replace(", %conv.bias)", ")").replace(", %fc.bias)", ")");
        }
        let graph = Graph::from_text(&text).unwrap();
        let images = images(40);
        let indices: Vec<usize> = (0..40).collect();
        let with = |correct_bias, threads| {
            let settings = Settings { weight_bits, correct_bias, threads, ..settings(per_axis) };
            let verified = verify(&graph).unwrap();
            let quantized = quantize(verified, &images, &indices, &Normalization::default(), settings);
            quantized.unwrap().graph
        };
        let (plain, corrected) = (with(false, 1), with(true, 1));
        verify_stage(&corrected, Stage::Quantized).unwrap();
        proptest::prop_assert_eq!(&corrected, &with(true, 3), "threads change nothing");
        for layer in ["conv", "fc"] {
            let wanted = channel_means(&graph, layer, &images);
            let error = |quantized: &Graph| -> f64 {
                let found = channel_means(quantized, layer, &images);
                found.iter().zip(&wanted).map(|(found, wanted)| (found - wanted).abs()).sum()
            };
            let (before, after) = (error(&plain), error(&corrected));
            // What is left is half a unit of a bias, and codes that float kernels round elsewhere.
            proptest::prop_assert!(after <= 0.05 * before + 1e-3, "{}: {} {}", layer, before, after);
        }
    }
}

#[test]
fn equalization_helps_one_scale_for_channels_that_differ() {
    // Channels of very different ranges, and one scale for all of them: what equalization is for.
    let small: Vec<String> =
        (0..27).map(|i| format!("{}", [1.0, 0.01, 0.1][i / 9] * [0.9, -0.4, 0.7, 0.1][i % 4])).collect();
    let large: Vec<String> = (0..4 * 147)
        .map(|i| format!("{}", [0.01, 1.0, 0.1][i % 147 / 49] * [0.9, -0.4, 0.7, 0.2, -0.8][i % 5]))
        .collect();
    let text = NETWORK
        .replace("cycle [0.5, -0.25, 0.125, -0.75, 1.0]", &format!("[{}]", small.join(", ")))
        .replace("cycle [0.03, -0.02, 0.01, 0.05, -0.04, 0.02, -0.03]", &format!("[{}]", large.join(", ")))
        .replace("out %log_softmax", "out %fc");
    let graph = Graph::from_text(&text).unwrap();
    let images = images(30);
    let indices: Vec<usize> = (0..30).collect();
    let float = run(&graph, &images);
    let error = |equalize| {
        let settings = Settings { weight_bits: 4, equalize, ..settings(false) };
        let verified = verify(&graph).unwrap();
        let quantized =
            quantize(verified, &images, &indices, &Normalization::default(), settings).unwrap().graph;
        verify_stage(&quantized, Stage::Quantized).unwrap();
        let found = run(&quantized, &images);
        let pairs = float.as_slice::<f32>().unwrap().iter().zip(found.as_slice::<f32>().unwrap());
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    let (plain, equalized) = (error(false), error(true));
    assert!(equalized < 0.5 * plain, "{equalized} {plain}");
}

/// Two branches of unlike ranges, an average, and logits.
const BRANCHES: &str = "
in    %input: f32[N,1,28,28]
const %wide.weight: f32[2,1,3,3] = cycle [0.5, -0.25, 0.125, -0.75, 1.0]
const %narrow.weight: f32[2,1,3,3] = cycle [0.05, -0.02, 0.01, -0.07, 0.1]
const %fc.weight: f32[4,196] = cycle [0.03, -0.02, 0.01, 0.05, -0.04, 0.02, -0.03]
%wide: f32[N,2,28,28] = Conv(%input, %wide.weight) pads=[1,1,1,1]
%narrow: f32[N,2,28,28] = Conv(%input, %narrow.weight) pads=[1,1,1,1]
%concat: f32[N,4,28,28] = Concat(%wide, %narrow) axis=1
%average: f32[N,4,7,7] = AveragePool(%concat) kernel_shape=[4,4] strides=[4,4]
%flatten: f32[N,196] = Flatten(%average)
%fc: f32[N,4] = Gemm(%flatten, %fc.weight) transB=1
out %fc
";

#[test]
fn quantizers_are_placed_as_asked_for() {
    let graph = Graph::from_text(BRANCHES).unwrap();
    let images = images(5);
    let scales = |placement| {
        let settings = Settings { placement, ..settings(true) };
        let verified = verify(&graph).unwrap();
        let quantized =
            quantize(verified, &images, &[0, 1, 2, 3, 4], &Normalization::default(), settings).unwrap();
        verify_stage(&quantized.graph, Stage::Quantized).unwrap();
        let graph = quantized.graph;
        // The logits' quantizer stands in front of the output, which keeps its name.
        let names = ["wide", "narrow", "concat", "average", "flatten", "fc"];
        names.map(|name| {
            let quantizer = graph.node(graph.node_by_name(&format!("{name}_quantize"))?);
            graph.constant_operand(quantizer, 1)?.as_single::<f32>()
        })
    };
    let [wide, narrow, concat, average, flatten, logits] = scales(Placement::Integer);
    assert!(wide.is_some() && wide == narrow && wide == concat, "nothing is rescaled for the Concat");
    assert!(average < concat && average == flatten, "{average:?} {concat:?}");
    assert_eq!(logits, None, "logits are sums");

    let [wide, narrow, whole, average, flatten, logits] = scales(Placement::OnnxRuntime);
    assert_eq!((whole, wide), (concat, concat));
    assert!(narrow < wide, "each branch has its own range");
    assert_eq!((average, flatten), (whole, whole), "an average over windows keeps the scale");
    assert!(logits.is_some());
}
