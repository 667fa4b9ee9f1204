//! What the sums of an integer layer need of hardware.

use super::{ChannelRange, Interval, Ranges};
use crate::{Graph, NodeId};

/// The sums of one `ConvInteger` or `MatMulInteger`, for any input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accumulator {
    /// The layer.
    pub node: NodeId,
    /// The exact range of the sums of each filter or column, also where i32 does not hold it.
    ///
    /// Partial sums, in any order and grouping, are inside too.
    pub range: ChannelRange,
}

/// A number format that an accumulator may be kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// 16-bit two's complement.
    Int16,
    /// 24-bit two's complement.
    Int24,
    /// Integers up to 2^24 in absolute value, which f32 adds without rounding.
    F32Exact,
    /// 32-bit two's complement.
    Int32,
}

impl Width {
    /// Every width, in declaration order.
    pub const ALL: [Self; 4] = [Self::Int16, Self::Int24, Self::F32Exact, Self::Int32];

    /// The name in reports: `int16`, `int24`, `f32-exact`, `int32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int16 => "int16",
            Self::Int24 => "int24",
            Self::F32Exact => "f32-exact",
            Self::Int32 => "int32",
        }
    }

    /// The least and the greatest integer of the format.
    pub const fn range(self) -> Interval {
        match self {
            Self::Int16 => (-(1 << 15), (1 << 15) - 1),
            Self::Int24 => (-(1 << 23), (1 << 23) - 1),
            Self::F32Exact => (-(1 << 24), 1 << 24),
            Self::Int32 => (-(1 << 31), (1 << 31) - 1),
        }
    }

    /// Whether the format holds every integer of an interval.
    pub const fn holds(self, interval: Interval) -> bool {
        self.range().0 <= interval.0 && interval.1 <= self.range().1
    }
}

/// The bits of the least two's complement integer that holds both ends: 1 for `(0, 0)`, 8 for
/// `(-128, 127)`.
pub fn needed_bits(interval: Interval) -> u32 {
    let bits = |end: i64| 65 - if end < 0 { (!end).leading_zeros() } else { end.leading_zeros() };
    bits(interval.0).max(bits(interval.1))
}

/// The bits of an int32 that an interval leaves unused; 0 where it does not fit.
pub fn headroom(interval: Interval) -> u32 {
    32_u32.saturating_sub(needed_bits(interval))
}

impl Ranges {
    /// The accumulators of all integer layers of the graph that this is the analysis of, in
    /// execution order.
    pub fn accumulators(&self, graph: &Graph) -> Vec<Accumulator> {
        let layers = graph.nodes().filter(|(_, node)| node.op.is_integer_layer());
        layers
            .filter_map(|(id, node)| {
                let mut range = self.get(node.output)?.clone();
                for overflow in self.overflows.iter().filter(|overflow| overflow.node == id) {
                    range.bounds[overflow.channel] = overflow.range;
                }
                Some(Accumulator { node: id, range })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::analyze;
    use crate::verify;

    #[test]
    fn bits_include_the_sign() {
        for (low, high, bits) in [
            (0, 0, 1),
            (-1, 0, 1),
            (0, 1, 2),
            (-128, 127, 8),
            (-129, 0, 9),
            (0, 128, 9),
            (-1, i64::from(i32::MAX), 32),
        ] {
            assert_eq!(needed_bits((low, high)), bits, "{low} {high}");
            assert_eq!(headroom((low, high)), 32 - bits);
        }
        assert_eq!(headroom((0, 1 << 31)), 0);
    }

    #[test]
    fn widths_hold_what_their_formats_hold() {
        for (width, bits) in [(Width::Int16, 16), (Width::Int24, 24), (Width::Int32, 32)] {
            assert_eq!(needed_bits(width.range()), bits);
        }
        for width in Width::ALL {
            let (low, high) = width.range();
            assert!(width.holds((low, high)), "{}", width.name());
            assert!(!width.holds((low - 1, high)) && !width.holds((low, high + 1)), "{}", width.name());
        }
        // The first odd integer that f32 does not have.
        assert_eq!(((1 << 24) + 1) as f32, (1 << 24) as f32);
    }

    #[test]
    fn accumulators_are_exact_where_i32_overflows() {
        let graph = Graph::from_text(
            "in %x: u8[N,66000]
            const %w: i8[66000,2] = splat -128
            %sums: i32[N,2] = MatMulInteger(%x, %w, 0u8, 0i8)
            out %sums",
        )
        .unwrap();
        let accumulators = analyze(verify(&graph).unwrap()).accumulators(&graph);
        let exact = (-128 * 255 * 66_000, 0);
        assert_eq!(accumulators[0].range.bounds, [exact, exact]);
        assert!(!Width::Int32.holds(exact) && needed_bits(exact) == 33);
    }
}
