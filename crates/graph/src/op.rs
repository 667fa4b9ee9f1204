//! The operators, as a closed enum with typed attributes.
//!
//! Each variant means what the ONNX operator of that name means at opset [`crate::OPSET`].
//! There is no wildcard match on [`Op`] in this workspace: a new operator is a compile error in
//! the codec, the printer, the type rules, the range rules and the interpreter.
//!
//! The operand order is ONNX's. An operand that ONNX calls optional is `None` in
//! [`crate::Node::inputs`]; trailing ones may be left out.

use crate::{Activation, DType, Tensor};

/// Zero or more cells added before and after each spatial axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pads {
    /// Cells before the first one, for each spatial axis.
    pub begin: Vec<usize>,
    /// Cells after the last one, for each spatial axis.
    pub end: Vec<usize>,
}

impl Pads {
    /// The same padding on both sides of every one of `rank` spatial axes.
    pub fn symmetric(pad: usize, rank: usize) -> Self {
        Self { begin: vec![pad; rank], end: vec![pad; rank] }
    }
}

/// Attributes of `Conv` and `ConvInteger`; the kernel shape is that of the weights.
///
/// Operands: `Conv(x, w, bias?)`; `ConvInteger(x, w, x_zero_point?, w_zero_point?)`.
/// Shapes: x `[N, C, spatial...]`, w `[filters, C / group, kernel...]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvAttributes {
    /// Step of the window along each spatial axis, at least 1.
    pub strides: Vec<usize>,
    /// Padding of each spatial axis (`auto_pad` is resolved where files are read).
    pub pads: Pads,
    /// Distance between kernel cells along each spatial axis, at least 1.
    pub dilations: Vec<usize>,
    /// Number of groups that input and output channels are divided into.
    pub group: usize,
}

impl ConvAttributes {
    /// Stride 1, no dilation, one group, the same padding everywhere.
    pub fn padded(pad: usize, spatial_rank: usize) -> Self {
        Self {
            strides: vec![1; spatial_rank],
            pads: Pads::symmetric(pad, spatial_rank),
            dilations: vec![1; spatial_rank],
            group: 1,
        }
    }
}

/// The window of a pool, and all that `MaxPool(x)` has as attributes, x `[N, C, spatial...]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolWindow {
    /// Extent of the window along each spatial axis.
    pub kernel_shape: Vec<usize>,
    /// Step of the window along each spatial axis.
    pub strides: Vec<usize>,
    /// Padding of each spatial axis; padded cells never win a maximum, and are zeros in an average.
    pub pads: Pads,
    /// Distance between window cells along each spatial axis.
    pub dilations: Vec<usize>,
    /// Round the output extent up instead of down.
    pub ceil_mode: bool,
}

/// Attributes of `AveragePool`; operands `(x)`, x `[N, C, spatial...]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AveragePoolAttributes {
    /// Where it looks.
    pub window: PoolWindow,
    /// Divide by the number of cells in the padded input, not by that in the input. What a last
    /// window has beyond the padding (`ceil_mode`) never counts.
    pub count_include_pad: bool,
}

/// Attributes of `Gemm(a, b, c?)`: `alpha * a' * b' + beta * c`.
#[derive(Clone, Debug, PartialEq)]
pub struct GemmAttributes {
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of `c`.
    pub beta: f32,
    /// Transpose `a` first.
    pub trans_a: bool,
    /// Transpose `b` first.
    pub trans_b: bool,
}

impl Default for GemmAttributes {
    fn default() -> Self {
        Self { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false }
    }
}

/// An operator with its attributes.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    // Layers.
    /// Convolution, float.
    Conv(ConvAttributes),
    /// Convolution of 8-bit integers into i32; padding stands for the zero point.
    ConvInteger(ConvAttributes),
    /// General matrix product, float.
    Gemm(GemmAttributes),
    /// Matrix product `(a, b)`, broadcasting as numpy does.
    MatMul,
    /// `(a, b, a_zero_point?, b_zero_point?)`: matrix product of 8-bit integers into i32.
    MatMulInteger,
    /// Maximum over a window.
    MaxPool(PoolWindow),
    /// Average over a window, float.
    AveragePool(AveragePoolAttributes),
    /// `[N, C, spatial...]` to `[N, C, 1...]`: the average of each channel, float.
    GlobalAveragePool,
    /// `(x, axes?)`: the average over these axes, all of them without, or with none named; float.
    ReduceMean {
        /// Keep the axes with extent 1.
        keepdims: bool,
    },
    /// `(x, scale, bias, mean, variance)`, x `[N, C, ...]`, the others `[C]`, float:
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, as at inference.
    BatchNormalization {
        /// Keeps the divisor from 0.
        epsilon: f32,
    },

    // Quantization.
    /// `(x, scale, zero_point?)`: `saturate(round_half_even(x / scale) + zero_point)`; the result
    /// has the zero point's type, u8 without one.
    QuantizeLinear {
        /// The axis of a rank 1 scale.
        axis: i64,
    },
    /// `(x, scale, zero_point?)`: `(x - zero_point) * scale`.
    DequantizeLinear {
        /// The axis of a rank 1 scale.
        axis: i64,
    },

    // Element by element, broadcasting as numpy does.
    /// `max(x, 0)`.
    Relu,
    /// One function of each element, float.
    Activation(Activation),
    /// `(x, slope)`, float: `x` from 0 on, `slope * x` below; `slope` broadcasts to `x`.
    PRelu,
    /// `(x, min?, max?)`, both bounds scalars.
    Clip,
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`; integers truncate towards zero.
    Div,
    /// The greatest of one or more operands.
    Max,
    /// The least of one or more operands.
    Min,
    /// Conversion to another element type; integers drop high bits, they do not saturate.
    Cast {
        /// The element type of the result.
        to: DType,
    },
    /// `log(sum(exp))`-normalized along `axis`.
    LogSoftmax {
        /// The axis that is normalized.
        axis: i64,
    },
    /// Exponentials normalized to sum 1 along `axis`.
    Softmax {
        /// The axis that is normalized.
        axis: i64,
    },

    // Data movement.
    /// To rank 2: axes before `axis` are merged, and those from it on.
    Flatten {
        /// The first axis of the second group.
        axis: i64,
    },
    /// `(x, shape)`: -1 is inferred, 0 copies the extent of `x` unless `allow_zero`.
    Reshape {
        /// 0 means an extent of 0.
        allow_zero: bool,
    },
    /// Axes permuted.
    Transpose {
        /// Axis `i` of the result is axis `perm[i]` of the operand.
        perm: Vec<usize>,
    },
    /// Operands joined along an axis.
    Concat {
        /// The axis that grows.
        axis: i64,
    },
    /// `(x, indices)`: slices of `x` along an axis.
    Gather {
        /// The axis that `indices` index.
        axis: i64,
    },
    /// `(x, starts, ends, axes?, steps?)`.
    Slice,
    /// `(x, pads, value?, axes?)`: cells of `value`, 0 without, added around `x`. `pads` has the number
    /// before the first index of each of the axes, then those after the last one; none is negative.
    Pad,
    /// `(x, axes?)`: axes of extent 1 removed.
    Squeeze,
    /// `(x, axes)`: axes of extent 1 inserted.
    Unsqueeze,
    /// The operand itself.
    Identity,
    /// `(x, ratio?, training_mode?)`: the operand itself, at inference.
    Dropout,

    // Others.
    /// No operand: a tensor. `sanitize` makes it an initializer.
    Constant(Tensor),
    /// The extents of the operand from `start` to `end`, as i64.
    Shape {
        /// The first axis reported.
        start: i64,
        /// The axis after the last one reported; none: the rank.
        end: Option<i64>,
    },
    /// The index of the greatest element along an axis, as i64; the first one wins.
    ArgMax {
        /// The axis searched.
        axis: i64,
        /// Keep the axis with extent 1.
        keepdims: bool,
    },
}

impl Op {
    /// The ONNX `op_type`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Conv(_) => "Conv",
            Self::ConvInteger(_) => "ConvInteger",
            Self::Gemm(_) => "Gemm",
            Self::MatMul => "MatMul",
            Self::MatMulInteger => "MatMulInteger",
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool(_) => "AveragePool",
            Self::GlobalAveragePool => "GlobalAveragePool",
            Self::ReduceMean { .. } => "ReduceMean",
            Self::BatchNormalization { .. } => "BatchNormalization",
            Self::QuantizeLinear { .. } => "QuantizeLinear",
            Self::DequantizeLinear { .. } => "DequantizeLinear",
            Self::Relu => "Relu",
            Self::Activation(activation) => activation.name(),
            Self::PRelu => "PRelu",
            Self::Clip => "Clip",
            Self::Add => "Add",
            Self::Sub => "Sub",
            Self::Mul => "Mul",
            Self::Div => "Div",
            Self::Max => "Max",
            Self::Min => "Min",
            Self::Cast { .. } => "Cast",
            Self::LogSoftmax { .. } => "LogSoftmax",
            Self::Softmax { .. } => "Softmax",
            Self::Flatten { .. } => "Flatten",
            Self::Reshape { .. } => "Reshape",
            Self::Transpose { .. } => "Transpose",
            Self::Concat { .. } => "Concat",
            Self::Gather { .. } => "Gather",
            Self::Slice => "Slice",
            Self::Pad => "Pad",
            Self::Squeeze => "Squeeze",
            Self::Unsqueeze => "Unsqueeze",
            Self::Identity => "Identity",
            Self::Dropout => "Dropout",
            Self::Constant(_) => "Constant",
            Self::Shape { .. } => "Shape",
            Self::ArgMax { .. } => "ArgMax",
        }
    }

    /// Whether the operator only moves elements or picks the greatest of some, so that it commutes
    /// with every map of elements that is increasing and the same for the whole tensor. What a `Pad`
    /// adds has to be mapped as well.
    pub const fn moves_data(&self) -> bool {
        match self {
            Self::MaxPool(_)
            | Self::Flatten { .. }
            | Self::Reshape { .. }
            | Self::Transpose { .. }
            | Self::Concat { .. }
            | Self::Gather { .. }
            | Self::Slice
            | Self::Pad
            | Self::Squeeze
            | Self::Unsqueeze
            | Self::Identity
            | Self::Dropout => true,
            Self::Conv(_)
            | Self::ConvInteger(_)
            | Self::Gemm(_)
            | Self::MatMul
            | Self::MatMulInteger
            | Self::AveragePool(_)
            | Self::GlobalAveragePool
            | Self::ReduceMean { .. }
            | Self::BatchNormalization { .. }
            | Self::QuantizeLinear { .. }
            | Self::DequantizeLinear { .. }
            | Self::Relu
            | Self::Activation(_)
            | Self::PRelu
            | Self::Clip
            | Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Div
            | Self::Max
            | Self::Min
            | Self::Cast { .. }
            | Self::LogSoftmax { .. }
            | Self::Softmax { .. }
            | Self::Constant(_)
            | Self::Shape { .. }
            | Self::ArgMax { .. } => false,
        }
    }

    /// Whether this is `ConvInteger` or `MatMulInteger`: sums of products of 8-bit integers in i32.
    pub const fn is_integer_layer(&self) -> bool {
        matches!(self, Self::ConvInteger(_) | Self::MatMulInteger)
    }

    /// The least and the greatest number of operands.
    pub const fn arity(&self) -> (usize, usize) {
        match self {
            Self::Constant(_) => (0, 0),
            Self::MaxPool(_)
            | Self::AveragePool(_)
            | Self::GlobalAveragePool
            | Self::Relu
            | Self::Activation(_)
            | Self::Cast { .. }
            | Self::LogSoftmax { .. }
            | Self::Softmax { .. }
            | Self::Flatten { .. }
            | Self::Transpose { .. }
            | Self::Identity
            | Self::Shape { .. }
            | Self::ArgMax { .. } => (1, 1),
            Self::Squeeze | Self::ReduceMean { .. } => (1, 2),
            Self::Clip | Self::Dropout => (1, 3),
            Self::MatMul
            | Self::PRelu
            | Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Div
            | Self::Reshape { .. }
            | Self::Gather { .. }
            | Self::Unsqueeze => (2, 2),
            Self::Conv(_) | Self::Gemm(_) | Self::QuantizeLinear { .. } | Self::DequantizeLinear { .. } => {
                (2, 3)
            }
            Self::ConvInteger(_) | Self::MatMulInteger | Self::Pad => (2, 4),
            Self::Slice => (3, 5),
            Self::BatchNormalization { .. } => (5, 5),
            Self::Max | Self::Min | Self::Concat { .. } => (1, usize::MAX),
        }
    }

    /// What the operand in a slot is to the operator: `scale`, `zero_point`, `bias`, ...
    ///
    /// Constants are named `<output name>_<role>` after it, here and in every transform. Slots of
    /// operators with any number of operands are `a`, `b`, `c`, ...; slots past the last one are
    /// numbered.
    pub fn operand_role(&self, slot: usize) -> String {
        let roles = self.operand_roles();
        roles.get(slot).map_or_else(|| format!("operand_{slot}"), |&role| role.to_owned())
    }

    /// The roles of the operands, in order.
    pub const fn operand_roles(&self) -> &'static [&'static str] {
        match self {
            Self::Conv(_) => &["x", "w", "bias"],
            Self::ConvInteger(_) => &["x", "w", "x_zero_point", "w_zero_point"],
            Self::Gemm(_) => &["a", "b", "c"],
            Self::MatMulInteger => &["a", "b", "a_zero_point", "b_zero_point"],
            Self::QuantizeLinear { .. } | Self::DequantizeLinear { .. } => &["x", "scale", "zero_point"],
            Self::Clip => &["x", "min", "max"],
            Self::MatMul | Self::Add | Self::Sub | Self::Mul | Self::Div => &["a", "b"],
            Self::Max | Self::Min | Self::Concat { .. } => &["a", "b", "c", "d"],
            Self::Reshape { .. } => &["x", "shape"],
            Self::Gather { .. } => &["x", "indices"],
            Self::Slice => &["x", "starts", "ends", "axes", "steps"],
            Self::Squeeze | Self::Unsqueeze | Self::ReduceMean { .. } => &["x", "axes"],
            Self::Pad => &["x", "pads", "value", "axes"],
            Self::BatchNormalization { .. } => &["x", "scale", "bias", "mean", "variance"],
            Self::PRelu => &["x", "slope"],
            Self::Dropout => &["x", "ratio", "training_mode"],
            Self::MaxPool(_)
            | Self::AveragePool(_)
            | Self::GlobalAveragePool
            | Self::Relu
            | Self::Activation(_)
            | Self::Cast { .. }
            | Self::LogSoftmax { .. }
            | Self::Softmax { .. }
            | Self::Flatten { .. }
            | Self::Transpose { .. }
            | Self::Identity
            | Self::Shape { .. }
            | Self::ArgMax { .. } => &["x"],
            Self::Constant(_) => &[],
        }
    }
}
