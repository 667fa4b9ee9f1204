//! Whole trainings: what time each side takes to which accuracy.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::Bench;
use super::child::{Child, Layout, check_setting};
use super::statistics::mean;
use super::steps::faster_layout;
use crate::console::say;

/// Epochs of PyTorch's recipe.
const EPOCHS: &str = "5";

/// Where our trainings go.
const FOLDER: &str = "reports/bench";

/// What the trainings came to.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ToAccuracy {
    pub ours_command: String,
    pub pytorch_command: String,
    pub seeds: Vec<Seed>,
    pub ours: Mean,
    pub pytorch: Mean,
    /// The mean time of ours by that of PyTorch's.
    pub ratio: f64,
    /// The mean.
    pub pytorch_epoch_seconds: f64,
    /// Our mean time in epochs of PyTorch's.
    pub ours_in_pytorch_epochs: f64,
}

/// Both trainings of one seed.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Seed {
    pub seed: u16,
    pub ours: Ours,
    pub pytorch: PyTorch,
}

/// One training of ours.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Ours {
    /// Of the whole process.
    pub seconds: f64,
    pub test: Accuracy,
}

/// One training of PyTorch's, as the script prints it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct PyTorch {
    /// Of the steps alone.
    pub seconds: f64,
    pub epochs: Vec<Epoch>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Epoch {
    pub seconds: f64,
    /// After it.
    #[serde(flatten)]
    pub test: Accuracy,
}

/// Test images whose class is right.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Accuracy {
    pub correct: u32,
    pub images: u32,
}

impl Accuracy {
    pub(crate) fn fraction(self) -> f64 {
        f64::from(self.correct) / f64::from(self.images)
    }
}

/// The means over all seeds.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Mean {
    pub seconds: f64,
    /// After the last epoch.
    pub accuracy: f64,
}

/// Trains on both sides for each seed, by turns; also gives PyTorch's version.
pub(crate) fn measure(bench: &Bench<'_>, count: u16) -> anyhow::Result<(ToAccuracy, String)> {
    // What PyTorch's recipe is run in, so that it is run in its best form.
    let layout = faster_layout(bench)?;
    let mut seeds = Vec::new();
    let mut version = String::new();
    let mut commands = [String::new(), String::new()];
    for seed in 1..=count {
        let (ours, ours_command) = train_ours(bench, seed)?;
        say(format_args!("seed {seed}: ours: {:.1} s, {}", ours.seconds, percent(ours.test.fraction())));
        let (pytorch, pytorch_command, found) = train_pytorch(bench, layout, seed)?;
        let last = last_accuracy(&pytorch);
        say(format_args!("seed {seed}: PyTorch: {:.1} s, {}", pytorch.seconds, percent(last)));
        version = found;
        if seed == 1 {
            commands = [ours_command, pytorch_command];
        }
        seeds.push(Seed { seed, ours, pytorch });
    }
    Ok((summarized(seeds, commands), version))
}

/// As all accuracies are shown.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// The accuracy that a training ended in.
pub(crate) fn last_accuracy(training: &PyTorch) -> f64 {
    training.epochs.last().map_or(f64::NAN, |epoch| epoch.test.fraction())
}

fn train_ours(bench: &Bench<'_>, seed: u16) -> anyhow::Result<(Ours, String)> {
    /// What is read of the file beside the model.
    #[derive(Deserialize)]
    struct Training {
        test_accuracy: Accuracy,
    }

    let model = format!("{FOLDER}/seed-{seed}.onnx");
    let summary = Path::new(&model).with_extension("training.json");
    fs::create_dir_all(bench.root.join(FOLDER))
        .with_context(|| format!("cannot make the folder {FOLDER:?}"))?;
    // So that what is read below is not of an earlier training; there may be none.
    let _ = fs::remove_file(bench.root.join(&summary));
    let child = Child::ours(bench, &["--output", &model, "--seed", &seed.to_string()]);
    say(format_args!("$ {}", child.line(bench)));
    let seconds = child.run(bench)?.elapsed.as_secs_f64();
    let bytes = fs::read(bench.root.join(&summary)).with_context(|| format!("cannot read {summary:?}"))?;
    let training: Training = serde_json::from_slice(&bytes)
        .with_context(|| format!("expected the summary of a training in {summary:?}"))?;
    Ok((Ours { seconds, test: training.test_accuracy }, child.line(bench)))
}

fn train_pytorch(bench: &Bench<'_>, layout: Layout, seed: u16) -> anyhow::Result<(PyTorch, String, String)> {
    #[derive(Deserialize)]
    struct Printed {
        pytorch: String,
        batch_size: usize,
        threads: usize,
        #[serde(flatten)]
        training: PyTorch,
    }

    let seed = seed.to_string();
    let child = Child::pytorch(bench, layout, &["--seed-recipe", "--seed", &seed, "--epochs", EPOCHS]);
    let line = child.line(bench);
    say(format_args!("$ {line}"));
    let printed: Printed = child.result(bench)?;
    check_setting(printed.batch_size, printed.threads, usize::from(bench.threads))
        .with_context(|| format!("`{line}` trained otherwise"))?;
    Ok((printed.training, line, printed.pytorch))
}

/// The means of all seeds; the commands are ours and PyTorch's for the first one.
fn summarized(seeds: Vec<Seed>, [ours_command, pytorch_command]: [String; 2]) -> ToAccuracy {
    let ours = Mean {
        seconds: mean(seeds.iter().map(|seed| seed.ours.seconds)),
        accuracy: mean(seeds.iter().map(|seed| seed.ours.test.fraction())),
    };
    let pytorch = Mean {
        seconds: mean(seeds.iter().map(|seed| seed.pytorch.seconds)),
        accuracy: mean(seeds.iter().map(|seed| last_accuracy(&seed.pytorch))),
    };
    let epochs = seeds.iter().flat_map(|seed| &seed.pytorch.epochs);
    let pytorch_epoch_seconds = mean(epochs.map(|epoch| epoch.seconds));
    ToAccuracy {
        ours_command,
        pytorch_command,
        ratio: ours.seconds / pytorch.seconds,
        pytorch_epoch_seconds,
        ours_in_pytorch_epochs: ours.seconds / pytorch_epoch_seconds,
        seeds,
        ours,
        pytorch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_seeds_and_epochs() {
        let seed = |seed, seconds, correct, epochs: &[(f64, u32)]| {
            let test = |correct| Accuracy { correct, images: 10_000 };
            let epochs: Vec<Epoch> =
                epochs.iter().map(|&(seconds, correct)| Epoch { seconds, test: test(correct) }).collect();
            let total = epochs.iter().map(|epoch| epoch.seconds).sum();
            let ours = Ours { seconds, test: test(correct) };
            Seed { seed, ours, pytorch: PyTorch { seconds: total, epochs } }
        };
        let seeds = vec![
            seed(1, 50.0, 9_900, &[(30.0, 9_000), (30.0, 9_800)]),
            seed(2, 70.0, 9_920, &[(50.0, 9_000), (50.0, 9_900)]),
        ];
        let found = summarized(seeds, [String::new(), String::new()]);
        assert_eq!((found.ours.seconds, found.pytorch.seconds, found.ratio), (60.0, 80.0, 0.75));
        assert_eq!(
            (percent(found.ours.accuracy), percent(found.pytorch.accuracy)),
            ("99.10 %".into(), "98.50 %".into())
        );
        assert_eq!((found.pytorch_epoch_seconds, found.ours_in_pytorch_epochs), (40.0, 1.5));
    }
}
