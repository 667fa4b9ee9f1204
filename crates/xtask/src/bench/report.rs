//! The results as data and as Markdown.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::accuracy::{ToAccuracy, last_accuracy, percent};
use super::conditions::Conditions;
use super::steps::Steps;
use crate::atomic_file;

const SCHEMA: &str = "onnx2int-bench-train/2";

/// The last measurement of each kind.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    schema: String,
    pub steps: Option<Measured<Steps>>,
    pub to_accuracy: Option<Measured<ToAccuracy>>,
}

/// What was found, and on what. The two kinds of measurement may be of different days and commits.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Measured<T> {
    pub conditions: Conditions,
    #[serde(flatten)]
    pub result: T,
}

impl Report {
    /// What an earlier run wrote. A file that cannot be read, or is of another version, loses nothing that a run does not
    /// make anew.
    pub(crate) fn read(path: &Path) -> Self {
        let read = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        read.filter(|report| report.schema == SCHEMA).unwrap_or_else(|| Self {
            schema: SCHEMA.to_owned(),
            steps: None,
            to_accuracy: None,
        })
    }

    /// Writes `<path>.json` and `<path>.md`.
    pub(crate) fn write(&self, root: &Path, path: &str) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        atomic_file::write(&root.join(format!("{path}.json")), json.as_bytes())?;
        atomic_file::write(&root.join(format!("{path}.md")), self.markdown().as_bytes())
    }

    /// The report to read.
    fn markdown(&self) -> String {
        let mut text = String::from(
            "# Training against PyTorch\n\n\
             Both sides train on the same processor, in turns, on as many threads, the same network (PyTorch's MNIST example, with \
             padding) in float32, in batches of the same size.\n\
             A ratio below 1 means that ours takes less time.\n",
        );
        if let Some(Measured { conditions, result }) = &self.steps {
            let _ = write!(text, "\n## One step\n\n{}\n\n{}\n", conditions.line(), steps_tables(result));
            let _ = write!(
                text,
                "{} rounds, in each of which every row has its turn with {} steps on real images; the first {} are left out, \
                 and the round's figure is the median of the others.\n\
                 Ours has all that a step of our recipe has, the movement of its images included; PyTorch's images do not move.\n\
                 PyTorch is eager, with its fused AdamW and all images in memory as one tensor, and is taken in the faster of its \
                 two memory formats: {}.\n",
                result.rounds, result.steps, result.warm_up, result.compared_with
            );
            let commands = result.rows.iter().map(|row| row.command.as_str());
            push_commands(&mut text, &conditions.command, commands);
        }
        if let Some(Measured { conditions, result }) = &self.to_accuracy {
            let _ =
                write!(text, "\n## A whole training\n\n{}\n\n{}\n", conditions.line(), seeds_table(result));
            text.push_str(
                "Ours is the time of the whole process by our default recipe: reading the images, training, validation, checkpoints, \
                 export and the check of the exported file.\n\
                 PyTorch's is the time of the steps alone, by the recipe of its MNIST example, without start, reading and \
                 evaluation, which favours PyTorch.\n\
                 Accuracies are of the test images, after the last epoch.\n",
            );
            text.push_str(&epochs_table(result));
            push_commands(&mut text, &conditions.command, [&*result.ours_command, &*result.pytorch_command]);
        }
        text
    }

    /// What the terminal shows of one kind of measurement.
    pub(crate) fn summary(&self, to_accuracy: bool) -> String {
        match to_accuracy {
            true => self.to_accuracy.as_ref().map(|measured| seeds_table(&measured.result)),
            false => self.steps.as_ref().map(|measured| steps_tables(&measured.result)),
        }
        .unwrap_or_default()
    }
}

fn steps_tables(steps: &Steps) -> String {
    let mut text = String::from("| one step | median | least | most | images/s |\n|---|---|---|---|---|\n");
    for row in &steps.rows {
        let [median, min, max] = [row.spread.median, row.spread.min, row.spread.max].map(|x| 1e3 * x);
        let rate = steps.batch_size as f64 / row.spread.median;
        let _ = writeln!(text, "| {} | {median:.1} ms | {min:.1} ms | {max:.1} ms | {rate:.0} |", row.name);
    }
    let _ = write!(text, "\n| by {} | median | least | most |\n|---|---|---|---|\n", steps.compared_with);
    for ratio in &steps.ratios {
        let spread = &ratio.spread;
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.2} | {:.2} |",
            ratio.name, spread.median, spread.min, spread.max
        );
    }
    text
}

fn seeds_table(result: &ToAccuracy) -> String {
    let mut text = String::from(
        "| seed | ours | accuracy | PyTorch | accuracy | time, ours by PyTorch's |\n|---|---|---|---|---|---|\n",
    );
    let mut push = |name: &str, ours: (f64, f64), pytorch: (f64, f64)| {
        let _ = writeln!(
            text,
            "| {name} | {:.1} s | {} | {:.1} s | {} | {:.2} |",
            ours.0,
            percent(ours.1),
            pytorch.0,
            percent(pytorch.1),
            ours.0 / pytorch.0
        );
    };
    for seed in &result.seeds {
        push(
            &seed.seed.to_string(),
            (seed.ours.seconds, seed.ours.test.fraction()),
            (seed.pytorch.seconds, last_accuracy(&seed.pytorch)),
        );
    }
    let (ours, pytorch) = (&result.ours, &result.pytorch);
    push("mean", (ours.seconds, ours.accuracy), (pytorch.seconds, pytorch.accuracy));
    let _ = write!(
        text,
        "\nAn epoch of PyTorch takes {:.1} s; our whole training takes {:.2} of these.\n",
        result.pytorch_epoch_seconds, result.ours_in_pytorch_epochs
    );
    text
}

/// How PyTorch's accuracy grew.
fn epochs_table(result: &ToAccuracy) -> String {
    let epochs = result.seeds.iter().map(|seed| seed.pytorch.epochs.len()).max().unwrap_or(0);
    let numbers: Vec<String> = (1..=epochs).map(|epoch| epoch.to_string()).collect();
    let mut text = format!(
        "\n| PyTorch, seed | epoch {} |\n|---|{}\n",
        numbers.join(" | epoch "),
        "---|".repeat(epochs)
    );
    for seed in &result.seeds {
        let accuracies: Vec<String> =
            seed.pytorch.epochs.iter().map(|epoch| percent(epoch.test.fraction())).collect();
        let _ = writeln!(text, "| {} | {} |", seed.seed, accuracies.join(" | "));
    }
    text
}

fn push_commands<'a>(text: &mut String, command: &str, parts: impl IntoIterator<Item = &'a str>) {
    let _ = write!(text, "\n```sh\n{command}\n# which calls\n");
    for part in parts {
        let _ = writeln!(text, "{part}");
    }
    text.push_str("```\n");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Report {
        let conditions = |command: &str| {
            json!({
                "command": command, "timestamp": "2026-01-02T03:04:05Z", "processor": "A Processor", "cores": 2, "load_before": null,
                "threads": 1, "onnx2int": "v1-2-g3", "other": "PyTorch 9.9.9",
            })
        };
        let spread = |median: f64| json!({ "median": median, "min": median / 2.0, "max": 2.0 * median });
        let row = |name: &str, seconds: f64| {
            json!({
                "name": name, "command": format!("do {name}"), "seconds": [seconds], "spread": spread(seconds),
            })
        };
        let epoch = |correct: u32| json!({ "seconds": 40.0, "correct": correct, "images": 10_000 });
        serde_json::from_value(json!({
            "schema": SCHEMA,
            "steps": {
                "conditions": conditions("bench steps"), "rounds": 1, "steps": 60, "warm_up": 10, "batch_size": 64,
                "rows": [row("ours", 0.064), row("PyTorch", 0.08)], "compared_with": "PyTorch",
                "ratios": [{ "name": "ours", "rounds": [0.8], "spread": spread(0.8) }],
            },
            "to_accuracy": {
                "conditions": conditions("bench to"), "ours_command": "do ours", "pytorch_command": "do PyTorch",
                "seeds": [{
                    "seed": 1,
                    "ours": { "seconds": 60.0, "test": { "correct": 9_930, "images": 10_000 } },
                    "pytorch": { "seconds": 80.0, "epochs": [epoch(9_800), epoch(9_920)] },
                }],
                "ours": { "seconds": 60.0, "accuracy": 0.993 }, "pytorch": { "seconds": 80.0, "accuracy": 0.992 },
                "ratio": 0.75, "pytorch_epoch_seconds": 40.0, "ours_in_pytorch_epochs": 1.5,
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_text_has_every_number_with_its_conditions() {
        let text = report().markdown();
        for line in [
            "A Processor, 2 cores; each side on 1 thread; onnx2int v1-2-g3, PyTorch 9.9.9; 2026-01-02T03:04:05Z",
            "| ours | 64.0 ms | 32.0 ms | 128.0 ms | 1000 |",
            "| ours | 0.80 | 0.40 | 1.60 |",
            "bench steps\n# which calls\ndo ours\ndo PyTorch\n",
            "| 1 | 60.0 s | 99.30 % | 80.0 s | 99.20 % | 0.75 |",
            "| mean | 60.0 s | 99.30 % | 80.0 s | 99.20 % | 0.75 |",
            "An epoch of PyTorch takes 40.0 s; our whole training takes 1.50 of these.",
            "| 1 | 98.00 % | 99.20 % |",
            "which favours PyTorch",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_shown() {
        let text = Report { steps: None, ..report() }.markdown();
        assert!(!text.contains("One step") && text.contains("A whole training"), "{text}");
        let text = Report { to_accuracy: None, ..report() }.markdown();
        assert!(text.contains("One step") && !text.contains("A whole training"), "{text}");
    }

    #[test]
    fn a_report_is_read_again_and_one_of_another_version_is_not() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("bench.json");
        let written = report();
        written.write(root.path(), "bench").unwrap();
        let read = Report::read(&path);
        assert_eq!(read.markdown(), written.markdown());
        let other = Report { schema: "onnx2int-bench-train/0".to_owned(), ..written };
        other.write(root.path(), "bench").unwrap();
        assert!(Report::read(&path).steps.is_none());
        assert!(Report::read(&root.path().join("none.json")).steps.is_none());
    }
}
