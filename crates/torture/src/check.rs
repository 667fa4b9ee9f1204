//! One network through the whole pipeline, and everything that must hold of it on the way.

use std::collections::HashMap;

use onnx2int_graph::metadata::{self, Normalization};
use onnx2int_graph::range::{self, Ranges};
use onnx2int_graph::{DType, Graph, GraphEditor, Op, Stage, Tensor, ValueId, Verified, verify, verify_stage};
use onnx2int_interpreter::{run, run_observed};
use onnx2int_transforms::{Options, RewriteLog, Site, TransformError, pipeline};

use crate::Fault;
use crate::forced::{Forced, Rescaled};
use crate::images::images;
use crate::noise::Noise;
use crate::refusal::{self, Refusal};
use crate::rescales::{self, Quantizer};
use crate::sums::Sum;
use crate::{engine, sanitized, tables};

/// What became of a network in which nothing is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is integers only.
    Lowered {
        /// Float quantizers that are integer arithmetic now.
        rescales: usize,
        /// Those of them with a pre-shift.
        pre_shifted: usize,
        /// Functions of one byte that are tables now.
        tables: usize,
        /// Sums of two branches that are fixed-point arithmetic now.
        sums: usize,
        /// The largest error bound of a rescale or a sum, in output units.
        error_bound: f64,
    },
    /// A transform, or the verifier behind it, refused it by name, and had to.
    Refused(Refusal),
}

/// Takes a QDQ graph through all transforms and checks:
///
/// - every stage keeps its rules, and survives a round trip through text and through ONNX bytes;
/// - no integer leaves its type and none its proven range, on extreme and random images, in the
///   integer stages;
/// - the stages up to pruned give the same bits; an average, which the first of them rewrites, gives
///   the same but for float rounding, and a float bias is rounded to the units of its layer;
/// - each function of one byte is its table, for every code and channel;
/// - each sum of two branches is within its reported bound of exact arithmetic, for every two bytes;
/// - each layer of the integer graph gives what the QDQ graph's layer gives for the same bytes;
/// - each rescale is within its reported bound of exact arithmetic, all over the range of its
///   accumulator, and the reported bound is within the one that the design states;
/// - the last graph has no float, and the engine gives the interpreter's bits with every kernel;
/// - a refusal is one of [`refusal::LEGITIMATE`], and the network gives cause for it.
///
/// The images follow from the graph alone, so that a graph that was written down fails again.
///
/// # Errors
/// The first thing that does not hold.
pub fn check(graph: &Graph) -> Result<Outcome, Fault> {
    match lower(graph)? {
        Ok(lowered) => lowered.check(&images(graph, &mut Noise::new(0))),
        Err(refusal) => Ok(Outcome::Refused(refusal)),
    }
}

/// A network at every stage from quantized on, and what the last transform reported.
struct Lowered {
    stages: Vec<(Stage, Graph)>,
    sites: Vec<Site>,
}

/// Applies every transform, or tells which one refused.
fn lower(graph: &Graph) -> Result<Result<Lowered, Refusal>, Fault> {
    verify_stage(graph, Stage::Quantized)?;
    let mut lowered = Lowered { stages: vec![(Stage::Quantized, graph.clone())], sites: Vec::new() };
    for transform in pipeline(&Options::default()) {
        let before = lowered.at(transform.from());
        let mut log = RewriteLog::default();
        let verified = verify_stage(before, transform.from())?;
        let interpreter =
            |graph: Verified<'_>, inputs: &[Tensor]| run(graph, inputs).map_err(|error| error.to_string());
        let stage = transform.makes();
        let rewritten = match transform.rewrite(verified, &interpreter, &mut log) {
            Ok(rewritten) => rewritten,
            Err(error @ (TransformError::Refused { .. } | TransformError::Model { .. })) => {
                let rule = error.rule().unwrap_or_default();
                return refusal::judge(graph, stage, rule, &error.to_string()).map(Err);
            }
            Err(source) => return Err(Fault::Transform { stage, source }),
        };
        if log.sites().is_empty() && !transform.noop_allowed() {
            return Err(Fault::NothingToDo { stage });
        }
        let mut editor = GraphEditor::from(rewritten);
        editor.set_metadata(metadata::STAGE, stage.name());
        let after = editor.finish()?;
        if let Err(error) = verify_stage(&after, stage) {
            let rule = error.violations[0].rule;
            return refusal::judge(graph, stage, rule, &error.to_string()).map(Err);
        }
        lowered.stages.push((stage, after));
        lowered.sites = log.into_sites();
    }
    Ok(Ok(lowered))
}

impl Lowered {
    fn at(&self, stage: Stage) -> &Graph {
        &self.stages[stage.index() - Stage::Quantized.index()].1
    }

    fn check(&self, images: &[Tensor]) -> Result<Outcome, Fault> {
        let quantized = sanitized::with_rounded_biases(self.at(Stage::Quantized))?;
        let normalization = Normalization::of(&quantized).unwrap_or_default();
        for (stage, graph) in &self.stages {
            round_trips(*stage, graph)?;
        }
        for image in images {
            self.same_bits(&quantized, image, &normalization)?;
            let image = normalized(image, &normalization);
            sanitized::check(&quantized, self.at(Stage::Sanitized), &image, &mut Noise::new(2))?;
        }
        for image in images {
            within_ranges(self.at(Stage::Integer), Stage::Integer, image)?;
            within_ranges(self.at(Stage::ScaleOut), Stage::ScaleOut, image)?;
        }
        let integers = self.at(Stage::ScaleOut);
        if integers.values().any(|(_, value)| value.ty.dtype == DType::F32) {
            return Err(Fault::form(integers.name(), "integers only"));
        }
        let verified = verify(integers)?;
        engine::check(verified, images)?;
        let noise = &mut Noise::new(1);
        let tables = tables::check(self.at(Stage::Pruned), integers)?;
        let (mut outcome, rescales) = check_rescales(self.at(Stage::Integer), verified, &self.sites, noise)?;
        if let Outcome::Lowered { tables: count, .. } = &mut outcome {
            *count = tables;
        }
        let forced = Forced::new(self.at(Stage::Pruned), verified, &rescales)?;
        for image in images {
            forced.check(image)?;
        }
        Ok(outcome)
    }

    /// Up to pruned, every transform keeps every bit; sanitize may drop a softmax, and rewrites averages.
    /// `quantized` is the first stage with its biases rounded.
    fn same_bits(
        &self,
        quantized: &Graph,
        image: &Tensor,
        normalization: &Normalization,
    ) -> Result<(), Fault> {
        let mut before: Option<(Tensor, &Graph)> = None;
        let first = std::iter::once((Stage::Quantized, quantized));
        let others = self.stages.iter().skip(1).map(|(stage, graph)| (*stage, graph));
        for (stage, graph) in first.chain(others).take_while(|(stage, _)| *stage <= Stage::Pruned) {
            let input = match graph.value(graph.inputs()[0]).ty.dtype {
                DType::F32 => normalized(image, normalization),
                _ => image.clone(),
            };
            let output = run(verify(graph)?, &[input])
                .map_err(|source| Fault::run(stage.name(), source))?
                .swap_remove(0);
            if let Some((expected, graph)) = &before
                && bits(expected) != bits(&output)
                && !ends_in_softmax(graph)
                && !sanitized::has_average(graph)
            {
                return Err(Fault::Changed { stage });
            }
            before = Some((output, graph));
        }
        Ok(())
    }
}

/// Text and ONNX bytes give the same graph back.
fn round_trips(stage: Stage, graph: &Graph) -> Result<(), Fault> {
    let text = graph.to_full_text();
    match Graph::from_text(&text) {
        Ok(read) if read == *graph => {}
        Ok(_) => return Err(Fault::RoundTrip { stage, form: "text", message: "another graph".to_owned() }),
        Err(error) => return Err(Fault::RoundTrip { stage, form: "text", message: error.to_string() }),
    }
    match onnx2int_onnx_format::decode(&onnx2int_onnx_format::encode(verify(graph)?)) {
        Ok(read) if read == *graph => Ok(()),
        Ok(_) => Err(Fault::RoundTrip { stage, form: "ONNX", message: "another graph".to_owned() }),
        Err(error) => Err(Fault::RoundTrip { stage, form: "ONNX", message: error.to_string() }),
    }
}

fn ends_in_softmax(graph: &Graph) -> bool {
    graph.producer(graph.outputs()[0]).is_some_and(|(_, node)| matches!(node.op, Op::LogSoftmax { .. }))
}

fn bits(tensor: &Tensor) -> Option<Vec<u32>> {
    Some(tensor.as_slice::<f32>()?.iter().map(|value| value.to_bits()).collect())
}

fn normalized(image: &Tensor, normalization: &Normalization) -> Tensor {
    let pixels = image.as_slice::<u8>().unwrap_or_default();
    let (channels, plane) = (image.shape()[1], image.shape()[2..].iter().product());
    let values = normalization.normalize(pixels, channels, plane);
    Tensor::from_vec::<f32>(image.shape(), values).expect("as many floats as pixels")
}

/// Runs with checked arithmetic; every integer is inside its proven interval.
fn within_ranges(graph: &Graph, stage: Stage, image: &Tensor) -> Result<(), Fault> {
    let verified = verify(graph)?;
    let ranges = range::analyze(verified);
    let mut outside = None;
    let mut observe = |value: ValueId, tensor: &Tensor| {
        if outside.is_none() {
            outside = first_outside(graph, &ranges, value, tensor);
        }
    };
    run_observed(verified, std::slice::from_ref(image), &mut observe)
        .map_err(|source| Fault::run(stage.name(), source))?;
    outside.map_or(Ok(()), Err)
}

fn first_outside(graph: &Graph, ranges: &Ranges, value: ValueId, tensor: &Tensor) -> Option<Fault> {
    let range = ranges.get(value)?;
    let inner: usize = tensor.shape().iter().skip(2).product();
    let channels = tensor.shape().get(1).copied().unwrap_or(1);
    tensor.to_i64_vec()?.into_iter().enumerate().find_map(|(index, found)| {
        let channel = index / inner % channels;
        let interval = range.channel(channel);
        let is_inside = interval.0 <= found && found <= interval.1;
        (!is_inside).then(|| Fault::Range {
            value: graph.value(value).name.clone(),
            channel,
            found,
            interval,
        })
    })
}

/// Checks every rescale; gives what is known of each by the name of its quantizer.
fn check_rescales(
    integer: &Graph,
    lowered: Verified<'_>,
    sites: &[Site],
    noise: &mut Noise,
) -> Result<(Outcome, HashMap<String, Rescaled>), Fault> {
    let (mut pre_shifted, mut error_bound) = (0, 0.0_f64);
    let mut rescaled = HashMap::new();
    let site_of = |name: &str| {
        sites.iter().find(|site| site.node == name).ok_or_else(|| Fault::form(name, "a site in the log"))
    };
    for quantizer in Quantizer::all(integer)? {
        let site = site_of(&quantizer.node)?;
        error_bound = error_bound.max(rescales::check(lowered, &quantizer, site, noise)?);
        let shifts = site.notes.iter().find(|note| note.name == "most pre-shift bits");
        pre_shifted += usize::from(shifts.is_some_and(|note| note.value > 0.0));
        rescaled.insert(
            quantizer.node.clone(),
            Rescaled {
                multipliers: quantizer.multipliers(),
                bounds: site.error_bounds.clone(),
                accumulator: Some(quantizer.accumulator),
            },
        );
    }
    let rescales = rescaled.len();
    let quantizers = integer.nodes().filter(|(_, node)| matches!(node.op, Op::QuantizeLinear { .. }));
    for sum in quantizers.filter_map(|(_, node)| Sum::of(integer, node)) {
        let site = site_of(&sum.node)?;
        error_bound = error_bound.max(sum.check(lowered, site)?);
        let multipliers = sum.multipliers.iter().map(|multiplier| multiplier.abs()).sum();
        rescaled.insert(
            sum.node,
            Rescaled { multipliers: vec![multipliers], bounds: site.error_bounds.clone(), accumulator: None },
        );
    }
    let sums = rescaled.len() - rescales;
    Ok((Outcome::Lowered { rescales, pre_shifted, tables: 0, sums, error_bound }, rescaled))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network of one hidden layer.
    const NETWORK: &str = include_str!("../tests/one_hidden_layer.graph");

    /// One with a function of a byte for each channel, and a difference of two branches.
    const BRANCHES: &str = include_str!("../tests/table_and_sum.graph");

    fn damaged(constant: &str, change: impl Fn(i64) -> i64) -> Result<Outcome, Fault> {
        damaged_network(NETWORK, constant, change)
    }

    /// The network with one constant of its last stage changed.
    fn damaged_network(network: &str, constant: &str, change: impl Fn(i64) -> i64) -> Result<Outcome, Fault> {
        let graph = Graph::from_text(network).unwrap();
        let mut lowered = lower(&graph).unwrap().unwrap();
        let last = lowered.stages.last_mut().unwrap();
        let mut editor = GraphEditor::from(last.1.clone());
        let old = last.1.value_by_name(constant).unwrap_or_else(|| panic!("{}", last.1.to_text()));
        let tensor = last.1.value(old).constant().unwrap();
        let values: Vec<i64> = tensor.to_i64_vec().unwrap().into_iter().map(change).collect();
        let changed = match tensor.dtype() {
            DType::U8 => Tensor::from_vec(tensor.shape(), values.iter().map(|&value| value as u8).collect()),
            _ => Tensor::from_vec(tensor.shape(), values.iter().map(|&value| value as i32).collect()),
        };
        let new = editor.add_constant("changed", changed.unwrap()).unwrap();
        editor.replace_uses(old, new).unwrap();
        last.1 = editor.finish().unwrap();
        lowered.check(&images(&graph, &mut Noise::new(0)))
    }

    #[test]
    fn an_undamaged_network_passes() {
        assert!(matches!(damaged("conv_q_high", |value| value), Ok(Outcome::Lowered { rescales: 1, .. })));
    }

    #[test]
    fn a_wrong_rescale_is_seen() {
        for fault in [
            damaged("conv_q_mantissa", |value| value - value / 100),
            damaged("conv_q_offset", |value| value + (1 << 22)),
            damaged("conv_q_high", |value| value / 2),
        ] {
            assert!(matches!(fault, Err(Fault::Rescale { .. } | Fault::Bound { .. })), "{fault:?}");
        }
    }

    #[test]
    fn a_wrong_layer_is_seen() {
        for (constant, change) in [("w1_unsigned", 3), ("b1", 400), ("w2_unsigned", 1)] {
            let fault = damaged(constant, |value| value + change);
            assert!(matches!(fault, Err(Fault::Layer { .. })), "{constant}: {fault:?}");
        }
    }

    #[test]
    fn undamaged_branches_pass() {
        let outcome = damaged_network(BRANCHES, "slope_q_table", |value| value);
        assert!(
            matches!(outcome, Ok(Outcome::Lowered { rescales: 1, tables: 1, sums: 1, .. })),
            "{outcome:?}"
        );
    }

    #[test]
    fn a_wrong_table_is_seen() {
        // One entry of 512.
        let graph = Graph::from_text(BRANCHES).unwrap();
        let lowered = lower(&graph).unwrap().unwrap();
        let last = lowered.at(Stage::ScaleOut);
        let table = last.value(last.value_by_name("slope_q_table").unwrap()).constant().unwrap();
        let table = table.to_i64_vec().unwrap();
        assert_eq!(table.len(), 2 * 256);
        let rarest = (0..=255).find(|byte| table.iter().filter(|entry| *entry == byte).count() == 1);
        let rarest = rarest.unwrap();
        let fault = damaged_network(BRANCHES, "slope_q_table", |value| value + i64::from(value == rarest));
        assert!(matches!(fault, Err(Fault::Table { .. })), "{fault:?}");
        let fault = damaged_network(BRANCHES, "slope_q_channel_offset", |value| value / 256);
        assert!(matches!(fault, Err(Fault::Table { .. })), "{fault:?}");
    }

    #[test]
    fn a_wrong_sum_is_seen() {
        for fault in [
            damaged_network(BRANCHES, "sum_q_a_mantissa", |value| value + value / 100),
            damaged_network(BRANCHES, "sum_q_b_mantissa", |value| -value),
            damaged_network(BRANCHES, "sum_q_offset", |value| value + (1 << 21)),
            damaged_network(BRANCHES, "sum_q_least_dividend", |_| 1 << 29),
        ] {
            assert!(matches!(fault, Err(Fault::Sum { .. } | Fault::Bound { .. })), "{fault:?}");
        }
    }

    #[test]
    fn an_overflow_is_seen() {
        let fault = damaged("b1", |_| i64::from(i32::MAX));
        assert!(matches!(fault, Err(Fault::Run { .. })), "{fault:?}");
    }
}
