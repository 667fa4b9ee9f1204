//! Measures settings, and remembers what was measured of the same models by the same binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use onnx2int_graph::Stage;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::digest::Digests;
use crate::process::{self, Interrupt, Interrupted};
use crate::run::Run;
use crate::stamp::Stamp;
use crate::{atomic_file, pipeline};

use super::plan::Setting;

/// What came of a setting, in counts, which come back from a file as they went in.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Outcome {
    Measured {
        images: usize,
        correct: usize,
        /// The images with the class of the float model.
        agreeing: usize,
    },
    /// The tool makes no such model.
    Refused { reason: String },
}

/// What was measured, and of what.
#[derive(Deserialize, Serialize)]
struct Memory {
    /// The binary and the files that all measurements rest on.
    of: Stamp,
    outcomes: Vec<(Setting, Outcome)>,
}

/// Measures one setting after the other.
pub(crate) struct Measurer {
    root: PathBuf,
    tool: PathBuf,
    run: Run,
    memory: Memory,
    interrupt: Interrupt,
}

impl Measurer {
    /// Remembers what was measured before, unless the binary, the models or the images changed since.
    pub(crate) fn open(
        root: PathBuf,
        tool: PathBuf,
        run: Run,
        digests: &mut Digests,
        interrupt: Interrupt,
    ) -> anyhow::Result<Self> {
        let models = [Stage::Float, Stage::Integer].map(|stage| pipeline::model_path(run, stage));
        let mut inputs = BTreeMap::new();
        for path in pipeline::data_files(&root)?.into_iter().chain(models) {
            let digest = digests.existing(&path)?;
            inputs.insert(path, digest);
        }
        let code = Some(digests.existing(&tool.to_string_lossy())?);
        let of = Stamp { code, parameters: Map::new(), inputs, outputs: BTreeMap::new() };
        let mut measurer = Self { root, tool, run, memory: Memory { of, outcomes: Vec::new() }, interrupt };
        let read = fs::read(measurer.memory_path()).ok();
        let remembered = read.and_then(|bytes| serde_json::from_slice::<Memory>(&bytes).ok());
        if let Some(memory) = remembered.filter(|memory| memory.of == measurer.memory.of) {
            measurer.memory = memory;
        }
        // What a killed sweep left.
        let folder = measurer.root.join(measurer.folder());
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove the folder {folder:?}"))?;
        }
        Ok(measurer)
    }

    /// What came of a setting that was measured.
    pub(crate) fn known(&self, setting: &Setting) -> Option<&Outcome> {
        self.memory.outcomes.iter().find(|(known, _)| known == setting).map(|(_, outcome)| outcome)
    }

    /// Measures a setting, and remembers what came of it.
    ///
    /// # Errors
    /// An interrupt, and whatever keeps the tool from deciding.
    pub(crate) fn measure(&mut self, setting: &Setting) -> anyhow::Result<Outcome> {
        let folder = self.folder();
        let path = self.root.join(&folder);
        fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {path:?}"))?;
        let outcome = self.outcome(setting, &folder);
        // Whatever came of it: the models are large, and no other setting's.
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove the folder {path:?}"))?;
        let outcome = outcome?;
        self.memory.outcomes.push((setting.clone(), outcome.clone()));
        atomic_file::write(&self.memory_path(), &serde_json::to_vec(&self.memory)?)?;
        Ok(outcome)
    }

    fn outcome(&self, setting: &Setting, folder: &str) -> anyhow::Result<Outcome> {
        let calls = setting.calls(self.run, folder);
        for call in &calls.make {
            if let Err(complaint) = self.call(call)? {
                return match refusal(&complaint) {
                    Some(reason) => Ok(Outcome::Refused { reason }),
                    None => bail!("{}", self.failed(call, &complaint)),
                };
            }
        }
        match self.call(&calls.score)? {
            Ok(printed) => scored(&printed).with_context(|| self.failed(&calls.score, "not as expected")),
            Err(complaint) => bail!("{}", self.failed(&calls.score, &complaint)),
        }
    }

    fn call(&self, arguments: &[String]) -> anyhow::Result<Result<Vec<u8>, String>> {
        if self.interrupt.requested() {
            return Err(Interrupted.into());
        }
        process::quiet(&self.root, &self.tool, arguments, &self.interrupt)
    }

    fn failed(&self, arguments: &[String], complaint: &str) -> String {
        format!("`{}` failed: {complaint}", process::shell_line(&self.root, &self.tool, arguments))
    }

    /// Where the models of a setting are while it is measured.
    fn folder(&self) -> String {
        format!("{}/sweep", self.run.dir())
    }

    fn memory_path(&self) -> PathBuf {
        self.root.join(self.run.dir()).join(".stamps/sweep-points.json")
    }
}

/// Why the tool makes no model of a setting, in one line; nothing where it failed for another reason, such as a full disk.
fn refusal(complaint: &str) -> Option<String> {
    const REFUSALS: [&str; 4] = ["quantize", "prepare", "lower", "transform"];
    let refused = complaint.strip_prefix("error: cannot ")?;
    REFUSALS.iter().find(|&verb| refused.starts_with(verb))?;
    // The file is gone, and with it the use of the command that repeats the failure.
    let reasons: Vec<&str> =
        refused.lines().skip(1).map(str::trim).filter(|line| !line.starts_with("onnx2int ")).collect();
    Some(match reasons.is_empty() {
        true => format!("cannot {refused}"),
        false => reasons.join("; "),
    })
}

/// What `onnx2int evaluate --json` printed of one model.
fn scored(printed: &[u8]) -> anyhow::Result<Outcome> {
    #[derive(Deserialize)]
    struct Printed {
        models: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        images: usize,
        correct: usize,
        reference: Option<Reference>,
    }
    #[derive(Deserialize)]
    struct Reference {
        agreeing: usize,
    }
    let Printed { models } = serde_json::from_slice(printed)?;
    let &[Model { images, correct, reference: Some(Reference { agreeing }) }] = models.as_slice() else {
        bail!("expected one model, compared with the float one");
    };
    if images == 0 || correct > images || agreeing > images {
        bail!("{correct} right and {agreeing} as the float model of {images} images");
    }
    Ok(Outcome::Measured { images, correct, agreeing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_its_reason_and_a_full_disk_is_none() {
        let lower = "error: cannot lower \"q.onnx\"; repeat the failing step with\n  \
                     onnx2int transform scale-out --model \"q.onnx\" --output \"r.onnx\"\n  \
                     node \"fc\": channel 3 has the multiplier 0";
        assert_eq!(refusal(lower).as_deref(), Some("node \"fc\": channel 3 has the multiplier 0"));
        assert_eq!(
            refusal("error: cannot quantize \"a.onnx\"\n  2 nodes:\n    a\n    b").as_deref(),
            Some("2 nodes:; a; b")
        );
        assert_eq!(
            refusal("error: cannot transform \"a.onnx\"").as_deref(),
            Some("cannot transform \"a.onnx\"")
        );
        for other in ["error: cannot write \"a.onnx\"\n  no space left on device", "killed", ""] {
            assert_eq!(refusal(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_printed_is_counted() {
        let model = |more: &str| format!(r#"{{"models": [{{"images": 8, "correct": 6{more}}}]}}"#);
        let printed = model(r#", "reference": {"agreeing": 7, "flips": []}"#);
        let expected = Outcome::Measured { images: 8, correct: 6, agreeing: 7 };
        assert_eq!(scored(printed.as_bytes()).unwrap(), expected);
        assert!(scored(model("").as_bytes()).is_err(), "it was not compared");
        assert!(scored(model(r#", "reference": {"agreeing": 9}"#).as_bytes()).is_err());
        assert!(scored(br#"{"models": []}"#).is_err());
    }
}
