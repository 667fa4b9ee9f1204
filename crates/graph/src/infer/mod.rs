//! Type and shape rules: the type of a node's output from its operands.
//!
//! One function per family of operators, each stating what ONNX states at opset 21.

mod layers;
mod movement;
mod pooling;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;

use crate::shape_values::{ShapeElement, ShapeValues};
use crate::{DType, Dim, Graph, Op, Tensor, TensorType, ValueId};

/// What is known of one operand.
#[derive(Clone, Debug)]
pub struct Operand<'a> {
    /// Its type.
    pub ty: &'a TensorType,
    /// Its contents, if it is constant.
    pub constant: Option<&'a Tensor>,
    /// Its contents, if it holds a shape that can be followed symbolically.
    pub elements: Option<Vec<ShapeElement>>,
}

/// Which rule operands break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypeRule {
    /// Too few or too many operands, or a required one is missing.
    OperandCount,
    /// An operand's element type.
    OperandDtype,
    /// An operand's rank or extents.
    OperandShape,
    /// An attribute that does not fit the operands.
    Attribute,
    /// Something that must be constant is not.
    OperandConstant,
}

impl TypeRule {
    /// The stable kebab-case name that the verifier reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OperandCount => "operand-count",
            Self::OperandDtype => "operand-dtype",
            Self::OperandShape => "operand-shape",
            Self::Attribute => "attribute-fits",
            Self::OperandConstant => "operand-constant",
        }
    }
}

/// Operands that an operator does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct TypeError {
    /// The rule broken.
    pub rule: TypeRule,
    /// What the operator takes.
    pub expected: String,
    /// What it was given.
    pub found: String,
}

fn error<T>(rule: TypeRule, expected: impl fmt::Display, found: impl fmt::Display) -> Result<T, TypeError> {
    Err(TypeError { rule, expected: expected.to_string(), found: found.to_string() })
}

/// What is known of the operands of a node.
pub fn operands<'a>(
    graph: &'a Graph,
    inputs: &[Option<ValueId>],
    shape_values: &ShapeValues,
) -> Vec<Option<Operand<'a>>> {
    inputs
        .iter()
        .map(|input| {
            input.map(|id| {
                let value = graph.value(id);
                Operand { ty: &value.ty, constant: value.constant(), elements: shape_values.get(graph, id) }
            })
        })
        .collect()
}

/// The operands of one node, with the questions that the rules ask.
struct Operands<'a>(&'a [Option<Operand<'a>>]);

impl<'a> Operands<'a> {
    fn get(&self, slot: usize) -> Option<&'a Operand<'a>> {
        self.0.get(slot).and_then(Option::as_ref)
    }

    fn required(&self, slot: usize) -> Result<&'a Operand<'a>, TypeError> {
        match self.get(slot) {
            Some(operand) => Ok(operand),
            None => error(TypeRule::OperandCount, format!("operand {slot}"), "none"),
        }
    }

    fn ty(&self, slot: usize) -> Result<&'a TensorType, TypeError> {
        self.required(slot).map(|operand| operand.ty)
    }

    /// The operand's type, if its element type is one of `dtypes`.
    fn typed(&self, slot: usize, dtypes: &[DType]) -> Result<&'a TensorType, TypeError> {
        let ty = self.ty(slot)?;
        if dtypes.contains(&ty.dtype) {
            return Ok(ty);
        }
        let names: Vec<_> = dtypes.iter().map(|dtype| dtype.name()).collect();
        error(TypeRule::OperandDtype, format!("operand {slot} of type {}", names.join(" or ")), ty)
    }

    /// Refuses an operand that is there and is not of one of `dtypes`, or not of rank 0 or 1.
    fn optional_parameter(&self, slot: usize, dtypes: &[DType]) -> Result<Option<&'a TensorType>, TypeError> {
        if self.get(slot).is_none() {
            return Ok(None);
        }
        let ty = self.typed(slot, dtypes)?;
        if ty.rank() > 1 {
            return error(TypeRule::OperandShape, format!("operand {slot} of rank 0 or 1"), ty);
        }
        Ok(Some(ty))
    }

    /// The operand's numbers; they must be known before anything runs.
    fn numbers(&self, slot: usize) -> Result<Vec<i64>, TypeError> {
        let operand = self.required(slot)?;
        self.optional_parameter(slot, &[DType::I64])?;
        let numbers = operand.elements.as_ref().and_then(|elements| {
            elements
                .iter()
                .map(|element| match element {
                    ShapeElement::Number(number) => Some(*number),
                    ShapeElement::Symbol(_) => None,
                })
                .collect::<Option<Vec<_>>>()
        });
        match numbers {
            Some(numbers) => Ok(numbers),
            None => error(TypeRule::OperandConstant, format!("operand {slot} to be constant"), operand.ty),
        }
    }
}

const BYTES: [DType; 2] = [DType::U8, DType::I8];
const NUMBERS: [DType; 5] = [DType::F32, DType::U8, DType::I8, DType::I32, DType::I64];

/// The type of the output of `op` for these operands.
pub fn output_type(op: &Op, operands: &[Option<Operand<'_>>]) -> Result<TensorType, TypeError> {
    let (least, most) = op.arity();
    if operands.len() < least || operands.len() > most {
        let expected =
            if least == most { format!("{least} operands") } else { format!("{least} to {most} operands") };
        return error(TypeRule::OperandCount, expected, operands.len());
    }
    let operands = Operands(operands);
    let x = &operands;
    match op {
        Op::Conv(attributes) => layers::conv(x, attributes),
        Op::ConvInteger(attributes) => layers::conv_integer(x, attributes),
        Op::Gemm(attributes) => layers::gemm(x, attributes),
        Op::MatMul => layers::matmul(x, &[DType::F32, DType::I32, DType::I64]),
        Op::MatMulInteger => layers::matmul_integer(x),
        Op::MaxPool(attributes) => pooling::max_pool(x, attributes),
        Op::AveragePool(attributes) => pooling::average_pool(x, attributes),
        Op::GlobalAveragePool => pooling::global_average_pool(x),
        Op::ReduceMean { keepdims } => pooling::reduce_mean(x, *keepdims),
        Op::BatchNormalization { epsilon: _ } => pooling::batch_normalization(x),
        Op::QuantizeLinear { axis } => quantize(x, *axis),
        Op::DequantizeLinear { axis } => dequantize(x, *axis),
        Op::Relu => x.typed(0, &[DType::F32, DType::I8, DType::I32, DType::I64]).cloned(),
        Op::Activation(_) => x.typed(0, &[DType::F32]).cloned(),
        Op::PRelu => prelu(x),
        Op::Clip => clip(x),
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Max | Op::Min => elementwise(x),
        Op::Cast { to } => x.ty(0).map(|ty| ty.with_dtype(*to)),
        Op::LogSoftmax { axis } | Op::Softmax { axis } => {
            let ty = x.typed(0, &[DType::F32])?;
            resolve_axis(*axis, ty.rank())?;
            Ok(ty.clone())
        }
        Op::Flatten { axis } => movement::flatten(x, *axis),
        Op::Reshape { allow_zero } => movement::reshape(x, *allow_zero),
        Op::Transpose { perm } => movement::transpose(x, perm),
        Op::Concat { axis } => movement::concat(x, *axis),
        Op::Gather { axis } => movement::gather(x, *axis),
        Op::Slice => movement::slice(x),
        Op::Pad => movement::pad(x),
        Op::Squeeze => movement::squeeze(x),
        Op::Unsqueeze => movement::unsqueeze(x),
        Op::Identity => x.ty(0).cloned(),
        Op::Dropout => dropout(x),
        Op::Constant(tensor) => Ok(TensorType::of(tensor)),
        Op::Shape { start, end } => movement::shape(x, *start, *end),
        Op::ArgMax { axis, keepdims } => movement::arg_max(x, *axis, *keepdims),
    }
}

/// A possibly negative axis as an index below `rank`.
pub fn resolve_axis(axis: i64, rank: usize) -> Result<usize, TypeError> {
    let resolved = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(resolved) {
        Ok(index) if index < rank => Ok(index),
        _ => error(TypeRule::Attribute, format!("an axis of a rank {rank} tensor"), axis),
    }
}

fn quantize(x: &Operands<'_>, axis: i64) -> Result<TensorType, TypeError> {
    let ty = x.typed(0, &[DType::F32])?;
    let scale = x.typed(1, &[DType::F32])?;
    quantization_parameters(x, ty, scale, axis)?;
    let dtype = match x.optional_parameter(2, &BYTES)? {
        Some(zero_point) => zero_point.dtype,
        None => DType::U8,
    };
    Ok(ty.with_dtype(dtype))
}

fn dequantize(x: &Operands<'_>, axis: i64) -> Result<TensorType, TypeError> {
    let ty = x.typed(0, &[DType::U8, DType::I8, DType::I32])?;
    let scale = x.typed(1, &[DType::F32])?;
    quantization_parameters(x, ty, scale, axis)?;
    if x.get(2).is_some() {
        x.typed(2, &[ty.dtype])?;
    }
    Ok(ty.with_dtype(DType::F32))
}

/// A scale is a scalar or a vector along `axis`, and the zero point has its shape.
fn quantization_parameters(
    x: &Operands<'_>,
    ty: &TensorType,
    scale: &TensorType,
    axis: i64,
) -> Result<(), TypeError> {
    let is_single = |ty: &TensorType| matches!(ty.shape.as_slice(), [] | [Dim::Fixed(1)]);
    if let Some(zero_point) = x.get(2)
        && zero_point.ty.shape != scale.shape
        // ONNX wants one shape; runtimes take a scalar beside a vector of one, and files have it.
        && !(is_single(zero_point.ty) && is_single(scale))
    {
        return error(
            TypeRule::OperandShape,
            format!("a zero point of the scale's shape {scale}"),
            zero_point.ty,
        );
    }
    match scale.shape.as_slice() {
        [] => Ok(()),
        [Dim::Fixed(1)] => Ok(()),
        [extent] => {
            let axis = resolve_axis(axis, ty.rank())?;
            if ty.shape[axis] == *extent {
                return Ok(());
            }
            error(TypeRule::OperandShape, format!("a scale for axis {axis} of {ty}"), scale)
        }
        _ => error(TypeRule::OperandShape, "a scale of rank 0 or 1", scale),
    }
}

fn clip(x: &Operands<'_>) -> Result<TensorType, TypeError> {
    let ty = x.typed(0, &NUMBERS)?;
    for slot in 1..3 {
        if x.get(slot).is_some() {
            let bound = x.typed(slot, &[ty.dtype])?;
            if bound.rank() != 0 {
                return error(TypeRule::OperandShape, "a scalar bound", bound);
            }
        }
    }
    Ok(ty.clone())
}

fn prelu(x: &Operands<'_>) -> Result<TensorType, TypeError> {
    let ty = x.typed(0, &[DType::F32])?;
    let slope = x.typed(1, &[DType::F32])?;
    if broadcast(&ty.shape, &slope.shape)? != ty.shape {
        return error(TypeRule::OperandShape, format!("a slope that broadcasts to {ty}"), slope);
    }
    Ok(ty.clone())
}

fn dropout(x: &Operands<'_>) -> Result<TensorType, TypeError> {
    let ty = x.typed(0, &[DType::F32])?;
    for (slot, dtype) in [(1, DType::F32), (2, DType::Bool)] {
        if x.get(slot).is_some() {
            let parameter = x.typed(slot, &[dtype])?;
            if parameter.rank() != 0 {
                return error(TypeRule::OperandShape, format!("operand {slot} to be a scalar"), parameter);
            }
        }
    }
    // A network in training mode has no one result.
    if let Some(training_mode) = x.get(2)
        && training_mode.constant.and_then(Tensor::as_single) != Some(false)
    {
        return error(TypeRule::OperandConstant, "operand 2 (training_mode) to be false", training_mode.ty);
    }
    Ok(ty.clone())
}

fn elementwise(x: &Operands<'_>) -> Result<TensorType, TypeError> {
    let first = x.typed(0, &NUMBERS)?;
    let mut shape = first.shape.clone();
    for slot in 1..x.0.len() {
        let ty = x.typed(slot, &[first.dtype])?;
        shape = broadcast(&shape, &ty.shape)?;
    }
    Ok(TensorType { dtype: first.dtype, shape })
}

/// The common shape of two operands under numpy's rules.
pub(crate) fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, TypeError> {
    let rank = a.len().max(b.len());
    let one = Dim::Fixed(1);
    let at = |shape: &[Dim], i: usize| {
        (i + shape.len()).checked_sub(rank).map_or(one.clone(), |i| shape[i].clone())
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (x, y) if y == one => Ok(x),
            (x, y) if x == one => Ok(y),
            (x, y) => error(TypeRule::OperandShape, "shapes that broadcast", format!("extents {x} and {y}")),
        })
        .collect()
}
