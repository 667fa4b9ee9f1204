//! What the processor could do at most: the yardstick of a benchmark.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::Kernel;
use crate::kernel::with_lanes;
use crate::lanes::{GROUP_BYTES, Lanes, MOST_LANES};

/// Multiplications and additions that a kernel's dot products do in a second on one thread, with all operands
/// in registers. None where the processor lacks the instructions, and for a portable kernel, which a compiler sees
/// through.
pub fn peak_multiply_adds(kernel: Kernel, duration: Duration) -> Option<f64> {
    let instructions = kernel.instructions().filter(|_| !kernel.is_portable())?;
    Some(with_lanes!(instructions, |lanes| measure(lanes, duration)))
}

fn measure<S: Lanes>(lanes: S, duration: Duration) -> f64 {
    if S::GROUP == GROUP_BYTES {
        // One instruction, which no compiler sees through: two in a cycle of a latency of five take ten sums, beside
        // which two weights are in registers even where there are sixteen.
        measure_with::<S, 10, 2, 1>(lanes, duration)
    } else {
        // The sums wait for an addition only, and products of the same weights and operand would be computed once.
        measure_with::<S, 8, 4, 2>(lanes, duration)
    }
}

fn measure_with<S: Lanes, const SUMS: usize, const WEIGHTS: usize, const XS: usize>(
    lanes: S,
    duration: Duration,
) -> f64 {
    const ROUNDS: usize = 100_000;
    let started = Instant::now();
    let mut fastest = f64::INFINITY;
    // The fastest round is the one that nothing interrupted.
    while started.elapsed() < duration || fastest.is_infinite() {
        let round = Instant::now();
        lanes.vectorize(
            #[inline(always)]
            || rounds::<S, SUMS, WEIGHTS, XS>(lanes, ROUNDS),
        );
        fastest = fastest.min(round.elapsed().as_secs_f64());
    }
    (ROUNDS * SUMS * S::LANES * S::GROUP) as f64 / fastest
}

/// Operands that take turns, from the innermost cache: products with the same would be computed once only.
const OPERANDS: usize = 128;

#[inline(always)]
fn rounds<S: Lanes, const SUMS: usize, const WEIGHTS: usize, const XS: usize>(lanes: S, rounds: usize) {
    let operands: [[u8; GROUP_BYTES]; OPERANDS] =
        black_box(std::array::from_fn(|operand| [operand as u8, 0, operand as u8, 0]));
    let packed: [[u8; GROUP_BYTES * MOST_LANES]; WEIGHTS] =
        black_box(std::array::from_fn(|weights| [weights as u8; GROUP_BYTES * MOST_LANES]));
    let mut weights = [lanes.weights(&packed[0]); WEIGHTS];
    for (weights, packed) in weights.iter_mut().zip(&packed) {
        *weights = lanes.weights(packed);
    }
    // Others to begin with, or sums of the same weights would be one.
    let mut sums = [lanes.splat(0); SUMS];
    for (first, sum) in (0..).zip(&mut sums) {
        *sum = lanes.splat(black_box(first));
    }
    for round in 0..rounds {
        let xs: [[u8; GROUP_BYTES]; XS] = std::array::from_fn(|x| operands[(round + x) % OPERANDS]);
        for (number, sum) in sums.iter_mut().enumerate() {
            *sum = lanes.dot(*sum, xs[number / WEIGHTS % XS], weights[number % WEIGHTS]);
        }
    }
    let mut elements = [0; MOST_LANES];
    for sum in sums {
        lanes.store(sum, &mut elements);
        black_box(&elements);
    }
}
