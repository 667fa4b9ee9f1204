//! Makes the input uint8: a `DequantizeLinear` takes the place of preprocessing and input quantizer.
//!
//! Preprocessing maps a pixel `p` to `v = (p/255 - mean)/std = s (p - z)` with `s = 1/(255 std)` and
//! `z = 255 mean`; the input quantizer maps `v` to `round(v/s_q) + z_q`. Where its scale and zero
//! point follow from the preprocessing, the two undo each other, and the pixel is the code: all 256
//! are tried. What a zero point that is no integer loses (mean 0.1307 is 33.33/255), quantization
//! has lost before.
//!
//! ```text
//! Before  meta onnx2int.mean = "0"
//!         meta onnx2int.std = "1"
//!         in %x: f32[N,1,5,5]
//!         %q: u8[N,1,5,5] = QuantizeLinear(%x, 0.003921569, 0u8)
//!         %d: f32[N,1,5,5] = DequantizeLinear(%q, 0.003921569, 0u8)
//! After   in %x: u8[N,1,5,5]
//!         %d: f32[N,1,5,5] = DequantizeLinear(%x, 0.003921569, 0u8)
//!         annotate %x scale=d_scale zero_point=d_zero_point
//! out     %d
//! ```
//!
//! Where they do not, because channels have means of their own or the quantizer rounds otherwise, the
//! preprocessing itself is written behind the input. What pixel has which code is then a function of
//! one byte, which `integer-ops` makes a table, one for each channel where they differ.
//!
//! ```text
//! Before  meta onnx2int.mean = "0.5,0.25"
//!         meta onnx2int.std = "0.5"
//!         in %x: f32[N,2,5,5]
//!         %q: u8[N,2,5,5] = QuantizeLinear(%x, 0.01, 100u8)
//! After   in %x: u8[N,2,5,5]
//!         const %x_centered_b: f32[2,1,1] = [0.5, 0.25]
//!         const %x_normalized_b: f32[2,1,1] = [0.5, 0.5]
//!         %x_pixels: f32[N,2,5,5] = DequantizeLinear(%x, 1.0, 0u8)
//!         %x_shares: f32[N,2,5,5] = Div(%x_pixels, 255.0)
//!         %x_centered: f32[N,2,5,5] = Sub(%x_shares, %x_centered_b)
//!         %x_normalized: f32[N,2,5,5] = Div(%x_centered, %x_normalized_b)
//!         %q: u8[N,2,5,5] = QuantizeLinear(%x_normalized, 0.01, 100u8)
//! out     %q
//! ```
//!
//! # Equivalence
//! The same function of the pixels, bit for bit, with the quantizer's own scale and zero point.
//! Others (`--scale`, `--zero-point`) are judged by accuracy; each bias of a layer that reads the
//! input is then quantized anew, so that its scale stays `i_scale * w_scale`.
//!
//! # Refuses
//! A model that does not tell its preprocessing (`normalization-unknown`), or that of another number of
//! channels than its input has (`normalization-channels`). With a scale asked for: an input that is not
//! quantized to uint8 by one per-tensor quantizer (`input-quantizer`); a preprocessing that differs by
//! channel (`normalization-per-channel`); a scale more than 1 % or a zero point more than 1 from the
//! preprocessing's (`rescaling-far-off`); a bias that does not fit anew (`bias-range`).

use onnx2int_graph::metadata::{self, ChannelNormalization, Normalization};
use onnx2int_graph::{
    DType, Graph, GraphEditor, Node, NodeId, Op, QuantizationAnnotation, Relation, Stage, Tensor, ValueId,
    Verified, movement,
};

use crate::edits::{set_constant, set_constant_named};
use crate::qdq::{DequantizedConstant, Layer, Parameters};
use crate::{Executor, RewriteLog, Transform, TransformError};

/// How far from the preprocessing's own scale one asked for may be, as a part of it.
const SCALE_LEEWAY: f64 = 1e-2;
/// How far from the preprocessing's own zero point one asked for may be.
const ZERO_POINT_LEEWAY: f64 = 1.0;

/// The `add-rescaling` transform; see the file's head.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddRescaling {
    /// The scale of the input, if not the input quantizer's own.
    pub scale: Option<f32>,
    /// The zero point of the input, if not the input quantizer's own.
    pub zero_point: Option<u8>,
}

impl Transform for AddRescaling {
    fn makes(&self) -> Stage {
        Stage::Rescaled
    }

    fn relation(&self) -> Relation {
        if self.scale.is_some() || self.zero_point.is_some() {
            return Relation::Accuracy;
        }
        self.makes().relation()
    }

    fn rewrite(
        &self,
        graph: Verified<'_>,
        _executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError> {
        let mut editor = GraphEditor::from(graph.graph().clone());
        if self.scale.is_some() || self.zero_point.is_some() {
            let site = find_site(&graph)?;
            self.give_parameters(&graph, &mut editor, &site, uniform_normalization(&graph)?, log)?;
            rewrite_site(&mut editor, &site, log)?;
            return Ok(editor.finish()?);
        }
        let normalization = normalization(&graph)?;
        match find_site(&graph) {
            Ok(site) if normalization.uniform().is_some_and(|channel| pixels_are_codes(&site, channel)) => {
                rewrite_site(&mut editor, &site, log)?;
            }
            _ => write_preprocessing(&mut editor, &normalization, log)?,
        }
        Ok(editor.finish()?)
    }
}

/// The preprocessing that the model tells.
fn normalization(graph: &Graph) -> Result<Normalization, TransformError> {
    Normalization::of(graph).ok_or_else(|| {
        let reason = format!(
            "expected the metadata {:?} and {:?} of the preprocessing (x/255 - mean)/std; tell it with --mean and \
             --std, or pass --scale and --zero-point",
            metadata::MEAN,
            metadata::STD,
        );
        TransformError::model("normalization-unknown", reason)
    })
}

/// The preprocessing, where the model tells it; it must be the same for all channels.
fn uniform_normalization(graph: &Graph) -> Result<Option<ChannelNormalization>, TransformError> {
    let Some(normalization) = Normalization::of(graph) else { return Ok(None) };
    let uniform = normalization.uniform().ok_or_else(|| {
        let reason = "expected one mean and one std for a scale that is asked for; leave out --scale and \
                      --zero-point, so that each channel gets a table";
        TransformError::model("normalization-per-channel", reason)
    });
    uniform.map(Some)
}

/// The one input of the model.
fn one_input(graph: &Graph) -> Result<ValueId, TransformError> {
    match graph.inputs() {
        &[input] => Ok(input),
        inputs => {
            let reason = format!("expected a model with one input, found {}", inputs.len());
            Err(TransformError::model("input-quantizer", reason))
        }
    }
}

/// The graph input with its quantizer.
struct QuantizedInput {
    input: ValueId,
    /// The name of the `QuantizeLinear`.
    quantizer: String,
    /// Its scale and zero point.
    scale: f32,
    zero_point: i64,
    /// The `DequantizeLinear` nodes that read it.
    dequantizers: Vec<NodeId>,
}

fn find_site(graph: &Graph) -> Result<QuantizedInput, TransformError> {
    let input = one_input(graph)?;
    let name = &graph.value(input).name;
    let readers: Vec<_> = graph.consumers(input).collect();
    let quantizer = match readers.as_slice() {
        &[(reader, 0)] if matches!(graph.node(reader).op, Op::QuantizeLinear { .. }) => graph.node(reader),
        _ => {
            let names: Vec<_> = readers.iter().map(|&(reader, _)| graph.node(reader).name.as_str()).collect();
            let reason = format!(
                "expected input {name:?} to be read by one QuantizeLinear, found {names:?}; quantize the \
                 model's input",
            );
            return Err(TransformError::model("input-quantizer", reason));
        }
    };
    let parameters = Parameters::of(graph, quantizer)?;
    let (DType::U8, Some((scale, zero_point))) = (parameters.dtype, parameters.per_tensor()) else {
        let reason = "expected the input quantized to uint8 with one scale; quantize the activations so";
        return Err(TransformError::refused("input-quantizer", &quantizer.name, reason));
    };
    let mut dequantizers = Vec::new();
    for (reader, _) in graph.consumers(quantizer.output) {
        let node = graph.node(reader);
        let alike = matches!(node.op, Op::DequantizeLinear { .. })
            && Parameters::of(graph, node)?.per_tensor() == Some((scale, zero_point));
        if !alike {
            let reason = format!("expected a DequantizeLinear with the parameters of {:?}", quantizer.name);
            return Err(TransformError::refused("input-quantizer", &node.name, reason));
        }
        dequantizers.push(reader);
    }
    Ok(QuantizedInput { input, quantizer: quantizer.name.clone(), scale, zero_point, dequantizers })
}

/// Whether every pixel is its own code under preprocessing and quantizer.
fn pixels_are_codes(site: &QuantizedInput, normalization: ChannelNormalization) -> bool {
    (0..=u8::MAX).all(|pixel| {
        let units = (f64::from(normalization.apply(pixel)) / f64::from(site.scale)).round_ties_even();
        (units + site.zero_point as f64).clamp(0.0, 255.0) == f64::from(pixel)
    })
}

/// Writes `(x / 255 - mean) / std` behind the input, in the order and the type in which it is
/// defined, so that it gives the same floats as before.
fn write_preprocessing(
    editor: &mut GraphEditor,
    normalization: &Normalization,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let graph = editor.graph();
    let input = one_input(graph)?;
    let value = graph.value(input);
    let (name, ty) = (value.name.clone(), value.ty.clone());
    let channels = ty.shape.get(1).and_then(|dim| dim.fixed()).unwrap_or(1);
    if !normalization.fits(channels) {
        let reason = format!(
            "expected one number for all channels of input {name:?}, or {channels}, found {}",
            normalization.channels()
        );
        return Err(TransformError::model("normalization-channels", reason));
    }
    let readers: Vec<_> = graph.consumers(input).collect();
    editor.retype_input(input, ty.with_dtype(DType::U8));
    let along_channels = |numbers: Vec<f32>| match numbers.as_slice() {
        &[number] => Tensor::scalar(number),
        _ => {
            let mut shape = vec![1; ty.rank() - 1];
            shape[0] = numbers.len();
            Tensor::from_vec::<f32>(&shape, numbers).expect("a number for each channel")
        }
    };
    let steps = [
        ("pixels", Op::DequantizeLinear { axis: 1 }, vec![Tensor::scalar(1.0_f32), Tensor::scalar(0_u8)]),
        ("shares", Op::Div, vec![Tensor::scalar(255.0_f32)]),
        ("centered", Op::Sub, vec![along_channels(normalization.means())]),
        ("normalized", Op::Div, vec![along_channels(normalization.stds())]),
    ];
    let mut x = input;
    for (suffix, op, constants) in steps {
        let step = editor.unique_name(&format!("{name}_{suffix}"));
        let mut inputs = vec![Some(x)];
        for (slot, constant) in constants.into_iter().enumerate() {
            inputs.push(Some(
                editor.add_fresh_constant(&format!("{step}_{}", op.operand_role(slot + 1)), constant)?,
            ));
        }
        x = editor.add_node(&step, op, inputs, &step)?;
    }
    for (reader, slot) in readers {
        editor.set_input(reader, slot, Some(x));
    }
    editor.remove_metadata(metadata::MEAN);
    editor.remove_metadata(metadata::STD);
    log.changed(name, "takes uint8 pixels; the preprocessing is written behind it");
    Ok(())
}

fn rewrite_site(
    editor: &mut GraphEditor,
    site: &QuantizedInput,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let ty = editor.graph().value(site.input).ty.with_dtype(DType::U8);
    editor.retype_input(site.input, ty);
    for &dequantizer in &site.dequantizers {
        editor.set_input(dequantizer, 0, Some(site.input));
    }
    if let Some(&dequantizer) = site.dequantizers.first() {
        annotate(editor, site.input, dequantizer);
        let name = editor.graph().node(dequantizer).name.clone();
        log.changed(
            name,
            format!("reads the uint8 input; preprocessing and quantizer {:?} removed", site.quantizer),
        );
    }
    editor.remove_metadata(metadata::MEAN);
    editor.remove_metadata(metadata::STD);
    Ok(())
}

/// Tells readers of the file which real numbers the pixels stand for.
fn annotate(editor: &mut GraphEditor, input: ValueId, dequantizer: NodeId) {
    let graph = editor.graph();
    let node = graph.node(dequantizer);
    let name = |slot| graph.operand(node, slot).map(|value| value.name.clone());
    if let (Some(scale), Some(zero_point)) = (name(1), name(2)) {
        editor.annotate(input, Some(QuantizationAnnotation { scale, zero_point }));
    }
}

impl AddRescaling {
    /// Gives the input the scale and zero point asked for, and quantizes the biases that hang on
    /// the scale anew.
    fn give_parameters(
        &self,
        graph: &Graph,
        editor: &mut GraphEditor,
        site: &QuantizedInput,
        normalization: Option<ChannelNormalization>,
        log: &mut RewriteLog,
    ) -> Result<(), TransformError> {
        let scale = self.scale.unwrap_or(site.scale);
        let zero_point = self.zero_point.map_or(site.zero_point, i64::from);
        let (wanted_scale, wanted_zero_point) = match normalization {
            Some(normalization) => normalization.as_quantization(),
            None => (f64::from(site.scale), site.zero_point as f64),
        };
        // Written so that a NaN is far off.
        let near = (f64::from(scale) / wanted_scale - 1.0).abs() <= SCALE_LEEWAY
            && (zero_point as f64 - wanted_zero_point).abs() <= ZERO_POINT_LEEWAY;
        if !near {
            let reason = format!(
                "expected about scale {wanted_scale:.7} and zero point {wanted_zero_point:.2}, which the \
                 model's preprocessing amounts to, found {scale} and {zero_point}"
            );
            return Err(TransformError::model("rescaling-far-off", reason));
        }
        for &dequantizer in &site.dequantizers {
            let byte = u8::try_from(zero_point).expect("a uint8 zero point fits a byte");
            set_constant(editor, dequantizer, 1, Tensor::scalar(scale))?;
            set_constant(editor, dequantizer, 2, Tensor::scalar(byte))?;
            let name = &graph.node(dequantizer).name;
            log.changed(name, "scale and zero point as asked for")
                .note("scale of the quantizer", f64::from(site.scale))
                .note("scale given", f64::from(scale))
                .note("zero point of the quantizer", site.zero_point as f64)
                .note("zero point given", zero_point as f64);
        }
        if scale != site.scale {
            let outputs: Vec<_> = site.dequantizers.iter().map(|&id| graph.node(id).output).collect();
            for layer in Layer::all(graph)? {
                if movement::origins(graph, layer.input).iter().any(|origin| outputs.contains(origin))
                    && let Some(bias) = &layer.bias
                {
                    requantize_bias(graph, editor, &layer, bias, scale, log)?;
                }
            }
        }
        Ok(())
    }
}

/// Keeps a bias' real numbers under the new scale `i_scale * w_scale`.
fn requantize_bias(
    graph: &Graph,
    editor: &mut GraphEditor,
    layer: &Layer<'_>,
    bias: &DequantizedConstant<'_>,
    input_scale: f32,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let weights = &layer.weights.parameters;
    let integers = bias.tensor.as_slice::<i32>().expect("a bias is int32");
    let scales: Vec<f32> =
        (0..weights.scales.len()).map(|channel| input_scale * weights.scale(channel)).collect();
    let mut requantized = Vec::with_capacity(integers.len());
    for (channel, &integer) in integers.iter().enumerate() {
        let scale = if scales.len() == 1 { scales[0] } else { scales[channel] };
        let real = f64::from(integer) * f64::from(bias.parameters.scale(channel));
        let units = (real / f64::from(scale)).round_ties_even();
        if !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&units) {
            let reason = format!("expected the bias of channel {channel} to fit int32, found {units:e}");
            return Err(TransformError::refused("bias-range", &layer.node.name, reason));
        }
        // In range, and an integer.
        requantized.push(units as i32);
    }
    let moved = integers.iter().zip(&requantized).map(|(old, new)| f64::from(*new) - f64::from(*old));
    let largest = moved.fold(0.0, |largest: f64, step| largest.max(step.abs()));

    let shape = bias.tensor.shape();
    let tensor = Tensor::from_vec(shape, requantized).expect("as many integers as before");
    set_constant_named(editor, bias.id, 0, tensor, bias.name)?;
    let scale_name = operand_name(graph, bias.node, 1);
    let scales = if weights.scales.len() == 1 { Tensor::scalar(scales[0]) } else { Tensor::vector(scales) };
    // A zero point has the shape of its scale; that of an int32 bias is 0, as without one.
    editor.set_input(bias.id, 2, None);
    set_constant_named(editor, bias.id, 1, scales, &scale_name)?;
    log.changed(&layer.node.name, "bias quantized anew under the new input scale")
        .note("largest change [accumulator units]", largest);
    Ok(())
}

fn operand_name(graph: &Graph, node: &Node, slot: usize) -> String {
    graph.operand(node, slot).map_or_else(String::new, |value| value.name.clone())
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::metadata::Normalization;
    use onnx2int_graph::{Relation, Tensor};

    use super::AddRescaling;
    use crate::Transform;
    use crate::testing::{check, check_refused, interpreter, parse};

    const COPY: AddRescaling = AddRescaling { scale: None, zero_point: None };
    const SEED: AddRescaling = AddRescaling { scale: Some(0.0127), zero_point: Some(33) };

    /// A layer behind the quantized input. The scale is 1 / (255 * 0.3081).
    fn model(metadata: &str, scale: &str, zero_point: &str) -> String {
        format!(
            "{metadata}
             in %x: f32[N,2]
             const %w: i8[3,2] = [1, 2, 3, 4, 5, 6]
             const %ws: f32[3] = [0.5, 0.25, 0.125]
             const %wz: i8[3] = [0, 0, 0]
             const %b: i32[3] = [1000, -2000, 3]
             const %bs: f32[3] = [0.006364117, 0.0031820585, 0.0015910293]
             %q = QuantizeLinear(%x, {scale}, {zero_point})
             %d = DequantizeLinear(%q, {scale}, {zero_point})
             %wd = DequantizeLinear(%w, %ws, %wz) axis=0
             %bd = DequantizeLinear(%b, %bs) axis=0
             %y = Gemm(%d, %wd, %bd) transB=1 @fc
             out %y"
        )
    }

    const MNIST: &str = "meta onnx2int.mean = \"0.12941177\"
                         meta onnx2int.std = \"0.3081\"";
    const CLASSIC: &str = "meta onnx2int.mean = \"0.1307\"
                           meta onnx2int.std = \"0.3081\"";

    #[test]
    fn the_classic_mean_gives_each_pixel_its_own_code_too() {
        // 0.1307 * 255 is 33.33: rounding it to 33 moves all pixels by the same third of a unit.
        for metadata in [MNIST, CLASSIC] {
            let graph = parse(&model(metadata, "0.012728234", "33u8"));
            let verified = onnx2int_graph::verify(&graph).unwrap();
            let executor = |_: onnx2int_graph::Verified<'_>, _: &[onnx2int_graph::Tensor]| Err(String::new());
            let mut log = crate::RewriteLog::default();
            let result = COPY.rewrite(verified, &executor, &mut log).unwrap();
            let input = result.value(result.inputs()[0]);
            assert_eq!(input.ty.to_string(), "u8[N,2]");
            assert!(result.metadata().is_empty());
        }
    }

    #[test]
    fn pixels_with_another_code_go_through_the_preprocessing() {
        for (metadata, scale, zero_point) in [
            (MNIST.to_owned(), "0.0126", "33u8"),
            (MNIST.to_owned(), "0.012728234", "34u8"),
            (MNIST.replace("0.12941177", "0.485,0.456"), "0.012728234", "33u8"),
        ] {
            let before = parse(&model(&metadata, scale, zero_point));
            let verified = onnx2int_graph::verify(&before).unwrap();
            let mut log = crate::RewriteLog::default();
            let after = COPY.rewrite(verified, &interpreter, &mut log).unwrap();
            let normalization = Normalization::of(&before).unwrap();
            let pixels: Vec<u8> = (0..=255).flat_map(|pixel| [pixel, pixel]).collect();
            let floats = normalization.normalize(&pixels, 2, 1);
            let run = |graph: &onnx2int_graph::Graph, input: Tensor| {
                interpreter(onnx2int_graph::verify(graph).unwrap(), &[input]).unwrap()
            };
            assert_eq!(
                run(&before, Tensor::from_vec(&[256, 2], floats).unwrap()),
                run(&after, Tensor::from_vec(&[256, 2], pixels).unwrap())
            );
        }
    }

    #[test]
    fn unknown_preprocessing_is_refused_with_advice() {
        check_refused(&COPY, &model("", "0.0127", "33u8"), "normalization-unknown", "onnx2int.mean");
    }

    #[test]
    fn a_preprocessing_of_other_channels_is_refused() {
        let metadata = MNIST.replace("0.12941177", "0.485,0.456,0.4");
        let text = model(&metadata, "0.012728234", "33u8");
        check_refused(&COPY, &text, "normalization-channels", "x");
    }

    #[test]
    fn a_scale_asked_for_takes_the_biases_along() {
        // The real bias stays: 1000 * 0.006364117 = 1002.22 * 0.00635.
        let sites = check(
            &SEED,
            &model(MNIST, "0.012728234", "33u8"),
            "in %x: u8[N,2]
             const %w: i8[3,2] = [1, 2, 3, 4, 5, 6]
             const %ws: f32[3] = [0.5, 0.25, 0.125]
             const %wz: i8[3] = [0, 0, 0]
             const %b: i32[3] = [1002, -2004, 3]
             const %bs: f32[3] = [0.00635, 0.003175, 0.0015875]
             annotate %x scale=d_scale zero_point=d_zero_point
             %d = DequantizeLinear(%x, 0.0127, 33u8)
             %wd = DequantizeLinear(%w, %ws, %wz) axis=0
             %bd = DequantizeLinear(%b, %bs) axis=0
             %y = Gemm(%d, %wd, %bd) transB=1 @fc
             out %y",
        );
        assert_eq!(sites.len(), 3, "{sites:?}");
        assert_eq!(SEED.relation(), Relation::Accuracy);
        assert_eq!(COPY.relation(), Relation::SameFunction);
    }

    #[test]
    fn a_scale_far_off_is_refused() {
        for pass in [
            AddRescaling { scale: Some(0.02), zero_point: None },
            AddRescaling { scale: Some(f32::NAN), zero_point: None },
            AddRescaling { scale: Some(-0.0127), zero_point: None },
            AddRescaling { scale: None, zero_point: Some(35) },
        ] {
            let graph = parse(&model(MNIST, "0.012728234", "33u8"));
            let verified = onnx2int_graph::verify(&graph).unwrap();
            let executor = |_: onnx2int_graph::Verified<'_>, _: &[onnx2int_graph::Tensor]| Err(String::new());
            let error = pass.rewrite(verified, &executor, &mut crate::RewriteLog::default()).unwrap_err();
            assert_eq!(error.rule(), Some("rescaling-far-off"), "{pass:?}: {error}");
        }
    }

    #[test]
    fn an_input_that_is_not_quantized_once_is_refused() {
        let float = "in %x: f32[N,2]\n%r = Relu(%x)\nout %r";
        check_refused(&SEED, float, "input-quantizer", "r");
        let signed = model(MNIST, "0.012728234", "33i8");
        check_refused(&SEED, &signed, "input-quantizer", "q");
        let twice = model(MNIST, "0.012728234", "33u8").replace("out %y", "%r = Relu(%x)\nout %y, %r");
        check_refused(&SEED, &twice, "input-quantizer", "x");
        let differs = model(MNIST, "0.012728234", "33u8")
            .replace("%d = DequantizeLinear(%q, 0.012728234", "%d = DequantizeLinear(%q, 0.0127");
        check_refused(&SEED, &differs, "input-quantizer", "d");
    }
}
