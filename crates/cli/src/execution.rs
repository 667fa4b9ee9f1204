//! What the transforms' driver runs graphs with.

use std::sync::Mutex;

use anyhow::Context;
use onnx2int_graph::cost::multiply_adds;
use onnx2int_graph::metadata::Normalization;
use onnx2int_graph::{Dim, Graph, Stage, Tensor, Verified};
use onnx2int_runtimes::{RuntimeKind, prepare, run_parallel};
use onnx2int_transforms::{Executor, Probe};

/// Above so many multiplications and additions the interpreter would take seconds.
const MOST_INTERPRETED: u64 = 300_000_000;

/// A probe costs no more multiplications and additions than that, or is of one image.
pub(crate) const MOST_PROBED: u64 = 1_000_000_000;

/// The interpreter, on several threads where there are several images; the fastest runtime in its place
/// for what would take it long. What was run last is kept, since the graph after one step is that before the
/// next.
pub(crate) struct Interpreter {
    threads: usize,
    last: Mutex<Option<Run>>,
}

struct Run {
    graph: Graph,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

impl Interpreter {
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads, last: Mutex::new(None) }
    }

    fn run_anew(
        &self,
        graph: Verified<'_>,
        inputs: &[Tensor],
        kind: RuntimeKind,
    ) -> Result<Vec<Tensor>, String> {
        let run = || {
            let session = prepare(kind, graph, graph.outputs())?;
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

/// The runtime of that name; where none is named, the fastest for the graph.
pub(crate) fn runtime(name: Option<&str>, graph: &Graph) -> anyhow::Result<RuntimeKind> {
    match name {
        Some(name) => RuntimeKind::from_name(name).with_context(|| format!("no runtime is called {name:?}")),
        None => Ok(RuntimeKind::fastest(graph)),
    }
}

impl Executor for Interpreter {
    fn run(&self, graph: Verified<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let images =
            inputs.first().and_then(|images| images.shape().first()).map_or(1, |&images| images as u64);
        let cost = multiply_adds(&graph) * images;
        let kind = probing_runtime(&graph, cost);
        // Another thread that panicked has left a whole entry or none.
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(run) = last.as_ref()
            && run.inputs == inputs
            && run.graph == *graph.graph()
        {
            return Ok(run.outputs.clone());
        }
        let outputs = match self.run_anew(graph, inputs, kind) {
            // The others know fewer operators.
            Err(_) if kind != RuntimeKind::Interpreter => {
                self.run_anew(graph, inputs, RuntimeKind::Interpreter)?
            }
            result => result?,
        };
        if cost > 0 {
            *last =
                Some(Run { graph: graph.graph().clone(), inputs: inputs.to_vec(), outputs: outputs.clone() });
        }
        Ok(outputs)
    }
}

/// What runs a graph that takes so many multiplications and additions. Of the last stage that is never tract, whose
/// optimizer takes twice as long with each residual sum of integers.
fn probing_runtime(graph: &Graph, cost: u64) -> RuntimeKind {
    if cost > MOST_INTERPRETED { RuntimeKind::fastest(graph) } else { RuntimeKind::Interpreter }
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
/// noise, so that zero points, saturation and padded borders all show; of a large network only the
/// last of them. Always the same.
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
    let count =
        usize::try_from(MOST_PROBED / multiply_adds(graph).max(1)).map_or(4, |count| count.clamp(1, 4));
    pixels.drain(..(4 - count) * size);
    let shape: Vec<usize> = std::iter::once(count).chain(extents).collect();
    Probe {
        images: Tensor::from_vec(&shape, pixels).expect("images of the input's extents"),
        normalization: Normalization::of(graph).unwrap_or_default(),
    }
}

/// A probe that compares nothing.
pub(crate) fn without_images(probe: &Probe) -> Probe {
    let mut shape = probe.images.shape().to_vec();
    shape[0] = 0;
    let images = Tensor::from_vec::<u8>(&shape, Vec::new()).expect("no pixels for no images");
    Probe { images, normalization: probe.normalization.clone() }
}

/// The stage that the driver left in the metadata.
pub(crate) fn stage(graph: &Graph) -> Option<Stage> {
    onnx2int_graph::metadata::stage(graph)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_the_interpreter_long_runs_fast_and_integers_never_in_tract() {
        let integers = "meta onnx2int.stage = \"scale_out\"\n\
                        in %x: u8[N,2]\nconst %w: i8[2,1] = [3, -4]\n\
                        %sum: i32[N,1] = MatMulInteger(%x, %w, 33u8, 0i8)\nout %sum";
        let floats = "in %x: f32[N,2]\n%y: f32[N,2] = Relu(%x)\nout %y";
        for (text, fast) in [(integers, RuntimeKind::Engine(None)), (floats, RuntimeKind::Tract)] {
            let graph = Graph::from_text(text).unwrap();
            assert_eq!(probing_runtime(&graph, MOST_INTERPRETED), RuntimeKind::Interpreter);
            assert_eq!(probing_runtime(&graph, MOST_INTERPRETED + 1), fast);
        }
    }
}
