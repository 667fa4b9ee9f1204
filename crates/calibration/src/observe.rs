//! Runs the float network and keeps the range of each tensor, in one pass and constant memory.

use std::collections::BTreeMap;

use onnx2int_dataset::{ImageSource, Normalization};
use onnx2int_graph::{Tensor, ValueId, Verified};
use onnx2int_runtimes::{RuntimeKind, Session, prepare};

use crate::CalibrationError;

/// Images that run at once on one thread.
const BATCH: usize = 20;

/// The least and the greatest value of each observed tensor.
pub(crate) type Observed = BTreeMap<ValueId, (f32, f32)>;

pub(crate) fn observe(
    graph: Verified<'_>,
    values: &[ValueId],
    images: &dyn ImageSource,
    indices: &[usize],
    normalization: &Normalization,
    threads: usize,
) -> Result<Observed, CalibrationError> {
    if values.is_empty() {
        return Ok(Observed::new());
    }
    let session = prepare(RuntimeKind::Tract, graph, values)?;
    let share = indices.len().div_ceil(threads.max(1)).next_multiple_of(BATCH);
    let parts: Vec<Result<Vec<Range>, CalibrationError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = indices
            .chunks(share)
            .map(|part| scope.spawn(|| ranges(session.as_ref(), values.len(), images, part, normalization)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker reports failures as errors"))
            .collect()
    });
    let mut whole = vec![Range::default(); values.len()];
    for part in parts {
        for (range, part) in whole.iter_mut().zip(part?) {
            range.merge(part);
        }
    }
    values
        .iter()
        .zip(whole)
        .map(|(&value, range)| match range.finite {
            true => Ok((value, (range.least, range.greatest))),
            false => Err(CalibrationError::NotFinite { tensor: graph.value(value).name.clone() }),
        })
        .collect()
}

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
    fn see(&mut self, values: &[f32]) {
        for &value in values {
            self.least = self.least.min(value);
            self.greatest = self.greatest.max(value);
        }
        // `min` and `max` pass over NaN; a sum does not.
        self.finite &= values.iter().map(|value| value * 0.0).sum::<f32>() == 0.0;
    }

    fn merge(&mut self, other: Self) {
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
        self.finite &= other.finite;
    }
}

fn ranges(
    session: &dyn Session,
    count: usize,
    images: &dyn ImageSource,
    indices: &[usize],
    normalization: &Normalization,
) -> Result<Vec<Range>, CalibrationError> {
    let mut ranges = vec![Range::default(); count];
    for batch in indices.chunks(BATCH) {
        let shape = images.shape();
        let pixels = normalization.normalize(&images.read(batch)?, shape.channels, shape.plane());
        let input = Tensor::from_vec(&shape.of_images(batch.len()), pixels).expect("images are whole");
        for (range, tensor) in ranges.iter_mut().zip(session.run(&[input])?) {
            range.see(tensor.as_slice::<f32>().expect("only float tensors are observed"));
        }
    }
    Ok(ranges)
}
