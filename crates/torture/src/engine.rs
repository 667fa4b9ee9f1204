//! The engine against the interpreter: the same bits, with every kernel of this machine.

use onnx2int_engine::{Engine, Kernel, Options};
use onnx2int_graph::{Dim, Tensor, Verified};
use onnx2int_interpreter::run;

use crate::Fault;

/// Runs the images one by one and as a batch; each is `[1, ...]` of u8.
pub(crate) fn check(graph: Verified<'_>, images: &[Tensor]) -> Result<(), Fault> {
    let Some(one) = images.first() else { return Ok(()) };
    let input = graph.graph().inputs()[0];
    // A network may be written for one image at a time.
    let takes_any = matches!(graph.graph().value(input).ty.shape[0], Dim::Symbol(_));
    let inputs: Vec<Tensor> =
        std::iter::once(one.clone()).chain(joined(images).filter(|_| takes_any)).collect();
    let interpret = |input: &Tensor| {
        run(graph, std::slice::from_ref(input)).map_err(|source| Fault::run("scale_out", source))
    };
    let interpreted: Result<Vec<_>, _> = inputs.iter().map(interpret).collect();
    let interpreted = interpreted?;
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        let failed = |source| Fault::Engine { kernel, source: Box::new(source) };
        let options = Options { kernel: Some(kernel), ..Options::default() };
        let engine = Engine::with_options(graph, options).map_err(failed)?;
        for (input, expected) in inputs.iter().zip(&interpreted) {
            if engine.run(std::slice::from_ref(input)).map_err(failed)? != *expected {
                return Err(Fault::EngineBits { kernel, images: input.shape()[0] });
            }
        }
    }
    Ok(())
}

/// The images as one batch.
fn joined(images: &[Tensor]) -> Option<Tensor> {
    let mut pixels = Vec::new();
    for image in images {
        pixels.extend_from_slice(image.as_slice::<u8>()?);
    }
    let mut shape = images.first()?.shape().to_vec();
    shape[0] = images.len();
    Tensor::from_vec(&shape, pixels).ok()
}
