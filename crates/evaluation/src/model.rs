//! What must be known of a model to score it.

use onnx2int_dataset::{Images, PIXELS, SIDE};
use onnx2int_graph::metadata::{self, Normalization};
use onnx2int_graph::{DType, Dim, Graph, Op, Stage, Tensor, TensorType, Value};

use onnx2int_runtimes::{RuntimeError, RuntimeKind};

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
    /// The number of images of every run, if the input's first extent is fixed.
    pub fixed_batch: Option<usize>,
    /// What its outputs stand for.
    pub output: OutputKind,
    /// The real number that one unit of an integer output stands for, where it is known.
    pub logit_scale: Option<f64>,
}

/// How an image becomes the model's input, of shape `[batch, 1, 28, 28]`.
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
    /// without mean and std gets the default normalization.
    ///
    /// # Errors
    /// [`EvaluationError::Input`], [`EvaluationError::Output`] or [`EvaluationError::Metadata`].
    pub fn of(graph: &Graph, file: &str, digest: &str) -> Result<Self, EvaluationError> {
        let metadata = Metadata { graph, file };
        let (dtype, batch) = input_type(graph, file)?;
        let input = match dtype {
            DType::U8 => ModelInput::Bytes,
            _ => ModelInput::Normalized(metadata.normalization()?),
        };
        Ok(Self {
            stage: metadata.stage()?,
            file: file.to_owned(),
            digest: digest.to_owned(),
            input,
            fixed_batch: batch.fixed(),
            output: output_kind(graph, file)?,
            logit_scale: metadata.logit_scale()?,
        })
    }

    /// The images of each run, at least 1.
    ///
    /// # Errors
    /// No images at all, or a fixed batch that does not divide them.
    pub(crate) fn batch(&self, images: usize, execution: Execution) -> Result<usize, EvaluationError> {
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

impl ModelInput {
    /// All images as one tensor, `[images, 1, 28, 28]`.
    pub fn tensor(&self, images: &Images) -> Tensor {
        let pixels = images.pixels();
        let shape = [pixels.len() / PIXELS, 1, SIDE, SIDE];
        let tensor = match self {
            Self::Bytes => Tensor::from_vec(&shape, pixels.to_vec()),
            Self::Normalized(normalization) => {
                Tensor::from_vec(&shape, normalization.normalize(pixels, 1, PIXELS))
            }
        };
        tensor.expect("images are whole")
    }
}

fn input_type<'g>(graph: &'g Graph, file: &str) -> Result<(DType, &'g Dim), EvaluationError> {
    let image = [Dim::Fixed(1), Dim::Fixed(SIDE), Dim::Fixed(SIDE)];
    if let [input] = graph.inputs()
        && let TensorType { dtype: dtype @ (DType::F32 | DType::U8), shape } = &graph.value(*input).ty
        && let [batch, rest @ ..] = shape.as_slice()
        && rest.len() == image.len()
        // A symbolic extent may be anything that the images want it to be.
        && rest.iter().zip(&image).all(|(found, wanted)| found == wanted || found.fixed().is_none())
    {
        return Ok((*dtype, batch));
    }
    let found = describe(graph.inputs().iter().map(|&id| graph.value(id)));
    Err(EvaluationError::Input { file: file.to_owned(), found })
}

fn output_kind(graph: &Graph, file: &str) -> Result<OutputKind, EvaluationError> {
    if let [output] = graph.outputs() {
        let TensorType { dtype, shape } = &graph.value(*output).ty;
        let numbers = *dtype == DType::F32 || dtype.is_integer();
        let classes_fit =
            shape.len() == 2 && shape[1].fixed().is_none_or(|classes| (1..=256).contains(&classes));
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

    fn normalization(&self) -> Result<Normalization, EvaluationError> {
        let keys = [metadata::MEAN, metadata::STD];
        let expected = "a mean and a std above 0, for all channels or for each, or neither";
        // Of one channel, as the images are.
        let read = Normalization::of(self.graph).filter(|normalization| normalization.fits(1));
        Ok(self.checked(read, &keys, expected)?.unwrap_or_default())
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
            TensorType::fixed(DType::F32, &[1, 1, 32, 32]),
            TensorType::fixed(DType::F32, &[1, 28, 28]),
            TensorType::fixed(DType::F32, &[1, 3, 28, 28]),
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
        let images = Images::new(pixels, vec![3, 4]).unwrap();
        let bytes = ModelInput::Bytes.tensor(&images);
        assert_eq!(bytes.shape(), [2, 1, 28, 28]);
        assert_eq!(bytes.as_slice::<u8>().unwrap()[PIXELS], 255);
        let normalization = Normalization::default();
        let floats = ModelInput::Normalized(normalization.clone()).tensor(&images);
        let floats = floats.as_slice::<f32>().unwrap();
        assert_eq!((floats[PIXELS], floats[0]), (normalization.apply(0, 255), normalization.apply(0, 0)));
    }
}
