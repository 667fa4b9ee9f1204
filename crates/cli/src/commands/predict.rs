//! `onnx2int predict`: the class of each image.

use std::path::Path;

use anyhow::{Context, bail};
use onnx2int_dataset::{ImageSource, OpenOptions, View, open};
use onnx2int_evaluation::{Execution, Logits, OutputKind, logits};
use onnx2int_graph::{Tensor, verify};
use onnx2int_runtimes::prepare;
use serde::Serialize;
use serde_json::Number;

use crate::arguments::Predict;
use crate::{console, execution, files, images};

/// Images that run at once.
const BATCH: usize = 10;

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    schema: &'static str,
    model: String,
    stage: Option<&'static str>,
    runtime: &'static str,
    /// What the raw outputs stand for.
    output: OutputKind,
    /// The real number that one unit of a raw output stands for: 1 for floats, none where it is not
    /// known.
    scale: Option<f64>,
    images: Vec<Prediction>,
}

/// What a model says of an image.
#[derive(Serialize)]
struct Prediction {
    image: String,
    class: u32,
    name: Option<String>,
    /// The classes with the greatest outputs, in order; of equal ones the first.
    top: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: u32,
    name: Option<String>,
    /// As the model gives it.
    raw: Number,
    /// In real units, where these are known.
    score: Option<f64>,
}

pub(crate) fn run(arguments: &Predict) -> anyhow::Result<()> {
    let model = files::read_model(&arguments.model)?;
    let kind = execution::runtime(arguments.runtime.as_deref(), &model.graph)?;
    let scored = images::scored(&model, &arguments.preprocessing)?;
    let names = arguments.labels_file.as_deref().map(class_names).transpose()?;
    let session = prepare(kind, verify(&model.graph)?, model.graph.outputs())
        .with_context(|| format!("cannot run {:?} in {}", arguments.model, kind.name()))?;
    let execution = Execution { batch: BATCH, threads: arguments.threads.count() };
    let options = OpenOptions { wanted: scored.images, size: arguments.size, labels: None };

    let mut predictions = Vec::new();
    let mut scale = None;
    for path in &arguments.images {
        let source = open(path, &options)?;
        let source: Box<dyn ImageSource> =
            if arguments.invert { Box::new(View::invert(source)) } else { source };
        let logits = logits(session.as_ref(), kind, &scored, source.as_ref(), execution, &|_| ())?;
        if let Some(names) = &names
            && names.len() != logits.classes()
        {
            bail!(
                "{:?} has {} names, and the model tells {} classes apart: expected a line for each",
                arguments.labels_file.as_deref().unwrap_or(Path::new("")),
                names.len(),
                logits.classes()
            );
        }
        scale = logits.scale();
        let shown = (arguments.top as usize).min(logits.classes());
        for (image, greatest) in logits.greatest(shown).into_iter().enumerate() {
            let name = image_name(path, source.as_ref(), image);
            predictions.push(prediction(name, image, &greatest, &logits, names.as_deref())?);
        }
    }
    if arguments.json {
        return console::print_json(&Document {
            schema: "onnx2int-predict/1",
            model: model.file,
            stage: scored.stage.map(|stage| stage.name()),
            runtime: kind.name(),
            output: scored.output,
            scale,
            images: predictions,
        });
    }
    Ok(console::print(predictions.iter().map(text).collect::<String>())?)
}

/// What an image is called in the result: its path as it was typed, and its place in a file or
/// folder of several.
fn image_name(path: &Path, source: &dyn ImageSource, image: usize) -> String {
    if path.is_dir() {
        return path.join(source.name(image)).display().to_string();
    }
    match source.len() {
        1 => path.display().to_string(),
        _ => format!("{}[{image}]", path.display()),
    }
}

fn prediction(
    name: String,
    image: usize,
    greatest: &[u32],
    logits: &Logits,
    names: Option<&[String]>,
) -> anyhow::Result<Prediction> {
    let name_of = |class: u32| names.map(|names| names[class as usize].clone());
    let top = greatest
        .iter()
        .map(|&class| {
            let raw = raw(logits.values(), image * logits.classes() + class as usize)?;
            let score = logits.scale().and_then(|scale| Some(raw.as_f64()? * scale));
            Ok(Class { class, name: name_of(class), raw, score })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let class = top.first().context("the model gives no class")?.class;
    Ok(Prediction { image: name, class, name: name_of(class), top })
}

/// An output as the model gave it: an integer as an integer.
fn raw(values: &Tensor, position: usize) -> anyhow::Result<Number> {
    if let Some(floats) = values.as_slice::<f32>() {
        return Number::from_f64(f64::from(floats[position])).context("an output is not finite");
    }
    let integers = values.to_i64_vec().context("outputs are numbers")?;
    Ok(integers[position].into())
}

/// An image and its class, and below them the classes with their scores: integers as they are,
/// followed by what they stand for.
fn text(prediction: &Prediction) -> String {
    let named = |class: u32, name: &Option<String>| match name {
        Some(name) => format!("{class} {name}"),
        None => class.to_string(),
    };
    let mut text = format!("{}: {}\n", prediction.image, named(prediction.class, &prediction.name));
    let labels: Vec<String> = prediction.top.iter().map(|class| named(class.class, &class.name)).collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    for (class, label) in prediction.top.iter().zip(&labels) {
        let scores = match (class.raw.as_i64(), class.score) {
            (Some(integer), Some(score)) => format!("{integer:>12}  {score:>12.4}"),
            (Some(integer), None) => format!("{integer:>12}"),
            (None, _) => format!("{:>12.4}", class.raw.as_f64().unwrap_or(f64::NAN)),
        };
        text.push_str(&format!("  {label:<width$} {scores}\n"));
    }
    text
}

/// A name a line; blank lines at the end are none.
fn class_names(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = files::read_text(path)?;
    Ok(text.trim_end().lines().map(|line| line.trim().to_owned()).collect())
}
