//! Compares the graph before a transform with the one after, on numbers.

use onnx2int_graph::metadata::{self, Normalization};
use onnx2int_graph::{DType, Op, Relation, Tensor, ValueId, Verified};
use serde::{Deserialize, Serialize};

use crate::{Executor, Probe};

/// The greatest gap between logits of the same real function, as a part of the largest logit.
///
/// Float kernels round differently, which now and then moves an 8-bit activation by one unit. In a
/// small or in a deep network a single one can matter more, so that one image in sixteen, and one at
/// least, may have a gap up to a tenth; a pass that changes the function changes it on all images.
pub const SAME_FUNCTION_TOLERANCE: f64 = 2e-3;

/// Of so many images, one may have an activation that fell to the other side of a rounding
/// boundary and matters more.
const IMAGES_FOR_ONE_OUTLIER: usize = 16;

/// The greatest gap between logits of any image, as a part of the largest logit.
const OUTLIER_TOLERANCE: f64 = 1e-1;

/// The greatest gap between logits before and after a rescale that may be off by one unit, as a
/// part of the largest logit: one unit of 255 in every activation.
pub const WITHIN_ONE_UNIT_TOLERANCE: f64 = 2e-2;

/// Logits that differ by less than this part of the largest are a tie, whose winner float
/// rounding may change.
const TIE: f64 = 1e-5;

/// How the outputs of two graphs compare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// Images compared.
    pub images: usize,
    /// Images whose greatest logit is at another class.
    pub argmax_changes: usize,
    /// The largest magnitude of a logit before.
    pub largest_logit: f64,
    /// The greatest difference between logits, in the units of the graph before; none where the
    /// two do not speak in the same units.
    pub largest_gap: Option<f64>,
}

/// Why a comparison failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProbeError {
    /// The model's input or output is not that of an image classifier, or the images are not
    /// those that it takes.
    #[error("expected {expected}, found {found}")]
    Interface {
        /// What can be compared.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The executor could not run one of the two.
    #[error("the model {which} the transform does not run: {message}")]
    Run {
        /// `before` or `after`.
        which: &'static str,
        /// The executor's words.
        message: String,
    },
    /// Logits are further apart than the relation allows.
    #[error(
        "image {image}, class {class}: logit {before} became {after}, a gap of more than {tolerance:e} of \
         the largest logit {largest}"
    )]
    Gap {
        /// The index of the probe image.
        image: usize,
        /// The class.
        class: usize,
        /// The logit before.
        before: f64,
        /// The logit after, in the same units.
        after: f64,
        /// What is allowed.
        tolerance: f64,
        /// The largest magnitude of a logit before.
        largest: f64,
    },
    /// A logit is not the same number.
    #[error("image {image}, class {class}: logit {before} became {after}, expected the same bits")]
    Bits {
        /// The index of the probe image.
        image: usize,
        /// The class.
        class: usize,
        /// The logit before.
        before: f64,
        /// The logit after.
        after: f64,
    },
    /// Another class has the greatest logit, and it was no tie.
    #[error("image {image}: class {before} became class {after}")]
    Argmax {
        /// The index of the probe image.
        image: usize,
        /// The class before.
        before: usize,
        /// The class after.
        after: usize,
    },
    /// A logit is not a finite number.
    #[error("image {image}, class {class}: the logit {which} the transform is {value}")]
    NotFinite {
        /// The index of the probe image.
        image: usize,
        /// The class.
        class: usize,
        /// `before` or `after`.
        which: &'static str,
        /// The value.
        value: f64,
    },
}

/// Runs both graphs on the probe's images and compares them as `relation` says; without images there
/// is nothing to compare.
///
/// # Errors
/// [`ProbeError`]; the graphs differ by more than the relation allows, or one does not run.
pub fn compare(
    before: Verified<'_>,
    after: Verified<'_>,
    relation: Relation,
    executor: &dyn Executor,
    probe: &Probe,
) -> Result<ProbeResult, ProbeError> {
    if probe.images.is_empty() {
        return Ok(ProbeResult { images: 0, argmax_changes: 0, largest_logit: 0.0, largest_gap: None });
    }
    let normalization = Normalization::of(&before).unwrap_or_else(|| probe.normalization.clone());
    let old = Logits::of(before, "before", executor, &probe.images, &normalization)?;
    let new = Logits::of(after, "after", executor, &probe.images, &normalization)?;
    if old.len() != new.len() {
        return interface(format!("{} outputs, as before", old.len()), new.len().to_string());
    }
    let depth = depth(before);
    let mut result = ProbeResult {
        images: old[0].images(),
        argmax_changes: 0,
        largest_logit: 0.0,
        largest_gap: Some(0.0),
    };
    for (old, new) in old.iter().zip(&new) {
        let one = compare_output(old, new, relation, depth)?;
        result.argmax_changes += one.argmax_changes;
        result.largest_logit = result.largest_logit.max(one.largest_logit);
        result.largest_gap = result.largest_gap.zip(one.largest_gap).map(|(a, b)| a.max(b));
    }
    Ok(result)
}

fn compare_output(
    old: &Logits,
    new: &Logits,
    relation: Relation,
    depth: f64,
) -> Result<ProbeResult, ProbeError> {
    if old.values.len() != new.values.len() || old.classes != new.classes {
        return interface(
            format!("{} logits for each image, as before", old.classes),
            new.classes.to_string(),
        );
    }
    let largest = old.values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let changes: Vec<usize> =
        (0..old.images()).filter(|&image| old.argmax(image) != new.argmax(image)).collect();
    let same_units = relation != Relation::SameArgmax && old.unit.is_some() && new.unit.is_some();
    let result = ProbeResult {
        images: old.images(),
        argmax_changes: changes.len(),
        largest_logit: largest,
        largest_gap: same_units
            .then(|| old.values.iter().zip(&new.values).fold(0.0, |gap: f64, (a, b)| gap.max((a - b).abs()))),
    };
    let outliers = old.images().div_ceil(IMAGES_FOR_ONE_OUTLIER);
    match relation {
        Relation::Origin | Relation::Accuracy => {}
        Relation::SameArgmax => check_argmax(old, new, &changes, TIE * largest)?,
        Relation::SameBits => check_bits(old, new)?,
        Relation::SameFunction => {
            check_gap(old, new, same_units, SAME_FUNCTION_TOLERANCE * depth, outliers, largest)?;
            check_gap(old, new, same_units, OUTLIER_TOLERANCE, 0, largest)?;
        }
        Relation::WithinOneUnit => {
            check_gap(old, new, same_units, WITHIN_ONE_UNIT_TOLERANCE * depth, outliers, largest)?;
            check_gap(old, new, same_units, OUTLIER_TOLERANCE, 0, largest)?;
        }
    }
    Ok(result)
}

/// Every output is the same number. The units must be the same too: a new unit is another output.
fn check_bits(old: &Logits, new: &Logits) -> Result<(), ProbeError> {
    let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits();
    let Some(index) = old.values.iter().zip(&new.values).position(|pair| !same(pair)) else {
        return Ok(());
    };
    let (image, class) = (index / old.classes, index % old.classes);
    Err(ProbeError::Bits { image, class, before: old.values[index], after: new.values[index] })
}

/// An argmax may change only where the two classes had the same logit, or nearly so.
fn check_argmax(old: &Logits, new: &Logits, changes: &[usize], tie: f64) -> Result<(), ProbeError> {
    for &image in changes {
        let (before, after) = (old.argmax(image), new.argmax(image));
        if old.row(image)[before] - old.row(image)[after] > tie {
            return Err(ProbeError::Argmax { image, before, after });
        }
    }
    Ok(())
}

/// Logits within `tolerance` of the largest, but for `outliers` images; where the units differ, the
/// argmax within twice that.
fn check_gap(
    old: &Logits,
    new: &Logits,
    same_units: bool,
    tolerance: f64,
    outliers: usize,
    largest: f64,
) -> Result<(), ProbeError> {
    if !same_units {
        let changes: Vec<usize> = (0..old.images()).filter(|&i| old.argmax(i) != new.argmax(i)).collect();
        return check_argmax(old, new, &changes, 2.0 * tolerance * largest);
    }
    // Rounding to quantized logits can move two numbers apart by a step, however coarse that is.
    let allowed = tolerance * largest + old.step.max(new.step) * STEPS;
    let mut apart = (0..old.images()).filter_map(|image| {
        let pairs = old.row(image).iter().zip(new.row(image));
        let (class, (&before, &after)) =
            pairs.enumerate().find(|(_, (before, after))| (*before - *after).abs() > allowed)?;
        Some(ProbeError::Gap { image, class, before, after, tolerance, largest })
    });
    match apart.nth(outliers) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The logits of a number of images.
struct Logits {
    /// Row-major `[images, classes]`, in real units where those are known.
    values: Vec<f64>,
    classes: usize,
    /// What one unit of the output stands for, if that is known.
    unit: Option<f64>,
    /// The step between two values of quantized logits, 0 for others.
    step: f64,
}

/// Steps that quantized logits may move beside the tolerance: one by an activation that fell to the
/// other side of a rounding boundary, one by rounding the logit itself.
const STEPS: f64 = 2.001;

/// So many quantizers are what the tolerances are made for; the units that float rounding moves add
/// up as the square root of their number.
const USUAL_QUANTIZERS: f64 = 4.0;

/// What a deep network's tolerances are multiplied by.
fn depth(graph: Verified<'_>) -> f64 {
    let quantizers = graph.nodes().filter(|(_, node)| matches!(node.op, Op::QuantizeLinear { .. })).count();
    (quantizers as f64 / USUAL_QUANTIZERS).sqrt().max(1.0)
}

/// The step between two values of an output that is dequantized codes or integers.
fn step(graph: Verified<'_>, output: ValueId, unit: Option<f64>) -> f64 {
    let scale = graph.producer(output).and_then(|(_, node)| match node.op {
        Op::DequantizeLinear { .. } => graph.constant_operand(node, 1)?.as_single::<f32>(),
        _ => None,
    });
    match graph.value(output).ty.dtype {
        DType::F32 => scale.map_or(0.0, f64::from),
        _ => unit.unwrap_or(0.0),
    }
}

impl Logits {
    /// Those of every output, in order.
    fn of(
        graph: Verified<'_>,
        which: &'static str,
        executor: &dyn Executor,
        images: &Tensor,
        normalization: &Normalization,
    ) -> Result<Vec<Self>, ProbeError> {
        let input = model_input(graph, images, normalization)?;
        let outputs = executor.run(graph, &[input]).map_err(|message| ProbeError::Run { which, message })?;
        let pairs = graph.outputs().iter().zip(&outputs);
        pairs.map(|(&output, tensor)| Self::of_output(graph, which, output, tensor, images)).collect()
    }

    fn of_output(
        graph: Verified<'_>,
        which: &'static str,
        output: ValueId,
        tensor: &Tensor,
        images: &Tensor,
    ) -> Result<Self, ProbeError> {
        let Some((&rows, extents)) = tensor.shape().split_first() else {
            return interface("logits for each image", "a single number".to_owned());
        };
        // Maps of features are compared as one row of numbers.
        let classes = extents.iter().product();
        if Some(&rows) != images.shape().first() || classes == 0 {
            return interface("a row of logits for each image", format!("{:?}", tensor.shape()));
        }
        let unit = match tensor.dtype() {
            DType::F32 => Some(1.0),
            _ => metadata::scale_of_output(&graph, output),
        };
        let values = match tensor.as_slice::<f32>() {
            Some(values) => values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>(),
            None => match tensor.to_i64_vec() {
                Some(values) => values.into_iter().map(|value| value as f64 * unit.unwrap_or(1.0)).collect(),
                None => return interface("numbers as logits", tensor.dtype().to_string()),
            },
        };
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let (image, class) = (index / classes, index % classes);
            return Err(ProbeError::NotFinite { image, class, which, value: values[index] });
        }
        Ok(Self { values, classes, unit, step: step(graph, output, unit) })
    }

    fn images(&self) -> usize {
        self.values.len() / self.classes
    }

    fn row(&self, image: usize) -> &[f64] {
        &self.values[image * self.classes..][..self.classes]
    }

    /// The first of the greatest.
    fn argmax(&self, image: usize) -> usize {
        let row = self.row(image);
        (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
    }
}

fn interface<T>(expected: impl Into<String>, found: String) -> Result<T, ProbeError> {
    Err(ProbeError::Interface { expected: expected.into(), found })
}

/// The images as the model takes them: bytes, or normalized floats.
fn model_input(
    graph: Verified<'_>,
    images: &Tensor,
    normalization: &Normalization,
) -> Result<Tensor, ProbeError> {
    let &[input] = graph.inputs() else {
        return interface("a model with one input", format!("{} inputs", graph.inputs().len()));
    };
    let input = graph.value(input);
    let shape = images.shape();
    let fits = input.ty.rank() == shape.len()
        && input.ty.shape.iter().zip(shape).all(|(dim, &extent)| dim.fixed().is_none_or(|dim| dim == extent));
    let (Some(pixels), true) = (images.as_slice::<u8>(), fits) else {
        let found = format!("{}{:?} for input {:?} of type {}", images.dtype(), shape, input.name, input.ty);
        return interface("images as uint8 of the input's shape", found);
    };
    match input.ty.dtype {
        DType::U8 => Ok(images.clone()),
        DType::F32 => {
            let (channels, plane) = (shape.get(1).copied().unwrap_or(1), shape.iter().skip(2).product());
            if !normalization.fits(channels) {
                let found = format!("{} of them for {channels} channels", normalization.channels());
                return interface("one mean and std, or one for each channel of the images", found);
            }
            let values = normalization.normalize(pixels, channels, plane);
            Ok(Tensor::from_vec::<f32>(shape, values).expect("as many floats as pixels"))
        }
        _ => interface("an input of float32 or uint8", input.ty.to_string()),
    }
}
