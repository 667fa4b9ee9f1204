//! Types that a file declares: of inputs, of outputs and of what lies between.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{GraphProto, TypeProto, ValueInfoProto};

use crate::models::Extent::{Fixed, Missing, Named};
use crate::models::{graph, node, problem, read_graph, type_of_y, value};

fn relu() -> GraphProto {
    graph(vec![node("Relu", &["x"], "r"), node("Flatten", &["r"], "y")])
}

fn relu_of(input: ValueInfoProto) -> GraphProto {
    GraphProto { input: vec![input], ..graph(vec![node("Relu", &["x"], "y")]) }
}

#[test]
fn symbols_come_through_and_extents_without_a_name_get_one() {
    let input = value("x", DataType::Float, &[Missing, Named(""), Named("x_0"), Fixed(6)]);
    assert_eq!(type_of_y(&read_graph(relu_of(input))), "f32[x_0_2,x_1,x_0,6]");
}

#[test]
fn an_input_needs_a_type() {
    let without = ValueInfoProto { name: "x".to_owned(), ..ValueInfoProto::default() };
    assert_eq!(
        problem(relu_of(without.clone())),
        "graph input \"x\": expected a tensor type, found another or none"
    );
    let other = ValueInfoProto { r#type: Some(TypeProto::default()), ..without };
    assert!(problem(relu_of(other)).contains("expected a tensor type"));
    let mut shapeless = value("x", DataType::Float, &[]);
    let Some(TypeValue::TensorType(ty)) = shapeless.r#type.as_mut().unwrap().value.as_mut() else {
        unreachable!("it was made a tensor")
    };
    ty.shape = None;
    assert!(problem(relu_of(shapeless)).contains("expected a shape, found none"));
    let half = value("x", DataType::Float16, &[Fixed(1)]);
    assert!(problem(relu_of(half)).contains("element type FLOAT16 is not supported"));
    let negative = value("x", DataType::Float, &[Fixed(-1)]);
    assert!(problem(relu_of(negative)).contains("extent -1 of axis 0 is negative; give it a name instead"));
}

#[test]
fn an_input_of_any_size_is_refused_rather_than_computed_with() {
    for shape in [[1 << 40, 1, 1, 1], [1 << 30, 1 << 30, 1 << 30, 1 << 30], [0, i64::MAX, 1, 1]] {
        let input = value("x", DataType::Float, &shape.map(Fixed));
        let text = problem(relu_of(input));
        assert!(text.contains("is too large"), "{text}");
    }
}

#[test]
fn an_initializer_listed_as_an_input_is_a_constant() {
    let mut graph = graph(vec![node("Add", &["x", "t"], "y")]);
    graph.input.push(value("t", DataType::Float, &[Fixed(6)]));
    graph.initializer = vec![crate::models::floats("t", &[6])];
    let graph = read_graph(graph);
    assert_eq!(graph.inputs().len(), 1);
}

#[test]
fn declarations_that_agree_or_say_nothing_are_fine() {
    for info in [
        value("r", DataType::Float, &[Named("N"), Fixed(2), Fixed(6), Fixed(6)]),
        value("r", DataType::Float, &[Missing, Named("channels"), Missing, Fixed(6)]),
        value("r", DataType::Float, &[Fixed(1), Fixed(2), Fixed(6), Fixed(6)]),
        value("gone", DataType::Double, &[]),
        ValueInfoProto { name: "r".to_owned(), ..ValueInfoProto::default() },
    ] {
        let read = read_graph(GraphProto { value_info: vec![info], ..relu() });
        assert_eq!(type_of_y(&read), "f32[N,72]");
    }
}

#[test]
fn declarations_that_contradict_the_nodes_are_refused() {
    let contradictions = [
        (
            value("r", DataType::Float, &[Named("N"), Fixed(3), Fixed(6), Fixed(6)]),
            "declared with shape [N,3,6,6], the nodes make f32[N,2,6,6]",
        ),
        (
            value("r", DataType::Float, &[Missing, Fixed(-2)]),
            "declared with shape [?,-2], the nodes make f32[N,2,6,6]",
        ),
        (
            value("r", DataType::Int32, &[Named("N"), Fixed(2), Fixed(6), Fixed(6)]),
            "declared with element type i32, the nodes make f32[N,2,6,6]",
        ),
        (
            ValueInfoProto {
                name: "r".to_owned(),
                r#type: Some(TypeProto::default()),
                ..ValueInfoProto::default()
            },
            "declared as something other than a tensor, the nodes make f32[N,2,6,6]",
        ),
    ];
    for (info, reason) in contradictions {
        let text = problem(GraphProto { value_info: vec![info], ..relu() });
        assert_eq!(text, format!("value \"r\": {reason}"));
    }
    let output = value("y", DataType::Float, &[Named("N"), Fixed(10)]);
    assert_eq!(
        problem(GraphProto { output: vec![output], ..relu() }),
        "graph output \"y\": declared with shape [N,10], the nodes make f32[N,72]"
    );
}
