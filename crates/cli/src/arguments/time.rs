//! The arguments of `onnx2int time`.

use std::path::PathBuf;

use clap::Args;

use super::{Threads, runtime_names};

#[derive(Args, Debug)]
pub(crate) struct Time {
    /// The model to run
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// What runs the model [default: the engine for one of integers only, tract for others]
    #[arg(long, value_name = "RUNTIME", value_parser = runtime_names())]
    pub(crate) runtime: Option<String>,
    /// Images of a run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch: u16,
    /// Go on for so long; at least three runs are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) threads: Threads,
}
