//! Operators and their attributes, in both directions.

use std::fmt::{self, Display, Write as _};

use super::ParseError;
use super::cursor::{Cursor, Place};
use super::literal::{self, RepeatedElements};
use super::print::{Scalar, TensorPrinter, Type};
use crate::{
    Activation, AveragePoolAttributes, ConvAttributes, DType, GemmAttributes, Op, Pads, PoolWindow, Tensor,
    TensorType,
};

/// The `axis` of Q and DQ that ONNX takes when there is none.
const QUANTIZATION_AXIS: i64 = 1;
/// The `axis` of Softmax and LogSoftmax that ONNX takes when there is none.
const SOFTMAX_AXIS: i64 = -1;
/// What ONNX takes for the attributes of these operators when they are left out.
const EPSILON: f32 = 1e-5;
const LEAKY_RELU_ALPHA: f32 = 0.01;
const ELU_ALPHA: f32 = 1.0;
const HARD_SIGMOID_ALPHA: f32 = 0.2;
const HARD_SIGMOID_BETA: f32 = 0.5;

/// Prints the attributes that differ from their defaults, each after a space.
///
/// `operand_rank` is the rank of the first operand: it says how long a default list is.
pub(super) fn print(
    text: &mut String,
    op: &Op,
    operand_rank: Option<usize>,
    tensors: &mut TensorPrinter,
) -> fmt::Result {
    let spatial_rank = operand_rank.map(spatial_rank);
    match op {
        Op::Conv(attributes) | Op::ConvInteger(attributes) => {
            let ConvAttributes { strides, pads, dilations, group } = attributes;
            print_window(text, spatial_rank, strides, pads, dilations)?;
            print_unless_default(text, "group", group, &1)
        }
        Op::MaxPool(window) => print_pool(text, spatial_rank, window),
        Op::AveragePool(AveragePoolAttributes { window, count_include_pad }) => {
            print_pool(text, spatial_rank, window)?;
            print_flag(text, "count_include_pad", *count_include_pad, false)
        }
        Op::ReduceMean { keepdims } => print_flag(text, "keepdims", *keepdims, true),
        Op::BatchNormalization { epsilon } => print_float(text, "epsilon", *epsilon, EPSILON),
        Op::Activation(activation) => print_activation(text, *activation),
        Op::Gemm(attributes) => {
            let GemmAttributes { alpha, beta, trans_a, trans_b } = attributes;
            print_float(text, "alpha", *alpha, 1.0)?;
            print_float(text, "beta", *beta, 1.0)?;
            print_flag(text, "transA", *trans_a, false)?;
            print_flag(text, "transB", *trans_b, false)
        }
        Op::QuantizeLinear { axis } | Op::DequantizeLinear { axis } => {
            print_unless_default(text, "axis", axis, &QUANTIZATION_AXIS)
        }
        Op::Cast { to } => write!(text, " to={to}"),
        Op::LogSoftmax { axis } | Op::Softmax { axis } => {
            print_unless_default(text, "axis", axis, &SOFTMAX_AXIS)
        }
        Op::Flatten { axis } => print_unless_default(text, "axis", axis, &1),
        Op::Reshape { allow_zero } => print_flag(text, "allowzero", *allow_zero, false),
        Op::Transpose { perm } => write!(text, " perm={}", List(perm)),
        Op::Concat { axis } => write!(text, " axis={axis}"),
        Op::Gather { axis } => print_unless_default(text, "axis", axis, &0),
        Op::Constant(tensor) => {
            write!(text, " value={} ", Type(&TensorType::of(tensor)))?;
            tensors.print(text, tensor)
        }
        Op::Shape { start, end } => {
            print_unless_default(text, "start", start, &0)?;
            end.iter().try_for_each(|end| write!(text, " end={end}"))
        }
        Op::ArgMax { axis, keepdims } => {
            print_unless_default(text, "axis", axis, &0)?;
            print_flag(text, "keepdims", *keepdims, true)
        }
        Op::MatMul
        | Op::MatMulInteger
        | Op::GlobalAveragePool
        | Op::Relu
        | Op::PRelu
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
        | Op::Identity
        | Op::Dropout => Ok(()),
    }
}

/// Makes an operator of its name and attributes; `operand_rank` as in [`print`], 0 if unknown.
pub(super) fn op(
    name: &str,
    place: Place,
    mut attributes: Attributes,
    operand_rank: usize,
) -> Result<Op, ParseError> {
    let spatial_rank = spatial_rank(operand_rank);
    let a = &mut attributes;
    let op = match name {
        "Conv" => Op::Conv(a.conv(spatial_rank)?),
        "ConvInteger" => Op::ConvInteger(a.conv(spatial_rank)?),
        "Gemm" => Op::Gemm(GemmAttributes {
            alpha: a.float("alpha")?.unwrap_or(1.0),
            beta: a.float("beta")?.unwrap_or(1.0),
            trans_a: a.flag("transA", false)?,
            trans_b: a.flag("transB", false)?,
        }),
        "MatMul" => Op::MatMul,
        "MatMulInteger" => Op::MatMulInteger,
        "MaxPool" => Op::MaxPool(a.pool(name)?),
        "QuantizeLinear" => Op::QuantizeLinear { axis: a.integer("axis")?.unwrap_or(QUANTIZATION_AXIS) },
        "DequantizeLinear" => Op::DequantizeLinear { axis: a.integer("axis")?.unwrap_or(QUANTIZATION_AXIS) },
        "AveragePool" => Op::AveragePool(AveragePoolAttributes {
            window: a.pool(name)?,
            count_include_pad: a.flag("count_include_pad", false)?,
        }),
        "GlobalAveragePool" => Op::GlobalAveragePool,
        "ReduceMean" => Op::ReduceMean { keepdims: a.flag("keepdims", true)? },
        "BatchNormalization" => Op::BatchNormalization { epsilon: a.float("epsilon")?.unwrap_or(EPSILON) },
        "Relu" => Op::Relu,
        "PRelu" => Op::PRelu,
        "Clip" => Op::Clip,
        "Add" => Op::Add,
        "Sub" => Op::Sub,
        "Mul" => Op::Mul,
        "Div" => Op::Div,
        "Max" => Op::Max,
        "Min" => Op::Min,
        "Cast" => Op::Cast { to: a.required(name, "to", Attributes::dtype)? },
        "LogSoftmax" => Op::LogSoftmax { axis: a.integer("axis")?.unwrap_or(SOFTMAX_AXIS) },
        "Softmax" => Op::Softmax { axis: a.integer("axis")?.unwrap_or(SOFTMAX_AXIS) },
        "Flatten" => Op::Flatten { axis: a.integer("axis")?.unwrap_or(1) },
        "Reshape" => Op::Reshape { allow_zero: a.flag("allowzero", false)? },
        "Transpose" => {
            Op::Transpose { perm: a.extents("perm")?.unwrap_or_else(|| (0..operand_rank).rev().collect()) }
        }
        "Concat" => Op::Concat { axis: a.required(name, "axis", Attributes::integer)? },
        "Gather" => Op::Gather { axis: a.integer("axis")?.unwrap_or(0) },
        "Slice" => Op::Slice,
        "Pad" => Op::Pad,
        "Squeeze" => Op::Squeeze,
        "Unsqueeze" => Op::Unsqueeze,
        "Identity" => Op::Identity,
        "Dropout" => Op::Dropout,
        "Constant" => Op::Constant(a.required(name, "value", Attributes::tensor)?),
        "Shape" => Op::Shape { start: a.integer("start")?.unwrap_or(0), end: a.integer("end")? },
        "ArgMax" => Op::ArgMax { axis: a.integer("axis")?.unwrap_or(0), keepdims: a.flag("keepdims", true)? },
        _ => match activation(name, a)? {
            Some(activation) => Op::Activation(activation),
            None => return Err(place.error("the name of an operator, such as `Conv`", format!("{name:?}"))),
        },
    };
    attributes.finish(name)?;
    Ok(op)
}

fn print_activation(text: &mut String, activation: Activation) -> fmt::Result {
    match activation {
        Activation::LeakyRelu { alpha } => print_float(text, "alpha", alpha, LEAKY_RELU_ALPHA),
        Activation::Elu { alpha } => print_float(text, "alpha", alpha, ELU_ALPHA),
        Activation::HardSigmoid { alpha, beta } => {
            print_float(text, "alpha", alpha, HARD_SIGMOID_ALPHA)?;
            print_float(text, "beta", beta, HARD_SIGMOID_BETA)
        }
        Activation::Gelu { tanh } => print_flag(text, "tanh", tanh, false),
        Activation::HardSwish
        | Activation::Sigmoid
        | Activation::Tanh
        | Activation::Softplus
        | Activation::Erf => Ok(()),
    }
}

/// The activation function of that name; none if there is none.
fn activation(name: &str, a: &mut Attributes) -> Result<Option<Activation>, ParseError> {
    Ok(Some(match name {
        "LeakyRelu" => Activation::LeakyRelu { alpha: a.float("alpha")?.unwrap_or(LEAKY_RELU_ALPHA) },
        "Elu" => Activation::Elu { alpha: a.float("alpha")?.unwrap_or(ELU_ALPHA) },
        "HardSigmoid" => Activation::HardSigmoid {
            alpha: a.float("alpha")?.unwrap_or(HARD_SIGMOID_ALPHA),
            beta: a.float("beta")?.unwrap_or(HARD_SIGMOID_BETA),
        },
        "HardSwish" => Activation::HardSwish,
        "Sigmoid" => Activation::Sigmoid,
        "Tanh" => Activation::Tanh,
        "Softplus" => Activation::Softplus,
        "Erf" => Activation::Erf,
        "Gelu" => Activation::Gelu { tanh: a.flag("tanh", false)? },
        _ => return Ok(None),
    }))
}

/// The number of axes after batch and channel.
fn spatial_rank(operand_rank: usize) -> usize {
    operand_rank.saturating_sub(2)
}

fn print_pool(text: &mut String, spatial_rank: Option<usize>, window: &PoolWindow) -> fmt::Result {
    let PoolWindow { kernel_shape, strides, pads, dilations, ceil_mode } = window;
    write!(text, " kernel_shape={}", List(kernel_shape))?;
    print_window(text, spatial_rank, strides, pads, dilations)?;
    print_flag(text, "ceil_mode", *ceil_mode, false)
}

fn print_window(
    text: &mut String,
    spatial_rank: Option<usize>,
    strides: &[usize],
    pads: &Pads,
    dilations: &[usize],
) -> fmt::Result {
    let is_default = |list: &[usize], default: usize| {
        Some(list.len()) == spatial_rank && list.iter().all(|&v| v == default)
    };
    if !is_default(strides, 1) {
        write!(text, " strides={}", List(strides))?;
    }
    if !is_default(&pads.begin, 0) || !is_default(&pads.end, 0) {
        write!(text, " pads={}", List(&[pads.begin.as_slice(), &pads.end].concat()))?;
    }
    if !is_default(dilations, 1) {
        write!(text, " dilations={}", List(dilations))?;
    }
    Ok(())
}

fn print_unless_default<T: Display + PartialEq>(
    text: &mut String,
    name: &str,
    value: &T,
    default: &T,
) -> fmt::Result {
    if value == default { Ok(()) } else { write!(text, " {name}={value}") }
}

fn print_float(text: &mut String, name: &str, value: f32, default: f32) -> fmt::Result {
    if value == default { Ok(()) } else { write!(text, " {name}={}", Scalar(value)) }
}

fn print_flag(text: &mut String, name: &str, value: bool, default: bool) -> fmt::Result {
    print_unless_default(text, name, &u8::from(value), &u8::from(default))
}

struct List<'a>(&'a [usize]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('[')?;
        for (i, item) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_char(',')?;
            }
            write!(f, "{item}")?;
        }
        f.write_char(']')
    }
}

/// The attributes of a node as written; each is taken out once.
pub(super) struct Attributes {
    list: Vec<Attribute>,
    /// The end of the list, where a missing one would stand.
    end: Place,
}

struct Attribute {
    name: String,
    place: Place,
    value: AttributeValue,
}

enum AttributeValue {
    /// A number, a flag, an element type: read when it is known which.
    Word(String),
    List(Vec<i64>),
    Tensor(Tensor),
}

impl Attributes {
    /// Reads `name=value` pairs up to the node's name or the end of the line.
    pub(super) fn parse(
        cursor: &mut Cursor<'_>,
        repeated: &mut RepeatedElements,
    ) -> Result<Self, ParseError> {
        let mut list: Vec<Attribute> = Vec::new();
        while !cursor.at_end() && cursor.peek() != Some('@') {
            let place = cursor.next_place();
            let name = cursor.word().to_owned();
            if name.is_empty() {
                return Err(cursor.unexpected("an attribute (`name=value`), `@name`, or the end of the line"));
            }
            if list.iter().any(|other| other.name == name) {
                return Err(place.error("an attribute that is not there yet", format!("{name:?}")));
            }
            cursor.expect('=', "`=` and the attribute's value")?;
            let value = if name == "value" {
                let ty = cursor.tensor_type()?;
                AttributeValue::Tensor(literal::tensor(cursor, &ty, repeated)?)
            } else if cursor.accept('[') {
                AttributeValue::List(cursor.list(|cursor| {
                    cursor.skip_spaces();
                    let start = *cursor;
                    literal::number_word(cursor).parse().map_err(|_| {
                        *cursor = start;
                        cursor.unexpected("an integer")
                    })
                })?)
            } else {
                match literal::number_word(cursor) {
                    "" => return Err(cursor.unexpected("a number, an element type, or a list `[..]`")),
                    word => AttributeValue::Word(word.to_owned()),
                }
            };
            list.push(Attribute { name, place, value });
        }
        Ok(Self { list, end: cursor.next_place() })
    }

    fn take(&mut self, name: &str) -> Option<Attribute> {
        let position = self.list.iter().position(|attribute| attribute.name == name)?;
        Some(self.list.remove(position))
    }

    /// The attribute read by `read`, if it is there.
    fn read<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(AttributeValue) -> Option<T>,
    ) -> Result<Option<T>, ParseError> {
        let Some(attribute) = self.take(name) else { return Ok(None) };
        let found = match &attribute.value {
            AttributeValue::Word(word) => format!("{word:?}"),
            AttributeValue::List(list) => format!("{list:?}"),
            AttributeValue::Tensor(_) => "a tensor".to_owned(),
        };
        match read(attribute.value) {
            Some(value) => Ok(Some(value)),
            None => Err(attribute.place.error(format!("{name}={expected}"), found)),
        }
    }

    fn required<T>(
        &mut self,
        op: &str,
        name: &str,
        read: impl FnOnce(&mut Self, &str) -> Result<Option<T>, ParseError>,
    ) -> Result<T, ParseError> {
        let end = self.end;
        read(self, name)?.ok_or_else(|| end.error(format!("the attribute `{name}` of {op}"), "none"))
    }

    fn integer(&mut self, name: &str) -> Result<Option<i64>, ParseError> {
        self.read(name, "an integer", |value| match value {
            AttributeValue::Word(word) => word.parse().ok(),
            AttributeValue::List(_) | AttributeValue::Tensor(_) => None,
        })
    }

    fn float(&mut self, name: &str) -> Result<Option<f32>, ParseError> {
        self.read(name, "a number", |value| match value {
            AttributeValue::Word(word) => literal::float(&word),
            AttributeValue::List(_) | AttributeValue::Tensor(_) => None,
        })
    }

    fn flag(&mut self, name: &str, default: bool) -> Result<bool, ParseError> {
        let flag = self.read(name, "0 or 1", |value| match value {
            AttributeValue::Word(word) => match word.as_str() {
                "0" => Some(false),
                "1" => Some(true),
                _ => None,
            },
            AttributeValue::List(_) | AttributeValue::Tensor(_) => None,
        })?;
        Ok(flag.unwrap_or(default))
    }

    fn dtype(&mut self, name: &str) -> Result<Option<DType>, ParseError> {
        self.read(name, "an element type", |value| match value {
            AttributeValue::Word(word) => DType::ALL.into_iter().find(|dtype| dtype.name() == word),
            AttributeValue::List(_) | AttributeValue::Tensor(_) => None,
        })
    }

    fn extents(&mut self, name: &str) -> Result<Option<Vec<usize>>, ParseError> {
        self.read(name, "[..] of numbers from 0", |value| match value {
            AttributeValue::List(list) => {
                list.into_iter().map(|number| usize::try_from(number).ok()).collect()
            }
            AttributeValue::Word(_) | AttributeValue::Tensor(_) => None,
        })
    }

    fn tensor(&mut self, name: &str) -> Result<Option<Tensor>, ParseError> {
        self.read(name, "a tensor", |value| match value {
            AttributeValue::Tensor(tensor) => Some(tensor),
            AttributeValue::Word(_) | AttributeValue::List(_) => None,
        })
    }

    fn conv(&mut self, spatial_rank: usize) -> Result<ConvAttributes, ParseError> {
        let (strides, pads, dilations) = self.window(spatial_rank)?;
        let group = self.read("group", "a number from 0", |value| match value {
            AttributeValue::Word(word) => word.parse().ok(),
            AttributeValue::List(_) | AttributeValue::Tensor(_) => None,
        })?;
        Ok(ConvAttributes { strides, pads, dilations, group: group.unwrap_or(1) })
    }

    /// The window of the pool called `name`.
    fn pool(&mut self, name: &str) -> Result<PoolWindow, ParseError> {
        let kernel_shape = self.required(name, "kernel_shape", Attributes::extents)?;
        let (strides, pads, dilations) = self.window(kernel_shape.len())?;
        let ceil_mode = self.flag("ceil_mode", false)?;
        Ok(PoolWindow { kernel_shape, strides, pads, dilations, ceil_mode })
    }

    /// Strides, pads and dilations.
    fn window(&mut self, spatial_rank: usize) -> Result<(Vec<usize>, Pads, Vec<usize>), ParseError> {
        let strides = self.extents("strides")?.unwrap_or_else(|| vec![1; spatial_rank]);
        let dilations = self.extents("dilations")?.unwrap_or_else(|| vec![1; spatial_rank]);
        let pads =
            self.read("pads", "[begin.., end..], one of each per spatial axis", |value| match value {
                AttributeValue::List(list) if list.len().is_multiple_of(2) => {
                    let mut pads = list.into_iter().map(|pad| usize::try_from(pad).ok());
                    let half = pads.len() / 2;
                    let begin: Option<Vec<_>> = pads.by_ref().take(half).collect();
                    let end: Option<Vec<_>> = pads.collect();
                    Some(Pads { begin: begin?, end: end? })
                }
                AttributeValue::List(_) | AttributeValue::Word(_) | AttributeValue::Tensor(_) => None,
            })?;
        Ok((strides, pads.unwrap_or_else(|| Pads::symmetric(0, spatial_rank)), dilations))
    }

    /// Refuses attributes that nobody took.
    fn finish(self, op: &str) -> Result<(), ParseError> {
        match self.list.first() {
            None => Ok(()),
            Some(left) => Err(left.place.error(format!("an attribute of {op}"), format!("{:?}", left.name))),
        }
    }
}
