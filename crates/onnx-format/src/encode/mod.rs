//! [`Verified`] graphs to ONNX bytes.

mod attributes;
mod tensor;

use std::collections::HashSet;

use crate::proto::tensor_shape_proto::{Dimension, dimension::Value as DimValue};
use crate::proto::type_proto::{Tensor as TensorTypeProto, Value as TypeValue};
use crate::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorAnnotation,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
};
use onnx2int_graph::{Dim, Graph, Node, OPSET, Source, TensorType, Value, ValueId, Verified};
use prost::Message;

use crate::annotation_keys::{SCALE, ZERO_POINT};

/// The least ir_version that knows operator set 21; the greatest that stock tools of its time read.
const IR_VERSION: i64 = 10;

/// Writes a graph as an ONNX model of operator set [`OPSET`].
///
/// Initializers are raw data; every inner value has its type, symbolic extents included; every
/// attribute that has a part in a node's meaning is written, whether or not it has its default. The same graph gives the same bytes.
pub fn encode(graph: Verified<'_>) -> Vec<u8> {
    let graph = graph.graph();
    // Protobuf's fields may come in any order. Metadata first leaves the operator set last, without
    // which nothing reads a model, so that a file cut short is noticed wherever it is cut.
    let metadata = ModelProto {
        metadata_props: graph.metadata().iter().map(|(key, value)| entry(key, value)).collect(),
        ..ModelProto::default()
    };
    let model = ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "onnx2int".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph_proto(graph)),
        ..ModelProto::default()
    };
    let mut bytes = metadata.encode_to_vec();
    bytes.extend(model.encode_to_vec());
    bytes
}

fn graph_proto(graph: &Graph) -> GraphProto {
    let outputs: HashSet<ValueId> = graph.outputs().iter().copied().collect();
    GraphProto {
        name: graph.name().to_owned(),
        node: graph.nodes().map(|(_, node)| node_proto(graph, node)).collect(),
        initializer: graph.values().filter_map(|(_, value)| initializer(value)).collect(),
        input: value_infos(graph, graph.inputs()),
        output: value_infos(graph, graph.outputs()),
        value_info: graph
            .values()
            .filter(|(id, value)| matches!(value.source, Source::Node(_)) && !outputs.contains(id))
            .map(|(_, value)| value_info(value))
            .collect(),
        quantization_annotation: graph.values().filter_map(|(_, value)| annotation(value)).collect(),
        ..GraphProto::default()
    }
}

fn node_proto(graph: &Graph, node: &Node) -> NodeProto {
    let name = |id: ValueId| graph.value(id).name.clone();
    NodeProto {
        name: node.name.clone(),
        op_type: node.op.name().to_owned(),
        // ONNX names an operand left out by the empty string.
        input: node.inputs.iter().map(|input| input.map_or_else(String::new, name)).collect(),
        output: vec![name(node.output)],
        attribute: attributes::attributes(graph, node),
        ..NodeProto::default()
    }
}

fn initializer(value: &Value) -> Option<TensorProto> {
    value.constant().map(|tensor| TensorProto { name: value.name.clone(), ..tensor::tensor(tensor) })
}

fn value_infos(graph: &Graph, values: &[ValueId]) -> Vec<ValueInfoProto> {
    values.iter().map(|&id| value_info(graph.value(id))).collect()
}

fn value_info(value: &Value) -> ValueInfoProto {
    ValueInfoProto { name: value.name.clone(), r#type: Some(type_proto(&value.ty)) }
}

fn type_proto(ty: &TensorType) -> TypeProto {
    let dim = ty.shape.iter().map(|dim| {
        let value = match dim {
            Dim::Fixed(extent) => DimValue::DimValue(*extent as i64),
            Dim::Symbol(name) => DimValue::DimParam(name.to_string()),
        };
        Dimension { value: Some(value) }
    });
    let tensor = TensorTypeProto {
        elem_type: tensor::data_type(ty.dtype) as i32,
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    TypeProto { value: Some(TypeValue::TensorType(tensor)) }
}

fn annotation(value: &Value) -> Option<TensorAnnotation> {
    value.annotation.as_ref().map(|annotation| TensorAnnotation {
        tensor_name: Some(value.name.clone()),
        quant_parameter_tensor_names: vec![
            entry(SCALE, &annotation.scale),
            entry(ZERO_POINT, &annotation.zero_point),
        ],
    })
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_owned(), value: value.to_owned() }
}
