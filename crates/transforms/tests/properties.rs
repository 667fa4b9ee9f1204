//! Random quantized networks keep their function through every transform, and every stage's rules.

#![expect(clippy::unwrap_used, reason = "a test may stop where its own fixtures are wrong")]

use onnx2int_graph::metadata::Normalization;
use onnx2int_graph::{DType, Graph, Stage, Tensor, Verified, verify_stage};
use onnx2int_transforms::{Options, RewriteLog, pipeline};
use proptest::prelude::*;

/// A convolution of a random network.
#[derive(Clone, Debug)]
struct Convolution {
    filters: usize,
    kernel: usize,
    pad: usize,
    stride: usize,
    bias: bool,
    /// A Relu behind it, left out where the quantizer's zero point is 0.
    relu: bool,
    zero_point: u8,
    /// A MaxPool behind it, between pairs.
    pool: bool,
}

#[derive(Clone, Debug)]
struct Network {
    mean: f32,
    std: f32,
    per_axis: bool,
    convolutions: Vec<Convolution>,
    hidden: usize,
    trans_b: bool,
    classes: usize,
    log_softmax: bool,
    seed: u32,
}

fn convolution() -> impl Strategy<Value = Convolution> {
    (1..4_usize, 1..4_usize, 0..2_usize, 1..3_usize, any::<[bool; 3]>(), prop_oneof![Just(0), 1..200_u8])
        .prop_map(|(filters, kernel, pad, stride, [bias, relu, pool], zero_point)| Convolution {
            filters,
            kernel,
            pad: pad.min(kernel - 1),
            stride,
            bias,
            relu,
            zero_point,
            pool,
        })
}

fn network() -> impl Strategy<Value = Network> {
    (
        (0.0..0.9_f32, 0.1..0.9_f32),
        prop::collection::vec(convolution(), 1..3),
        (1..6_usize, 2..5_usize),
        any::<[bool; 3]>(),
        any::<u32>(),
    )
        .prop_map(
            |((mean, std), convolutions, (hidden, classes), [per_axis, trans_b, log_softmax], seed)| {
                Network { mean, std, per_axis, convolutions, hidden, trans_b, classes, log_softmax, seed }
            },
        )
}

const EXTENT: usize = 9;

/// Random numbers that do not depend on the platform.
struct Noise(u32);

impl Noise {
    fn next(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % below
    }

    /// A scale that no product of others hits by chance, around `middle`.
    fn scale(&mut self, middle: f32) -> f32 {
        middle * (0.5 + self.next(1 << 20) as f32 / (1 << 20) as f32)
    }
}

/// The text of a quantized network, written as quantizers do.
struct Writer {
    lines: Vec<String>,
    noise: Noise,
    per_axis: bool,
}

impl Writer {
    fn add(&mut self, line: String) {
        self.lines.push(line);
    }

    fn pair(&mut self, base: &str, source: &str, scale: f32, zero_point: u8) -> String {
        self.add(format!("%{base}_q = QuantizeLinear(%{source}, {scale:?}, {zero_point}u8)"));
        self.add(format!("%{base}_d = DequantizeLinear(%{base}_q, {scale:?}, {zero_point}u8)"));
        format!("{base}_d")
    }

    /// Weights and bias behind their `DequantizeLinear`s; gives the operands.
    fn parameters(
        &mut self,
        name: &str,
        shape: &[usize],
        axis: usize,
        input_scale: f32,
        bias: bool,
    ) -> String {
        let channels = shape[axis];
        let taps: usize = shape.iter().product::<usize>() / channels;
        let list = |values: Vec<String>| format!("[{}]", values.join(", "));
        let weights =
            (0..channels * taps).map(|_| (i64::from(self.noise.next(255)) - 127).to_string()).collect();
        let middle = 0.02 / taps as f32;
        let count = if self.per_axis { channels } else { 1 };
        let scales: Vec<f32> = (0..count).map(|_| self.noise.scale(middle)).collect();
        let (count, zeros) = match self.per_axis {
            true => (channels.to_string(), list(vec!["0".to_owned(); channels])),
            false => (String::new(), "0".to_owned()),
        };
        let show = |scales: &[f32]| match self.per_axis {
            true => list(scales.iter().map(|scale| format!("{scale:?}")).collect()),
            false => format!("{:?}", scales[0]),
        };
        let extents: Vec<_> = shape.iter().map(usize::to_string).collect();
        let bias_scales: Vec<f32> = scales.iter().map(|scale| input_scale * scale).collect();
        let (scales, bias_scales) = (show(&scales), show(&bias_scales));
        self.add(format!("const %{name}.w: i8[{}] = {}", extents.join(","), list(weights)));
        self.add(format!("const %{name}.ws: f32[{count}] = {scales}"));
        self.add(format!("const %{name}.wz: i8[{count}] = {zeros}"));
        self.add(format!("%{name}.wd = DequantizeLinear(%{name}.w, %{name}.ws, %{name}.wz) axis={axis}"));
        if !bias {
            return format!("%{name}.wd");
        }
        let biases =
            (0..channels).map(|_| (i64::from(self.noise.next(20_000)) - 10_000).to_string()).collect();
        self.add(format!("const %{name}.b: i32[{channels}] = {}", list(biases)));
        self.add(format!("const %{name}.bs: f32[{count}] = {bias_scales}"));
        self.add(format!("%{name}.bd = DequantizeLinear(%{name}.b, %{name}.bs) axis=0"));
        format!("%{name}.wd, %{name}.bd")
    }
}

fn quantized(network: &Network) -> Graph {
    let normalization = Normalization { mean: network.mean, std: network.std };
    let (least, greatest) = (normalization.apply(0), normalization.apply(255));
    let mut scale = (greatest - least) / 255.0;
    let mut zero_point = (-least / scale).round() as u8;
    let mut writer = Writer { lines: Vec::new(), noise: Noise(network.seed), per_axis: network.per_axis };
    writer.add(format!("meta onnx2int.mean = \"{}\"", network.mean));
    writer.add(format!("meta onnx2int.std = \"{}\"", network.std));
    writer.add(format!("in %image: f32[N,1,{EXTENT},{EXTENT}]"));
    let mut value = writer.pair("image", "image", scale, zero_point);
    let (mut channels, mut extent) = (1, EXTENT);
    for (index, layer) in network.convolutions.iter().enumerate() {
        let name = format!("conv{index}");
        let shape = [layer.filters, channels, layer.kernel, layer.kernel];
        if extent + 2 * layer.pad < layer.kernel {
            break;
        }
        let operands = writer.parameters(&name, &shape, 0, scale, layer.bias);
        let (pad, stride) = (layer.pad, layer.stride);
        writer.add(format!(
            "%{name} = Conv(%{value}, {operands}) pads=[{pad},{pad},{pad},{pad}] strides=[{stride},{stride}]"
        ));
        let mut result = name.clone();
        if layer.relu && layer.zero_point != 0 {
            result = format!("{name}_r");
            writer.add(format!("%{result} = Relu(%{name})"));
        }
        (scale, zero_point) = (writer.noise.scale(0.004), layer.zero_point);
        value = writer.pair(&name, &result, scale, layer.zero_point);
        (channels, extent) = (layer.filters, (extent + 2 * pad - layer.kernel) / stride + 1);
        if layer.pool && extent >= 2 {
            writer.add(format!("%pool{index} = MaxPool(%{value}) kernel_shape=[2,2] strides=[2,2]"));
            value = writer.pair(&format!("pool{index}"), &format!("pool{index}"), scale, layer.zero_point);
            extent /= 2;
        }
    }
    writer.add(format!("%flat = Flatten(%{value})"));
    value = writer.pair("flat", "flat", scale, zero_point);
    let inner = channels * extent * extent;
    let (shape, axis) =
        if network.trans_b { ([network.hidden, inner], 0) } else { ([inner, network.hidden], 1) };
    let operands = writer.parameters("fc1", &shape, axis, scale, true);
    writer.add(format!("%fc1 = Gemm(%{value}, {operands}) transB={}", u8::from(network.trans_b)));
    scale = writer.noise.scale(0.004);
    value = writer.pair("fc1", "fc1", scale, 0);
    // One scale for the logits, so that raw sums can be compared.
    writer.per_axis = false;
    let operands = writer.parameters("fc2", &[network.classes, network.hidden], 0, scale, true);
    writer.add(format!("%fc2 = Gemm(%{value}, {operands}) transB=1"));
    if network.log_softmax {
        writer.add("%probabilities = LogSoftmax(%fc2)".to_owned());
        writer.add("out %probabilities".to_owned());
    } else {
        writer.add("out %fc2".to_owned());
    }
    let text = writer.lines.join("\n");
    Graph::from_text(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn interpreter(graph: Verified<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    onnx2int_interpreter::run(graph, inputs).map_err(|error| error.to_string())
}

const IMAGES: usize = 6;

/// The logits in real units.
fn logits(graph: &Graph, stage: Stage, pixels: &[u8], normalization: Normalization) -> Vec<f64> {
    let verified =
        verify_stage(graph, stage).unwrap_or_else(|error| panic!("{stage}: {error}\n{}", graph.to_text()));
    let shape = [IMAGES, 1, EXTENT, EXTENT];
    let input = match graph.value(graph.inputs()[0]).ty.dtype {
        DType::F32 => {
            Tensor::from_vec::<f32>(&shape, pixels.iter().map(|&pixel| normalization.apply(pixel)).collect())
        }
        _ => Tensor::from_vec(&shape, pixels.to_vec()),
    };
    let outputs = interpreter(verified, &[input.unwrap()]).unwrap();
    let unit = onnx2int_graph::metadata::logit_scale(graph).unwrap_or(1.0);
    match outputs[0].as_slice::<f32>() {
        Some(values) => values.iter().map(|&value| f64::from(value)).collect(),
        None => outputs[0].to_i64_vec().unwrap().into_iter().map(|value| value as f64 * unit).collect(),
    }
}

/// The index of the greatest logit of each image, and how far ahead of the next it is.
fn winners(values: &[f64], classes: usize) -> Vec<usize> {
    values
        .chunks(classes)
        .map(|row| (1..classes).fold(0, |best, class| if row[class] > row[best] { class } else { best }))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_transform_keeps_the_function(network in network()) {
        let normalization = Normalization { mean: network.mean, std: network.std };
        let mut noise = Noise(network.seed ^ 0x5555);
        let pixels: Vec<u8> = (0..IMAGES * EXTENT * EXTENT).map(|_| noise.next(256) as u8).collect();
        let mut graph = quantized(&network);
        let mut before = logits(&graph, Stage::Quantized, &pixels, normalization);
        for transform in pipeline(&Options::default()) {
            let stage = transform.makes();
            let mut log = RewriteLog::default();
            let verified = verify_stage(&graph, transform.from()).unwrap();
            let result = transform
                .rewrite(verified, &interpreter, &mut log)
                .unwrap_or_else(|error| panic!("{stage}: {error}\n{}", graph.to_text()));
            prop_assert!(transform.noop_allowed() || !log.sites().is_empty(), "{}", stage);
            let after = logits(&result, stage, &pixels, normalization);
            match stage {
                Stage::Sanitized => {
                    // Softmax may round two logits to one probability; these have gaps.
                    prop_assert_eq!(winners(&before, network.classes), winners(&after, network.classes));
                }
                // The same float operations in the same order.
                Stage::Rescaled | Stage::Activations | Stage::Pruned => prop_assert_eq!(&before, &after, "{}", stage),
                // An activation may fall to the other side of a rounding boundary: one unit of a
                // small network is a few percent of its logits. A wrong factor is far more.
                _ => {
                    let largest = before.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
                    for (old, new) in before.iter().zip(&after) {
                        prop_assert!((old - new).abs() <= 0.05 * largest + 1e-6, "{}: {} {}", stage, old, new);
                    }
                }
            }
            (graph, before) = (result, after);
        }
    }
}
