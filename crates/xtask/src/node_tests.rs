//! `cargo xtask conform --onnx-node-tests`: the onnx package's own tests of single operators, in our reader and
//! interpreter.
//!
//! `scripts/onnx_node_tests.py` has the package write the tests and runs them; this module makes its Python environment
//! and compares what it found with the committed list. A test that newly fails, is newly excluded or newly passes is
//! a difference, and a difference fails the task: the list is changed on purpose (`--bless`) or not at all.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::console::say;
use crate::process::{self, Interrupt, Stdout};
use crate::{atomic_file, cargo, python};

/// The committed list of passed and excluded tests.
const LIST: &str = "crates/interpreter/onnx-node-tests.md";

/// The version of what the script prints.
const FORMAT: u32 = 1;

/// What the script prints.
#[derive(Deserialize)]
struct Found {
    format: u32,
    onnx: String,
    tests: usize,
    passed: usize,
    failures: Vec<String>,
    report: String,
}

/// Runs every test; with `bless`, writes the list instead of comparing with it.
///
/// # Errors
/// A wrong result in any test, with or without `bless`; a list that is not the committed one; an environment that
/// cannot be made.
pub(crate) fn run(root: &Path, bless: bool, interrupt: &Interrupt) -> anyhow::Result<()> {
    let tool = cargo::build(root, interrupt)?;
    let python = python::python(root, interrupt)?;
    let cache = Path::new("target/onnx-node-tests");
    let mut script = Command::new(python);
    script.arg("scripts/onnx_node_tests.py").arg("--tool").arg(&tool).arg("--cache-dir").arg(cache);
    let found: Found = serde_json::from_str(&output_of(root, &mut script, interrupt)?)
        .context("scripts/onnx_node_tests.py printed no result")?;
    if found.format != FORMAT {
        bail!(
            "scripts/onnx_node_tests.py printed format {}; this program knows format {FORMAT}",
            found.format
        );
    }
    if !found.failures.is_empty() {
        bail!(
            "{} node tests of onnx {} fail:\n  {}",
            found.failures.len(),
            found.onnx,
            found.failures.join("\n  ")
        );
    }
    let list = root.join(LIST);
    if bless {
        atomic_file::write_if_changed(&list, found.report.as_bytes())?;
    } else {
        let committed = fs::read_to_string(&list).with_context(|| format!("cannot read {LIST:?}"))?;
        if let Some(difference) = difference(&committed, &found.report) {
            bail!(
                "the node tests of onnx {} are not as {LIST} says; `--bless` writes what is so now\n{difference}",
                found.onnx
            );
        }
    }
    say(format_args!(
        "{} of the {} node tests of onnx {} pass, none fails; {LIST} says why the others are excluded.",
        found.passed, found.tests, found.onnx
    ));
    Ok(())
}

/// What a command prints, if it succeeds; its messages are the user's to read.
fn output_of(root: &Path, command: &mut Command, interrupt: &Interrupt) -> anyhow::Result<String> {
    let name = command.get_args().next().unwrap_or_default().to_string_lossy().into_owned();
    say(format_args!("$ {name}"));
    let finished = process::run(command.current_dir(root), Stdout::Captured, interrupt)?;
    if !finished.status.success() {
        bail!("{name} failed ({}); its message is above, and nothing was checked", finished.status);
    }
    String::from_utf8(finished.stdout).with_context(|| format!("{name} printed something other than text"))
}

/// The lines that only one of two texts has; none if the texts are equal.
fn difference(committed: &str, found: &str) -> Option<String> {
    if committed == found {
        return None;
    }
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (committed.lines().collect(), found.lines().collect());
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    let come = new.difference(&old).map(|line| format!("+ {line}"));
    let lines: Vec<String> = gone.chain(come).collect();
    Some(if lines.is_empty() { "the order of its lines differs".to_owned() } else { lines.join("\n") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_moves_between_the_lists_is_a_difference() {
        let committed = "passed 2\n- test_add\n- test_sub\n";
        assert_eq!(difference(committed, committed), None);
        let found = "passed 1\n- test_add\n- test_sub: overflow\n";
        let text = difference(committed, found).unwrap();
        assert_eq!(text, "- - test_sub\n- passed 2\n+ - test_sub: overflow\n+ passed 1");
        assert!(difference(committed, "- test_add\npassed 2\n- test_sub\n").unwrap().contains("order"));
    }
}
