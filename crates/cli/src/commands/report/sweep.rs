//! What `cargo xtask sweep` measured of the float model that is reported on.
//!
//! As with other findings, what is damaged or of another model is told and left out.

use std::path::Path;

use onnx2int_evaluation::Sweep;
use onnx2int_graph::Stage;

use crate::files::Model;
use crate::{console, execution, files};

/// The sweep in the folder of a run, if it is of `first` and that is the float model.
pub(super) fn of(dir: &Path, first: Option<&Model>) -> Option<Sweep> {
    let path = dir.join("sweep.json");
    if !path.exists() {
        return None;
    }
    match read(&path, first) {
        Ok(sweep) => Some(sweep),
        Err(error) => {
            console::note(format_args!("{path:?} is left out of the report: {error:#}"));
            None
        }
    }
}

fn read(path: &Path, first: Option<&Model>) -> anyhow::Result<Sweep> {
    let sweep = Sweep::from_json(&files::read_text(path)?)?;
    let float = first.filter(|model| execution::stage(&model.graph) == Some(Stage::Float));
    if float.is_none_or(|model| model.digest != sweep.float_digest) {
        anyhow::bail!("it is of another float model than this run's; `cargo xtask sweep` makes it anew");
    }
    Ok(sweep)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use onnx2int_graph::Graph;

    use super::*;

    const FILE: &str = include_str!("../../../../evaluation/tests/sweep.json");

    fn model(stage: &str, digest: &str) -> Model {
        let text =
            format!("meta onnx2int.stage = \"{stage}\"\nin %x: f32[N,2]\n%y: f32[N,2] = Relu(%x)\nout %y");
        let graph = Graph::from_text(&text).unwrap();
        Model { graph, file: "tiny.onnx".to_owned(), digest: digest.to_owned(), bytes: 99 }
    }

    #[test]
    fn a_sweep_counts_only_for_the_float_model_that_it_is_of() {
        let folder = tempfile::tempdir().unwrap();
        let float = model("float", &"ab".repeat(32));
        assert_eq!(of(folder.path(), Some(&float)), None, "there is none");
        let path = folder.path().join("sweep.json");
        fs::write(&path, FILE).unwrap();
        assert_eq!(of(folder.path(), Some(&float)).map(|sweep| sweep.charts.len()), Some(2));
        for other in [model("float", &"cd".repeat(32)), model("quantized", &"ab".repeat(32))] {
            assert_eq!(of(folder.path(), Some(&other)), None);
        }
        assert_eq!(of(folder.path(), None), None);
        let message = format!("{:#}", read(&path, None).unwrap_err());
        assert!(
            message.contains("another float model") && message.contains("cargo xtask sweep"),
            "{message}"
        );
        for damaged in ["{", &FILE.replace("onnx2int-sweep/1", "onnx2int-sweep/0")] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(of(folder.path(), Some(&float)), None);
        }
    }
}
