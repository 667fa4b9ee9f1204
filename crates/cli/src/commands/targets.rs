//! What `onnx2int verify` says of runtimes: where the sums of integer layers are exact.

use onnx2int_graph::range::Ranges;
use onnx2int_graph::{Verified, targets};
use serde::Serialize;

/// What holds at one target.
#[derive(Serialize)]
pub(crate) struct TargetFindings {
    name: &'static str,
    description: &'static str,
    exact: bool,
    /// The layers that are not exact there.
    layers: Vec<InexactLayer>,
}

#[derive(Serialize)]
struct InexactLayer {
    node: String,
    op: &'static str,
    reason: String,
    advice: &'static str,
}

/// One entry for each target; none for a graph without integer layers.
pub(crate) fn findings(graph: Verified<'_>, ranges: &Ranges) -> Vec<TargetFindings> {
    if !graph.nodes().any(|(_, node)| node.op.is_integer_layer()) {
        return Vec::new();
    }
    targets::ALL
        .iter()
        .map(|target| {
            let layers: Vec<_> = target
                .findings(graph, ranges)
                .into_iter()
                .map(|targets::Finding { node, op, reason, advice }| InexactLayer {
                    node,
                    op,
                    reason,
                    advice,
                })
                .collect();
            TargetFindings {
                name: target.name,
                description: target.description,
                exact: layers.is_empty(),
                layers,
            }
        })
        .collect()
}

/// A line for each target, and one for each layer that is not exact there.
pub(crate) fn text(findings: &[TargetFindings]) -> String {
    let mut text = String::new();
    for target in findings {
        let verdict = if target.exact { "exact" } else { "NOT exact" };
        text.push_str(&format!("integer layers in {} ({}): {verdict}\n", target.name, target.description));
        for InexactLayer { node, op, reason, advice } in &target.layers {
            text.push_str(&format!("  {node} ({op}): {reason}; try {advice}\n"));
        }
    }
    text
}
