//! Files in ONNX Runtime's "QOperator" form: read as quantizers around float operators.

use onnx2int_graph::{Graph, Tensor, verify};
use onnx2int_interpreter::run;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use crate::models::Extent::{Fixed, Named};
use crate::models::{attribute, graph, int, ints, problem, read_graph, value, with};

fn scales(name: &str, scales: &[f32], dims: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        float_data: scales.to_vec(),
        ..TensorProto::default()
    }
}

fn integers(name: &str, data_type: DataType, dims: &[i64], numbers: &[i32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: data_type as i32,
        int32_data: numbers.to_vec(),
        ..TensorProto::default()
    }
}

/// A graph of one node from `x: u8[N,2,3,3]` and `m: u8[N,4]` to `y`, with what the operators need.
fn one(node: NodeProto) -> GraphProto {
    let mut graph = graph(vec![node]);
    let inputs = [
        value("x", DataType::Uint8, &[Named("N"), Fixed(2), Fixed(3), Fixed(3)]),
        value("m", DataType::Uint8, &[Named("N"), Fixed(4)]),
        value("s", DataType::Int8, &[Named("N"), Fixed(2), Fixed(3), Fixed(3)]),
        value("computed", DataType::Float, &[]),
    ];
    let reads = |input: &ValueInfoProto| graph.node[0].input.contains(&input.name);
    graph.input = inputs.into_iter().filter(reads).collect();
    graph.initializer = vec![
        scales("half", &[0.5], &[]),
        scales("quarter", &[0.25], &[]),
        scales("one_half", &[0.5], &[1]),
        scales("two", &[0.5, 2.0], &[2]),
        scales("three", &[0.5, 1.0, 2.0], &[3]),
        integers("zero", DataType::Uint8, &[], &[10]),
        integers("signed", DataType::Int8, &[], &[0]),
        integers("signed_two", DataType::Int8, &[2], &[0, 0]),
        integers("signed_three", DataType::Int8, &[3], &[0, 0, 0]),
        integers("w", DataType::Int8, &[2, 2, 1, 1], &[1, -2, 3, 4]),
        integers("b", DataType::Int32, &[2], &[100, -100]),
        integers("wm", DataType::Int8, &[4, 3], &[1, -2, 3, 4, 5, -6, 7, 8, 9, 10, -11, 12]),
        integers("c", DataType::Int32, &[3], &[8, -8, 16]),
    ];
    graph
}

fn foreign(op: &str, inputs: &[&str]) -> NodeProto {
    NodeProto { domain: "com.microsoft".to_owned(), ..node(op, inputs) }
}

fn node(op: &str, inputs: &[&str]) -> NodeProto {
    crate::models::node(op, inputs, "y")
}

/// The nodes as text, without the name of the last one.
fn nodes(graph: &Graph) -> Vec<String> {
    let text = graph.to_text();
    let nodes = text.lines().filter(|line| line.starts_with('%'));
    nodes.map(|line| line.replace(" @\"make y\"", "")).collect()
}

fn lines(node: NodeProto) -> Vec<String> {
    nodes(&read_graph(one(node)))
}

const X: &str = "%x_dequantized: f32[N,2,3,3] = DequantizeLinear(%x, %half, %zero)";

#[test]
fn a_convolution_with_a_bias_for_each_channel() {
    let operands = ["x", "half", "zero", "w", "two", "signed_two", "quarter", "zero", "b"];
    let graph = read_graph(one(node("QLinearConv", &operands)));
    assert_eq!(
        nodes(&graph),
        [
            X,
            "%w_dequantized: f32[2,2,1,1] = DequantizeLinear(%w, %two, %signed_two) axis=0",
            "%b_dequantized: f32[2] = DequantizeLinear(%b, %b_dequantized_scale) axis=0",
            "%y_float: f32[N,2,3,3] = Conv(%x_dequantized, %w_dequantized, %b_dequantized)",
            "%y: u8[N,2,3,3] = QuantizeLinear(%y_float, %quarter, %zero)",
        ]
    );
    let scale = graph.value(graph.value_by_name("b_dequantized_scale").unwrap()).constant();
    assert_eq!(scale, Some(&Tensor::vector(vec![0.25_f32, 1.0])));
    assert_eq!(graph.nodes().next_back().unwrap().1.name, "make y");

    // x - 10 is 2 and -4 in the two channels: 0.25 * (2 + 8 + 100) and (6 - 16 - 100) * 1.
    let x: Vec<u8> = [[12; 9], [6; 9]].concat();
    let y = run(verify(&graph).unwrap(), &[Tensor::from_vec(&[1, 2, 3, 3], x).unwrap()]).unwrap();
    let expected: Vec<u8> = [[110 + 10; 9], [0; 9]].concat();
    assert_eq!(y, [Tensor::from_vec(&[1, 2, 3, 3], expected).unwrap()]);
}

#[test]
fn a_convolution_with_one_scale() {
    let operands = ["x", "half", "zero", "w", "quarter", "signed", "quarter", "zero", "b"];
    let conv = with(node("QLinearConv", &operands), [ints("pads", &[1, 0, 0, 0]), ints("strides", &[2, 1])]);
    let lines = lines(conv);
    assert_eq!(lines[2], "%b_dequantized: f32[2] = DequantizeLinear(%b, 0.125)");
    assert!(lines[3].ends_with("strides=[2,1] pads=[1,0,0,0]"), "{}", lines[3]);
    let without = nodes(&read_graph(one(node("QLinearConv", &operands[..8]))));
    assert_eq!(without[2], "%y_float: f32[N,2,3,3] = Conv(%x_dequantized, %w_dequantized)");
}

#[test]
fn products() {
    let m = "%m_dequantized: f32[N,4] = DequantizeLinear(%m, %half, %zero)";
    let wm = "%wm_dequantized: f32[4,3] = DequantizeLinear(%wm, %three, %signed_three)";
    let operands = ["m", "half", "zero", "wm", "three", "signed_three", "quarter", "zero"];
    assert_eq!(
        lines(node("QLinearMatMul", &operands)),
        [
            m,
            wm,
            "%y_float: f32[N,3] = MatMul(%m_dequantized, %wm_dequantized)",
            "%y: u8[N,3] = QuantizeLinear(%y_float, %quarter, %zero)",
        ]
    );
    let rows = ["m", "half", "zero", "wm", "three", "signed_three", "three", "zero"];
    assert_eq!(
        problem(one(node("QLinearMatMul", &rows))),
        "node \"make y\" (QLinearMatMul): operand 6 (y_scale): expected one scale for the tensor; scales for each row \
         are not supported"
    );

    let operands = ["m", "half", "zero", "wm", "three", "signed_three", "c", "quarter", "zero"];
    let alpha = AttributeProto { f: 2.0, ..attribute("alpha", AttributeType::Float) };
    let gemm = with(foreign("QGemm", &operands), [alpha]);
    let graph = read_graph(one(gemm));
    assert_eq!(
        nodes(&graph),
        [
            m,
            wm,
            "%c_dequantized: f32[3] = DequantizeLinear(%c, %c_dequantized_scale) axis=0",
            "%y_float: f32[N,3] = Gemm(%m_dequantized, %wm_dequantized, %c_dequantized) alpha=2.0",
            "%y: u8[N,3] = QuantizeLinear(%y_float, %quarter, %zero)",
        ]
    );
    let scale = graph.value(graph.value_by_name("c_dequantized_scale").unwrap()).constant();
    assert_eq!(scale, Some(&Tensor::vector(vec![0.5_f32, 1.0, 2.0])));
    // Without a scale of the result this is float.
    let float = lines(foreign("QGemm", &operands[..7]));
    assert_eq!(float[3], "%y: f32[N,3] = Gemm(%m_dequantized, %wm_dequantized, %c_dequantized)");
}

#[test]
fn operators_of_one_and_two_tensors() {
    let quantize = "%y: u8[N,2,3,3] = QuantizeLinear(%y_float, %quarter, %zero)";
    for (op, name) in [("QLinearAdd", "Add"), ("QLinearMul", "Mul")] {
        let operands = ["x", "half", "zero", "x", "quarter", "", "quarter", "zero"];
        assert_eq!(
            lines(foreign(op, &operands)),
            [
                X,
                "%x_dequantized_2: f32[N,2,3,3] = DequantizeLinear(%x, %quarter)",
                &format!("%y_float: f32[N,2,3,3] = {name}(%x_dequantized, %x_dequantized_2)"),
                quantize,
            ]
        );
    }
    let operands = ["x", "half", "zero", "quarter", "zero"];
    assert_eq!(
        lines(foreign("QLinearSigmoid", &operands)),
        [X, "%y_float: f32[N,2,3,3] = Sigmoid(%x_dequantized)", quantize]
    );
    let alpha = AttributeProto { f: 0.25, ..attribute("alpha", AttributeType::Float) };
    assert_eq!(
        lines(with(foreign("QLinearLeakyRelu", &operands), [alpha])),
        [X, "%y_float: f32[N,2,3,3] = LeakyRelu(%x_dequantized) alpha=0.25", quantize]
    );
    let channels_first = int("channels_last", 0);
    assert_eq!(
        lines(with(foreign("QLinearGlobalAveragePool", &operands), [channels_first])),
        [
            X,
            "%y_float: f32[N,2,1,1] = GlobalAveragePool(%x_dequantized)",
            "%y: u8[N,2,1,1] = QuantizeLinear(%y_float, %quarter, %zero)",
        ]
    );
    let pool = with(
        foreign("QLinearAveragePool", &operands),
        [ints("kernel_shape", &[2, 2]), int("count_include_pad", 1), ints("pads", &[1, 1, 0, 0])],
    );
    assert_eq!(
        lines(pool)[1],
        "%y_float: f32[N,2,3,3] = AveragePool(%x_dequantized) kernel_shape=[2,2] pads=[1,1,0,0] count_include_pad=1"
    );
}

#[test]
fn a_result_without_a_zero_point_has_the_type_of_the_operand() {
    let signed = lines(foreign("QLinearSigmoid", &["s", "half", "signed", "quarter"]));
    assert_eq!(signed[2], "%y: i8[N,2,3,3] = QuantizeLinear(%y_float, %quarter, 0i8)");
    let of_rank_one = lines(foreign("QLinearSigmoid", &["s", "half", "", "one_half", ""]));
    assert_eq!(of_rank_one[2], "%y: i8[N,2,3,3] = QuantizeLinear(%y_float, %one_half, %y_zero_point)");
    let unsigned = lines(foreign("QLinearSigmoid", &["x", "half", "", "quarter"]));
    assert_eq!(unsigned[2], "%y: u8[N,2,3,3] = QuantizeLinear(%y_float, %quarter)");
}

#[test]
fn a_concatenation_of_quantized_tensors() {
    let operands = ["quarter", "zero", "x", "half", "zero", "x", "quarter", "zero"];
    let concat = with(foreign("QLinearConcat", &operands), [int("axis", 1)]);
    assert_eq!(
        lines(concat),
        [
            X,
            "%x_dequantized_2: f32[N,2,3,3] = DequantizeLinear(%x, %quarter, %zero)",
            "%y_float: f32[N,4,3,3] = Concat(%x_dequantized, %x_dequantized_2) axis=1",
            "%y: u8[N,4,3,3] = QuantizeLinear(%y_float, %quarter, %zero)",
        ]
    );
    let short = with(foreign("QLinearConcat", &operands[..7]), [int("axis", 1)]);
    assert_eq!(
        problem(one(short)),
        "node \"make y\" (com.microsoft.QLinearConcat): expected 2 operands and 3 for each tensor, found 7"
    );
}

#[test]
fn quantizers_of_the_runtimes_own_domain() {
    let dequantize = foreign("DequantizeLinear", &["x", "half", "zero"]);
    assert_eq!(lines(dequantize), ["%y: f32[N,2,3,3] = DequantizeLinear(%x, %half, %zero)"]);
    let axis = with(foreign("DequantizeLinear", &["w", "two", "signed_two"]), [int("axis", 0)]);
    assert_eq!(lines(axis), ["%y: f32[2,2,1,1] = DequantizeLinear(%w, %two, %signed_two) axis=0"]);
    let quantize = lines(foreign("QuantizeLinear", &["computed", "half", "zero"]));
    assert_eq!(quantize, ["%y: u8[] = QuantizeLinear(%computed, %half, %zero)"]);
    assert_eq!(
        problem(one(foreign("DequantizeLinear", &["w", "two", "signed_two"]))),
        "node \"make y\" (com.microsoft.DequantizeLinear): attribute \"axis\" is missing, which scales f32[2] need"
    );
}

#[test]
fn what_has_no_such_form_is_refused_by_name() {
    let pool = with(
        foreign("QLinearGlobalAveragePool", &["x", "half", "zero", "quarter", "zero"]),
        [int("channels_last", 1)],
    );
    assert!(problem(one(pool)).contains("attribute \"channels_last\" is supported with value 0 only"));
    let computed =
        node("QLinearConv", &["x", "computed", "zero", "w", "half", "signed", "half", "zero", "b"]);
    assert_eq!(
        problem(one(computed)),
        "node \"make y\" (QLinearConv): operand 1 must be constant and f32, as the scale of the bias follows from it"
    );
    let per_channel = node("QLinearConv", &["x", "two", "zero", "w", "half", "signed", "half", "zero", "b"]);
    assert_eq!(
        problem(one(per_channel)),
        "node \"make y\" (QLinearConv): operand 1: expected one scale for the tensor, found 2"
    );
    let other = foreign("QLinearSoftmax", &["x", "half", "zero", "quarter", "zero"]);
    assert!(problem(one(other)).contains("expected one of DequantizeLinear, QGemm, QLinearAdd"));
    // A name of another domain does not stand for ONNX's operator.
    let domain = NodeProto { domain: "com.microsoft".to_owned(), ..node("QLinearConv", &["x"]) };
    assert!(
        problem(one(domain)).starts_with("node \"make y\" (com.microsoft.QLinearConv): the operator is not")
    );
    let mut both = one(node("QLinearConv", &["x"]));
    both.output.push(ValueInfoProto { name: "x".to_owned(), ..ValueInfoProto::default() });
    assert!(problem(both).contains("operand 3 is missing"));
}
