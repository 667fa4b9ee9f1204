//! Operators of older sets, whose form is another one, and operators that become several nodes.

use onnx2int_graph::{Graph, Op, Tensor};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

use crate::models::{attribute, floats, graph, int, ints, model, node, numbers, read, refuse, string, with};

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, AttributeType::Float) }
}

/// A model of that operator set and a node that reads `x: f32[N,2,6,6]`, the vectors `v` and `axes`.
fn at(version: i64, node: NodeProto) -> ModelProto {
    let mut graph = graph(vec![node]);
    graph.initializer = vec![floats("v", &[2]), numbers("axes", &[2, 3])];
    let mut model = model(graph);
    model.opset_import[0].version = version;
    model
}

/// The graph as text, but for what all of these graphs have.
fn text(graph: &Graph) -> String {
    let text = graph.to_text();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("graph ") && !line.starts_with("in ") && !line.starts_with("out "));
    lines.collect::<Vec<_>>().join("\n")
}

fn lines(version: i64, node: NodeProto) -> String {
    text(&read(&at(version, node)))
}

fn refusal(version: i64, node: NodeProto) -> String {
    refuse(&at(version, node)).to_string()
}

#[test]
fn bounds_of_clip_were_attributes() {
    let clip = || node("Clip", &["x"], "y");
    let relu6 = || with(clip(), [float("min", 0.0), float("max", 6.0)]);
    for version in [7, 10] {
        assert_eq!(lines(version, relu6()), r#"%y: f32[N,2,6,6] = Clip(%x, 0.0, 6.0) @"make y""#);
        let high = with(clip(), [float("max", 6.0)]);
        assert_eq!(lines(version, high), r#"%y: f32[N,2,6,6] = Clip(%x, _, 6.0) @"make y""#);
        assert_eq!(lines(version, clip()), r#"%y: f32[N,2,6,6] = Clip(%x) @"make y""#);
    }
    assert_eq!(
        refusal(11, relu6()),
        "node \"make y\" (Clip): attributes [\"max\", \"min\"] are not supported"
    );
    assert_eq!(
        refusal(10, node("Clip", &["x", "v"], "y")),
        "node \"make y\" (Clip): expected at most 1 operands in this operator set, found 2"
    );
}

#[test]
fn axes_were_attributes() {
    let axes = |op: &str| with(node(op, &["x"], "y"), [ints("axes", &[2, -1])]);
    let mean = "const %y_axes: i64[2] = [2, -1]\n%y: f32[N,2,1,1] = ReduceMean(%x, %y_axes) @\"make y\"";
    for version in [7, 11, 17] {
        assert_eq!(lines(version, axes("ReduceMean")), mean);
    }
    let all = with(node("ReduceMean", &["x"], "y"), [int("keepdims", 0)]);
    assert_eq!(lines(17, all), "%y: f32[] = ReduceMean(%x) keepdims=0 @\"make y\"");
    assert_eq!(
        lines(18, node("ReduceMean", &["x", "axes"], "y")),
        "const %axes: i64[2] = [2, 3]\n%y: f32[N,2,1,1] = ReduceMean(%x, %axes) @\"make y\""
    );
    assert_eq!(
        refusal(18, axes("ReduceMean")),
        "node \"make y\" (ReduceMean): attribute \"axes\" is not supported"
    );

    assert_eq!(
        lines(12, axes("Unsqueeze")),
        "const %y_axes: i64[2] = [2, -1]\n%y: f32[N,2,1,6,6,1] = Unsqueeze(%x, %y_axes) @\"make y\""
    );
    let squeeze = with(node("Squeeze", &["x"], "y"), [ints("axes", &[1])]);
    let mut model = at(11, squeeze);
    let proto = model.graph.as_mut().expect("it has a graph");
    proto.input[0] = crate::models::value(
        "x",
        tract_onnx::pb::tensor_proto::DataType::Float,
        &[crate::models::Extent::Named("N"), crate::models::Extent::Fixed(1)],
    );
    assert_eq!(
        text(&read(&model)),
        "const %y_axes: i64[1] = [1]\n%y: f32[N] = Squeeze(%x, %y_axes) @\"make y\""
    );
}

#[test]
fn pads_and_slices_were_attributes() {
    let pad = || with(node("Pad", &["x"], "y"), [ints("pads", &[0, 0, 1, 2, 0, 0, 3, 4])]);
    let pads = "const %y_pads: i64[8] = [0, 0, 1, 2, 0, 0, 3, 4]\n";
    let valued = with(pad(), [float("value", 0.5), string("mode", "constant")]);
    for version in [7, 10] {
        assert_eq!(lines(version, pad()), format!("{pads}%y: f32[N,2,10,12] = Pad(%x, %y_pads) @\"make y\""));
        assert_eq!(
            lines(version, valued.clone()),
            format!("{pads}%y: f32[N,2,10,12] = Pad(%x, %y_pads, 0.5) @\"make y\"")
        );
    }
    let cropped = with(node("Pad", &["x"], "y"), [ints("pads", &[0, 0, -1, 0, 0, 0, 0, 0])]);
    assert_eq!(
        refusal(10, cropped),
        "node \"make y\" (Pad): expected pads of at least 0 (a Slice removes cells), found [0, 0, -1, 0, 0, 0, 0, 0]"
    );

    let slice = || with(node("Slice", &["x"], "y"), [ints("starts", &[1]), ints("ends", &[-1])]);
    let all_axes = "const %y_starts: i64[1] = [1]\nconst %y_ends: i64[1] = [-1]\n";
    let sliced = with(slice(), [ints("axes", &[2])]);
    assert_eq!(
        lines(9, sliced),
        format!(
            "{all_axes}const %y_axes: i64[1] = [2]\n\
             %y: f32[N,2,4,6] = Slice(%x, %y_starts, %y_ends, %y_axes) @\"make y\""
        )
    );
    assert!(refusal(9, slice()).contains("a fixed extent along a sliced axis"));
    assert!(refusal(10, slice()).contains("attributes [\"ends\", \"starts\"] are not supported"));
}

#[test]
fn a_softmax_over_several_axes_is_refused() {
    let softmax = |op: &str, axis: i64| with(node(op, &["x"], "y"), [int("axis", axis)]);
    for (op, expected) in [("Softmax", Op::Softmax { axis: 3 }), ("LogSoftmax", Op::LogSoftmax { axis: 3 })] {
        let read = read(&at(12, softmax(op, 3)));
        assert_eq!(read.nodes().next().map(|(_, node)| &node.op), Some(&expected));
        for node in [softmax(op, 1), node(op, &["x"], "y")] {
            assert_eq!(
                refusal(12, node),
                format!(
                    "node \"make y\" ({op}): attribute \"axis\": in operator set 12 it merges all axes from 1 on; \
                     expected the last axis of f32[N,2,6,6], or operator set 13 and above (onnx.version_converter \
                     changes it)"
                )
            );
        }
    }
    assert!(lines(12, softmax("Softmax", -1)).contains("Softmax(%x)"));
    assert!(lines(13, node("Softmax", &["x"], "y")).contains("Softmax(%x)"));
}

#[test]
fn the_ratio_of_dropout_was_an_attribute() {
    let mut dropout = with(node("Dropout", &["x"], "y"), [float("ratio", 0.5)]);
    dropout.output.push("mask".to_owned());
    for version in [7, 11] {
        assert_eq!(lines(version, dropout.clone()), "%y: f32[N,2,6,6] = Dropout(%x) @\"make y\"");
    }
    assert_eq!(refusal(12, dropout), "node \"make y\" (Dropout): attribute \"ratio\" is not supported");
}

#[test]
fn a_normalization_is_that_of_inference() {
    let normalization = |attributes: Vec<AttributeProto>| {
        with(node("BatchNormalization", &["x", "v", "v", "v", "v"], "y"), attributes)
    };
    let expected = "const %v: f32[2] = [0.0, 1.0]\n\
                    %y: f32[N,2,6,6] = BatchNormalization(%x, %v, %v, %v, %v) epsilon=0.25 @\"make y\"";
    let common = || vec![float("epsilon", 0.25), float("momentum", 0.5)];
    assert_eq!(lines(8, normalization([common(), vec![int("spatial", 1)]].concat())), expected);
    assert_eq!(lines(9, normalization(common())), expected);
    assert_eq!(lines(14, normalization([common(), vec![int("training_mode", 0)]].concat())), expected);
    // The averages of training: named, and of no use.
    let mut trained = normalization(common());
    trained.output.extend(["mean", "variance"].map(str::to_owned));
    assert_eq!(lines(9, trained.clone()), expected);
    let mut model = at(9, trained);
    let proto = model.graph.as_mut().expect("it has a graph");
    proto.output.push(ValueInfoProto { name: "mean".to_owned(), ..ValueInfoProto::default() });
    assert_eq!(
        refuse(&model).to_string(),
        "node \"make y\" (BatchNormalization): its output 1, \"mean\", is in use; only the first is supported"
    );
}

#[test]
fn an_operator_is_read_from_the_set_on_that_gave_it_its_form() {
    assert_eq!(
        refusal(7, node("Max", &["x", "x"], "y")),
        "node \"make y\" (Max): in operator set 7 it has another form or meaning than from 8 on, which is what can be \
         read; onnx.version_converter changes it"
    );
    for (version, op) in [
        (7, "Sigmoid"),
        (7, "Tanh"),
        (7, "Softplus"),
        (9, "Erf"),
        (14, "HardSwish"),
        (20, "Gelu"),
        (28, "Elu"),
    ] {
        assert!(lines(version, node(op, &["x"], "y")).contains(&format!("{op}(%x)")));
    }
}

#[test]
fn defaults_of_activations_are_those_of_onnx() {
    // Each is the default of the text form too, and so not printed.
    for op in ["LeakyRelu", "Elu", "HardSigmoid", "Gelu"] {
        let plain = format!("%y: f32[N,2,6,6] = {op}(%x) @\"make y\"");
        assert_eq!(lines(21, node(op, &["x"], "y")), plain);
    }
    let given = with(node("HardSigmoid", &["x"], "y"), [float("alpha", 0.25), float("beta", 0.75)]);
    assert!(lines(21, given).contains("alpha=0.25 beta=0.75"));
    let tanh = with(node("Gelu", &["x"], "y"), [string("approximate", "tanh")]);
    assert!(lines(21, tanh).contains("tanh=1"));
    let exact = with(node("Gelu", &["x"], "y"), [string("approximate", "none")]);
    assert!(!lines(21, exact).contains("tanh"));
}

#[test]
fn a_sum_becomes_additions() {
    assert_eq!(
        lines(8, node("Sum", &["x", "x", "x"], "y")),
        "%x_sum: f32[N,2,6,6] = Add(%x, %x)\n%y: f32[N,2,6,6] = Add(%x_sum, %x) @\"make y\""
    );
    assert_eq!(lines(8, node("Sum", &["x"], "y")), "%y: f32[N,2,6,6] = Identity(%x) @\"make y\"");
}

#[test]
fn a_global_maximum_becomes_a_window_over_all() {
    assert_eq!(
        lines(21, node("GlobalMaxPool", &["x"], "y")),
        "%y: f32[N,2,1,1] = MaxPool(%x) kernel_shape=[6,6] @\"make y\""
    );
}

#[test]
fn names_of_inner_values_make_way_for_those_of_the_file() {
    // The file has the names that the expansions would give, before and after the nodes.
    let mut proto = graph(vec![
        node("Sum", &["x", "x", "x"], "a"),
        node("Relu", &["a"], "x_sum"),
        with(node("Clip", &["x_sum"], "y"), [float("min", 1.0)]),
    ]);
    proto.initializer = vec![TensorProto { dims: vec![], ..floats("y_min", &[1]) }];
    proto.output.push(ValueInfoProto { name: "y_min".to_owned(), ..ValueInfoProto::default() });
    let mut model = model(proto);
    model.opset_import[0].version = 9;
    let read = read(&model);
    let names: Vec<_> = read.nodes().map(|(_, node)| read.value(node.output).name.as_str()).collect();
    assert_eq!(names, ["x_sum_2", "a", "x_sum", "y"]);
    let (_, clip) = read.nodes().next_back().expect("it has nodes");
    assert_eq!(read.constant_operand(clip, 1), Some(&Tensor::scalar(1.0_f32)));
    assert_eq!(read.operand(clip, 1).map(|value| value.name.as_str()), Some("y_min_2"));
}
