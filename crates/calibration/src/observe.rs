//! Runs the float network and chooses the range of each tensor, in constant memory.
//!
//! One pass over the images sees the least and the greatest values; methods that look at how values
//! are spread make a second one, into histograms over these. Batches run on several threads and are
//! gathered in their order, so that the number of threads changes nothing.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;

use onnx2int_dataset::{ImageSource, Normalization};
use onnx2int_graph::{Op, Tensor, ValueId, Verified};
use onnx2int_runtimes::{RuntimeKind, Session, prepare};

use crate::histogram::Histogram;
use crate::{CalibrationError, Method};

/// Values that are looked at side by side.
const LANES: usize = 16;

/// Images that run at once on one thread: one by one what flows between layers stays in the cache.
const FLOAT_BATCH: usize = 1;

/// The same where each run turns all weights into floats first.
const QUANTIZED_BATCH: usize = 20;

/// What a moving average keeps of the past with each image.
const KEPT: f64 = 0.99;

/// The range of each observed tensor.
pub(crate) type Observed = BTreeMap<ValueId, (f32, f32)>;

/// The float network, what is observed in it, and on what.
#[derive(Clone, Copy)]
pub(crate) struct Observation<'a> {
    pub(crate) graph: Verified<'a>,
    pub(crate) values: &'a [ValueId],
    pub(crate) images: &'a dyn ImageSource,
    pub(crate) indices: &'a [usize],
    pub(crate) normalization: &'a Normalization,
    pub(crate) threads: usize,
}

/// The range of each value, by the method that `method_of` names for it.
pub(crate) fn observe(
    observation: Observation<'_>,
    method_of: impl Fn(ValueId) -> Method,
) -> Result<Observed, CalibrationError> {
    let values = observation.values;
    if values.is_empty() {
        return Ok(Observed::new());
    }
    let session = prepare(RuntimeKind::Tract, observation.graph, values)?;
    let scanner = Scanner { observation, session: session.as_ref() };
    let extremes = scanner.scan(|_| Range::default(), Range::see, |whole, part| whole.merge(&part))?;
    if let Some(position) = extremes.iter().position(|range| !range.finite) {
        let tensor = observation.graph.value(values[position]).name.clone();
        return Err(CalibrationError::NotFinite { tensor });
    }
    let methods: Vec<Method> = values.iter().map(|&value| method_of(value)).collect();
    let averages = match methods.contains(&Method::MovingAverage) {
        true => scanner.scan(|_| Average::default(), Average::see, |whole, part| whole.merge(&part))?,
        false => Vec::new(),
    };
    let is_spread = |method: &Method| {
        matches!(method, Method::Percentile(_) | Method::Entropy | Method::MeanSquaredError)
    };
    let histograms = match methods.iter().any(is_spread) {
        true => {
            let empty = |position: usize| {
                let Range { least, greatest, .. } = extremes[position];
                Histogram::new(least, greatest)
            };
            let see = |histogram: &mut Histogram, values: &[f32], _: usize| histogram.see(values);
            scanner.scan(empty, see, |whole, part| whole.merge(&part))?
        }
        false => Vec::new(),
    };
    let chosen = methods.iter().enumerate().map(|(position, method)| match *method {
        Method::MinMax => (extremes[position].least, extremes[position].greatest),
        Method::MovingAverage => averages[position].range(),
        Method::Percentile(percent) => histograms[position].percentile(percent),
        Method::Entropy => histograms[position].least_divergence(),
        Method::MeanSquaredError => histograms[position].least_squares(),
    });
    Ok(values.iter().copied().zip(chosen).collect())
}

/// The mean of each channel (axis 1) of each value, over images and places.
pub(crate) fn means(observation: Observation<'_>) -> Result<Vec<Vec<f64>>, CalibrationError> {
    let session = prepare(RuntimeKind::Tract, observation.graph, observation.values)?;
    let scanner = Scanner { observation, session: session.as_ref() };
    let empty = |position: usize| {
        let shape = &observation.graph.value(observation.values[position]).ty.shape;
        Mean::of(shape.iter().skip(1).map(|dim| dim.fixed()).collect())
    };
    let sums = scanner.scan(empty, Mean::see, |whole, part| whole.merge(&part))?;
    Ok(sums.into_iter().map(Mean::means).collect())
}

/// Runs batches and gathers what is seen of each tensor.
struct Scanner<'a> {
    observation: Observation<'a>,
    session: &'a dyn Session,
}

impl Scanner<'_> {
    /// What was seen of each tensor: `see` gets the values of a batch and the number of its images.
    fn scan<A: Send>(
        &self,
        empty: impl Fn(usize) -> A + Sync,
        see: impl Fn(&mut A, &[f32], usize) + Sync,
        merge: impl Fn(&mut A, A),
    ) -> Result<Vec<A>, CalibrationError> {
        let Observation { values, indices, threads, .. } = self.observation;
        let fresh = || (0..values.len()).map(&empty).collect::<Vec<A>>();
        let part = |batch: &[usize]| -> Result<Vec<A>, CalibrationError> {
            let mut seen = fresh();
            for (seen, tensor) in seen.iter_mut().zip(self.session.run(&[self.input(batch)?])?) {
                see(seen, tensor.as_slice::<f32>().expect("only float tensors are observed"), batch.len());
            }
            Ok(seen)
        };
        let is_quantized =
            self.observation.graph.nodes().any(|(_, node)| matches!(node.op, Op::DequantizeLinear { .. }));
        let batch = if is_quantized { QUANTIZED_BATCH } else { FLOAT_BATCH };
        let batches: Vec<&[usize]> = indices.chunks(batch).collect();
        let threads = threads.clamp(1, batches.len().max(1));
        let mut whole = fresh();
        std::thread::scope(|scope| {
            // Each thread takes every `threads`-th batch, and waits until its last part is taken:
            // what waits to be merged does not grow with the number of images.
            let parts: Vec<_> = (0..threads)
                .map(|first| {
                    let (sender, receiver) = sync_channel(1);
                    let batches = batches.iter().skip(first).step_by(threads);
                    let part = &part;
                    scope.spawn(move || {
                        for batch in batches {
                            // Nobody listens any more once another batch has failed.
                            if sender.send(part(batch)).is_err() {
                                return;
                            }
                        }
                    });
                    receiver
                })
                .collect();
            for position in 0..batches.len() {
                let part = parts[position % threads].recv().expect("a worker reports failures as errors");
                for (whole, part) in whole.iter_mut().zip(part?) {
                    merge(whole, part);
                }
            }
            Ok(whole)
        })
    }

    /// The network's input for some of the images.
    fn input(&self, batch: &[usize]) -> Result<Tensor, CalibrationError> {
        let Observation { images, normalization, .. } = self.observation;
        let shape = images.shape();
        let pixels = normalization.normalize(&images.read(batch)?, shape.channels, shape.plane());
        Ok(Tensor::from_vec(&shape.of_images(batch.len()), pixels).expect("images are whole"))
    }
}

/// The least and the greatest value.
#[derive(Clone, Copy)]
struct Range {
    least: f32,
    greatest: f32,
    finite: bool,
}

impl Default for Range {
    fn default() -> Self {
        Self { least: f32::INFINITY, greatest: f32::NEG_INFINITY, finite: true }
    }
}

impl Range {
    fn see(&mut self, values: &[f32], _images: usize) {
        // Several at once: one chain of operations would wait for each of them.
        let (chunks, rest) = values.as_chunks::<LANES>();
        let mut least = [self.least; LANES];
        let mut greatest = [self.greatest; LANES];
        // Comparisons pass over NaN; a sum does not.
        let mut zeros = [0.0; LANES];
        for chunk in chunks {
            for (lane, &value) in chunk.iter().enumerate() {
                least[lane] = if value < least[lane] { value } else { least[lane] };
                greatest[lane] = if value > greatest[lane] { value } else { greatest[lane] };
                zeros[lane] += value * 0.0;
            }
        }
        self.least = rest.iter().chain(&least).copied().fold(self.least, f32::min);
        self.greatest = rest.iter().chain(&greatest).copied().fold(self.greatest, f32::max);
        self.finite &= zeros.iter().sum::<f32>() + rest.iter().map(|value| value * 0.0).sum::<f32>() == 0.0;
    }

    fn merge(&mut self, other: &Self) {
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
        self.finite &= other.finite;
    }
}

/// Exponential moving averages of the least and the greatest value of an image (Jacob et al. 2018,
/// section 3.1), whose weights are made to sum to 1.
#[derive(Clone, Copy)]
struct Average {
    least: f64,
    greatest: f64,
    weight: f64,
    /// What later images leave of this.
    kept: f64,
}

impl Default for Average {
    fn default() -> Self {
        Self { least: 0.0, greatest: 0.0, weight: 0.0, kept: 1.0 }
    }
}

impl Average {
    fn see(&mut self, values: &[f32], images: usize) {
        for image in values.chunks(values.len() / images) {
            let mut range = Range::default();
            range.see(image, 1);
            self.least = self.least * KEPT + f64::from(range.least);
            self.greatest = self.greatest * KEPT + f64::from(range.greatest);
            self.weight = self.weight * KEPT + 1.0;
            self.kept *= KEPT;
        }
    }

    /// Appends the averages of later images.
    fn merge(&mut self, later: &Self) {
        self.least = self.least * later.kept + later.least;
        self.greatest = self.greatest * later.kept + later.greatest;
        self.weight = self.weight * later.kept + later.weight;
        self.kept *= later.kept;
    }

    #[expect(clippy::cast_possible_truncation, reason = "an average of numbers that were f32")]
    fn range(&self) -> (f32, f32) {
        ((self.least / self.weight) as f32, (self.greatest / self.weight) as f32)
    }
}

/// Sums of the channels of a tensor `[N, channels, places...]`.
struct Mean {
    sums: Vec<f64>,
    places: usize,
    counted: usize,
}

impl Mean {
    /// Nothing seen yet of a tensor with these extents behind the batch.
    fn of(extents: Option<Vec<usize>>) -> Self {
        let extents = extents.expect("an image of fixed extents gives layers of fixed extents");
        let channels = extents.first().copied().unwrap_or(1);
        Self { sums: vec![0.0; channels], places: extents.iter().skip(1).product(), counted: 0 }
    }

    fn see(&mut self, values: &[f32], images: usize) {
        for (position, places) in values.chunks(self.places).enumerate() {
            let channel = position % self.sums.len();
            self.sums[channel] += places.iter().map(|&value| f64::from(value)).sum::<f64>();
        }
        self.counted += images * self.places;
    }

    fn merge(&mut self, other: &Self) {
        for (sum, other) in self.sums.iter_mut().zip(&other.sums) {
            *sum += other;
        }
        self.counted += other.counted;
    }

    fn means(self) -> Vec<f64> {
        self.sums.into_iter().map(|sum| sum / self.counted as f64).collect()
    }
}
