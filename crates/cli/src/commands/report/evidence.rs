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
