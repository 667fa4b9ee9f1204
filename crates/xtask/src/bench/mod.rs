//! `cargo xtask bench`: our speed against that of others, side by side in one run.
//!
//! ```text
//! inference: images a second in every runtime, by turns ──> bench.json, bench.md
//!
//! --train
//! steps: rounds of timed steps, ours and PyTorch's by turns      ─┐
//! accuracy: whole trainings for each seed, ours and PyTorch's by turns ─┴─> bench-train.json, bench-train.md (report)
//! ```
//!
//! Nothing here passes or fails by its speed: a benchmark measures, and whoever reads it judges.

mod accuracy;
mod child;
mod conditions;
mod inference;
mod report;
mod statistics;
mod steps;

use std::path::{Path, PathBuf};

use clap::{Args, value_parser};

use crate::console::{complain, say};
use crate::process::Interrupt;
use crate::{cargo, python};

use conditions::Conditions;
use report::{Measured, Report};

/// The results, without their extensions.
const REPORT: &str = "reports/bench-train";

/// Those of inference.
const INFERENCE_REPORT: &str = "reports/bench";

/// What is measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Training instead of inference, against PyTorch (its first use installs PyTorch, some gigabytes, into an environment of its own)
    #[arg(long)]
    pub train: bool,
    /// How often each side is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u16).range(1..=1000))]
    pub rounds: u16,
    /// Training steps of each side in a round; the first 10 are left out
    #[arg(long, value_name = "N", default_value_t = 60, requires = "train", value_parser = value_parser!(u32).range(11..=100_000))]
    pub steps: u32,
    /// Threads of each side in training
    #[arg(long, value_name = "N", default_value_t = 2, requires = "train", value_parser = value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// Also measure our training with burn's stock kernels
    #[arg(long, requires = "train")]
    pub stock: bool,
    /// How long each side is measured in each setting and round, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, conflicts_with = "train")]
    pub seconds: f64,
    /// Instead, whole trainings: ours by its default recipe, PyTorch's by that of its MNIST example
    #[arg(long, requires = "train", conflicts_with_all = ["rounds", "steps", "stock"])]
    pub to_accuracy: bool,
    /// Trainings of each side, with the seeds from 1 on
    #[arg(long, value_name = "N", default_value_t = 3, requires = "to_accuracy", value_parser = value_parser!(u16).range(1..=100))]
    pub seeds: u16,
}

impl Options {
    /// The command line that asks for these.
    fn command(&self) -> String {
        let Self { train, rounds, steps, threads, stock, seconds, to_accuracy, seeds } = self;
        if !train {
            return format!("cargo xtask bench --rounds {rounds} --seconds {seconds}");
        }
        match to_accuracy {
            true => format!("cargo xtask bench --train --to-accuracy --seeds {seeds} --threads {threads}"),
            false => {
                let stock = if *stock { " --stock" } else { "" };
                format!(
                    "cargo xtask bench --train --rounds {rounds} --steps {steps} --threads {threads}{stock}"
                )
            }
        }
    }
}

/// Builds the binary, makes the Python environment, measures, and writes what was found.
pub(crate) fn run(root: &Path, options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    // Before a build, which is a load of our own.
    let load_before = conditions::load();
    let tool = cargo::build(root, interrupt)?;
    let python = match options.train {
        true => python::with_pytorch(root, interrupt)?,
        false => python::python(root, interrupt)?,
    };
    let is_busy = |&load: &f64| conditions::is_busy(load, conditions::cores(), options.threads);
    if let Some(load) = load_before.filter(is_busy) {
        complain(format_args!(
            "note: the machine is busy (load {load}); the figures will not be fair to others"
        ));
    }
    Bench { root, tool, python, threads: options.threads, load_before, interrupt }.measure(options)
}

/// What both kinds of measurement need.
struct Bench<'a> {
    root: &'a Path,
    tool: PathBuf,
    python: PathBuf,
    threads: u16,
    load_before: Option<f64>,
    interrupt: &'a Interrupt,
}

impl Bench<'_> {
    /// Measures; what the report holds of the other kind of measurement stays in it.
    fn measure(&self, options: &Options) -> anyhow::Result<()> {
        if !options.train {
            return self.measure_inference(options);
        }
        let mut report = Report::read(&self.root.join(format!("{REPORT}.json")));
        if options.to_accuracy {
            let (result, pytorch) = accuracy::measure(self, options.seeds)?;
            let conditions = Conditions::new(self, options, format!("PyTorch {pytorch}"));
            report.to_accuracy = Some(Measured { conditions, result });
        } else {
            let (result, pytorch) = steps::measure(self, options)?;
            let conditions = Conditions::new(self, options, format!("PyTorch {pytorch}"));
            report.steps = Some(Measured { conditions, result });
        }
        report.write(self.root, REPORT)?;
        say(format_args!("\n{}", report.summary(options.to_accuracy)));
        say(format_args!("{REPORT}.md has the machine, the versions and the commands."));
        Ok(())
    }

    fn measure_inference(&self, options: &Options) -> anyhow::Result<()> {
        let (result, onnx_runtime) = inference::measure(self, options)?;
        let conditions = Conditions::new(self, options, format!("ONNX Runtime {onnx_runtime}"));
        let report = inference::Report::new(conditions, result);
        report.write(self.root, INFERENCE_REPORT)?;
        say(format_args!("\n{}", report.table()));
        say(format_args!("{INFERENCE_REPORT}.md has the machine, the versions and the commands."));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, String> {
        let words = line.strip_prefix("cargo xtask ").unwrap_or(line).split(' ');
        Line::try_parse_from(words).map(|line| line.options).map_err(|error| error.to_string())
    }

    #[test]
    fn inference_is_measured_unless_training_is_asked_for() {
        assert!(!parse("bench").unwrap().train);
        assert!(parse("bench --train").unwrap().train);
        assert!(parse("bench --train --seconds 2").is_err() && parse("bench --stock").is_err());
    }

    #[test]
    fn the_command_of_a_report_asks_for_the_same() {
        for (line, command) in [
            ("bench", "cargo xtask bench --rounds 5 --seconds 1"),
            ("bench --train", "cargo xtask bench --train --rounds 5 --steps 60 --threads 2"),
            ("bench --train --stock", "cargo xtask bench --train --rounds 5 --steps 60 --threads 2 --stock"),
            ("bench --train --to-accuracy", "cargo xtask bench --train --to-accuracy --seeds 3 --threads 2"),
        ] {
            assert_eq!(parse(line).unwrap().command(), command);
            assert_eq!(parse(command).unwrap().command(), command);
        }
    }

    #[test]
    fn options_of_one_measurement_are_not_taken_by_the_other() {
        for line in ["--train --seeds 2", "--train --to-accuracy --rounds 2", "--train --steps 10"] {
            assert!(parse(&format!("bench {line}")).is_err(), "{line}");
        }
    }

    /// A tool and a Python, both played by `sh`, which runs the scripts that their first arguments name.
    #[cfg(unix)]
    mod unix {
        use std::fs;

        use super::*;
        use crate::atomic_file;

        fn measure(tool: &str, pytorch: &str, line: &str) -> anyhow::Result<(String, serde_json::Value)> {
            let root = tempfile::tempdir().unwrap();
            atomic_file::write(&root.path().join("train"), tool.as_bytes()).unwrap();
            atomic_file::write(&root.path().join(child::SCRIPT), pytorch.as_bytes()).unwrap();
            let options = parse(line).unwrap();
            let (interrupt, shell) = (Interrupt::default(), PathBuf::from("sh"));
            let bench = Bench {
                root: root.path(),
                tool: shell.clone(),
                python: shell,
                threads: options.threads,
                load_before: None,
                interrupt: &interrupt,
            };
            bench.measure(&options)?;
            let read = |extension| fs::read_to_string(root.path().join(REPORT).with_extension(extension));
            Ok((read("md").unwrap(), serde_json::from_str(&read("json").unwrap()).unwrap()))
        }

        /// Prints so many steps: ten slow ones that must not count, and others of the seconds given.
        fn steps(count: usize, seconds: f64, more: &str) -> String {
            let mut all = vec![9.0; 10];
            all.resize(count, seconds);
            format!("echo '{{\"batch_size\":64,\"threads\":2,{more}\"seconds\":{all:?}}}'")
        }

        #[test]
        fn steps_of_both_sides_are_measured_and_reported() {
            let tool = format!(
                "test \"$RAYON_NUM_THREADS\" = 2 || exit 3; case \"$*\" in *stock*) {};; *) {};; esac",
                steps(12, 0.5, ""),
                steps(12, 0.05, "")
            );
            let version = "\"pytorch\":\"9.9.9\",";
            let pytorch = format!(
                "case \"$*\" in *channels-last*) {};; *) {};; esac",
                steps(12, 0.04, version),
                steps(12, 0.1, version)
            );
            let line = "bench --train --rounds 2 --steps 12 --stock";
            let (text, json) = measure(&tool, &pytorch, line).unwrap();
            assert_eq!(json["steps"]["ratios"][0]["spread"]["median"], 1.25);
            assert_eq!(json["steps"]["ratios"][1]["spread"]["median"], 12.5);
            assert_eq!(json["steps"]["compared_with"], "PyTorch, channels last");
            assert!(text.contains("PyTorch 9.9.9") && text.contains("| 1.25 |"), "{text}");
        }

        #[test]
        fn trainings_of_both_sides_are_measured_and_reported() {
            // The tool finds its file after the word --output.
            let tool = r#"while [ "$1" != --output ]; do shift; done
                echo '{"test_accuracy":{"correct":9930,"images":10000}}' >"${2%.onnx}.training.json""#;
            let pytorch = format!(
                "case \"$*\" in *seed-recipe*) echo '{}';; *) {};; esac",
                r#"{"pytorch":"9.9.9","batch_size":64,"threads":2,"seconds":80,"epochs":[
                    {"seconds":50,"correct":9800,"images":10000},{"seconds":30,"correct":9910,"images":10000}]}"#
                    .replace('\n', ""),
                steps(30, 0.1, "\"pytorch\":\"9.9.9\",")
            );
            let (text, json) = measure(tool, &pytorch, "bench --train --to-accuracy --seeds 2").unwrap();
            let result = &json["to_accuracy"];
            assert_eq!(result["seeds"].as_array().unwrap().len(), 2);
            assert_eq!(result["ours"]["accuracy"], 0.993);
            assert_eq!(result["pytorch"]["accuracy"], 0.991);
            assert_eq!(result["pytorch_epoch_seconds"], 40.0);
            assert!(text.contains("99.30 %") && text.contains("99.10 %"), "{text}");
        }

        #[test]
        fn a_side_that_fails_is_an_error_and_no_report() {
            let fine = steps(12, 0.1, "");
            let error = measure("exit 4", &fine, "bench --train --steps 12").unwrap_err();
            assert!(format!("{error:#}").contains("exit status: 4"), "{error:#}");
            let error = measure(&fine, "echo none", "bench --train --steps 12").unwrap_err();
            assert!(format!("{error:#}").contains(child::SCRIPT), "{error:#}");
            let error = measure(&fine, &fine, "bench --train --steps 13").unwrap_err();
            assert!(format!("{error:#}").contains("expected 13"), "{error:#}");
        }
    }
}
