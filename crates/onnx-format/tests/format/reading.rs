//! What the reader makes of names, defaults and older operator sets.

use onnx2int_graph::{Op, Pads, QuantizationAnnotation, Tensor};
use onnx2int_onnx_format::{ACCEPTED_OPSETS, DecodeError};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorAnnotation, TensorProto,
};

use crate::models::{
    attribute, floats, graph, int, ints, model, node, numbers, problem, read, read_graph, refuse, string,
    type_of_y, with,
};

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_owned(), value: value.to_owned() }
}

/// The operator of the node that makes `y`.
fn op_of_y(graph: &onnx2int_graph::Graph) -> &Op {
    let y = graph.value_by_name("y").expect("there is a value y");
    &graph.producer(y).expect("a node makes it").1.op
}

#[test]
fn every_accepted_operator_set_is_read_and_others_are_refused_by_number() {
    for version in 1..=30 {
        let mut model = model(graph(vec![node("Relu", &["x"], "y")]));
        model.opset_import = vec![
            OperatorSetIdProto { domain: "com.microsoft".to_owned(), version: 1 },
            OperatorSetIdProto { domain: String::new(), version },
        ];
        if ACCEPTED_OPSETS.contains(&version) {
            assert_eq!(op_of_y(&read(&model)), &Op::Relu);
        } else {
            let error = refuse(&model);
            assert_eq!(error, DecodeError::Opset { found: version });
            assert!(error.to_string().contains("expected 7 to 28"), "{error}");
        }
    }
}

#[test]
fn the_default_domain_has_one_version() {
    let mut twice = model(graph(vec![node("Relu", &["x"], "y")]));
    let set = |version| OperatorSetIdProto { domain: "ai.onnx".to_owned(), version };
    twice.opset_import.push(set(21));
    assert_eq!(op_of_y(&read(&twice)), &Op::Relu);
    twice.opset_import.push(set(13));
    assert!(refuse(&twice).to_string().contains("the operator sets 21 and 13"));
}

#[test]
fn attributes_of_newer_sets_are_read_where_they_change_nothing() {
    for (op, attribute) in [
        ("QuantizeLinear", int("precision", 1)),
        ("QuantizeLinear", int("precision", 0)),
        ("DequantizeLinear", int("output_dtype", 1)),
        ("DequantizeLinear", int("block_size", 0)),
    ] {
        let operand = if op == "QuantizeLinear" { "x" } else { "bytes" };
        let mut graph = graph(vec![with(node(op, &[operand, "scale"], "y"), [attribute])]);
        let scale = TensorProto { dims: vec![], ..floats("scale", &[1]) };
        let bytes = TensorProto {
            name: "bytes".to_owned(),
            dims: vec![2],
            data_type: DataType::Uint8 as i32,
            raw_data: vec![1, 2],
            ..TensorProto::default()
        };
        graph.initializer = vec![scale, bytes];
        assert_eq!(op_of_y(&read_graph(graph)).name(), op);
    }
    let cast = with(node("Cast", &["x"], "y"), [int("to", 2), string("round_mode", "down")]);
    assert_eq!(op_of_y(&read_graph(graph(vec![cast]))).name(), "Cast");
}

#[test]
fn names_are_kept_and_made_where_missing() {
    let unnamed = |op, input: &str, output| NodeProto { name: String::new(), ..node(op, &[input], output) };
    let named = |name: &str, input: &str, output| NodeProto {
        name: name.to_owned(),
        ..node("Relu", &[input], output)
    };
    let read = read_graph(graph(vec![
        unnamed("Relu", "x", "a"),
        named("twin", "a", "b"),
        named("twin", "b", "c"),
        named("Relu_a", "c", "d"),
        named("twin_2", "d", "e"),
        unnamed("Flatten", "e", "y"),
    ]));
    let names: Vec<_> = read.nodes().map(|(_, node)| node.name.as_str()).collect();
    assert_eq!(names, ["Relu_a_2", "twin", "twin_3", "Relu_a", "twin_2", "Flatten_y"]);
}

#[test]
fn operands_left_out_stay_left_out() {
    let mut graph = graph(vec![node("Clip", &["x", "", "high"], "y")]);
    graph.initializer = vec![TensorProto { dims: vec![], ..floats("high", &[1]) }];
    let graph = read_graph(graph);
    let (_, clip) = graph.nodes().next().unwrap();
    assert_eq!((clip.inputs.len(), clip.input(1)), (3, None));
    assert_eq!(graph.constant_operand(clip, 2), Some(&Tensor::scalar(0.0_f32)));
}

#[test]
fn dropout_with_an_unused_mask_is_the_identity() {
    let mut dropout = with(node("Dropout", &["x", "ratio", "training"], "y"), [int("seed", 1)]);
    dropout.output.push("mask".to_owned());
    let mut graph = graph(vec![dropout]);
    graph.initializer = vec![TensorProto { dims: vec![], ..floats("ratio", &[1]) }, training(0)];
    assert_eq!(type_of_y(&read_graph(graph)), "f32[N,2,6,6]");
}

fn training(flag: i32) -> TensorProto {
    TensorProto {
        name: "training".to_owned(),
        data_type: DataType::Bool as i32,
        int32_data: vec![flag],
        ..TensorProto::default()
    }
}

#[test]
fn dropout_in_training_mode_is_refused() {
    let mut training_graph = graph(vec![node("Dropout", &["x", "", "training"], "y")]);
    training_graph.initializer = vec![training(1)];
    assert_eq!(
        problem(training_graph),
        "node \"make y\" (Dropout): operand 2 (training_mode) must be constant and false; export the model for \
         inference"
    );
}

#[test]
fn constants_of_every_kind_stay_nodes() {
    let value = AttributeProto { t: Some(numbers("", &[1, 2])), ..attribute("value", AttributeType::Tensor) };
    let float = AttributeProto { f: 1.5, ..attribute("value_float", AttributeType::Float) };
    let floats =
        AttributeProto { floats: vec![1.5, 2.5], ..attribute("value_floats", AttributeType::Floats) };
    for (attribute, expected) in [
        (value, Tensor::vector(vec![1_i64, 2])),
        (float, Tensor::scalar(1.5_f32)),
        (floats, Tensor::vector(vec![1.5_f32, 2.5])),
        (int("value_int", 7), Tensor::scalar(7_i64)),
        (ints("value_ints", &[7, -8]), Tensor::vector(vec![7_i64, -8])),
    ] {
        let read = read_graph(graph(vec![with(node("Constant", &[], "y"), [attribute])]));
        assert_eq!(op_of_y(&read), &Op::Constant(expected));
    }
}

#[test]
fn defaults_are_those_of_onnx() {
    let cases = [
        (node("Flatten", &["x"], "y"), Op::Flatten { axis: 1 }),
        (node("Softmax", &["x"], "y"), Op::Softmax { axis: -1 }),
        (node("LogSoftmax", &["x"], "y"), Op::LogSoftmax { axis: -1 }),
        (node("ArgMax", &["x"], "y"), Op::ArgMax { axis: 0, keepdims: true }),
        (node("Gather", &["x", "one"], "y"), Op::Gather { axis: 0 }),
        (node("Shape", &["x"], "y"), Op::Shape { start: 0, end: None }),
        (node("QuantizeLinear", &["x", "scale"], "y"), Op::QuantizeLinear { axis: 1 }),
        (node("Transpose", &["x"], "y"), Op::Transpose { perm: vec![3, 2, 1, 0] }),
        (node("Gemm", &["matrix", "matrix"], "y"), Op::Gemm(Default::default())),
        (node("Reshape", &["x", "shape"], "y"), Op::Reshape { allow_zero: false }),
    ];
    for (node, expected) in cases {
        let mut graph = graph(vec![node]);
        let scale = TensorProto { dims: vec![], ..floats("scale", &[1]) };
        graph.initializer =
            vec![numbers("one", &[0]), scale, floats("matrix", &[3, 3]), numbers("shape", &[0, -1])];
        assert_eq!(op_of_y(&read_graph(graph)), &expected);
    }
}

#[test]
fn automatic_padding_becomes_explicit() {
    // Kernel 3, stride 2 over 6 cells: 3 windows reach over (3 - 1) * 2 + 3 = 7 cells.
    for (auto_pad, begin, end, extent) in
        [("NOTSET", 0, 0, 2), ("VALID", 0, 0, 2), ("SAME_UPPER", 0, 1, 3), ("SAME_LOWER", 1, 0, 3)]
    {
        let expected = Pads { begin: vec![begin; 2], end: vec![end; 2] };
        let attributes = || [string("auto_pad", auto_pad), ints("strides", &[2, 2])];
        let pool = with(node("MaxPool", &["x"], "y"), attributes());
        let read = read_graph(graph(vec![with(pool, [ints("kernel_shape", &[3, 3])])]));
        let Op::MaxPool(pool) = op_of_y(&read) else { panic!("expected a MaxPool") };
        assert_eq!(pool.pads, expected);
        assert_eq!(type_of_y(&read), format!("f32[N,2,{extent},{extent}]"));

        let mut conv = graph(vec![with(node("Conv", &["x", "w"], "y"), attributes())]);
        conv.initializer = vec![floats("w", &[4, 2, 3, 3])];
        let read = read_graph(conv);
        let Op::Conv(conv) = op_of_y(&read) else { panic!("expected a Conv") };
        assert_eq!((&conv.pads, &conv.dilations, conv.group), (&expected, &vec![1, 1], 1));
        assert_eq!(type_of_y(&read), format!("f32[N,4,{extent},{extent}]"));
    }
}

#[test]
fn metadata_and_annotations_are_kept() {
    let quantize = node("QuantizeLinear", &["x", "scale", "zero"], "y");
    let mut quantized = graph(vec![quantize]);
    quantized.initializer = vec![
        TensorProto { dims: vec![], ..floats("scale", &[1]) },
        TensorProto {
            name: "zero".to_owned(),
            data_type: DataType::Int8 as i32,
            int32_data: vec![-3],
            ..TensorProto::default()
        },
    ];
    quantized.quantization_annotation = vec![TensorAnnotation {
        tensor_name: Some("y".to_owned()),
        quant_parameter_tensor_names: vec![
            entry("ZERO_POINT_TENSOR", "zero"),
            entry("SCALE_TENSOR", "scale"),
        ],
    }];
    let mut model = model(quantized);
    model.metadata_props = vec![entry("onnx2int.stage", "quantized"), entry("author", "")];
    let read = read(&model);
    assert_eq!(type_of_y(&read), "i8[N,2,6,6]");
    let y = read.value(read.value_by_name("y").unwrap());
    let expected = QuantizationAnnotation { scale: "scale".to_owned(), zero_point: "zero".to_owned() };
    assert_eq!(y.annotation, Some(expected));
    let metadata: Vec<_> =
        read.metadata().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(metadata, [("author", ""), ("onnx2int.stage", "quantized")]);
}

#[test]
fn what_no_output_depends_on_is_dropped() {
    let read = read_graph(graph(vec![node("Relu", &["x"], "dead"), node("Flatten", &["x"], "y")]));
    assert_eq!(read.nodes().len(), 1);
}

#[test]
fn a_graph_without_a_name_gets_one() {
    let mut unnamed = graph(vec![node("Relu", &["x"], "y")]);
    unnamed.name.clear();
    assert_eq!(read_graph(unnamed).name(), "main_graph");
}
