//! `onnx2int train`: the float network, trained, exported and checked.

mod recipe;
mod summary;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use onnx2int_dataset::{Images, SIDE};
use onnx2int_evaluation::{Accuracy, TestAccuracy};
use onnx2int_graph::{Stage, Tensor, Verified, verify_stage};
use onnx2int_progress::Progress;
use onnx2int_runtimes::{RuntimeKind, prepare, run_parallel};
use onnx2int_training::{
    Checkpoints, EpochSummary, Observer, Plan, Progress as Step, Recipe, Trained, TrainingError, time_steps,
    train,
};

use crate::arguments::Train;
use crate::interrupt::{self, Interrupted};
use crate::{console, files};

/// Validation images that the exported file is checked on.
const CHECKED_IMAGES: usize = 1000;

/// The largest difference that f32 kernels of two libraries may make.
const OUTPUT_TOLERANCE: f32 = 1e-4;

pub(crate) fn run(arguments: &Train) -> anyhow::Result<()> {
    let recipe = recipe::recipe(&arguments.recipe)?;
    if arguments.print_recipe {
        let settings: serde_json::Map<_, _> =
            recipe.settings().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return Ok(console::print(serde_json::to_string(&settings)?)?);
    }
    if let Some(steps) = arguments.time_steps {
        return time(&recipe, steps as usize, arguments);
    }
    let output = arguments.output.as_deref().context("expected --output FILE, the model to write")?;
    let summary_file = output.with_extension("training.json");
    for file in [output, &summary_file] {
        files::check_writable(file)?;
    }
    let dataset = files::load_dataset(&arguments.data.data_dir)?;
    if let Some(notice) = recipe.backend.notice() {
        console::note(format_args!("note: {notice}"));
    }
    let checkpoint_dir =
        arguments.checkpoint_dir.clone().unwrap_or_else(|| output.with_extension("checkpoints"));
    interrupt::listen()?;
    let trained = train_or_explain(&recipe, &dataset.train, &checkpoint_dir, arguments.resume)?;

    let graph = trained.to_graph()?;
    let verified = verify_stage(&graph, Stage::Float)
        .context("the exported model breaks a rule of its stage; this is a defect of onnx2int")?;
    check_export(&trained, verified, &dataset.train)?;
    files::write_model(output, verified)?;

    let test: Vec<usize> = (0..dataset.test.len()).collect();
    let fraction = trained.accuracy(&dataset.test, &test).unwrap_or_default();
    let correct = (fraction * test.len() as f64).round() as usize;
    let accuracy = Accuracy::of(correct, test.len());
    let images = recipe.subset.unwrap_or(dataset.train.split().training.len());
    let test_accuracy = TestAccuracy { correct, images: test.len() };
    let summary = summary::summary(&trained, images / recipe.batch_size, test_accuracy);
    files::write(&summary_file, summary.as_bytes())?;
    console::print(format_args!(
        "test accuracy {:.2} % (95 % interval {:.2} to {:.2})",
        100.0 * accuracy.fraction,
        100.0 * accuracy.low,
        100.0 * accuracy.high
    ))?;
    console::note(format_args!("wrote {output:?} and {summary_file:?}"));
    Ok(())
}

/// Says what steps of the recipe take.
fn time(recipe: &Recipe, steps: usize, arguments: &Train) -> anyhow::Result<()> {
    /// Says nothing, so that printing is not timed, and listens for Ctrl-C.
    struct Quiet;

    impl Observer for Quiet {
        fn cancelled(&mut self) -> bool {
            interrupt::asked()
        }
    }

    let dataset = files::load_dataset(&arguments.data.data_dir)?;
    interrupt::listen()?;
    let seconds = match time_steps(recipe, &dataset.train, steps, &mut Quiet) {
        Err(TrainingError::Interrupted { .. }) => {
            return Err(Interrupted("interrupted; nothing was written".to_owned()).into());
        }
        seconds => seconds?,
    };
    let line = serde_json::json!({
        "batch_size": recipe.batch_size,
        "threads": onnx2int_training::threads(),
        "seconds": seconds,
    });
    Ok(console::print(line)?)
}

fn train_or_explain(
    recipe: &Recipe,
    images: &Images,
    checkpoint_dir: &Path,
    resume: bool,
) -> anyhow::Result<Trained> {
    let checkpoints =
        if resume { Checkpoints::Resume(checkpoint_dir) } else { Checkpoints::Fresh(checkpoint_dir) };
    let mut observer = Screen::default();
    match train(recipe, images, checkpoints, &mut observer) {
        Ok(trained) => Ok(trained),
        Err(TrainingError::Interrupted { .. }) => {
            let checkpoints: PathBuf = checkpoint_dir.to_path_buf();
            Err(Interrupted(format!(
                "interrupted; finished epochs are kept in {checkpoints:?}, repeat the command with --resume to go on"
            ))
            .into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Shows the run, and listens for Ctrl-C.
#[derive(Default)]
struct Screen {
    shown: Option<(Plan, Progress)>,
    accuracy: Option<f64>,
}

impl Observer for Screen {
    fn started(&mut self, plan: &Plan) {
        console::note(format_args!(
            "training on {} images, {} for validation, {} epochs of {} steps",
            plan.training_images, plan.validation_images, plan.epochs, plan.steps_per_epoch
        ));
        if plan.epochs_done > 0 {
            console::note(format_args!("going on after epoch {}", plan.epochs_done));
        }
        let progress = Progress::new("training", plan.epochs * plan.steps_per_epoch, "steps");
        progress.begin_at(plan.epochs_done * plan.steps_per_epoch);
        self.shown = Some((*plan, progress));
    }

    fn stepped(&mut self, step: &Step) {
        let Some((plan, progress)) = &self.shown else { return };
        let accuracy =
            self.accuracy.map_or(String::new(), |accuracy| format!(", accuracy {:.2} %", 100.0 * accuracy));
        progress.message(format!(
            "epoch {}/{}, loss {:.4}{accuracy}, {:.0} images/s",
            step.epoch, plan.epochs, step.loss, step.images_per_second
        ));
        progress.set((step.epoch - 1) * plan.steps_per_epoch + step.step);
    }

    fn finished_epoch(&mut self, summary: &EpochSummary) {
        let Some((plan, progress)) = &self.shown else { return };
        let accuracy = match summary.validation_accuracy {
            Some(accuracy) => format!("validation accuracy {:.2} %", 100.0 * accuracy),
            None => "no validation images".to_owned(),
        };
        progress.note(format_args!(
            "epoch {}/{}: loss {:.4}, {accuracy}",
            summary.epoch, plan.epochs, summary.training_loss
        ));
        self.accuracy = summary.validation_accuracy;
    }

    fn cancelled(&mut self) -> bool {
        interrupt::asked()
    }
}

/// Runs the trained module and the exported graph, from its ONNX bytes, on the same images.
fn check_export(trained: &Trained, graph: Verified<'_>, images: &Images) -> anyhow::Result<()> {
    let indices: Vec<usize> = images.split().validation.take(CHECKED_IMAGES).collect();
    let module = trained.log_probabilities(images, &indices);
    let pixels = images.gather_normalized(&indices, &trained.recipe().normalization.into());
    let input = Tensor::from_vec(&[indices.len(), 1, SIDE, SIDE], pixels)?;
    // tract reads the encoded file, so that the codec is checked as well.
    let session = prepare(RuntimeKind::Tract, graph, graph.outputs())?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let outputs = run_parallel(session.as_ref(), &input, 50, threads, &|_| ())?;
    let file = outputs.first().context("the exported model has no output")?;
    let (Some(module), Some(file)) = (module.as_slice::<f32>(), file.as_slice::<f32>()) else {
        bail!("the exported model's output is not f32");
    };
    let differences = || module.iter().zip(file).map(|(a, b)| (a - b).abs());
    let largest = differences().fold(0.0, f32::max);
    // A NaN is not within the tolerance, and `max` would pass over it.
    let all_near = differences().all(|difference| difference <= OUTPUT_TOLERANCE);
    let classes = module.len() / indices.len().max(1);
    let argmax = |row: &[f32]| (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    let flips = module
        .chunks(classes.max(1))
        .zip(file.chunks(classes.max(1)))
        .filter(|(a, b)| argmax(a) != argmax(b))
        .count();
    if module.len() != file.len() || !all_near || flips > 0 {
        bail!(
            "the exported model differs from the trained module on {} validation images: outputs by up to {largest:e}, \
             {flips} classes; expected {OUTPUT_TOLERANCE:e} at most and none",
            indices.len()
        );
    }
    console::note(format_args!(
        "export checked on {} validation images: largest output difference {largest:.1e}, no class differs",
        indices.len()
    ));
    Ok(())
}
