//! `cargo xtask sweep`: what accuracy costs, measured on the models of a run: fewer mantissa bits, other calibrations,
//! weights of fewer bits.
//!
//! ```text
//! settings (plan) -> calls of onnx2int, each setting once (measure) -> sweep.json (file), which the report shows
//! ```
//!
//! What the tool refuses is a finding, and stands in the file with its reason.

mod file;
mod measure;
mod plan;

use std::path::PathBuf;

use onnx2int_graph::Stage;
use onnx2int_progress::Progress;

use crate::console::say;
use crate::digest::Digests;
use crate::process::Interrupt;
use crate::run::Run;
use crate::{atomic_file, pipeline, runner};

use file::Sweep;
use measure::{Measurer, Outcome};
use plan::Setting;

/// Measures every setting on the models of the last `run-all`, and writes what came of it.
pub(crate) fn run(root: PathBuf, run: Run, interrupt: Interrupt) -> anyhow::Result<()> {
    // It holds the results locked until the end.
    let (runner, tool) = runner::last_run(&root, run, &interrupt)?;
    let mut digests = Digests::open(&root, &root.join(run.dir()).join(".stamps/digests.json"));
    let float = digests.existing(&pipeline::model_path(run, Stage::Float))?;
    let measurer = Measurer::open(root.clone(), tool, run, &mut digests, interrupt)?;
    let sweep = measured(measurer, float)?;
    let path = pipeline::sweep_path(run);
    let json = serde_json::to_string_pretty(&sweep)? + "\n";
    atomic_file::write_if_changed(&root.join(&path), json.as_bytes())?;
    say(format_args!("{}", sweep.summary()));
    say(format_args!("{path} has every point; `{}` shows it in the report.", runner.remake()));
    Ok(())
}

/// Every point of every line, each setting measured once.
fn measured(mut measurer: Measurer, float_digest: String) -> anyhow::Result<Sweep> {
    let charts = plan::charts();
    let mut settings: Vec<Setting> = Vec::new();
    for setting in charts.iter().flat_map(|chart| &chart.series).flat_map(|series| &series.points) {
        if !settings.contains(setting) {
            settings.push(setting.clone());
        }
    }
    let known = settings.iter().filter(|setting| measurer.known(setting).is_some()).count();
    let progress = Progress::new("sweep", settings.len(), "settings");
    progress.note(format_args!(
        "{} settings, {known} of which are measured already; an interrupted sweep goes on where it was",
        settings.len()
    ));
    progress.begin_at(known);
    for setting in &settings {
        if measurer.known(setting).is_some() {
            continue;
        }
        progress.message(setting.label());
        if let Outcome::Refused { reason } = measurer.measure(setting)? {
            progress.note(format_args!("{}: refused: {reason}", setting.label()));
        }
        progress.add(1);
    }
    progress.finish();
    Sweep::new(float_digest, charts, |setting| measurer.known(setting).cloned())
}

#[cfg(all(test, unix))]
mod tests;
