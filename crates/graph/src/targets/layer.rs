//! What the judges of targets ask of an integer layer.

use super::Cause;
use crate::range::Ranges;
use crate::{DType, Graph, Node, Op, Tensor};

/// An interval of whole numbers, both ends included.
pub(super) type Span = (i64, i64);

/// Which operator it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LayerKind {
    /// ConvInteger.
    Convolution,
    /// MatMulInteger.
    Product,
}

/// A ConvInteger or MatMulInteger.
pub(super) struct IntegerLayer<'g> {
    pub(super) node: &'g Node,
    pub(super) kind: LayerKind,
    /// Everything that a sum, or a part of it, can be.
    pub(super) accumulator: Span,
    weights: Option<&'g Tensor>,
    weight_dtype: DType,
    input_dtype: DType,
    /// What the input can be, as stored: the range of all channels, and the zero point where
    /// there is padding.
    input: Span,
}

impl<'g> IntegerLayer<'g> {
    /// The layer at a node; none for another operator.
    pub(super) fn of(graph: &'g Graph, ranges: &Ranges, node: &'g Node) -> Option<Self> {
        let (kind, is_padded) = match &node.op {
            Op::ConvInteger(attributes) => {
                let pads = attributes.pads.begin.iter().chain(&attributes.pads.end);
                (LayerKind::Convolution, pads.copied().any(|pad| pad > 0))
            }
            Op::MatMulInteger => (LayerKind::Product, false),
            _ => return None,
        };
        let hull = |slot| Some(ranges.get(node.input(slot)?)?.hull());
        let mut input = hull(0)?;
        if is_padded {
            let (least, greatest) = hull(2).unwrap_or((0, 0));
            input = (input.0.min(least), input.1.max(greatest));
        }
        Some(Self {
            node,
            kind,
            accumulator: ranges.get(node.output)?.hull(),
            weights: graph.constant_operand(node, 1),
            weight_dtype: graph.operand(node, 1)?.ty.dtype,
            input_dtype: graph.operand(node, 0)?.ty.dtype,
            input,
        })
    }

    pub(super) const fn weight_dtype(&self) -> DType {
        self.weight_dtype
    }

    pub(super) const fn input_dtype(&self) -> DType {
        self.input_dtype
    }

    /// The least weight, as stored.
    pub(super) fn least_weight(&self) -> i64 {
        self.filters().into_iter().flatten().min().unwrap_or(0)
    }

    /// Whether any two products of one sum, added, stay within i16, when a kernel multiplies
    /// `weight(w)` by numbers within `input(x)`. Kernels differ in which products they pair, so
    /// that the worst two of a filter are taken.
    pub(super) fn check_pairs(
        &self,
        weight: impl Fn(i64) -> i64,
        input: impl Fn(Span) -> Span,
        advice: &'static str,
    ) -> Result<(), Cause> {
        let (low, high) = input(self.input);
        for (index, filter) in self.filters().into_iter().enumerate() {
            // What is not paired is paired with 0.
            let (mut greatest, mut least) = ([0; 2], [0; 2]);
            for product in filter.into_iter().map(&weight).map(|weight| (weight * low, weight * high)) {
                let (bottom, top) = (product.0.min(product.1), product.0.max(product.1));
                greatest = [greatest[0].max(top), greatest[1].max(top.min(greatest[0]))];
                least = [least[0].min(bottom), least[1].min(bottom.max(least[0]))];
            }
            let pair = (least[0] + least[1], greatest[0] + greatest[1]);
            if pair.0 < i64::from(i16::MIN) || pair.1 > i64::from(i16::MAX) {
                let reason = format!(
                    "two products of filter {index} can add up to {}, which saturates in 16 bits",
                    if pair.1 > i64::from(i16::MAX) { pair.1 } else { pair.0 }
                );
                return Err(Cause { reason, advice });
            }
        }
        Ok(())
    }

    /// The stored weights of each sum. Weights that are computed can be anything: one sum of both
    /// ends of their type.
    fn filters(&self) -> Vec<Vec<i64>> {
        let known = self.weights.and_then(|tensor| Some((tensor, tensor.to_i64_vec()?)));
        let Some((tensor, weights)) = known else {
            let (low, high) = self.weight_dtype.integer_range().unwrap_or((0, 0));
            return vec![vec![low, low, high, high]];
        };
        match self.kind {
            LayerKind::Convolution => {
                let taps: usize = tensor.shape()[1..].iter().product();
                weights.chunks(taps.max(1)).map(<[i64]>::to_vec).collect()
            }
            LayerKind::Product => {
                let columns = tensor.shape().last().copied().unwrap_or(1);
                (0..columns)
                    .map(|column| weights.iter().skip(column).step_by(columns).copied().collect())
                    .collect()
            }
        }
    }
}
