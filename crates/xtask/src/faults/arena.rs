//! A folder in the place of the repository, in which runs may be killed, and what must hold of its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use onnx2int_graph::Stage;
use serde_json::Value;
use tempfile::TempDir;

use super::victim::{self, Aim, Ended};
use crate::pipeline::{self, Settings};
use crate::process::Interrupt;
use crate::run::Run;
use crate::{atomic_file, digest};

/// The folder of run-all's results, below the arena's.
const QUICK: Run = Run::QUICK;

/// The name of [`LESS_WORK`] in the arena.
const SCRIPT: &str = "onnx2int";

/// Where `onnx2int lower` writes.
const LOWERED: &str = "lowered";

/// Digests of files by their paths in a folder.
pub(super) type Snapshot = BTreeMap<String, String>;

/// A temporary folder with the data of the repository, and the programs that run in it.
pub(super) struct Arena {
    folder: TempDir,
    tool: PathBuf,
    interrupt: Interrupt,
}

/// Stands in the place of `onnx2int` and becomes it, with less work than a run of worth has: kills shall meet writers,
/// not arithmetic.
const LESS_WORK: &str = r#"#!/bin/sh
case "$1" in
    train) exec "$ONNX2INT" "$@" --subset 512 ;;
    evaluate) exec "$ONNX2INT" "$@" --images 500 ;;
    *) exec "$ONNX2INT" "$@" ;;
esac
"#;

impl Arena {
    /// A fresh arena, in which `tool` is the binary `onnx2int`.
    pub(super) fn new(repository: &Path, tool: &Path, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let data = folder.path().join(pipeline::DATA_DIR);
        fs::create_dir_all(data.parent().context("the data lie in a folder")?)?;
        symlink(repository.join(pipeline::DATA_DIR), &data)
            .with_context(|| format!("cannot make {data:?}"))?;
        let script = folder.path().join(SCRIPT);
        atomic_file::write(&script, LESS_WORK.as_bytes())?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        // Its own copy, so that another build does not change the program between two runs.
        let copy = folder.path().join("onnx2int.copy");
        fs::copy(tool, &copy).with_context(|| format!("cannot copy {tool:?} to {copy:?}"))?;
        Ok(Self { folder, tool: copy, interrupt: interrupt.clone() })
    }

    /// Runs run-all of this program, `more` being further options.
    pub(super) fn run_all(&self, settings: &Settings, more: &[String], aim: Aim) -> anyhow::Result<Ended> {
        let mut command = Command::new(std::env::current_exe().context("this program has no path")?);
        command.args(settings.command().split(' ').skip(2)).args(more);
        command.arg("--root").arg(self.folder.path()).arg("--tool").arg(self.folder.path().join(SCRIPT));
        self.run(command, aim)
    }

    /// Runs `onnx2int lower` on the quantized model.
    pub(super) fn lower(&self, aim: Aim) -> anyhow::Result<Ended> {
        let mut command = Command::new(&self.tool);
        command.args([
            "lower",
            "--model",
            &pipeline::model_path(QUICK, Stage::Quantized),
            "--output-dir",
            LOWERED,
        ]);
        self.run(command, aim)
    }

    fn run(&self, mut command: Command, aim: Aim) -> anyhow::Result<Ended> {
        // A cache of its own: unpacking the data may be killed as well.
        command
            .current_dir(self.folder.path())
            .env("XDG_CACHE_HOME", self.cache())
            .env("ONNX2INT", &self.tool);
        let ended =
            victim::run(&mut command, aim, &[self.results(), self.lowered(), self.cache()], &self.interrupt)?;
        if ended.status.is_some_and(|status| !status.success()) {
            bail!("a run failed where nothing but kills should stop it; it printed\n{}", ended.printed);
        }
        Ok(ended)
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub(super) fn results(&self) -> PathBuf {
        self.folder.path().join(QUICK.dir())
    }

    pub(super) fn lowered(&self) -> PathBuf {
        self.folder.path().join(LOWERED)
    }

    /// Removes everything that runs left, but for the data.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        [self.results(), self.lowered(), self.cache()].iter().try_for_each(|folder| remove_folder(folder))
    }

    pub(super) fn clear_lowered(&self) -> anyhow::Result<()> {
        remove_folder(&self.lowered())
    }

    /// How many models `lower` has written.
    pub(super) fn lowered_models(&self) -> anyhow::Result<usize> {
        Ok(files_below(&self.lowered())?.keys().filter(|path| kind(path) == Kind::Equal).count())
    }

    /// Copies the results to a folder beside them.
    pub(super) fn keep(&self, name: &str) -> anyhow::Result<()> {
        copy_folder(&self.results(), &self.folder.path().join(name))
    }

    /// Replaces the results by those kept under a name.
    pub(super) fn restore(&self, name: &str) -> anyhow::Result<()> {
        remove_folder(&self.results())?;
        copy_folder(&self.folder.path().join(name), &self.results())
    }

    /// Makes the results of a stage and everything after it unmade: stamps gone, files there or gone as well.
    pub(super) fn unmake(&self, from: Stage, files_too: bool) -> anyhow::Result<()> {
        let results = self.results();
        for stage in Stage::ALL.into_iter().filter(|stage| *stage >= from) {
            for step in [stage.made_by().to_owned(), format!("evaluate-{}", stage.name())] {
                remove_file(&results.join(format!(".stamps/{step}.json")))?;
            }
            if files_too {
                for path in [pipeline::model_path(QUICK, stage), pipeline::score_path(QUICK, stage)] {
                    remove_file(&self.folder.path().join(path))?;
                }
            }
        }
        remove_file(&results.join(".stamps/report.json"))?;
        if files_too {
            remove_file(&results.join("report.json"))?;
        }
        if from == Stage::Float {
            if files_too {
                remove_file(&self.folder.path().join(pipeline::training_path(QUICK)))?;
            }
            remove_folder(&results.join("checkpoints"))?;
        }
        Ok(())
    }

    /// The results that two runs on the same files have in common, bit for bit: all but times, and digests remembered
    /// by times.
    pub(super) fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let mut files = files_below(&self.results())?;
        files.retain(|path, _| kind(path) == Kind::Equal);
        Ok(files)
    }

    /// The temporary files that are there now.
    pub(super) fn temporary(&self) -> usize {
        let mut found = BTreeSet::new();
        for folder in [self.results(), self.lowered(), self.cache()] {
            victim::collect_temporary(&folder, &mut found);
        }
        found.len()
    }

    /// The files that are not whole: neither what the undisturbed runs `references` wrote nor, where that differs from
    /// run to run, what proves itself complete.
    pub(super) fn corrupt(&self, references: &[&Snapshot]) -> anyhow::Result<Vec<String>> {
        let mut corrupt = Vec::new();
        let known =
            |path: &str, digest: &String| references.iter().any(|files| files.get(path) == Some(digest));
        for (path, digest) in files_below(&self.results())? {
            let whole = match kind(&path) {
                Kind::Equal => known(&path, &digest),
                Kind::Temporary => true,
                Kind::Json => serde_json::from_slice::<Value>(&fs::read(self.results().join(&path))?).is_ok(),
                Kind::Checkpoint => checkpoint_is_whole(&fs::read(self.results().join(&path))?),
            };
            if !whole {
                corrupt.push(path);
            }
        }
        for (path, digest) in files_below(&self.lowered())? {
            if kind(&path) != Kind::Temporary && !known(&format!("models/{path}"), &digest) {
                corrupt.push(format!("{LOWERED}/{path}"));
            }
        }
        // Unpacked data say in their names what they hold.
        for (path, digest) in files_below(&self.cache())? {
            if kind(&path) != Kind::Temporary && !path.ends_with(&digest) {
                corrupt.push(format!("cache/{path}"));
            }
        }
        Ok(corrupt)
    }
}

/// How a file of the results is judged.
#[derive(Debug, PartialEq)]
enum Kind {
    /// By its bytes.
    Equal,
    /// It holds times: by being JSON, which half a file is not.
    Json,
    /// There may be that of an earlier epoch: by the digest that it states.
    Checkpoint,
    /// Not at all.
    Temporary,
}

fn kind(path: &str) -> Kind {
    let name = path.rsplit('/').next().unwrap_or(path);
    if onnx2int_whole_file::is_temporary(name) {
        Kind::Temporary
    } else if matches!(name, "report.timing.json" | "digests.json") {
        Kind::Json
    } else if name == "training.checkpoint" {
        Kind::Checkpoint
    } else {
        Kind::Equal
    }
}

/// Whether a checkpoint holds the bytes that its first line announces.
fn checkpoint_is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return false };
    let header: Value = serde_json::from_slice(&bytes[..end]).unwrap_or_default();
    header["sha256"] == digest::of_bytes(&bytes[end + 1..]).as_str()
}

/// Every file in a folder and in all folders in it; none if there is no such folder.
fn files_below(folder: &Path) -> anyhow::Result<Snapshot> {
    let mut found = Snapshot::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        if !next.exists() {
            continue;
        }
        for entry in fs::read_dir(&next).with_context(|| format!("cannot read {next:?}"))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
                found.insert(name, digest::of_bytes(&fs::read(&path)?));
            }
        }
    }
    Ok(found)
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    remove_folder(to)?;
    for path in files_below(from)?.keys() {
        let bytes = fs::read(from.join(path))?;
        atomic_file::write(&to.join(path), &bytes)?;
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {folder:?}"))
        }
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {path:?}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arena() -> Arena {
        let repository = tempfile::tempdir().unwrap();
        let tool = repository.path().join("tool");
        fs::write(&tool, "").unwrap();
        Arena::new(repository.path(), &tool, &Interrupt::default()).unwrap()
    }

    fn write(arena: &Arena, path: &str, content: &[u8]) {
        atomic_file::write(&arena.results().join(path), content).unwrap();
    }

    #[test]
    fn half_a_file_of_every_kind_is_found() {
        let arena = arena();
        write(&arena, "models/a.onnx", b"whole");
        let reference = arena.snapshot().unwrap();
        let payload = b"weights";
        let header = json!({ "sha256": digest::of_bytes(payload) }).to_string();
        let checkpoint = [header.as_bytes(), b"\n", payload].concat();
        write(&arena, "checkpoints/1/training.checkpoint", &checkpoint);
        write(&arena, "report.timing.json", b"{\"entries\": []}");
        fs::write(arena.results().join("models/.onnx2int-x.tmp"), "who").unwrap();
        assert_eq!(arena.corrupt(&[&reference]).unwrap(), [""; 0]);
        assert_eq!((arena.snapshot().unwrap(), arena.temporary()), (reference.clone(), 1));

        write(&arena, "models/a.onnx", b"who");
        write(&arena, "models/b.onnx", b"whole");
        write(&arena, "report.timing.json", b"{\"entries\": [");
        write(&arena, "checkpoints/1/training.checkpoint", &checkpoint[..checkpoint.len() - 1]);
        let expected =
            ["checkpoints/1/training.checkpoint", "models/a.onnx", "models/b.onnx", "report.timing.json"];
        assert_eq!(arena.corrupt(&[&reference]).unwrap(), expected);
        // A file of either of two references is whole.
        let other = Snapshot::from([("models/a.onnx".to_owned(), digest::of_bytes(b"who"))]);
        assert_eq!(arena.corrupt(&[&reference, &other]).unwrap().len(), 3);
    }

    #[test]
    fn what_was_kept_comes_back() {
        let arena = arena();
        write(&arena, "models/a.onnx", b"whole");
        write(&arena, ".stamps/scale-out.json", b"{}");
        let reference = arena.snapshot().unwrap();
        arena.keep("kept").unwrap();
        write(&arena, "models/a.onnx", b"other");
        arena.unmake(Stage::ScaleOut, true).unwrap();
        assert_eq!(arena.snapshot().unwrap().len(), 1);
        arena.restore("kept").unwrap();
        assert_eq!(arena.snapshot().unwrap(), reference);
    }
}
