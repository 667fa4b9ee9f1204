//! What a random network is, as plain data that shrinks, and the strategies that make one.
//!
//! Numbers that would take long lists (weights, biases) are a pattern and a seed, so that a
//! network shrinks in few steps. Nothing here is checked for consistency: [`crate::build`] brings
//! extents, groups and pads to what fits.

use proptest::collection::vec;
use proptest::prelude::*;

/// A quantized network.
#[derive(Clone, Debug)]
pub struct Network {
    /// The input's zero point; the preprocessing's mean follows.
    pub zero_point: u8,
    /// The preprocessing's standard deviation is `2^std_log2`.
    pub std_log2: f32,
    /// What pixels become before the first layer.
    pub input: Input,
    /// Activations are int8, with int8 zero points, instead of uint8.
    pub signed: bool,
    /// A batch of fixed extent; none: a symbol.
    pub batch: Option<usize>,
    /// Input channels, at least 1.
    pub channels: usize,
    /// Spatial extents of the input, one or two.
    pub extents: Vec<usize>,
    /// From the input on.
    pub blocks: Vec<Block>,
    /// Matrix products behind them; the last makes the logits. None: the network is convolutional.
    pub dense: Vec<Layer>,
    /// What brings `[N, C, spatial...]` to `[N, features]`.
    pub flatten: Flatten,
    /// What the network ends in.
    pub ending: Ending,
    /// Seed of all weights, biases and scales.
    pub seed: u64,
}

/// How preprocessing and input quantizer fit each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// Every pixel is its own code.
    Codes,
    /// The quantizer's scale is `2^log2` times the preprocessing's, and it has this zero point.
    Other(f32, u8),
    /// As [`Input::Other`], and each channel has a mean and a standard deviation of its own.
    PerChannel(f32, u8),
}

/// A part of a network.
#[derive(Clone, Debug)]
pub enum Block {
    /// One convolution.
    Convolution(Convolution),
    /// Convolutions of one input, joined along the channels.
    Branches(Vec<Convolution>, Joint),
    /// A MaxPool.
    Pool(Pool),
    /// Spatial axes exchanged, or merged into one.
    Move(Movement, bool),
    /// Cells around the channels and the spatial axes.
    Pad(Padding),
    /// An average, quantized behind.
    Average(Average),
    /// A function of single elements between two pairs.
    Activation(Activation),
    /// Two values become one.
    Residual(Residual),
}

/// A quantizer whose scale follows from that of what it quantizes.
#[derive(Clone, Copy, Debug)]
pub struct Rescaling {
    /// The scale is `2^log2` times what fits about.
    pub log2: f32,
    /// The zero point.
    pub zero_point: u8,
}

/// An AveragePool, or a GlobalAveragePool without a window.
#[derive(Clone, Debug)]
pub struct Average {
    /// Where it looks; none: everywhere.
    pub window: Option<Window>,
    /// Round extents up.
    pub ceil: bool,
    /// Padding counts.
    pub count_include_pad: bool,
    /// The quantizer behind it.
    pub output: Rescaling,
}

/// A Pad with constants.
#[derive(Clone, Debug)]
pub struct Padding {
    /// Cells before the first and after the last one, of the channels and of up to two spatial axes.
    pub pads: [[usize; 2]; 3],
    /// What is added.
    pub value: Padded,
    /// The quantizer behind it, if there is one.
    pub output: Option<Rescaling>,
}

/// What a [`Padding`] adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Padded {
    /// What the operator adds where nothing is said: 0.
    Nothing,
    /// What this code stands for.
    Code(u8),
    /// That many scales from the zero point, if there is a quantizer behind it.
    Number(f32),
}

/// A function of single elements.
#[derive(Clone, Copy, Debug)]
pub struct Activation {
    /// Which.
    pub function: Function,
    /// The quantizer behind it.
    pub output: Rescaling,
}

/// Functions of one element; constants follow from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Nothing between the dequantizer and the quantizer of other parameters.
    ChangeOfScale,
    /// With a random slope.
    LeakyRelu,
    /// The operator.
    Sigmoid,
    /// The operator.
    HardSwish,
    /// `x * HardSigmoid(x)`.
    TimesHardSigmoid,
    /// A slope for each channel.
    PRelu,
    /// One that no layer takes up.
    BatchNormalization,
    /// With bounds inside the codes.
    Clip,
    /// By a constant for each channel.
    Scale,
    /// `x + x`.
    Twice,
}

/// An operator of the value and of something that is made of it.
#[derive(Clone, Debug)]
pub struct Residual {
    /// What the value becomes on the other branch.
    pub branch: Branch,
    /// How the two become one.
    pub joined_by: Join,
    /// The branch is the first operand.
    pub swapped: bool,
    /// What comes behind.
    pub after: After,
    /// The quantizer behind it.
    pub output: Rescaling,
}

/// The other branch of a [`Residual`].
#[derive(Clone, Debug)]
pub enum Branch {
    /// A convolution that keeps all extents: its kernels, dilations and pads at the beginnings.
    Convolution(Convolution),
    /// A function of the value.
    Activation(Activation),
    /// A function of the value's averages, which broadcast.
    Gate(Activation),
}

/// The operator of a [`Residual`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// The sum.
    Add,
    /// The difference.
    Sub,
    /// The product.
    Mul,
}

/// What comes between a layer, or two joined values, and the quantizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// A Relu.
    Relu,
    /// `Clip(0, 6)`.
    Relu6,
    /// A Clip with bounds at these codes of the quantizer, the least and the greatest.
    Clip(u8, u8),
}

/// How the results of branches are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// All alike, as quantizers do.
    SameScale,
    /// Each in its own way, so that all but one change scale in front of the Concat.
    OwnScales,
}

/// Data movement that keeps the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// Spatial axes in reverse order.
    TransposeSpatial,
    /// `[N, C, H, W]` to `[N, C, H * W]`.
    MergeSpatial,
}

/// How features become a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flatten {
    /// The operator.
    Flatten,
    /// `Reshape` to `[0, -1]`.
    Reshape,
    /// Channels last, then `Flatten`.
    ChannelsLast,
}

/// What comes behind the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The logits are the output.
    Logits,
    /// A LogSoftmax, which `sanitize` drops.
    LogSoftmax,
    /// The logits are quantized too, and the output is dequantized.
    Quantized,
}

/// A window over spatial axes.
#[derive(Clone, Debug)]
pub struct Window {
    /// Extent along each of two axes; the second is not used in one dimension.
    pub kernel: [usize; 2],
    /// Step.
    pub strides: [usize; 2],
    /// Distance between cells.
    pub dilations: [usize; 2],
    /// Padding: begin, begin, end, end.
    pub pads: [usize; 4],
}

/// A convolution.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// Where it looks.
    pub window: Window,
    /// In how many groups its channels fall.
    pub groups: Groups,
    /// Weights, bias, quantization.
    pub layer: Layer,
}

/// Groups of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// One.
    One,
    /// Two, where the channels are even.
    Two,
    /// One for each input channel.
    Depthwise,
}

/// A MaxPool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Where it looks.
    pub window: Window,
    /// Round extents up.
    pub ceil: bool,
    /// A quantize/dequantize pair behind it, as quantizers write.
    pub pair: bool,
}

/// What all layers have.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Output channels, at least 1 (a multiple of the groups in the end).
    pub outputs: usize,
    /// One pattern for each channel, over and over.
    pub weights: Vec<Weights>,
    /// One weight scale for each channel instead of one for all.
    pub per_axis: bool,
    /// The weights' type and zero point.
    pub encoding: Encoding,
    /// The magnitude of the bias, `2^log2` at most; none: no bias.
    pub bias_log2: Option<u32>,
    /// The bias is of floats, if it is below 2^20: between integers or not.
    pub float_bias: Option<bool>,
    /// What comes behind it.
    pub after: After,
    /// Gemm with transB.
    pub trans_b: bool,
    /// Zero point of the output.
    pub zero_point: u8,
    /// The output's scale is `2^scale_log2`, about.
    pub scale_log2: f32,
    /// How large the rescale's multiplier is.
    pub multiplier: Multiplier,
    /// Each channel's multiplier is up to `2^spread` times smaller than the layer's.
    pub spread: f32,
    /// Powers of two only, which makes ties.
    pub powers_of_two: bool,
}

/// The multiplier `i_scale * w_scale / o_scale` of a layer.
#[derive(Clone, Copy, Debug)]
pub enum Multiplier {
    /// Such that a usual sum comes to `2^log2` of the 256 codes' range.
    Fitting(f32),
    /// `2^log2`.
    Log2(f32),
}

/// The weights of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// All zero: a dead channel.
    Zeros,
    /// One tap that is not zero.
    SingleTap(i8),
    /// All the same.
    Splat(i8),
    /// The greatest and the least in turn.
    Alternating,
    /// From -1 to 1.
    Small,
    /// From -127 to 127.
    Random,
}

/// How weights are stored in the QDQ model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// i8 with zero point 0.
    Symmetric,
    /// i8 with this zero point.
    Signed(i8),
    /// u8 with this zero point.
    Unsigned(u8),
}

/// Networks of every kind that the pipeline takes, and a few that it refuses.
pub fn networks() -> impl Strategy<Value = Network> {
    let pixels = prop_oneof![
        4 => Just(Input::Codes),
        1 => (-1.0..2.0_f32, any::<u8>()).prop_map(|(log2, zero)| Input::Other(log2, zero)),
        1 => (-1.0..2.0_f32, any::<u8>()).prop_map(|(log2, zero)| Input::PerChannel(log2, zero)),
    ];
    let batch = prop_oneof![4 => Just(None), 1 => (1..4_usize).prop_map(Some)];
    let input = (zero_point(), -3.0..3.0_f32, batch, pixels, prop::bool::weighted(0.2));
    let shape = (1..5_usize, prop_oneof![3 => vec(1..9_usize, 2), 1 => vec(1..20_usize, 1)]);
    let flatten = prop_oneof![Just(Flatten::Flatten), Just(Flatten::Reshape), Just(Flatten::ChannelsLast)];
    let ending = prop_oneof![
        8 => Just(Ending::Logits),
        2 => Just(Ending::LogSoftmax),
        1 => Just(Ending::Quantized),
    ];
    let rest = (flatten, ending, any::<u64>());
    (input, shape, vec(block(), 0..5), vec(layer(9), 0..4), rest)
        .prop_map(
            |(
                (zero_point, std_log2, batch, input, signed),
                (channels, extents),
                blocks,
                dense,
                (flatten, ending, seed),
            )| {
                Network {
                    zero_point,
                    std_log2,
                    input,
                    signed,
                    batch,
                    channels,
                    extents,
                    blocks,
                    dense,
                    flatten,
                    ending,
                    seed,
                }
            },
        )
        .prop_filter("a network without a layer", |network| {
            !network.dense.is_empty() || network.blocks.iter().any(Block::has_weights)
        })
}

fn block() -> impl Strategy<Value = Block> {
    let joint = prop_oneof![1 => Just(Joint::SameScale), 1 => Just(Joint::OwnScales)];
    let movement = prop_oneof![Just(Movement::TransposeSpatial), Just(Movement::MergeSpatial)];
    let pool = (window(), any::<[bool; 2]>()).prop_map(|(window, [ceil, pair])| Pool { window, ceil, pair });
    prop_oneof![
        6 => convolution().prop_map(Block::Convolution),
        1 => (vec(convolution(), 1..4), joint).prop_map(|(branches, joint)| Block::Branches(branches, joint)),
        2 => pool.prop_map(Block::Pool),
        1 => (movement, any::<bool>()).prop_map(|(movement, pair)| Block::Move(movement, pair)),
        1 => padding().prop_map(Block::Pad),
        2 => average().prop_map(Block::Average),
        3 => activation().prop_map(Block::Activation),
        3 => residual().prop_map(Block::Residual),
    ]
}

fn average() -> impl Strategy<Value = Average> {
    let window = prop_oneof![1 => Just(None), 3 => window().prop_map(Some)];
    (window, any::<[bool; 2]>(), rescaling()).prop_map(|(window, [ceil, count_include_pad], output)| {
        Average { window, ceil, count_include_pad, output }
    })
}

fn padding() -> impl Strategy<Value = Padding> {
    let pads = prop_oneof![Just([0, 0]), [0..3_usize, 0..3_usize]];
    let value = prop_oneof![
        2 => Just(Padded::Nothing),
        1 => any::<u8>().prop_map(Padded::Code),
        1 => (-300.0..300.0_f32).prop_map(Padded::Number),
    ];
    let output = prop_oneof![1 => Just(None), 2 => rescaling().prop_map(Some)];
    ([pads.clone(), pads.clone(), pads], value, output).prop_map(|(pads, value, output)| Padding {
        pads,
        value,
        output,
    })
}

fn activation() -> impl Strategy<Value = Activation> {
    let function = prop_oneof![
        Just(Function::ChangeOfScale),
        Just(Function::LeakyRelu),
        Just(Function::Sigmoid),
        Just(Function::HardSwish),
        Just(Function::TimesHardSigmoid),
        Just(Function::PRelu),
        Just(Function::BatchNormalization),
        Just(Function::Clip),
        Just(Function::Scale),
        Just(Function::Twice),
    ];
    (function, rescaling()).prop_map(|(function, output)| Activation { function, output })
}

fn residual() -> impl Strategy<Value = Residual> {
    let branch = prop_oneof![
        2 => convolution().prop_map(Branch::Convolution),
        1 => activation().prop_map(Branch::Activation),
        1 => activation().prop_map(Branch::Gate),
    ];
    let joined_by = prop_oneof![3 => Just(Join::Add), 2 => Just(Join::Sub), 1 => Just(Join::Mul)];
    (branch, joined_by, any::<bool>(), after(), rescaling()).prop_map(
        |(branch, joined_by, swapped, after, output)| Residual { branch, joined_by, swapped, after, output },
    )
}

fn rescaling() -> impl Strategy<Value = Rescaling> {
    let log2 = prop_oneof![1 => Just(0.0_f32), 8 => -2.0..2.0_f32, 1 => -15.0..15.0_f32];
    (log2, zero_point()).prop_map(|(log2, zero_point)| Rescaling { log2, zero_point })
}

fn after() -> impl Strategy<Value = After> {
    prop_oneof![
        4 => Just(After::Nothing),
        4 => Just(After::Relu),
        1 => Just(After::Relu6),
        1 => any::<[u8; 2]>().prop_map(|[a, b]| After::Clip(a.min(b), a.max(b))),
    ]
}

fn convolution() -> impl Strategy<Value = Convolution> {
    let groups = prop_oneof![4 => Just(Groups::One), 1 => Just(Groups::Two), 1 => Just(Groups::Depthwise)];
    (window(), groups, layer(6)).prop_map(|(window, groups, layer)| Convolution { window, groups, layer })
}

fn window() -> impl Strategy<Value = Window> {
    let small = || prop_oneof![3 => Just(1_usize), 1 => 1..4_usize];
    (
        [1..5_usize, 1..5_usize],
        [small(), small()],
        [small(), small()],
        [0..3_usize, 0..3_usize, 0..3_usize, 0..3_usize],
    )
        .prop_map(|(kernel, strides, dilations, pads)| Window { kernel, strides, dilations, pads })
}

fn layer(most_outputs: usize) -> impl Strategy<Value = Layer> {
    let bias = prop_oneof![
        1 => Just(None),
        3 => (0..20_u32).prop_map(Some),
        1 => (20..31_u32).prop_map(Some),
    ];
    let multiplier = prop_oneof![
        5 => (-2.0..3.0_f32).prop_map(Multiplier::Fitting),
        2 => (-30.0..12.0_f32).prop_map(Multiplier::Log2),
    ];
    let spread = prop_oneof![2 => Just(0.0_f32), 3 => 0.0..2.0_f32, 1 => 2.0..25.0_f32];
    let encoding = prop_oneof![
        8 => Just(Encoding::Symmetric),
        1 => any::<i8>().prop_map(Encoding::Signed),
        1 => any::<u8>().prop_map(Encoding::Unsigned),
    ];
    let scale = prop_oneof![4 => -8.0..0.0_f32, 1 => -20.0..20.0_f32];
    let float_bias = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let weights = (1..=most_outputs, vec(weights(), 1..4), any::<bool>(), encoding, (bias, float_bias));
    let output =
        (zero_point(), (after(), any::<bool>()), scale, multiplier, spread, prop::bool::weighted(0.1));
    (weights, output).prop_map(
        |(
            (outputs, weights, per_axis, encoding, (bias_log2, float_bias)),
            (zero_point, (after, trans_b), scale_log2, multiplier, spread, powers_of_two),
        )| Layer {
            outputs,
            weights,
            per_axis,
            encoding,
            bias_log2,
            float_bias,
            after,
            trans_b,
            zero_point,
            scale_log2,
            multiplier,
            spread,
            powers_of_two,
        },
    )
}

fn weights() -> impl Strategy<Value = Weights> {
    prop_oneof![
        6 => Just(Weights::Random),
        1 => Just(Weights::Zeros),
        1 => any::<i8>().prop_map(Weights::SingleTap),
        1 => prop_oneof![Just(127), Just(-127), Just(-128), any::<i8>()].prop_map(Weights::Splat),
        1 => Just(Weights::Alternating),
        1 => Just(Weights::Small),
    ]
}

fn zero_point() -> impl Strategy<Value = u8> {
    prop_oneof![2 => Just(0), 3 => any::<u8>(), 1 => Just(255)]
}
