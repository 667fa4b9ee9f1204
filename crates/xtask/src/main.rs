//! What needs cargo or the repository: the whole MNIST pipeline, its cross-check against other runtimes, and what kills
//! do to it.
//!
//! `cargo xtask run-all`, `conform`, `prove`, `sweep`, `networks`, `bench` and `faults`; the libraries' work is done by
//! the binary `onnx2int`, which this one builds and calls.

mod atomic_file;
mod bench;
mod cargo;
mod conform;
mod console;
mod digest;
#[cfg(unix)]
mod faults;
mod folder_lock;
mod networks;
mod node_tests;
mod pipeline;
mod process;
mod proof;
mod python;
mod run;
mod runner;
mod stamp;
mod sweep;
mod timing;

#[cfg(test)]
mod runner_tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use onnx2int_graph::Stage;

use crate::conform::Options;
use crate::console::complain;
use crate::pipeline::Settings;
use crate::process::{Interrupt, Interrupted};
use crate::run::Run;
use crate::runner::Force;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::from(if error.is::<Interrupted>() { 130 } else { 1 })
        }
    }
}

/// The tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Train, export, quantize, transform, evaluate and report on MNIST; only what is out of date is made anew
    RunAll(RunAll),
    /// Compare every stage file in every runtime, bit for bit, and check it (needs Python with venv and pip)
    Conform(Conform),
    /// Certify the integer stages, check the certificates by independent means, and try to refute them (needs Python
    /// with venv and pip)
    Prove {
        #[command(flatten)]
        run: Run,
    },
    /// Measure accuracy against mantissa bits, calibration and weight bits on the models of run-all, for its report
    Sweep {
        #[command(flatten)]
        run: Run,
    },
    /// Take every network of data/networks to integers, quantized by us and by ONNX Runtime, and compare (needs Python
    /// with venv and pip)
    Networks(networks::Options),
    /// Measure our speed against that of others, by turns (needs Python with venv and pip); nothing is asserted
    Bench(bench::Options),
    /// Kill run-all and `lower` at random moments, go on, and compare every file with an undisturbed run's
    #[cfg(unix)]
    Faults {
        /// How many times to kill
        #[arg(long, default_value_t = 200)]
        kills: usize,
        /// Decides where and when
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Take random networks through the whole pipeline and check every promise on the way (a release build);
    /// arguments go to crates/torture: --cases N --seed S, or --replay FILE
    Torture {
        /// What the program torture is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Args)]
struct Conform {
    #[command(flatten)]
    run: Run,
    /// Only these stages; the report is conform/part.md then
    #[arg(long, value_name = "STAGE", value_parser = parse_stage)]
    stage: Vec<Stage>,
    /// At most the first N test images in each runtime; the report is conform/part.md then
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    images: Option<u16>,
    /// Instead, run the onnx package's own tests of single operators and compare with the committed list
    #[arg(long, conflicts_with_all = ["stage", "images", "quick", "network"])]
    onnx_node_tests: bool,
    /// Write the list of passed and excluded node tests anew
    #[arg(long, requires = "onnx_node_tests")]
    bless: bool,
}

#[derive(Args)]
struct RunAll {
    #[command(flatten)]
    run: Run,
    /// Epochs of training instead of the recipe's
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    epochs: Option<u32>,
    /// The seed of initialization, shuffling and dropout
    #[arg(long, default_value_t = pipeline::DEFAULT_SEED)]
    seed: u64,
    /// Bits of scale_out's multipliers, 2 to 23, for hardware with a narrow multiplier [default: 23]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=23))]
    mantissa_bits: Option<u32>,
    /// Make everything anew, training included
    #[arg(long, conflicts_with = "from")]
    force: bool,
    /// Make this stage and everything after it anew
    #[arg(long, value_name = "STAGE", value_parser = parse_stage)]
    from: Option<Stage>,
    /// A folder with the data in place of the repository; for `cargo xtask faults`
    #[arg(long, hide = true, requires = "tool")]
    root: Option<PathBuf>,
    /// A binary that is built already; for `cargo xtask faults`
    #[arg(long, hide = true, requires = "root")]
    tool: Option<PathBuf>,
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let root = repository_root();
    let interrupt = Interrupt::install()?;
    match &arguments.task {
        Task::RunAll(options) => {
            let settings = Settings {
                run: options.run,
                seed: options.seed,
                epochs: options.epochs,
                mantissa_bits: options.mantissa_bits,
            };
            let force = match options.from {
                Some(stage) => Force::From(stage),
                None if options.force => Force::All,
                None => Force::Nothing,
            };
            let root = options.root.clone().unwrap_or(root);
            runner::run_all(root, options.tool.clone(), settings, force, interrupt)
        }
        Task::Conform(Conform { onnx_node_tests: true, bless, .. }) => {
            node_tests::run(&root, *bless, &interrupt)
        }
        Task::Conform(Conform { run, stage, images, .. }) => {
            let options = Options { run: *run, stages: stage.clone(), images: images.map(usize::from) };
            conform::conform(root, &options, interrupt)
        }
        Task::Prove { run } => proof::run(&root, *run, &interrupt),
        Task::Sweep { run } => sweep::run(root, *run, interrupt),
        Task::Networks(options) => networks::run(root, options, interrupt),
        Task::Bench(options) => bench::run(&root, options, &interrupt),
        #[cfg(unix)]
        Task::Faults { kills, seed } => faults::faults(&root, *kills, *seed, &interrupt),
        Task::Torture { arguments } => cargo::torture(arguments, &interrupt),
    }
}

/// The folder of the workspace's Cargo.toml.
fn repository_root() -> PathBuf {
    let manifest_dir =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let crate_folder = PathBuf::from(manifest_dir);
    crate_folder.ancestors().nth(2).map_or_else(|| crate_folder.clone(), PathBuf::from)
}

/// A stage by its name (`scale_out`), with hyphens (`scale-out`), or by the command that makes it (`quantize`).
fn parse_stage(text: &str) -> Result<Stage, String> {
    let named = |stage: &Stage| stage.name() == text.replace('-', "_") || stage.made_by() == text;
    Stage::ALL.into_iter().find(named).ok_or_else(|| {
        let names: Vec<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
        format!("no stage has this name; expected one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn stages_are_known_by_name_and_by_command() {
        assert_eq!(parse_stage("scale-out"), Ok(Stage::ScaleOut));
        assert_eq!(parse_stage("scale_out"), Ok(Stage::ScaleOut));
        assert_eq!(parse_stage("quantize"), Ok(Stage::Quantized));
        assert_eq!(parse_stage("fold-op-scales"), Ok(Stage::Folded));
        assert!(parse_stage("octal").is_err_and(|message| message.contains("float, quantized, sanitized")));
    }

    #[test]
    fn the_root_is_where_the_workspace_is() {
        assert!(repository_root().join("crates/xtask/src/main.rs").is_file());
    }
}
