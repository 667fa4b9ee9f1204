//! Declared types against those that follow from the operands.

use super::rule::{Report, Rule};
use crate::shape_values::ShapeValues;
use crate::{Graph, TensorType, infer};

/// A node whose operands do not fit is reported once: the nodes behind it are judged by the type
/// that its output declares.
pub(super) fn check(graph: &Graph, report: &mut Report) {
    for (_, value) in graph.values() {
        if let Some(tensor) = value.constant() {
            let found = TensorType::of(tensor);
            if found != value.ty {
                report.add(Rule::DeclaredType, &value.name, &value.ty, format!("a tensor of type {found}"));
            }
        }
    }
    let mut shape_values = ShapeValues::default();
    for (_, node) in graph.nodes() {
        let operands = infer::operands(graph, &node.inputs, &shape_values);
        match infer::output_type(&node.op, &operands) {
            Err(error) => {
                let expected = format!("{} by {}", error.expected, node.op.name());
                report.add_named(error.rule.name(), &node.name, expected, error.found);
            }
            Ok(inferred) => {
                let output = graph.value(node.output);
                if output.ty != inferred {
                    report.add(
                        Rule::DeclaredType,
                        &output.name,
                        format!("{inferred}, which follows from the operands of node {:?}", node.name),
                        &output.ty,
                    );
                }
            }
        }
        shape_values.visit(graph, node);
    }
}
