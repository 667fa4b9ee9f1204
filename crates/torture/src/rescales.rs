//! Every rescale of an integer graph against exact arithmetic, on accumulators from all over its
//! proven range.

use onnx2int_graph::range::{self, ChannelRange, Interval, Ranges};
use onnx2int_graph::{
    DType, Dim, Graph, GraphEditor, Node, Op, Tensor, TensorType, ValueId, Verified, verify,
};
use onnx2int_interpreter::run;
use onnx2int_transforms::Site;

use crate::Fault;
use crate::exact::wanted;
use crate::noise::Noise;
use crate::sums::Sum;

/// A float quantizer of the integer stage.
#[derive(Clone, Debug)]
pub(crate) struct Quantizer {
    /// Its name, and that of the `Cast` that takes its place.
    pub(crate) node: String,
    /// The name of the accumulator that it quantizes.
    pub(crate) accumulator: String,
    /// One scale, or one for each channel.
    scales: Vec<f32>,
    zero_point: u8,
    /// What the accumulator can be as far as the integer stage knows, which is what the rescale was
    /// made for. The last stage may know better: a byte that is always 0, for one.
    range: ChannelRange,
}

impl Quantizer {
    /// Every quantizer of an accumulator of a graph at the integer stage.
    pub(crate) fn all(graph: &Graph) -> Result<Vec<Self>, Fault> {
        let ranges = range::analyze(verify(graph)?);
        let quantizers = graph.nodes().filter(|(_, node)| {
            matches!(node.op, Op::QuantizeLinear { .. }) && Sum::of(graph, node).is_none()
        });
        quantizers
            .map(|(_, node)| {
                Self::of(graph, &ranges, node)
                    .ok_or_else(|| Fault::form(&node.name, "a quantizer of an accumulator"))
            })
            .collect()
    }

    fn of(graph: &Graph, ranges: &Ranges, node: &Node) -> Option<Self> {
        let (_, cast) = graph.producer(node.input(0)?)?;
        Some(Self {
            node: node.name.clone(),
            accumulator: graph.operand(cast, 0)?.name.clone(),
            scales: graph.constant_operand(node, 1)?.as_slice::<f32>()?.to_vec(),
            zero_point: *graph.constant_operand(node, 2)?.as_slice::<u8>()?.first()?,
            range: ranges.get(cast.input(0)?)?.clone(),
        })
    }

    /// Units of the output in one of the accumulator, for each channel or one for all.
    pub(crate) fn multipliers(&self) -> Vec<f64> {
        self.scales.iter().map(|&scale| 1.0 / f64::from(scale)).collect()
    }

    /// The scale of a channel, in units of the accumulator.
    pub(crate) fn scale(&self, channel: usize) -> f32 {
        self.scales[if self.scales.len() == 1 { 0 } else { channel }]
    }
}

/// Checks the rescale that took a quantizer's place; gives the largest error bound, in output units.
pub(crate) fn check(
    graph: Verified<'_>,
    quantizer: &Quantizer,
    site: &Site,
    noise: &mut Noise,
) -> Result<f64, Fault> {
    let name = &quantizer.node;
    let chain = Chain::find(graph.graph(), name).ok_or_else(|| Fault::form(name, "a fixed-point rescale"))?;
    let base = graph.value(chain.accumulator);
    if base.name != quantizer.accumulator {
        return Err(Fault::form(name, &format!("a rescale of {:?}", quantizer.accumulator)));
    }
    let channels = base.ty.shape.get(1).and_then(Dim::fixed).unwrap_or(1);
    let range = &quantizer.range;
    let columns: Vec<Vec<i64>> = (0..channels)
        .map(|channel| {
            accumulators(range.channel(channel), quantizer.scale(channel), quantizer.zero_point, noise)
        })
        .collect();
    let results = evaluate(graph.graph(), &chain, &columns)?;
    let mut largest: f64 = 0.0;
    for (channel, (accumulators, results)) in columns.iter().zip(&results).enumerate() {
        let reported = *site
            .error_bounds
            .get(if site.error_bounds.len() == 1 { 0 } else { channel })
            .ok_or_else(|| Fault::form(name, "an error bound for each channel"))?;
        let scale = quantizer.scale(channel);
        let stated = chain.stated_bound(channel, scale, range.channel(channel));
        // 1e-9: the reported bound takes 1 / scale in f64.
        if reported > 0.5 || reported > stated + 1e-9 {
            return Err(Fault::Bound { node: name.clone(), channel, reported, stated });
        }
        largest = largest.max(reported);
        for (&accumulator, &found) in accumulators.iter().zip(results) {
            let wanted = wanted(accumulator, scale, quantizer.zero_point)
                .ok_or_else(|| Fault::form(name, "a scale that exact arithmetic holds"))?;
            let difference = (found - wanted.value).abs();
            if difference > 1 || (difference == 1 && wanted.distance > reported + 1e-9) {
                return Err(Fault::Rescale {
                    node: name.clone(),
                    channel,
                    accumulator,
                    found,
                    wanted: wanted.value,
                    distance: wanted.distance,
                    bound: reported,
                });
            }
        }
    }
    Ok(largest)
}

/// Accumulators worth trying: the ends of the range, around 0, around the points where the result
/// steps or saturates, and any.
fn accumulators(range: Interval, scale: f32, zero_point: u8, noise: &mut Noise) -> Vec<i64> {
    let (low, high) = range;
    let step = |code: f64| ((code - 0.5 - f64::from(zero_point)) * f64::from(scale)).clamp(-4e9, 4e9);
    let mut all = vec![low, low + 1, -1, 0, 1, high - 1, high];
    #[expect(clippy::cast_possible_truncation, reason = "clamped to 33 bits just before")]
    for _ in 0..12 {
        let code = match noise.whole(0, 3) {
            0 => 0,
            1 => 255,
            _ => noise.whole(0, 256),
        };
        let middle = step(code as f64).floor() as i64;
        all.extend(middle - 1..=middle + 2);
        all.push(noise.whole(low, high));
    }
    // Of one number in all channels: they are the columns of a tensor.
    for accumulator in &mut all {
        *accumulator = (*accumulator).clamp(low, high);
    }
    all
}

/// The operators of a rescale, read off the graph.
struct Chain {
    accumulator: ValueId,
    output: ValueId,
    is_pre_shifted: bool,
    low: Vec<i64>,
    pre_divisor: Vec<i64>,
    high: Vec<i64>,
    multiplier: Vec<i64>,
    divisor: Vec<i64>,
}

impl Chain {
    fn find(graph: &Graph, name: &str) -> Option<Self> {
        let cast = graph.node(graph.node_by_name(name)?);
        if !matches!(cast.op, Op::Cast { to: DType::U8 }) {
            return None;
        }
        let mut at = cast.input(0)?;
        // The constant of the operator that makes `at`, if it is that one; then `at` is its operand.
        let mut peel = |op: &Op| {
            let (_, node) = graph.producer(at).filter(|(_, node)| node.op == *op)?;
            let constant = graph.constant_operand(node, 1)?.to_i64_vec()?;
            at = node.input(0)?;
            Some(constant)
        };
        let divisor = peel(&Op::Div)?;
        if peel(&Op::Min).is_some() {
            peel(&Op::Max)?;
        }
        peel(&Op::Add)?;
        let multiplier = peel(&Op::Mul)?;
        let high = peel(&Op::Min)?;
        let pre_divisor = peel(&Op::Div);
        let base = peel(&Op::Sub);
        let low = peel(&Op::Max).unwrap_or_else(|| vec![0]);
        if base.is_some_and(|base| base != low) {
            return None;
        }
        Some(Self {
            accumulator: at,
            output: cast.output,
            is_pre_shifted: pre_divisor.is_some(),
            low,
            pre_divisor: pre_divisor.unwrap_or_else(|| vec![1]),
            high,
            multiplier,
            divisor,
        })
    }

    /// The bound that the design states: `|m / 2^(p+s) - M|` times the largest number multiplied,
    /// what the pre-shift drops, and the rounding of the offset, in output units.
    fn stated_bound(&self, channel: usize, scale: f32, (least, greatest): Interval) -> f64 {
        let at = |values: &[i64]| values[if values.len() == 1 { 0 } else { channel }];
        let real = 1.0 / f64::from(scale);
        let (low, high) = (at(&self.low), at(&self.high));
        let (divisor, pre_divisor) = (at(&self.divisor) as f64, at(&self.pre_divisor) as f64);
        let relative = (at(&self.multiplier) as f64 / (divisor * pre_divisor) - real).abs();
        let rounded = 0.5 / divisor;
        if !self.is_pre_shifted {
            let clipped = |accumulator: i64| accumulator.max(low).min(high).abs();
            return relative * clipped(least).max(clipped(greatest)) as f64 + rounded;
        }
        let span = (greatest.max(low) - low) as f64;
        let largest = span.min((high as f64 + 1.0) * pre_divisor);
        let dropped = if pre_divisor > 1.0 { at(&self.multiplier) as f64 / divisor } else { 0.0 };
        relative * largest + dropped + rounded
    }
}

/// The results for one column of accumulators for each channel.
fn evaluate(graph: &Graph, chain: &Chain, columns: &[Vec<i64>]) -> Result<Vec<Vec<i64>>, Fault> {
    let rank = graph.value(chain.accumulator).ty.rank();
    let (rows, channels) = (columns[0].len(), columns.len());
    let mut editor = GraphEditor::from(graph.clone());
    let mut shape = vec![Dim::Fixed(1); rank];
    shape[0] = Dim::symbol("accumulators");
    shape[1] = channels.into();
    let name = editor.unique_name("accumulators");
    let input = editor.add_input(&name, TensorType::new(DType::I32, shape))?;
    editor.redirect_uses(chain.accumulator, input);
    editor.set_outputs([chain.output]);
    let alone = editor.finish()?;
    let image = alone.value(alone.inputs()[0]);
    let extents: Vec<_> = image.ty.shape.iter().map(|dim| dim.fixed().unwrap_or(1)).collect();
    let zeros = Tensor::from_vec(&extents, vec![0_u8; extents.iter().product()]).expect("one byte each");
    let mut extents = vec![1; rank];
    (extents[0], extents[1]) = (rows, channels);
    let elements = (0..rows).flat_map(|row| columns.iter().map(move |column| column[row]));
    let elements: Option<Vec<i32>> = elements.map(|element| i32::try_from(element).ok()).collect();
    let elements = elements.ok_or_else(|| Fault::form(&name, "accumulators that fit int32"))?;
    let accumulators = Tensor::from_vec(&extents, elements).expect("rows of one element each channel");
    let outputs =
        run(verify(&alone)?, &[zeros, accumulators]).map_err(|source| Fault::run("a rescale", source))?;
    let results = outputs[0].to_i64_vec().ok_or_else(|| Fault::form(&name, "integers"))?;
    Ok((0..channels)
        .map(|channel| results.iter().skip(channel).step_by(channels).copied().collect())
        .collect())
}
