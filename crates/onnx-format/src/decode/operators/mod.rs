//! What can be read, by name: a table for each domain, and a reader for each operator.

mod elementwise;
mod layers;
mod movement;
mod quantized;

use onnx2int_graph::{Activation, DType, Op};

use super::expansion::Expansion;
use super::operands::{Node, Refusal};
use super::tensor;
use crate::error::LIST;

type Reader = fn(&Node<'_>) -> Result<Expansion, Refusal>;

/// An operator that can be read.
struct Operator {
    /// Its ONNX name.
    name: &'static str,
    /// The first operator set in which the reader knows its form and its meaning.
    since: i64,
    /// The last operator set up to [`ACCEPTED_OPSETS`](super::ACCEPTED_OPSETS)'s end that changed it. All changes
    /// from `since` to there were compared: other forms are read as what they are now, and else they
    /// add element types that no graph of ours has, and attributes that the reader knows or
    /// [`Attributes::finish`](super::attributes::Attributes::finish) refuses by name.
    #[cfg_attr(not(test), expect(dead_code, reason = "the record of what was compared; a test reads it"))]
    checked: i64,
    read: Reader,
}

const fn operator(name: &'static str, since: i64, checked: i64, read: Reader) -> Operator {
    Operator { name, since, checked, read }
}

/// Every operator of the default domain that can be read, by name.
const OPERATORS: [Operator; 52] = [
    operator("Add", 7, 14, |node| same(node, Op::Add)),
    operator("ArgMax", 1, 13, movement::arg_max),
    operator("AveragePool", 1, 22, layers::average_pool),
    operator("BatchNormalization", 7, 15, layers::batch_normalization),
    operator("Cast", 6, 28, elementwise::cast),
    operator("Clip", 6, 13, elementwise::clip),
    operator("Concat", 4, 13, |node| {
        same(node, Op::Concat { axis: required(node.attributes.int("axis")?, "axis")? })
    }),
    operator("Constant", 1, 25, movement::constant),
    operator("ConstantOfShape", 9, 25, movement::constant_of_shape),
    operator("Conv", 1, 22, layers::conv),
    operator("ConvInteger", 10, 10, layers::conv_integer),
    operator("DequantizeLinear", 10, 28, elementwise::dequantize_linear),
    operator("Div", 7, 14, |node| same(node, Op::Div)),
    operator("Dropout", 7, 22, elementwise::dropout),
    operator("Elu", 6, 22, elementwise::elu),
    operator("Erf", 9, 13, |node| same(node, Op::Activation(Activation::Erf))),
    operator("Flatten", 1, 25, |node| same(node, Op::Flatten { axis: node.attributes.int_or("axis", 1)? })),
    operator("Gather", 1, 13, |node| same(node, Op::Gather { axis: node.attributes.int_or("axis", 0)? })),
    operator("Gelu", 20, 20, elementwise::gelu),
    operator("Gemm", 7, 13, layers::gemm),
    operator("GlobalAveragePool", 1, 22, |node| same(node, Op::GlobalAveragePool)),
    operator("GlobalMaxPool", 1, 22, layers::global_max_pool),
    operator("HardSigmoid", 6, 22, elementwise::hard_sigmoid),
    operator("HardSwish", 14, 22, |node| same(node, Op::Activation(Activation::HardSwish))),
    operator("Identity", 1, 25, |node| same(node, Op::Identity)),
    operator("LeakyRelu", 6, 16, elementwise::leaky_relu),
    operator("LogSoftmax", 1, 13, elementwise::log_softmax),
    operator("MatMul", 1, 13, |node| same(node, Op::MatMul)),
    operator("MatMulInteger", 10, 10, |node| same(node, Op::MatMulInteger)),
    operator("Max", 8, 13, |node| same(node, Op::Max)),
    operator("MaxPool", 1, 22, layers::max_pool),
    operator("Min", 8, 13, |node| same(node, Op::Min)),
    operator("Mul", 7, 14, |node| same(node, Op::Mul)),
    operator("PRelu", 7, 16, |node| same(node, Op::PRelu)),
    operator("Pad", 2, 25, movement::pad),
    operator("QLinearConv", 10, 10, quantized::conv),
    operator("QLinearMatMul", 10, 21, quantized::matmul),
    operator("QuantizeLinear", 10, 28, elementwise::quantize_linear),
    operator("ReduceMean", 1, 18, layers::reduce_mean),
    operator("Relu", 6, 14, |node| same(node, Op::Relu)),
    operator("Reshape", 5, 25, |node| {
        same(node, Op::Reshape { allow_zero: node.attributes.flag_or("allowzero", false)? })
    }),
    operator("Shape", 1, 25, movement::shape),
    operator("Sigmoid", 6, 13, |node| same(node, Op::Activation(Activation::Sigmoid))),
    operator("Slice", 1, 13, movement::slice),
    operator("Softmax", 1, 13, elementwise::softmax),
    operator("Softplus", 1, 22, |node| same(node, Op::Activation(Activation::Softplus))),
    operator("Squeeze", 1, 25, movement::squeeze),
    operator("Sub", 7, 14, |node| same(node, Op::Sub)),
    operator("Sum", 8, 13, elementwise::sum),
    operator("Tanh", 6, 13, |node| same(node, Op::Activation(Activation::Tanh))),
    operator("Transpose", 1, 25, movement::transpose),
    operator("Unsqueeze", 1, 25, movement::unsqueeze),
];

/// Those of ONNX Runtime's domain, whose only version is 1.
const MICROSOFT: [Operator; 10] = [
    operator("DequantizeLinear", 1, 1, quantized::dequantize_linear),
    operator("QGemm", 1, 1, quantized::gemm),
    operator("QLinearAdd", 1, 1, quantized::add),
    operator("QLinearAveragePool", 1, 1, quantized::average_pool),
    operator("QLinearConcat", 1, 1, quantized::concat),
    operator("QLinearGlobalAveragePool", 1, 1, quantized::global_average_pool),
    operator("QLinearLeakyRelu", 1, 1, quantized::leaky_relu),
    operator("QLinearMul", 1, 1, quantized::mul),
    operator("QLinearSigmoid", 1, 1, quantized::sigmoid),
    operator("QuantizeLinear", 1, 1, quantized::quantize_linear),
];

/// Reads one node, as its operator is in the operator set of the file.
pub(super) fn read(domain: &str, op_type: &str, node: &Node<'_>) -> Result<Expansion, Refusal> {
    let table: &[Operator] = match domain {
        "" | "ai.onnx" => &OPERATORS,
        "com.microsoft" => &MICROSOFT,
        _ => return Err(format!("operators of domain {domain:?} are not supported").into()),
    };
    let Some(operator) = table.iter().find(|operator| operator.name == op_type) else {
        let names: Vec<_> = table.iter().map(|operator| operator.name).collect();
        return Err(format!("the operator is not supported{LIST}{}", names.join(", ")).into());
    };
    if is_default_domain(domain) && node.opset < operator.since {
        return Err(format!(
            "in operator set {} it has another form or meaning than from {} on, which is what can be read; \
             onnx.version_converter changes it",
            node.opset, operator.since
        )
        .into());
    }
    let expansion = (operator.read)(node)?;
    node.attributes.finish()?;
    Ok(expansion)
}

/// Whether operators of that domain are those of ONNX itself.
pub(super) fn is_default_domain(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// The node as it is in the file.
fn same(node: &Node<'_>, op: Op) -> Result<Expansion, Refusal> {
    Ok(Expansion::same(op, &node.operands))
}

fn required<T>(attribute: Option<T>, name: &str) -> Result<T, String> {
    attribute.ok_or_else(|| format!("attribute {name:?} is missing"))
}

/// The element type that an attribute names by its number.
fn element_type(number: i64) -> Result<DType, String> {
    let number = i32::try_from(number).map_err(|_| format!("element type number {number}"))?;
    tensor::dtype(number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::OPERATORS;
    use crate::ACCEPTED_OPSETS;

    /// What onnx itself says, as `cargo xtask conform --onnx-node-tests` wrote it down.
    const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../interpreter/onnx-node-tests.md");

    /// Operators that ONNX has only since then.
    const NEWER: [(&str, i64); 2] = [("Gelu", 20), ("HardSwish", 14)];

    #[test]
    fn every_change_of_an_operator_was_compared() {
        let list = fs::read_to_string(LIST).unwrap();
        let newest = format!("whose newest operator set is {}:", ACCEPTED_OPSETS.end());
        assert!(list.contains(&newest), "the list is of another operator set than {}", ACCEPTED_OPSETS.end());
        let section = list.split("## Operators").nth(1).unwrap().split("##").next().unwrap();
        let told: BTreeMap<&str, i64> = section
            .lines()
            .filter_map(|line| line.strip_prefix("- ")?.split_once(' '))
            .map(|(name, version)| (name, version.parse().unwrap()))
            .collect();
        let ours: BTreeMap<&str, i64> =
            OPERATORS.iter().map(|operator| (operator.name, operator.checked)).collect();
        assert_eq!(ours, told);
        for operator in &OPERATORS {
            let first = NEWER.iter().find(|(name, _)| *name == operator.name).map_or(13, |(_, first)| *first);
            assert!(operator.since <= first && operator.since <= operator.checked, "{}", operator.name);
        }
    }
}
