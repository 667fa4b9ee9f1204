//! Handles, names and order: what later checks rely on to follow ids.

use std::collections::HashSet;

use super::rule::{Report, Rule};
use crate::{Graph, Source};

pub(super) fn check(graph: &Graph, report: &mut Report) {
    ids(graph, report);
    if !report.is_empty() {
        return;
    }
    names(graph, report);
    sources(graph, report);
    order(graph, report);
    outputs(graph, report);
    annotations(graph, report);
}

fn ids(graph: &Graph, report: &mut Report) {
    let (nodes, values) = (graph.nodes.len(), graph.values.len());
    let expected_values = format!("ids of {values} values");
    for node in &graph.nodes {
        for id in node.inputs.iter().flatten().chain([&node.output]) {
            if id.index() >= values {
                report.add(Rule::IdsInBounds, &node.name, &expected_values, format!("{id:?}"));
            }
        }
    }
    for id in graph.inputs.iter().chain(&graph.outputs) {
        if id.index() >= values {
            report.add(Rule::IdsInBounds, &graph.name, &expected_values, format!("{id:?}"));
        }
    }
    for value in &graph.values {
        if let Source::Node(id) = value.source
            && id.index() >= nodes
        {
            report.add(Rule::IdsInBounds, &value.name, format!("ids of {nodes} nodes"), format!("{id:?}"));
        }
    }
}

fn names(graph: &Graph, report: &mut Report) {
    let values = graph.values.iter().map(|value| value.name.as_str());
    let nodes = graph.nodes.iter().map(|node| node.name.as_str());
    unique_names("value", values, report);
    unique_names("node", nodes, report);
}

fn unique_names<'g>(kind: &str, names: impl Iterator<Item = &'g str>, report: &mut Report) {
    let mut seen = HashSet::new();
    for name in names {
        if name.is_empty() {
            report.add(Rule::NamesAreUnique, name, format!("a {kind} with a name"), "an empty one");
        } else if !seen.insert(name) {
            report.add(Rule::NamesAreUnique, name, format!("one {kind} of that name"), "another");
        }
    }
}

fn sources(graph: &Graph, report: &mut Report) {
    for (id, node) in graph.nodes() {
        let output = graph.value(node.output);
        if output.source != Source::Node(id) {
            report.add(
                Rule::SourcesAreConsistent,
                &output.name,
                format!("node {:?} as the source", node.name),
                describe(graph, &output.source),
            );
        }
    }
    for (id, value) in graph.values() {
        match &value.source {
            Source::Node(node) => {
                let node = graph.node(*node);
                if node.output != id {
                    report.add(
                        Rule::SourcesAreConsistent,
                        &value.name,
                        format!("to be the output of node {:?}", node.name),
                        format!("{:?} there", graph.value(node.output).name),
                    );
                }
            }
            Source::Input => {
                let times = graph.inputs.iter().filter(|&&input| input == id).count();
                if times != 1 {
                    report.add(
                        Rule::SourcesAreConsistent,
                        &value.name,
                        "an input to be listed once",
                        format!("it listed {times} times"),
                    );
                }
            }
            Source::Constant(_) => {}
        }
    }
    for &input in &graph.inputs {
        let value = graph.value(input);
        if value.source != Source::Input {
            report.add(
                Rule::SourcesAreConsistent,
                &value.name,
                "the caller as the source of an input",
                describe(graph, &value.source),
            );
        }
    }
}

fn describe(graph: &Graph, source: &Source) -> String {
    match source {
        Source::Input => "the caller".to_owned(),
        Source::Constant(_) => "a constant".to_owned(),
        Source::Node(id) => format!("node {:?}", graph.node(*id).name),
    }
}

fn order(graph: &Graph, report: &mut Report) {
    for (id, node) in graph.nodes() {
        for &input in node.inputs.iter().flatten() {
            let value = graph.value(input);
            if let Source::Node(producer) = value.source
                && producer >= id
            {
                report.add(
                    Rule::OperandsComeFirst,
                    &node.name,
                    format!("operand {:?} to be made before", value.name),
                    format!("it made by node {:?}", graph.node(producer).name),
                );
            }
        }
    }
}

fn outputs(graph: &Graph, report: &mut Report) {
    if graph.outputs.is_empty() {
        report.add(Rule::OutputsAreDistinct, &graph.name, "at least one output", "none");
    }
    let mut seen = HashSet::new();
    for &output in &graph.outputs {
        if !seen.insert(output) {
            let name = &graph.value(output).name;
            report.add(Rule::OutputsAreDistinct, name, "to be an output once", "it listed again");
        }
    }
}

fn annotations(graph: &Graph, report: &mut Report) {
    let constants: HashSet<_> =
        graph.values.iter().filter(|value| value.constant().is_some()).map(|value| &value.name).collect();
    for value in &graph.values {
        let Some(annotation) = &value.annotation else { continue };
        for parameter in [&annotation.scale, &annotation.zero_point] {
            if !constants.contains(parameter) {
                report.add(
                    Rule::AnnotationNamesConstants,
                    &value.name,
                    "an annotation that names constants",
                    format!("{parameter:?}"),
                );
            }
        }
    }
}
