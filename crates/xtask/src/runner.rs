//! Runs the steps that are out of date, in order, and records what each was made from.
//!
//! A step's stamp is removed before the step starts and written after it ended well, so that a run that is killed at
//! any moment leaves a state from which the next one continues.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use onnx2int_graph::Stage;
use serde_json::{Map, Value};

use crate::console::say;
use crate::digest::Digests;
use crate::pipeline::{self, Code, Settings, Step};
use crate::process::{self, Finished, Interrupt, Interrupted, Stdout};
use crate::run::Run;
use crate::stamp::Stamp;
use crate::{atomic_file, cargo, folder_lock, timing};

/// Which steps run although they are up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    Nothing,
    /// Those of this stage and of every later one.
    From(Stage),
    All,
}

impl Force {
    fn reason(self, step: &Step) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::From(stage) => (step.stage >= stage).then(|| format!("asked for by --from {stage}")),
            Self::All => Some("asked for by --force".to_owned()),
        }
    }
}

/// `cargo xtask run-all`: builds the binary unless there is a `tool`, makes what is out of date, and prints the stage table.
pub(crate) fn run_all(
    root: PathBuf,
    tool: Option<PathBuf>,
    settings: Settings,
    force: Force,
    interrupt: Interrupt,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let tool = tool.map_or_else(|| cargo::build(&root, &interrupt), Ok)?;
    let mut runner = Runner::open(root, tool, settings, interrupt)?;
    let made = runner.make(force)?;
    let dir = runner.settings.run.dir();
    say(format_args!("\n{}\n", runner.table()?.trim_end()));
    say(format_args!(
        "{} of {} steps made anew in {:.1} s; {dir}/report.html shows it, {dir}/report.md has the details, {dir}/report.timing.json the times",
        made.len(),
        runner.steps.len(),
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The results of the last run-all, held locked, with the binary, which is built where needed.
///
/// Fails where there are none, and where anything of them is out of date.
pub(crate) fn last_run(root: &Path, run: Run, interrupt: &Interrupt) -> anyhow::Result<(Runner, PathBuf)> {
    let settings = settings_of_last_run(root, run)?;
    let tool = cargo::build(root, interrupt)?;
    let mut runner = Runner::open(root.to_owned(), tool.clone(), settings, interrupt.clone())?;
    if let Some(reason) = runner.first_out_of_date()? {
        bail!("the results are out of date ({reason}); make them anew with `{}`", runner.remake());
    }
    Ok((runner, tool))
}

/// The settings that the last run-all left, so that its files are not judged by others.
fn settings_of_last_run(root: &Path, run: Run) -> anyhow::Result<Settings> {
    let path = pipeline::run_description_path(run);
    let bytes = fs::read(root.join(&path))
        .with_context(|| format!("cannot read {path:?}, which `{}` makes", run.command()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{path:?} is not the description of a run"))
}

/// The pipeline of one folder of results, which it holds locked.
pub(crate) struct Runner {
    root: PathBuf,
    tool: PathBuf,
    settings: Settings,
    recipe: Map<String, Value>,
    steps: Vec<Step>,
    digests: Digests,
    interrupt: Interrupt,
    /// Held until the end of the process, which frees the lock however it ends.
    _lock: File,
}

impl Runner {
    /// Takes hold of the folder of results and lists the steps.
    ///
    /// Fails where another run holds it, where the data files are missing, and where `tool` does not tell its recipe.
    pub(crate) fn open(
        root: PathBuf,
        tool: PathBuf,
        settings: Settings,
        interrupt: Interrupt,
    ) -> anyhow::Result<Self> {
        let stamps = root.join(settings.run.dir()).join(".stamps");
        fs::create_dir_all(&stamps).with_context(|| format!("cannot make the folder {stamps:?}"))?;
        let lock = folder_lock::lock(&stamps.join("lock"))?;
        atomic_file::remove_stale(&root.join(settings.run.dir()));
        let mut digests = Digests::open(&root, &stamps.join("digests.json"));
        let mut data = BTreeMap::new();
        for path in pipeline::data_files(&root)? {
            let digest = digests.existing(&path)?;
            data.insert(path, digest);
        }
        let recipe = recipe(&root, &tool, &settings, &interrupt)?;
        let steps = pipeline::steps(&settings, &recipe, &data);
        Ok(Self { root, tool, settings, recipe, steps, digests, interrupt, _lock: lock })
    }

    /// Makes what is out of date or forced, and returns the names of these steps.
    pub(crate) fn make(&mut self, force: Force) -> anyhow::Result<Vec<String>> {
        self.describe_run()?;
        let made = self.make_steps(force);
        self.digests.save()?;
        made
    }

    /// The first step that is out of date and why, if any is. The report is none of them: it tells of other tasks as
    /// well, each of which puts it out of date.
    pub(crate) fn first_out_of_date(&mut self) -> anyhow::Result<Option<String>> {
        for step in self.steps.clone().into_iter().filter(|step| step.name != pipeline::REPORT) {
            if let Some(path) = step.inputs.iter().find(|path| !self.root.join(path).exists()) {
                return Ok(Some(format!("{}: {path:?} does not exist", step.name)));
            }
            if let Some(reason) = self.out_of_date(&step)?.1 {
                return Ok(Some(format!("{}: {reason}", step.name)));
            }
        }
        Ok(None)
    }

    /// The command that makes what is out of date.
    pub(crate) fn remake(&self) -> String {
        self.settings.command()
    }

    /// The stage table that `onnx2int report` printed.
    pub(crate) fn table(&self) -> anyhow::Result<String> {
        let path = pipeline::table_path(self.settings.run);
        fs::read_to_string(self.root.join(&path)).with_context(|| format!("cannot read {path:?}"))
    }

    fn make_steps(&mut self, force: Force) -> anyhow::Result<Vec<String>> {
        let mut made = Vec::new();
        for step in self.steps.clone() {
            if self.interrupt.requested() {
                return Err(Interrupted.into());
            }
            let (now, reason) = self.out_of_date(&step)?;
            let forced = force.reason(&step);
            let begin_anew = forced.is_some();
            let Some(reason) = forced.or(reason) else { continue };
            say(format_args!("{}: {reason}", step.name));
            self.execute(&step, now, begin_anew)?;
            made.push(step.name);
        }
        Ok(made)
    }

    /// What the step would be made from now, and why its stamp says that it must be.
    fn out_of_date(&mut self, step: &Step) -> anyhow::Result<(Stamp, Option<String>)> {
        let code = match step.code {
            Code::Binary => Some(self.digests.existing(&self.tool.to_string_lossy())?),
            Code::Recipe => None,
        };
        let mut inputs = BTreeMap::new();
        for path in &step.inputs {
            inputs.insert(path.clone(), self.digests.existing(path)?);
        }
        inputs.extend(self.digests.of_existing(&step.optional_inputs)?);
        let outputs = self.digests.of_existing(&step.outputs)?;
        let now = Stamp { code, parameters: step.parameters.clone(), inputs, outputs };
        let reason = now.reason_to_make(&self.stamp_path(step));
        Ok((now, reason))
    }

    fn execute(&mut self, step: &Step, now: Stamp, begin_anew: bool) -> anyhow::Result<()> {
        let stamp_path = self.stamp_path(step);
        atomic_file::remove_if_there(&stamp_path)?;
        for output in &step.outputs {
            let path = self.root.join(output);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {folder:?}"))?;
            }
        }

        let mut arguments = step.arguments.clone();
        arguments.extend(step.resume.filter(|_| !begin_anew).map(str::to_owned));
        let line = process::shell_line(&self.root, &self.tool, &arguments);
        say(format_args!("$ {line}"));
        let stdout = if step.captured.is_some() { Stdout::Captured } else { Stdout::Inherited };
        let mut command = Command::new(&self.tool);
        let finished =
            process::run(command.args(&arguments).current_dir(&self.root), stdout, &self.interrupt)?;
        let remake = self.remake();
        let failed = |what: String| {
            anyhow!(
                "step {} {what}\n  to repeat this step:  {line}\n  to go on after that:  {remake}",
                step.name
            )
        };
        if !finished.status.success() {
            return Err(failed(format!("failed ({}); its message is above", finished.status)));
        }

        if let Some(path) = &step.captured {
            atomic_file::write(&self.root.join(path), &finished.stdout)?;
        }
        let outputs = self.digests.of_existing(&step.outputs)?;
        if let Some(path) = step.outputs.iter().find(|path| !outputs.contains_key(*path)) {
            return Err(failed(format!("ended well but did not write {path:?}")));
        }
        // Before the stamp, which ends the step: a run killed in between makes the step again, and its time is not lost.
        self.record_time(step, &arguments, &finished)?;
        Stamp { outputs, ..now }.write(&stamp_path)
    }

    /// Tells what the step took, and puts it into the file of what differs from run to run.
    fn record_time(&self, step: &Step, arguments: &[String], finished: &Finished) -> anyhow::Result<()> {
        say(format_args!(
            "  {:.2} s, peak memory {} MB",
            finished.elapsed.as_secs_f64(),
            finished.peak_memory / 1_000_000
        ));
        let path = self.root.join(self.settings.run.dir()).join("report.timing.json");
        // Without the program's path, which differs from machine to machine.
        let command = process::shell_line(Path::new(""), Path::new("onnx2int"), arguments);
        timing::record(&path, &step.name, command, finished)
    }

    fn describe_run(&self) -> anyhow::Result<()> {
        let description = pipeline::run_description(&self.settings, &self.recipe, &self.steps);
        let path = self.root.join(pipeline::run_description_path(self.settings.run));
        atomic_file::write_if_changed(&path, &serde_json::to_vec_pretty(&description)?)
    }

    fn stamp_path(&self, step: &Step) -> PathBuf {
        let dir = self.root.join(self.settings.run.dir());
        dir.join(".stamps").join(format!("{}.json", step.name))
    }
}

/// Asks the binary for the settings of the training.
fn recipe(
    root: &Path,
    tool: &Path,
    settings: &Settings,
    interrupt: &Interrupt,
) -> anyhow::Result<Map<String, Value>> {
    let arguments = pipeline::recipe_arguments(settings);
    let line = process::shell_line(root, tool, &arguments);
    let mut command = Command::new(tool);
    let finished = process::run(command.args(&arguments).current_dir(root), Stdout::Captured, interrupt)?;
    if !finished.status.success() {
        bail!("`{line}` failed ({}); its message is above", finished.status);
    }
    serde_json::from_slice(&finished.stdout)
        .with_context(|| format!("`{line}` did not print one JSON object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_results_it_says_how_to_make_them() {
        let folder = tempfile::tempdir().unwrap();
        let Err(error) = last_run(folder.path(), Run::QUICK, &Interrupt::default()) else {
            panic!("there are no results");
        };
        assert!(format!("{error:#}").contains("run-all --quick"), "{error:#}");
    }
}
