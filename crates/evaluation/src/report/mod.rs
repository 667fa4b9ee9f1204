//! The report: everything that is known about a pipeline, as plain data.
//!
//! `crates/evaluation/SCHEMA.md` tells what its file looks like. Nothing in it differs between two runs on the same files; times are in [`crate::Timing`].

mod assemble;
mod census;
mod evidence;
mod graph;
mod records;
mod self_test;
mod shown;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use assemble::{ReportInputs, StageInput};
pub use census::Census;
pub use evidence::{Evidence, LayerBound, OverflowProof, RuntimeBits, SameBits};
pub use graph::{ConstantSummary, GraphSummary, NodeSummary, ValueSummary};
pub use records::{NoteRecord, RescaleBound, SiteRecord, TransformRecord};
pub use self_test::{SelfTest, SelfTestImage};
pub(crate) use shown::WORST_SHOWN;
pub use shown::{Pixels, ShownImage, ShownScores};

use crate::json_text::from_json;
use crate::{Accuracy, Comparison, EvaluationError, Flip, LogitGap, Noise, PairedTest, Sweep, Training};

/// Everything that a renderer shows. [`Report::assemble`] makes one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`Report::SCHEMA`].
    pub schema: String,
    /// The model's name: `mnist_cnn`.
    pub model: String,
    /// The images that everything was scored on.
    pub dataset: DatasetSummary,
    /// One row a model, in order.
    pub stages: Vec<StageRow>,
    /// Of the float and of the integer-only model, where they are among the rows and tell no more than
    /// 64 classes apart.
    pub confusions: Vec<Confusion>,
    /// Every image whose class changed from one row to the next, by row, then by image.
    pub changed_images: Vec<ChangedImage>,
    /// Some of them, and the images that the last row is most wrong about, with scores and, after
    /// [`Report::draw`], pixels. Empty for more than 64 classes.
    pub shown_images: Vec<ShownImage>,
    /// What each transform did, in order.
    pub transforms: Vec<TransformRecord>,
    /// How far each rescale can be off.
    pub rescale_bounds: Vec<RescaleBound>,
    /// What was proven and measured of the last row's model by other commands.
    pub evidence: Evidence,
    /// How noisy each layer is, where images were given to measure it.
    pub noise: Option<Noise>,
    /// What the page compares its own results with, where images were given to compute it.
    pub self_test: Option<SelfTest>,
    /// What accuracy costs, where it was measured of this float model.
    pub sweep: Option<Sweep>,
    /// How the float model was trained, where that is known.
    pub training: Option<Training>,
    /// The parameters that the models were made with.
    pub parameters: BTreeMap<String, String>,
    /// Versions of this software and of what it rests on.
    pub versions: BTreeMap<String, String>,
}

/// The images that everything was scored on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// Its name: `MNIST test`.
    pub name: String,
    /// The number of images.
    pub images: usize,
    /// The images of each label, from label 0 on.
    pub images_per_label: Vec<usize>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRow {
    /// The stage's name; for a model without a stage, its file's.
    pub name: String,
    /// The subcommand that makes the stage, if it is one.
    pub made_by: Option<String>,
    /// What is promised of the outputs, compared with those of the stage before, if it is one.
    pub relation: Option<String>,
    /// The file's name.
    pub file: String,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The file's size.
    pub file_bytes: u64,
    /// What the graph is made of.
    pub census: Census,
    /// The graph itself, without its weights.
    pub graph: GraphSummary,
    /// The runtime that scored it.
    pub runtime: String,
    /// How often it is right.
    pub accuracy: Accuracy,
    /// SHA-256 over type, shape and bits of its outputs for all images, in hexadecimal.
    pub logits_digest: String,
    /// Compared with the float model, unless this is it or there is none.
    pub versus_float: Option<ComparisonSummary>,
    /// Compared with the row before, unless this is the first.
    pub versus_previous: Option<ComparisonSummary>,
}

/// A [`Comparison`] without its list of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonSummary {
    /// The name of the row that is compared with.
    pub reference: String,
    /// Images with the same class in both.
    pub agreeing: usize,
    /// `agreeing` over all images, in `[0, 1]`.
    pub agreement: f64,
    /// The images that exactly one of the two gets right, and whether that is more than chance.
    pub paired_test: PairedTest,
    /// The greatest difference of two outputs, unless the scale of integer outputs is not known.
    pub largest_logit_gap: Option<LogitGap>,
    /// The outputs whose bits differ, where both have one element type.
    pub different_outputs: Option<usize>,
}

impl ComparisonSummary {
    fn of(comparison: &Comparison, reference: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            agreeing: comparison.agreeing,
            agreement: comparison.agreeing as f64 / comparison.images as f64,
            paired_test: comparison.paired_test,
            largest_logit_gap: comparison.largest_logit_gap,
            different_outputs: comparison.different_outputs,
        }
    }
}

/// How often each label was taken for each class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// The row's name.
    pub stage: String,
    /// Images, `[label][predicted class]`.
    pub counts: Vec<Vec<usize>>,
}

/// A test image that a row and the row before it give different classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangedImage {
    /// The name of the row where the class changed.
    pub stage: String,
    /// Image, label, and the classes before and after with their margins.
    #[serde(flatten)]
    pub flip: Flip,
}

impl Report {
    /// The schema of report files.
    pub const SCHEMA: &'static str = "onnx2int-report/4";

    /// Parses `report.json`, as [`crate::render::json`] writes it.
    ///
    /// # Errors
    /// [`EvaluationError::Schema`], [`EvaluationError::Json`], [`EvaluationError::DamagedTraining`] or
    /// [`EvaluationError::DamagedSweep`].
    pub fn from_json(text: &str) -> Result<Self, EvaluationError> {
        let report: Self = from_json("report", Self::SCHEMA, text)?;
        report.training.iter().try_for_each(Training::check)?;
        report.sweep.iter().try_for_each(Sweep::check)?;
        Ok(report)
    }
}
