//! Damaged files: an error or another graph, never a panic.

use std::fs;

use onnx2int_graph::verify;
use onnx2int_onnx_format::{DecodeError, decode, encode};
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

use crate::models::{floats, graph, int, ints, model, node, numbers, with};

fn fixture() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pytorch_small.onnx");
    fs::read(path).expect("the fixture is committed")
}

/// Whatever decodes can be handled further.
fn probe(bytes: &[u8]) {
    if let Ok(graph) = decode(bytes)
        && let Ok(verified) = verify(&graph)
    {
        decode(&encode(verified)).expect("a file of ours is readable");
    }
}

#[test]
fn a_file_cut_short_anywhere_does_not_panic() {
    let bytes = fixture();
    for length in 0..bytes.len() {
        probe(&bytes[..length]);
    }
}

#[test]
fn a_file_cut_short_within_its_graph_is_no_onnx_model() {
    let bytes = fixture();
    // The graph is one field, and by far the longest.
    for length in (64..bytes.len() - 64).step_by(97) {
        let error = decode(&bytes[..length]).expect_err("the graph is incomplete");
        assert!(matches!(error, DecodeError::NotOnnx { .. }), "{error}");
    }
}

#[test]
fn bits_of_every_byte_may_flip() {
    let mut bytes = fixture();
    for index in 0..bytes.len() {
        // The highest bit continues a number of protobuf, the lowest ones tell the kind of a field.
        for bit in [0, 2, 7] {
            bytes[index] ^= 1 << bit;
            probe(&bytes);
            bytes[index] ^= 1 << bit;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bytes_may_be_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        probe(&bytes);
    }

    #[test]
    fn several_bytes_of_a_file_may_change(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = fixture();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        probe(&bytes);
    }
}

/// Numbers at which careless arithmetic goes wrong, and small ones.
fn any_number() -> impl Strategy<Value = i64> {
    let edges = vec![i64::MIN, i64::MIN + 1, i32::MIN.into(), i32::MAX.into(), i64::MAX - 1, i64::MAX];
    prop_oneof![-3_i64..8, -3_i64..8, select(edges)]
}

const OP_TYPES: &str = "Add ArgMax Cast Clip Concat Constant Conv ConvInteger DequantizeLinear Div Dropout \
    Flatten Gather Gemm Identity LogSoftmax MatMul MatMulInteger Max MaxPool Min Mul QuantizeLinear Relu \
    Reshape Shape Slice Softmax Squeeze Sub Transpose Unsqueeze";

fn one_of(words: &'static str) -> impl Strategy<Value = &'static str> {
    select(words.split_whitespace().collect::<Vec<_>>())
}

fn any_attribute() -> impl Strategy<Value = AttributeProto> {
    prop_oneof![
        (one_of("axis group to start end value_int"), any_number())
            .prop_map(|(name, number)| int(name, number)),
        (
            one_of("pads strides dilations kernel_shape perm value_ints"),
            prop::collection::vec(any_number(), 0..5),
        )
            .prop_map(|(name, numbers)| ints(name, &numbers)),
        (one_of("allowzero keepdims ceil_mode transA transB"), 0_i64..2)
            .prop_map(|(name, flag)| int(name, flag)),
    ]
}

/// A node that reads what is there before it, in no sensible way.
fn any_node(position: usize) -> impl Strategy<Value = NodeProto> {
    let mut names = vec!["x", "x", "weights", "bytes", "vector", "numbers", "number", ""];
    names.extend(["n0", "n1", "n2", "n3"].into_iter().take(position));
    let inputs = prop::collection::vec(select(names), 0..5);
    let attributes = prop::collection::vec(any_attribute(), 0..4);
    (one_of(OP_TYPES), inputs, attributes).prop_map(move |(op_type, inputs, attributes)| {
        with(node(op_type, &inputs, &format!("n{position}")), attributes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_well_formed_file_may_say_anything(
        nodes in (any_node(0), any_node(1), any_node(2), any_node(3)),
        shape in prop::collection::vec(any_number(), 0..4),
        output in 0..4,
    ) {
        let mut graph = graph(vec![nodes.0, nodes.1, nodes.2, nodes.3]);
        graph.output[0].name = format!("n{output}");
        let bytes =
            TensorProto { data_type: DataType::Uint8 as i32, int32_data: vec![1; 8], ..floats("bytes", &[4, 2, 1, 1]) };
        graph.initializer = vec![
            floats("weights", &[4, 2, 3, 3]),
            TensorProto { float_data: vec![], ..bytes },
            floats("vector", &[2]),
            numbers("numbers", &shape),
            TensorProto { dims: vec![], ..numbers("number", &[shape.first().copied().unwrap_or(0)]) },
        ];
        probe(&model(graph).encode_to_vec());
    }
}
