//! `cargo xtask faults`: kills run-all and each writer again and again, goes on, and looks at every file.
//!
//! Two undisturbed runs of `run-all --quick`, on still fewer images, are the reference: one as it is, one with other
//! mantissa bits. Then runs are killed, with their children, after random times or while a temporary file is there,
//! until they have ended in spite of it:
//!
//! - from nothing, so that training, its checkpoints and the unpacked data are hit;
//! - from complete results of which a stage and all later ones were unmade, their files there or not;
//! - from complete results by `--from STAGE`, which writes over good files;
//! - from the results of other mantissa bits, so that each file is the one of before or the one to be;
//! - `onnx2int lower`, which writes eight files.
//!
//! After each kill every file must be whole, and in the end the results must be the reference's, bit for bit, with
//! no temporary file left. What differs between any two runs is not compared but must be complete:
//! `report.timing.json`; `.stamps/digests.json`, which remembers digests by modification times; and checkpoints, in
//! which burn names parameters at random.

mod arena;
mod victim;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use fastrand::Rng;
use onnx2int_graph::Stage;

use self::arena::{Arena, Snapshot};
use self::victim::{Aim, Ended};
use crate::cargo;
use crate::console::say;
use crate::pipeline::{DEFAULT_SEED, Settings};
use crate::process::Interrupt;
use crate::run::Run;

/// The names under which the two references are kept.
const KEPT: [&str; 2] = ["kept-wide", "kept-narrow"];

/// Kills of one scenario; then it may end.
const MOST_KILLS: usize = 40;

/// Kills in the training of one scenario, each of which loses up to an epoch.
const MOST_TRAINING_KILLS: usize = 6;

/// Kills `kills` times, decided by `seed`, and fails if any file was harmed.
pub(crate) fn faults(root: &Path, kills: usize, seed: u64, interrupt: &Interrupt) -> anyhow::Result<()> {
    let started = Instant::now();
    let arena = Arena::new(root, &cargo::build(root, interrupt)?, interrupt)?;
    let mut campaign = Campaign {
        references: references(&arena)?,
        arena,
        random: Rng::with_seed(seed),
        wanted: kills,
        tally: Tally::default(),
    };
    let undisturbed = started.elapsed();
    let mut turn = 0;
    while campaign.tally.kills() < kills {
        let scenario = campaign.scenario(turn);
        campaign.play(&scenario)?;
        turn += 1;
    }
    let tally = campaign.tally;
    say(format_args!("\n{tally}"));
    say(format_args!(
        "seed {seed}; {:.0} s, of which {:.0} s for the undisturbed runs",
        started.elapsed().as_secs_f64(),
        undisturbed.as_secs_f64()
    ));
    if !tally.harm.is_empty() {
        let what: Vec<_> = tally.harm.iter().map(|(_, what)| what.as_str()).collect();
        bail!("kills did harm:\n  {}", what.join("\n  "));
    }
    Ok(())
}

/// The settings of the two references.
fn settings() -> [Settings; 2] {
    [None, Some(8)].map(|mantissa_bits| Settings {
        run: Run::QUICK,
        seed: DEFAULT_SEED,
        epochs: None,
        mantissa_bits,
    })
}

/// Makes both references without a kill, keeps them, and leaves the first one in place.
fn references(arena: &Arena) -> anyhow::Result<[Snapshot; 2]> {
    let mut snapshots = [Snapshot::new(), Snapshot::new()];
    for ((settings, name), snapshot) in settings().iter().zip(KEPT).zip(&mut snapshots) {
        say(format_args!("undisturbed: {}", settings.command()));
        arena.run_all(settings, &[], Aim::Never)?;
        arena.keep(name)?;
        *snapshot = arena.snapshot()?;
    }
    arena.restore(KEPT[0])?;
    Ok(snapshots)
}

/// Where a series of kills begins.
#[derive(Debug, PartialEq)]
enum Scenario {
    FromNothing,
    Unmade { from: Stage, files_too: bool },
    Again { from: Stage },
    OtherBits { to: usize },
    Lower,
}

struct Campaign {
    arena: Arena,
    references: [Snapshot; 2],
    random: Rng,
    wanted: usize,
    tally: Tally,
}

impl Campaign {
    /// From nothing first and seldom, as training takes longest; the others in turn, at random stages.
    fn scenario(&mut self, turn: usize) -> Scenario {
        let stage = Stage::ALL[self.random.usize(1..Stage::ALL.len())];
        match turn {
            _ if turn.is_multiple_of(24) => Scenario::FromNothing,
            _ if turn % 6 == 1 => Scenario::Lower,
            _ if turn % 6 == 2 => Scenario::OtherBits { to: 1 },
            _ if turn % 6 == 3 => Scenario::OtherBits { to: 0 },
            _ if turn % 6 == 4 => Scenario::Again { from: stage },
            _ => Scenario::Unmade { from: stage, files_too: self.random.bool() },
        }
    }

    /// Kills until the scenario has come to its end, then compares.
    fn play(&mut self, scenario: &Scenario) -> anyhow::Result<()> {
        let (to, mut more) = self.prepare(scenario)?;
        let settings = &settings()[to];
        let before = self.tally.kills();
        let mut training_kills = 0;
        loop {
            let kills = self.tally.kills();
            let aim = if kills >= self.wanted || kills - before >= MOST_KILLS {
                Aim::Never
            } else if training_kills >= MOST_TRAINING_KILLS {
                // More temporary files than the training has.
                Aim::Temporary(self.random.usize(10..=20))
            } else {
                aim(&mut self.random)
            };
            let ended = match scenario {
                Scenario::Lower => self.arena.lower(aim)?,
                _ => self.arena.run_all(settings, &more, aim)?,
            };
            if ended.status.is_some() {
                break;
            }
            // What is forced is forced once: the next run goes on.
            more.clear();
            let step = if *scenario == Scenario::Lower { "lower".to_owned() } else { step(&ended) };
            training_kills += usize::from(step == Stage::Float.made_by());
            let temporary = self.arena.temporary();
            self.tally.killed(&step, temporary);
            for path in self.arena.corrupt(&self.references.each_ref())? {
                let when = format!("after a kill in {step}, {aim:?}, {scenario:?}");
                self.tally.harm(Harm::Corrupt, format!("{path:?} is not whole {when}"));
            }
        }
        self.compare(scenario, to)?;
        let kills = self.tally.kills();
        say(format_args!("{kills} kills: {} in {scenario:?}", kills - before));
        Ok(())
    }

    /// Brings the results into the state where a scenario begins; gives the reference in which it ends, and further
    /// options of its first run.
    fn prepare(&mut self, scenario: &Scenario) -> anyhow::Result<(usize, Vec<String>)> {
        let from = |stage: &Stage| vec!["--from".to_owned(), stage.name().to_owned()];
        match scenario {
            Scenario::FromNothing => {
                self.arena.clear()?;
                Ok((0, vec![]))
            }
            Scenario::Unmade { from, files_too } => {
                self.arena.restore(KEPT[0])?;
                self.arena.unmake(*from, *files_too)?;
                Ok((0, vec![]))
            }
            Scenario::Again { from: stage } => {
                self.arena.restore(KEPT[0])?;
                Ok((0, from(stage)))
            }
            Scenario::OtherBits { to } => {
                self.arena.restore(KEPT[1 - to])?;
                Ok((*to, vec![]))
            }
            Scenario::Lower => {
                // Over the files of an earlier run as often as not.
                if self.random.bool() {
                    self.arena.clear_lowered()?;
                }
                self.arena.restore(KEPT[0])?;
                Ok((0, vec![]))
            }
        }
    }

    fn compare(&mut self, scenario: &Scenario, to: usize) -> anyhow::Result<()> {
        self.tally.ended += 1;
        let found = self.arena.snapshot()?;
        let expected = &self.references[to];
        let missing = expected.keys().filter(|path| !found.contains_key(*path));
        for path in found.keys().chain(missing) {
            if found.get(path) != expected.get(path) {
                self.tally
                    .harm(Harm::Different, format!("{path:?} is not the reference's after {scenario:?}"));
            }
        }
        // What `lower` wrote in an earlier scenario is there still, and need not be of these settings.
        let references = match scenario {
            Scenario::Lower => vec![expected],
            _ => self.references.iter().collect(),
        };
        for path in self.arena.corrupt(&references)? {
            self.tally.harm(Harm::Corrupt, format!("{path:?} is not whole after {scenario:?}"));
        }
        if *scenario == Scenario::Lower && self.arena.lowered_models()? != Stage::ALL.len() - 2 {
            self.tally.harm(Harm::Different, format!("not all models are there after {scenario:?}"));
        }
        for _ in 0..self.arena.temporary() {
            self.tally.harm(Harm::LeftOver, format!("a temporary file is left after {scenario:?}"));
        }
        Ok(())
    }
}

/// A moment: more often than not while a temporary file is there, else any time of the first seconds, the early ones
/// more often.
fn aim(random: &mut Rng) -> Aim {
    if random.u8(0..5) < 3 {
        return Aim::Temporary(random.usize(1..=8));
    }
    let longest: f64 = 8.0;
    let shortest: f64 = 0.01;
    Aim::After(Duration::from_secs_f64(shortest * (longest / shortest).powf(random.f64())))
}

/// The step at which run-all was: the last one that it announced.
fn step(ended: &Ended) -> String {
    let announced = |line: &str| {
        let name = line.split_once(": ")?.0;
        let stage =
            |stage: &Stage| name == stage.made_by() || name.strip_prefix("evaluate-") == Some(stage.name());
        (name == "report" || Stage::ALL.iter().any(stage)).then(|| name.to_owned())
    };
    ended.printed.lines().rev().find_map(announced).unwrap_or_else(|| "before the first step".to_owned())
}

/// What came of the kills.
#[derive(Default)]
struct Tally {
    by_step: BTreeMap<String, usize>,
    /// Kills after which a temporary file was there.
    hit_temporary: usize,
    /// Scenarios that came to their end.
    ended: usize,
    /// What must not be.
    harm: Vec<(Harm, String)>,
}

/// What a kill must not do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    /// A file is neither the old one nor the new one.
    Corrupt,
    /// The run that went on ended in other files than an undisturbed one.
    Different,
    /// A temporary file is there after the run that went on.
    LeftOver,
}

impl Tally {
    fn kills(&self) -> usize {
        self.by_step.values().sum()
    }

    fn killed(&mut self, step: &str, temporary: usize) {
        *self.by_step.entry(step.to_owned()).or_default() += 1;
        self.hit_temporary += usize::from(temporary > 0);
    }

    fn harm(&mut self, harm: Harm, what: String) {
        say(format_args!("  {what}"));
        self.harm.push((harm, what));
    }

    fn count(&self, harm: Harm) -> usize {
        self.harm.iter().filter(|(found, _)| *found == harm).count()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (step, kills) in &self.by_step {
            writeln!(f, "{kills:>5}  {step}")?;
        }
        write!(
            f,
            "{} kills, {} of them with a temporary file half written; {} runs went on to their end\n\
             corrupt files: {}; files that differ from an undisturbed run's: {}; temporary files left over: {}",
            self.kills(),
            self.hit_temporary,
            self.ended,
            self.count(Harm::Corrupt),
            self.count(Harm::Different),
            self.count(Harm::LeftOver)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_the_last_one_announced() {
        let ended = |printed: &str| Ended { status: None, printed: printed.to_owned() };
        let printed = "train: not made yet\n$ onnx2int train\nepoch 1/2: loss 1\n  0.1 s\nquantize: input changed\nx: y\n";
        assert_eq!(step(&ended(printed)), "quantize");
        assert_eq!(step(&ended("evaluate-scale_out: not made yet\n")), "evaluate-scale_out");
        assert_eq!(step(&ended("")), "before the first step");
    }

    #[test]
    fn one_seed_has_one_order_of_kills() {
        let aims = |seed| {
            let mut random = Rng::with_seed(seed);
            (0..20).map(|_| aim(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(aims(1), aims(1));
        assert_ne!(aims(1), aims(2));
    }
}
