//! Where the integer layers of a graph give exactly the sums that they stand for.
//!
//! ONNX defines ConvInteger and MatMulInteger exactly, but some runtimes are exact only for some
//! weights: they add two products in 16 bits with saturation, sum in f32, or have no kernel for a
//! type. Whether that matters for one graph follows from its weights and from the proven ranges of
//! its operands ([`crate::range`]): two products that cannot leave 16 bits are exact there too.
//!
//! Each [`Target`] is a runtime on a kind of processor, with one function that judges a layer. The
//! functions say what sources and measurements say of the versions named; they look at no runtime.
//! Only the sums are judged: what stands between the layers of a verified integer graph is int32
//! arithmetic without overflow, and the same everywhere.

mod layer;

use crate::range::Ranges;
use crate::{DType, Verified};

use self::layer::{IntegerLayer, LayerKind, Span};

/// A runtime on a kind of processor.
#[derive(Clone, Copy)]
pub struct Target {
    /// A short stable name: `onnxruntime-avx2`.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    judge: fn(&IntegerLayer<'_>) -> Result<(), Cause>,
}

/// A layer that a target does not compute exactly, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The layer's name.
    pub node: String,
    /// Its operator.
    pub op: &'static str,
    /// What goes wrong there.
    pub reason: String,
    /// What to do.
    pub advice: &'static str,
}

/// Why a layer is not exact, and what helps.
struct Cause {
    reason: String,
    advice: &'static str,
}

/// Every target known.
pub const ALL: &[Target] = &[
    Target {
        name: "onnxruntime-avx2",
        description: "ONNX Runtime 1.24 and later, x86 without VNNI",
        judge: onnxruntime_avx2,
    },
    Target {
        name: "onnxruntime-vnni",
        description: "ONNX Runtime 1.24 and later, x86 with VNNI",
        judge: |_| Ok(()),
    },
    Target {
        name: "onnxruntime-before-1.24",
        description: "ONNX Runtime before 1.24, x86 without VNNI",
        judge: onnxruntime_before_1_24,
    },
    Target { name: "tract", description: "tract 0.23, optimized model", judge: |_| Ok(()) },
    Target { name: "tract-plain", description: "tract 0.23, model as loaded", judge: through_f32 },
    Target { name: "rten-avx2", description: "rten 0.25, x86 without VNNI", judge: rten_avx2 },
    Target {
        name: "f32",
        description: "engines that compute integer layers in f32, such as ONNX Runtime's WebNN provider",
        judge: through_f32,
    },
];

const ENCODE_NARROW: &str = "onnx2int transform encode-weights --as narrow";
const ENCODE_U8: &str = "onnx2int transform encode-weights --as u8, or --as narrow";
const FEWER_TERMS: &str =
    "a runtime that sums in int32; smaller weights (onnx2int quantize --weight-bits) make smaller sums";

impl Target {
    /// The layers of a graph that this target does not compute exactly; none: the graph is exact
    /// there. In execution order.
    pub fn findings(&self, graph: Verified<'_>, ranges: &Ranges) -> Vec<Finding> {
        let layers =
            graph.graph().nodes().filter_map(|(_, node)| IntegerLayer::of(graph.graph(), ranges, node));
        layers
            .filter_map(|layer| {
                let Cause { reason, advice } = (self.judge)(&layer).err()?;
                Some(Finding { node: layer.node.name.clone(), op: layer.node.op.name(), reason, advice })
            })
            .collect()
    }
}

/// MLAS multiplies u8 by i8 with `vpmaddubsw` where the *second* factor is signed. In MatMulInteger
/// that is the weights. In ConvInteger the weights are the first factor, and its kernels for a
/// signed first factor, and for two unsigned ones, widen before they add.
fn onnxruntime_avx2(layer: &IntegerLayer<'_>) -> Result<(), Cause> {
    match (layer.kind, layer.weight_dtype()) {
        (LayerKind::Product, DType::I8) => layer.check_pairs(|weight| weight, |input| input, ENCODE_U8),
        _ => Ok(()),
    }
}

/// As [`onnxruntime_avx2`], and ConvInteger has a kernel for u8 weights only.
fn onnxruntime_before_1_24(layer: &IntegerLayer<'_>) -> Result<(), Cause> {
    if layer.kind == LayerKind::Convolution && layer.weight_dtype() != DType::U8 {
        let reason = "it has no ConvInteger for i8 weights".to_owned();
        return Err(Cause { reason, advice: ENCODE_U8 });
    }
    onnxruntime_avx2(layer)
}

/// rten multiplies u8 by i8 with `vpmaddubsw` always. In ConvInteger the weights are the unsigned
/// factor (i8 weights are shifted by their least), and the input is shifted to i8; in
/// MatMulInteger the input is the unsigned factor, and u8 weights are shifted by 128.
fn rten_avx2(layer: &IntegerLayer<'_>) -> Result<(), Cause> {
    let weight_shift = match (layer.kind, layer.weight_dtype()) {
        (LayerKind::Convolution, DType::I8) => layer.least_weight(),
        (LayerKind::Product, DType::U8) => 128,
        _ => 0,
    };
    let input_shift = match (layer.kind, layer.input_dtype()) {
        (LayerKind::Convolution, DType::U8) => 128,
        (LayerKind::Product, DType::I8) => -128,
        _ => 0,
    };
    let shift = |by: i64| move |(low, high): Span| (low - by, high - by);
    layer.check_pairs(|weight| weight - weight_shift, shift(input_shift), ENCODE_NARROW)
}

/// Sums, partial ones included, are exact in f32 up to 2^24.
fn through_f32(layer: &IntegerLayer<'_>) -> Result<(), Cause> {
    let (low, high) = layer.accumulator;
    if low.abs().max(high.abs()) <= 1 << 24 {
        return Ok(());
    }
    let reason = format!("its sums reach {low}..={high}, and f32 holds whole numbers up to 2^24");
    Err(Cause { reason, advice: FEWER_TERMS })
}

#[cfg(test)]
mod tests;
