//! `torture`: as many random networks as asked for, or one that was written down.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is how a command talks")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context;
use clap::Parser;
use onnx2int_graph::Graph;
use onnx2int_torture::{Failure, Tally, check, torture};

/// Takes random quantized networks through the whole pipeline and checks every promise on the way.
#[derive(Parser)]
struct Arguments {
    /// Networks to make
    #[arg(long, value_name = "N", default_value_t = 2000)]
    cases: u64,
    /// What the networks follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first case, to go on or to repeat one
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Check a graph that was written down, and nothing else
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Folder for the graph of a network that fails
    #[arg(long, value_name = "DIR", default_value = ".")]
    output_dir: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.replay {
        Some(file) => replay(file),
        None => run_cases(arguments),
    }
}

fn replay(file: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file:?}"))?;
    let graph = Graph::from_text(&text).with_context(|| format!("{file:?} is not a graph"))?;
    let outcome = check(&graph).with_context(|| format!("{file:?} fails"))?;
    println!("{outcome:?}");
    Ok(())
}

fn run_cases(arguments: &Arguments) -> anyhow::Result<()> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.map_or_else(cores, usize::from);
    let end = arguments.first.saturating_add(arguments.cases);
    let next = AtomicU64::new(arguments.first);
    let failed = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    let first_failure: Mutex<Option<(u64, Failure)>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case >= end {
                        break;
                    }
                    match torture(arguments.seed, case) {
                        Ok(outcome) => {
                            let mut tally = tally.lock().expect("no holder of the lock panics");
                            tally.add(&outcome);
                            if tally.count() % PROGRESS == 0 {
                                eprintln!("{} of {} networks", tally.count(), arguments.cases);
                            }
                        }
                        Err(failure) => {
                            failed.store(true, Ordering::Relaxed);
                            let mut first = first_failure.lock().expect("no holder of the lock panics");
                            if first.as_ref().is_none_or(|(other, _)| case < *other) {
                                *first = Some((case, failure));
                            }
                        }
                    }
                }
            });
        }
    });
    println!("{}", tally.into_inner().expect("no holder of the lock panics"));
    match first_failure.into_inner().expect("no holder of the lock panics") {
        None => Ok(()),
        Some((case, failure)) => Err(report(arguments, case, failure)),
    }
}

/// A line of progress after so many networks.
const PROGRESS: usize = 1000;

/// Writes the failing graph down and says how to repeat the failure.
fn report(arguments: &Arguments, case: u64, failure: Failure) -> anyhow::Error {
    let seed = arguments.seed;
    let text = failure.graph.to_full_text();
    println!("{text}");
    let file = arguments.output_dir.join(format!("torture-{seed}-{case}.graph"));
    let error = anyhow::Error::new(failure.fault).context(format!("case {case} of seed {seed} fails"));
    match fs::write(&file, text) {
        Ok(()) => error.context(format!("repeat with --replay {}", file.display())),
        Err(cause) => error.context(format!("cannot keep the graph in {}: {cause}", file.display())),
    }
}
