//! Convolutions, products, pooling and normalization.

use onnx2int_graph::{AveragePoolAttributes, ConvAttributes, Dim, GemmAttributes, Op, Pads, PoolWindow};

use super::{Expansion, Node, Refusal, required};
use crate::decode::attributes::Attributes;
use crate::decode::operands::Operands;
use crate::decode::windows::{Geometry, Window};

pub(super) fn conv(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let attributes = conv_attributes(node, 1)?;
    Ok(Expansion::same(Op::Conv(attributes), &node.operands))
}

pub(super) fn conv_integer(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let attributes = conv_attributes(node, 1)?;
    Ok(Expansion::same(Op::ConvInteger(attributes), &node.operands))
}

/// The attributes of a convolution of operand 0 with weights in the slot `weights`.
pub(super) fn conv_attributes(node: &Node<'_>, weights: usize) -> Result<ConvAttributes, Refusal> {
    let Node { attributes, operands, .. } = node;
    let declared = attributes.extents("kernel_shape", 1)?;
    let geometry = Geometry::read(attributes)?;
    let group = attributes.int_or("group", 1)?;
    let group = match usize::try_from(group) {
        Ok(groups) if (1..=i64::from(i32::MAX)).contains(&group) => groups,
        _ => return Err(format!("attribute \"group\": expected 1 and above, found {group}").into()),
    };
    let weights = operands.ty(weights)?;
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

pub(super) fn gemm(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let attributes = GemmAttributes {
        alpha: node.attributes.float("alpha")?.unwrap_or(1.0),
        beta: node.attributes.float("beta")?.unwrap_or(1.0),
        trans_a: node.attributes.flag_or("transA", false)?,
        trans_b: node.attributes.flag_or("transB", false)?,
    };
    Ok(Expansion::same(Op::Gemm(attributes), &node.operands))
}

pub(super) fn max_pool(node: &Node<'_>) -> Result<Expansion, Refusal> {
    node.attributes.expect_int("storage_order", 0)?;
    let window = pool_window(&node.attributes, &node.operands)?;
    Ok(Expansion::same(Op::MaxPool(window), &node.operands))
}

pub(super) fn average_pool(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let attributes = average_pool_attributes(node)?;
    Ok(Expansion::same(Op::AveragePool(attributes), &node.operands))
}

pub(super) fn average_pool_attributes(node: &Node<'_>) -> Result<AveragePoolAttributes, Refusal> {
    Ok(AveragePoolAttributes {
        window: pool_window(&node.attributes, &node.operands)?,
        count_include_pad: node.attributes.flag_or("count_include_pad", false)?,
    })
}

fn pool_window(attributes: &Attributes<'_>, operands: &Operands<'_>) -> Result<PoolWindow, Refusal> {
    let kernel_shape = required(attributes.extents("kernel_shape", 1)?, "kernel_shape")?;
    let geometry = Geometry::read(attributes)?;
    let ceil_mode = attributes.flag_or("ceil_mode", false)?;
    if ceil_mode && geometry.is_automatic() {
        return Err("attribute \"ceil_mode\" is not supported together with \"auto_pad\"".into());
    }
    let Window { strides, pads, dilations, .. } = geometry.resolve(&kernel_shape, || operands.ty(0))?;
    Ok(PoolWindow { kernel_shape, strides, pads, dilations, ceil_mode })
}

/// A `MaxPool` with a window as large as the input.
pub(super) fn global_max_pool(node: &Node<'_>) -> Result<Expansion, Refusal> {
    let input = node.operands.ty(0)?;
    let extents: Option<Vec<usize>> =
        input.shape.get(2..).and_then(|spatial| spatial.iter().map(Dim::fixed).collect());
    let Some(kernel_shape) = extents.filter(|extents| !extents.is_empty()) else {
        return Err(format!("expected x [N, C, spatial...] of fixed spatial extents, found {input}").into());
    };
    let rank = kernel_shape.len();
    let attributes = PoolWindow {
        kernel_shape,
        strides: vec![1; rank],
        pads: Pads::symmetric(0, rank),
        dilations: vec![1; rank],
        ceil_mode: false,
    };
    Ok(Expansion::same(Op::MaxPool(attributes), &node.operands))
}

/// From set 9 on inference is what a model asks for unless `training_mode` says otherwise; the
/// outputs that training makes are refused where something reads them.
pub(super) fn batch_normalization(node: &Node<'_>) -> Result<Expansion, Refusal> {
    node.attributes.expect_int("training_mode", 0)?;
    // Sets 7 and 8; 0 asks for a mean at every position.
    node.attributes.expect_int("spatial", 1)?;
    // Of the running averages, which only training moves.
    node.attributes.float("momentum")?;
    let epsilon = node.attributes.float("epsilon")?.unwrap_or(1e-5);
    Ok(Expansion::same(Op::BatchNormalization { epsilon }, &node.operands))
}

/// Before set 18 the axes are an attribute, from there on an operand.
pub(super) fn reduce_mean(node: &Node<'_>) -> Result<Expansion, Refusal> {
    // 1 makes a mean over no axis the identity.
    node.attributes.expect_int("noop_with_empty_axes", 0)?;
    let op = Op::ReduceMean { keepdims: node.attributes.flag_or("keepdims", true)? };
    if node.opset >= 18 {
        return Ok(Expansion::same(op, &node.operands));
    }
    super::movement::with_axes(node, op)
}
