//! Scoring: a model, labelled images, and what came out.

use onnx2int_dataset::ImageSource;
use onnx2int_graph::{Stage, Tensor};
use onnx2int_runtimes::{RuntimeKind, Session};

use crate::{Accuracy, EvaluationError, Logits, ScoredModel};

/// What a model gave for a set of labelled images.
///
/// Holds nothing that differs between two runs of one model in one runtime.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The model's stage, unless it is a model of someone else's.
    pub stage: Option<Stage>,
    /// The model's file name, without folders.
    pub file: String,
    /// SHA-256 of the model's file, in hexadecimal.
    pub digest: String,
    /// The name of the runtime that ran it.
    pub runtime: String,
    /// The class that each image shows.
    pub labels: Vec<u32>,
    /// The class that the model gave to each image.
    pub predictions: Vec<u32>,
    /// The images whose prediction is the label.
    pub correct: usize,
    /// The images whose label is among the five greatest outputs, of equal ones the first; none
    /// where there are no more than five classes.
    pub correct_of_five: Option<usize>,
    /// The raw outputs, `[images, classes]`.
    pub logits: Logits,
}

/// A label counts as nearly right among so many greatest outputs.
const TOP: usize = 5;

/// How the images go through the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Images of one run, at least 1; a model with a fixed batch gets its own.
    pub batch: usize,
    /// Runs at the same time, at least 1.
    pub threads: usize,
}

/// Runs `session`, prepared by runtime `kind` from `model`, on every image.
///
/// `progress` is called from any thread with the number of images done since its last call.
///
/// # Errors
/// A runtime error, an output that is not a table of finite numbers, a label that the model does
/// not know, images without labels or of another shape, no images at all, or a fixed batch that does
/// not divide them.
pub fn score(
    session: &dyn Session,
    kind: RuntimeKind,
    model: &ScoredModel,
    images: &dyn ImageSource,
    execution: Execution,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Score, EvaluationError> {
    let Some(labels) = images.labels() else {
        return Err(EvaluationError::NoLabels { file: model.file.clone() });
    };
    let logits = logits(session, kind, model, images, execution, progress)?;
    Score::new(model, kind.name(), labels.to_vec(), logits)
}

/// As [`score`], for images whose classes need not be known: the raw outputs.
///
/// # Errors
/// As [`score`], but for what concerns labels.
pub fn logits(
    session: &dyn Session,
    kind: RuntimeKind,
    model: &ScoredModel,
    images: &dyn ImageSource,
    execution: Execution,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Logits, EvaluationError> {
    let outputs = model.run(session, kind, images, execution, progress)?;
    let [values] = <[Tensor; 1]>::try_from(outputs).map_err(|outputs| EvaluationError::Output {
        file: model.file.clone(),
        found: format!("{} outputs at run time", outputs.len()),
    })?;
    Logits::new(&model.file, images.len(), values, model.output, model.logit_scale)
}

impl Score {
    /// The score of `model` from its raw outputs.
    ///
    /// # Errors
    /// [`EvaluationError::Label`] if a label is not a class of the model,
    /// [`EvaluationError::DamagedScore`] if there are not as many labels as rows of logits.
    pub fn new(
        model: &ScoredModel,
        runtime: &str,
        labels: Vec<u32>,
        logits: Logits,
    ) -> Result<Self, EvaluationError> {
        let mut score = Self {
            stage: model.stage,
            file: model.file.clone(),
            digest: model.digest.clone(),
            runtime: runtime.to_owned(),
            labels,
            predictions: Vec::new(),
            correct: 0,
            correct_of_five: None,
            logits,
        };
        score.count()?;
        Ok(score)
    }

    /// The number of images.
    pub fn images(&self) -> usize {
        self.labels.len()
    }

    /// The share of right predictions and its confidence interval.
    pub fn accuracy(&self) -> Accuracy {
        Accuracy::of(self.correct, self.images())
    }

    /// The stage's name; for a model without a stage the file's name without `.onnx`.
    pub fn name(&self) -> &str {
        match self.stage {
            Some(stage) => stage.name(),
            None => self.file.strip_suffix(".onnx").unwrap_or(&self.file),
        }
    }

    /// SHA-256 over element type, shape and elements of the raw outputs, in hexadecimal: two equal
    /// ones are the same bits.
    pub fn logits_digest(&self) -> String {
        self.logits.values().digest()
    }

    /// Derives predictions and counts from logits and labels.
    pub(crate) fn count(&mut self) -> Result<(), EvaluationError> {
        if self.labels.len() != self.logits.images() {
            return Err(EvaluationError::DamagedScore {
                file: self.file.clone(),
                expected: format!("labels of {} images", self.logits.images()),
                found: format!("{} labels", self.labels.len()),
            });
        }
        let classes = self.logits.classes();
        if let Some(image) = self.labels.iter().position(|&label| label as usize >= classes) {
            let label = self.labels[image];
            return Err(EvaluationError::Label { file: self.file.clone(), classes, image, label });
        }
        self.predictions = self.logits.argmax();
        self.correct = self.labels.iter().zip(&self.predictions).filter(|(a, b)| a == b).count();
        self.correct_of_five = (classes > TOP).then(|| {
            let greatest = self.logits.greatest(TOP);
            self.labels.iter().zip(&greatest).filter(|(label, greatest)| greatest.contains(label)).count()
        });
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use onnx2int_dataset::{Images, MNIST_SHAPE, PIXELS};
    use onnx2int_runtimes::RuntimeError;

    use super::*;
    use crate::{ModelInput, OutputKind};

    /// The score of a model that gave `values`.
    pub(crate) fn score_of(
        file: &str,
        labels: &[u32],
        values: Tensor,
        kind: OutputKind,
        scale: Option<f64>,
    ) -> Score {
        let model = model(file, ModelInput::Bytes, kind, scale);
        let logits = Logits::new(file, labels.len(), values, kind, scale).unwrap();
        Score::new(&model, "interpreter", labels.to_vec(), logits).unwrap()
    }

    fn model(file: &str, input: ModelInput, output: OutputKind, logit_scale: Option<f64>) -> ScoredModel {
        ScoredModel {
            stage: None,
            file: file.to_owned(),
            digest: "00".to_owned(),
            input,
            images: MNIST_SHAPE.into(),
            fixed_batch: None,
            output,
            logit_scale,
        }
    }

    /// Gives each image the class of its first pixel, by logits that are the pixel's distance.
    struct FirstPixel;

    impl Session for FirstPixel {
        fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
            let pixels = inputs[0].as_slice::<u8>().unwrap();
            let rows: Vec<i32> = pixels
                .chunks_exact(PIXELS)
                .flat_map(|image| (0..10).map(|class| -(class - i32::from(image[0])).abs()))
                .collect();
            Ok(vec![Tensor::from_vec(&[rows.len() / 10, 10], rows).unwrap()])
        }
    }

    fn images(labels: &[u8]) -> Images {
        let pixels = labels.iter().flat_map(|&label| vec![label; PIXELS]).collect();
        Images::new(pixels, labels.to_vec()).unwrap()
    }

    const EXECUTION: Execution = Execution { batch: 2, threads: 2 };

    #[test]
    fn every_image_is_scored_once_and_in_order() {
        let labels = [7, 2, 1, 0, 4, 1, 4];
        let model = model("m.onnx", ModelInput::Bytes, OutputKind::Logits, Some(0.5));
        let done = std::sync::atomic::AtomicUsize::new(0);
        let progress = |images: usize| {
            done.fetch_add(images, std::sync::atomic::Ordering::Relaxed);
        };
        let kind = RuntimeKind::Interpreter;
        let score = score(&FirstPixel, kind, &model, &images(&labels), EXECUTION, &progress).unwrap();
        assert_eq!(score.predictions, labels.map(u32::from));
        assert_eq!((score.correct, score.images(), done.into_inner()), (7, 7, 7));
        assert_eq!((score.name(), score.runtime.as_str()), ("m", "interpreter"));
        assert_eq!(score.logits.scale(), Some(0.5));
        assert_eq!(score.correct_of_five, Some(7));
    }

    #[test]
    fn a_wrong_label_is_not_counted() {
        let values = Tensor::from_vec(&[2, 2], vec![3, 4, 4, 3]).unwrap();
        let score = score_of("m.onnx", &[1, 1], values, OutputKind::Logits, None);
        assert_eq!((score.correct, score.accuracy().fraction), (1, 0.5));
    }

    #[test]
    fn a_label_among_the_five_greatest_is_counted_of_more_than_five_classes() {
        let row = [9, 8, 8, 8, 8, 8, 10];
        let values = Tensor::from_vec(&[4, 7], row.repeat(4)).unwrap();
        // The greatest are 6, 0, 1, 2, 3: of the equal ones the first.
        let score = score_of("m.onnx", &[6, 3, 4, 0], values, OutputKind::Logits, None);
        assert_eq!((score.correct, score.correct_of_five), (1, Some(3)));
        let values = Tensor::from_vec(&[1, 5], vec![1, 2, 3, 4, 5]).unwrap();
        assert_eq!(score_of("m.onnx", &[0], values, OutputKind::Logits, None).correct_of_five, None);
    }

    #[test]
    fn images_without_labels_are_refused() {
        let images = Images::of_shape(MNIST_SHAPE, vec![0; PIXELS], None).unwrap();
        let model = model("m.onnx", ModelInput::Bytes, OutputKind::Logits, None);
        let kind = RuntimeKind::Interpreter;
        let error = score(&FirstPixel, kind, &model, &images, EXECUTION, &|_| ()).unwrap_err();
        assert!(matches!(error, EvaluationError::NoLabels { .. }), "{error}");
    }

    #[test]
    fn no_images_and_uneven_batches_are_refused() {
        let mut model = model("m.onnx", ModelInput::Bytes, OutputKind::Logits, None);
        let run = |model: &ScoredModel, labels: &[u8]| {
            score(&FirstPixel, RuntimeKind::Interpreter, model, &images(labels), EXECUTION, &|_| ())
        };
        assert!(matches!(run(&model, &[]).unwrap_err(), EvaluationError::NoImages { .. }));
        model.fixed_batch = Some(2);
        assert_eq!(run(&model, &[1, 2, 3, 4]).unwrap().correct, 4);
        let error = run(&model, &[1, 2, 3]).unwrap_err();
        assert!(matches!(error, EvaluationError::FixedBatch { batch: 2, images: 3, .. }), "{error}");
    }

    #[test]
    fn a_label_beyond_the_classes_is_refused() {
        let model = model("m.onnx", ModelInput::Bytes, OutputKind::Logits, None);
        let values = Tensor::from_vec(&[1, 2], vec![3, 4]).unwrap();
        let logits = Logits::new("m.onnx", 1, values, OutputKind::Logits, None).unwrap();
        let error = Score::new(&model, "tract", vec![2], logits).unwrap_err();
        assert!(matches!(error, EvaluationError::Label { classes: 2, image: 0, label: 2, .. }), "{error}");
    }
}
