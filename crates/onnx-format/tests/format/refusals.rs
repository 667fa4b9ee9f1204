//! Models that are refused, and what is said of them.

use onnx2int_onnx_format::{Place, decode};
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{
    AttributeProto, FunctionProto, GraphProto, NodeProto, StringStringEntryProto, TensorAnnotation,
    TensorProto, TrainingInfoProto, ValueInfoProto,
};

use crate::models::{
    attribute, floats, graph, int, ints, model, node, numbers, problem, problems, refuse, string, with,
};

/// What is said of a graph of one node.
fn refusal(node: NodeProto) -> String {
    let mut graph = graph(vec![node]);
    graph.initializer =
        vec![floats("w", &[4, 2, 3, 3]), TensorProto { dims: vec![], ..floats("scale", &[1]) }];
    problem(graph)
}

#[test]
fn all_unsupported_nodes_are_named_at_once() {
    let body = AttributeProto { g: Some(GraphProto::default()), ..attribute("body", AttributeType::Graph) };
    let foreign = NodeProto { domain: "com.microsoft".to_owned(), ..node("FusedConv", &["b"], "c") };
    let unknown = NodeProto { domain: "my.own".to_owned(), ..node("Relu", &["b"], "g") };
    let found = problems(graph(vec![
        node("Sin", &["x"], "a"),
        node("Relu", &["a"], "b"),
        foreign,
        unknown,
        with(node("Loop", &["x"], "d"), [body.clone()]),
        with(node("Relu", &["x"], "e"), [body]),
        with(node("Cast", &["x"], "f"), [int("to", 10)]),
        node("Add", &["c", "d"], "y"),
    ]));
    let places: Vec<_> = found.iter().map(|problem| problem.place.to_string()).collect();
    assert_eq!(
        places,
        [
            "node \"make a\" (Sin)",
            "node \"make c\" (com.microsoft.FusedConv)",
            "node \"make g\" (my.own.Relu)",
            "node \"make d\" (Loop)",
            "node \"make e\" (Relu)",
            "node \"make f\" (Cast)"
        ]
    );
    assert!(found[0].reason.starts_with("the operator is not supported; expected one of Add, ArgMax"));
    assert!(
        found[1].reason.starts_with("the operator is not supported; expected one of DequantizeLinear, QGemm")
    );
    assert_eq!(found[2].reason, "operators of domain \"my.own\" are not supported");
    assert_eq!(found[4].reason, "attribute \"body\" is not supported");
    assert!(found[5].reason.starts_with("element type FLOAT16 is not supported"), "{}", found[5].reason);
}

#[test]
fn one_message_lists_every_problem() {
    let error = refuse(&model(graph(vec![node("Sin", &["x"], "a"), node("Cos", &["x"], "y")])));
    let text = error.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "2 parts of the model cannot be read");
    assert!(lines[1].starts_with("  node \"make a\" (Sin): the operator is not supported"), "{text}");
    assert!(lines[2].starts_with("  node \"make y\" (Cos): the operator is not supported"), "{text}");
    assert_eq!(lines.len(), 3);
    // What can be read is listed once.
    assert_eq!(text.matches("expected one of Add, ArgMax").count(), 1, "{text}");
}

#[test]
fn attributes_that_change_the_meaning_are_refused() {
    let pool = || with(node("MaxPool", &["x"], "y"), [ints("kernel_shape", &[2, 2])]);
    let referring =
        AttributeProto { ref_attr_name: "alpha".to_owned(), ..attribute("axis", AttributeType::Int) };
    for (node, reason) in [
        (with(node("Relu", &["x"], "y"), [int("axis", 1)]), "attribute \"axis\" is not supported"),
        (
            with(node("Relu", &["x"], "y"), [int("b", 1), int("a", 1)]),
            "attributes [\"a\", \"b\"] are not supported",
        ),
        (
            with(node("ArgMax", &["x"], "y"), [int("select_last_index", 1)]),
            "attribute \"select_last_index\" is supported with value 0 only, found 1",
        ),
        (
            with(node("ArgMax", &["x"], "y"), [int("keepdims", 2)]),
            "attribute \"keepdims\": expected 0 or 1, found 2",
        ),
        (
            with(node("Flatten", &["x"], "y"), [ints("axis", &[1])]),
            "attribute \"axis\": expected type INT, found INTS",
        ),
        (
            with(node("Flatten", &["x"], "y"), [int("axis", 1), int("axis", 1)]),
            "attribute \"axis\" is given twice",
        ),
        (
            with(node("Flatten", &["x"], "y"), [referring]),
            "attribute \"axis\" refers to a function's attribute",
        ),
        (
            with(pool(), [int("storage_order", 1)]),
            "attribute \"storage_order\" is supported with value 0 only, found 1",
        ),
        (
            with(pool(), [string("auto_pad", "SAME")]),
            "attribute \"auto_pad\": expected NOTSET, VALID, SAME_UPPER or SAME_LOWER, found \"SAME\"",
        ),
        (
            with(pool(), [string("auto_pad", "VALID"), int("ceil_mode", 1)]),
            "attribute \"ceil_mode\" is not supported together with \"auto_pad\"",
        ),
        (
            with(pool(), [string("auto_pad", "SAME_UPPER"), ints("pads", &[1, 1, 1, 1])]),
            "attributes \"auto_pad\" and \"pads\" exclude each other",
        ),
        (with(pool(), [ints("pads", &[1, 1])]), "attribute \"pads\": expected 4 numbers, found [1, 1]"),
        (
            with(pool(), [ints("pads", &[-1, 0, 0, 0])]),
            "attribute \"pads\": expected numbers from 0 to 2147483647, found -1",
        ),
        (
            with(pool(), [ints("strides", &[0, 1])]),
            "attribute \"strides\": expected numbers from 1 to 2147483647, found 0",
        ),
        (with(pool(), [ints("dilations", &[1])]), "attribute \"dilations\": expected 2 numbers, found [1]"),
        (node("MaxPool", &["x"], "y"), "attribute \"kernel_shape\" is missing"),
        (
            with(node("Conv", &["x", "w"], "y"), [ints("kernel_shape", &[5, 5])]),
            "attribute \"kernel_shape\" is [5, 5], that of the weights [3, 3]",
        ),
        (
            with(node("Conv", &["x", "w"], "y"), [int("group", 0)]),
            "attribute \"group\": expected 1 and above, found 0",
        ),
        (node("Conv", &["x"], "y"), "operand 1 is missing"),
        (
            with(node("QuantizeLinear", &["x", "scale"], "y"), [int("block_size", 32)]),
            "attribute \"block_size\" is supported with value 0 only, found 32",
        ),
        (
            with(node("QuantizeLinear", &["x", "scale"], "y"), [int("output_dtype", 3)]),
            "attribute \"output_dtype\" is i8, but the zero point makes it u8",
        ),
        (
            with(node("QuantizeLinear", &["x", "scale"], "y"), [int("precision", 10)]),
            "attribute \"precision\": element type FLOAT16 is not supported; expected FLOAT, UINT8, INT8, INT32, \
             INT64 or BOOL",
        ),
        (
            with(node("DequantizeLinear", &["x", "scale"], "y"), [int("output_dtype", 2)]),
            "attribute \"output_dtype\": expected the scale's type f32, found u8",
        ),
        (
            with(node("ReduceMean", &["x"], "y"), [int("noop_with_empty_axes", 1)]),
            "attribute \"noop_with_empty_axes\" is supported with value 0 only, found 1",
        ),
        (
            with(node("BatchNormalization", &["x"; 5], "y"), [int("training_mode", 1)]),
            "attribute \"training_mode\" is supported with value 0 only, found 1",
        ),
        (
            with(node("Pad", &["x", "x"], "y"), [string("mode", "reflect")]),
            "attribute \"mode\" is supported with value \"constant\" only, found \"reflect\"; pad with constants, \
             or outside of the model",
        ),
        (
            with(node("Gelu", &["x"], "y"), [string("approximate", "fast")]),
            "attribute \"approximate\": expected none or tanh, found \"fast\"",
        ),
        (
            with(
                node("AveragePool", &["x"], "y"),
                [ints("kernel_shape", &[2, 2]), int("count_include_pad", 2)],
            ),
            "attribute \"count_include_pad\": expected 0 or 1, found 2",
        ),
        (node("Sum", &[], "y"), "expected at least one operand"),
        (node("Constant", &[], "y"), "no attribute gives its value"),
        (
            with(node("Constant", &[], "y"), [int("value_int", 1), ints("value_ints", &[1])]),
            "several attributes give its value",
        ),
        (
            with(node("Constant", &[], "y"), [string("value_string", "text")]),
            "attribute \"value_string\" is not supported",
        ),
    ] {
        let expected = format!("node \"make y\" ({}): {reason}", node.op_type);
        assert_eq!(refusal(node), expected);
    }
}

#[test]
fn operands_that_the_operator_does_not_take_are_refused() {
    assert_eq!(
        refusal(node("Relu", &["x", "w"], "y")),
        "node \"make y\" (Relu): expected 1 operands, found 2"
    );
    assert_eq!(
        refusal(node("Add", &["x", ""], "y")),
        "node \"make y\" (Add): expected operand 1, found none"
    );
    let matrices = problem(graph(vec![node("Gemm", &["x", "x"], "y")]));
    assert_eq!(
        matrices,
        "node \"make y\" (Gemm): expected two matrices, found f32[N,2,6,6] and f32[N,2,6,6]"
    );
}

#[test]
fn nodes_must_be_in_order() {
    let unordered = graph(vec![node("Relu", &["r"], "y"), node("Relu", &["x"], "r")]);
    assert_eq!(
        problem(unordered),
        "node \"make y\" (Relu): operand 0 is \"r\", which no input, initializer or earlier node gives"
    );
    let circle = graph(vec![node("Add", &["x", "y"], "y")]);
    assert!(problem(circle).contains("operand 1 is \"y\""));
}

#[test]
fn a_second_output_in_use_is_refused() {
    let mut dropout = node("Dropout", &["x"], "a");
    dropout.output.push("mask".to_owned());
    let found = problem(graph(vec![dropout, node("Relu", &["mask"], "y")]));
    assert_eq!(
        found,
        "node \"make a\" (Dropout): its output 1, \"mask\", is in use; only the first is supported"
    );
}

#[test]
fn names_may_not_clash_or_be_missing() {
    let twice = graph(vec![node("Relu", &["x"], "x")]);
    assert!(problems(twice)[0].to_string().ends_with("the name \"x\" is taken"));
    let mut silent = node("Relu", &["x"], "");
    silent.name = "quiet".to_owned();
    assert!(
        problems(graph(vec![silent]))[0]
            .to_string()
            .contains("node \"quiet\" (Relu): its first output has no name")
    );
}

#[test]
fn outputs_must_be_there_and_distinct() {
    let mut none = graph(vec![node("Relu", &["x"], "y")]);
    none.output.clear();
    assert_eq!(problem(none), "the model: expected a graph output, found none");
    let missing = graph(vec![node("Relu", &["x"], "z")]);
    assert_eq!(problem(missing), "graph output \"y\": no input, initializer or node gives it");
    let mut twice = graph(vec![node("Relu", &["x"], "y")]);
    twice.output.push(ValueInfoProto { name: "y".to_owned(), ..ValueInfoProto::default() });
    assert_eq!(problem(twice), "graph output \"y\": it is listed twice");
}

#[test]
fn other_parts_of_a_model_are_refused() {
    let relu = || graph(vec![node("Relu", &["x"], "y")]);
    let mut functions = model(relu());
    functions.functions = vec![FunctionProto::default()];
    assert_eq!(refuse(&functions).to_string(), "the model: functions are not supported; inline them before");
    let mut training = model(relu());
    training.training_info = vec![TrainingInfoProto::default()];
    assert!(refuse(&training).to_string().starts_with("the model: training_info is not supported"));
    let mut metadata = model(relu());
    let entry = StringStringEntryProto { key: "author".to_owned(), value: "me".to_owned() };
    metadata.metadata_props = vec![entry.clone(), entry.clone()];
    assert_eq!(refuse(&metadata).to_string(), "the model: metadata key \"author\" is given twice");
    let mut annotated = relu();
    annotated.quantization_annotation = vec![TensorAnnotation {
        tensor_name: Some("y".to_owned()),
        quant_parameter_tensor_names: vec![entry],
    }];
    assert_eq!(
        problem(annotated),
        "value \"y\": quantization annotation: expected SCALE_TENSOR and ZERO_POINT_TENSOR, found [\"author\"]"
    );
}

#[test]
fn results_of_any_size_are_refused_rather_than_computed_with() {
    let mut wide = graph(vec![node("Concat", &["w", "w"], "a"), node("Reshape", &["x", "shape"], "y")]);
    wide.node[0].attribute = vec![int("axis", 0)];
    wide.initializer = vec![floats("w", &[1]), numbers("shape", &[i64::MAX, i64::MAX, i64::MAX])];
    assert!(matches!(problems(wide)[0].place, Place::Node { .. }));
    let pads = i64::from(i32::MAX);
    let padded = |pad| {
        let conv = with(node("Conv", &["x", "w"], "y"), [ints("pads", &[pad; 4])]);
        problem(GraphProto { initializer: vec![floats("w", &[4, 2, 3, 3])], ..graph(vec![conv]) })
    };
    assert!(padded(pads).contains("its result: type f32[N,4,4294967298,4294967298] is too large"));
    assert!(padded(pads + 1).contains("expected numbers from 0 to 2147483647, found 2147483648"));
}

#[test]
fn what_is_no_model_is_called_that() {
    let mut headless = model(GraphProto::default());
    headless.graph = None;
    let mut versionless = model(graph(vec![node("Relu", &["x"], "y")]));
    versionless.ir_version = 0;
    let mut setless = model(graph(vec![node("Relu", &["x"], "y")]));
    setless.opset_import.clear();
    let text = b"import torch\n".to_vec();
    let png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (bytes, reason) in [
        (vec![], "the file is empty"),
        (headless.encode_to_vec(), "it holds no graph"),
        (versionless.encode_to_vec(), "ir_version is 0; expected 3 or more"),
        (setless.encode_to_vec(), "it imports no operator set of the default domain"),
        // A valid message all of whose fields are unknown.
        (vec![0xa0, 0x06, 0x01], "it holds no graph"),
        (text, ""),
        (png, ""),
    ] {
        let error = decode(&bytes).expect_err("this is no model").to_string();
        assert!(error.starts_with("not an ONNX model: "), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}
