//! Replaces the output quantizers by integer arithmetic and drops the final dequantizer.
//!
//! A float quantizer `u8(round(A / o_scale) + z)` of an i32 accumulator becomes a fixed-point
//! multiplication by `M = 1 / o_scale`: clip, multiply by a mantissa, add half a unit, divide by a
//! power of two. See [`crate::rescale`] for the forms, the constants and the error bound. The
//! logits stay raw i32 sums; the scale that they share goes into the model's metadata.
//!
//! ```text
//! in      %a: i32[N,1,2,2]
//! Before  %r: i32[N,1,2,2] = Relu(%a)
//!         %f: f32[N,1,2,2] = Cast(%r) to=f32
//!         %q: u8[N,1,2,2] = QuantizeLinear(%f, 850.0, 0u8)
//! After   %r: i32[N,1,2,2] = Relu(%a)
//!         const %q_high: i32[] = 216324
//!         %q_clip_high: i32[N,1,2,2] = Min(%r, %q_high)
//!         const %q_mantissa: i32[] = 9869
//!         %q_multiply: i32[N,1,2,2] = Mul(%q_clip_high, %q_mantissa)
//!         const %q_offset: i32[] = 4194304
//!         %q_round: i32[N,1,2,2] = Add(%q_multiply, %q_offset)
//!         const %q_divisor: i32[] = 8388608
//!         %q_shift: i32[N,1,2,2] = Div(%q_round, %q_divisor)
//!         %q: u8[N,1,2,2] = Cast(%q_shift) to=u8
//! out     %q
//! ```
//!
//! Equivalence: every u8 is within one unit of the float quantizer's, and differs only where
//! `A * M + z` lies within the reported bound of a rounding boundary, or is an exact tie (the
//! float quantizer rounds ties to even, this one up).
//!
//! Refuses: a quantizer whose operand is not a cast i32 accumulator, an i8 or per-channel zero
//! point, a channel that fixed point cannot hold, per-channel logits scales.

use onnx2int_graph::metadata;
use onnx2int_graph::range::{self, Ranges};
use onnx2int_graph::{DType, Graph, GraphEditor, Node, NodeId, Op, Stage, Tensor, ValueId, Verified};

use crate::rescale::{self, ChannelRescale, MAX_MANTISSA_BITS, Rescale, RescaleRequest};
use crate::{Executor, RewriteLog, Transform, TransformError};

/// The pass of the command `scale-out`.
#[derive(Clone, Copy, Debug)]
pub struct ScaleOut {
    /// Bits of the fixed-point multipliers, 2 to [`MAX_MANTISSA_BITS`].
    pub mantissa_bits: u32,
}

impl Default for ScaleOut {
    fn default() -> Self {
        Self { mantissa_bits: MAX_MANTISSA_BITS }
    }
}

impl Transform for ScaleOut {
    fn makes(&self) -> Stage {
        Stage::ScaleOut
    }

    fn rewrite(
        &self,
        graph: Verified<'_>,
        _executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError> {
        let ranges = range::analyze(graph);
        let mut editor = GraphEditor::from(graph.graph().clone());
        for (id, node) in graph.nodes() {
            if matches!(node.op, Op::QuantizeLinear { .. }) {
                let quantizer = OutputQuantizer::find(graph.graph(), &ranges, id, node)?;
                let rescale = quantizer.plan(self.mantissa_bits)?;
                quantizer.rewrite(&rescale, &mut editor)?;
                quantizer.report(&rescale, log);
            }
        }
        keep_raw_logits(graph.graph(), &mut editor, log)?;
        for (id, _) in graph.values() {
            // An annotation speaks of a float scale, and there is none left.
            editor.annotate(id, None);
        }
        Ok(editor.finish()?)
    }
}

/// A float quantizer of an integer accumulator.
struct OutputQuantizer<'g> {
    id: NodeId,
    node: &'g Node,
    accumulator: ValueId,
    rank: usize,
    after_relu: bool,
    scales: &'g [f32],
    zero_point: u8,
    ranges: &'g [range::Interval],
}

impl<'g> OutputQuantizer<'g> {
    fn find(
        graph: &'g Graph,
        ranges: &'g Ranges,
        id: NodeId,
        node: &'g Node,
    ) -> Result<Self, TransformError> {
        let refused = |rule, reason: String| TransformError::refused(rule, &node.name, reason);
        let accumulator = node
            .input(0)
            .and_then(|value| graph.producer(value))
            .filter(|(_, cast)| matches!(cast.op, Op::Cast { to: DType::F32 }))
            .and_then(|(_, cast)| cast.input(0))
            .filter(|&value| graph.value(value).ty.dtype == DType::I32);
        let Some(accumulator) = accumulator else {
            return Err(refused(
                "quantizes-an-accumulator",
                "expected the operand to be an i32 value cast to f32, as integer-ops leaves it".to_owned(),
            ));
        };
        let scales = graph.constant_operand(node, 1).and_then(Tensor::as_slice::<f32>);
        let Some(scales) = scales else {
            return Err(refused(
                "constant-scale",
                "expected a constant scale; run sanitize first".to_owned(),
            ));
        };
        let zero_points = match graph.operand(node, 2) {
            None => Some(&[0u8][..]),
            Some(value) => value.constant().and_then(Tensor::as_slice::<u8>),
        };
        let zero_point = match zero_points {
            Some([first, rest @ ..]) if rest.iter().all(|other| other == first) => *first,
            _ => {
                return Err(refused(
                    "one-u8-zero-point",
                    "expected a constant u8 zero point, the same for every channel".to_owned(),
                ));
            }
        };
        let ty = &graph.value(accumulator).ty;
        if let Op::QuantizeLinear { axis } = node.op
            && scales.len() > 1
            && onnx2int_graph::infer::resolve_axis(axis, ty.rank()) != Ok(1)
        {
            return Err(refused(
                "scale-along-channels",
                format!("expected a scale along axis 1, found axis {axis}"),
            ));
        }
        let range = ranges.get(accumulator).expect("an i32 value has a range");
        let after_relu =
            graph.producer(accumulator).is_some_and(|(_, producer)| matches!(producer.op, Op::Relu));
        Ok(Self {
            id,
            node,
            accumulator,
            rank: ty.rank(),
            after_relu,
            scales,
            zero_point,
            ranges: &range.bounds,
        })
    }

    fn plan(&self, mantissa_bits: u32) -> Result<Rescale, TransformError> {
        let multipliers: Vec<f64> = self.scales.iter().map(|&scale| 1.0 / f64::from(scale)).collect();
        rescale::plan(&RescaleRequest {
            multipliers: &multipliers,
            ranges: self.ranges,
            zero_point: self.zero_point,
            after_relu: self.after_relu,
            mantissa_bits,
        })
        .map_err(|error| TransformError::refused("fixed-point-rescale", &self.node.name, error.to_string()))
    }

    /// Emits the operators of [`crate::rescale`]; the quantizer itself becomes the last `Cast`, so
    /// that its name and its output stay.
    fn rewrite(&self, rescale: &Rescale, editor: &mut GraphEditor) -> Result<(), TransformError> {
        let form = rescale.form;
        let mut x = self.accumulator;
        let mut step = |operator: &str, op: Op, constant: &str, value: &dyn Fn(&ChannelRescale) -> i32| {
            let values: Vec<i32> = rescale.channels.iter().map(value).collect();
            let name = editor.unique_name(&format!("{}_{constant}", self.node.name));
            let constant = editor.add_constant(&name, self.constant(values))?;
            let name = editor.unique_name(&format!("{}_{operator}", self.node.name));
            x = editor.add_node(&name, op, [Some(x), Some(constant)], &name)?;
            Ok::<_, TransformError>(())
        };
        if !form.after_relu {
            step("clip_low", Op::Max, "low", &|channel| channel.low)?;
            if form.pre_shifted {
                step("from_low", Op::Sub, "base", &|channel| channel.low)?;
            }
        }
        if form.pre_shifted {
            step("pre_shift", Op::Div, "pre_divisor", &|channel| 1 << channel.pre_shift)?;
        }
        step("clip_high", Op::Min, "high", &|channel| channel.high)?;
        step("multiply", Op::Mul, "mantissa", &|channel| channel.multiplier)?;
        step("round", Op::Add, "offset", &|channel| channel.offset)?;
        if form.saturates_dividend {
            step("saturate_low", Op::Max, "least_dividend", &|_| 0)?;
            step("saturate_high", Op::Min, "greatest_dividend", &ChannelRescale::greatest_dividend)?;
        }
        step("shift", Op::Div, "divisor", &|channel| 1 << channel.shift)?;
        editor.replace_node(self.id, Op::Cast { to: DType::U8 }, [Some(x)]);
        Ok(())
    }

    /// A scalar where all channels agree, else a tensor that broadcasts along axis 1.
    fn constant(&self, values: Vec<i32>) -> Tensor {
        if values.windows(2).all(|pair| pair[0] == pair[1]) {
            return Tensor::scalar(values[0]);
        }
        let mut shape = vec![1; self.rank];
        shape[1] = values.len();
        Tensor::from_vec(&shape, values).expect("one element for each channel")
    }

    fn report(&self, rescale: &Rescale, log: &mut RewriteLog) {
        let over = |value: fn(&ChannelRescale) -> f64| {
            let values = rescale.channels.iter().map(value);
            (values.clone().fold(f64::INFINITY, f64::min), values.fold(0.0, f64::max))
        };
        let multipliers = over(|channel| f64::from(channel.multiplier));
        let site = log.changed(
            &self.node.name,
            format!(
                "float quantizer to fixed point, {} of constants",
                match rescale.channels.len() {
                    1 => "one set".to_owned(),
                    count => format!("{count} sets"),
                }
            ),
        );
        site.note("error bound [output units]", rescale.error_bound());
        site.note("least mantissa", multipliers.0);
        site.note("greatest mantissa", multipliers.1);
        site.note("most fraction bits", over(|channel| f64::from(channel.shift + channel.pre_shift)).1);
        site.note("most pre-shift bits", over(|channel| f64::from(channel.pre_shift)).1);
    }
}

/// Makes the integer operand of each final `DequantizeLinear` the output in its place.
fn keep_raw_logits(
    graph: &Graph,
    editor: &mut GraphEditor,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let mut outputs = graph.outputs().to_vec();
    for output in &mut outputs {
        let Some((_, node)) = graph.producer(*output) else { continue };
        if !matches!(node.op, Op::DequantizeLinear { .. }) {
            continue;
        }
        let scale = graph.constant_operand(node, 1).and_then(Tensor::as_single::<f32>);
        let Some(scale) = scale else {
            return Err(TransformError::refused(
                "one-logit-scale",
                &node.name,
                "expected one constant scale for all logits; quantize the last layer's weights per tensor, \
                 as `onnx2int quantize` does",
            ));
        };
        let raw = node.input(0).expect("a verified DequantizeLinear has an operand");
        let name = graph.value(*output).name.clone();
        let dequantized = editor.unique_name(&format!("{name}_dequantized"));
        editor.rename_value(*output, &dequantized)?;
        editor.rename_value(raw, &name)?;
        *output = raw;
        editor.set_metadata(metadata::LOGIT_SCALE, scale.to_string());
        log.changed(&node.name, format!("dropped: {name:?} is the raw integers, in units of {scale:e}"));
    }
    editor.set_outputs(outputs);
    Ok(())
}
