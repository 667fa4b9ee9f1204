//! What a measurement was made on.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::{Bench, Options};
use crate::timing;

/// Without these, a number of seconds says nothing.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Conditions {
    /// The command that measured.
    pub command: String,
    /// When it ended, as RFC 3339 in UTC.
    pub timestamp: String,
    pub processor: String,
    pub cores: usize,
    /// How many threads of others wanted to run before anything here did, over a minute; none where the system does
    /// not tell.
    pub load_before: Option<f64>,
    /// Of each side, where that is one number.
    pub threads: Option<u16>,
    /// The commit, as git describes it.
    pub onnx2int: String,
    /// What ours is compared with, and its version.
    pub other: String,
}

const UNKNOWN: &str = "unknown";

/// The most threads of a side where several numbers are measured.
const BENCH_THREADS: u16 = 2;

/// Whether others leave too few cores to compare on. PyTorch's threads (OpenMP's) wait for each other without leaving
/// their cores, so that it loses far more than we to whatever else runs.
pub(crate) fn is_busy(load: f64, cores: usize, threads: u16) -> bool {
    load + f64::from(threads) > cores as f64 + 0.5
}

/// How many cores there are.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The load of the last minute.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

impl Conditions {
    /// Those of this moment.
    pub(crate) fn new(bench: &Bench<'_>, options: &Options, other: String) -> Self {
        let processor = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| model_name(&text));
        let load_before = bench.load_before;
        Self {
            command: options.command(),
            timestamp: timing::now(),
            processor: processor.unwrap_or_else(|| UNKNOWN.to_owned()),
            cores: cores(),
            load_before,
            threads: options.train.then_some(options.threads),
            onnx2int: describe_commit(bench.root).unwrap_or_else(|| UNKNOWN.to_owned()),
            other,
        }
    }

    /// In one line, for the report.
    pub(crate) fn line(&self) -> String {
        let Self { command: _, timestamp, processor, cores, load_before, threads, onnx2int, other } = self;
        let plural =
            |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let load = match load_before {
            Some(load) if is_busy(*load, *cores, threads.unwrap_or(BENCH_THREADS)) => {
                format!(", **busy with other work** (load {load} before)")
            }
            Some(load) => format!(" (load {load} before)"),
            None => String::new(),
        };
        format!(
            "{processor}, {}{load}{}; onnx2int {onnx2int}, {other}; {timestamp}",
            plural(*cores, "core"),
            threads.map_or_else(String::new, |threads| {
                format!("; each side on {}", plural(usize::from(threads), "thread"))
            })
        )
    }
}

/// The processor in Linux's `/proc/cpuinfo`; not all processors tell.
fn model_name(text: &str) -> Option<String> {
    let (_, name) =
        text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == "model name"))?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The commit, and whether files differ from it; none where there is no git or no repository.
fn describe_commit(root: &Path) -> Option<String> {
    let mut command = Command::new("git");
    let output =
        command.args(["describe", "--always", "--tags", "--dirty"]).current_dir(root).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_told() {
        let line = |load_before| {
            let text = |text: &str| text.to_owned();
            Conditions {
                command: text("bench"),
                timestamp: text("now"),
                processor: text("A"),
                cores: 1,
                load_before,
                threads: Some(1),
                onnx2int: text("c1"),
                other: text("PyTorch 9"),
            }
            .line()
        };
        assert_eq!(line(None), "A, 1 core; each side on 1 thread; onnx2int c1, PyTorch 9; now");
        assert!(line(Some(0.1)).starts_with("A, 1 core (load 0.1 before); "), "{}", line(Some(0.1)));
        assert!(line(Some(6.0)).contains("**busy with other work** (load 6 before)"), "{}", line(Some(6.0)));
        // Cores that nobody needs.
        assert!(is_busy(6.0, 4, 2) && !is_busy(6.0, 16, 2));
    }

    #[test]
    fn the_processor_is_named_where_the_system_tells() {
        let text = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9R14: 2\nflags : fpu\n";
        assert_eq!(model_name(text).as_deref(), Some("AMD EPYC 9R14: 2"));
        assert_eq!(model_name("processor\t: 0\nFeatures\t: fp asimd\n"), None);
        assert_eq!(model_name("model name\t: \n"), None);
    }
}
