//! The parts of a network that are no plain layers: averages, functions of single elements, residual
//! connections, and inputs of every kind.

use onnx2int_graph::metadata::{ChannelNormalization, Normalization};
use onnx2int_graph::{
    Activation as Operator, AveragePoolAttributes, EditError, Op, PoolWindow, Tensor, ValueId,
};

use super::{Builder, Fitted, Quantization, fitted_pool};
use crate::network::{
    Activation, After, Average, Branch, Convolution, Ending, Function, Groups, Input, Join, Network, Padded,
    Padding, Rescaling, Residual, Window,
};
use crate::noise::Noise;

/// The preprocessing of a network, and the quantizer of its input.
pub(super) fn input(network: &Network, noise: &mut Noise) -> (Normalization, Quantization) {
    let std = network.std_log2.exp2();
    let codes = ChannelNormalization { mean: f32::from(network.zero_point) / 255.0, std };
    let scale = (codes.apply(255) - codes.apply(0)) / 255.0;
    match network.input {
        Input::Codes => (codes.into(), Quantization { scale, zero_point: network.zero_point }),
        Input::Other(log2, zero_point) => {
            (codes.into(), Quantization { scale: scale * log2.exp2(), zero_point })
        }
        Input::PerChannel(log2, zero_point) => {
            let means: Vec<f32> = (0..network.channels).map(|_| noise.unit() as f32).collect();
            let stds: Vec<f32> =
                (0..network.channels).map(|_| std * (noise.unit() as f32 - 0.5).exp2()).collect();
            let normalization =
                Normalization::new(&means, &stds).expect("as many means as deviations above 0");
            (normalization, Quantization { scale: scale * log2.exp2(), zero_point })
        }
    }
}

impl Builder {
    /// A quantizer and a dequantizer whose scale is about `unit`.
    fn rescaled(&mut self, name: &str, unit: f32, output: Rescaling) -> Result<(), EditError> {
        let scale = (unit * output.log2.exp2()).clamp(SCALES.0, SCALES.1);
        self.pair(name, Quantization { scale, zero_point: output.zero_point })
    }

    /// What comes between a layer and its quantizer.
    pub(super) fn after(&mut self, name: &str, after: After, output: Quantization) -> Result<(), EditError> {
        let bound = |code: u8| (f32::from(code) - f32::from(output.zero_point)) * output.scale;
        let [low, high] = match after {
            After::Nothing => return Ok(()),
            After::Relu => return self.node(&format!("{name}_relu"), Op::Relu, &[]),
            After::Relu6 => [0.0, 6.0],
            After::Clip(low, high) => [bound(low), bound(high)],
        };
        self.clip(&format!("{name}_clip"), low, high)
    }

    fn clip(&mut self, name: &str, low: f32, high: f32) -> Result<(), EditError> {
        let low = self.constant(&format!("{name}_min"), Tensor::scalar(low))?;
        let high = self.constant(&format!("{name}_max"), Tensor::scalar(high))?;
        self.node(name, Op::Clip, &[low, high])
    }

    /// An average; `raw`: there is no quantizer behind it.
    pub(super) fn average(&mut self, name: &str, average: &Average, raw: bool) -> Result<(), EditError> {
        let extents = self.extents();
        let unit = self.quantization.scale;
        match &average.window {
            None => self.node(name, Op::GlobalAveragePool, &[])?,
            Some(window) => {
                let Fitted { kernel, strides, dilations, pads } = fitted_pool(window, &extents[1..]);
                let attributes = |ceil_mode| AveragePoolAttributes {
                    window: PoolWindow {
                        kernel_shape: kernel.clone(),
                        strides: strides.clone(),
                        pads: pads.clone(),
                        dilations: dilations.clone(),
                        ceil_mode,
                    },
                    count_include_pad: average.count_include_pad,
                };
                // Rounding up is refused where the last window would start in the padding.
                if !average.ceil || self.node(name, Op::AveragePool(attributes(true)), &[]).is_err() {
                    self.node(name, Op::AveragePool(attributes(false)), &[])?;
                }
            }
        }
        if raw { Ok(()) } else { self.rescaled(&format!("{name}_out"), unit, average.output) }
    }

    /// A pad, and the pair behind it if there is one; without one it adds what a code stands for.
    pub(super) fn padding(&mut self, name: &str, padding: &Padding) -> Result<(), EditError> {
        let axes = self.extents().len().min(padding.pads.len());
        let sides = (0..2).flat_map(|side| padding.pads[..axes].iter().map(move |pads| pads[side] as i64));
        let pads = self.constant(&format!("{name}_pads"), Tensor::vector::<i64>(sides.collect()))?;
        let Quantization { scale, zero_point } = self.quantization;
        let added = match (padding.value, padding.output) {
            (Padded::Nothing, _) => None,
            (Padded::Number(number), Some(_)) => Some(number * scale),
            (Padded::Number(_), None) => Some(0.0),
            (Padded::Code(code), _) => Some((f32::from(code) - f32::from(zero_point)) * scale),
        };
        let mut operands = vec![Some(self.value), Some(pads)];
        operands.push(match added {
            None => None,
            Some(added) => Some(self.constant(&format!("{name}_value"), Tensor::scalar(added))?),
        });
        let numbers = Tensor::vector::<i64>((1..=axes as i64).collect());
        operands.push(Some(self.constant(&format!("{name}_axes"), numbers)?));
        self.value = self.editor.add_node(name, Op::Pad, operands, name)?;
        match padding.output {
            Some(output) => self.rescaled(&format!("{name}_out"), scale, output),
            None => Ok(()),
        }
    }

    /// A function of single elements, and the pair behind it.
    pub(super) fn activation(&mut self, name: &str, activation: &Activation) -> Result<(), EditError> {
        let source = self.value;
        let Quantization { scale, zero_point } = self.quantization;
        let mut unit = scale;
        match activation.function {
            Function::ChangeOfScale => {}
            Function::LeakyRelu => {
                let alpha = self.noise.unit() as f32;
                self.node(name, Op::Activation(Operator::LeakyRelu { alpha }), &[])?;
            }
            Function::Sigmoid => {
                unit = 1.0 / 256.0;
                self.node(name, Op::Activation(Operator::Sigmoid), &[])?;
            }
            Function::HardSwish => self.node(name, Op::Activation(Operator::HardSwish), &[])?,
            Function::TimesHardSigmoid => {
                let gate = Operator::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 };
                self.node(&format!("{name}_gate"), Op::Activation(gate), &[])?;
                self.node(name, Op::Mul, &[source])?;
            }
            Function::PRelu => {
                let slopes = self.along_channels(&format!("{name}_slope"), 1, -0.5, 1.0)?;
                self.node(name, Op::PRelu, &[slopes])?;
            }
            Function::BatchNormalization => {
                let reach = 100.0 * scale;
                let ranges = [
                    ("scale", -1.0, 2.0),
                    ("bias", -reach, reach),
                    ("mean", -reach, reach),
                    ("variance", 0.25, 4.0),
                ];
                let constants = ranges.map(|(role, least, most)| {
                    let channels = self.extents()[0];
                    self.numbers(&format!("{name}_{role}"), &[channels], least, most)
                });
                let constants: Vec<ValueId> = constants.into_iter().collect::<Result<_, _>>()?;
                self.node(name, Op::BatchNormalization { epsilon: 1e-5 }, &constants)?;
            }
            Function::Clip => {
                let bounds = [self.noise.byte(), self.noise.byte()];
                let bounds = [bounds[0].min(bounds[1]), bounds[0].max(bounds[1])];
                let [low, high] = bounds.map(|code| (f32::from(code) - f32::from(zero_point)) * scale);
                self.clip(name, low, high)?;
            }
            Function::Scale => {
                let lead = self.noise.whole(0, 1) as usize;
                let factors = self.along_channels(&format!("{name}_factor"), lead, -2.0, 2.0)?;
                self.node(name, Op::Mul, &[factors])?;
            }
            Function::Twice => {
                unit *= 2.0;
                self.node(name, Op::Add, &[source])?;
            }
        }
        self.rescaled(&format!("{name}_out"), unit, activation.output)
    }

    /// Random numbers along axis 1 of the value, in a constant that leaves out `lead` leading axes.
    fn along_channels(
        &mut self,
        name: &str,
        lead: usize,
        least: f32,
        most: f32,
    ) -> Result<ValueId, EditError> {
        let mut shape = vec![1; self.shape().len()];
        shape[1] = self.extents()[0];
        self.numbers(name, &shape[lead..], least, most)
    }

    fn numbers(&mut self, name: &str, shape: &[usize], least: f32, most: f32) -> Result<ValueId, EditError> {
        let count: usize = shape.iter().product();
        let numbers = (0..count).map(|_| least + (most - least) * self.noise.unit() as f32).collect();
        self.constant(
            name,
            Tensor::from_vec::<f32>(shape, numbers).expect("as many numbers as the shape has"),
        )
    }

    /// Two values become one. `raw`: the convolution alone, with no quantizer behind it; where the
    /// branch is no convolution, its average.
    pub(super) fn residual(&mut self, name: &str, residual: &Residual, raw: bool) -> Result<(), EditError> {
        let (source, first) = (self.value, self.quantization);
        let branch = format!("{name}_branch");
        match &residual.branch {
            Branch::Convolution(convolution) => {
                let alike = self.keeping_extents(convolution);
                let ending = if raw { Ending::Logits } else { Ending::Quantized };
                self.convolution(&branch, &alike, None, raw, ending)?;
            }
            _ if raw => {
                let average =
                    Average { window: None, ceil: false, count_include_pad: false, output: residual.output };
                self.average(&branch, &average, true)?;
            }
            Branch::Activation(activation) => self.activation(&branch, activation)?,
            Branch::Gate(activation) => {
                let output = Rescaling { log2: 0.0, ..residual.output };
                let average = Average { window: None, ceil: false, count_include_pad: false, output };
                self.average(&format!("{branch}_average"), &average, false)?;
                self.activation(&branch, activation)?;
            }
        }
        if raw {
            return Ok(());
        }
        let second = self.quantization;
        let sum = first.scale.max(second.scale);
        // Usual factors are some 64 units.
        let product = first.scale * second.scale * 64.0;
        let (op, unit) = match residual.joined_by {
            Join::Mul if (SCALES.0..=SCALES.1).contains(&product) => (Op::Mul, product),
            // A product of products of products leaves what scales can be.
            Join::Add | Join::Mul => (Op::Add, sum),
            Join::Sub => (Op::Sub, sum),
        };
        let (operand, other) = if residual.swapped { (self.value, source) } else { (source, self.value) };
        self.value = operand;
        self.node(&format!("{name}_joined"), op, &[other])?;
        let scale = (unit * residual.output.log2.exp2()).clamp(SCALES.0, SCALES.1);
        let output = Quantization { scale, zero_point: residual.output.zero_point };
        self.after(name, residual.after, output)?;
        self.pair(&format!("{name}_out"), output)
    }

    /// The convolution with as many outputs as inputs, and pads that keep all extents.
    fn keeping_extents(&self, convolution: &Convolution) -> Convolution {
        let Window { kernel, dilations, pads, .. } = convolution.window;
        let around = |axis: usize| (kernel[axis] - 1) * dilations[axis];
        let begin = [0, 1].map(|axis| pads[axis].min(around(axis)));
        // Pads of one dimension are its begin and its end.
        let ends = [0, 1].map(|axis| around(axis) - begin[axis]);
        let pads = [begin[0], begin[1], ends[0], ends[1]];
        let window = Window { kernel, strides: [1, 1], dilations, pads };
        let channels = self.extents()[0];
        let mut layer = convolution.layer.clone();
        layer.outputs = channels;
        let groups = match convolution.groups {
            Groups::Two if channels % 2 == 1 => Groups::One,
            groups => groups,
        };
        Convolution { window, groups, layer }
    }

    /// A bias in real numbers, at the integers or within half of them.
    pub(super) fn float_biases(&mut self, integers: &[i32], scales: &[f32], between: bool) -> Vec<f32> {
        let scale = |channel: usize| scales[if scales.len() == 1 { 0 } else { channel }];
        let off = |noise: &mut Noise| if between { noise.unit() as f32 - 0.5 } else { 0.0 };
        let biases = integers.iter().enumerate();
        biases.map(|(channel, &integer)| (integer as f32 + off(&mut self.noise)) * scale(channel)).collect()
    }
}

/// The scales that chains of blocks stay in, far inside of f32.
const SCALES: (f32, f32) = (1.0 / (1_u64 << 40) as f32, (1_u64 << 40) as f32);
