//! What the processor could do at most: the yardstick of a benchmark.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::Kernel;
use crate::kernel::with_lanes;
use crate::lanes::{Lanes, MOST_LANES};

/// Sums that are on their way at once: two dot products a cycle of a latency of five take ten.
const SUMS: usize = 10;

/// Weights that they take by turns, few enough to be in registers beside the sums where there are sixteen.
const WEIGHTS: usize = 2;

/// Multiplications and additions that a kernel's dot products do in a second on one thread, with all operands
/// in registers. None where the processor lacks the instructions.
pub fn peak_multiply_adds(kernel: Kernel, duration: Duration) -> Option<f64> {
    let instructions = kernel.instructions()?;
    Some(with_lanes!(instructions, |lanes| measure(lanes, duration)))
}

fn measure<S: Lanes>(lanes: S, duration: Duration) -> f64 {
    const ROUNDS: usize = 100_000;
    let started = Instant::now();
    let mut fastest = f64::INFINITY;
    // The fastest round is the one that nothing interrupted.
    while started.elapsed() < duration || fastest.is_infinite() {
        let round = Instant::now();
        lanes.vectorize(
            #[inline(always)]
            || rounds(lanes, ROUNDS),
        );
        fastest = fastest.min(round.elapsed().as_secs_f64());
    }
    (ROUNDS * SUMS * S::LANES * S::GROUP) as f64 / fastest
}

#[inline(always)]
fn rounds<S: Lanes>(lanes: S, rounds: usize) {
    // Other sums to begin with, or two of one weight would be one; another operand in each round, or products would be
    // computed once only.
    let packed: [[u8; 4 * MOST_LANES]; WEIGHTS] =
        std::array::from_fn(|weights| black_box([weights as u8; 4 * MOST_LANES]));
    let mut weights = [lanes.weights(&packed[0]); WEIGHTS];
    for (weights, packed) in weights.iter_mut().zip(&packed) {
        *weights = lanes.weights(packed);
    }
    let mut sums = [lanes.splat(0); SUMS];
    for (first, sum) in (0..).zip(&mut sums) {
        *sum = lanes.splat(black_box(first));
    }
    for round in 0..rounds {
        let x = ((round & 0x7f) as u32 * 0x0001_0001).to_ne_bytes();
        for (sum, &weights) in sums.iter_mut().zip(weights.iter().cycle()) {
            *sum = lanes.dot(*sum, x, weights);
        }
    }
    let mut elements = [0; MOST_LANES];
    for sum in sums {
        lanes.store(sum, &mut elements);
        black_box(&elements);
    }
}
