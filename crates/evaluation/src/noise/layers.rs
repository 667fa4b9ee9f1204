//! What the integer layers use of their accumulators, and how wide their multipliers are.

use onnx2int_graph::range::{Interval, analyze, needed_bits};
use onnx2int_graph::{DType, Graph, Op, Tensor, ValueId, Verified};
use serde::{Deserialize, Serialize};

/// The sums of an integer layer on some images, beside what they can be on any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerUse {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The least sum on the images.
    pub low: i64,
    /// The greatest one.
    pub high: i64,
    /// Bits of the least two's complement integer that holds both.
    pub bits: u32,
    /// The least sum that the weights allow, partial sums included.
    pub proven_low: i64,
    /// The greatest one.
    pub proven_high: i64,
    /// Bits of both.
    pub proven_bits: u32,
    /// The multipliers of the rescale behind the layer, if it has one.
    pub multipliers: Option<MultiplierBits>,
}

/// The multipliers of a rescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiplierBits {
    /// How many there are: one, or one for each channel.
    pub count: usize,
    /// The bits of the least one.
    pub least: u32,
    /// The bits of the greatest one.
    pub greatest: u32,
}

/// Gathers the sums of all layers of a graph.
pub(super) struct Layers {
    layers: Vec<(ValueId, Option<Interval>, LayerUse)>,
}

impl Layers {
    pub(super) fn of(graph: Verified<'_>) -> Self {
        let accumulators = analyze(graph).accumulators(graph.graph());
        let graph = graph.graph();
        let layers = accumulators.into_iter().map(|accumulator| {
            let node = graph.node(accumulator.node);
            let (proven_low, proven_high) = accumulator.range.hull();
            let layer = LayerUse {
                node: node.name.clone(),
                op: node.op.name().to_owned(),
                low: 0,
                high: 0,
                bits: 0,
                proven_low,
                proven_high,
                proven_bits: needed_bits((proven_low, proven_high)),
                multipliers: multipliers(graph, node.output),
            };
            (node.output, None, layer)
        });
        Self { layers: layers.collect() }
    }

    /// The values to be watched.
    pub(super) fn sums(&self) -> Vec<ValueId> {
        self.layers.iter().map(|(sums, _, _)| *sums).collect()
    }

    /// Adds a batch of them.
    pub(super) fn add(&mut self, sums: &[Tensor]) {
        for ((_, range, _), sums) in self.layers.iter_mut().zip(sums) {
            for &sum in sums.as_slice::<i32>().unwrap_or_default() {
                let sum = i64::from(sum);
                let (low, high) = range.unwrap_or((sum, sum));
                *range = Some((low.min(sum), high.max(sum)));
            }
        }
    }

    /// The layers that were seen.
    pub(super) fn finish(self) -> Vec<LayerUse> {
        let seen = self.layers.into_iter().filter_map(|(_, range, layer)| Some((range?, layer)));
        seen.map(|((low, high), layer)| LayerUse { low, high, bits: needed_bits((low, high)), ..layer })
            .collect()
    }
}

/// The last constant factors on the only way from sums to the codes that they become.
fn multipliers(graph: &Graph, sums: ValueId) -> Option<MultiplierBits> {
    let mut found = None;
    let mut value = sums;
    loop {
        let mut consumers = graph.consumers(value);
        let (Some((id, slot)), None) = (consumers.next(), consumers.next()) else { return None };
        let node = graph.node(id);
        match node.op {
            Op::Mul => {
                let factors = graph.constant_operand(node, 1 - slot.min(1)).and_then(Tensor::to_i64_vec);
                found = factors.and_then(|factors| bits(&factors)).or(found);
            }
            Op::Cast { to: DType::U8 } => return found,
            Op::Add | Op::Sub | Op::Div | Op::Max | Op::Min | Op::Relu | Op::Clip | Op::MaxPool(_) => {}
            _ => return None,
        }
        value = node.output;
    }
}

fn bits(factors: &[i64]) -> Option<MultiplierBits> {
    let bits = |factor: i64| u64::BITS - factor.unsigned_abs().leading_zeros();
    let all = || factors.iter().map(|&factor| bits(factor));
    Some(MultiplierBits { count: factors.len(), least: all().min()?, greatest: all().max()? })
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::verify;

    use super::*;

    #[test]
    fn the_observed_range_lies_beside_the_proven_one() {
        // Weights 3 and -4, so that a sum is between -4 * 255 and 3 * 255 and its rescale has two factors.
        let graph = Graph::from_text(
            "in %x: u8[N,1]
            const %w: i8[1,2] = [3, -4]
            const %m: i32[2] = [5, 1024]
            %sums: i32[N,2] = MatMulInteger(%x, %w, 0u8, 0i8) @fc
            %low: i32[N,2] = Max(%sums, 0i32)
            %high: i32[N,2] = Min(%low, 63i32)
            %product: i32[N,2] = Mul(%high, %m)
            %round: i32[N,2] = Add(%product, 512i32)
            %shift: i32[N,2] = Div(%round, 1024i32)
            %codes: u8[N,2] = Cast(%shift) to=u8
            out %codes",
        )
        .unwrap();
        let mut layers = Layers::of(verify(&graph).unwrap());
        assert_eq!(layers.sums().len(), 1);
        layers.add(&[Tensor::from_vec(&[2, 2], vec![30_i32, -40, 3, -4]).unwrap()]);
        let found = layers.finish();
        let expected = LayerUse {
            node: "fc".to_owned(),
            op: "MatMulInteger".to_owned(),
            low: -40,
            high: 30,
            bits: 7,
            proven_low: -1020,
            proven_high: 765,
            proven_bits: 11,
            multipliers: Some(MultiplierBits { count: 2, least: 3, greatest: 11 }),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_layer_that_was_not_run_or_not_rescaled_has_nothing_to_tell() {
        let graph = Graph::from_text(
            "in %x: u8[N,1]
            const %w: i8[1,1] = [3]
            %sums: i32[N,1] = MatMulInteger(%x, %w, 0u8, 0i8) @fc
            out %sums",
        )
        .unwrap();
        let mut layers = Layers::of(verify(&graph).unwrap());
        layers.add(&[Tensor::from_vec(&[1, 1], vec![6_i32]).unwrap()]);
        assert_eq!(layers.finish()[0].multipliers, None);
        assert!(Layers::of(verify(&graph).unwrap()).finish().is_empty());
    }
}
