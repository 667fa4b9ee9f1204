//! `onnx2int verify`: structure, types, the rules of a stage, accumulator ranges.

use anyhow::Context;
use onnx2int_graph::range::{self, Ranges};
use onnx2int_graph::{Graph, Op, Stage, Verified, VerifyError, verify, verify_stage};
use serde::Serialize;

use super::targets::TargetFindings;
use crate::arguments::Verify;
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
    accumulators: Vec<Accumulator>,
    /// Where the sums of its integer layers are exact.
    targets: Vec<TargetFindings>,
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
    let findings = Findings {
        schema: "onnx2int-verify/1",
        file: model.file.clone(),
        digest: model.digest.clone(),
        stage: stage.map(Stage::name),
        valid: violations.is_empty(),
        violations,
        integer_only: model.graph.values().all(|(_, value)| value.ty.dtype.is_integer()),
        accumulators: accumulators(verify(&model.graph)?),
        targets: super::targets::findings(verify(&model.graph)?),
    };
    if arguments.json {
        console::print_json(&findings)?;
    } else if findings.valid {
        console::print(text(&findings))?;
    }
    match (result, stage) {
        (Ok(_), _) => Ok(()),
        (Err(error), Some(stage)) => {
            Err(anyhow::Error::new(error)
                .context(format!("{:?} is not a valid {stage} model", arguments.model)))
        }
        (Err(error), None) => {
            Err(anyhow::Error::new(error).context(format!("{:?} is not valid", arguments.model)))
        }
    }
}

fn accumulators(graph: Verified<'_>) -> Vec<Accumulator> {
    let ranges = range::analyze(graph);
    let exact = |graph: &Graph, ranges: &Ranges, id, node: &onnx2int_graph::Node| {
        let (mut least, mut greatest) = ranges.get(node.output).map_or((0, 0), |range| range.hull());
        for overflow in ranges.overflows().iter().filter(|overflow| overflow.node == id) {
            least = least.min(overflow.range.0);
            greatest = greatest.max(overflow.range.1);
        }
        let bits = needed_bits(least, greatest);
        Accumulator {
            node: graph.node(id).name.clone(),
            op: node.op.name(),
            least,
            greatest,
            bits,
            headroom: 32u32.saturating_sub(bits),
        }
    };
    graph
        .nodes()
        .filter(|(_, node)| matches!(node.op, Op::ConvInteger(_) | Op::MatMulInteger))
        .map(|(id, node)| exact(graph.graph(), &ranges, id, node))
        .collect()
}

/// The width of the least two's complement integer that holds both.
fn needed_bits(least: i64, greatest: i64) -> u32 {
    let bits = |value: i64| 65 - if value < 0 { (!value).leading_zeros() } else { value.leading_zeros() };
    bits(least).max(bits(greatest))
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
    for accumulator in &findings.accumulators {
        text.push_str(&format!(
            "{} ({}): accumulator in [{}, {}] for any input, {} bits, {} of int32 to spare\n",
            accumulator.node,
            accumulator.op,
            accumulator.least,
            accumulator.greatest,
            accumulator.bits,
            accumulator.headroom
        ));
    }
    text.push_str(&super::targets::text(&findings.targets));
    text
}

#[cfg(test)]
mod tests {
    use super::needed_bits;

    #[test]
    fn bits_include_the_sign() {
        for (least, greatest, bits) in [
            (0, 0, 1),
            (-1, 0, 1),
            (0, 1, 2),
            (-128, 127, 8),
            (-129, 0, 9),
            (0, 128, 9),
            (-1, i64::from(i32::MAX), 32),
        ] {
            assert_eq!(needed_bits(least, greatest), bits, "{least} {greatest}");
        }
    }
}
