//! Rounds of timed steps: the network and the batches are the same, and every side has its turn in each round.

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::child::{BATCH_SIZE, Child, Layout, TimedSteps};
use super::statistics::{Spread, ratios};
use super::{Bench, Options};
use crate::console::say;

/// Steps at the beginning of a run that do not count: memory is first touched, threads start, caches are cold.
pub(crate) const WARM_UP: usize = 10;

/// What the rounds came to.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Steps {
    pub rounds: u16,
    /// Of each side in a round.
    pub steps: u32,
    pub warm_up: usize,
    pub batch_size: usize,
    pub rows: Vec<Row>,
    /// The row of PyTorch's faster memory format.
    pub compared_with: String,
    pub ratios: Vec<Ratio>,
}

/// One side.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub name: String,
    pub command: String,
    /// The median step of each round.
    pub seconds: Vec<f64>,
    pub spread: Spread,
}

/// The time of a step of ours by that of PyTorch's.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Ratio {
    pub name: String,
    /// Of each round.
    pub rounds: Vec<f64>,
    pub spread: Spread,
}

/// Measures our training and PyTorch's in both memory formats; also gives PyTorch's version.
pub(crate) fn measure(bench: &Bench<'_>, options: &Options) -> anyhow::Result<(Steps, String)> {
    let steps = options.steps.to_string();
    let mut children = Vec::new();
    for kernels in ["fused", "stock"].into_iter().take(if options.stock { 2 } else { 1 }) {
        let batch_size = BATCH_SIZE.to_string();
        let arguments = [
            "--network",
            "standard",
            "--batch-size",
            &batch_size,
            "--kernels",
            kernels,
            "--time-steps",
            &steps,
        ];
        children.push((format!("ours, {kernels} kernels"), Child::ours(bench, &arguments)));
    }
    let ours = children.len();
    children.extend(pytorch_children(bench, &steps));
    let (rows, pytorch) = rounds(bench, &children, options.rounds, options.steps as usize)?;
    let (ours, others) = rows.split_at(ours);
    let fastest = fastest(others);
    let ratios = ours.iter().map(|row| {
        let rounds = ratios(&row.seconds, &others[fastest].seconds);
        Ratio { name: row.name.clone(), spread: Spread::of(&rounds), rounds }
    });
    let result = Steps {
        rounds: options.rounds,
        steps: options.steps,
        warm_up: WARM_UP,
        batch_size: BATCH_SIZE,
        compared_with: others[fastest].name.clone(),
        ratios: ratios.collect(),
        rows,
    };
    Ok((result, pytorch))
}

/// PyTorch's faster memory format here, found in a few steps of each.
pub(crate) fn faster_layout(bench: &Bench<'_>) -> anyhow::Result<Layout> {
    const ROUNDS: u16 = 3;
    const STEPS: usize = 30;
    let children = pytorch_children(bench, &STEPS.to_string());
    let (rows, _) = rounds(bench, &children, ROUNDS, STEPS)?;
    Ok(Layout::ALL[fastest(&rows)])
}

/// In the order of `Layout::ALL`.
fn pytorch_children(bench: &Bench<'_>, steps: &str) -> [(String, Child); 2] {
    Layout::ALL
        .map(|layout| (layout.name().to_owned(), Child::pytorch(bench, layout, &["--time-steps", steps])))
}

/// Runs every child in every round, so that what slows the machine for a while slows them all.
fn rounds(
    bench: &Bench<'_>,
    children: &[(String, Child)],
    count: u16,
    steps: usize,
) -> anyhow::Result<(Vec<Row>, String)> {
    let mut seconds = vec![Vec::new(); children.len()];
    let mut pytorch = None;
    for round in 1..=count {
        for ((name, child), medians) in children.iter().zip(&mut seconds) {
            if round == 1 {
                say(format_args!("$ {}", child.line(bench)));
            }
            let timed: TimedSteps = child.result(bench)?;
            let all = timed
                .checked(steps, usize::from(bench.threads))
                .with_context(|| format!("`{}` measured something else", child.line(bench)))?;
            let median = Spread::of(&all[WARM_UP..]).median;
            say(format_args!("round {round}/{count}: {name}: {:.1} ms a step", 1e3 * median));
            medians.push(median);
            pytorch = timed.pytorch.or(pytorch);
        }
    }
    let rows = children.iter().zip(seconds).map(|((name, child), seconds)| Row {
        name: name.clone(),
        command: child.line(bench),
        spread: Spread::of(&seconds),
        seconds,
    });
    Ok((rows.collect(), pytorch.context("PyTorch's side did not tell its version")?))
}

/// The row with the least median.
fn fastest(rows: &[Row]) -> usize {
    let medians = rows.iter().map(|row| row.spread.median).enumerate();
    medians.min_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_that_of_the_least_median() {
        let row = |seconds: &[f64]| Row {
            name: String::new(),
            command: String::new(),
            seconds: seconds.to_vec(),
            spread: Spread::of(seconds),
        };
        // The second has the fastest round, and is slower.
        assert_eq!(fastest(&[row(&[0.3, 0.3, 0.3]), row(&[0.1, 0.4, 0.4])]), 0);
        assert_eq!(fastest(&[row(&[0.3]), row(&[0.2])]), 1);
    }
}
