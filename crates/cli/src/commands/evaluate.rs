//! `onnx2int evaluate`: models scored on the test images.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use onnx2int_dataset::ImageSource;
use onnx2int_evaluation::{
    Comparison, Execution, GapMeasure, Score, ScoreHeader, ScoredModel, compare, score,
};
use onnx2int_graph::verify;
use onnx2int_progress::Progress;
use onnx2int_runtimes::prepare;
use serde::Serialize;

use crate::arguments::Evaluate;
use crate::images::{self, Wanted};
use crate::{console, execution, files};

/// One model's result, as `--json` prints it.
#[derive(Serialize)]
struct Row {
    file: String,
    stage: Option<&'static str>,
    runtime: String,
    images: usize,
    correct: usize,
    accuracy: f64,
    accuracy_low: f64,
    accuracy_high: f64,
    /// Images whose label is among the five greatest outputs, where there are more classes.
    correct_of_five: Option<usize>,
    logits_digest: String,
    /// Against the float model.
    reference: Option<Comparison>,
    /// Against the stage before.
    previous: Option<Comparison>,
    seconds: f64,
}

pub(crate) fn run(arguments: &Evaluate) -> anyhow::Result<()> {
    if let Some(output) = &arguments.output {
        if arguments.model.len() > 1 {
            bail!("--output takes the score of one model, found {} models", arguments.model.len());
        }
        files::check_writable(output)?;
    }
    let mut reference = arguments.reference.as_deref().map(read_score).transpose()?;
    let mut previous = arguments.previous.as_deref().map(read_score).transpose()?;
    let images = test_images(arguments)?;
    let images = images.as_ref();
    let mut rows = Vec::new();
    for path in &arguments.model {
        let (score, seconds) = score_model(path, images, arguments)?;
        rows.push(row(&score, reference.as_ref(), previous.as_ref(), seconds)?);
        if let Some(output) = &arguments.output {
            write_score(output, &score)?;
        }
        if reference.is_none() {
            reference = Some(score.clone());
        }
        previous = Some(score);
    }
    if arguments.json {
        return console::print_json(&serde_json::json!({ "schema": "onnx2int-evaluate/2", "models": rows }));
    }
    Ok(console::print(table(&rows))?)
}

/// The images of the user's own, as the first model takes them, or MNIST's test images.
fn test_images(arguments: &Evaluate) -> anyhow::Result<Box<dyn ImageSource>> {
    let first = arguments.model.first().context("expected a model")?;
    let model = files::read_model(first)?;
    let shape = ScoredModel::of(&model.graph, &model.file, &model.digest)?.images;
    let wanted = Wanted {
        data: &arguments.data,
        source: &arguments.source,
        labels: arguments.labels.as_deref(),
        first: arguments.first,
        chosen: &[],
    };
    Ok(wanted.open(shape)?.0)
}

/// Tells where the classes of a folder are not those of the model: labels by position would then be
/// wrong.
fn note_classes(images: &dyn ImageSource, score: &Score) {
    let Some(names) = images.class_names() else { return };
    let classes = score.logits.classes();
    if names.len() != classes {
        console::note(format_args!(
            "{}: tells {classes} classes apart, and the folder has {} subfolders, taken as classes 0 to {} in the \
             order of their names",
            score.file,
            names.len(),
            names.len().saturating_sub(1)
        ));
    }
}

fn score_model(path: &Path, images: &dyn ImageSource, arguments: &Evaluate) -> anyhow::Result<(Score, f64)> {
    let model = files::read_model(path)?;
    let scored = images::scored(&model, &arguments.preprocessing)?;
    let verified = verify(&model.graph)?;
    let kind = execution::runtime(arguments.runtime.as_deref(), &model.graph)?;
    let session = prepare(kind, verified, model.graph.outputs())
        .with_context(|| format!("cannot run {path:?} in {}", kind.name()))?;
    let started = std::time::Instant::now();
    let progress = Progress::new(model.file, images.len(), "images");
    let execution = Execution { batch: usize::from(arguments.batch), threads: arguments.threads.count() };
    let score = score(session.as_ref(), kind, &scored, images, execution, &|done| progress.add(done))?;
    note_classes(images, &score);
    Ok((score, started.elapsed().as_secs_f64()))
}

fn row(
    score: &Score,
    reference: Option<&Score>,
    previous: Option<&Score>,
    seconds: f64,
) -> anyhow::Result<Row> {
    let accuracy = score.accuracy();
    Ok(Row {
        file: score.file.clone(),
        stage: score.stage.map(|stage| stage.name()),
        runtime: score.runtime.clone(),
        images: score.images(),
        correct: score.correct,
        accuracy: accuracy.fraction,
        accuracy_low: accuracy.low,
        accuracy_high: accuracy.high,
        correct_of_five: score.correct_of_five,
        logits_digest: score.logits_digest(),
        reference: reference.map(|reference| compare(score, reference)).transpose()?,
        previous: previous.map(|previous| compare(score, previous)).transpose()?,
        seconds,
    })
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<34} {:>9} {:>16} {:>9} {:>9} {:>9} {:>13} {:>8}\n",
        "model", "accuracy", "95 % interval", "top 5", "= float", "= before", "largest gap", "seconds"
    );
    for row in rows {
        let agreement = |comparison: &Option<Comparison>| match comparison {
            Some(comparison) => {
                format!("{:.2} %", 100.0 * comparison.agreeing as f64 / comparison.images as f64)
            }
            None => "-".to_owned(),
        };
        let gap = row.previous.as_ref().and_then(|comparison| comparison.largest_logit_gap);
        let gap = gap.map_or("-".to_owned(), |gap| match gap.measure {
            GapMeasure::Logits | GapMeasure::LogSoftmax => format!("{:.2e}", gap.value),
            GapMeasure::Softmax => format!("{:.2e} (p)", gap.value),
        });
        let top_five = row
            .correct_of_five
            .map_or("-".to_owned(), |correct| format!("{:.2} %", 100.0 * correct as f64 / row.images as f64));
        text.push_str(&format!(
            "{:<34} {:>7.2} % {:>14} % {top_five:>9} {:>9} {:>9} {gap:>13} {:>8.1}\n",
            row.file,
            100.0 * row.accuracy,
            format!("{:.2} to {:.2}", 100.0 * row.accuracy_low, 100.0 * row.accuracy_high),
            agreement(&row.reference),
            agreement(&row.previous),
            row.seconds
        ));
    }
    text.push_str("gap: largest difference of a logit to the model before, in real units\n");
    for row in rows {
        let mut line = format!("{}: {} of {} right", row.file, row.correct, row.images);
        for (name, comparison) in [("float", &row.reference), ("before", &row.previous)] {
            if let Some(comparison) = comparison {
                line.push_str(&format!("; against {name}: {}", comparison.paired_test));
            }
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The file of the raw outputs beside a score file: `folded.json` has `folded.logits.bin`.
fn logits_path(score: &Path) -> PathBuf {
    score.with_extension("logits.bin")
}

fn write_score(path: &Path, score: &Score) -> anyhow::Result<()> {
    let logits = logits_path(path);
    let name = logits.file_name().unwrap_or_default().to_string_lossy();
    // The logits first: a score file never speaks of logits that are not there.
    files::write(&logits, &score.logits_bytes())?;
    files::write(path, score.to_json(&name).as_bytes())
}

/// Reads a score file and the raw outputs beside it.
pub(crate) fn read_score(path: &Path) -> anyhow::Result<Score> {
    let read = || -> anyhow::Result<Score> {
        let header = ScoreHeader::from_json(&files::read_text(path)?)?;
        let bytes = files::read(&path.with_file_name(header.logits_file()))?;
        Ok(header.with_logits(&bytes)?)
    };
    read()
        .with_context(|| format!("cannot use the score file {path:?}; make it anew with `onnx2int evaluate`"))
}
