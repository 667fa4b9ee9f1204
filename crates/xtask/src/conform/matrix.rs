//! The cells of the matrix: which runtime runs which stage, on how many images, by which command.

use onnx2int_graph::Stage;

use crate::pipeline::{self, DATA_DIR, STEM};
use crate::run::Run;

/// A column of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Runtime {
    /// Ours; the reference of every comparison.
    Interpreter,
    /// Our engine, which runs the last stage.
    Engine,
    /// tract, optimized.
    Tract,
    /// tract, neither decluttered nor optimized.
    TractPlain,
    /// ONNX Runtime as it comes: all optimizations, default options.
    OnnxRuntimeOptimized,
    /// The same, asked for exact 8-bit products in QDQ layers.
    OnnxRuntimePrecise,
    /// ONNX Runtime without optimizations.
    OnnxRuntimePlain,
    /// The onnx package's reference evaluator.
    Reference,
}

/// One stage in one runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub stage: Stage,
    pub runtime: Runtime,
    /// The first so many test images.
    pub images: usize,
}

/// Where the models of the stages are, and where their traces go.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The folder of the models.
    pub models: String,
    /// What their file names begin with.
    pub stem: String,
    /// The folder of the traces.
    pub traces: String,
}

impl Place {
    /// That of a run of the pipeline.
    pub(crate) fn of(run: Run) -> Self {
        let dir = run.dir();
        Self {
            models: format!("{dir}/models"),
            stem: STEM.to_owned(),
            traces: format!("{dir}/conform/traces"),
        }
    }

    /// The file of a stage.
    pub(crate) fn model(&self, stage: Stage) -> String {
        format!("{}/{}", self.models, stage.file_name(&self.stem))
    }
}

impl Runtime {
    /// Every runtime, in the order of the columns.
    pub(crate) const ALL: [Self; 8] = [
        Self::Interpreter,
        Self::Engine,
        Self::Tract,
        Self::TractPlain,
        Self::OnnxRuntimeOptimized,
        Self::OnnxRuntimePrecise,
        Self::OnnxRuntimePlain,
        Self::Reference,
    ];

    /// The name that `onnx2int trace` or `scripts/trace_onnx.py` knows it by.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Interpreter => "interpreter",
            Self::Engine => "engine",
            Self::Tract => "tract",
            Self::TractPlain => "tract-plain",
            Self::OnnxRuntimeOptimized => "onnxruntime",
            Self::OnnxRuntimePrecise => "onnxruntime-precise",
            Self::OnnxRuntimePlain => "onnxruntime-plain",
            Self::Reference => "reference",
        }
    }

    /// What it is, for the report.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Interpreter => "our interpreter, which every other runtime is compared with",
            Self::Engine => "our engine, with every kernel that this processor has",
            Self::Tract => "tract, decluttered and optimized",
            Self::TractPlain => "tract, neither decluttered nor optimized",
            Self::OnnxRuntimeOptimized => {
                "ONNX Runtime on the CPU as it comes: all optimizations, default options"
            }
            Self::OnnxRuntimePrecise => {
                "the same with session.x64quantprecision, which asks for exact 8-bit products in QDQ layers"
            }
            Self::OnnxRuntimePlain => "ONNX Runtime on the CPU without any optimization",
            Self::Reference => "the reference evaluator of the onnx package",
        }
    }

    /// Whether the binary `onnx2int` runs it, rather than Python.
    pub(crate) const fn is_ours(self) -> bool {
        match self {
            Self::Interpreter | Self::Engine | Self::Tract | Self::TractPlain => true,
            Self::OnnxRuntimeOptimized
            | Self::OnnxRuntimePrecise
            | Self::OnnxRuntimePlain
            | Self::Reference => false,
        }
    }

    /// Whether this runtime is asked about a stage. The option of the precise one concerns QDQ layers only, and the
    /// engine runs the last stage.
    const fn runs(self, stage: Stage) -> bool {
        match self {
            Self::OnnxRuntimePrecise => is_qdq(stage),
            Self::Engine => matches!(stage, Stage::ScaleOut),
            Self::Interpreter
            | Self::Tract
            | Self::TractPlain
            | Self::OnnxRuntimeOptimized
            | Self::OnnxRuntimePlain
            | Self::Reference => true,
        }
    }

    /// How many of `available` images a stage is run on: all where bits are promised, fewer where only closeness is
    /// and the runtime is slow, and some where it takes seconds for each image.
    fn images(self, stage: Stage, available: usize) -> usize {
        const FLOAT_STAGES: usize = 2_000;
        const REFERENCE: usize = 32;
        let wanted = match self {
            Self::Reference => REFERENCE,
            _ if has_integer_layers(stage) => usize::MAX,
            _ => FLOAT_STAGES,
        };
        wanted.min(available)
    }
}

/// The cells of some stages, stage by stage, the interpreter's first.
///
/// `available` is the number of images there are, `at_most` what the user allows.
pub(crate) fn cells(stages: &[Stage], available: usize, at_most: Option<usize>) -> Vec<Cell> {
    let available = at_most.map_or(available, |most| most.min(available));
    let cell = |stage: Stage, runtime: Runtime| {
        runtime.runs(stage).then(|| Cell { stage, runtime, images: runtime.images(stage, available) })
    };
    stages
        .iter()
        .flat_map(|&stage| Runtime::ALL.into_iter().filter_map(move |runtime| cell(stage, runtime)))
        .collect()
}

/// Whether the layers of a stage are 8-bit ones in QDQ form.
pub(crate) const fn is_qdq(stage: Stage) -> bool {
    match stage {
        Stage::Quantized
        | Stage::Sanitized
        | Stage::Rescaled
        | Stage::Activations
        | Stage::Pruned
        | Stage::Folded
        | Stage::Split => true,
        Stage::Float | Stage::Integer | Stage::ScaleOut => false,
    }
}

const fn has_integer_layers(stage: Stage) -> bool {
    matches!(stage, Stage::Integer | Stage::ScaleOut)
}

impl Cell {
    /// `folded in tract`, for messages.
    pub(crate) fn name(self) -> String {
        format!("{} in {}", self.stage, self.runtime.name())
    }

    /// The header of its trace.
    pub(crate) fn trace_path(self, place: &Place) -> String {
        format!("{}/{}.{}.json", place.traces, self.stage.name(), self.runtime.name())
    }

    /// The header of the elements looked at where its trace differs, or of the interpreter's (`expected`).
    pub(crate) fn values_path(self, place: &Place, expected: bool) -> String {
        let side = if expected { "expected" } else { "found" };
        format!("{}/{side}.json", place.traces)
    }

    /// The arguments that trace its images, after the program or the script.
    pub(crate) fn trace_arguments(self, place: &Place) -> Vec<String> {
        let mut arguments = self.arguments(place);
        arguments.extend(pipeline::words(&["--images", &self.images.to_string()]));
        if self.runtime == Runtime::Engine {
            arguments.extend(pipeline::words(&["--every-kernel"]));
        }
        arguments.extend(pipeline::words(&["--output", &self.trace_path(place)]));
        arguments
    }

    /// The arguments that write the elements of some tensors for some images.
    pub(crate) fn values_arguments(
        self,
        place: &Place,
        expected: bool,
        tensors: &[&str],
        images: &[usize],
    ) -> Vec<String> {
        let mut arguments = self.arguments(place);
        arguments.extend(pipeline::words(&["--output", &self.values_path(place, expected)]));
        arguments.extend(pipeline::words(&["--dump"]));
        arguments.extend(pipeline::words(tensors));
        arguments.extend(pipeline::words(&["--image"]));
        arguments.extend(images.iter().map(usize::to_string));
        arguments
    }

    fn arguments(self, place: &Place) -> Vec<String> {
        let model = place.model(self.stage);
        let mut arguments =
            pipeline::words(if self.runtime.is_ours() { &["trace"] } else { &["scripts/trace_onnx.py"] });
        arguments.extend(pipeline::words(&["--model", &model, "--runtime", self.runtime.name()]));
        arguments.extend(pipeline::words(&["--data-dir", DATA_DIR]));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_meets_every_runtime() {
        let cells = cells(&Stage::ALL, 10_000, None);
        for stage in Stage::ALL {
            let runtimes: Vec<_> =
                cells.iter().filter(|cell| cell.stage == stage).map(|cell| cell.runtime).collect();
            assert_eq!(runtimes[0], Runtime::Interpreter, "the reference comes first");
            let left_out = usize::from(!is_qdq(stage)) + usize::from(stage != Stage::ScaleOut);
            let expected = Runtime::ALL.len() - left_out;
            assert_eq!(runtimes.len(), expected, "{stage}: {runtimes:?}");
        }
    }

    #[test]
    fn the_reference_has_every_image_that_another_runtime_has() {
        for at_most in [None, Some(7), Some(100_000)] {
            let cells = cells(&Stage::ALL, 10_000, at_most);
            for cell in &cells {
                let reference = cells.iter().find(|other| other.stage == cell.stage).unwrap();
                assert!(cell.images > 0 && cell.images <= reference.images, "{cell:?} {reference:?}");
                assert!(cell.images <= at_most.unwrap_or(usize::MAX));
            }
        }
        let all = cells(&[Stage::ScaleOut], 10_000, None);
        assert!(all.iter().all(|cell| cell.images == 10_000 || cell.runtime == Runtime::Reference));
    }

    #[test]
    fn the_commands_are_those_of_the_documentation() {
        let cell = Cell { stage: Stage::Folded, runtime: Runtime::Tract, images: 20 };
        assert_eq!(
            cell.trace_arguments(&Place::of(Run::default())).join(" "),
            "trace --model reports/mnist/models/mnist_cnn_folded.onnx --runtime tract --data-dir data/mnist \
             --images 20 --output reports/mnist/conform/traces/folded.tract.json"
        );
        let cell = Cell { runtime: Runtime::OnnxRuntimePlain, ..cell };
        assert_eq!(
            cell.values_arguments(&Place::of(Run::QUICK), false, &["a", "b"], &[3, 17]).join(" "),
            "scripts/trace_onnx.py --model reports/mnist-quick/models/mnist_cnn_folded.onnx --runtime \
             onnxruntime-plain --data-dir data/mnist --output reports/mnist-quick/conform/traces/found.json \
             --dump a b --image 3 17"
        );
    }
}
