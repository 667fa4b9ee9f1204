//! What a network must not do.

use onnx2int_engine::{EngineError, Kernel};
use onnx2int_graph::range::Interval;
use onnx2int_graph::{EditError, Stage, VerifyError};
use onnx2int_interpreter::RunError;
use onnx2int_transforms::TransformError;

/// Something that does not hold: a bug in the graph crate, the transforms, the interpreter or the
/// codec, or in this crate.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A refusal that nothing in the network calls for.
    #[error("stage {stage} refused by {rule:?}, which is no legitimate refusal here: {message}")]
    Refused {
        /// The stage that was to be made.
        stage: Stage,
        /// The rule named.
        rule: String,
        /// The whole message.
        message: String,
    },
    /// A transform failed without naming a rule.
    #[error("making stage {stage}")]
    Transform {
        /// The stage that was to be made.
        stage: Stage,
        /// What it said.
        source: TransformError,
    },
    /// A transform that always has something to do found nothing.
    #[error("stage {stage} was made without changing anything")]
    NothingToDo {
        /// The stage.
        stage: Stage,
    },
    /// A graph that should be valid is not.
    #[error("a graph is not valid")]
    Verify(#[from] VerifyError),
    /// A graph could not be taken apart or put together.
    #[error("a graph cannot be edited")]
    Edit(#[from] EditError),
    /// A graph does not come back as it was written.
    #[error("stage {stage} does not survive a round trip through {form}: {message}")]
    RoundTrip {
        /// The stage.
        stage: Stage,
        /// Text or ONNX.
        form: &'static str,
        /// What came back.
        message: String,
    },
    /// The interpreter refused: an overflow, for one.
    #[error("running {what}: {source}: {cause}", cause = cause(.source))]
    Run {
        /// What was run.
        what: String,
        /// Why it stopped.
        source: Box<RunError>,
    },
    /// The engine refused what the interpreter runs.
    #[error("the engine with kernel {kernel}: {source}")]
    Engine {
        /// The kernel in use.
        kernel: Kernel,
        /// Why it stopped.
        source: Box<EngineError>,
    },
    /// The engine gives other bits than the interpreter.
    #[error("the engine with kernel {kernel} gives other bits than the interpreter for {images} images")]
    EngineBits {
        /// The kernel in use.
        kernel: Kernel,
        /// The images of the batch.
        images: usize,
    },
    /// Outputs differ that must not.
    #[error("stage {stage} gives other bits than the stage before")]
    Changed {
        /// The stage.
        stage: Stage,
    },
    /// A value outside of what the range analysis proved.
    #[error("{value:?}, channel {channel}: {found} is outside of {}..={}", .interval.0, .interval.1)]
    Range {
        /// The value's name.
        value: String,
        /// The channel.
        channel: usize,
        /// What was observed.
        found: i64,
        /// What was proven.
        interval: Interval,
    },
    /// A rescale off by more than it may be.
    #[error(
        "{node:?}, channel {channel}: {accumulator} became {found}, expected {wanted} ({distance} from a \
         rounding boundary, with a reported bound of {bound})"
    )]
    Rescale {
        /// The quantizer's name.
        node: String,
        /// The channel.
        channel: usize,
        /// The accumulator.
        accumulator: i64,
        /// The byte made of it.
        found: i64,
        /// The exact one.
        wanted: i64,
        /// How far the exact number is from a rounding boundary.
        distance: f64,
        /// The bound reported for the channel.
        bound: f64,
    },
    /// A rescale that reports a bound beyond the one of the design, or beyond half a unit.
    #[error("{node:?}, channel {channel}: reported bound {reported}, expected at most {stated} and 1/2")]
    Bound {
        /// The quantizer's name.
        node: String,
        /// The channel.
        channel: usize,
        /// The reported bound.
        reported: f64,
        /// The design's.
        stated: f64,
    },
    /// A table that is not its function.
    #[error("{node:?}, channel {channel}: code {code} became {found}, expected {wanted}")]
    Table {
        /// The quantizer's name.
        node: String,
        /// The channel.
        channel: usize,
        /// The code looked up.
        code: usize,
        /// What the table has there.
        found: i64,
        /// What the function gives.
        wanted: i64,
    },
    /// A function of bytes that gives others in the integer graph.
    #[error("{node:?} gives other bytes than in the QDQ graph, from the same bytes")]
    Function {
        /// The quantizer's name.
        node: String,
    },
    /// A sum off by more than it may be.
    #[error("{node:?}: {bytes:?} became {found}, expected {exact} rounded, with a reported bound of {bound}")]
    Sum {
        /// The quantizer's name.
        node: String,
        /// The two bytes.
        bytes: [u8; 2],
        /// The byte made of them.
        found: i64,
        /// The exact sum with its zero point.
        exact: f64,
        /// The bound reported.
        bound: f64,
    },
    /// The first transform changed what a quantizer reads.
    #[error("{node:?} reads something else in the sanitized graph than before, from the same bytes")]
    Sanitized {
        /// The quantizer's name.
        node: String,
    },
    /// A layer that computes something else than in the QDQ graph.
    #[error(
        "{node:?}, channel {channel}: {found}, expected {wanted} within {allowed}, which is what the QDQ graph \
         makes of the same bytes"
    )]
    Layer {
        /// The quantizer behind the layer, or the output.
        node: String,
        /// The channel.
        channel: usize,
        /// What the integer graph gives.
        found: f64,
        /// What the QDQ graph gives.
        wanted: f64,
        /// How far the two may be apart.
        allowed: f64,
    },
    /// A graph that does not look as a transform's result looks.
    #[error("{node:?}: expected {expected}")]
    Form {
        /// The node's or value's name.
        node: String,
        /// What should be there.
        expected: String,
    },
    /// A panic.
    #[error("a panic: {message}")]
    Panic {
        /// Its message.
        message: String,
    },
}

impl Fault {
    pub(crate) fn form(node: &str, expected: &str) -> Self {
        Self::Form { node: node.to_owned(), expected: expected.to_owned() }
    }

    pub(crate) fn run(what: &str, source: RunError) -> Self {
        Self::Run { what: what.to_owned(), source: Box::new(source) }
    }
}

fn cause(error: &RunError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}
