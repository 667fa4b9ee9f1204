//! What flows through a model, image by image: a digest of every inner integer tensor, and the raw outputs.
//!
//! A trace is made to be compared with another one of the same model and images, made by another runtime or by a
//! simulation of hardware: where two digests agree so do all bits of that tensor for that image, and the first that
//! does not says which node to look at. [`tensor_values`] then gives the elements.
//!
//! # The digest of a tensor for an image
//!
//! The first eight bytes of SHA-256 over the image's elements in row-major order, each little-endian in its own width:
//! `hashlib.sha256(array[image].tobytes()).digest()[:8]` in Python. Neither element type nor shape is hashed, so that
//! moving data to another shape of the same order keeps the digest; both are in the trace's header.

mod digest;
mod file;
mod selection;
mod values;

pub(crate) use digest::digest_of;
pub use file::{TRACE_SCHEMA, VALUES_SCHEMA};
pub(crate) use selection::Selection;
pub use selection::{LeftOut, TracedTensor};
pub use values::{TensorValues, tensor_values};

use onnx2int_dataset::ImageSource;
use onnx2int_graph::{Tensor, TensorType, ValueId, Verified};
use onnx2int_runtimes::{RuntimeError, RuntimeKind, Session, prepare};

use crate::{EvaluationError, Execution, ScoredModel};
use digest::DIGEST_BYTES;

/// What flowed through one model in one runtime, image by image.
///
/// Holds nothing that differs between two runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The model.
    pub model: ScoredModel,
    /// What ran it.
    pub runtime: RuntimeKind,
    /// SHA-256 of the images' pixels, in hexadecimal.
    pub images_digest: String,
    /// The tensors observed, in the order of the graph's nodes.
    pub tensors: Vec<TracedTensor>,
    /// Integer tensors that are not observed, and why.
    pub left_out: Vec<LeftOut>,
    /// Digests of [`DIGEST_BYTES`] each, `[images, tensors]` in row-major order.
    pub digests: Vec<u8>,
    /// The raw outputs of the graph as it is, without further outputs: `[images, classes]`.
    pub outputs: Tensor,
}

/// Runs `graph` on every image and digests each integer tensor that it computes.
///
/// A runtime that optimizes runs twice: as the graph is, for the raw outputs, and with every observed tensor made an
/// output, for the digests, because more outputs may leave less to fuse. Memory holds one batch for each thread and
/// eight bytes for each tensor and image.
///
/// # Errors
/// What [`score`](crate::score) refuses, and a tensor without one extent for each image although its type says so.
pub fn trace(
    graph: Verified<'_>,
    runtime: RuntimeKind,
    model: &ScoredModel,
    images: &dyn ImageSource,
    execution: Execution,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Trace, EvaluationError> {
    let failed = |source| model.failed(runtime, source);
    let selection = Selection::of(graph.graph());
    let prepared = |ids: &[ValueId]| prepare(runtime, graph, ids).map_err(failed);

    let digesting = if runtime.optimizes() {
        let observed = prepared(&selection.values)?;
        Digesting { untouched: Some(prepared(graph.graph().outputs())?), observed }
    } else {
        let ids: Vec<ValueId> = graph.graph().outputs().iter().chain(&selection.values).copied().collect();
        Digesting { untouched: None, observed: prepared(&ids)? }
    };
    let results = model.run(&digesting, runtime, images, execution, progress)?;
    // The type of the model's one output was checked when `model` was made.
    let [outputs, digests] = <[Tensor; 2]>::try_from(results).map_err(|outputs| EvaluationError::Output {
        file: model.file.clone(),
        found: format!("{} outputs at run time", outputs.len().saturating_sub(1)),
    })?;

    // The types may leave extents open; a run of the first image does not.
    let first = model.input_of(images, 0..model.fixed_batch.unwrap_or(1))?;
    let mut results = digesting.observed.run(&[first]).map_err(failed)?;
    results.drain(..results.len() - selection.values.len());
    Ok(Trace {
        model: model.clone(),
        runtime,
        images_digest: digest::images_digest(images)?,
        tensors: selection::described(graph.graph(), &selection.values, &results),
        left_out: selection.left_out,
        digests: digests.as_slice::<u8>().map(<[u8]>::to_vec).unwrap_or_default(),
        outputs,
    })
}

/// The elements of each image, little-endian.
///
/// # Errors
/// [`RuntimeError::PartResult`] if the first axis is not the images.
pub(crate) fn image_bytes(
    position: usize,
    tensor: &Tensor,
    images: usize,
) -> Result<ImageBytes, RuntimeError> {
    if tensor.shape().first() != Some(&images) {
        return Err(RuntimeError::PartResult {
            output: position,
            first: 0,
            expected: format!("a first axis of {images}, the images"),
            found: TensorType::of(tensor).to_string(),
        });
    }
    Ok(ImageBytes { size: tensor.len() * tensor.dtype().size() / images.max(1), bytes: tensor.to_le_bytes() })
}

/// The bytes of all images of a tensor, so many for each.
pub(crate) struct ImageBytes {
    bytes: Vec<u8>,
    size: usize,
}

impl ImageBytes {
    pub(crate) fn of(&self, image: usize) -> &[u8] {
        &self.bytes[image * self.size..(image + 1) * self.size]
    }
}

/// Runs a graph and gives its one output, and the digests of what was observed, `u8[batch, tensors * 8]`.
struct Digesting {
    /// The graph as it is, where `observed` is another one to its runtime; else its output comes first in `observed`.
    untouched: Option<Box<dyn Session>>,
    observed: Box<dyn Session>,
}

impl Session for Digesting {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        let images = inputs.first().and_then(|input| input.shape().first().copied()).unwrap_or(0);
        let mut observed = self.observed.run(inputs)?;
        let mut outputs = match &self.untouched {
            Some(untouched) => untouched.run(inputs)?,
            None => observed.drain(..1).collect(),
        };
        let tensors = observed.len();
        let mut digests = vec![0; images * tensors * DIGEST_BYTES];
        for (position, tensor) in observed.iter().enumerate() {
            let elements = image_bytes(position, tensor, images)?;
            for image in 0..images {
                let digest = digest_of(elements.of(image));
                let start = (image * tensors + position) * DIGEST_BYTES;
                digests[start..start + DIGEST_BYTES].copy_from_slice(&digest);
            }
        }
        outputs.push(
            Tensor::from_vec(&[images, tensors * DIGEST_BYTES], digests)
                .expect("one digest a tensor and image"),
        );
        Ok(outputs)
    }
}
