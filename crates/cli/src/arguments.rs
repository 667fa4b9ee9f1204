//! What can be typed.

mod quantize;
mod time;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use onnx2int_graph::Stage;
use onnx2int_transforms::passes::{EncodeWeights, Encoding};

pub(crate) use quantize::{CalibrationMethod, Logits, Quantize, QuantizerPlacement};
pub(crate) use time::Time;

/// From a float CNN to an ONNX graph that holds integers and nothing else.
#[derive(Debug, Parser)]
#[command(name = "onnx2int", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
The steps, each of which reads one ONNX file and writes the next:
  train -> quantize -> transform sanitize -> add-rescaling -> embed-act -> prune-qdq
        -> fold-op-scales -> split-bias-add -> integer-ops -> scale-out
`lower` does all transforms at once. Every file runs as it is in ONNX Runtime and tract.

Exit status: 0 done, 1 failed (the message says what to do), 2 bad usage, 130 interrupted.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train the MNIST CNN and export it as a float ONNX file
    Train(Train),
    /// Quantize a float model to 8-bit QDQ form, calibrated on training images
    Quantize(Quantize),
    /// Apply one of the eight transforms, or encode-weights
    Transform(Transform),
    /// Apply all transforms to a quantized model, in order
    Lower(Lower),
    /// Score models on the test images
    Evaluate(Evaluate),
    /// Tell the class of each image, by a model of any stage
    Predict(Predict),
    /// Digest every inner integer tensor of a model for every image, to compare runtimes or hardware bit for bit
    Trace(Trace),
    /// Check a model: structure, types, the rules of its stage, accumulator ranges
    Verify(Verify),
    /// Print a model as text
    Inspect(Inspect),
    /// Measure how many images a second a model takes
    Time(Time),
    /// Run any model that can be read on tensors from .npy files
    Run(Run),
    /// Gather models and scores of a run into report.json, report.md and report.html
    Report(Report),
}

/// Where the images are.
#[derive(Args, Clone, Debug)]
pub(crate) struct Data {
    /// Folder with the four IDX files of MNIST's names and sizes, plain or .gz
    #[arg(long, value_name = "DIR", default_value = "data/mnist")]
    pub(crate) data_dir: PathBuf,
}

/// Images of one's own instead of MNIST's.
#[derive(Args, Clone, Debug)]
pub(crate) struct Source {
    /// Images of your own: a folder of PNG or JPEG files, in subfolders where they have classes, or uint8 arrays in a
    /// .npy, .npz (FILE.npz:ARRAY) or IDX file [default: those in --data-dir]; a number is --first
    #[arg(long, visible_alias = "inputs", value_name = "PATH")]
    pub(crate) images: Option<PathBuf>,
    /// Scale images that are files and cut their middle, to this height and width [default: all have the model's size]
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub(crate) size: Option<(usize, usize)>,
}

/// What a float model is given for a pixel.
#[derive(Args, Clone, Debug)]
pub(crate) struct Preprocessing {
    /// Mean of the preprocessing (x/255 - mean)/std, one for all channels or one for each, with commas
    /// [default: the model's metadata, else 33/255 for images of 1x28x28 and 0 for others]
    #[arg(long, value_name = "MEAN", value_delimiter = ',', allow_negative_numbers = true)]
    pub(crate) mean: Vec<f32>,
    /// Standard deviation of the preprocessing, given as the mean [default: the model's metadata, else 0.3081 or 1]
    #[arg(long, value_name = "STD", value_delimiter = ',')]
    pub(crate) std: Vec<f32>,
}

/// Height and width: `224x224`.
fn size(text: &str) -> Result<(usize, usize), String> {
    let extents =
        text.split_once('x').and_then(|(height, width)| Some((height.parse().ok()?, width.parse().ok()?)));
    extents
        .filter(|&(height, width)| height > 0 && width > 0)
        .ok_or_else(|| "expected height and width in pixels, such as 224x224".to_owned())
}

/// How many threads.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Threads {
    /// Threads to run models on [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Threads {
    /// The number asked for, or one for each core.
    pub(crate) fn count(self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(cores, usize::from)
    }
}

#[derive(Args, Debug)]
pub(crate) struct Train {
    #[command(flatten)]
    pub(crate) data: Data,
    /// The float model to write; a summary of the training goes beside it, with the extension .training.json
    #[arg(long, value_name = "FILE", required_unless_present_any = ["print_recipe", "time_steps"])]
    pub(crate) output: Option<PathBuf>,
    /// Folder for a checkpoint after each epoch [default: OUTPUT with the extension .checkpoints]
    #[arg(long, value_name = "DIR")]
    pub(crate) checkpoint_dir: Option<PathBuf>,
    /// Go on from the last checkpoint, if there is one
    #[arg(long)]
    pub(crate) resume: bool,
    /// Print what decides the trained weights, as a line of JSON, and stop
    #[arg(long)]
    pub(crate) print_recipe: bool,
    /// Print what each of N steps takes, as a line of JSON, and stop; nothing is written
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) time_steps: Option<u32>,
    #[command(flatten, next_help_heading = "Recipe (what is not given is the network's own)")]
    pub(crate) recipe: RecipeOptions,
}

/// What decides the trained weights.
#[derive(Args, Debug)]
pub(crate) struct RecipeOptions {
    /// What is trained
    #[arg(long, value_enum, default_value_t = Network::Standard)]
    pub(crate) network: Network,
    /// Passes over the training images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) epochs: Option<u32>,
    /// Seed of initialization, shuffling, dropout and movements
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A short training on a subset of the images
    #[arg(long)]
    pub(crate) quick: bool,
    /// Training images to use, evenly spread over all of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) subset: Option<u32>,
    /// Images of a step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_size: Option<u32>,
    /// The peak of the learning rate
    #[arg(long, value_name = "RATE")]
    pub(crate) learning_rate: Option<f64>,
    /// How the learning rate goes over the run
    #[arg(long, value_enum)]
    pub(crate) schedule: Option<TrainingSchedule>,
    /// AdamW's decoupled weight decay
    #[arg(long, value_name = "RATE")]
    pub(crate) weight_decay: Option<f64>,
    /// The part of each answer's probability that is asked to be spread over all classes
    #[arg(long, value_name = "PART")]
    pub(crate) label_smoothing: Option<f64>,
    /// What a step leaves of the past in a moving average of the weights, such as 0.999; 0: no average
    #[arg(long, value_name = "PART")]
    pub(crate) averaging: Option<f64>,
    /// Shift images by up to N pixels each way
    #[arg(long, value_name = "N")]
    pub(crate) max_shift: Option<u32>,
    /// Turn images by up to this many degrees each way
    #[arg(long, value_name = "DEGREES")]
    pub(crate) max_rotation: Option<f64>,
    /// Make the last N epochs with weights and activations rounded as the quantizer will round them
    #[arg(long, value_name = "N")]
    pub(crate) qat_epochs: Option<u32>,
    /// Bits of a weight in these epochs, 2 to 8, as `quantize --weight-bits` [default: 8]
    #[arg(long, value_name = "BITS", requires = "qat_epochs")]
    pub(crate) weight_bits: Option<u32>,
    /// Bits of a multiplier in these epochs, 2 to 23, as `transform scale-out --mantissa-bits` [default: 23]
    #[arg(long, value_name = "BITS", requires = "qat_epochs")]
    pub(crate) mantissa_bits: Option<u32>,
    /// Subtracted from pixel/255 [default: 33/255; the classic value is 0.1307]
    #[arg(long)]
    pub(crate) mean: Option<f32>,
    /// Divides the difference [default: 0.3081]
    #[arg(long)]
    pub(crate) std: Option<f32>,
    /// What computes tensors
    #[arg(long, value_enum, default_value_t = TrainingBackend::Flex)]
    pub(crate) backend: TrainingBackend,
    /// What computes the convolutions [default: fused on the flex backend, else stock]
    #[arg(long, value_enum)]
    pub(crate) kernels: Option<TrainingKernels>,
}

/// How the learning rate goes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrainingSchedule {
    /// Up for a fifth of the run, then down along a cosine
    OneCycle,
    /// Down along a cosine
    Cosine,
    /// The peak throughout
    Constant,
}

/// A network on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    /// The CNN of PyTorch's MNIST example: 1.6 million parameters
    Standard,
    /// Under 64 kB of 8-bit weights
    Small,
    /// Under 12 kB of 8-bit weights
    Tiny,
}

/// What computes the convolutions in training; both to the same result, up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrainingKernels {
    /// All convolutions, ReLUs and poolings as one operator of our own
    Fused,
    /// burn's operators
    Stock,
}

/// A tensor library behind burn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrainingBackend {
    /// burn's CPU backend
    Flex,
    /// burn's former CPU backend: deprecated, and over 20 times slower
    Ndarray,
}

#[derive(Args, Debug)]
pub(crate) struct Transform {
    /// Which transform
    #[arg(value_name = "TRANSFORM", value_parser = transform_names())]
    pub(crate) name: String,
    /// The model to transform
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// The transformed model to write
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) options: TransformOptions,
    /// encode-weights: how weights are stored; every encoding gives the same sums
    #[arg(long = "as", value_name = "ENCODING", value_parser = encoding_names(),
        required_if_eq("name", EncodeWeights::NAME))]
    pub(crate) encoding: Option<String>,
    /// Also write what was done, place by place, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

/// Options of single transforms.
#[derive(Args, Clone, Debug)]
pub(crate) struct TransformOptions {
    /// add-rescaling: real value of one pixel step, for example 0.0127 [default: the quantizer's own]
    #[arg(long, requires = "zero_point")]
    pub(crate) scale: Option<f32>,
    /// add-rescaling: the pixel that stands for 0, for example 33 [default: the quantizer's own]
    #[arg(long, requires = "scale")]
    pub(crate) zero_point: Option<u8>,
    #[command(flatten)]
    pub(crate) preprocessing: Preprocessing,
    /// scale-out: bits of the fixed-point multipliers, 2 to 23 [default: 23]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(2..=23))]
    pub(crate) mantissa_bits: Option<u32>,
}

fn encoding_names() -> clap::builder::PossibleValuesParser {
    Encoding::ALL.map(Encoding::name).into()
}

fn transform_names() -> clap::builder::PossibleValuesParser {
    let steps = Stage::ALL[2..].iter().map(|stage| stage.made_by());
    steps.chain([EncodeWeights::NAME]).collect::<Vec<_>>().into()
}

#[derive(Args, Debug)]
pub(crate) struct Lower {
    /// The quantized model
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// Folder for the model of every stage
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: PathBuf,
    /// Where the end of the network has no integer form, leave it in floats behind the integer part
    #[arg(long)]
    pub(crate) allow_float_tail: bool,
    #[command(flatten)]
    pub(crate) options: TransformOptions,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[derive(Args, Debug)]
pub(crate) struct Evaluate {
    /// The models to score, in the order of the stages
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) model: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) data: Data,
    /// What runs the models [default: the engine for those of integers only, tract for others]
    #[arg(long, value_name = "RUNTIME", value_parser = runtime_names())]
    pub(crate) runtime: Option<String>,
    #[command(flatten)]
    pub(crate) source: Source,
    /// The images' classes, integers [N] in a .npy, .npz (FILE.npz:ARRAY) or IDX file [default: the folder's subfolders]
    #[arg(long, value_name = "FILE", requires = "images")]
    pub(crate) labels: Option<PathBuf>,
    /// Only the first N images
    #[arg(long, value_name = "N")]
    pub(crate) first: Option<usize>,
    #[command(flatten)]
    pub(crate) preprocessing: Preprocessing,
    /// Images that run at once
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch: u16,
    /// Score file of the float model, to compare with [default: the first model]
    #[arg(long, value_name = "FILE")]
    pub(crate) reference: Option<PathBuf>,
    /// Score file of the stage before the first model, to compare with
    #[arg(long, value_name = "FILE")]
    pub(crate) previous: Option<PathBuf>,
    /// Write the score of the one model here, and its raw outputs beside it (.logits.bin)
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

fn runtime_names() -> clap::builder::PossibleValuesParser {
    onnx2int_runtimes::RuntimeKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().into()
}

#[derive(Args, Debug)]
pub(crate) struct Predict {
    /// The model that tells the classes
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// PNG or JPEG images, folders of them, or uint8 arrays of images in .npy, .npz (FILE.npz:ARRAY) or IDX files
    #[arg(value_name = "IMAGE", required = true, num_args = 1..)]
    pub(crate) images: Vec<PathBuf>,
    /// Scale images that are files and cut their middle, to this height and width [default: all have the model's size]
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub(crate) size: Option<(usize, usize)>,
    /// Take the negatives of the images: for a dark digit on light paper
    #[arg(long)]
    pub(crate) invert: bool,
    #[command(flatten)]
    pub(crate) preprocessing: Preprocessing,
    /// Names of the classes, a line for each from class 0 on
    #[arg(long, value_name = "FILE")]
    pub(crate) labels_file: Option<PathBuf>,
    /// Show the K classes with the greatest scores
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: u32,
    /// What runs the model [default: the engine for one of integers only, tract for others]
    #[arg(long, value_name = "RUNTIME", value_parser = runtime_names())]
    pub(crate) runtime: Option<String>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

const TRACE_HELP: &str = "\
T.json describes the model, the runtime, the images and the tensors; beside it are T.outputs.bin, the raw outputs
[images, classes], and T.digests.bin, eight bytes for each image and tensor [images, tensors, 8]: the first eight of
SHA-256 over the image's elements, row-major and little-endian. To do the same with a simulation of hardware:
  hashlib.sha256(array[image].tobytes()).digest()[:8]
The first digest that differs names the tensor and its node; --dump and --image give its elements, T.values.bin: for
each image one tensor after the other.";

#[derive(Args, Debug)]
#[command(after_help = TRACE_HELP)]
pub(crate) struct Trace {
    /// The model to run
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// What runs it
    #[arg(long, value_name = "RUNTIME", default_value = "interpreter", value_parser = runtime_names())]
    pub(crate) runtime: String,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) source: Source,
    /// Only the first N images
    #[arg(long, value_name = "N")]
    pub(crate) first: Option<usize>,
    /// Only these images, counted from 0
    #[arg(long, value_name = "I", num_args = 1.., conflicts_with = "first")]
    pub(crate) image: Vec<usize>,
    #[command(flatten)]
    pub(crate) preprocessing: Preprocessing,
    /// Write the elements of these tensors, floats too, instead of digests
    #[arg(long, value_name = "TENSOR", num_args = 1.., requires = "image")]
    pub(crate) dump: Vec<String>,
    /// With the runtime engine: run it with every kernel of this processor, those without special instructions on 500
    /// images at most, and fail where two give other bits
    #[arg(long, conflicts_with = "dump")]
    pub(crate) every_kernel: bool,
    /// Images that run at once
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch: u16,
    /// The header to write; what belongs to it goes beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The model to check
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// The stage whose rules hold [default: what the model's metadata says, else structure and types only]
    #[arg(long, value_parser = stage_names())]
    pub(crate) stage: Option<String>,
    /// Write every proven bound and what it rests on here, as JSON; of a model of stage integer or scale_out
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// Compute the bounds anew and compare them with this certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) check_certificate: Option<PathBuf>,
    /// Build inputs that take every accumulator to its extremes, run them in the interpreter, and write them here
    #[arg(long, value_name = "DIR")]
    pub(crate) witnesses: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

fn stage_names() -> clap::builder::PossibleValuesParser {
    Stage::ALL.iter().map(|stage| stage.name()).collect::<Vec<_>>().into()
}

#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// The model to print
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// Print every element of large constants too, so that the text is the whole model
    #[arg(long)]
    pub(crate) full: bool,
    /// Print how the engine runs the model instead: its steps, their work and memory (stage scale_out)
    #[arg(long, conflicts_with = "full")]
    pub(crate) plan: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The model to run
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// A .npy file for each of the model's inputs, in their order or as NAME=FILE
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) input: Vec<PathBuf>,
    /// Folder for a .npy file of each output, named after it
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: PathBuf,
    /// What runs the model
    #[arg(long, value_name = "RUNTIME", default_value = "interpreter", value_parser = runtime_names())]
    pub(crate) runtime: String,
}

#[derive(Args, Debug)]
pub(crate) struct Report {
    /// Folder with models/, scores/ and records/, as `cargo xtask run-all` leaves it
    #[arg(long, value_name = "DIR", required_unless_present = "compare")]
    pub(crate) dir: Option<PathBuf>,
    /// Write a page that sets two runs side by side: their folders, each with its report.json
    #[arg(long, value_names = ["A", "B"], num_args = 2, conflicts_with_all = ["dir", "training", "data_dir"])]
    pub(crate) compare: Vec<PathBuf>,
    /// The page of --compare
    #[arg(long, value_name = "FILE", default_value = "compare.html", requires = "compare")]
    pub(crate) output: PathBuf,
    /// Show how the float model was trained: the file that `train` wrote beside it (.training.json)
    #[arg(long, value_name = "FILE")]
    pub(crate) training: Option<PathBuf>,
    /// Measure the noise of each layer on the test images of this folder, which the models were scored on, draw those
    /// whose class changed, and have report.html compare the network that runs in it with the engine
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
