//! The rules of this repository that no compiler checks.
//!
//! Each test lists everything that breaks its rule, with file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use onnx2int_graph::Stage;

/// Which crates a crate may use: `A -> B` for each of them, and no other arrows. Tests (`dev-dependencies`) may use
/// any crate.
const ARROWS: &[(&str, &[&str])] = &[
    ("graph", &[]),
    ("whole-file", &[]),
    ("statistics", &[]),
    ("progress", &[]),
    ("onnx-format", &["graph"]),
    ("interpreter", &["graph"]),
    ("certificate", &["graph"]),
    ("transforms", &["graph"]),
    ("dataset", &["graph", "whole-file"]),
    ("engine", &["graph", "interpreter"]),
    ("runtimes", &["graph", "onnx-format", "interpreter", "engine"]),
    ("calibration", &["graph", "runtimes", "dataset"]),
    ("conv-stack", &[]),
    ("training", &["conv-stack", "graph", "dataset", "whole-file"]),
    ("evaluation", &["graph", "runtimes", "dataset", "statistics"]),
    (
        "cli",
        &[
            "graph",
            "onnx-format",
            "transforms",
            "certificate",
            "dataset",
            "runtimes",
            "calibration",
            "training",
            "evaluation",
            "whole-file",
            "progress",
        ],
    ),
    ("xtask", &["graph", "statistics", "whole-file", "progress"]),
    ("torture", &["graph", "onnx-format", "interpreter", "engine", "transforms"]),
];

/// Packages that only these crates may use, so that nothing else depends on their types.
const CONFINED: &[(&str, &[&str])] = &[
    ("burn", &["training"]),
    ("pulp", &["conv-stack"]),
    ("tract-onnx", &["runtimes"]),
    ("prost", &["onnx-format"]),
    ("indicatif", &["progress"]),
    ("mnist", &["dataset"]),
    ("image", &["dataset"]),
    ("zip", &["dataset"]),
    ("clap", &["cli", "xtask", "torture"]),
    ("anyhow", &["cli", "xtask", "torture"]),
];

const LONGEST_FILE: usize = 600;

#[test]
fn every_source_file_begins_with_its_purpose() {
    check_sources(|text| {
        let first = text.lines().next().unwrap_or_default();
        if first.starts_with("//! ") { vec![] } else { vec![(1, format!("expected `//!`, found {first:?}"))] }
    });
}

#[test]
fn no_source_file_is_too_long_to_hold_in_mind() {
    check_sources(|text| {
        let lines = text.lines().count();
        if lines <= LONGEST_FILE { vec![] } else { vec![(lines, format!("more than {LONGEST_FILE} lines"))] }
    });
}

#[test]
fn nothing_is_left_for_later_and_no_test_is_switched_off() {
    // In two parts, so that this file does not break its own rule.
    let forbidden = [
        concat!("#[", "ignore"),
        concat!("#[", "should_panic"),
        concat!("#[", "allow("),
        concat!("#![", "allow("),
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
    ];
    check_sources(|text| {
        let lines = text.lines().enumerate();
        lines
            .flat_map(|(index, line)| {
                let found = forbidden.iter().filter(|&word| line.contains(word));
                found.map(move |word| (index + 1, format!("{word} is not used here")))
            })
            .collect()
    });
}

#[test]
fn crates_use_only_the_crates_they_may() {
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, manifest) in manifests() {
        seen.insert(name.clone());
        let Some((_, allowed)) = ARROWS.iter().find(|(user, _)| *user == name) else {
            broken.push(format!("crates/{name} is not in the table of arrows"));
            continue;
        };
        for dependency in dependencies(&manifest) {
            if let Some(used) = dependency.strip_prefix("onnx2int-")
                && !allowed.contains(&used)
            {
                broken.push(format!("crates/{name} must not use crates/{used}"));
            }
            if let Some((_, users)) = CONFINED.iter().find(|(package, _)| *package == dependency)
                && !users.contains(&name.as_str())
            {
                broken.push(format!("crates/{name} must not use {dependency}; only {users:?} may"));
            }
        }
    }
    for (name, _) in ARROWS {
        if !seen.contains(*name) {
            broken.push(format!("the table of arrows names crates/{name}, which does not exist"));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn crates_share_one_version_and_one_set_of_lints() {
    let mut broken = Vec::new();
    for (name, manifest) in manifests() {
        for line in ["version.workspace = true", "license.workspace = true", "rust-version.workspace = true"]
        {
            if !manifest.lines().any(|found| found.trim() == line) {
                broken.push(format!("crates/{name}/Cargo.toml lacks {line:?}"));
            }
        }
        if section(&manifest, "[lints]").next() != Some("workspace = true") {
            broken.push(format!("crates/{name}/Cargo.toml lacks the lints of the workspace"));
        }
        for line in section(&manifest, "[dependencies]").chain(section(&manifest, "[dev-dependencies]")) {
            if !line.contains("workspace = true") {
                broken.push(format!("crates/{name}/Cargo.toml has a version of its own: {line}"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_pass_is_a_file_with_a_picture_tests_and_a_stage() {
    let folder = root().join("crates/transforms/src/passes");
    let mut broken = Vec::new();
    let mut passes = BTreeSet::new();
    for path in files_below(&folder, "rs") {
        let stem = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let is_a_part = path.parent() != Some(&folder);
        if stem == "mod" || is_a_part {
            continue;
        }
        let text = read(&path);
        let picture: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        for word in ["Before", "After"] {
            if !picture.contains(word) {
                broken.push(format!("{}: its head has no `{word}`", show(&path)));
            }
        }
        if !text.contains("#[cfg(test)]") {
            broken.push(format!("{}: has no tests", show(&path)));
        }
        passes.insert(stem.replace('_', "-"));
    }
    let by_hand = [Stage::Float.made_by(), Stage::Quantized.made_by()];
    let stages = Stage::ALL.iter().map(|stage| stage.made_by().to_owned());
    let mut expected: BTreeSet<String> = stages.filter(|name| !by_hand.contains(&name.as_str())).collect();
    // A step that a user may add: it leaves the stage as it is.
    expected.insert("encode-weights".to_owned());
    for name in passes.symmetric_difference(&expected) {
        broken.push(format!("{name} is a pass or a stage, but not both"));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// The arithmetic, in a document of its own.
const CONTRACT: &str = "crates/transforms/CONTRACT.md";

#[test]
fn documents_name_only_what_exists() {
    let sources: String = rust_files().iter().map(|path| read(path)).collect();
    let mut broken = Vec::new();
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", CONTRACT] {
        for (index, line) in read(&root().join(document)).lines().enumerate() {
            for word in line.split('`').skip(1).step_by(2) {
                if is_repository_path(word) && !root().join(word.trim_end_matches('/')).exists() {
                    broken.push(format!("{document}:{}: {word} does not exist", index + 1));
                }
            }
        }
    }
    // "Held by `a`, `b`": tests, by the names of their functions.
    let architecture = read(&root().join("ARCHITECTURE.md"));
    let mut held = 0;
    for (index, line) in architecture.lines().enumerate() {
        let Some((_, tests)) = line.split_once("Held by ") else { continue };
        for test in tests.split('`').skip(1).step_by(2) {
            held += 1;
            if !sources.contains(&format!("fn {test}(")) {
                broken.push(format!("ARCHITECTURE.md:{}: there is no test {test}", index + 1));
            }
        }
    }
    assert!(held >= 10, "ARCHITECTURE.md names only {held} tests that hold its invariants");
    let lines = architecture.lines().count();
    assert!(lines < 300, "ARCHITECTURE.md has {lines} lines; it is to be read in one sitting");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn documents_have_one_sentence_a_line() {
    let mut broken = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", CONTRACT] {
        let mut in_code = false;
        for (index, line) in read(&root().join(document)).lines().enumerate() {
            in_code ^= line.starts_with("```");
            let is_prose = !in_code && !line.starts_with('|');
            let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
            let starts_a_sentence = |rest: &str| rest.chars().next().is_some_and(char::is_uppercase);
            let second = text.match_indices(". ").any(|(at, _)| starts_a_sentence(&text[at + 2..]));
            if is_prose && second {
                broken.push(format!("{document}:{}: more than one sentence in a line", index + 1));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Whether a word in backquotes is meant as a path from the root. What the programs write under `reports` is not there
/// in a fresh clone.
fn is_repository_path(word: &str) -> bool {
    let tops = ["crates/", "scripts/", "data/", ".ci/", ".cargo/"];
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
    tops.iter().any(|top| word.starts_with(top)) && word.chars().all(plain)
}

/// Applies a rule to the text of every source file; the rule returns lines and what is wrong there.
fn check_sources(rule: impl Fn(&str) -> Vec<(usize, String)>) {
    let mut broken = Vec::new();
    for path in rust_files() {
        for (line, message) in rule(&read(&path)) {
            broken.push(format!("{}:{line}: {message}", show(&path)));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn rust_files() -> Vec<PathBuf> {
    let files = files_below(&root().join("crates"), "rs");
    assert!(files.len() > 50, "only {} source files were found", files.len());
    files
}

/// Names and texts of the crates' manifests.
fn manifests() -> BTreeMap<String, String> {
    let mut manifests = BTreeMap::new();
    for entry in fs::read_dir(root().join("crates")).expect("the workspace has a folder of crates") {
        let folder = entry.expect("the folder can be listed").path();
        if folder.join("Cargo.toml").exists() {
            let name =
                folder.file_name().expect("a crate's folder has a name").to_string_lossy().into_owned();
            manifests.insert(name, read(&folder.join("Cargo.toml")));
        }
    }
    manifests
}

/// The packages that a manifest's crate is built with.
fn dependencies(manifest: &str) -> Vec<String> {
    let lines = section(manifest, "[dependencies]").chain(section(manifest, "[build-dependencies]"));
    lines.filter_map(|line| line.split(['.', '=', ' ']).next()).map(str::to_owned).collect()
}

/// The lines of a section that say something.
fn section<'a>(manifest: &'a str, header: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = manifest.lines().map(str::trim).skip_while(move |line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", show(&folder))) {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).expect("the crate is two folders below the root").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", show(path)))
}

fn show(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
