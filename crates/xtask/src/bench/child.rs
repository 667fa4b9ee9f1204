//! The programs that are measured, and the line of JSON that each prints.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Bench;
use crate::pipeline::{DATA_DIR, words};
use crate::process::{self, Finished, Stdout};

/// PyTorch's side.
pub(crate) const SCRIPT: &str = "scripts/train_pytorch.py";

/// Images of a step, on both sides.
pub(crate) const BATCH_SIZE: usize = 64;

/// PyTorch's order of a tensor's axes in memory. Which one is faster depends on the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Contiguous,
    ChannelsLast,
}

impl Layout {
    pub(crate) const ALL: [Self; 2] = [Self::Contiguous, Self::ChannelsLast];

    /// As a row of the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Contiguous => "PyTorch, contiguous",
            Self::ChannelsLast => "PyTorch, channels last",
        }
    }
}

/// One call of a program.
#[derive(Debug)]
pub(crate) struct Child {
    program: PathBuf,
    arguments: Vec<String>,
    /// What our side takes its number of threads from; PyTorch's has an option.
    threads_variable: Option<String>,
}

impl Child {
    /// A call of `onnx2int train`.
    pub(crate) fn ours(bench: &Bench<'_>, arguments: &[&str]) -> Self {
        Self {
            program: bench.tool.clone(),
            arguments: words(&[&["train", "--data-dir", DATA_DIR], arguments].concat()),
            threads_variable: Some(bench.threads.to_string()),
        }
    }

    /// A call of the script.
    pub(crate) fn pytorch(bench: &Bench<'_>, layout: Layout, arguments: &[&str]) -> Self {
        let threads = bench.threads.to_string();
        let mut all = vec![SCRIPT, "--data-dir", DATA_DIR, "--threads", &threads];
        if layout == Layout::ChannelsLast {
            all.push("--channels-last");
        }
        all.extend_from_slice(arguments);
        Self { program: bench.python.clone(), arguments: words(&all), threads_variable: None }
    }

    /// The call as a line for a shell.
    pub(crate) fn line(&self, bench: &Bench<'_>) -> String {
        let line = process::shell_line(bench.root, &self.program, &self.arguments);
        match &self.threads_variable {
            Some(threads) => format!("{THREADS_VARIABLE}={threads} {line}"),
            None => line,
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, bench: &Bench<'_>) -> anyhow::Result<Finished> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(bench.root);
        if let Some(threads) = &self.threads_variable {
            command.env(THREADS_VARIABLE, threads);
        }
        let finished = process::run(&mut command, Stdout::Captured, bench.interrupt)?;
        if !finished.status.success() {
            bail!("`{}` failed ({}); its message is above", self.line(bench), finished.status);
        }
        Ok(finished)
    }

    /// Runs it, and reads the line that it prints.
    pub(crate) fn result<T: DeserializeOwned>(&self, bench: &Bench<'_>) -> anyhow::Result<T> {
        let stdout = self.run(bench)?.stdout;
        last_line(&stdout).with_context(|| format!("`{}` printed no result", self.line(bench)))
    }
}

/// What decides the threads of our training.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

/// The seconds of single steps.
#[derive(Debug, Deserialize)]
pub(crate) struct TimedSteps {
    pub batch_size: usize,
    pub threads: usize,
    pub seconds: Vec<f64>,
    /// PyTorch's version, of its side.
    pub pytorch: Option<String>,
}

impl TimedSteps {
    /// The seconds, if they are of what was asked for.
    pub(crate) fn checked(&self, steps: usize, threads: usize) -> anyhow::Result<&[f64]> {
        if self.seconds.len() != steps {
            bail!("expected {steps} steps, found {}", self.seconds.len());
        }
        check_setting(self.batch_size, self.threads, threads)?;
        if let Some(seconds) = self.seconds.iter().find(|&&seconds| !(seconds.is_finite() && seconds > 0.0)) {
            bail!("expected seconds above 0, found a step of {seconds}");
        }
        Ok(&self.seconds)
    }
}

/// That a side did the work which the other one is compared in.
pub(crate) fn check_setting(
    batch_size: usize,
    threads: usize,
    expected_threads: usize,
) -> anyhow::Result<()> {
    if (batch_size, threads) != (BATCH_SIZE, expected_threads) {
        bail!(
            "expected batches of {BATCH_SIZE} images on {expected_threads} threads, found batches of {batch_size} on \
             {threads}"
        );
    }
    Ok(())
}

/// The last line that is not empty, as JSON.
fn last_line<T: DeserializeOwned>(stdout: &[u8]) -> anyhow::Result<T> {
    let text =
        std::str::from_utf8(stdout).context("expected a line of JSON, found something other than text")?;
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("expected a line of JSON, found {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_and_judged() {
        let line = b"a note\n{\"batch_size\":64,\"threads\":2,\"seconds\":[0.5,0.25]}\n\n";
        let found: TimedSteps = last_line(line).unwrap();
        assert_eq!(found.checked(2, 2).unwrap(), [0.5, 0.25]);
        let told = |steps, threads| format!("{:#}", found.checked(steps, threads).unwrap_err());
        assert_eq!(told(3, 2), "expected 3 steps, found 2");
        assert!(told(2, 1).contains("on 1 threads, found batches of 64 on 2"), "{}", told(2, 1));
        let zero = TimedSteps { seconds: vec![0.0], ..found };
        assert!(zero.checked(1, 2).is_err());
    }

    #[test]
    fn a_line_that_is_no_result_is_quoted() {
        let error = last_line::<TimedSteps>(b"Traceback").unwrap_err();
        assert!(format!("{error:#}").contains("\"Traceback\""), "{error:#}");
        assert!(last_line::<TimedSteps>(b"").is_err());
    }
}
