//! What `cargo xtask prove` and `cargo xtask conform` left of the very file that is reported on.
//!
//! A report can be made without either, and after a new training both are of another file: what is absent, damaged or of
//! another model is as good as not checked, and is told.

use std::collections::BTreeMap;
use std::path::Path;

use onnx2int_certificate::{Certificate, ModelFile, certify};
use onnx2int_evaluation::{Evidence, LayerBound, OverflowProof, RuntimeBits, SameBits};
use onnx2int_graph::Stage;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::files::Model;
use crate::{console, execution, files};

/// What there is of `model` in the folder of a run.
pub(super) fn of(dir: &Path, model: &Model) -> Evidence {
    let Some(stage) = execution::stage(&model.graph) else { return Evidence::default() };
    let found = |path: &Path, evidence: anyhow::Result<()>| {
        if let Err(error) = evidence {
            console::note(format_args!("{path:?} is left out of the report: {error:#}"));
        }
    };
    let mut evidence = Evidence::default();
    let certificate = dir.join("proof").join(format!("{}.certificate.json", stage.name()));
    if certificate.exists() {
        found(
            &certificate,
            overflow(&certificate, model, stage).map(|proof| evidence.overflow = Some(proof)),
        );
    }
    let conformance = dir.join("conformance.json");
    if conformance.exists() {
        found(
            &conformance,
            same_bits(&conformance, model, stage).map(|bits| evidence.same_bits = Some(bits)),
        );
    }
    evidence
}

/// The certificate, if it is the one that is computed anew.
fn overflow(path: &Path, model: &Model, stage: Stage) -> anyhow::Result<OverflowProof> {
    let certificate = Certificate::from_json(&files::read(path)?)?;
    let file = ModelFile { sha256: model.digest.clone(), bytes: model.bytes };
    if let Some(difference) = certify(&model.graph, stage, file)?.difference(&certificate) {
        anyhow::bail!("it is not that of {:?}: {difference}; `cargo xtask prove` makes it anew", model.file);
    }
    let layers = certificate.layers.into_iter().map(|layer| LayerBound {
        node: layer.node,
        op: layer.op,
        products: layer.products,
        low: layer.low,
        high: layer.high,
        bits: layer.bits,
    });
    Ok(OverflowProof {
        stage: certificate.stage,
        digest: certificate.model.sha256,
        obligations: certificate.obligations.len(),
        layers: layers.collect(),
    })
}

/// The part of `conformance.json` that is of interest here.
#[derive(Deserialize)]
struct Conformance {
    /// SHA-256 of each stage's file.
    models: BTreeMap<String, String>,
    runtimes: Vec<Runtime>,
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Runtime {
    name: String,
    version: Option<String>,
}

#[derive(Deserialize)]
struct Cell {
    stage: String,
    runtime: String,
    images: usize,
    /// The interpreter, which is compared with.
    reference: Option<IgnoredAny>,
    compared: Option<Compared>,
}

#[derive(Deserialize)]
struct Compared {
    verdict: String,
}

const CONFORMANCE: &str = "onnx2int-conformance/2";

fn same_bits(path: &Path, model: &Model, stage: Stage) -> anyhow::Result<SameBits> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let text = files::read_text(path)?;
    let head: Head = serde_json::from_str(&text)?;
    if head.schema != CONFORMANCE {
        anyhow::bail!(
            "it has schema {:?}, expected {CONFORMANCE:?}; `cargo xtask conform` makes it anew",
            head.schema
        );
    }
    let conformance: Conformance = serde_json::from_str(&text)?;
    if conformance.models.get(stage.name()) != Some(&model.digest) {
        anyhow::bail!(
            "it is of another {stage} model than {:?}; `cargo xtask conform` makes it anew",
            model.file
        );
    }
    let versions: BTreeMap<&str, Option<&String>> = conformance
        .runtimes
        .iter()
        .map(|runtime| (runtime.name.as_str(), runtime.version.as_ref()))
        .collect();
    let cells = conformance.cells.iter().filter(|cell| cell.stage == stage.name());
    let runtimes = cells.map(|cell| RuntimeBits {
        name: cell.runtime.clone(),
        version: versions.get(cell.runtime.as_str()).copied().flatten().cloned(),
        images: cell.images,
        equal: cell.reference.is_some()
            || cell.compared.as_ref().is_some_and(|compared| compared.verdict == "equal"),
    });
    Ok(SameBits {
        stage: stage.name().to_owned(),
        digest: model.digest.clone(),
        runtimes: runtimes.collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use onnx2int_graph::{DType, GraphEditor, Op, Tensor, TensorType, verify_stage};

    use super::*;

    fn model() -> Model {
        let mut editor = GraphEditor::new("tiny");
        let codes = editor.add_input("codes", TensorType::fixed(DType::U8, &[1, 2])).unwrap();
        let weight = Tensor::from_vec(&[2, 1], vec![1_u8, 2]).unwrap();
        let weight = editor.add_constant("weight", weight).unwrap();
        let zero = editor.add_constant("zero", Tensor::scalar(0_u8)).unwrap();
        let operands = [codes, weight, zero, zero].map(Some);
        let sums = editor.add_node("fc", Op::MatMulInteger, operands, "sums").unwrap();
        editor.set_outputs([sums]);
        editor.set_metadata("onnx2int.stage", "scale_out");
        let graph = editor.finish().unwrap();
        verify_stage(&graph, Stage::ScaleOut).unwrap();
        Model { graph, file: "tiny.onnx".to_owned(), digest: "ab".repeat(32), bytes: 99 }
    }

    #[test]
    fn without_files_nothing_is_known() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of(folder.path(), &model()), Evidence::default());
    }

    #[test]
    fn a_certificate_counts_only_for_the_file_that_it_is_of() {
        let (folder, model) = (tempfile::tempdir().unwrap(), model());
        fs::create_dir(folder.path().join("proof")).unwrap();
        let path = folder.path().join("proof/scale_out.certificate.json");
        let file = ModelFile { sha256: model.digest.clone(), bytes: model.bytes };
        let certificate = certify(&model.graph, Stage::ScaleOut, file).unwrap();
        fs::write(&path, certificate.to_json()).unwrap();
        let proof = of(folder.path(), &model).overflow.unwrap();
        assert_eq!((proof.digest.as_str(), proof.layers[0].high), (model.digest.as_str(), 255 + 2 * 255));
        let other = Model { digest: "cd".repeat(32), ..model };
        assert_eq!(of(folder.path(), &other), Evidence::default());
        fs::write(&path, "{").unwrap();
        assert_eq!(of(folder.path(), &other), Evidence::default());
    }

    #[test]
    fn a_conformance_counts_only_for_the_file_that_it_is_of() {
        let (folder, model) = (tempfile::tempdir().unwrap(), model());
        let text = |schema: &str, digest: &str| {
            format!(
                r#"{{"schema": "{schema}", "ok": true, "models": {{"scale_out": "{digest}"}},
                "runtimes": [{{"name": "interpreter", "version": "0.1"}}, {{"name": "tract", "version": null}}, {{"name": "other"}}],
                "cells": [
                    {{"stage": "scale_out", "runtime": "interpreter", "images": 9, "reference": {{"tensors": 3}}}},
                    {{"stage": "scale_out", "runtime": "tract", "images": 8, "compared": {{"verdict": "equal", "comparison": {{}}}}}},
                    {{"stage": "scale_out", "runtime": "other", "images": 7, "failed": {{"reason": "absent"}}}},
                    {{"stage": "float", "runtime": "tract", "images": 8, "compared": {{"verdict": "explained"}}}}]}}"#
            )
        };
        let path = folder.path().join("conformance.json");
        fs::write(&path, text("onnx2int-conformance/2", &model.digest)).unwrap();
        let found = of(folder.path(), &model).same_bits.unwrap();
        let runtimes: Vec<(&str, Option<&str>, usize, bool)> = found
            .runtimes
            .iter()
            .map(|r| (r.name.as_str(), r.version.as_deref(), r.images, r.equal))
            .collect();
        assert_eq!(
            runtimes,
            [("interpreter", Some("0.1"), 9, true), ("tract", None, 8, true), ("other", None, 7, false)]
        );
        for text in [text("onnx2int-conformance/1", &model.digest), text("onnx2int-conformance/2", "other")] {
            fs::write(&path, text).unwrap();
            assert_eq!(of(folder.path(), &model), Evidence::default());
        }
    }
}
