//! Models as protobuf messages, for tests to bend.

use onnx2int_graph::{DType, Graph};
use onnx2int_onnx_format::{DecodeError, Problem, decode};
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as DimValue};
use tract_onnx::pb::type_proto::{Tensor as TensorTypeProto, Value as TypeValue};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
};

/// An extent of a declared type.
pub(crate) enum Extent {
    Fixed(i64),
    Named(&'static str),
    Missing,
}
use Extent::{Fixed, Named};

/// A model of operator set 21 around a graph.
pub(crate) fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 10,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 21 }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// A graph named `g` of these nodes, from `x: f32[N,2,6,6]` to `y`, whose type is left open.
pub(crate) fn graph(nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        name: "g".to_owned(),
        node: nodes,
        input: vec![value("x", DataType::Float, &[Named("N"), Fixed(2), Fixed(6), Fixed(6)])],
        output: vec![ValueInfoProto { name: "y".to_owned(), ..ValueInfoProto::default() }],
        ..GraphProto::default()
    }
}

pub(crate) fn node(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: format!("make {output}"),
        op_type: op_type.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// The node with more attributes.
pub(crate) fn with(mut node: NodeProto, attributes: impl IntoIterator<Item = AttributeProto>) -> NodeProto {
    node.attribute.extend(attributes);
    node
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeType::Int) }
}

pub(crate) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub(crate) fn string(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: s.as_bytes().to_vec(), ..attribute(name, AttributeType::String) }
}

pub(crate) fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() }
}

pub(crate) fn value(name: &str, data_type: DataType, shape: &[Extent]) -> ValueInfoProto {
    let dim = shape
        .iter()
        .map(|extent| Dimension {
            value: match extent {
                Fixed(extent) => Some(DimValue::DimValue(*extent)),
                Named(name) => Some(DimValue::DimParam((*name).to_owned())),
                Extent::Missing => None,
            },
            ..Dimension::default()
        })
        .collect();
    let ty = TensorTypeProto { elem_type: data_type as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value: Some(TypeValue::TensorType(ty)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

/// A float tensor of that shape with elements 0, 1, 2, ...
pub(crate) fn floats(name: &str, dims: &[i64]) -> TensorProto {
    let count: i64 = dims.iter().product();
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        float_data: (0..count).map(|n| n as f32).collect(),
        ..TensorProto::default()
    }
}

/// An i64 vector.
pub(crate) fn numbers(name: &str, int64_data: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![int64_data.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: int64_data.to_vec(),
        ..TensorProto::default()
    }
}

/// The graph of a model.
pub(crate) fn read(model: &ModelProto) -> Graph {
    decode(&model.encode_to_vec()).unwrap_or_else(|error| panic!("{error}"))
}

/// The graph of a graph message.
pub(crate) fn read_graph(graph: GraphProto) -> Graph {
    read(&model(graph))
}

/// What is wrong with a model.
pub(crate) fn refuse(model: &ModelProto) -> DecodeError {
    match decode(&model.encode_to_vec()) {
        Ok(graph) => panic!("expected an error, found {}", graph.to_text()),
        Err(error) => error,
    }
}

/// What cannot be read of a graph message.
pub(crate) fn problems(graph: GraphProto) -> Vec<Problem> {
    match refuse(&model(graph)) {
        DecodeError::Unsupported { problems } => problems,
        other => panic!("expected parts that cannot be read, found: {other}"),
    }
}

/// The only thing that cannot be read of a graph message, as text.
pub(crate) fn problem(graph: GraphProto) -> String {
    match problems(graph).as_slice() {
        [problem] => problem.to_string(),
        several => panic!("expected one problem, found {several:?}"),
    }
}

/// The type of the value `y`, as text.
pub(crate) fn type_of_y(graph: &Graph) -> String {
    let y = graph.value_by_name("y").expect("there is a value y");
    graph.value(y).ty.to_string()
}

/// ONNX's number for an element type.
pub(crate) fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float,
        DType::U8 => DataType::Uint8,
        DType::I8 => DataType::Int8,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
        DType::Bool => DataType::Bool,
    }
}
