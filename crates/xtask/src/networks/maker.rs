//! Makes steps that are out of date, and reads what they wrote.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, bail};
use onnx2int_graph::Stage;

use crate::conform::{Matrix, Runtime};
use crate::digest::Digests;
use crate::process::{self, Interrupt};
use crate::stamp::Stamp;
use crate::{atomic_file, folder_lock, pipeline};

use super::results::{Bits, Score};
use super::steps::{Program, Step, Subject};

/// The runtimes that must give the interpreter's bits.
const RUNTIMES: [Runtime; 4] =
    [Runtime::Engine, Runtime::Tract, Runtime::OnnxRuntimeOptimized, Runtime::OnnxRuntimePlain];

/// A folder of results, held locked.
///
/// A step's stamp is removed before the step starts and written after it ended well, so that a run that is killed at
/// any moment leaves a state from which the next one continues. A step that was refused has none, and is tried again.
pub(crate) struct Maker {
    root: PathBuf,
    tool: PathBuf,
    /// None where no step is a script.
    python: Option<PathBuf>,
    stamps: PathBuf,
    digests: Digests,
    /// The digests of the images, part of every stamp.
    data: BTreeMap<String, String>,
    made: usize,
    interrupt: Interrupt,
    /// Held until the end of the process, which frees the lock however it ends.
    _lock: File,
}

impl Maker {
    pub(crate) fn open(
        root: PathBuf,
        tool: PathBuf,
        python: Option<PathBuf>,
        folder: &str,
        interrupt: Interrupt,
    ) -> anyhow::Result<Self> {
        let stamps = root.join(folder).join(".stamps");
        fs::create_dir_all(&stamps).with_context(|| format!("cannot make the folder {stamps:?}"))?;
        let lock = folder_lock::lock(&stamps.join("lock"))?;
        atomic_file::remove_stale(&root.join(folder));
        let mut digests = Digests::open(&root, &stamps.join("digests.json"));
        let data = digests.of_existing(&pipeline::data_files(&root)?)?;
        Ok(Self { root, tool, python, stamps, digests, data, made: 0, interrupt, _lock: lock })
    }

    /// The number of steps that were made, or refused, and not found up to date.
    pub(crate) fn made(&self) -> usize {
        self.made
    }

    pub(crate) fn interrupted(&self) -> bool {
        self.interrupt.requested()
    }

    /// Remembers the digests.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        self.digests.save()
    }

    /// Makes a step unless it is up to date; why its program refused, where it did.
    ///
    /// # Errors
    /// An interrupt, and what keeps any program from running.
    pub(crate) fn make(&mut self, step: &Step) -> anyhow::Result<Result<(), String>> {
        self.make_by(step, |maker| {
            let program = match step.program {
                Program::Tool => &maker.tool,
                Program::Python => maker.python()?,
                Program::Both => bail!("step {} is not one call", step.name),
            };
            process::attempt(&maker.root, program, &step.arguments, &maker.interrupt)
        })
    }

    fn python(&self) -> anyhow::Result<&PathBuf> {
        self.python.as_ref().context("this task was started without the Python of the scripts")
    }

    /// What a step that scores has written.
    pub(crate) fn score(&self, step: &Step) -> anyhow::Result<Score> {
        Score::read(&self.root, &step.outputs)
    }

    /// Compares the bits of the last stage in all runtimes; where they differ, once more in the next run.
    pub(crate) fn same_bits(&mut self, subject: &Subject) -> anyhow::Result<Bits> {
        let step = subject.same_bits();
        let [output] = step.outputs.as_slice() else { bail!("step {} writes one file", step.name) };
        let mut compared = None;
        let outcome = self.make_by(&step, |maker| {
            let matrix = Matrix {
                root: maker.root.clone(),
                tool: maker.tool.clone(),
                python: maker.python()?.clone(),
                place: subject.place(),
                interrupt: maker.interrupt.clone(),
            };
            let images = subject.extent.traced;
            let bits = Bits::new(images, matrix.same_bits(Stage::ScaleOut, &RUNTIMES, images)?);
            atomic_file::write(&maker.root.join(output), &serde_json::to_vec_pretty(&bits)?)?;
            let equal = bits.are_equal();
            compared = Some(bits);
            Ok(if equal { Ok(()) } else { Err("not all bits are equal".to_owned()) })
        })?;
        match (compared, outcome) {
            (Some(bits), _) => Ok(bits),
            (None, Err(reason)) => bail!("step {} did not compare: {reason}", step.name),
            // Up to date.
            (None, Ok(())) => {
                let bytes =
                    fs::read(self.root.join(output)).with_context(|| format!("cannot read {output:?}"))?;
                serde_json::from_slice(&bytes)
                    .with_context(|| format!("{output:?} is not a comparison of bits"))
            }
        }
    }

    fn make_by(
        &mut self,
        step: &Step,
        action: impl FnOnce(&Self) -> anyhow::Result<Result<(), String>>,
    ) -> anyhow::Result<Result<(), String>> {
        let now = self.stamp(step)?;
        let stamp_path = self.stamps.join(format!("{}.json", step.name));
        if now.reason_to_make(&stamp_path).is_none() {
            return Ok(Ok(()));
        }
        self.made += 1;
        atomic_file::remove_if_there(&stamp_path)?;
        for output in &step.outputs {
            if let Some(folder) = self.root.join(output).parent() {
                fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {folder:?}"))?;
            }
        }
        if let Err(reason) = action(self)? {
            return Ok(Err(reason));
        }
        let outputs = self.digests.of_existing(&step.outputs)?;
        if let Some(path) = step.outputs.iter().find(|path| !outputs.contains_key(*path)) {
            return Ok(Err(format!("it ended well but did not write {path:?}")));
        }
        Stamp { outputs, ..now }.write(&stamp_path)?;
        Ok(Ok(()))
    }

    /// What the step would be made from now.
    fn stamp(&mut self, step: &Step) -> anyhow::Result<Stamp> {
        let code = match step.program {
            // Its scripts are among its inputs.
            Program::Python => None,
            Program::Tool | Program::Both => Some(existing(&mut self.digests, &self.tool.to_string_lossy())?),
        };
        let mut inputs = self.data.clone();
        for path in &step.inputs {
            inputs.insert(path.clone(), existing(&mut self.digests, path)?);
        }
        let outputs = self.digests.of_existing(&step.outputs)?;
        Ok(Stamp { code, parameters: pipeline::parameters_of(&step.arguments), inputs, outputs })
    }
}

/// The digest of a file that a step cannot do without.
fn existing(digests: &mut Digests, path: &str) -> anyhow::Result<String> {
    let digest = digests.of_file(path)?;
    digest.with_context(|| format!("{path:?} does not exist; a step before should have made it"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use super::*;

    /// A repository with images and nothing else, and `sh` for a tool.
    #[expect(clippy::unwrap_used, reason = "a test fails by it")]
    fn maker(root: &Path) -> Maker {
        for name in ["a", "b", "c", "d"] {
            atomic_file::write(&root.join(pipeline::DATA_DIR).join(format!("{name}-ubyte")), b"pixels")
                .unwrap();
        }
        atomic_file::write(&root.join("model.onnx"), b"model").unwrap();
        let tool = PathBuf::from("/bin/sh");
        Maker::open(root.to_owned(), tool.clone(), Some(tool), "results", Interrupt::default()).unwrap()
    }

    fn step(script: &str) -> Step {
        Step {
            name: "net.ort.lower".to_owned(),
            program: Program::Tool,
            arguments: vec!["-c".to_owned(), script.to_owned()],
            inputs: vec!["model.onnx".to_owned()],
            outputs: vec!["results/made.onnx".to_owned()],
        }
    }

    #[test]
    fn a_step_is_made_again_only_where_something_changed() {
        let root = tempfile::tempdir().unwrap();
        let made = root.path().join("results/made.onnx");
        let write = step("echo once >> results/made.onnx");
        let mut maker = maker(root.path());
        assert_eq!(maker.make(&write).unwrap(), Ok(()));
        assert_eq!(maker.make(&write).unwrap(), Ok(()));
        assert_eq!((fs::read(&made).unwrap().as_slice(), maker.made()), (b"once\n".as_slice(), 1));
        fs::write(root.path().join("model.onnx"), b"another model").unwrap();
        assert_eq!(maker.make(&write).unwrap(), Ok(()));
        assert_eq!(maker.made(), 2);
        fs::remove_file(&made).unwrap();
        assert_eq!(maker.make(&write).unwrap(), Ok(()));
        assert_eq!((fs::read(&made).unwrap().as_slice(), maker.made()), (b"once\n".as_slice(), 3));
    }

    #[test]
    fn a_refusal_is_told_each_time() {
        let root = tempfile::tempdir().unwrap();
        let refuse = step("echo error: no such operator >&2; exit 1");
        let mut maker = maker(root.path());
        for _ in 0..2 {
            let reason = maker.make(&refuse).unwrap().unwrap_err();
            assert!(reason.starts_with("error: no such operator"), "{reason}");
        }
        let forgets = step("true");
        let reason = maker.make(&forgets).unwrap().unwrap_err();
        assert!(reason.contains("did not write \"results/made.onnx\""), "{reason}");
        assert_eq!(maker.made(), 3);
    }
}
