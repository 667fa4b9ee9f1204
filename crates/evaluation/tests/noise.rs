//! The noise of each source alone, on a network so small that every number is worked out by hand.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use onnx2int_calibration::isolate;
use onnx2int_dataset::{DatasetError, ImageShape, ImageSource};
use onnx2int_evaluation::{ActivationNoise, Isolated, Noise, NoiseModels, NoiseSource, NoiseSources, noise};
use onnx2int_graph::{Graph, verify};

/// Two images of one white pixel, which the float model sees as 1.
struct White;

impl ImageSource for White {
    fn shape(&self) -> ImageShape {
        ImageShape { channels: 1, height: 1, width: 1 }
    }

    fn len(&self) -> usize {
        2
    }

    fn labels(&self) -> Option<&[u32]> {
        None
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<u8>, DatasetError> {
        Ok(vec![255; indices.len()])
    }

    fn name(&self, index: usize) -> String {
        format!("image {index}")
    }
}

/// A pixel times two weights, and logits that are the two products. Activations have the unit 2, weights 1/2, so that
/// sums of a pixel of 255 are divided by 255 * 2 * 2.
struct Network {
    /// The weights, and the codes that they become.
    weights: [f32; 2],
    codes: [i8; 2],
    /// What the last stage adds before it divides and drops what is left: 510 rounds.
    offset: i32,
}

impl Network {
    fn graph(&self, stage: &str) -> Graph {
        let Self { weights, codes, offset } = self;
        let constants = format!(
            "const %w_quantized: i8[1,2] = {codes:?}
            const %v_quantized: i8[2,2] = [1, 0, 0, 1]\n"
        );
        let floats = "meta onnx2int.mean = \"0\"\nmeta onnx2int.std = \"1\"\nin %image: f32[N,1,1,1]\n";
        let integers = "meta onnx2int.logit_scale = \"2\"
            in %image: u8[N,1,1,1]
            %flat: u8[N,1] = Flatten(%image)
            %sums: i32[N,2] = MatMulInteger(%flat, %w_quantized, 0u8, 0i8) @fc1\n";
        let logits =
            "%logits: i32[N,2] = MatMulInteger(%relu_quantized, %v_quantized, 0u8, 0i8) @fc2\nout %logits";
        let text = match stage {
            "float" => format!(
                "{floats}const %w: f32[1,2] = {weights:?}
                const %v: f32[2,2] = [1.0, 0.0, 0.0, 1.0]
                %flat: f32[N,1] = Flatten(%image)
                %sum: f32[N,2] = MatMul(%flat, %w)
                %relu: f32[N,2] = Relu(%sum)
                %logits: f32[N,2] = MatMul(%relu, %v)
                out %logits"
            ),
            "quantized" => format!(
                "{floats}{constants}%image_quantized: u8[N,1,1,1] = QuantizeLinear(%image, 1.0, 0u8)
                %image_dequantized: f32[N,1,1,1] = DequantizeLinear(%image_quantized, 1.0, 0u8)
                %flat: f32[N,1] = Flatten(%image_dequantized)
                %w_dequantized: f32[1,2] = DequantizeLinear(%w_quantized, 0.5)
                %sum: f32[N,2] = MatMul(%flat, %w_dequantized)
                %relu_quantized: u8[N,2] = QuantizeLinear(%sum, 2.0, 0u8)
                %relu_dequantized: f32[N,2] = DequantizeLinear(%relu_quantized, 2.0, 0u8)
                %v_dequantized: f32[2,2] = DequantizeLinear(%v_quantized, 1.0)
                %logits: f32[N,2] = MatMul(%relu_dequantized, %v_dequantized)
                out %logits"
            ),
            "integer" => format!(
                "{constants}{integers}%real: f32[N,2] = Cast(%sums) to=f32
                %relu_quantized: u8[N,2] = QuantizeLinear(%real, 1020.0, 0u8)\n{logits}"
            ),
            _ => format!(
                "{constants}{integers}%low: i32[N,2] = Max(%sums, 0i32)
                %high: i32[N,2] = Min(%low, 200000i32)
                %round: i32[N,2] = Add(%high, {offset}i32)
                %shift: i32[N,2] = Div(%round, 1020i32)
                %relu_quantized: u8[N,2] = Cast(%shift) to=u8\n{logits}"
            ),
        };
        Graph::from_text(&text).unwrap_or_else(|error| panic!("{stage}: {error}\n{text}"))
    }

    fn noise(&self) -> Noise {
        let [float, quantized, exact, integer] =
            ["float", "quantized", "integer", "scale_out"].map(|stage| self.graph(stage));
        let apart = isolate(&float, &quantized).unwrap().expect("its weights have their names");
        let isolated = Isolated {
            weights: verify(&apart.weights).unwrap(),
            activations: verify(&apart.activations).unwrap(),
            exact_rescale: verify(&exact).unwrap(),
        };
        let models = NoiseModels {
            float: verify(&float).unwrap(),
            quantized: &quantized,
            integer: verify(&integer).unwrap(),
            isolated: Some(isolated),
        };
        noise(models, &White, 2).unwrap()
    }

    /// The noise of each source at the activation, which the logits have as well.
    fn sources(&self) -> NoiseSources {
        let noise = self.noise();
        let [relu, logits] = noise.activations.as_slice() else { panic!("{:?}", noise.activations) };
        let names = |activation: &ActivationNoise| (activation.tensor.clone(), activation.codes.clone());
        assert_eq!(names(relu), ("relu".to_owned(), "relu_quantized".to_owned()));
        assert_eq!(names(logits), ("logits".to_owned(), "logits".to_owned()));
        assert_eq!(relu.sources, logits.sources);
        relu.sources.unwrap()
    }
}

/// Everything is a multiple of its unit: 4 and 6 are 8 and 12 halves, and 2 and 3 twos.
const EXACT: Network = Network { weights: [4.0, 6.0], codes: [8, 12], offset: 510 };

fn level(signal: f64, noise: f64) -> Option<f64> {
    Some(10.0 * (signal / noise).log10())
}

#[test]
fn without_rounding_no_source_makes_noise() {
    assert_eq!(EXACT.sources(), NoiseSources { weights: None, activations: None, rescale: None });
    let noise = EXACT.noise();
    assert_eq!((noise.images, noise.activations[0].decibels), (2, None));
    // Sums of a pixel of 255, which are the greatest that there are: 12 * 255, and (12 * 255 + 510) / 1020 without its rest.
    let sums: Vec<_> = noise.layers.iter().map(|layer| (layer.low, layer.high, layer.proven_high)).collect();
    assert_eq!(sums, [(2040, 3060, 3060), (2, 3, 3)]);
}

#[test]
fn each_source_alone_makes_its_own_noise_and_the_others_none() {
    let signal = 4.0 * 4.0 + 6.0 * 6.0;
    // The code 16 stands for 8, not for 6.
    let weights = Network { codes: [8, 16], ..EXACT }.sources();
    assert_eq!(weights, NoiseSources { weights: level(signal, 4.0), activations: None, rescale: None });
    assert_eq!(weights.dominant(), Some(NoiseSource::Weights));
    // 6.5 is 13 halves and rounds to 3 twos.
    let activations = Network { weights: [4.0, 6.5], codes: [8, 13], offset: 510 }.sources();
    let loud = level(4.0 * 4.0 + 6.5 * 6.5, 0.25);
    assert_eq!(activations, NoiseSources { weights: None, activations: loud, rescale: None });
    // One unit more in both elements.
    let rescale = Network { offset: 510 + 1020, ..EXACT }.sources();
    assert_eq!(rescale, NoiseSources { weights: None, activations: None, rescale: level(signal, 8.0) });
}

#[test]
fn sources_are_told_apart_where_all_make_noise() {
    // 7 and 11 halves are 3.5 and 5.5 for 3.5 and 5.25. The floats round to 4 and 6, the sums to 2 and 3 units, and without
    // rounding to 1 and 2.
    let network = Network { weights: [3.5, 5.25], codes: [7, 11], offset: 0 };
    let signal = 3.5 * 3.5 + 5.25 * 5.25;
    let expected = NoiseSources {
        weights: level(signal, 0.0625),
        activations: level(signal, 0.25 + 0.5625),
        rescale: level(signal, 4.0 + 4.0),
    };
    assert_eq!(network.sources(), expected);
    assert_eq!(expected.dominant(), Some(NoiseSource::Rescale));
    // All together give 2 and 4.
    assert_eq!(network.noise().activations[0].decibels, level(signal, 2.25 + 1.5625));
}

#[test]
fn weights_of_another_name_are_not_taken_apart() {
    let float = Graph::from_text(&EXACT.graph("float").to_full_text().replace("%w", "%other")).unwrap();
    assert!(isolate(&float, &EXACT.graph("quantized")).unwrap().is_none());
}
