//! What the transforms' driver runs graphs with.

use onnx2int_graph::metadata::Normalization;
use onnx2int_graph::{Dim, Graph, Stage, Tensor, Verified};
use onnx2int_runtimes::{RuntimeKind, prepare, run_parallel};
use onnx2int_transforms::{Executor, Probe};

/// The interpreter, on several threads where there are several images.
pub(crate) struct Interpreter {
    pub(crate) threads: usize,
}

impl Executor for Interpreter {
    fn run(&self, graph: Verified<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let run = || {
            let session = prepare(RuntimeKind::Interpreter, graph, graph.outputs())?;
            match inputs {
                [images] if has_symbolic_batch(graph.graph()) => {
                    run_parallel(session.as_ref(), images, 1, self.threads, &|_| ())
                }
                _ => session.run(inputs),
            }
        };
        run().map_err(|error| chain(&error))
    }
}

fn has_symbolic_batch(graph: &Graph) -> bool {
    graph.inputs().iter().all(|&input| matches!(graph.value(input).ty.shape.first(), Some(Dim::Symbol(_))))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Images for the numeric probe of a transform: a blank one, a full one, a slope, and a blot with
/// noise, so that zero points, saturation and padded borders all show. Always the same.
pub(crate) fn probe(graph: &Graph) -> Probe {
    let extents: Vec<usize> = graph
        .inputs()
        .first()
        .map(|&input| {
            graph.value(input).ty.shape.iter().skip(1).map(|dim| dim.fixed().unwrap_or(1)).collect()
        })
        .unwrap_or_default();
    let size: usize = extents.iter().product();
    let mut state = 1u32;
    let mut noise = move || {
        // Numerical Recipes' linear congruential generator; its high bits are good enough here.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut pixels = vec![0u8; size];
    pixels.extend(std::iter::repeat_n(255u8, size));
    pixels.extend((0..size).map(|i| (i * 255 / size.max(1)) as u8));
    pixels.extend((0..size).map(|i| if (size / 3..size * 2 / 3).contains(&i) { noise() } else { 0 }));
    let shape: Vec<usize> = std::iter::once(4).chain(extents).collect();
    Probe {
        images: Tensor::from_vec(&shape, pixels).expect("four images of the input's extents"),
        normalization: Normalization::of(graph).unwrap_or_default(),
    }
}

/// The stage that the driver left in the metadata.
pub(crate) fn stage(graph: &Graph) -> Option<Stage> {
    onnx2int_graph::metadata::stage(graph)
}
