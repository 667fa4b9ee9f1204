//! What can be wrong with a model, a score or a report.

use onnx2int_dataset::{DatasetError, ImageShape, WantedShape};
use onnx2int_graph::DType;
use onnx2int_runtimes::RuntimeError;

/// Why something was not evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The model's input does not take images.
    #[error(
        "model {file:?}: expected one input of type f32 or u8 and shape [batch, channels, height, width], found {found}; \
         only models that take such images can be scored"
    )]
    Input {
        /// The model's file name.
        file: String,
        /// The inputs there are.
        found: String,
    },
    /// The model does not end in class scores.
    #[error(
        "model {file:?}: expected one output of numbers of shape [batch, classes], found {found}; score a model that ends in its logits"
    )]
    Output {
        /// The model's file name.
        file: String,
        /// The outputs there are.
        found: String,
    },
    /// A metadata entry that cannot be understood.
    #[error("model {file:?}: metadata: expected {expected}, found {found}; make the model file anew")]
    Metadata {
        /// The model's file name.
        file: String,
        /// What may stand there.
        expected: &'static str,
        /// The entries there are.
        found: String,
    },
    /// A model with a fixed batch cannot divide the images evenly.
    #[error(
        "model {file:?} takes batches of {batch} images only, which do not divide {images} images evenly; \
         export it with a symbolic batch"
    )]
    FixedBatch {
        /// The model's file name.
        file: String,
        /// The batch of the model's input.
        batch: usize,
        /// The images to score.
        images: usize,
    },
    /// Images of another shape.
    #[error(
        "model {file:?} takes images of {wanted} (channels x height x width), found images of {found}; give images of \
         that size and color"
    )]
    Images {
        /// The model's file name.
        file: String,
        /// What it takes.
        wanted: WantedShape,
        /// The shape of the images.
        found: ImageShape,
    },
    /// A preprocessing of other channels.
    #[error(
        "model {file:?} takes images of {channels} channels, found {given} means and standard deviations; give one of \
         each for all channels, or {channels}"
    )]
    Channels {
        /// The model's file name.
        file: String,
        /// The channels of its images.
        channels: usize,
        /// Those of the preprocessing.
        given: usize,
    },
    /// Images whose classes are not known.
    #[error(
        "the images for model {file:?} have no labels; give a folder with a subfolder for each class, or a file with \
         --labels"
    )]
    NoLabels {
        /// The model's file name.
        file: String,
    },
    /// An image that cannot be read.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// There is nothing to score.
    #[error("there are no images to score {file:?} on")]
    NoImages {
        /// The model's file name.
        file: String,
    },
    /// The runtime failed.
    #[error("model {file:?} failed in runtime {runtime:?}")]
    Run {
        /// The model's file name.
        file: String,
        /// The runtime's name.
        runtime: String,
        /// Its error.
        source: Box<RuntimeError>,
    },
    /// A tensor asked for by a name that no node's output has.
    #[error("model {file:?}: no node computes a tensor {name:?}; `onnx2int inspect` lists those there are")]
    NoTensor {
        /// The model's file name.
        file: String,
        /// The name.
        name: String,
    },
    /// Outputs that no class can be read from.
    #[error(
        "model {file:?}: expected outputs of numbers of shape [{images}, classes], found {dtype} of shape {shape:?}"
    )]
    OutputShape {
        /// The model's file name.
        file: String,
        /// The images scored.
        images: usize,
        /// The element type found.
        dtype: DType,
        /// The shape found.
        shape: Vec<usize>,
    },
    /// An output that cannot be ordered or compared.
    #[error(
        "model {file:?}: image {image}: the output of class {class} is {value}, not a finite number; \
         the model is broken"
    )]
    NotFinite {
        /// The model's file name.
        file: String,
        /// The image's index.
        image: usize,
        /// The class.
        class: usize,
        /// The output.
        value: f32,
    },
    /// A label that the model cannot give.
    #[error(
        "model {file:?} tells {classes} classes apart, image {image} has label {label}; \
         score it on the data that it was trained for"
    )]
    Label {
        /// The model's file name.
        file: String,
        /// The model's classes.
        classes: usize,
        /// The image's index.
        image: usize,
        /// Its label.
        label: u32,
    },
    /// A file of ours that does not parse.
    #[error("the {what} is not valid JSON of schema {schema:?}; make it anew")]
    Json {
        /// Which file.
        what: &'static str,
        /// The schema asked for.
        schema: &'static str,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// A file of another version of ours, or of someone else.
    #[error("the {what} has schema {found:?}, expected {expected:?}; make it anew with this version")]
    Schema {
        /// Which file.
        what: &'static str,
        /// The schema asked for.
        expected: &'static str,
        /// The schema found.
        found: String,
    },
    /// A score file and its logits that do not belong together.
    #[error("the score file of {file:?}: expected {expected}, found {found}; score the model anew")]
    DamagedScore {
        /// The model's file name.
        file: String,
        /// What the score file says.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A training file with numbers that no training has.
    #[error("the training file: expected {expected} as {entry}, found {found}; train anew")]
    DamagedTraining {
        /// Which entry, and of which epoch.
        entry: String,
        /// What may stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A sweep file with numbers that no sweep has.
    #[error("the sweep: expected {expected} of {entry}, found {found}; make it anew")]
    DamagedSweep {
        /// Which line, and where on it.
        entry: String,
        /// What may stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// Two scores that say nothing about each other.
    #[error(
        "{score:?} and {reference:?} were scored on different images or classes ({difference}); \
         score both on the same data"
    )]
    NotComparable {
        /// One model's file name.
        score: String,
        /// The other one's.
        reference: String,
        /// What differs.
        difference: String,
    },
    /// A report of nothing.
    #[error("there is no score to report; evaluate a model first")]
    NoScores,
    /// Two rows of one name.
    #[error("the report has two scores named {name:?}, of {first:?} and {second:?}; give one of them")]
    DuplicateRow {
        /// The row's name.
        name: String,
        /// One model's file name.
        first: String,
        /// The other one's.
        second: String,
    },
    /// A number that JSON cannot hold.
    #[error("the report's {what} is {value}, not a finite number")]
    NotReportable {
        /// Which number.
        what: String,
        /// Its value.
        value: f64,
    },
}
