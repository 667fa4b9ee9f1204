//! `onnx2int report`: what a run made, as report.json, report.md, report.html and a table; or two runs side by side.

mod evidence;
mod sweep;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use onnx2int_calibration::isolate;
use onnx2int_dataset::ImageSource;
use onnx2int_evaluation::{
    Noise, NoiseModels, Report, ReportInputs, RescaleBound, Score, SelfTest, StageInput, Training,
    TransformRecord, render,
};
use onnx2int_graph::{Stage, verify};
use serde_json::Value;

use super::evaluate::read_score;
use crate::arguments;
use crate::{console, files};

pub(crate) fn run(arguments: &arguments::Report) -> anyhow::Result<()> {
    match (&arguments.dir, arguments.compare.as_slice()) {
        (Some(dir), _) => of_run(dir, arguments),
        (None, [a, b]) => compare(a, b, &arguments.output),
        (None, _) => bail!("expected --dir DIR, or --compare A B"),
    }
}

/// The page that sets two runs side by side.
fn compare(a: &Path, b: &Path, output: &Path) -> anyhow::Result<()> {
    let read = |dir: &Path| -> anyhow::Result<Report> {
        let path = dir.join("report.json");
        Report::from_json(&files::read_text(&path)?)
            .with_context(|| format!("cannot read the report {path:?}"))
    };
    let (report_a, report_b) = (read(a)?, read(b)?);
    let (name_a, name_b) = (a.to_string_lossy(), b.to_string_lossy());
    let page = render::compare_html((&name_a, &report_a), (&name_b, &report_b));
    files::write(output, page.as_bytes())?;
    console::note(format_args!("wrote {output:?}"));
    Ok(())
}

/// The report of one run.
fn of_run(dir: &Path, arguments: &arguments::Report) -> anyhow::Result<()> {
    let training = arguments.training.as_deref().map(training).transpose()?;
    let stem = stem(&dir.join("models"))?;
    let mut models = Vec::new();
    for stage in Stage::ALL {
        let path = dir.join("models").join(stage.file_name(&stem));
        let score = dir.join("scores").join(format!("{}.json", stage.name()));
        // A run may end at any stage; what is there is reported.
        if path.exists() && score.exists() {
            models.push(scored(&path, &score)?);
        }
    }
    let stages: Vec<StageInput<'_>> = models
        .iter()
        .map(|(model, score)| StageInput { score, graph: &model.graph, file_bytes: model.bytes })
        .collect();
    let transforms = records(dir)?;
    let mut report = Report::assemble(ReportInputs {
        model: &stem,
        dataset: "MNIST test",
        stages: &stages,
        rescale_bounds: rescale_bounds(&transforms),
        transforms,
        evidence: models.last().map(|(model, _)| evidence::of(dir, model)).unwrap_or_default(),
        training,
        parameters: parameters(dir)?,
        versions: versions(),
    })
    .with_context(|| format!("cannot report on {dir:?}"))?;
    report.sweep = sweep::of(dir, models.first().map(|(model, _)| model));
    if let Some(data_dir) = &arguments.data_dir {
        let test = files::load_dataset(data_dir)?.test;
        report.noise = noise(&models, &test)?;
        if let Some((model, _)) = models.last() {
            report.self_test = SelfTest::of(verify(&model.graph)?, &model.file, &model.digest, &test)
                .context("cannot run the last model on images for the self-test")?;
        }
        report.draw(&test).with_context(|| format!("cannot draw the images of {data_dir:?}"))?;
    }
    files::write(&dir.join("report.json"), render::json(&report).as_bytes())?;
    files::write(&dir.join("report.md"), render::markdown(&report).as_bytes())?;
    let sections = match models.last() {
        Some((model, _)) => vec![render::try_it(&report, verify(&model.graph)?)],
        None => Vec::new(),
    };
    files::write(&dir.join("report.html"), render::html(&report, &sections).as_bytes())?;
    console::print(render::terminal(&report))?;
    console::note(format_args!("wrote report.json, report.md and report.html to {dir:?}"));
    Ok(())
}

/// On so many images each layer is measured: enough for a tenth of a decibel, in a second.
const NOISE_IMAGES: usize = 128;

/// How noisy each layer is, if the run has the stages that it takes.
fn noise(models: &[(files::Model, Score)], images: &dyn ImageSource) -> anyhow::Result<Option<Noise>> {
    let at =
        |stage: Stage| models.iter().find(|(_, score)| score.stage == Some(stage)).map(|(model, _)| model);
    let (Some(float), Some(quantized), Some(integer)) =
        (at(Stage::Float), at(Stage::Quantized), at(Stage::ScaleOut))
    else {
        return Ok(None);
    };
    let apart = isolate(&float.graph, &quantized.graph).context("cannot take the quantized model apart")?;
    let isolated = match (&apart, at(Stage::Integer)) {
        (Some(apart), Some(exact)) => Some(onnx2int_evaluation::Isolated {
            weights: verify(&apart.weights)?,
            activations: verify(&apart.activations)?,
            exact_rescale: verify(&exact.graph)?,
        }),
        _ => None,
    };
    let models = NoiseModels {
        float: verify(&float.graph)?,
        quantized: &quantized.graph,
        integer: verify(&integer.graph)?,
        isolated,
    };
    let noise = onnx2int_evaluation::noise(models, images, NOISE_IMAGES);
    Ok(Some(noise.context("cannot compare the layers of the float and the integer-only model")?))
}

/// What `onnx2int train` told of its work.
fn training(path: &Path) -> anyhow::Result<Training> {
    Training::from_json(&files::read_text(path)?)
        .with_context(|| format!("cannot read the training {path:?}"))
}

/// The name that the model files share: that of the one `<stem>_quantized.onnx`.
fn stem(models: &Path) -> anyhow::Result<String> {
    let unreadable =
        || format!("cannot read {models:?}; expected the models of a run, made by `cargo xtask run-all`");
    let mut stems = Vec::new();
    for entry in fs::read_dir(models).with_context(unreadable)? {
        let name = entry.with_context(unreadable)?.file_name().to_string_lossy().into_owned();
        let suffix = Stage::Quantized.file_name("");
        stems.extend(name.strip_suffix(&suffix).map(str::to_owned));
    }
    stems.sort();
    match <[String; 1]>::try_from(stems) {
        Ok([stem]) => Ok(stem),
        Err(stems) => bail!("expected one model *_quantized.onnx in {models:?}, found {}", stems.len()),
    }
}

fn scored(model: &Path, score: &Path) -> anyhow::Result<(files::Model, Score)> {
    let (read, scored) = (files::read_model(model)?, read_score(score)?);
    if read.digest != scored.digest {
        bail!("the score {score:?} is of another {model:?}; make it anew with `onnx2int evaluate`");
    }
    Ok((read, scored))
}

/// What the transforms told of their work, in order.
fn records(dir: &Path) -> anyhow::Result<Vec<TransformRecord>> {
    let mut records = Vec::new();
    for stage in &Stage::ALL[2..] {
        let path = dir.join("records").join(format!("{}.json", stage.name()));
        if path.exists() {
            let text = files::read_text(&path)?;
            let record: TransformRecord = serde_json::from_str(&text)
                .with_context(|| format!("{path:?} is not a transform's record"))?;
            records.push(record);
        }
    }
    Ok(records)
}

/// The error bounds that scale-out told of every channel.
fn rescale_bounds(transforms: &[TransformRecord]) -> Vec<RescaleBound> {
    transforms
        .iter()
        .filter(|record| record.stage == Stage::ScaleOut.name())
        .flat_map(|record| &record.sites)
        .map(|site| RescaleBound { layer: site.node.clone(), errors: site.error_bounds.clone() })
        .filter(|bound| !bound.errors.is_empty())
        .collect()
}

/// The parameters of the run, if run-all left them.
fn parameters(dir: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let path = dir.join("run.json");
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let value: Value = serde_json::from_str(&files::read_text(&path)?)
        .with_context(|| format!("{path:?} is not the description of a run"))?;
    let mut parameters = BTreeMap::new();
    flatten("", &value, &mut parameters);
    parameters.retain(|name, _| !name.starts_with("commands."));
    Ok(parameters)
}

fn flatten(prefix: &str, value: &Value, parameters: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, parameters);
            }
        }
        Value::Null => {
            parameters.insert(prefix.to_owned(), "default".to_owned());
        }
        Value::String(text) => {
            parameters.insert(prefix.to_owned(), text.clone());
        }
        other => {
            parameters.insert(prefix.to_owned(), other.to_string());
        }
    }
}

fn versions() -> BTreeMap<String, String> {
    [("onnx2int", env!("CARGO_PKG_VERSION")), ("opset", "21")]
        .into_iter()
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect()
}
