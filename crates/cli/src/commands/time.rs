//! `onnx2int time`: how many images a second a model takes.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use onnx2int_graph::cost::multiply_adds;
use onnx2int_graph::{DType, Dim, Graph, Tensor, verify};
use onnx2int_runtimes::{
    EngineSettings, Kernel, RuntimeKind, Session, peak_multiply_adds, prepare, prepare_engine, run_parallel,
};
use serde::Serialize;

use crate::arguments::Time;
use crate::{console, execution, files};

/// Runs that are not measured: memory is first touched, plans are made for the batch.
const WARM_UP: usize = 2;

/// At least so many runs are measured.
const LEAST_RUNS: usize = 3;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    file: String,
    runtime: &'static str,
    /// Of the engine.
    kernel: Option<&'static str>,
    threads: usize,
    batch: usize,
    /// Of single runs.
    runs: usize,
    median_seconds: f64,
    images_per_second: f64,
    /// Multiplications and additions of an image.
    multiply_adds: u64,
    /// What the kernel's dot products could do on as many threads with all operands in registers, in multiplications
    /// and additions a second, if the processor's cores do not share anything.
    peak: Option<f64>,
}

pub(crate) fn run(arguments: &Time) -> anyhow::Result<()> {
    let model = files::read_model(&arguments.model)?;
    let kind = execution::runtime(arguments.runtime.as_deref(), &model.graph)?;
    let graph = verify(&model.graph)?;
    let (batch, threads) = (usize::from(arguments.batch), arguments.threads.count());
    let input = images(&model.graph, batch)?;
    let mut kernel = None;
    let session = if let RuntimeKind::Engine(chosen) = kind {
        kernel = Some(chosen.unwrap_or_else(Kernel::fastest));
        prepare_engine(graph, EngineSettings { kernel, threads })?
    } else {
        prepare(kind, graph, model.graph.outputs())?
    };
    let once = || run_once(session.as_ref(), kind, &input, batch, threads);
    for _ in 0..WARM_UP {
        once().with_context(|| format!("cannot run {:?} in {kind}", arguments.model))?;
    }
    let mut seconds = Vec::new();
    let started = Instant::now();
    while seconds.len() < LEAST_RUNS || started.elapsed().as_secs_f64() < arguments.seconds {
        let run = Instant::now();
        once()?;
        seconds.push(run.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let median_seconds = seconds[seconds.len() / 2];
    let document = Document {
        schema: "onnx2int-time/1",
        file: model.file,
        runtime: kind.name(),
        kernel: kernel.map(Kernel::name),
        threads,
        batch,
        runs: seconds.len(),
        median_seconds,
        images_per_second: batch as f64 / median_seconds,
        multiply_adds: multiply_adds(&model.graph),
        peak: kernel.and_then(|kernel| peak(kernel, threads)),
    };
    if arguments.json {
        return console::print_json(&document);
    }
    Ok(console::print(text(&document))?)
}

/// What so many threads do at once: together they may run at a lower clock than one.
fn peak(kernel: Kernel, threads: usize) -> Option<f64> {
    std::thread::scope(|scope| {
        let each = || scope.spawn(|| peak_multiply_adds(kernel, Duration::from_millis(200)));
        let all: Vec<_> = (0..threads).map(|_| each()).collect();
        all.into_iter().map(|thread| thread.join().expect("a measurement does not panic")).sum()
    })
}

/// The engine and a single image are given whole to the session; others get a part for each thread.
fn run_once(
    session: &dyn Session,
    kind: RuntimeKind,
    input: &Tensor,
    batch: usize,
    threads: usize,
) -> anyhow::Result<()> {
    if matches!(kind, RuntimeKind::Engine(_)) || batch == 1 || threads == 1 {
        session.run(std::slice::from_ref(input))?;
    } else {
        run_parallel(session, input, batch.div_ceil(threads), threads, &|_| ())?;
    }
    Ok(())
}

/// Noise of the type that the model takes: what a run costs hardly depends on it.
fn images(graph: &Graph, batch: usize) -> anyhow::Result<Tensor> {
    let &[input] = graph.inputs() else {
        bail!("expected a model with one input, found {}", graph.inputs().len());
    };
    let value = graph.value(input);
    let mut shape = vec![batch];
    for dim in value.ty.shape.iter().skip(1) {
        match dim {
            Dim::Fixed(extent) => shape.push(*extent),
            Dim::Symbol(name) => bail!("input {:?} has no fixed extent {name}", value.name),
        }
    }
    let count = shape.iter().product();
    let mut state = 1_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let tensor = match value.ty.dtype {
        DType::U8 => Tensor::from_vec(&shape, (0..count).map(|_| byte()).collect::<Vec<u8>>()),
        DType::F32 => {
            Tensor::from_vec(&shape, (0..count).map(|_| f32::from(byte()) / 255.0).collect::<Vec<f32>>())
        }
        other => bail!("input {:?} is of {other}; expected u8 or f32", value.name),
    };
    Ok(tensor?)
}

fn text(document: &Document) -> String {
    let kernel = document.kernel.map(|kernel| format!(" with {kernel}")).unwrap_or_default();
    let peak = document.peak.map(|peak| {
        let reached = document.images_per_second * document.multiply_adds as f64 / peak;
        format!(", {:.1} % of {:.0} G multiply-adds a second", 100.0 * reached, peak / 1e9)
    });
    format!(
        "{} in {}{kernel}, {} threads, batch {}: {:.0} images/s, {:.1} us a run (median of {}){}\n",
        document.file,
        document.runtime,
        document.threads,
        document.batch,
        document.images_per_second,
        1e6 * document.median_seconds,
        document.runs,
        peak.unwrap_or_default(),
    )
}
