//! What a file makes its reader allocate, against the file's size.
//!
//! One test alone, as the allocator counts what all threads of the process allocate.

use onnx2int_graph::{Dim, Stage, TensorType, range, verify, verify_stage};
use onnx2int_onnx_format::{decode, encode};
use peak_alloc::PeakAlloc;
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as DimValue};
use tract_onnx::pb::type_proto::{Tensor as TensorTypeProto, Value as TypeValue};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What any file may cost: the range analysis keeps at most 64 MB of intervals, see `range`.
const BASE: usize = 150_000_000;
/// And for each byte of the file. A node of 20 bytes has a name, a type and an operator.
const PER_BYTE: usize = 400;

fn value(name: &str, data_type: DataType, dims: Vec<DimValue>) -> ValueInfoProto {
    let dim =
        dims.into_iter().map(|value| Dimension { value: Some(value), ..Dimension::default() }).collect();
    let ty = TensorTypeProto { elem_type: data_type as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value: Some(TypeValue::TensorType(ty)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn with_int(mut node: NodeProto, name: &str, i: i64) -> NodeProto {
    let kind = AttributeType::Int as i32;
    node.attribute.push(AttributeProto {
        name: name.to_owned(),
        i,
        r#type: kind,
        ..AttributeProto::default()
    });
    node
}

fn model(inputs: Vec<ValueInfoProto>, initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> Vec<u8> {
    let output = node.last().map_or_else(String::new, |node| node.output[0].clone());
    let graph = GraphProto {
        name: "g".to_owned(),
        input: inputs,
        initializer,
        node,
        output: vec![ValueInfoProto { name: output, ..ValueInfoProto::default() }],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: 10,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 21 }],
        graph: Some(graph),
        ..ModelProto::default()
    }
    .encode_to_vec()
}

fn tensor(dims: &[i64], data_type: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: "t".to_owned(),
        dims: dims.to_vec(),
        data_type: data_type as i32,
        raw_data,
        ..TensorProto::default()
    }
}

/// `steps` nodes, the n-th of which is made from its number, its operand and its result.
fn chain(steps: usize, first: &str, step: impl Fn(&str, &str) -> NodeProto) -> Vec<NodeProto> {
    let name = |n: usize| if n == 0 { first.to_owned() } else { format!("v{n}") };
    (0..steps).map(|n| step(&name(n), &name(n + 1))).collect()
}

/// Files that claim far more than they are, and whether they are models.
fn hostile_files() -> Vec<(&'static str, Vec<u8>, bool)> {
    let number = |extent: i64| DimValue::DimValue(extent);
    let symbol = |name: &str| DimValue::DimParam(name.to_owned());
    let four_gigabytes =
        model(vec![], vec![tensor(&[1 << 30], DataType::Float, vec![0; 4])], vec![node("Relu", &["t"], "y")]);
    assert!(four_gigabytes.len() < 200);
    // Every step joins a list with itself: 2^40 elements, were it not for the limit of an extent.
    let doubled = model(
        vec![],
        vec![tensor(&[1], DataType::Int64, vec![1; 8])],
        chain(40, "t", |from, to| with_int(node("Concat", &[from, from], to), "axis", 0)),
    );
    // [A, 1] + [1, A] merges into [A*A], whose name is twice as long, and so on.
    let squared = (0..60).flat_map(|n| {
        let name = |part: &str| format!("{part}{n}");
        let from = if n == 0 { "x".to_owned() } else { format!("f{}", n - 1) };
        [
            node("Transpose", &[&from], &name("t")),
            node("Add", &[&from, &name("t")], &name("s")),
            with_int(node("Flatten", &[&name("s")], &name("f")), "axis", 2),
        ]
    });
    let squared =
        model(vec![value("x", DataType::Float, vec![symbol("A"), number(1)])], vec![], squared.collect());
    // Each step has an interval for each of a million channels.
    let wide = model(
        vec![value("x", DataType::Uint8, vec![symbol("N"), number(1 << 19)])],
        vec![tensor(&[1, 2], DataType::Uint8, vec![1, 2])],
        std::iter::once(with_int(node("Concat", &["x", "x"], "v0"), "axis", 1))
            .chain(chain(2_000, "v0", |from, to| node("Max", &[from, from], to)))
            .collect(),
    );
    let one_name =
        chain(20_000, "x", |from, to| NodeProto { name: "n".to_owned(), ..node("Relu", &[from], to) });
    let one_name = model(vec![value("x", DataType::Float, vec![symbol("N")])], vec![], one_name);
    let long_shape_chain = model(
        vec![],
        vec![tensor(&[2], DataType::Int64, vec![1; 16])],
        chain(20_000, "t", |from, to| node("Identity", &[from], to)),
    );
    let summands = vec!["x"; 100_000];
    let one_sum = model(
        vec![value("x", DataType::Float, vec![symbol("N"), number(2)])],
        vec![],
        vec![node("Sum", &summands, "y")],
    );
    // Each inner value is named after the output.
    let long_output = "y".repeat(100_000);
    let long_sum = model(
        vec![value("x", DataType::Float, vec![symbol("N")])],
        vec![],
        vec![node("Sum", &summands[..30_000], &long_output)],
    );
    // The message for each node would quote its type.
    let long_name = "N".repeat(100_000);
    let problems = (0..10_000).map(|n| node("Gemm", &["x", "x"], &format!("y{n}"))).collect();
    let long_symbol = model(vec![value("x", DataType::Float, vec![symbol(&long_name)])], vec![], problems);
    let problems = (0..10_000).map(|n| node("Gemm", &["x", "x"], &format!("y{n}"))).collect();
    let many_symbols = (0..64).map(|n| symbol(&format!("{n:0>200}"))).collect();
    let many_problems = model(vec![value("x", DataType::Float, many_symbols)], vec![], problems);
    vec![
        ("a tensor of 4 GB in 200 bytes", four_gigabytes, false),
        ("a list that doubles", doubled, false),
        ("a name that doubles", squared, false),
        ("a million channels", wide, true),
        ("nodes of one name", one_name, true),
        ("a long chain of shapes", long_shape_chain, true),
        ("a sum of a hundred thousand", one_sum, true),
        ("a sum of a long name", long_sum, true),
        ("a long name in every message", long_symbol, false),
        ("many long messages", many_problems, false),
    ]
}

#[test]
fn no_file_makes_its_reader_allocate_out_of_proportion() {
    for (what, bytes, is_model) in hostile_files() {
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        match decode(&bytes) {
            Ok(graph) => {
                assert!(is_model, "{what}: read");
                let verified = verify(&graph).unwrap();
                range::analyze(verified);
                assert!(verify_stage(&graph, Stage::ScaleOut).is_err(), "{what}");
                encode(verified);
            }
            Err(error) => {
                assert!(!is_model, "{what}: {error}");
                assert!(!error.to_string().is_empty());
            }
        }
        let used = ALLOCATOR.peak_usage().saturating_sub(before);
        let allowed = BASE + PER_BYTE * bytes.len();
        assert!(used <= allowed, "{what}: {} bytes allocate {used}, allowed are {allowed}", bytes.len());
    }
    // The counter counts.
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    drop(vec![TensorType::new(onnx2int_graph::DType::F32, [Dim::Fixed(1)]); 1000]);
    assert!(ALLOCATOR.peak_usage() > before + 1000);
}
