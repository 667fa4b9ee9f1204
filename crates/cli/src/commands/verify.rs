//! `onnx2int verify`: structure, types, the rules of a stage, accumulator ranges, and their proof.

mod witnesses;

use std::path::Path;

use anyhow::Context;
use onnx2int_certificate::{Certificate, ModelFile, certify};
use onnx2int_graph::float_tail::FloatTail;
use onnx2int_graph::range::{self, Ranges, Width};
use onnx2int_graph::{Graph, Stage, Verified, VerifyError, verify, verify_stage};
use serde::Serialize;

use super::targets::TargetFindings;
use crate::arguments::Verify;
use crate::files::Model;
use crate::{console, execution, files};

/// What was found, as `--json` prints it.
#[derive(Serialize)]
struct Findings {
    schema: &'static str,
    file: String,
    digest: String,
    stage: Option<&'static str>,
    valid: bool,
    violations: Vec<Violation>,
    integer_only: bool,
    /// The nodes that stay in floats behind the integer part.
    float_tail: Vec<String>,
    accumulators: Vec<Accumulator>,
    /// Where the sums of its integer layers are exact.
    targets: Vec<TargetFindings>,
    #[serde(skip)]
    tail_text: Option<String>,
}

#[derive(Serialize)]
struct Violation {
    rule: &'static str,
    entity: String,
    expected: String,
    found: String,
}

/// The range of an integer layer's sums, for any input.
#[derive(Serialize)]
struct Accumulator {
    node: String,
    op: &'static str,
    least: i64,
    greatest: i64,
    /// Bits that a two's complement accumulator needs.
    bits: u32,
    /// Bits of int32 that are never used.
    headroom: u32,
    /// The number formats that hold every sum and partial sum.
    fits: Vec<&'static str>,
}

pub(crate) fn run(arguments: &Verify) -> anyhow::Result<()> {
    let model = files::read_model(&arguments.model)?;
    let stage = match &arguments.stage {
        Some(name) => Some(Stage::from_name(name).with_context(|| format!("no stage is called {name:?}"))?),
        None => execution::stage(&model.graph),
    };
    let result = match stage {
        Some(stage) => verify_stage(&model.graph, stage),
        None => verify(&model.graph),
    };
    let violations = match &result {
        Ok(_) => Vec::new(),
        Err(VerifyError { violations, .. }) => violations
            .iter()
            .map(|violation| Violation {
                rule: violation.rule,
                entity: violation.entity.clone(),
                expected: violation.expected.clone(),
                found: violation.found.clone(),
            })
            .collect(),
    };
    // Ranges need a sound graph, not one that keeps the rules of its stage.
    let sound = verify(&model.graph)?;
    let ranges = range::analyze(sound);
    let findings = Findings {
        schema: "onnx2int-verify/1",
        file: model.file.clone(),
        digest: model.digest.clone(),
        stage: stage.map(Stage::name),
        valid: violations.is_empty(),
        violations,
        integer_only: model.graph.values().all(|(_, value)| value.ty.dtype.is_integer()),
        float_tail: tail(&model.graph),
        accumulators: accumulators(&model.graph, &ranges),
        targets: super::targets::findings(sound, &ranges),
        tail_text: tail_text(&model.graph),
    };
    if arguments.json {
        console::print_json(&findings)?;
    } else if findings.valid {
        console::print(text(&findings))?;
    }
    match (result, stage) {
        (Ok(verified), _) => prove(arguments, &model, verified, stage),
        (Err(error), Some(stage)) => {
            Err(anyhow::Error::new(error)
                .context(format!("{:?} is not a valid {stage} model", arguments.model)))
        }
        (Err(error), None) => {
            Err(anyhow::Error::new(error).context(format!("{:?} is not valid", arguments.model)))
        }
    }
}

/// Certificate and witnesses, where they are asked for.
fn prove(
    arguments: &Verify,
    model: &Model,
    verified: Verified<'_>,
    stage: Option<Stage>,
) -> anyhow::Result<()> {
    if arguments.certificate.is_some() || arguments.check_certificate.is_some() {
        let stage = stage.with_context(|| {
            format!("{:?} does not say which stage it is at; name it with --stage", arguments.model)
        })?;
        let file = ModelFile { sha256: model.digest.clone(), bytes: model.bytes };
        let certificate = certify(&model.graph, stage, file)
            .with_context(|| format!("cannot certify {:?}", arguments.model))?;
        if let Some(path) = &arguments.certificate {
            files::write(path, certificate.to_json().as_bytes())?;
        }
        if let Some(path) = &arguments.check_certificate {
            check(path, &certificate, &arguments.model)?;
        }
    }
    match &arguments.witnesses {
        Some(folder) => witnesses::write(folder, verified, arguments.threads.count()),
        None => Ok(()),
    }
}

/// Compares the certificate in a file with the one computed anew.
fn check(path: &Path, expected: &Certificate, model: &Path) -> anyhow::Result<()> {
    let found = Certificate::from_json(&files::read(path)?)
        .with_context(|| format!("cannot read the certificate {path:?}"))?;
    match expected.difference(&found) {
        None => Ok(()),
        Some(difference) => {
            anyhow::bail!("the certificate {path:?} is not that of the model {model:?}: {difference}")
        }
    }
}

/// The names of the nodes that stay in floats, in execution order.
fn tail(graph: &Graph) -> Vec<String> {
    let Ok(Some(tail)) = FloatTail::of(graph) else { return Vec::new() };
    let nodes = graph.nodes().filter(|(id, _)| tail.contains(*id));
    nodes.map(|(_, node)| node.name.clone()).collect()
}

/// Where the integer part of a model with a float tail ends, and what the tail is.
pub(crate) fn tail_text(graph: &Graph) -> Option<String> {
    let of_graph = FloatTail::of(graph).ok()??;
    let ends = of_graph.boundary(graph);
    let integer = ends.iter().all(|&end| graph.value(end).ty.dtype.is_integer());
    let ends: Vec<String> = ends.iter().map(|&end| format!("{:?}", graph.value(end).name)).collect();
    let names = tail(graph);
    let nodes = if names.len() == 1 { "1 node".to_owned() } else { format!("{} nodes", names.len()) };
    let up_to = if integer { "integer up to" } else { "the stage's rules hold up to" };
    Some(format!("{up_to} {}; float tail of {nodes}: {}", ends.join(", "), names.join(", ")))
}

fn accumulators(graph: &Graph, ranges: &Ranges) -> Vec<Accumulator> {
    let accumulators = ranges.accumulators(graph);
    let describe = |accumulator: &range::Accumulator| {
        let node = graph.node(accumulator.node);
        let hull = accumulator.range.hull();
        Accumulator {
            node: node.name.clone(),
            op: node.op.name(),
            least: hull.0,
            greatest: hull.1,
            bits: range::needed_bits(hull),
            headroom: range::headroom(hull),
            fits: Width::ALL.into_iter().filter(|width| width.holds(hull)).map(Width::name).collect(),
        }
    };
    accumulators.iter().map(describe).collect()
}

fn text(findings: &Findings) -> String {
    let mut text = match findings.stage {
        Some(stage) => format!("{}: a valid {stage} model\n", findings.file),
        None => format!("{}: structure and types are valid; it names no stage\n", findings.file),
    };
    text.push_str(match findings.integer_only {
        true => "every tensor is an integer, inputs and outputs included\n",
        false => "some tensors are float\n",
    });
    if let Some(tail) = &findings.tail_text {
        text.push_str(tail);
        text.push('\n');
    }
    for accumulator in &findings.accumulators {
        text.push_str(&format!(
            "{} ({}): accumulator in [{}, {}] for any input, {} bits, {} of int32 to spare, fits {}\n",
            accumulator.node,
            accumulator.op,
            accumulator.least,
            accumulator.greatest,
            accumulator.bits,
            accumulator.headroom,
            if accumulator.fits.is_empty() { "no width".to_owned() } else { accumulator.fits.join(", ") }
        ));
    }
    text.push_str(&super::targets::text(&findings.targets));
    text
}
