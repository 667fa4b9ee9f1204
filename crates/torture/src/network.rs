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
}

/// How the results of branches are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// All alike, as quantizers do.
    SameScale,
    /// Each in its own way: refused by name.
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
    /// A Relu behind it.
    pub relu: bool,
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
    let input = (zero_point(), -3.0..3.0_f32, prop_oneof![4 => Just(None), 1 => (1..4_usize).prop_map(Some)]);
    let shape = (1..5_usize, prop_oneof![3 => vec(1..9_usize, 2), 1 => vec(1..20_usize, 1)]);
    let flatten = prop_oneof![Just(Flatten::Flatten), Just(Flatten::Reshape), Just(Flatten::ChannelsLast)];
    let ending = prop_oneof![
        8 => Just(Ending::Logits),
        2 => Just(Ending::LogSoftmax),
        1 => Just(Ending::Quantized),
    ];
    let rest = (flatten, ending, any::<u64>());
    (input, shape, vec(block(), 0..4), vec(layer(9), 0..4), rest)
        .prop_map(
            |((zero_point, std_log2, batch), (channels, extents), blocks, dense, (flatten, ending, seed))| {
                Network {
                    zero_point,
                    std_log2,
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
            !network.dense.is_empty() || network.blocks.iter().any(Block::has_layers)
        })
}

fn block() -> impl Strategy<Value = Block> {
    let joint = prop_oneof![19 => Just(Joint::SameScale), 1 => Just(Joint::OwnScales)];
    let movement = prop_oneof![Just(Movement::TransposeSpatial), Just(Movement::MergeSpatial)];
    let pool = (window(), any::<[bool; 2]>()).prop_map(|(window, [ceil, pair])| Pool { window, ceil, pair });
    prop_oneof![
        6 => convolution().prop_map(Block::Convolution),
        1 => (vec(convolution(), 1..4), joint).prop_map(|(branches, joint)| Block::Branches(branches, joint)),
        2 => pool.prop_map(Block::Pool),
        1 => (movement, any::<bool>()).prop_map(|(movement, pair)| Block::Move(movement, pair)),
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
    let weights = (1..=most_outputs, vec(weights(), 1..4), any::<bool>(), encoding, bias);
    let output = (zero_point(), any::<[bool; 2]>(), scale, multiplier, spread, prop::bool::weighted(0.1));
    (weights, output).prop_map(
        |(
            (outputs, weights, per_axis, encoding, bias_log2),
            (zero_point, [relu, trans_b], scale_log2, multiplier, spread, powers_of_two),
        )| Layer {
            outputs,
            weights,
            per_axis,
            encoding,
            bias_log2,
            relu,
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
