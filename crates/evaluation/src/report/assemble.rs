//! From scores and graphs to a [`Report`].

use std::collections::{BTreeMap, HashMap};

use onnx2int_graph::{Graph, Stage};

use super::{
    Census, ChangedImage, ComparisonSummary, Confusion, DatasetSummary, Evidence, GraphSummary, Report,
    RescaleBound, StageRow, TransformRecord, shown,
};
use crate::{EvaluationError, Score, Training, compare};

/// One model of a report.
#[derive(Clone, Copy, Debug)]
pub struct StageInput<'a> {
    /// What it scored.
    pub score: &'a Score,
    /// Its graph.
    pub graph: &'a Graph,
    /// The size of its file.
    pub file_bytes: u64,
}

/// What a report is made from.
#[derive(Clone, Debug)]
pub struct ReportInputs<'a> {
    /// The model's name: `mnist_cnn`.
    pub model: &'a str,
    /// The name of the images: `MNIST test`.
    pub dataset: &'a str,
    /// The models in the order of the rows; any number of the stages, or other models.
    pub stages: &'a [StageInput<'a>],
    /// What each transform did, in order.
    pub transforms: Vec<TransformRecord>,
    /// How far each rescale can be off.
    pub rescale_bounds: Vec<RescaleBound>,
    /// What was proven and measured of the last model by other commands.
    pub evidence: Evidence,
    /// How the float model was trained, where that is known.
    pub training: Option<Training>,
    /// The parameters that the models were made with.
    pub parameters: BTreeMap<String, String>,
    /// Versions of this software and of what it rests on.
    pub versions: BTreeMap<String, String>,
}

impl Report {
    /// Counts, compares and lists.
    ///
    /// # Errors
    /// [`EvaluationError::NoScores`], [`EvaluationError::DuplicateRow`],
    /// [`EvaluationError::NotComparable`] if the models were scored on different images,
    /// [`EvaluationError::NotReportable`] for a number of a transform that JSON cannot hold, or
    /// [`EvaluationError::DamagedTraining`] for a training that no file tells of.
    pub fn assemble(inputs: ReportInputs<'_>) -> Result<Self, EvaluationError> {
        let first = inputs.stages.first().ok_or(EvaluationError::NoScores)?.score;
        refuse_duplicates(inputs.stages)?;
        refuse_non_finite(&inputs)?;
        inputs.training.iter().try_for_each(Training::check)?;
        let float = inputs.stages.iter().map(|input| input.score).find(|s| s.stage == Some(Stage::Float));
        let mut stages = Vec::with_capacity(inputs.stages.len());
        let mut changed_images = Vec::new();
        let mut previous: Option<&Score> = None;
        for input in inputs.stages {
            let score = input.score;
            let mut row = row(input);
            if let Some(previous) = previous {
                let comparison = compare(score, previous)?;
                row.versus_previous = Some(ComparisonSummary::of(&comparison, previous.name()));
                let stage = score.name();
                changed_images.extend(
                    comparison.flips.iter().map(|&flip| ChangedImage { stage: stage.to_owned(), flip }),
                );
            }
            if let Some(float) = float
                && score.stage != Some(Stage::Float)
            {
                row.versus_float = Some(ComparisonSummary::of(&compare(score, float)?, float.name()));
            }
            stages.push(row);
            previous = Some(score);
        }
        let scores: Vec<&Score> = inputs.stages.iter().map(|input| input.score).collect();
        Ok(Self {
            schema: Self::SCHEMA.to_owned(),
            model: inputs.model.to_owned(),
            dataset: dataset(inputs.dataset, first),
            confusions: confusions(inputs.stages),
            stages,
            shown_images: shown::shown_images(&scores, &changed_images),
            changed_images,
            transforms: inputs.transforms,
            rescale_bounds: inputs.rescale_bounds,
            evidence: inputs.evidence,
            noise: None,
            self_test: None,
            sweep: None,
            training: inputs.training,
            parameters: inputs.parameters,
            versions: inputs.versions,
        })
    }
}

fn row(input: &StageInput<'_>) -> StageRow {
    let score = input.score;
    StageRow {
        name: score.name().to_owned(),
        made_by: score.stage.map(|stage| stage.made_by().to_owned()),
        relation: score.stage.map(|stage| stage.relation().describe().to_owned()),
        file: score.file.clone(),
        digest: score.digest.clone(),
        file_bytes: input.file_bytes,
        census: Census::of(input.graph),
        graph: GraphSummary::of(input.graph),
        runtime: score.runtime.clone(),
        accuracy: score.accuracy(),
        logits_digest: score.logits_digest(),
        versus_float: None,
        versus_previous: None,
    }
}

fn dataset(name: &str, score: &Score) -> DatasetSummary {
    let mut images_per_label = vec![0; score.logits.classes()];
    for &label in &score.labels {
        images_per_label[label as usize] += 1;
    }
    DatasetSummary { name: name.to_owned(), images: score.images(), images_per_label }
}

/// A table of more classes says nothing to anyone.
const MOST_CONFUSED: usize = 64;

fn confusions(stages: &[StageInput<'_>]) -> Vec<Confusion> {
    stages
        .iter()
        .map(|input| input.score)
        .filter(|score| matches!(score.stage, Some(Stage::Float | Stage::ScaleOut)))
        .filter(|score| score.logits.classes() <= MOST_CONFUSED)
        .map(|score| {
            let classes = score.logits.classes();
            let mut counts = vec![vec![0; classes]; classes];
            for (&label, &class) in score.labels.iter().zip(&score.predictions) {
                counts[label as usize][class as usize] += 1;
            }
            Confusion { stage: score.name().to_owned(), counts }
        })
        .collect()
}

fn refuse_duplicates(stages: &[StageInput<'_>]) -> Result<(), EvaluationError> {
    let mut files = HashMap::new();
    for score in stages.iter().map(|input| input.score) {
        if let Some(first) = files.insert(score.name(), &score.file) {
            return Err(EvaluationError::DuplicateRow {
                name: score.name().to_owned(),
                first: first.clone(),
                second: score.file.clone(),
            });
        }
    }
    Ok(())
}

/// JSON would hold `null` instead, and the report could not be read back.
fn refuse_non_finite(inputs: &ReportInputs<'_>) -> Result<(), EvaluationError> {
    let notes = inputs.transforms.iter().flat_map(|record| &record.sites).flat_map(|site| {
        site.notes.iter().map(move |note| (format!("{:?} of node {:?}", note.name, site.node), note.value))
    });
    let bounds = inputs.rescale_bounds.iter().flat_map(|bound| {
        bound.errors.iter().enumerate().map(move |(channel, &error)| {
            (format!("rescale bound of layer {:?}, channel {channel},", bound.layer), error)
        })
    });
    match notes.chain(bounds).find(|(_, value)| !value.is_finite()) {
        Some((what, value)) => Err(EvaluationError::NotReportable { what, value }),
        None => Ok(()),
    }
}
