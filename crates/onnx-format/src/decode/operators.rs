//! `NodeProto` to [`Op`]: one reader an operator, with ONNX's defaults.

use onnx2int_graph::{
    ConvAttributes, DType, Dim, GemmAttributes, Graph, MaxPoolAttributes, Op, Source, Tensor, TensorType,
    ValueId,
};

use super::attributes::Attributes;
use super::tensor;
use super::windows::Geometry;

/// Why a node has no [`Op`].
pub(super) enum Refusal {
    /// The node asks for something that cannot be represented.
    Unsupported(String),
    /// It depends on a value that could not be read; the cause is reported there.
    OperandUnreadable,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Unsupported(reason)
    }
}

/// What a name in a node's input list stands for.
#[derive(Clone, Copy)]
pub(super) enum Operand {
    /// Left out.
    Absent,
    /// Made by something that could not be read.
    Unreadable,
    /// A value of the graph so far.
    Known(ValueId),
}

/// The operands of one node.
pub(super) struct Operands<'a> {
    pub(super) graph: &'a Graph,
    pub(super) slots: &'a [Operand],
}

impl<'a> Operands<'a> {
    /// The operand in that slot, if there is one.
    fn get(&self, slot: usize) -> Result<Option<ValueId>, Refusal> {
        match self.slots.get(slot) {
            None | Some(Operand::Absent) => Ok(None),
            Some(Operand::Unreadable) => Err(Refusal::OperandUnreadable),
            Some(Operand::Known(id)) => Ok(Some(*id)),
        }
    }

    fn ty(&self, slot: usize) -> Result<&'a TensorType, Refusal> {
        match self.get(slot)? {
            Some(id) => Ok(&self.graph.value(id).ty),
            None => Err(format!("operand {slot} is missing").into()),
        }
    }

    /// The tensor of an initializer or of a `Constant` node.
    fn constant(&self, id: ValueId) -> Option<&'a Tensor> {
        match &self.graph.value(id).source {
            Source::Constant(tensor) => Some(tensor),
            Source::Input => None,
            Source::Node(node) => match &self.graph.node(*node).op {
                Op::Constant(tensor) => Some(tensor),
                _ => None,
            },
        }
    }
}

type Reader = fn(&Attributes<'_>, &Operands<'_>) -> Result<Op, Refusal>;

/// An operator that can be read.
pub(super) struct Operator {
    /// Its ONNX name.
    pub(super) name: &'static str,
    /// The first operator set in which it has the form and the meaning that the reader knows.
    since: i64,
    /// The last operator set up to [`ACCEPTED_OPSETS`](super::ACCEPTED_OPSETS)'s end that changed it. All changes
    /// from `since` to there were compared: they add element types that no graph of ours has, and
    /// attributes that the reader knows or [`Attributes::finish`] refuses by name.
    #[cfg_attr(not(test), expect(dead_code, reason = "the record of what was compared; a test reads it"))]
    checked: i64,
    read: Reader,
}

const fn operator(name: &'static str, since: i64, checked: i64, read: Reader) -> Operator {
    Operator { name, since, checked, read }
}

/// Every operator that can be read, by name.
pub(super) const OPERATORS: [Operator; 32] = [
    operator("Add", 7, 14, |_, _| Ok(Op::Add)),
    operator("ArgMax", 1, 13, arg_max),
    operator("Cast", 6, 28, cast),
    operator("Clip", 11, 13, |_, _| Ok(Op::Clip)),
    operator("Concat", 4, 13, |attributes, _| {
        Ok(Op::Concat { axis: required(attributes.int("axis")?, "axis")? })
    }),
    operator("Constant", 1, 25, constant),
    operator("Conv", 1, 22, |attributes, operands| Ok(Op::Conv(conv(attributes, operands)?))),
    operator("ConvInteger", 10, 10, |attributes, operands| Ok(Op::ConvInteger(conv(attributes, operands)?))),
    operator("DequantizeLinear", 10, 28, dequantize_linear),
    operator("Div", 7, 14, |_, _| Ok(Op::Div)),
    operator("Dropout", 12, 22, dropout),
    operator("Flatten", 1, 25, |attributes, _| Ok(Op::Flatten { axis: attributes.int_or("axis", 1)? })),
    operator("Gather", 1, 13, |attributes, _| Ok(Op::Gather { axis: attributes.int_or("axis", 0)? })),
    operator("Gemm", 7, 13, gemm),
    operator("Identity", 1, 25, |_, _| Ok(Op::Identity)),
    operator("LogSoftmax", 13, 13, |attributes, _| {
        Ok(Op::LogSoftmax { axis: attributes.int_or("axis", -1)? })
    }),
    operator("MatMul", 1, 13, |_, _| Ok(Op::MatMul)),
    operator("MatMulInteger", 10, 10, |_, _| Ok(Op::MatMulInteger)),
    operator("Max", 8, 13, |_, _| Ok(Op::Max)),
    operator("MaxPool", 1, 22, max_pool),
    operator("Min", 8, 13, |_, _| Ok(Op::Min)),
    operator("Mul", 7, 14, |_, _| Ok(Op::Mul)),
    operator("QuantizeLinear", 10, 28, quantize_linear),
    operator("Relu", 6, 14, |_, _| Ok(Op::Relu)),
    operator("Reshape", 5, 25, |attributes, _| {
        Ok(Op::Reshape { allow_zero: attributes.flag_or("allowzero", false)? })
    }),
    operator("Shape", 1, 25, |attributes, _| {
        Ok(Op::Shape { start: attributes.int_or("start", 0)?, end: attributes.int("end")? })
    }),
    operator("Slice", 10, 13, |_, _| Ok(Op::Slice)),
    operator("Softmax", 13, 13, |attributes, _| Ok(Op::Softmax { axis: attributes.int_or("axis", -1)? })),
    operator("Squeeze", 13, 25, |_, _| Ok(Op::Squeeze)),
    operator("Sub", 7, 14, |_, _| Ok(Op::Sub)),
    operator("Transpose", 1, 25, transpose),
    operator("Unsqueeze", 13, 25, |_, _| Ok(Op::Unsqueeze)),
];

/// Reads one operator of the default domain, as it is in the operator set `opset`.
pub(super) fn read(
    op_type: &str,
    opset: i64,
    attributes: &Attributes<'_>,
    operands: &Operands<'_>,
) -> Result<Op, Refusal> {
    let Some(operator) = OPERATORS.iter().find(|operator| operator.name == op_type) else {
        let names: Vec<_> = OPERATORS.iter().map(|operator| operator.name).collect();
        return Err(format!("the operator is not supported; expected one of {}", names.join(", ")).into());
    };
    if opset < operator.since {
        return Err(format!(
            "in operator set {opset} it has another form or meaning than from {} on, which is what can be read; \
             onnx.version_converter changes it",
            operator.since
        )
        .into());
    }
    let op = (operator.read)(attributes, operands)?;
    attributes.finish()?;
    Ok(op)
}

fn required<T>(attribute: Option<T>, name: &str) -> Result<T, String> {
    attribute.ok_or_else(|| format!("attribute {name:?} is missing"))
}

fn arg_max(attributes: &Attributes<'_>, _: &Operands<'_>) -> Result<Op, Refusal> {
    attributes.expect_int("select_last_index", 0)?;
    Ok(Op::ArgMax { axis: attributes.int_or("axis", 0)?, keepdims: attributes.flag_or("keepdims", true)? })
}

fn cast(attributes: &Attributes<'_>, _: &Operands<'_>) -> Result<Op, Refusal> {
    // Both speak of 8-bit floats only, which no graph of ours has.
    attributes.int("saturate")?;
    attributes.string("round_mode")?;
    Ok(Op::Cast { to: element_type(required(attributes.int("to")?, "to")?)? })
}

/// The element type that an attribute names by its number.
fn element_type(number: i64) -> Result<DType, String> {
    let number = i32::try_from(number).map_err(|_| format!("element type number {number}"))?;
    tensor::dtype(number)
}

fn constant(attributes: &Attributes<'_>, _: &Operands<'_>) -> Result<Op, Refusal> {
    let candidates = [
        attributes.tensor("value")?,
        attributes.float("value_float")?.map(Tensor::scalar),
        attributes.floats("value_floats")?.map(|floats| Tensor::vector(floats.to_vec())),
        attributes.int("value_int")?.map(Tensor::scalar),
        attributes.ints("value_ints")?.map(|ints| Tensor::vector(ints.to_vec())),
    ];
    // Before counting: a constant of another kind (sparse, strings) has its attribute named.
    attributes.finish()?;
    let mut given = candidates.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(tensor), None) => Ok(Op::Constant(tensor)),
        (None, _) => Err("no attribute gives its value".to_owned().into()),
        (Some(_), Some(_)) => Err("several attributes give its value".to_owned().into()),
    }
}

fn conv(attributes: &Attributes<'_>, operands: &Operands<'_>) -> Result<ConvAttributes, Refusal> {
    let declared = attributes.extents("kernel_shape", 1)?;
    let geometry = Geometry::read(attributes)?;
    let group = attributes.int_or("group", 1)?;
    let group = match usize::try_from(group) {
        Ok(groups) if (1..=i64::from(i32::MAX)).contains(&group) => groups,
        _ => return Err(format!("attribute \"group\": expected 1 and above, found {group}").into()),
    };
    let weights = operands.ty(1)?;
    let kernel: Option<Vec<usize>> =
        weights.shape.get(2..).and_then(|kernel| kernel.iter().map(Dim::fixed).collect());
    let Some(kernel) = kernel else {
        return Err(format!("expected weights [filters, channels, kernel...], found {weights}").into());
    };
    if let Some(declared) = declared
        && declared != kernel
    {
        let reason = format!("attribute \"kernel_shape\" is {declared:?}, that of the weights {kernel:?}");
        return Err(reason.into());
    }
    let window = geometry.resolve(&kernel, || operands.ty(0))?;
    Ok(ConvAttributes { strides: window.strides, pads: window.pads, dilations: window.dilations, group })
}

fn max_pool(attributes: &Attributes<'_>, operands: &Operands<'_>) -> Result<Op, Refusal> {
    attributes.expect_int("storage_order", 0)?;
    let kernel_shape = required(attributes.extents("kernel_shape", 1)?, "kernel_shape")?;
    let geometry = Geometry::read(attributes)?;
    let ceil_mode = attributes.flag_or("ceil_mode", false)?;
    if ceil_mode && geometry.is_automatic() {
        return Err("attribute \"ceil_mode\" is not supported together with \"auto_pad\"".to_owned().into());
    }
    let window = geometry.resolve(&kernel_shape, || operands.ty(0))?;
    Ok(Op::MaxPool(MaxPoolAttributes {
        kernel_shape,
        strides: window.strides,
        pads: window.pads,
        dilations: window.dilations,
        ceil_mode,
    }))
}

fn gemm(attributes: &Attributes<'_>, _: &Operands<'_>) -> Result<Op, Refusal> {
    Ok(Op::Gemm(GemmAttributes {
        alpha: attributes.float("alpha")?.unwrap_or(1.0),
        beta: attributes.float("beta")?.unwrap_or(1.0),
        trans_a: attributes.flag_or("transA", false)?,
        trans_b: attributes.flag_or("transB", false)?,
    }))
}

fn quantize_linear(attributes: &Attributes<'_>, operands: &Operands<'_>) -> Result<Op, Refusal> {
    attributes.expect_int("block_size", 0)?;
    // Speaks of 8-bit floats only.
    attributes.int("saturate")?;
    expect_f32(attributes, "precision")?;
    let axis = attributes.int_or("axis", 1)?;
    // ONNX: 0 stands for "as the zero point says", and a type must agree with the zero point's.
    let number = attributes.int_or("output_dtype", 0)?;
    if number != 0 {
        let wanted = element_type(number)?;
        let made = match operands.get(2)? {
            Some(zero_point) => operands.graph.value(zero_point).ty.dtype,
            None => DType::U8,
        };
        if wanted != made {
            let reason =
                format!("attribute \"output_dtype\" is {wanted}, but the zero point makes it {made}");
            return Err(reason.into());
        }
    }
    Ok(Op::QuantizeLinear { axis })
}

fn dequantize_linear(attributes: &Attributes<'_>, _: &Operands<'_>) -> Result<Op, Refusal> {
    attributes.expect_int("block_size", 0)?;
    expect_f32(attributes, "output_dtype")?;
    Ok(Op::DequantizeLinear { axis: attributes.int_or("axis", 1)? })
}

/// An element type that may only be that of the scale, which is f32; 0 stands for just that.
fn expect_f32(attributes: &Attributes<'_>, name: &str) -> Result<(), String> {
    match attributes.int_or(name, 0)? {
        0 => Ok(()),
        number => match element_type(number) {
            Ok(DType::F32) => Ok(()),
            Ok(other) => Err(format!("attribute {name:?}: expected the scale's type f32, found {other}")),
            Err(reason) => Err(format!("attribute {name:?}: {reason}")),
        },
    }
}

/// At inference this is the identity; a model that drops out while it runs is refused.
fn dropout(attributes: &Attributes<'_>, operands: &Operands<'_>) -> Result<Op, Refusal> {
    attributes.int("seed")?;
    let training = operands.get(2)?.map(|id| operands.constant(id).and_then(Tensor::as_single::<bool>));
    match training {
        None | Some(Some(false)) => Ok(Op::Dropout),
        Some(_) => {
            Err("operand 2 (training_mode) must be constant and false; export the model for inference"
                .to_owned()
                .into())
        }
    }
}

fn transpose(attributes: &Attributes<'_>, operands: &Operands<'_>) -> Result<Op, Refusal> {
    let perm = match attributes.extents("perm", 0)? {
        Some(perm) => perm,
        None => (0..operands.ty(0)?.rank()).rev().collect(),
    };
    Ok(Op::Transpose { perm })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::OPERATORS;
    use crate::ACCEPTED_OPSETS;

    /// What onnx itself says, as `cargo xtask conform --onnx-node-tests` wrote it down.
    const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../interpreter/onnx-node-tests.md");

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
            assert!(operator.since <= 13 && operator.since <= operator.checked, "{}", operator.name);
        }
    }
}
