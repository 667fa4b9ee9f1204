//! The engine against the interpreter, bit for bit, with every kernel of the machine that runs the tests, and with that
//! for NEON by a model of its instructions.

use onnx2int_graph::{Graph, Tensor, verify};
use onnx2int_interpreter::run;
use proptest::prelude::*;

use crate::{Engine, Kernel, Options};

/// A layer on images, of any geometry, with what may be behind it.
#[derive(Clone, Debug)]
struct Layer {
    groups: usize,
    channels_of_group: usize,
    filters_of_group: usize,
    image: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 4],
    zero_point: u8,
    unsigned_weights: bool,
    rescaled: bool,
    pooled: bool,
    /// Logits are brought to one scale.
    common_scale: bool,
    /// What weights, biases, multipliers and pixels follow from.
    seed: u64,
}

fn layers() -> impl Strategy<Value = Layer> {
    let pair = |range: std::ops::RangeInclusive<usize>| [range.clone(), range];
    let channels = prop_oneof![
        (Just(1_usize), 1..=9_usize, 1..=70_usize),
        (1..=40_usize, Just(1), Just(1)),
        (2..=4_usize, 1..=5_usize, 1..=20_usize),
    ];
    let window = (pair(1..=3), pair(1..=3), pair(1..=2), [0..=2_usize, 0..=2, 0..=2, 0..=2]);
    let image = pair(5..=17);
    (channels, image, window, any::<(u8, bool, bool, bool, bool, u64)>()).prop_map(
        |((groups, channels, filters), image, (kernel, strides, dilations, pads), others)| {
            let (zero_point, unsigned_weights, rescaled, pooled, common_scale, seed) = others;
            Layer {
                groups,
                channels_of_group: channels,
                filters_of_group: filters,
                image,
                kernel,
                strides,
                dilations,
                pads,
                zero_point,
                unsigned_weights,
                rescaled,
                pooled: pooled && rescaled,
                common_scale,
                seed,
            }
        },
    )
}

/// Numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn list(&mut self, count: usize, low: i64, high: i64) -> Vec<i64> {
        (0..count).map(|_| low + self.below((high - low + 1) as u64) as i64).collect()
    }
}

impl Layer {
    fn text(&self) -> String {
        let numbers = &mut Numbers(self.seed);
        let (channels, filters) = (self.groups * self.channels_of_group, self.groups * self.filters_of_group);
        let [height, width] = self.image;
        let extents: Vec<usize> = (0..2)
            .map(|axis| {
                let reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
                (self.image[axis] + self.pads[axis] + self.pads[axis + 2] - reach) / self.strides[axis] + 1
            })
            .collect();
        let (rows, columns) = (extents[0], extents[1]);
        let (dtype, low, high, zero) =
            if self.unsigned_weights { ("u8", 1, 255, "128u8") } else { ("i8", -127, 127, "0i8") };
        let count = filters * self.channels_of_group * self.kernel[0] * self.kernel[1];
        let (weights, bias) = (numbers.list(count, low, high), numbers.list(filters, -9999, 9999));
        let mut text = format!(
            "in %x: u8[N,{channels},{height},{width}]\n\
             const %w: {dtype}[{filters},{},{},{}] = {weights:?}\n\
             const %bias: i32[1,{filters},1,1] = {bias:?}\n",
            self.channels_of_group, self.kernel[0], self.kernel[1],
        );
        let mantissas = numbers.list(filters, 2048, 1 << 18);
        let half = 1_i64 << 22;
        let highs: Vec<i64> = mantissas.iter().map(|m| ((255_i64 << 23) - half + m - 1) / m).collect();
        if self.rescaled {
            text += &format!(
                "const %mantissa: i32[1,{filters},1,1] = {mantissas:?}\n\
                 const %high: i32[1,{filters},1,1] = {highs:?}\n"
            );
        }
        let shape = format!("[N,{filters},{rows},{columns}]");
        text += &format!(
            "%sums: i32{shape} = ConvInteger(%x, %w, {}u8, {zero}) strides={:?} pads={:?} dilations={:?} group={}\n\
             %biased: i32{shape} = Add(%sums, %bias)\n",
            self.zero_point, self.strides, self.pads, self.dilations, self.groups,
        );
        if !self.rescaled {
            return text + "out %biased";
        }
        text += &format!(
            "%relu: i32{shape} = Relu(%biased)\n\
             %clipped: i32{shape} = Min(%relu, %high)\n\
             %scaled: i32{shape} = Mul(%clipped, %mantissa)\n\
             %rounded: i32{shape} = Add(%scaled, {half}i32)\n\
             %shifted: i32{shape} = Div(%rounded, 8388608i32)\n\
             %byte: u8{shape} = Cast(%shifted) to=u8\n"
        );
        let pooled = if self.pooled && rows > 1 && columns > 1 {
            let (rows, columns) = (rows / 2, columns / 2);
            text += &format!(
                "%pooled: u8[N,{filters},{rows},{columns}] = MaxPool(%byte) kernel_shape=[2,2] strides=[2,2]\n"
            );
            (rows * columns, "pooled")
        } else {
            (rows * columns, "byte")
        };
        let depth = filters * pooled.0;
        let weights = numbers.list(depth * 3, -127, 127);
        text += &format!(
            "const %last: i8[{depth},3] = {weights:?}\n\
             %flat: u8[N,{depth}] = Flatten(%{})\n\
             %logits: i32[N,3] = MatMulInteger(%flat, %last, 7u8, 0i8)\n",
            pooled.1
        );
        if !self.common_scale {
            return text + "out %logits";
        }
        // As `scale-out` brings logits of several scales to one; in i32 for any sums of so many products.
        let low = -(depth as i64) * 127 * 255;
        let factor = 900.min((1_i64 << 30) / (-low / 64));
        let (factors, offsets) = (numbers.list(3, 1, factor), numbers.list(3, -9999, 9999));
        text + &format!(
            "const %factors: i32[1,3] = {factors:?}\n\
             const %offsets: i32[1,3] = {offsets:?}\n\
             %raised: i32[N,3] = Sub(%logits, {low}i32)\n\
             %shifted_logits: i32[N,3] = Div(%raised, 128i32)\n\
             %multiplied: i32[N,3] = Mul(%shifted_logits, %factors)\n\
             %common: i32[N,3] = Add(%multiplied, %offsets)\n\
             out %common"
        )
    }

    fn pixels(&self, images: usize) -> Tensor {
        let shape = [images, self.groups * self.channels_of_group, self.image[0], self.image[1]];
        let numbers = &mut Numbers(self.seed ^ 1);
        // Extremes often: they are where sums and saturations are greatest.
        let pixel = |numbers: &mut Numbers| match numbers.below(4) {
            0 => 0,
            1 => 255,
            _ => numbers.below(256) as u8,
        };
        let pixels = (0..shape.iter().product()).map(|_| pixel(numbers)).collect();
        Tensor::from_vec(&shape, pixels).expect("as many pixels as the shape has")
    }
}

fn available() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_kernel_gives_the_bits_of_the_interpreter(layer in layers(), images in 1..=30_usize, threads in 1..=3_usize) {
        let text = layer.text();
        let graph = Graph::from_text(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let verified = verify(&graph).unwrap();
        let input = layer.pixels(images);
        let expected = run(verified, std::slice::from_ref(&input)).unwrap();
        for kernel in available() {
            let options = Options { kernel: Some(kernel), threads: std::num::NonZeroUsize::new(threads) };
            let engine = Engine::with_options(verified, options).unwrap();
            prop_assert!(!engine.to_string().contains("no fast path"), "{engine}");
            let found = engine.run(std::slice::from_ref(&input)).unwrap();
            prop_assert!(found == expected, "{kernel} differs for {images} images:\n{engine}{text}");
        }
    }
}
