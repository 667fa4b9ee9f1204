//! What must be known of a model to score it.

use std::ops::Range;

use onnx2int_dataset::{DatasetError, ImageShape, ImageSource, WantedShape};
use onnx2int_graph::metadata::{self, Normalization};
use onnx2int_graph::{DType, Dim, Graph, Op, Stage, Tensor, TensorType, Value};
use onnx2int_runtimes::{RuntimeError, RuntimeKind, Session, run_batches};

use crate::{EvaluationError, Execution, OutputKind};

/// A model file as the scorer sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredModel {
    /// Its stage, unless it is a model of someone else's.
    pub stage: Option<Stage>,
    /// The file's name, without folders: it ends up in reports.
    pub file: String,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// What it takes.
    pub input: ModelInput,
    /// The images that it takes.
    pub images: WantedShape,
    /// The number of images of every run, if the input's first extent is fixed.
    pub fixed_batch: Option<usize>,
    /// What its outputs stand for.
    pub output: OutputKind,
    /// The real number that one unit of an integer output stands for, where it is known.
    pub logit_scale: Option<f64>,
}

/// How an image becomes the model's input, of shape `[batch, channels, height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelInput {
    /// f32: each pixel is normalized.
    Normalized(Normalization),
    /// u8: the pixels as they are.
    Bytes,
}

impl ScoredModel {
    /// Reads everything off a graph: input and output types, and the metadata entries
    /// `onnx2int.stage`, `onnx2int.mean`, `onnx2int.std` and `onnx2int.logit_scale`. A float model
    /// without mean and std gets what [`Normalization::assumed`] says.
    ///
    /// # Errors
    /// [`EvaluationError::Input`], [`EvaluationError::Output`] or [`EvaluationError::Metadata`].
    pub fn of(graph: &Graph, file: &str, digest: &str) -> Result<Self, EvaluationError> {
        let metadata = Metadata { graph, file };
        let (dtype, batch, images) = input_type(graph, file)?;
        let input = match dtype {
            DType::U8 => ModelInput::Bytes,
            _ => ModelInput::Normalized(metadata.normalization(images)?),
        };
        Ok(Self {
            stage: metadata.stage()?,
            file: file.to_owned(),
            digest: digest.to_owned(),
            input,
            images,
            fixed_batch: batch.fixed(),
            output: output_kind(graph, file)?,
            logit_scale: metadata.logit_scale()?,
        })
    }

    /// This model with another preprocessing, if it takes floats; one of bytes stays as it is.
    ///
    /// # Errors
    /// [`EvaluationError::Channels`].
    pub fn with_normalization(mut self, normalization: &Normalization) -> Result<Self, EvaluationError> {
        if let ModelInput::Normalized(own) = &mut self.input {
            if let Some(channels) = self.images.channels.filter(|&channels| !normalization.fits(channels)) {
                let given = normalization.channels();
                return Err(EvaluationError::Channels { file: self.file, channels, given });
            }
            *own = normalization.clone();
        }
        Ok(self)
    }

    /// Runs a session of this model on all images of a source, which are read a batch at a time;
    /// the outputs of all images, joined.
    ///
    /// # Errors
    /// No images or others than the model takes, a fixed batch that does not divide them, a file
    /// that cannot be read, and what the runtime refuses.
    pub(crate) fn run(
        &self,
        session: &dyn Session,
        kind: RuntimeKind,
        images: &dyn ImageSource,
        execution: Execution,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Tensor>, EvaluationError> {
        let batch = self.batch(images, execution)?;
        let input = |part: Range<usize>| Ok(self.input_of(images, part)?);
        run_batches(session, images.len(), batch, execution.threads.max(1), &input, progress).map_err(
            |failure| match failure {
                Failure::Data(source) => EvaluationError::Data(source),
                Failure::Run(source) => self.failed(kind, source),
            },
        )
    }

    /// Images of a source as the model's input.
    pub(crate) fn input_of(
        &self,
        images: &dyn ImageSource,
        part: Range<usize>,
    ) -> Result<Tensor, DatasetError> {
        let indices: Vec<usize> = part.collect();
        Ok(self.input.tensor(images.shape(), images.read(&indices)?))
    }

    /// The images of each run, at least 1.
    ///
    /// # Errors
    /// No images at all, images of another shape, or a fixed batch that does not divide them.
    fn batch(&self, source: &dyn ImageSource, execution: Execution) -> Result<usize, EvaluationError> {
        let images = source.len();
        let shape = source.shape();
        let channels_fit = match &self.input {
            ModelInput::Normalized(normalization) => normalization.fits(shape.channels),
            ModelInput::Bytes => true,
        };
        if !self.images.accepts(shape) || !channels_fit {
            return Err(EvaluationError::Images {
                file: self.file.clone(),
                wanted: self.images,
                found: shape,
            });
        }
        if images == 0 {
            return Err(EvaluationError::NoImages { file: self.file.clone() });
        }
        match self.fixed_batch {
            Some(batch) if !images.is_multiple_of(batch.max(1)) => {
                Err(EvaluationError::FixedBatch { file: self.file.clone(), batch, images })
            }
            fixed => Ok(fixed.unwrap_or(execution.batch).max(1)),
        }
    }

    /// The error of a runtime that ran this model.
    pub(crate) fn failed(&self, kind: RuntimeKind, source: RuntimeError) -> EvaluationError {
        EvaluationError::Run {
            file: self.file.clone(),
            runtime: kind.name().to_owned(),
            source: Box::new(source),
        }
    }
}

/// Why a batch failed.
enum Failure {
    Data(DatasetError),
    Run(RuntimeError),
}

impl From<DatasetError> for Failure {
    fn from(error: DatasetError) -> Self {
        Self::Data(error)
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::Run(error)
    }
}

impl ModelInput {
    /// Images as one tensor, `[images, channels, height, width]`, from their pixels in that order.
    ///
    /// # Panics
    /// If the pixels are not whole images, or have channels that the normalization does not know.
    pub fn tensor(&self, shape: ImageShape, pixels: Vec<u8>) -> Tensor {
        let extents = shape.of_images(pixels.len() / shape.bytes());
        let tensor = match self {
            Self::Bytes => Tensor::from_vec(&extents, pixels),
            Self::Normalized(normalization) => {
                Tensor::from_vec(&extents, normalization.normalize(&pixels, shape.channels, shape.plane()))
            }
        };
        tensor.expect("images are whole")
    }
}

fn input_type<'g>(graph: &'g Graph, file: &str) -> Result<(DType, &'g Dim, WantedShape), EvaluationError> {
    if let [input] = graph.inputs()
        && let TensorType { dtype: dtype @ (DType::F32 | DType::U8), shape } = &graph.value(*input).ty
        && let [batch, channels, height, width] = shape.as_slice()
    {
        let images = WantedShape { channels: channels.fixed(), height: height.fixed(), width: width.fixed() };
        return Ok((*dtype, batch, images));
    }
    let found = describe(graph.inputs().iter().map(|&id| graph.value(id)));
    Err(EvaluationError::Input { file: file.to_owned(), found })
}

fn output_kind(graph: &Graph, file: &str) -> Result<OutputKind, EvaluationError> {
    if let [output] = graph.outputs() {
        let TensorType { dtype, shape } = &graph.value(*output).ty;
        let numbers = *dtype == DType::F32 || dtype.is_integer();
        let classes_fit = shape.len() == 2 && shape[1].fixed() != Some(0);
        if numbers && classes_fit {
            return Ok(match graph.producer(*output).map(|(_, node)| &node.op) {
                Some(Op::LogSoftmax { .. }) => OutputKind::LogProbabilities,
                Some(Op::Softmax { .. }) => OutputKind::Probabilities,
                _ => OutputKind::Logits,
            });
        }
    }
    let found = describe(graph.outputs().iter().map(|&id| graph.value(id)));
    Err(EvaluationError::Output { file: file.to_owned(), found })
}

fn describe<'g>(values: impl Iterator<Item = &'g Value>) -> String {
    let described: Vec<String> = values.map(|value| format!("{:?}: {}", value.name, value.ty)).collect();
    if described.is_empty() { "none".to_owned() } else { described.join(", ") }
}

/// Metadata entries, where an entry that is there and makes no sense is an error: a wrong scale
/// would show as a wrong gap, a wrong mean as a wrong accuracy.
struct Metadata<'a> {
    graph: &'a Graph,
    file: &'a str,
}

impl Metadata<'_> {
    fn stage(&self) -> Result<Option<Stage>, EvaluationError> {
        self.checked(metadata::stage(self.graph), &[metadata::STAGE], "the name of a stage")
    }

    fn normalization(&self, images: WantedShape) -> Result<Normalization, EvaluationError> {
        let keys = [metadata::MEAN, metadata::STD];
        let expected = "a mean and a std above 0, for all channels or for each, or neither";
        let fits = |normalization: &Normalization| {
            images.channels.is_none_or(|channels| normalization.fits(channels))
        };
        let read = self.checked(Normalization::of(self.graph).filter(fits), &keys, expected)?;
        Ok(read.unwrap_or_else(|| Normalization::assumed(self.graph)))
    }

    fn logit_scale(&self) -> Result<Option<f64>, EvaluationError> {
        self.checked(metadata::logit_scale(self.graph), &[metadata::LOGIT_SCALE], "a number above 0")
    }

    /// What was read from some keys; nothing only where none of them is there.
    fn checked<T>(
        &self,
        read: Option<T>,
        keys: &[&str],
        expected: &'static str,
    ) -> Result<Option<T>, EvaluationError> {
        let entries: Vec<String> = keys
            .iter()
            .filter_map(|&key| Some(format!("{key} = {:?}", self.graph.metadata().get(key)?)))
            .collect();
        if read.is_none() && !entries.is_empty() {
            return Err(EvaluationError::Metadata {
                file: self.file.to_owned(),
                expected,
                found: entries.join(", "),
            });
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use onnx2int_dataset::{Images, MNIST_SHAPE, PIXELS};
    use onnx2int_graph::GraphEditor;

    use super::*;

    fn model(input: TensorType, op: Op, metadata: &[(&str, &str)]) -> Graph {
        let mut editor = GraphEditor::new("tiny");
        let image = editor.add_input("image", input).unwrap();
        let flat = editor.add_node("flatten", Op::Flatten { axis: 1 }, [Some(image)], "flat").unwrap();
        // Few enough classes to be told apart by a byte.
        let start = editor.add_constant("start", Tensor::vector(vec![0_i64])).unwrap();
        let end = editor.add_constant("end", Tensor::vector(vec![10_i64])).unwrap();
        let axis = editor.add_constant("axis", Tensor::vector(vec![1_i64])).unwrap();
        let operands = [flat, start, end, axis].map(Some);
        let sliced = editor.add_node("slice", Op::Slice, operands, "sliced").unwrap();
        let output = editor.add_node("last", op, [Some(sliced)], "output").unwrap();
        editor.set_outputs([output]);
        for (key, value) in metadata {
            editor.set_metadata(key, *value);
        }
        editor.finish().unwrap()
    }

    fn images(dtype: DType) -> TensorType {
        TensorType::new(dtype, [Dim::symbol("N"), Dim::Fixed(1), Dim::Fixed(28), Dim::Fixed(28)])
    }

    #[test]
    fn a_float_model_is_read_with_its_own_normalization() {
        let metadata = [("onnx2int.stage", "float"), ("onnx2int.mean", "0.1307"), ("onnx2int.std", "0.25")];
        let graph = model(images(DType::F32), Op::LogSoftmax { axis: 1 }, &metadata);
        let model = ScoredModel::of(&graph, "m.onnx", "00").unwrap();
        assert_eq!(model.stage, Some(Stage::Float));
        assert_eq!(model.input, ModelInput::Normalized(Normalization::new(&[0.1307], &[0.25]).unwrap()));
        assert_eq!((model.output, model.logit_scale), (OutputKind::LogProbabilities, None));
        assert_eq!(model.fixed_batch, None);
    }

    #[test]
    fn an_integer_model_is_read_with_its_logit_scale() {
        let metadata = [("onnx2int.stage", "scale_out"), ("onnx2int.logit_scale", "0.0125")];
        let graph = model(images(DType::U8), Op::Cast { to: DType::I32 }, &metadata);
        let model = ScoredModel::of(&graph, "m.onnx", "00").unwrap();
        assert_eq!((model.stage, model.input), (Some(Stage::ScaleOut), ModelInput::Bytes));
        assert_eq!((model.output, model.logit_scale), (OutputKind::Logits, Some(0.0125)));
    }

    #[test]
    fn a_fixed_batch_is_seen() {
        let graph = model(TensorType::fixed(DType::F32, &[8, 1, 28, 28]), Op::Relu, &[]);
        assert_eq!(ScoredModel::of(&graph, "m.onnx", "00").unwrap().fixed_batch, Some(8));
    }

    #[test]
    fn other_inputs_are_refused_by_type() {
        let found = [
            TensorType::fixed(DType::F32, &[1, 784]),
            TensorType::fixed(DType::F32, &[1, 28, 28]),
            TensorType::fixed(DType::I8, &[1, 1, 28, 28]),
        ];
        for ty in found {
            let text = ty.to_string();
            let op = Op::Cast { to: DType::I32 };
            let message = ScoredModel::of(&model(ty, op, &[]), "m.onnx", "00").unwrap_err().to_string();
            assert!(message.contains(&format!("\"image\": {text}")), "{message}");
        }
    }

    #[test]
    fn outputs_that_are_no_class_scores_are_refused() {
        let classes = Op::ArgMax { axis: 1, keepdims: false };
        let graph = model(images(DType::F32), classes, &[]);
        let message = ScoredModel::of(&graph, "m.onnx", "00").unwrap_err().to_string();
        assert!(message.contains("\"output\": i64[N]"), "{message}");
    }

    #[test]
    fn metadata_that_makes_no_sense_is_refused() {
        let wrong = [
            ("onnx2int.stage", "final"),
            ("onnx2int.mean", "0.1307"),
            ("onnx2int.std", "0"),
            ("onnx2int.logit_scale", "-1"),
            ("onnx2int.logit_scale", "inf"),
        ];
        for entry in wrong {
            let graph = model(images(DType::F32), Op::Relu, &[entry]);
            let message = ScoredModel::of(&graph, "m.onnx", "00").unwrap_err().to_string();
            assert!(message.contains(entry.0) && message.contains(entry.1), "{message}");
        }
    }

    #[test]
    fn images_become_what_the_model_takes() {
        let mut pixels = vec![0; 2 * PIXELS];
        pixels[PIXELS] = 255;
        let bytes = ModelInput::Bytes.tensor(MNIST_SHAPE, pixels.clone());
        assert_eq!(bytes.shape(), [2, 1, 28, 28]);
        assert_eq!(bytes.as_slice::<u8>().unwrap()[PIXELS], 255);
        let normalization = Normalization::default();
        let floats = ModelInput::Normalized(normalization.clone()).tensor(MNIST_SHAPE, pixels);
        let floats = floats.as_slice::<f32>().unwrap();
        assert_eq!((floats[PIXELS], floats[0]), (normalization.apply(0, 255), normalization.apply(0, 0)));
    }

    /// A model of colored images of any width; its outputs are the pixels.
    fn color(metadata: &[(&str, &str)]) -> Graph {
        let entries: String =
            metadata.iter().map(|(key, value)| format!("meta {key} = \"{value}\"\n")).collect();
        let nodes = "in %image: f32[N,3,4,W]\n%flat = Flatten(%image)\n%output = Relu(%flat)\nout %output";
        Graph::from_text(&format!("{entries}{nodes}")).unwrap()
    }

    #[test]
    fn colored_images_of_any_width_have_a_normalization_for_each_channel() {
        let metadata = [("onnx2int.mean", "0,0.5,1"), ("onnx2int.std", "1,0.5,0.25")];
        let model = ScoredModel::of(&color(&metadata), "m.onnx", "00").unwrap();
        assert_eq!(model.images.to_string(), "3x4x?");
        let shape = ImageShape { channels: 3, height: 1, width: 1 };
        let tensor = model.input.tensor(shape, vec![255, 255, 0]);
        assert_eq!(tensor.as_slice::<f32>().unwrap(), [1.0, 1.0, -4.0]);

        let other = Normalization::new(&[0.0], &[1.0, 1.0, 0.5]).unwrap();
        let changed = model.clone().with_normalization(&other).unwrap();
        assert_eq!(changed.input, ModelInput::Normalized(other));
        let two = Normalization::new(&[0.0, 0.1], &[1.0]).unwrap();
        let error = model.with_normalization(&two).unwrap_err();
        assert!(matches!(error, EvaluationError::Channels { channels: 3, given: 2, .. }), "{error}");
    }

    #[test]
    fn a_normalization_of_other_channels_is_refused() {
        let metadata = [("onnx2int.mean", "0,0.5"), ("onnx2int.std", "1,1")];
        let error = ScoredModel::of(&color(&metadata), "m.onnx", "00").unwrap_err();
        assert!(matches!(error, EvaluationError::Metadata { .. }), "{error}");
    }

    #[test]
    fn images_of_another_shape_are_refused_with_both() {
        let model = ScoredModel::of(&color(&[]), "m.onnx", "00").unwrap();
        assert_eq!(model.input, ModelInput::Normalized(Normalization::new(&[0.0], &[1.0]).unwrap()));
        let gray = Images::new(vec![0; PIXELS], vec![1]).unwrap();
        let error = model.batch(&gray, Execution { batch: 1, threads: 1 }).unwrap_err().to_string();
        assert!(error.contains("3x4x?") && error.contains("1x28x28"), "{error}");
    }
}
