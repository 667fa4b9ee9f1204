//! From an operator to the kernel that says what it means.

use onnx2int_graph::{Op, Tensor};

use crate::operands::Operands;
use crate::{OpError, average, cast, conv, elementwise, matmul, movement, pool, quantize, search, softmax};

/// The result of one operator. No wildcard arm: a new operator is a compile error here.
pub(crate) fn evaluate(op: &Op, x: &Operands<'_>) -> Result<Tensor, OpError> {
    match op {
        Op::Conv(attributes) => conv::conv(x, attributes),
        Op::ConvInteger(attributes) => conv::conv_integer(x, attributes),
        Op::Gemm(attributes) => matmul::gemm(x, attributes),
        Op::MatMul => matmul::matmul(x),
        Op::MatMulInteger => matmul::matmul_integer(x),
        Op::MaxPool(attributes) => pool::max_pool(x, attributes),
        Op::AveragePool(attributes) => average::average_pool(x, attributes),
        Op::GlobalAveragePool => average::global_average_pool(x),
        Op::ReduceMean { keepdims } => average::reduce_mean(x, *keepdims),
        Op::BatchNormalization { epsilon } => average::batch_normalization(x, *epsilon),

        Op::QuantizeLinear { axis } => quantize::quantize_linear(x, *axis),
        Op::DequantizeLinear { axis } => quantize::dequantize_linear(x, *axis),

        Op::Relu => elementwise::relu(x),
        Op::Activation(activation) => elementwise::activation(x, *activation),
        Op::PRelu => elementwise::prelu(x),
        Op::Clip => elementwise::clip(x),
        Op::Add => elementwise::add(x),
        Op::Sub => elementwise::sub(x),
        Op::Mul => elementwise::mul(x),
        Op::Div => elementwise::div(x),
        Op::Max => elementwise::max(x),
        Op::Min => elementwise::min(x),
        Op::Cast { to } => cast::cast(x, *to),
        Op::Softmax { axis } => softmax::softmax(x, *axis),
        Op::LogSoftmax { axis } => softmax::log_softmax(x, *axis),

        Op::Flatten { axis } => movement::flatten(x, *axis),
        Op::Reshape { allow_zero } => movement::reshape(x, *allow_zero),
        Op::Transpose { perm } => movement::transpose(x, perm),
        Op::Concat { axis } => movement::concat(x, *axis),
        Op::Gather { axis } => movement::gather(x, *axis),
        Op::Slice => movement::slice(x),
        Op::Pad => movement::pad(x),
        Op::Squeeze => movement::squeeze(x),
        Op::Unsqueeze => movement::unsqueeze(x),
        Op::Identity => x.tensor(0).cloned(),
        Op::Dropout => movement::dropout(x),

        Op::Constant(tensor) => Ok(tensor.clone()),
        Op::Shape { start, end } => movement::shape(x, *start, *end),
        Op::ArgMax { axis, keepdims } => search::arg_max(x, *axis, *keepdims),
    }
}
