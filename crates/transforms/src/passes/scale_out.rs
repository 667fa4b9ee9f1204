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
//! The quantizer of a sum of two branches takes their bytes as they are; see
//! [`crate::rescale::plan_sum`].
//!
//! ```text
//! in      %a: u8[N,4], %b: u8[N,4]
//! Before  %ad: f32[N,4] = DequantizeLinear(%a, 0.5, 0u8)
//!         %bd: f32[N,4] = DequantizeLinear(%b, 0.25, 2u8)
//!         %y: f32[N,4] = Add(%ad, %bd)
//!         %q: u8[N,4] = QuantizeLinear(%y, 1.0, 1u8)
//! After   %q_a_integer: i32[N,4] = Cast(%a) to=i32
//!         const %q_a_mantissa: i32[] = 4194304
//!         %q_a_multiply: i32[N,4] = Mul(%q_a_integer, %q_a_mantissa)
//!         %q_b_integer: i32[N,4] = Cast(%b) to=i32
//!         const %q_b_mantissa: i32[] = 2097152
//!         %q_b_multiply: i32[N,4] = Mul(%q_b_integer, %q_b_mantissa)
//!         %q_sum: i32[N,4] = Add(%q_a_multiply, %q_b_multiply)
//!         const %q_offset: i32[] = 8388608
//!         %q_round: i32[N,4] = Add(%q_sum, %q_offset)
//!         const %q_least_dividend: i32[] = 0
//!         %q_saturate_low: i32[N,4] = Max(%q_round, %q_least_dividend)
//!         const %q_greatest_dividend: i32[] = 2147483647
//!         %q_saturate_high: i32[N,4] = Min(%q_saturate_low, %q_greatest_dividend)
//!         const %q_divisor: i32[] = 8388608
//!         %q_shift: i32[N,4] = Div(%q_saturate_high, %q_divisor)
//!         %q: u8[N,4] = Cast(%q_shift) to=u8
//! out     %q
//! ```
//!
//! Logits of several scales are brought to one; see [`crate::rescale::common_scale()`].
//!
//! Refuses: a quantizer whose operand is not a cast i32 accumulator, an i8 or per-channel zero
//! point, a channel that fixed point cannot hold, logits of several scales along another axis than 1.

use onnx2int_graph::metadata;
use onnx2int_graph::range::{self, Ranges};
use onnx2int_graph::{
    DType, Graph, GraphEditor, Node, NodeId, Op, Relation, Stage, Tensor, ValueId, Verified,
};

use crate::rescale::{
    self, ChannelRescale, Factors, LogitRescale, MAX_MANTISSA_BITS, Rescale, RescaleRequest,
};
use crate::sums::QuantizedSum;
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

/// With fewer bits a multiplier's rounding, `2^-bits` of 255 units, can exceed half a unit.
const LEAST_BITS_WITHIN_ONE_UNIT: u32 = 9;

impl Transform for ScaleOut {
    fn makes(&self) -> Stage {
        Stage::ScaleOut
    }

    fn relation(&self) -> Relation {
        match self.mantissa_bits {
            LEAST_BITS_WITHIN_ONE_UNIT.. => self.makes().relation(),
            _ => Relation::Accuracy,
        }
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
            if !matches!(node.op, Op::QuantizeLinear { .. }) {
                continue;
            }
            if let Some(sum) = QuantizedSum::before(graph.graph(), id, self.mantissa_bits)? {
                sum.rewrite(&mut editor, log)?;
            } else {
                let quantizer = OutputQuantizer::find(graph.graph(), &ranges, id, node)?;
                let rescale = quantizer.plan(self.mantissa_bits)?;
                quantizer.rewrite(&rescale, &mut editor)?;
                quantizer.report(&rescale, log);
            }
        }
        keep_raw_logits(graph.graph(), &ranges, &mut editor, log)?;
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
            let constant = editor
                .add_fresh_constant(&format!("{}_{constant}", self.node.name), self.constant(values))?;
            x = editor.add_fresh_node(
                &format!("{}_{operator}", self.node.name),
                op,
                [Some(x), Some(constant)],
            )?;
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
        site.error_bounds.clone_from(&rescale.error_bounds);
    }
}

/// Makes the integer operand of each final `DequantizeLinear` the output in its place.
fn keep_raw_logits(
    graph: &Graph,
    ranges: &Ranges,
    editor: &mut GraphEditor,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let mut outputs = graph.outputs().to_vec();
    for output in &mut outputs {
        let Some((_, node)) = graph.producer(*output) else { continue };
        if !matches!(node.op, Op::DequantizeLinear { .. }) {
            continue;
        }
        let name = graph.value(*output).name.clone();
        let aside = editor.unique_name(&format!("{name}_dequantized"));
        editor.rename_value(*output, &aside)?;
        let scales = graph.constant_operand(node, 1).and_then(Tensor::as_slice::<f32>).unwrap_or_default();
        let raw = node.input(0).expect("a verified DequantizeLinear has an operand");
        let scale = match scales {
            [] => {
                return Err(TransformError::refused(
                    "constant-scale",
                    &node.name,
                    "expected a constant scale; run sanitize first",
                ));
            }
            [scale] => {
                *output = without_zero_point(graph, node, raw, &name, editor)?;
                log.changed(
                    &node.name,
                    format!("dropped: {name:?} is the raw integers, in units of {scale:e}"),
                );
                *scale
            }
            scales => {
                let (logits, unit) = to_common_scale(node, raw, scales, ranges, &name, editor, log)?;
                *output = logits;
                unit
            }
        };
        editor.set_metadata(&metadata::output_scale_key(graph.outputs().len(), &name), scale.to_string());
    }
    editor.set_outputs(outputs);
    Ok(())
}

/// The integers behind a final `DequantizeLinear` under the name of the output. Quantized logits
/// count from their zero point, so that one unit is the scale in every model.
fn without_zero_point(
    graph: &Graph,
    node: &Node,
    raw: ValueId,
    name: &str,
    editor: &mut GraphEditor,
) -> Result<ValueId, TransformError> {
    let zero_point = match graph.constant_operand(node, 2).map(Tensor::to_i64_vec) {
        Some(Some(zero_points)) => zero_points.first().copied().unwrap_or(0),
        _ => 0,
    };
    if zero_point == 0 {
        editor.rename_value(raw, name)?;
        return Ok(raw);
    }
    let zero_point =
        i32::try_from(zero_point).expect("a zero point is of an integer type of at most 32 bits");
    let integers =
        editor.add_fresh_node(&format!("{name}_integers"), Op::Cast { to: DType::I32 }, [Some(raw)])?;
    let constant = editor.add_fresh_constant(&format!("{name}_zero_point"), Tensor::scalar(zero_point))?;
    let subtract = editor.unique_name(&format!("{name}_from_zero_point"));
    Ok(editor.add_node(&subtract, Op::Sub, [Some(integers), Some(constant)], name)?)
}

/// Brings logits of several scales to one; gives them under the name of the output, and their unit.
fn to_common_scale(
    node: &Node,
    raw: ValueId,
    scales: &[f32],
    ranges: &Ranges,
    name: &str,
    editor: &mut GraphEditor,
    log: &mut RewriteLog,
) -> Result<(ValueId, f32), TransformError> {
    let refused = |reason: String| TransformError::refused("common-logit-scale", &node.name, reason);
    let ty = &editor.graph().value(raw).ty;
    let axis = match node.op {
        Op::DequantizeLinear { axis } => onnx2int_graph::infer::resolve_axis(axis, ty.rank()),
        _ => unreachable!("only a dequantizer has several scales"),
    };
    if ty.dtype != DType::I32 || axis != Ok(1) {
        return Err(refused(format!("expected i32 logits with their scales along axis 1, found {ty}")));
    }
    let mut shape = vec![1; ty.rank()];
    shape[1] = scales.len();
    let range = ranges.get(raw).expect("an i32 value has a range");
    let real: Vec<f64> = scales.iter().map(|&scale| f64::from(scale)).collect();
    let common = rescale::common_scale(&real, &range.bounds).map_err(|error| refused(error.to_string()))?;

    let mut x = raw;
    let steps = match &common.factors {
        Factors::Direct(factors) => vec![("to_common_scale", Op::Mul, "factors", factors.clone())],
        Factors::PreShifted(channels) => {
            let all = |value: fn(&LogitRescale) -> i32| channels.iter().map(value).collect();
            vec![
                ("from_low", Op::Sub, "base", all(|channel| channel.low)),
                ("pre_shift", Op::Div, "pre_divisor", all(|channel| 1 << channel.pre_shift)),
                ("multiply", Op::Mul, "factors", all(|channel| channel.multiplier)),
                ("to_common_scale", Op::Add, "offset", all(|channel| channel.offset)),
            ]
        }
    };
    let last = steps.len() - 1;
    for (position, (operator, op, constant, values)) in steps.into_iter().enumerate() {
        let constant = editor.unique_name(&format!("{name}_{constant}"));
        let constants = Tensor::from_vec(&shape, values).expect("one element for each channel");
        let constant = editor.add_constant(&constant, constants)?;
        let operator = editor.unique_name(&format!("{name}_{operator}"));
        let result = if position == last { name } else { operator.as_str() };
        x = editor.add_node(&operator, op, [Some(x), Some(constant)], result)?;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a unit for readers, not for arithmetic")]
    let unit = common.unit as f32;
    let change = format!("channels of {name:?} brought to one scale, in units of {unit:e}");
    log.changed(&node.name, change)
        .note("largest relative error of a logit's scale", common.relative_error)
        .note("lost beside that [units]", common.lost_units);
    Ok((x, unit))
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::verify_stage;

    use super::*;

    const LOGITS: &str = "
        in    %x: u8[N,2]
        const %w: u8[2,3] = [129, 227, 28, 138, 127, 130]
        const %scales: f32[3] = [0.5, 0.25, 0.0625]
        %sums: i32[N,3] = MatMulInteger(%x, %w, 0u8, 128u8)
        %logits: f32[N,3] = DequantizeLinear(%sums, %scales)
        out   %logits
    ";

    fn rewritten(text: &str, mantissa_bits: u32) -> Result<(Graph, RewriteLog), TransformError> {
        let graph = Graph::from_text(text).unwrap();
        let mut log = RewriteLog::default();
        let executor = |_: Verified<'_>, _: &[Tensor]| Err("scale-out runs nothing".to_owned());
        let verified = onnx2int_graph::verify(&graph).unwrap();
        ScaleOut { mantissa_bits }.rewrite(verified, &executor, &mut log).map(|graph| (graph, log))
    }

    #[test]
    fn logits_of_several_scales_get_one() {
        let (graph, log) = rewritten(LOGITS, 23).unwrap();
        let scale: f64 = onnx2int_graph::metadata::logit_scale(&graph).unwrap();
        let input = Tensor::from_vec(&[1, 2], vec![200u8, 255]).unwrap();
        let run = |graph: &Graph| {
            onnx2int_interpreter::run(onnx2int_graph::verify(graph).unwrap(), std::slice::from_ref(&input))
                .unwrap()
                .remove(0)
        };
        let relative_error = log.sites()[0].notes[0].value;
        assert!(relative_error < 1e-3, "{relative_error}");
        let before = run(&Graph::from_text(LOGITS).unwrap());
        let after = run(&graph);
        for (before, after) in before.as_slice::<f32>().unwrap().iter().zip(after.as_slice::<i32>().unwrap())
        {
            let after = f64::from(*after) * scale;
            let allowed = (relative_error + 1e-6) * f64::from(before.abs());
            assert!((after - f64::from(*before)).abs() <= allowed, "{before} {after}");
        }
        let ranges = range::analyze(onnx2int_graph::verify(&graph).unwrap());
        assert!(ranges.overflows().is_empty());
        assert_eq!(graph.value(graph.outputs()[0]).name, "logits");
    }

    #[test]
    fn quantized_logits_count_from_their_zero_point() {
        let text = QUANTIZER.replace("out   %q", "%logits = DequantizeLinear(%q, 0.5, 100u8)\n out %logits");
        let (graph, _) = rewritten(&text, 23).unwrap();
        let input = Tensor::from_vec(&[2, 2, 1, 1], vec![0_i8, 0, 100, -50]).unwrap();
        let run = |graph: &Graph| {
            onnx2int_interpreter::run(onnx2int_graph::verify(graph).unwrap(), std::slice::from_ref(&input))
                .unwrap()
                .remove(0)
        };
        let unit = onnx2int_graph::metadata::logit_scale(&graph).unwrap();
        let (before, after) = (run(&Graph::from_text(&text).unwrap()), run(&graph));
        let after: Vec<_> =
            after.as_slice::<i32>().unwrap().iter().map(|&raw| f64::from(raw) * unit).collect();
        let before: Vec<_> = before.as_slice::<f32>().unwrap().iter().map(|&real| f64::from(real)).collect();
        assert_eq!(before, after);
        assert_eq!(before[0], 0.0);
        assert_eq!(graph.value(graph.outputs()[0]).name, "logits");
    }

    #[test]
    fn logits_of_scales_far_apart_are_shifted_first() {
        let (graph, log) = rewritten(&LOGITS.replace("0.0625", "1e-8"), 23).unwrap();
        let nodes: Vec<_> = graph.nodes().map(|(_, node)| node.name.as_str()).collect();
        let after = ["logits_from_low", "logits_pre_shift", "logits_multiply", "logits_to_common_scale"];
        assert_eq!(nodes, [["sums"].as_slice(), &after].concat());
        assert!(log.sites()[0].notes[0].value < 1.0 / 4096.0);
        verify_stage(&graph, Stage::ScaleOut).unwrap();
    }

    #[test]
    fn maps_of_several_scales_get_one_along_their_channels() {
        let maps = |axis| {
            format!(
                "in    %x: u8[N,2,2,2]
                 const %w: u8[2,2,1,1] = [129, 227, 28, 138]
                 const %scales: f32[2] = [0.5, 0.25]
                 %sums: i32[N,2,2,2] = ConvInteger(%x, %w, 0u8, 128u8)
                 %logits = DequantizeLinear(%sums, %scales) axis={axis}
                 out   %logits"
            )
        };
        let (graph, _) = rewritten(&maps(1), 23).unwrap();
        verify_stage(&graph, Stage::ScaleOut).unwrap();
        let error = rewritten(&maps(2), 23).unwrap_err();
        assert_eq!(error.rule(), Some("common-logit-scale"), "{error}");
    }

    const QUANTIZER: &str = "
        in    %x: i8[N,2,1,1]
        const %w: u8[2,2,1,1] = [129, 227, 28, 138]
        %sums: i32[N,2,1,1] = ConvInteger(%x, %w, 0i8, 128u8)
        %float: f32[N,2,1,1] = Cast(%sums) to=f32
        %q: u8[N,2,1,1] = QuantizeLinear(%float, 12.5, 100u8)
        out   %q
    ";

    #[test]
    fn a_signed_layer_is_clipped_on_both_sides_and_keeps_its_names() {
        let (graph, log) = rewritten(QUANTIZER, 23).unwrap();
        let names: Vec<_> = graph.nodes().map(|(_, node)| node.name.as_str()).collect();
        assert_eq!(names, ["sums", "q_clip_low", "q_clip_high", "q_multiply", "q_round", "q_shift", "q"]);
        assert_eq!(log.sites()[0].error_bounds.len(), 2, "one bound for each channel");
        verify_stage(&graph, Stage::ScaleOut).unwrap_err();
        let ranges = range::analyze(onnx2int_graph::verify(&graph).unwrap());
        assert_eq!(ranges.overflows(), []);
    }

    #[test]
    fn what_is_no_quantizer_of_an_accumulator_is_refused_by_rule() {
        for (from, to, rule) in [
            (
                "%float: f32[N,2,1,1] = Cast(%sums) to=f32",
                "%float = DequantizeLinear(%sums, 1.0)",
                "quantizes-an-accumulator",
            ),
            ("12.5, 100u8", "12.5, 100i8", "one-u8-zero-point"),
            ("12.5", "1e-9", "fixed-point-rescale"),
        ] {
            let text = QUANTIZER.replace(from, to).replace("%q: u8", "%q").replace("%q[N,2,1,1]", "%q");
            let error = rewritten(&text, 23).unwrap_err();
            assert_eq!(error.rule(), Some(rule), "{error}");
        }
    }
}
