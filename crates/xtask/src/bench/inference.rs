//! How many images a second: our engine, ONNX Runtime, tract and the interpreter by turns, in one run.
//!
//! In each round every side is measured once in every setting, by a process of its own; a ratio is of two figures of one
//! round.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use onnx2int_graph::Stage;
use serde::{Deserialize, Serialize};

use super::conditions::Conditions;
use super::statistics::{Spread, ratios};
use super::{Bench, Options};
use crate::atomic_file;
use crate::console::say;
use crate::pipeline::{STEM, words};
use crate::process::{self, Stdout};
use crate::run::Run;

const SCHEMA: &str = "onnx2int-bench/1";

/// Batches that are measured, and threads.
const SETTINGS: [(usize, usize); 6] = [(1, 1), (1, 2), (64, 1), (64, 2), (1000, 1), (1000, 2)];

/// ONNX Runtime's side.
const SCRIPT: &str = "scripts/time_onnx.py";

/// What runs the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Engine,
    /// With the kernel for processors without AVX-512.
    EngineAvx2,
    OnnxRuntimeQdq,
    OnnxRuntimeIntegers,
    Tract,
    Interpreter,
}

/// The side that others are compared with.
const COMPARED_WITH: Side = Side::OnnxRuntimeQdq;

impl Side {
    const ALL: [Self; 6] = [
        Self::Engine,
        Self::EngineAvx2,
        Self::OnnxRuntimeQdq,
        Self::OnnxRuntimeIntegers,
        Self::Tract,
        Self::Interpreter,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::EngineAvx2 => "engine, AVX2",
            Self::OnnxRuntimeQdq => "ONNX Runtime, QDQ int8",
            Self::OnnxRuntimeIntegers => "ONNX Runtime, integer graph",
            Self::Tract => "tract, integer graph",
            Self::Interpreter => "interpreter, integer graph",
        }
    }

    const fn stage(self) -> Stage {
        match self {
            Self::OnnxRuntimeQdq => Stage::Quantized,
            Self::Engine | Self::EngineAvx2 | Self::OnnxRuntimeIntegers | Self::Tract | Self::Interpreter => {
                Stage::ScaleOut
            }
        }
    }

    /// Whether the side is measured with that batch: what takes minutes for one says nothing new.
    const fn takes(self, batch: usize) -> bool {
        match self {
            Self::Interpreter => batch == 1,
            Self::Tract => batch <= 64,
            Self::Engine | Self::EngineAvx2 | Self::OnnxRuntimeQdq | Self::OnnxRuntimeIntegers => true,
        }
    }

    /// What selects it in `onnx2int time`; none for what the script runs.
    const fn arguments(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Engine => Some(&["--runtime", "engine"]),
            Self::EngineAvx2 => Some(&["--runtime", "engine-avx2"]),
            Self::Tract => Some(&["--runtime", "tract"]),
            Self::Interpreter => Some(&["--runtime", "interpreter"]),
            Self::OnnxRuntimeQdq | Self::OnnxRuntimeIntegers => None,
        }
    }
}

/// What the rounds came to.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Inference {
    pub rounds: u16,
    /// Of a side in a setting and a round.
    pub seconds: f64,
    /// Multiplications and additions of an image.
    pub multiply_adds: u64,
    pub compared_with: String,
    pub rows: Vec<Row>,
}

/// One side in one setting.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub side: String,
    pub batch: usize,
    pub threads: usize,
    pub command: String,
    /// Of each round.
    pub images_per_second: Vec<f64>,
    pub spread: Spread,
    /// By that of the side compared with, round by round.
    pub ratio: Spread,
    /// By what the kernel's dot products can do with all operands in registers; none for sides that do not tell.
    pub of_peak: Option<Spread>,
    /// Multiplications and additions a second that this peak is, on all threads.
    pub peak: Option<f64>,
}

/// What a program prints.
#[derive(Debug, Deserialize)]
struct Timed {
    batch: usize,
    threads: usize,
    images_per_second: f64,
    multiply_adds: Option<u64>,
    peak: Option<f64>,
    runtime_version: Option<String>,
}

/// Measures; also gives ONNX Runtime's version.
pub(crate) fn measure(bench: &Bench<'_>, options: &Options) -> anyhow::Result<(Inference, String)> {
    let cells: Vec<(Side, usize, usize)> = SETTINGS
        .into_iter()
        .flat_map(|(batch, threads)| Side::ALL.map(|side| (side, batch, threads)))
        .filter(|(side, batch, _)| side.takes(*batch))
        .collect();
    let mut found: Vec<Vec<Timed>> = cells.iter().map(|_| Vec::new()).collect();
    for round in 1..=options.rounds {
        say(format_args!("round {round} of {}", options.rounds));
        for (cell, found) in cells.iter().zip(&mut found) {
            found.push(time(bench, *cell, options.seconds)?);
        }
    }
    let version = found.iter().flatten().find_map(|timed| timed.runtime_version.clone());
    let multiply_adds = found.iter().flatten().find_map(|timed| timed.multiply_adds);
    let multiply_adds = multiply_adds.context("no side told what an image costs")?;
    let rates = |timed: &[Timed]| timed.iter().map(|timed| timed.images_per_second).collect::<Vec<_>>();
    let mut rows = Vec::new();
    for (&(side, batch, threads), timed) in cells.iter().zip(&found) {
        let other = cells.iter().position(|&cell| cell == (COMPARED_WITH, batch, threads));
        let other = other.context("the side that others are compared with is measured in every setting")?;
        let images_per_second = rates(timed);
        let peaks: Vec<f64> = timed.iter().filter_map(|timed| timed.peak).collect();
        let reached: Vec<f64> = images_per_second.iter().map(|rate| rate * multiply_adds as f64).collect();
        rows.push(Row {
            side: side.name().to_owned(),
            batch,
            threads,
            command: process::shell_line(
                bench.root,
                &program(bench, side),
                &arguments(side, batch, threads, options.seconds),
            ),
            spread: Spread::of(&images_per_second),
            ratio: Spread::of(&ratios(&images_per_second, &rates(&found[other]))),
            of_peak: (!peaks.is_empty()).then(|| Spread::of(&ratios(&reached, &peaks))),
            peak: (!peaks.is_empty()).then(|| Spread::of(&peaks).median),
            images_per_second,
        });
    }
    let compared_with = COMPARED_WITH.name().to_owned();
    let result =
        Inference { rounds: options.rounds, seconds: options.seconds, multiply_adds, compared_with, rows };
    Ok((result, version.unwrap_or_default()))
}

fn program(bench: &Bench<'_>, side: Side) -> PathBuf {
    if side.arguments().is_some() { bench.tool.clone() } else { bench.python.clone() }
}

fn arguments(side: Side, batch: usize, threads: usize, seconds: f64) -> Vec<String> {
    let models = format!("{}/models", Run::default().dir());
    let model = format!("{models}/{}", side.stage().file_name(STEM));
    let (batch, threads, seconds) = (batch.to_string(), threads.to_string(), seconds.to_string());
    let mut all: Vec<&str> = match side.arguments() {
        Some(_) => vec!["time", "--json"],
        None => vec![SCRIPT],
    };
    all.extend(side.arguments().unwrap_or_default());
    all.extend(["--model", &model, "--batch", &batch, "--threads", &threads, "--seconds", &seconds]);
    words(&all)
}

fn time(
    bench: &Bench<'_>,
    (side, batch, threads): (Side, usize, usize),
    seconds: f64,
) -> anyhow::Result<Timed> {
    let (program, arguments) = (program(bench, side), arguments(side, batch, threads, seconds));
    let line = || process::shell_line(bench.root, &program, &arguments);
    let mut command = Command::new(&program);
    command.args(&arguments).current_dir(bench.root);
    let finished = process::run(&mut command, Stdout::Captured, bench.interrupt)?;
    if !finished.status.success() {
        bail!("`{}` failed ({}); its message is above", line(), finished.status);
    }
    let timed: Timed = serde_json::from_slice(&finished.stdout)
        .with_context(|| format!("`{}` printed no result", line()))?;
    if (timed.batch, timed.threads) != (batch, threads) {
        bail!("`{}` measured batches of {} on {} threads", line(), timed.batch, timed.threads);
    }
    if !(timed.images_per_second.is_finite() && timed.images_per_second > 0.0) {
        bail!("`{}` found {} images a second", line(), timed.images_per_second);
    }
    Ok(timed)
}

/// The results as data and as Markdown.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    schema: String,
    conditions: Conditions,
    #[serde(flatten)]
    result: Inference,
}

impl Report {
    pub(crate) fn new(conditions: Conditions, result: Inference) -> Self {
        Self { schema: SCHEMA.to_owned(), conditions, result }
    }

    /// Writes `<path>.json` and `<path>.md`.
    pub(crate) fn write(&self, root: &Path, path: &str) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        atomic_file::write(&root.join(format!("{path}.json")), json.as_bytes())?;
        atomic_file::write(&root.join(format!("{path}.md")), self.markdown().as_bytes())
    }

    fn markdown(&self) -> String {
        let Inference { rounds, seconds, multiply_adds, compared_with, rows } = &self.result;
        let mut text = format!(
            "# Images a second\n\n{}\n\n{}\n\
             {rounds} rounds, in each of which every row has its turn of {seconds} s in a process of its own; figures are medians of \
             the rounds' medians, ratios are of two figures of one round (least to greatest in parentheses), against {compared_with}.\n\
             The network takes {multiply_adds} multiplications and additions an image.\n\
             The peak is what the kernel's dot products do with all operands in registers, measured by the same process, on as \
             many threads.\n\n## Commands\n\n```sh\n{}\n",
            self.conditions.line(),
            self.table(),
            self.conditions.command,
        );
        for row in rows {
            text.push_str(&format!("{}\n", row.command));
        }
        text + "```\n"
    }

    /// A row for each side in each setting.
    pub(crate) fn table(&self) -> String {
        let rows = &self.result.rows;
        let mut text = String::from(
            "| batch | threads | side | images/s | by ONNX Runtime's QDQ | of the peak |\n|---|---|---|---|---|---|\n",
        );
        for row in rows {
            let of_peak = row.of_peak.map_or_else(
                || "-".to_owned(),
                |peak| format!("{:.1} % of {:.0} G", 100.0 * peak.median, row.peak.unwrap_or_default() / 1e9),
            );
            text.push_str(&format!(
                "| {} | {} | {} | {:.0} | {:.2} ({:.2} to {:.2}) | {of_peak} |\n",
                row.batch,
                row.threads,
                row.side,
                row.spread.median,
                row.ratio.median,
                row.ratio.min,
                row.ratio.max,
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_the_side_that_others_are_compared_with() {
        for (batch, _) in SETTINGS {
            assert!(COMPARED_WITH.takes(batch) && Side::Engine.takes(batch), "{batch}");
        }
    }

    #[test]
    fn a_side_is_asked_for_its_stage_in_its_setting() {
        let line = |side| arguments(side, 64, 2, 0.5).join(" ");
        assert_eq!(
            line(Side::EngineAvx2),
            "time --json --runtime engine-avx2 --model reports/mnist/models/mnist_cnn_scale_out.onnx --batch 64 \
             --threads 2 --seconds 0.5"
        );
        assert_eq!(
            line(Side::OnnxRuntimeQdq),
            "scripts/time_onnx.py --model reports/mnist/models/mnist_cnn_quantized.onnx --batch 64 --threads 2 --seconds 0.5"
        );
    }
}
