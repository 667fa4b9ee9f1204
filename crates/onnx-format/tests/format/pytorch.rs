//! A model as PyTorch exports it: read, and run to PyTorch's own outputs.
//!
//! `scripts/make_pytorch_fixture.py` made the files.

use onnx2int_graph::{Op, Tensor, verify};
use onnx2int_onnx_format::{decode, encode};

const MODEL: &[u8] = include_bytes!("../fixtures/pytorch_small.onnx");
const EXPECTED: &str = include_str!("../fixtures/pytorch_small.expected.json");

/// Both sides compute in float, in different orders.
const TOLERANCE: f64 = 1e-5;

#[test]
fn the_shape_arithmetic_of_an_exporter_is_read() {
    let graph = decode(MODEL).unwrap();
    let count = |name: &str| graph.nodes().filter(|(_, node)| node.op.name() == name).count();
    for (op, expected) in [
        ("Constant", 4),
        ("Shape", 1),
        ("Gather", 1),
        ("Unsqueeze", 2),
        ("Concat", 1),
        ("Reshape", 1),
        ("Cast", 1),
    ] {
        assert_eq!(count(op), expected, "{op}");
    }
    assert!(matches!(graph.nodes().next_back().unwrap().1.op, Op::LogSoftmax { axis: 1 }));
    let [output] = graph.outputs() else { panic!("expected one output") };
    assert_eq!(graph.value(*output).ty.to_string(), "f32[batch,10]");
    let reread = decode(&encode(verify(&graph).unwrap())).unwrap();
    assert_eq!(reread, graph);
}

#[test]
fn it_computes_what_pytorch_computes() {
    let expected: serde_json::Value = serde_json::from_str(EXPECTED).unwrap();
    let numbers = |key: &str| -> Vec<f64> {
        expected[key].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let shape =
        |key: &str| -> Vec<usize> { numbers(key).into_iter().map(|extent| extent as usize).collect() };
    let unit = expected["input_unit"].as_f64().unwrap();
    let elements = numbers("input").into_iter().map(|number| (number * unit) as f32).collect();
    let input = Tensor::from_vec(&shape("input_shape"), elements).unwrap();

    let graph = decode(MODEL).unwrap();
    let outputs = onnx2int_interpreter::run(verify(&graph).unwrap(), &[input]).unwrap();
    assert_eq!(outputs[0].shape(), shape("output_shape"));
    let found = outputs[0].as_slice::<f32>().unwrap();
    for (found, expected) in found.iter().zip(numbers("output")) {
        assert!((f64::from(*found) - expected).abs() < TOLERANCE, "{found} {expected}");
    }
}
