//! What the unit tests of the passes share: a graph text before, rewritten, is the one after.

use onnx2int_graph::{Graph, Tensor, Verified, verify};

use crate::{RewriteLog, Transform, TransformError};

pub(crate) fn interpreter(graph: Verified<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    onnx2int_interpreter::run(graph, inputs).map_err(|error| error.to_string())
}

pub(crate) fn parse(text: &str) -> Graph {
    Graph::from_text(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The result, and one line for each site: `node: change`.
fn rewrite(pass: &dyn Transform, before: &str) -> Result<(Graph, Vec<String>), TransformError> {
    let graph = parse(before);
    let mut log = RewriteLog::default();
    let result = pass.rewrite(verify(&graph).unwrap(), &interpreter, &mut log)?;
    verify(&result).unwrap_or_else(|error| panic!("{error}\n{}", result.to_text()));
    let sites = log.sites().iter().map(|site| format!("{}: {}", site.node, site.change)).collect();
    Ok((result, sites))
}

/// Asserts what the pass makes of a graph; gives the log's lines.
pub(crate) fn check(pass: &dyn Transform, before: &str, after: &str) -> Vec<String> {
    let (result, sites) = rewrite(pass, before).unwrap();
    assert_eq!(result.to_full_text(), parse(after).to_full_text());
    sites
}

/// Asserts that the pass has nothing to do.
pub(crate) fn check_unchanged(pass: &dyn Transform, graph: &str) {
    let sites = check(pass, graph, graph);
    assert_eq!(sites, Vec::<String>::new());
}

/// Asserts that the pass gives up, naming this rule and this node.
pub(crate) fn check_refused(pass: &dyn Transform, graph: &str, rule: &str, node: &str) {
    match rewrite(pass, graph) {
        Err(error) => {
            assert_eq!(error.rule(), Some(rule), "{error}");
            assert!(error.to_string().contains(&format!("{node:?}")), "{error} names {node:?}");
        }
        Ok((result, _)) => panic!("not refused:\n{}", result.to_text()),
    }
}

type Form = fn(Graph, &mut RewriteLog) -> Result<Graph, TransformError>;

/// Asserts what a form makes of a graph.
pub(crate) fn check_form(form: Form, before: &str, after: &str) {
    let mut log = RewriteLog::default();
    let result = form(parse(before), &mut log).unwrap();
    verify(&result).unwrap_or_else(|error| panic!("{error}\n{}", result.to_text()));
    assert_eq!(result.to_full_text(), parse(after).to_full_text());
    assert_eq!(log.sites().is_empty(), before == after, "{:?}", log.sites());
}

/// Asserts that a form has nothing to do.
pub(crate) fn check_form_unchanged(form: Form, graph: &str) {
    check_form(form, graph, graph);
}
