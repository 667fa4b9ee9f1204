//! The elements of chosen tensors for chosen images, to see where two traces differ.

use onnx2int_dataset::ImageSource;
use onnx2int_graph::{Tensor, ValueId, Verified};
use onnx2int_runtimes::{RuntimeError, RuntimeKind, Session, prepare};

use super::{TracedTensor, image_bytes, selection};
use crate::{EvaluationError, Execution, ScoredModel};

/// The elements of some tensors for some images.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorValues {
    /// The model.
    pub model: ScoredModel,
    /// What ran it.
    pub runtime: RuntimeKind,
    /// The tensors, in the order asked for.
    pub tensors: Vec<TracedTensor>,
    /// One record for each image, which is one tensor after the other: row-major elements, little-endian.
    pub bytes: Vec<u8>,
}

/// Runs `graph` on `images` and keeps the elements of the tensors called `names`, floats too.
///
/// The graph runs with the same outputs as for the digests of a [`trace`](crate::trace), and those asked for beside
/// them, so that the runtime does the same to it. Memory holds all that was asked for, and one batch for each thread.
///
/// # Errors
/// [`EvaluationError::NoTensor`], a tensor whose first axis is not the images, and what [`score`](crate::score)
/// refuses.
pub fn tensor_values(
    graph: Verified<'_>,
    runtime: RuntimeKind,
    model: &ScoredModel,
    images: &dyn ImageSource,
    names: &[String],
    execution: Execution,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<TensorValues, EvaluationError> {
    let failed = |source| model.failed(runtime, source);
    let wanted = names
        .iter()
        .map(|name| {
            let id = graph.graph().value_by_name(name).filter(|&id| graph.graph().producer(id).is_some());
            id.ok_or_else(|| EvaluationError::NoTensor { file: model.file.clone(), name: name.clone() })
        })
        .collect::<Result<Vec<ValueId>, _>>()?;
    let observed = selection::Selection::of(graph.graph()).values;
    let ids: Vec<ValueId> = wanted.iter().chain(&observed).copied().collect();
    let session = prepare(runtime, graph, &ids).map_err(failed)?;

    let recording = Recording { session, wanted: wanted.len() };
    let results = model.run(&recording, runtime, images, execution, progress)?;
    let first = model.input_of(images, 0..model.fixed_batch.unwrap_or(1))?;
    let shapes = recording.session.run(&[first]).map_err(failed)?;
    let bytes = results.first().and_then(|records| records.as_slice::<u8>());
    Ok(TensorValues {
        model: model.clone(),
        runtime,
        tensors: selection::described(graph.graph(), &wanted, &shapes),
        bytes: bytes.map(<[u8]>::to_vec).unwrap_or_default(),
    })
}

/// Runs a graph and gives the first of its outputs as records, `u8[batch, bytes]`.
struct Recording {
    session: Box<dyn Session>,
    /// How many outputs are recorded.
    wanted: usize,
}

impl Session for Recording {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        let images = inputs.first().and_then(|input| input.shape().first().copied()).unwrap_or(0);
        let outputs = self.session.run(inputs)?;
        let recorded = outputs[..self.wanted]
            .iter()
            .enumerate()
            .map(|(position, tensor)| image_bytes(position, tensor, images))
            .collect::<Result<Vec<_>, _>>()?;
        let size: usize = recorded.iter().map(|elements| elements.size).sum();
        let mut records = Vec::with_capacity(images * size);
        for image in 0..images {
            for elements in &recorded {
                records.extend_from_slice(elements.of(image));
            }
        }
        Ok(vec![Tensor::from_vec(&[images, size], records).expect("a record an image")])
    }
}
