//! How noisy each layer is: what the integer-only model has inside, set beside what the float model has there.

mod layers;
mod sources;

use onnx2int_dataset::ImageSource;
use onnx2int_graph::{Graph, Op, Tensor, ValueId, Verified};
use onnx2int_runtimes::{RuntimeKind, Session, prepare};
use serde::{Deserialize, Serialize};

use crate::{EvaluationError, ScoredModel};

pub use layers::{LayerUse, MultiplierBits};
pub use sources::{Isolated, NoiseSource, NoiseSources};

/// Bars of a histogram: four codes each.
const BINS: usize = 64;

/// Images of one run.
const BATCH: usize = 8;

/// What was measured on some images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// The images, the first ones of the test set.
    pub images: usize,
    /// The activations that both models have, in execution order, and the logits.
    pub activations: Vec<ActivationNoise>,
    /// The weights.
    pub weights: Vec<WeightNoise>,
    /// What the integer layers use of their accumulators.
    pub layers: Vec<LayerUse>,
}

/// A tensor of the float model beside its codes in the integer-only one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivationNoise {
    /// The float model's tensor.
    pub tensor: String,
    /// The integer-only model's.
    pub codes: String,
    /// The real number of one unit.
    pub scale: f64,
    /// The code of zero.
    pub zero_point: i64,
    /// The elements of all images.
    pub elements: u64,
    /// Signal to quantization noise in decibels: `10 log10(sum x^2 / sum (x - y)^2)`, where `y` is what the code stands for.
    /// It holds the noise of all layers before. None where one of the sums is 0.
    pub decibels: Option<f64>,
    /// The noise of each source alone, where it could be taken apart.
    pub sources: Option<NoiseSources>,
    /// The share of float elements that lie above all codes, by more than rounding.
    pub above: f64,
    /// The share of those below.
    pub below: f64,
    /// How both are distributed; not of logits, which have no bounds to speak of.
    pub histogram: Option<Histogram>,
}

impl ActivationNoise {
    /// The share of float elements that lie beyond the codes, at either end.
    pub(crate) fn beyond(&self) -> f64 {
        self.above + self.below
    }
}

/// Two histograms over the range of an 8-bit code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// What the least code stands for.
    pub low: f64,
    /// What the greatest code stands for.
    pub high: f64,
    /// Elements of the float model in each of equal parts; what is outside is in the outermost.
    pub float: Vec<u64>,
    /// Elements of the integer-only model likewise.
    pub integer: Vec<u64>,
}

/// Weights of the float model beside what their 8-bit codes stand for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightNoise {
    /// The float model's tensor.
    pub tensor: String,
    /// How many scales it has: one, or one for each channel.
    pub scales: usize,
    /// Signal to quantization noise, as for activations.
    pub decibels: Option<f64>,
    /// The channel with the least, where there are several.
    pub worst_channel: Option<usize>,
    /// That of this channel.
    pub worst_decibels: Option<f64>,
}

/// A tensor to be compared.
#[derive(Clone, Copy)]
struct Site {
    float: ValueId,
    integer: ValueId,
    scale: f64,
    zero_point: i64,
    is_code: bool,
}

/// The models of one network.
#[derive(Clone, Copy, Debug)]
pub struct NoiseModels<'g> {
    /// The float one.
    pub float: Verified<'g>,
    /// Which tensor of the float model is quantized to which, and how.
    pub quantized: &'g Graph,
    /// The integer-only one.
    pub integer: Verified<'g>,
    /// Those with one source of noise each, where there are such.
    pub isolated: Option<Isolated<'g>>,
}

/// Runs the models on the first `count` images and compares what they have inside.
///
/// # Errors
/// A model that takes no images or is refused by the runtime, and what the source says.
pub fn noise(
    models: NoiseModels<'_>,
    images: &dyn ImageSource,
    count: usize,
) -> Result<Noise, EvaluationError> {
    let count = count.min(images.len());
    let NoiseModels { float, quantized, integer, isolated } = models;
    let sites = sites(float.graph(), quantized, integer.graph());
    let mut gathered: Vec<Gathered> = sites.iter().map(|_| Gathered::default()).collect();
    let mut layers = layers::Layers::of(integer);
    let isolated = isolated
        .and_then(|isolated| sources::Observers::of(isolated, float.graph(), integer.graph(), &sites))
        .transpose()?;
    let observed = |site: fn(&Site) -> ValueId| sites.iter().map(site).collect::<Vec<ValueId>>();
    let float = Observed::new(float, &observed(|site| site.float))?;
    let integer = Observed::new(integer, &[observed(|site| site.integer), layers.sums()].concat())?;
    let isolated_batch = isolated.as_ref().and_then(sources::Observers::fixed_batch);
    let fixed = float.model.fixed_batch.or(integer.model.fixed_batch).or(isolated_batch);
    let batch = fixed.unwrap_or(BATCH).max(1);
    // A fixed batch leaves out what does not fill one.
    let count = if fixed.is_some() { count - count % batch } else { count };
    for start in (0..count).step_by(batch) {
        let end = (start + batch).min(count);
        let reals = float.run(images, start..end)?;
        let codes = integer.run(images, start..end)?;
        let (codes, sums) = codes.split_at(sites.len());
        layers.add(sums);
        for (((site, gathered), reals), codes) in sites.iter().zip(&mut gathered).zip(&reals).zip(codes) {
            gathered.add(site, reals, codes);
        }
        if let Some(isolated) = &isolated {
            let apart = isolated.run(images, start..end)?;
            for (index, (site, gathered)) in sites.iter().zip(&mut gathered).enumerate() {
                let apart = apart.each_ref().map(|tensors| &tensors[index]);
                gathered.apart.add(site, &reals[index], &codes[index], apart);
            }
        }
    }
    let activations = sites.iter().zip(gathered).map(|(site, gathered)| {
        let name = |observed: &Observed<'_>, id| observed.graph.value(id).name.clone();
        gathered.finish(site, name(&float, site.float), name(&integer, site.integer))
    });
    Ok(Noise {
        images: count,
        activations: activations.filter(|activation| activation.elements > 0).collect(),
        weights: weights(float.graph, quantized),
        layers: layers.finish(),
    })
}

/// A model that is watched while it runs.
struct Observed<'g> {
    graph: &'g Graph,
    model: ScoredModel,
    runtime: RuntimeKind,
    session: Box<dyn Session>,
}

impl<'g> Observed<'g> {
    fn new(graph: Verified<'g>, values: &[ValueId]) -> Result<Self, EvaluationError> {
        let model = ScoredModel::of(graph.graph(), graph.graph().name(), "")?;
        let runtime = RuntimeKind::fastest(graph.graph());
        let session = prepare(runtime, graph, values).map_err(|source| model.failed(runtime, source))?;
        Ok(Self { graph: graph.graph(), model, runtime, session })
    }

    fn run(
        &self,
        images: &dyn ImageSource,
        part: std::ops::Range<usize>,
    ) -> Result<Vec<Tensor>, EvaluationError> {
        let input = self.model.input_of(images, part)?;
        self.session.run(&[input]).map_err(|source| self.model.failed(self.runtime, source))
    }
}

/// Every quantizer whose input the float model has and whose codes the integer-only model has, by their names; and the
/// logits.
fn sites(float: &Graph, quantized: &Graph, integer: &Graph) -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    for (_, node) in quantized.nodes() {
        if !matches!(node.op, Op::QuantizeLinear { .. }) {
            continue;
        }
        let name = |slot| quantized.operand(node, slot).map(|value| value.name.as_str());
        let scale = quantized.constant_operand(node, 1).and_then(Tensor::as_single::<f32>);
        let zero_point = quantized.constant_operand(node, 2).and_then(Tensor::as_single::<u8>);
        // A quantizer behind a layer stands for the Relu as well, and is called after it.
        let called = &quantized.value(node.output).name;
        let real = called.strip_suffix("_quantized").and_then(|name| float.value_by_name(name));
        let real = real.or_else(|| float.value_by_name(name(0)?));
        let codes = integer.value_by_name(&quantized.value(node.output).name);
        if let (Some(scale), Some(zero_point), Some(real), Some(codes)) = (scale, zero_point, real, codes)
            && float.value(real).constant().is_none()
            && integer.value(codes).ty.dtype == onnx2int_graph::DType::U8
        {
            sites.push(Site {
                float: real,
                integer: codes,
                scale: f64::from(scale),
                zero_point: i64::from(zero_point),
                is_code: true,
            });
        }
    }
    let logit_scale = onnx2int_graph::metadata::logit_scale(integer);
    if let ([logits], Some(scale), Some(real)) = (integer.outputs(), logit_scale, float_logits(float))
        && integer.value(*logits).ty.dtype == onnx2int_graph::DType::I32
    {
        sites.push(Site { float: real, integer: *logits, scale, zero_point: 0, is_code: false });
    }
    sites
}

/// What the float model gives, before a softmax of either kind.
fn float_logits(float: &Graph) -> Option<ValueId> {
    let [output] = float.outputs() else { return None };
    match float.producer(*output) {
        Some((_, node)) if matches!(node.op, Op::LogSoftmax { .. } | Op::Softmax { .. }) => node.input(0),
        _ => Some(*output),
    }
}

/// Sums over the images so far.
#[derive(Default)]
struct Gathered {
    signal: f64,
    noise: f64,
    elements: u64,
    above: u64,
    below: u64,
    float: Vec<u64>,
    integer: Vec<u64>,
    apart: sources::Apart,
}

impl Gathered {
    fn add(&mut self, site: &Site, reals: &Tensor, codes: &Tensor) {
        let Some(reals) = reals.as_slice::<f32>() else { return };
        let codes: Vec<i64> = match (codes.as_slice::<u8>(), codes.as_slice::<i32>()) {
            (Some(codes), _) => codes.iter().map(|&code| i64::from(code)).collect(),
            (_, Some(sums)) => sums.iter().map(|&sum| i64::from(sum)).collect(),
            _ => return,
        };
        // Another shape is another tensor that has the name by chance.
        if reals.len() != codes.len() {
            return;
        }
        self.float.resize(BINS, 0);
        self.integer.resize(BINS, 0);
        for (&real, &code) in reals.iter().zip(&codes) {
            let real = f64::from(real);
            let meant = site.scale * (code - site.zero_point) as f64;
            self.signal += real * real;
            self.noise += (real - meant) * (real - meant);
            self.elements += 1;
            if site.is_code {
                let at = real / site.scale + site.zero_point as f64;
                self.above += u64::from(at > 255.5);
                self.below += u64::from(at < -0.5);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped to a code"
                )]
                let nearest = at.round().clamp(0.0, 255.0) as usize;
                self.float[nearest * BINS / 256] += 1;
                self.integer[usize::try_from(code.clamp(0, 255)).unwrap_or(0) * BINS / 256] += 1;
            }
        }
    }

    fn finish(self, site: &Site, tensor: String, codes: String) -> ActivationNoise {
        let share = |count: u64| if self.elements == 0 { 0.0 } else { count as f64 / self.elements as f64 };
        let bound = |code: i64| site.scale * (code - site.zero_point) as f64;
        ActivationNoise {
            tensor,
            codes,
            scale: site.scale,
            zero_point: site.zero_point,
            elements: self.elements,
            decibels: decibels(self.signal, self.noise),
            sources: self.apart.finish(self.signal),
            above: share(self.above),
            below: share(self.below),
            histogram: site.is_code.then(|| Histogram {
                low: bound(0),
                high: bound(255),
                float: self.float,
                integer: self.integer,
            }),
        }
    }
}

fn decibels(signal: f64, noise: f64) -> Option<f64> {
    let decibels = 10.0 * (signal / noise).log10();
    decibels.is_finite().then_some(decibels)
}

/// Every constant of the float model that the quantized one holds as `i8` under the same name and `_quantized`.
fn weights(float: &Graph, quantized: &Graph) -> Vec<WeightNoise> {
    let mut found = Vec::new();
    for (_, node) in quantized.nodes() {
        let Op::DequantizeLinear { axis } = node.op else { continue };
        let Some(codes) = quantized.operand(node, 0) else { continue };
        let name = codes.name.strip_suffix("_quantized").unwrap_or(&codes.name);
        let Some(real) = float.value_by_name(name).and_then(|id| float.value(id).constant()) else {
            continue;
        };
        let scales = quantized.constant_operand(node, 1).and_then(Tensor::as_slice::<f32>);
        let tensors = codes.constant().map(|codes| (codes.as_slice::<i8>(), codes.shape() == real.shape()));
        if let (Some(scales), Some((Some(codes), true)), Some(reals)) =
            (scales, tensors, real.as_slice::<f32>())
        {
            let axis = usize::try_from(axis).unwrap_or(0).min(real.rank().saturating_sub(1));
            found.push(weight(name, axis, real.shape(), scales, reals, codes));
        }
    }
    found
}

fn weight(
    name: &str,
    axis: usize,
    shape: &[usize],
    scales: &[f32],
    reals: &[f32],
    codes: &[i8],
) -> WeightNoise {
    let inner: usize = shape[axis.min(shape.len())..].iter().skip(1).product::<usize>().max(1);
    let mut sums = vec![(0.0_f64, 0.0_f64); scales.len()];
    for (index, (&real, &code)) in reals.iter().zip(codes).enumerate() {
        let channel = if scales.len() == 1 { 0 } else { index / inner % scales.len() };
        let (real, meant) = (f64::from(real), f64::from(scales[channel]) * f64::from(code));
        sums[channel].0 += real * real;
        sums[channel].1 += (real - meant) * (real - meant);
    }
    let total = sums.iter().fold((0.0, 0.0), |sum, channel| (sum.0 + channel.0, sum.1 + channel.1));
    let worst = (0..sums.len())
        .filter_map(|channel| Some((channel, decibels(sums[channel].0, sums[channel].1)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|_| scales.len() > 1);
    WeightNoise {
        tensor: name.to_owned(),
        scales: scales.len(),
        decibels: decibels(total.0, total.1),
        worst_channel: worst.map(|(channel, _)| channel),
        worst_decibels: worst.map(|(_, decibels)| decibels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_are_those_of_the_definition() {
        assert_eq!(decibels(100.0, 1.0), Some(20.0));
        assert_eq!([decibels(0.0, 1.0), decibels(1.0, 0.0), decibels(0.0, 0.0)], [None; 3]);
    }

    #[test]
    fn each_channel_has_its_scale() {
        // [2, 2]: channel 0 is exact, channel 1 is off by 0.5 in one of its elements.
        let found = weight("w", 0, &[2, 2], &[1.0, 2.0], &[1.0, -3.0, 4.5, 2.0], &[1, -3, 2, 1]);
        let expected = 10.0 * ((4.5_f64 * 4.5 + 4.0) / 0.25).log10();
        assert_eq!((found.scales, found.worst_channel, found.worst_decibels), (2, Some(1), Some(expected)));
        // Along the other axis.
        let found = weight("w", 1, &[2, 2], &[1.0, 2.0], &[1.0, -6.0, 4.5, 2.0], &[1, -3, 4, 1]);
        assert_eq!(found.worst_channel, Some(0));
        let found = weight("w", 0, &[2, 2], &[1.0], &[1.0, 2.0, 3.0, 4.0], &[1, 2, 3, 4]);
        assert_eq!((found.scales, found.decibels, found.worst_channel), (1, None, None));
    }

    #[test]
    fn what_lies_beyond_the_codes_is_counted_and_not_lost_from_the_histogram() {
        let values: Vec<ValueId> = {
            let mut editor = onnx2int_graph::GraphEditor::new("one");
            let ty = onnx2int_graph::TensorType::fixed(onnx2int_graph::DType::F32, &[4]);
            vec![editor.add_input("x", ty).unwrap()]
        };
        let site = Site { float: values[0], integer: values[0], scale: 0.5, zero_point: 10, is_code: true };
        let mut gathered = Gathered::default();
        let reals = Tensor::vector(vec![-5.0_f32, -6.0, 122.5, 200.0]);
        gathered.add(&site, &reals, &Tensor::vector(vec![0_u8, 0, 255, 255]));
        let noise = gathered.finish(&site, "x".to_owned(), "q".to_owned());
        assert_eq!((noise.elements, noise.above, noise.below), (4, 0.25, 0.25));
        let histogram = noise.histogram.unwrap();
        assert_eq!((histogram.low, histogram.high), (-5.0, 122.5));
        assert_eq!((histogram.float[0], histogram.float[BINS - 1]), (2, 2));
        assert_eq!(histogram.integer.iter().sum::<u64>(), 4);
    }
}
