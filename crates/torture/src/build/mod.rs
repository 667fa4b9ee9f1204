//! Writes a [`Network`] as the QDQ graph that a quantizer would write.

mod blocks;

use onnx2int_graph::metadata;
use onnx2int_graph::{
    ConvAttributes, DType, Dim, EditError, GemmAttributes, Graph, GraphEditor, Op, Pads, PoolWindow, Stage,
    Tensor, TensorType, ValueId,
};

use crate::network::{
    Block, Branch, Convolution, Encoding, Ending, Flatten, Groups, Joint, Layer, Movement, Multiplier,
    Network, Pool, Weights, Window,
};
use crate::noise::Noise;

/// The graph of a network, at stage quantized, with the preprocessing and the stage in its
/// metadata.
///
/// Kernels, groups, pads and multipliers are brought to what fits; parts that cannot stand behind
/// the last layer are left out.
///
/// # Errors
/// None for a network with a layer, dense or convolutional; an edit refused is a defect of this
/// crate or of the graph's type rules.
pub fn build(network: &Network) -> Result<Graph, EditError> {
    let mut noise = Noise::new(network.seed);
    let (normalization, quantization) = blocks::input(network, &mut noise);
    let mut editor = GraphEditor::new("torture");
    editor.set_metadata(metadata::STAGE, Stage::Quantized.name());
    normalization.record(&mut editor);
    let mut shape = vec![network.batch.map_or_else(|| Dim::symbol("N"), Dim::Fixed), network.channels.into()];
    shape.extend(network.extents.iter().map(|&extent| Dim::Fixed(extent)));
    let input = editor.add_input("image", TensorType::new(DType::F32, shape))?;
    let mut builder = Builder { editor, noise, value: input, quantization, signed: network.signed };
    builder.pair("image", quantization)?;

    let convolutional = network.dense.is_empty();
    let last = network.blocks.iter().rposition(Block::has_layers);
    for (index, block) in network.blocks.iter().enumerate() {
        let ends = convolutional && Some(index) == last;
        builder.block(&format!("block{index}"), block, ends, network.ending)?;
        if ends && network.ending != Ending::Quantized {
            break;
        }
    }
    if !convolutional {
        builder.flatten(network.flatten)?;
    }
    for (index, layer) in network.dense.iter().enumerate() {
        let ends = index + 1 == network.dense.len();
        builder.dense(&format!("dense{index}"), layer, ends, network.ending)?;
    }
    if network.ending == Ending::LogSoftmax {
        builder.node("probabilities", Op::LogSoftmax { axis: -1 }, &[])?;
    }
    let Builder { mut editor, value, .. } = builder;
    editor.set_outputs([value]);
    editor.finish()
}

impl Block {
    /// Whether there is a layer in it, which is what a network ends in.
    pub(crate) const fn has_layers(&self) -> bool {
        match self {
            Self::Convolution(_) => true,
            Self::Branches(branches, _) => !branches.is_empty(),
            Self::Residual(_) | Self::Average(_) => true,
            Self::Pool(_) | Self::Move(..) | Self::Pad(_) | Self::Activation(_) => false,
        }
    }

    /// Whether there is a convolution in it, without which a network is no network.
    pub(crate) const fn has_weights(&self) -> bool {
        match self {
            Self::Convolution(_) => true,
            Self::Branches(branches, _) => !branches.is_empty(),
            Self::Residual(residual) => matches!(residual.branch, Branch::Convolution(_)),
            Self::Average(_) | Self::Pool(_) | Self::Move(..) | Self::Pad(_) | Self::Activation(_) => false,
        }
    }
}

#[derive(Clone, Copy)]
struct Quantization {
    scale: f32,
    /// Of uint8 codes; int8 codes are 128 less.
    zero_point: u8,
}

struct Builder {
    editor: GraphEditor,
    noise: Noise,
    /// What the next part reads: floats that come from a `DequantizeLinear`, data movement between
    /// them or not.
    value: ValueId,
    /// Its parameters.
    quantization: Quantization,
    /// Codes are int8.
    signed: bool,
}

impl Builder {
    /// Applies an operator to the value and to constants.
    fn node(&mut self, name: &str, op: Op, others: &[ValueId]) -> Result<(), EditError> {
        let operands: Vec<_> = std::iter::once(self.value).chain(others.iter().copied()).map(Some).collect();
        self.value = self.editor.add_node(name, op, operands, name)?;
        Ok(())
    }

    fn constant(&mut self, name: &str, tensor: Tensor) -> Result<ValueId, EditError> {
        self.editor.add_constant(name, tensor)
    }

    /// A quantizer and a dequantizer of the same parameters, with constants of their own or shared.
    fn pair(&mut self, base: &str, quantization: Quantization) -> Result<(), EditError> {
        let parameters = |builder: &mut Self, owner: &str| {
            let scale = builder.constant(&format!("{owner}_scale"), Tensor::scalar(quantization.scale))?;
            let zero_point = match builder.signed {
                false => Tensor::scalar(quantization.zero_point),
                true => Tensor::scalar((quantization.zero_point ^ 0x80).cast_signed()),
            };
            let zero_point = builder.constant(&format!("{owner}_zero_point"), zero_point)?;
            Ok::<_, EditError>([scale, zero_point])
        };
        let own = parameters(self, &format!("{base}_q"))?;
        let shared = self.noise.whole(0, 1) == 0;
        self.node(&format!("{base}_q"), Op::QuantizeLinear { axis: 1 }, &own)?;
        let second = if shared { own } else { parameters(self, &format!("{base}_d"))? };
        self.node(&format!("{base}_d"), Op::DequantizeLinear { axis: 1 }, &second)?;
        self.quantization = quantization;
        Ok(())
    }

    fn shape(&self) -> Vec<Dim> {
        self.editor.graph().value(self.value).ty.shape.clone()
    }

    /// Extents from the channels on, which are all known.
    fn extents(&self) -> Vec<usize> {
        self.shape().iter().skip(1).filter_map(Dim::fixed).collect()
    }

    fn block(&mut self, name: &str, block: &Block, ends: bool, ending: Ending) -> Result<(), EditError> {
        match block {
            Block::Convolution(convolution) => self.convolution(name, convolution, None, ends, ending),
            Block::Branches(branches, _) if ends && ending != Ending::Quantized => match branches.first() {
                Some(first) => self.convolution(name, first, None, ends, ending),
                None => Ok(()),
            },
            Block::Branches(branches, joint) => self.branches(name, branches, *joint),
            Block::Pool(pool) => self.pool(name, pool),
            Block::Move(movement, pair) => self.movement(name, *movement, *pair),
            Block::Pad(padding) => self.padding(name, padding),
            Block::Average(average) => self.average(name, average, ends && ending != Ending::Quantized),
            Block::Activation(activation) => self.activation(name, activation),
            Block::Residual(residual) => self.residual(name, residual, ends && ending != Ending::Quantized),
        }
    }

    fn branches(&mut self, name: &str, branches: &[Convolution], joint: Joint) -> Result<(), EditError> {
        let Some(first) = branches.first() else { return Ok(()) };
        let (source, source_quantization) = (self.value, self.quantization);
        // Of one geometry, so that their results can be joined.
        let mut shared = None;
        let mut results = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            (self.value, self.quantization) = (source, source_quantization);
            let alike = Convolution { window: first.window.clone(), ..branch.clone() };
            let wanted = shared.filter(|_| joint == Joint::SameScale);
            self.convolution(&format!("{name}_{index}"), &alike, wanted, false, Ending::Logits)?;
            shared.get_or_insert(self.quantization);
            results.push(self.value);
        }
        self.value = results[0];
        self.node(&format!("{name}_joined"), Op::Concat { axis: 1 }, &results[1..])?;
        self.pair(&format!("{name}_joined"), shared.unwrap_or(source_quantization))
    }

    fn convolution(
        &mut self,
        name: &str,
        convolution: &Convolution,
        output: Option<Quantization>,
        ends: bool,
        ending: Ending,
    ) -> Result<(), EditError> {
        let extents = self.extents();
        let (channels, spatial) = (extents[0], &extents[1..]);
        let group = match convolution.groups {
            Groups::One => 1,
            Groups::Two => 1 + usize::from(channels % 2 == 0),
            Groups::Depthwise => channels,
        };
        let outputs = convolution.layer.outputs.next_multiple_of(group);
        let fitted = fitted(&convolution.window, spatial);
        let mut shape = vec![outputs, channels / group];
        shape.extend(&fitted.kernel);
        let attributes =
            ConvAttributes { strides: fitted.strides, pads: fitted.pads, dilations: fitted.dilations, group };
        let layer = &convolution.layer;
        let raw = ends && ending != Ending::Quantized;
        let constants = self.parameters(name, layer, &shape, 0, output, raw)?;
        self.node(name, Op::Conv(attributes), &constants.operands)?;
        self.ending(name, layer, constants.output, ends, ending)
    }

    fn dense(&mut self, name: &str, layer: &Layer, ends: bool, ending: Ending) -> Result<(), EditError> {
        let inner = self.extents()[0];
        let (shape, axis) =
            if layer.trans_b { ([layer.outputs, inner], 0) } else { ([inner, layer.outputs], 1) };
        let raw = ends && ending != Ending::Quantized;
        let constants = self.parameters(name, layer, &shape, axis, None, raw)?;
        let attributes = GemmAttributes { trans_b: layer.trans_b, ..GemmAttributes::default() };
        self.node(name, Op::Gemm(attributes), &constants.operands)?;
        self.ending(name, layer, constants.output, ends, ending)
    }

    /// What comes behind a layer.
    fn ending(
        &mut self,
        name: &str,
        layer: &Layer,
        output: Quantization,
        ends: bool,
        ending: Ending,
    ) -> Result<(), EditError> {
        if ends && ending != Ending::Quantized {
            return Ok(());
        }
        self.after(name, layer.after, output)?;
        self.pair(&format!("{name}_out"), output)
    }

    fn pool(&mut self, name: &str, pool: &Pool) -> Result<(), EditError> {
        let extents = self.extents();
        let Fitted { kernel, strides, dilations, pads } = fitted_pool(&pool.window, &extents[1..]);
        let attributes = |ceil_mode| PoolWindow {
            kernel_shape: kernel.clone(),
            strides: strides.clone(),
            pads: pads.clone(),
            dilations: dilations.clone(),
            ceil_mode,
        };
        // Rounding up is refused where the last window would start in the padding.
        if !pool.ceil || self.node(name, Op::MaxPool(attributes(true)), &[]).is_err() {
            self.node(name, Op::MaxPool(attributes(false)), &[])?;
        }
        if pool.pair { self.pair(name, self.quantization) } else { Ok(()) }
    }

    fn movement(&mut self, name: &str, movement: Movement, pair: bool) -> Result<(), EditError> {
        if self.shape().len() != 4 {
            return Ok(());
        }
        match movement {
            Movement::TransposeSpatial => {
                self.node(name, Op::Transpose { perm: vec![0, 1, 3, 2] }, &[])?;
            }
            Movement::MergeSpatial => {
                let shape = self.constant(&format!("{name}_shape"), Tensor::vector(vec![0_i64, 0, -1]))?;
                self.node(name, Op::Reshape { allow_zero: false }, &[shape])?;
            }
        }
        if pair { self.pair(name, self.quantization) } else { Ok(()) }
    }

    fn flatten(&mut self, flatten: Flatten) -> Result<(), EditError> {
        match flatten {
            Flatten::Flatten => self.node("flat", Op::Flatten { axis: 1 }, &[])?,
            Flatten::Reshape => {
                let shape = self.constant("flat_shape", Tensor::vector(vec![0_i64, -1]))?;
                self.node("flat", Op::Reshape { allow_zero: false }, &[shape])?;
            }
            Flatten::ChannelsLast => {
                let rank = self.shape().len();
                let perm = std::iter::once(0).chain(2..rank).chain([1]).collect();
                self.node("channels_last", Op::Transpose { perm }, &[])?;
                self.node("flat", Op::Flatten { axis: 1 }, &[])?;
            }
        }
        if self.noise.whole(0, 1) == 0 { self.pair("flat", self.quantization) } else { Ok(()) }
    }

    /// Weights and bias behind their `DequantizeLinear`s. `raw`: there is no quantizer behind them.
    fn parameters(
        &mut self,
        name: &str,
        layer: &Layer,
        shape: &[usize],
        axis: usize,
        output: Option<Quantization>,
        raw: bool,
    ) -> Result<Parameters, EditError> {
        let channels = shape[axis];
        let inner: usize = shape[axis + 1..].iter().product();
        let count: usize = shape.iter().product();
        let taps = count / channels;
        let filters: Vec<Vec<i64>> = (0..channels)
            .map(|channel| filter(layer.weights[channel % layer.weights.len()], taps, &mut self.noise))
            .collect();
        let mut taps_left: Vec<_> = filters.iter().map(|filter| filter.iter()).collect();
        let differences: Vec<i64> = (0..count)
            .map(|index| *taps_left[index / inner % channels].next().expect("one weight for each tap"))
            .collect();

        let output = output.unwrap_or_else(|| Quantization {
            scale: self.scale(layer.scale_log2, layer.powers_of_two),
            zero_point: layer.zero_point,
        });
        let per_multiplier = f64::from(output.scale) / f64::from(self.quantization.scale);
        let (scale, least) = match raw {
            // Raw logits have no quantizer: any scale will do.
            true => (f64::from(output.scale), 0.0),
            false => (multiplier(layer, &filters) * per_multiplier, MULTIPLIERS.0 * per_multiplier),
        };
        let scales = self.weight_scales(layer, channels, scale, least);
        let per_axis = layer.per_axis;
        let (weights, zero_point) = encoded(&differences, shape, layer.encoding);
        let zero_point = if per_axis { repeated(&zero_point, channels) } else { zero_point };
        let weights = self.constant(&format!("{name}_w"), weights)?;
        let weight_scale = self.constant(&format!("{name}_w_scale"), scale_tensor(&scales, per_axis))?;
        let zero_point = self.constant(&format!("{name}_w_zero_point"), zero_point)?;
        let dequantize = Op::DequantizeLinear { axis: axis as i64 };
        let operands = [weights, weight_scale, zero_point].map(Some);
        let weights =
            self.editor.add_node(&format!("{name}_wd"), dequantize, operands, &format!("{name}_wd"))?;
        let mut operands = vec![weights];
        if let Some(log2) = layer.bias_log2 {
            let most = 1_i64 << log2;
            let biases: Vec<i32> = (0..channels).map(|_| self.bias(most)).collect();
            let bias_scales: Vec<f32> = scales.iter().map(|scale| self.quantization.scale * scale).collect();
            let bias_name = format!("{name}_b");
            if let Some(between) = layer.float_bias.filter(|_| log2 < 20) {
                let floats = self.float_biases(&biases, &bias_scales, between);
                operands.push(self.constant(&bias_name, Tensor::vector::<f32>(floats))?);
            } else {
                let bias = self.constant(&bias_name, Tensor::vector(biases))?;
                let scale =
                    self.constant(&format!("{name}_b_scale"), scale_tensor(&bias_scales, per_axis))?;
                let dequantize = Op::DequantizeLinear { axis: 0 };
                let name = format!("{name}_bd");
                operands.push(self.editor.add_node(&name, dequantize, [Some(bias), Some(scale)], &name)?);
            }
        }
        Ok(Parameters { operands, output })
    }

    /// From `-most` to `most`, the ends more often than not.
    fn bias(&mut self, most: i64) -> i32 {
        let bias = match self.noise.whole(0, 3) {
            0 => most,
            1 => -most,
            _ => self.noise.whole(-most, most),
        };
        i32::try_from(bias).expect("2^30 fits")
    }

    /// About `2^log2`.
    fn scale(&mut self, log2: f32, power_of_two: bool) -> f32 {
        if power_of_two { log2.round().exp2() } else { (log2 + self.noise.unit() as f32).exp2() }
    }

    /// Scales from `scale` downwards, but not below `least`; one for each channel or one for all.
    fn weight_scales(&mut self, layer: &Layer, channels: usize, scale: f64, least: f64) -> Vec<f32> {
        let count = if layer.per_axis { channels } else { 1 };
        (0..count)
            .map(|_| {
                let spread = f64::from(layer.spread) * self.noise.unit();
                let spread = if layer.powers_of_two { spread.round() } else { spread };
                (scale * (-spread).exp2()).max(least) as f32
            })
            .collect()
    }
}

struct Parameters {
    operands: Vec<ValueId>,
    output: Quantization,
}

/// The multipliers that the range of the strategies stays in: `2^-30` to `2^12`.
const MULTIPLIERS: (f64, f64) = (1.0 / (1_u64 << 30) as f64, 4096.0);

fn multiplier(layer: &Layer, filters: &[Vec<i64>]) -> f64 {
    let multiplier = match layer.multiplier {
        Multiplier::Log2(log2) => f64::from(log2).exp2(),
        Multiplier::Fitting(log2) => {
            // Inputs that are spread over their codes are 74 from their mean, as a usual distance.
            let energy = |filter: &Vec<i64>| filter.iter().map(|weight| weight * weight).sum::<i64>();
            let largest = filters.iter().map(energy).max().unwrap_or(0);
            let bias = layer.bias_log2.map_or(0.0, |log2| f64::from(log2).exp2());
            f64::from(log2).exp2() * 128.0 / (74.0 * (largest as f64).sqrt() + bias / 4.0 + 1.0)
        }
    };
    let multiplier = if layer.powers_of_two { multiplier.log2().round().exp2() } else { multiplier };
    multiplier.clamp(MULTIPLIERS.0, MULTIPLIERS.1)
}

fn filter(weights: Weights, taps: usize, noise: &mut Noise) -> Vec<i64> {
    match weights {
        Weights::Zeros => vec![0; taps],
        Weights::SingleTap(weight) => {
            let mut filter = vec![0; taps];
            filter[noise.whole(0, taps as i64 - 1) as usize] = i64::from(weight);
            filter
        }
        Weights::Splat(weight) => vec![i64::from(weight); taps],
        Weights::Alternating => (0..taps).map(|tap| if tap % 2 == 0 { 127 } else { -127 }).collect(),
        Weights::Small => (0..taps).map(|_| noise.whole(-1, 1)).collect(),
        Weights::Random => (0..taps).map(|_| noise.whole(-127, 127)).collect(),
    }
}

/// Weights whose differences to the zero point are these, or the nearest that the type holds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the type just before"
)]
fn encoded(differences: &[i64], shape: &[usize], encoding: Encoding) -> (Tensor, Tensor) {
    const FILLS: &str = "one weight for each element of the shape";
    let signed = |zero_point: i8| {
        let stored = |weight: &i64| (weight + i64::from(zero_point)).clamp(-128, 127) as i8;
        let weights = Tensor::from_vec(shape, differences.iter().map(stored).collect()).expect(FILLS);
        (weights, Tensor::scalar(zero_point))
    };
    match encoding {
        Encoding::Symmetric => signed(0),
        Encoding::Signed(zero_point) => signed(zero_point),
        Encoding::Unsigned(zero_point) => {
            let stored = |weight: &i64| (weight + i64::from(zero_point)).clamp(0, 255) as u8;
            let weights = Tensor::from_vec(shape, differences.iter().map(stored).collect()).expect(FILLS);
            (weights, Tensor::scalar(zero_point))
        }
    }
}

/// A scalar as a vector.
fn repeated(scalar: &Tensor, count: usize) -> Tensor {
    match (scalar.as_single::<i8>(), scalar.as_single::<u8>()) {
        (Some(value), _) => Tensor::vector(vec![value; count]),
        (_, Some(value)) => Tensor::vector(vec![value; count]),
        (None, None) => scalar.clone(),
    }
}

fn scale_tensor(scales: &[f32], per_axis: bool) -> Tensor {
    if per_axis { Tensor::vector(scales.to_vec()) } else { Tensor::scalar(scales[0]) }
}

/// As [`fitted`], and no position lies in the padding altogether.
fn fitted_pool(window: &Window, spatial: &[usize]) -> Fitted {
    let mut window = window.clone();
    loop {
        let fitted = fitted(&window, spatial);
        let most = |axis: usize| {
            let steps_over = fitted.dilations[axis] > spatial[axis];
            if steps_over { 0 } else { fitted.kernel[axis] - 1 }
        };
        let Some((index, pad)) = (0..window.pads.len())
            .filter(|index| index % 2 < spatial.len())
            .map(|index| (index, most(index % 2)))
            .find(|&(index, most)| window.pads[index] > most)
        else {
            return fitted;
        };
        window.pads[index] = pad;
    }
}

/// A window that fits into its padded input.
struct Fitted {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Pads,
}

fn fitted(window: &Window, spatial: &[usize]) -> Fitted {
    let rank = spatial.len();
    let begin = window.pads[..rank].to_vec();
    let end = window.pads[2..][..rank].to_vec();
    let kernel = (0..rank)
        .map(|axis| {
            let room = spatial[axis] + begin[axis] + end[axis] - 1;
            window.kernel[axis].min(room / window.dilations[axis] + 1)
        })
        .collect();
    Fitted {
        kernel,
        strides: window.strides[..rank].to_vec(),
        dilations: window.dilations[..rank].to_vec(),
        pads: Pads { begin, end },
    }
}
