//! What a run needs to go on after an epoch, in one file.
//!
//! One line of JSON (readable with `head -1`), then the weights, the optimizer's state and the average
//! of the weights as burn stores them. The line holds the recipe, the digest of the data, the epochs'
//! summaries, the three lengths and a SHA-256 of all bytes after it. The file is written whole or not at all: at any
//! moment there is the last epoch's checkpoint, or the one before it, or none.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use onnx2int_graph::digest::hexadecimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{EpochSummary, Recipe, RecipeDifference, TrainingError};

/// The name of the file in a checkpoint folder.
const FILE_NAME: &str = "training.checkpoint";
/// The first field of the first line.
const FORMAT: &str = "onnx2int training checkpoint 2";

/// Whether a run leaves checkpoints, and whether it goes on from one.
#[derive(Clone, Copy, Debug)]
pub enum Checkpoints<'a> {
    /// Nothing is written.
    None,
    /// A checkpoint after each epoch in this folder, which is made if it is not there. One that is
    /// there already is removed.
    Fresh(&'a Path),
    /// As `Fresh`, but go on from the checkpoint that is there. Without one the run begins at the
    /// beginning.
    Resume(&'a Path),
}

/// The state of a run after an epoch.
pub(crate) struct Checkpoint {
    /// What each finished epoch came to.
    pub(crate) history: Vec<EpochSummary>,
    /// The network's record.
    pub(crate) weights: Vec<u8>,
    /// The optimizer's record.
    pub(crate) optimizer: Vec<u8>,
    /// The record of the average; empty where there is none.
    pub(crate) average: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    recipe: BTreeMap<String, String>,
    history: Vec<EpochSummary>,
    weights_bytes: usize,
    optimizer_bytes: usize,
    average_bytes: usize,
    sha256: String,
}

/// Where a run of a certain recipe on certain data keeps its checkpoint.
pub(crate) struct CheckpointFile {
    path: PathBuf,
    settings: BTreeMap<String, String>,
}

impl CheckpointFile {
    pub(crate) fn new(directory: &Path, recipe: &Recipe, data_digest: &str) -> Self {
        let settings = recipe.settings().into_iter().chain([("training data", data_digest.to_owned())]);
        Self {
            path: directory.join(FILE_NAME),
            settings: settings.map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }

    /// Removes what an earlier run left.
    pub(crate) fn remove(&self) -> Result<(), TrainingError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io("remove", error)),
            _ => Ok(()),
        }
    }

    /// Replaces the checkpoint.
    pub(crate) fn write(&self, checkpoint: &Checkpoint) -> Result<(), TrainingError> {
        let Checkpoint { history, weights, optimizer, average } = checkpoint;
        let header = Header {
            format: FORMAT.to_owned(),
            recipe: self.settings.clone(),
            history: history.clone(),
            weights_bytes: weights.len(),
            optimizer_bytes: optimizer.len(),
            average_bytes: average.len(),
            sha256: digest([weights, optimizer, average]),
        };
        let mut line = serde_json::to_string(&header).expect("text, numbers and maps are JSON");
        line.push('\n');
        onnx2int_whole_file::write_parts(&self.path, &[line.as_bytes(), weights, optimizer, average])
            .map_err(|error| self.io("write", error))
    }

    /// Refuses to train for an epoch before it shows that a checkpoint cannot be written.
    pub(crate) fn check_writable(&self) -> Result<(), TrainingError> {
        onnx2int_whole_file::check_writable(&self.path).map_err(|error| self.io("write", error))
    }

    /// The checkpoint, if there is one, of this very recipe and data.
    pub(crate) fn read(&self) -> Result<Option<Checkpoint>, TrainingError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("read", error)),
        };
        let end = bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or_else(|| self.damaged("it has no first line"))?;
        let header: Header = serde_json::from_slice(&bytes[..end]).map_err(|error| self.damaged(error))?;
        if header.format != FORMAT {
            return Err(self.damaged(format!("expected the format {FORMAT:?}, found {:?}", header.format)));
        }
        let payload = &bytes[end + 1..];
        let lengths = [header.weights_bytes, header.optimizer_bytes, header.average_bytes];
        let expected = lengths.into_iter().fold(0_usize, usize::saturating_add);
        if payload.len() != expected {
            return Err(self.damaged(format!(
                "expected {expected} bytes after the first line, found {}",
                payload.len()
            )));
        }
        if digest([payload]) != header.sha256 {
            return Err(self.damaged("its SHA-256 is not the one that it states"));
        }
        let differences = self.differences(&header.recipe);
        if !differences.is_empty() {
            return Err(TrainingError::OtherRecipe { path: self.path.clone(), differences });
        }
        let (weights, rest) = payload.split_at(header.weights_bytes);
        let (optimizer, average) = rest.split_at(header.optimizer_bytes);
        Ok(Some(Checkpoint {
            history: header.history,
            weights: weights.to_vec(),
            optimizer: optimizer.to_vec(),
            average: average.to_vec(),
        }))
    }

    /// A flaw of the file, for the one who decodes its parts too.
    pub(crate) fn damaged(&self, reason: impl ToString) -> TrainingError {
        TrainingError::DamagedCheckpoint { path: self.path.clone(), reason: reason.to_string() }
    }

    fn differences(&self, saved: &BTreeMap<String, String>) -> Vec<RecipeDifference> {
        let text = |value: Option<&String>| value.cloned().unwrap_or_else(|| "not set".to_owned());
        let mut names: Vec<&String> = self.settings.keys().chain(saved.keys()).collect();
        names.sort_unstable();
        names.dedup();
        names
            .into_iter()
            .map(|name| RecipeDifference {
                setting: name.clone(),
                saved: text(saved.get(name)),
                wanted: text(self.settings.get(name)),
            })
            .filter(|difference| difference.saved != difference.wanted)
            .collect()
    }

    fn io(&self, action: &'static str, source: io::Error) -> TrainingError {
        TrainingError::Io { action, path: self.path.clone(), source }
    }
}

fn digest<'a>(parts: impl IntoIterator<Item = &'a (impl AsRef<[u8]> + ?Sized + 'a)>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hexadecimal(&hasher.finalize())
}
