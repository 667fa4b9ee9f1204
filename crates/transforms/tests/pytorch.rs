//! `sanitize` on a file as PyTorch exports it: shape arithmetic by Shape, Constant, Gather, Unsqueeze
//! and Concat nodes, an idle Cast, a LogSoftmax at the end.

#![expect(clippy::unwrap_used, reason = "a test may stop where its own fixtures are wrong")]

use std::fs;
use std::path::Path;

use onnx2int_graph::{Graph, Op, Tensor, Verified, verify};
use onnx2int_transforms::passes::{Sanitize, sanitize};
use onnx2int_transforms::{RewriteLog, Transform};

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../onnx-format/tests/fixtures").join(name)).unwrap()
}

fn exported() -> Graph {
    onnx2int_onnx_format::decode(&fixture("pytorch_small.onnx")).unwrap()
}

fn interpreter(graph: Verified<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    onnx2int_interpreter::run(graph, inputs).map_err(|error| error.to_string())
}

/// The operators in execution order.
fn operators(graph: &Graph) -> Vec<&'static str> {
    graph.nodes().map(|(_, node)| node.op.name()).collect()
}

/// The input that PyTorch was given when the file was made.
fn input() -> Tensor {
    let expected: serde_json::Value =
        serde_json::from_slice(&fixture("pytorch_small.expected.json")).unwrap();
    let unit = expected["input_unit"].as_f64().unwrap();
    let numbers = |key: &str| expected[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
    let shape: Vec<usize> = numbers("input_shape").map(|extent| extent as usize).collect();
    Tensor::from_vec::<f32>(&shape, numbers("input").map(|value| (value * unit) as f32).collect()).unwrap()
}

#[test]
fn what_exporters_leave_behind_is_gone() {
    let graph = exported();
    for idle in ["Constant", "Shape", "Gather", "Unsqueeze", "Concat", "Reshape", "Cast", "LogSoftmax"] {
        assert!(operators(&graph).contains(&idle), "the fixture has a {idle}");
    }
    let mut log = RewriteLog::default();
    let clean = Sanitize.rewrite(verify(&graph).unwrap(), &interpreter, &mut log).unwrap();
    assert_eq!(
        operators(&clean),
        ["Conv", "Relu", "MaxPool", "Conv", "Relu", "Flatten", "Gemm", "Relu", "Gemm"],
        "{}",
        clean.to_text()
    );
    let flatten = clean.nodes().find(|(_, node)| matches!(node.op, Op::Flatten { axis: 1 })).unwrap().1;
    assert_eq!(clean.value(flatten.output).ty.to_string(), "f32[batch,6]");
    assert_eq!(clean.value(clean.outputs()[0]).name, "logits");
    assert!(log.sites().iter().any(|site| site.node == "/Reshape" && site.change == "Reshape is Flatten"));
    assert!(log.sites().iter().any(|site| site.node == "/Cast" && site.change == "idle Cast removed"));
}

#[test]
fn folding_changes_no_bit_of_the_outputs() {
    let graph = exported();
    let before = verify(&graph).unwrap();
    let folded = sanitize::fold(before, &interpreter, &mut RewriteLog::default()).unwrap();
    assert_eq!(folded.value(folded.outputs()[0]).name, "log_probabilities");
    let inputs = [input()];
    assert_eq!(interpreter(before, &inputs), interpreter(verify(&folded).unwrap(), &inputs));
}

#[test]
fn a_second_run_finds_nothing() {
    let graph = exported();
    let once = Sanitize.rewrite(verify(&graph).unwrap(), &interpreter, &mut RewriteLog::default()).unwrap();
    let mut log = RewriteLog::default();
    let twice = Sanitize.rewrite(verify(&once).unwrap(), &interpreter, &mut log).unwrap();
    assert_eq!(log.sites(), []);
    assert_eq!(once.to_full_text(), twice.to_full_text());
}
