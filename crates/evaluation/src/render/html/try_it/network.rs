//! A graph of integers as data that `network.js` runs.

use onnx2int_graph::{DType, Dim, Graph, Node, Op, PoolWindow, Tensor, ValueId, Verified};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::bitmap::base64;

/// The executor of what [`network`] writes: the script defines `networkOf(data)`, a function from the bytes of an image to
/// all tensors, and `digestOf(tensor)`.
pub const NETWORK_SCRIPT: &str = concat!(include_str!("network.js"), include_str!("digest.js"));

/// The graph as JSON in which no `<` is, so that it may stand in a script element.
///
/// It is for one image: a batch that is open is 1.
///
/// # Errors
/// In a sentence without its end, what the page cannot run: floats, several inputs or outputs, a fixed batch, an operator
/// that graphs of stage scale_out do not have.
pub fn network_data(graph: Verified<'_>) -> Result<String, String> {
    Ok(without_tags(&network(graph.graph())?))
}

/// JSON that ends no script element.
pub(super) fn without_tags(data: &impl Serialize) -> String {
    // Within JSON the character is nowhere but in strings.
    serde_json::to_string(data).expect("the data has string keys and finite numbers").replace('<', "\\u003c")
}

#[derive(Debug, Serialize)]
pub(super) struct Network {
    /// Values are numbered up to this.
    values: usize,
    input: Input,
    output: usize,
    constants: Vec<Constant>,
    nodes: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct Input {
    value: usize,
    shape: Vec<usize>,
}

#[derive(Debug, Serialize)]
struct Constant {
    value: usize,
    #[serde(rename = "type")]
    dtype: &'static str,
    shape: Vec<usize>,
    data: Elements,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Elements {
    /// Base64 of the little-endian elements.
    Bytes(String),
    /// Extents, axes and indices.
    Numbers(Vec<i64>),
}

pub(super) fn network(graph: &Graph) -> Result<Network, String> {
    let ([input], [output]) = (graph.inputs(), graph.outputs()) else {
        return Err(format!("it has {} inputs and {} outputs", graph.inputs().len(), graph.outputs().len()));
    };
    let ty = &graph.value(*input).ty;
    let shape = match ty.shape.split_first() {
        Some((Dim::Symbol(_) | Dim::Fixed(1), rest)) => {
            rest.iter().map(Dim::fixed).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    let Some(mut shape) = shape.filter(|_| ty.dtype == DType::U8) else {
        return Err(format!("its input is {ty}, not the bytes of one image"));
    };
    shape.insert(0, 1);
    Ok(Network {
        values: graph.values().len(),
        input: Input { value: input.index(), shape },
        output: output.index(),
        constants: constants(graph)?,
        nodes: graph.nodes().map(|(_, node)| described(graph, node)).collect::<Result<_, _>>()?,
    })
}

fn constants(graph: &Graph) -> Result<Vec<Constant>, String> {
    let mut used: Vec<ValueId> =
        graph.nodes().flat_map(|(_, node)| node.inputs.iter().flatten().copied()).collect();
    used.sort_unstable();
    used.dedup();
    let constants = used.into_iter().filter_map(|id| Some((id, graph.value(id).constant()?)));
    constants
        .map(|(id, tensor)| {
            let data = match tensor {
                Tensor::U8(_) | Tensor::I8(_) | Tensor::I32(_) => {
                    Elements::Bytes(base64(&tensor.to_le_bytes()))
                }
                Tensor::I64(array) => Elements::Numbers(array.iter().copied().collect()),
                Tensor::F32(_) | Tensor::Bool(_) => {
                    return Err(format!("its constant {:?} is {}", graph.value(id).name, tensor.dtype()));
                }
            };
            let (dtype, shape) = (tensor.dtype().name(), tensor.shape().to_vec());
            Ok(Constant { value: id.index(), dtype, shape, data })
        })
        .collect()
}

/// A node with its attributes.
fn described(graph: &Graph, node: &Node) -> Result<Value, String> {
    let ty = &graph.value(node.output).ty;
    if !matches!(ty.dtype, DType::U8 | DType::I8 | DType::I32) && !matches!(node.op, Op::ArgMax { .. }) {
        return Err(format!("its node {:?} ({}) makes {}", node.name, node.op.name(), ty.dtype));
    }
    let Some(mut described) = attributes(graph, node) else {
        return Err(format!("the page has no {} as its node {:?} wants it", node.op.name(), node.name));
    };
    described["op"] = json!(node.op.name());
    described["inputs"] = node.inputs.iter().map(|input| input.map(ValueId::index)).collect();
    described["output"] = json!(node.output.index());
    Ok(described)
}

/// The attributes of an operator under the names of `network.js`; none of what is not in there.
fn attributes(graph: &Graph, node: &Node) -> Option<Value> {
    Some(match &node.op {
        Op::ConvInteger(attributes) => {
            let filters = graph.operand(node, 1)?.ty.shape.first()?.fixed()?;
            json!({
                "strides": planar(&attributes.strides)?, "dilations": attributes.dilations,
                "begin": attributes.pads.begin, "end": attributes.pads.end,
                "filtersPerGroup": filters.checked_div(attributes.group)?,
            })
        }
        Op::MaxPool(PoolWindow { kernel_shape, strides, pads, dilations, ceil_mode }) => json!({
            "kernel": kernel_shape, "strides": planar(strides)?, "dilations": dilations,
            "begin": pads.begin, "end": pads.end, "ceil": ceil_mode,
        }),
        Op::Cast { to } => json!({ "to": to.name() }),
        Op::Flatten { axis } | Op::Concat { axis } | Op::Gather { axis } => json!({ "axis": axis }),
        Op::Reshape { allow_zero } => json!({ "allowZero": allow_zero }),
        Op::Transpose { perm } => json!({ "perm": perm }),
        Op::ArgMax { axis, keepdims } => json!({ "axis": axis, "keepdims": keepdims }),
        Op::MatMulInteger
        | Op::Relu
        | Op::Clip
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Div
        | Op::Max
        | Op::Min
        | Op::Slice
        | Op::Pad
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Identity => json!({}),
        Op::Conv(_)
        | Op::Gemm(_)
        | Op::MatMul
        | Op::AveragePool(_)
        | Op::GlobalAveragePool
        | Op::ReduceMean { .. }
        | Op::BatchNormalization { .. }
        | Op::QuantizeLinear { .. }
        | Op::DequantizeLinear { .. }
        | Op::Activation(_)
        | Op::PRelu
        | Op::LogSoftmax { .. }
        | Op::Softmax { .. }
        | Op::Dropout
        | Op::Constant(_)
        | Op::Shape { .. } => return None,
    })
}

/// Strides along one or two axes.
fn planar(strides: &[usize]) -> Option<&[usize]> {
    (1..=2).contains(&strides.len()).then_some(strides)
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::verify;

    use super::*;

    fn refusal(text: &str) -> String {
        let graph = Graph::from_text(text).unwrap();
        network_data(verify(&graph).unwrap()).unwrap_err()
    }

    #[test]
    fn a_graph_is_its_nodes_and_constants() {
        let graph = Graph::from_text(
            "in %x: u8[N,1,2,2]
             const %w: i8[1,1,2,2] = [1, -1, 2, -2]
             const %shape: i64[2] = [0, -1]
             %s = ConvInteger(%x, %w, 3u8, 0i8)
             %y = Reshape(%s, %shape)
             out %y",
        )
        .unwrap();
        let data: Value = serde_json::from_str(&network_data(verify(&graph).unwrap()).unwrap()).unwrap();
        assert_eq!(data["input"]["shape"], json!([1, 1, 2, 2]));
        assert_eq!(data["nodes"][0]["op"], "ConvInteger");
        assert_eq!(data["nodes"][0]["filtersPerGroup"], 1);
        assert_eq!(data["nodes"][0]["inputs"].as_array().unwrap().len(), 4);
        let constants = data["constants"].as_array().unwrap();
        let of = |dtype: &str| constants.iter().find(|constant| constant["type"] == dtype).unwrap();
        assert_eq!(of("i8")["data"], "Af8C/g==");
        assert_eq!(of("i64")["data"], json!([0, -1]));
    }

    #[test]
    fn what_the_page_cannot_run_is_named() {
        let float = refusal("in %x: u8[N,2]\n %y = Cast(%x) to=f32 @widen\n out %y");
        assert_eq!(float, "its node \"widen\" (Cast) makes f32");
        let text = "in %x: u8[N,1,2,2,2]\n const %w: i8[1,1,1,1,1] = [1]\n %y = ConvInteger(%x, %w, 0u8, 0i8) @deep\n out %y";
        assert_eq!(refusal(text), "the page has no ConvInteger as its node \"deep\" wants it");
        assert_eq!(
            refusal("in %x: u8[4,2]\n %y = Identity(%x)\n out %y").split(',').next(),
            Some("its input is u8[4")
        );
        assert_eq!(
            refusal("in %x: u8[N,2], %z: u8[N,2]\n %y = Max(%x, %z)\n out %y"),
            "it has 2 inputs and 1 outputs"
        );
    }

    #[test]
    fn the_executor_has_no_float() {
        let executor = include_str!("network.js");
        let code = executor.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for part in line.split("Math.").skip(1) {
                assert!(part.starts_with("imul") || part.starts_with("clz32"), "{line}");
            }
            for float in ["Float", " / ", " /= ", " % ", " ** ", "Number(", "parse"] {
                assert!(!line.contains(float), "{float:?} in {line:?}");
            }
            // A literal such as 0.5.
            let bytes = line.as_bytes();
            assert!(
                !bytes
                    .windows(3)
                    .any(|part| part[0].is_ascii_digit() && part[1] == b'.' && part[2].is_ascii_digit())
            );
        }
    }
}
