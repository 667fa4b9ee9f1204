//! What follows the sums of a convolution: ReLU, max pooling, perhaps rounding, and who won.

use crate::stack::{BLOCK, Block};
use crate::tape::Image;

/// The output of a sum, and its winner if it has a gradient.
#[inline(always)]
fn activate(sum: f32, place: u8, scale: Option<f32>) -> (f32, u8) {
    let positive = sum.max(0.0);
    match scale {
        None => (positive, if sum > 0.0 { place } else { Image::DEAD }),
        Some(scale) => {
            let steps = (positive / scale).round_ties_even().min(255.0);
            let inside = sum > 0.0 && sum <= 255.0 * scale;
            (steps * scale, if inside { place } else { Image::DEAD })
        }
    }
}

/// One row of outputs from one row of sums: `max(sum, 0)`.
#[inline(always)]
pub(crate) fn rectify(
    sums: &[Block],
    scale: Option<f32>,
    outputs: &mut [Block],
    winners: &mut [[u8; BLOCK]],
) {
    for ((sums, outputs), winners) in sums.iter().zip(outputs).zip(winners) {
        for ((output, winner), &sum) in outputs.0.iter_mut().zip(winners).zip(&sums.0) {
            (*output, *winner) = activate(sum, 0, scale);
        }
    }
}

/// One row of outputs from two rows of sums: the greatest of each four, the first of equals, and
/// not below 0.
#[inline(always)]
pub(crate) fn pool(
    rows: [&[Block]; 2],
    scale: Option<f32>,
    outputs: &mut [Block],
    winners: &mut [[u8; BLOCK]],
) {
    let [upper, lower] = rows.map(|row| row.as_chunks::<2>().0);
    let sums = upper.iter().zip(lower);
    for ((outputs, winners), ([a, b], [c, d])) in outputs.iter_mut().zip(winners).zip(sums) {
        for (lane, (output, winner)) in outputs.0.iter_mut().zip(winners).enumerate() {
            let (a, b, c, d) = (a.0[lane], b.0[lane], c.0[lane], d.0[lane]);
            let (upper, left) = if b > a { (b, 1) } else { (a, 0) };
            let (lower, right) = if d > c { (d, 3) } else { (c, 2) };
            let (best, place) = if lower > upper { (lower, right) } else { (upper, left) };
            (*output, *winner) = activate(best, place, scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pixel whose first filters have these sums, the others -1.
    fn pixel(first: [f32; 2]) -> Block {
        Block(std::array::from_fn(|lane| first.get(lane).copied().unwrap_or(-1.0)))
    }

    #[test]
    fn the_greatest_wins_and_the_first_of_equals() {
        let upper = [pixel([1.0, -1.0]), pixel([2.0, -2.0]), pixel([5.0, 7.0]), pixel([5.0, 1.0])];
        let lower = [pixel([0.5, -3.0]), pixel([3.0, -4.0]), pixel([5.0, 8.0]), pixel([4.0, 9.0])];
        let (mut outputs, mut winners) = ([Block::ZERO; 2], [[9; BLOCK]; 2]);
        pool([&upper, &lower], None, &mut outputs, &mut winners);
        assert_eq!(
            [outputs[0].0[..3].to_vec(), outputs[1].0[..3].to_vec()],
            [[3.0, 0.0, 0.0], [5.0, 9.0, 0.0]]
        );
        assert_eq!(winners[0][..3], [3, Image::DEAD, Image::DEAD]);
        assert_eq!(winners[1][..3], [0, 3, Image::DEAD]);
    }

    #[test]
    fn zero_has_no_gradient() {
        let (mut outputs, mut winners) = ([Block::ZERO; 2], [[9; BLOCK]; 2]);
        rectify(&[pixel([0.0, 1.0]); 2], None, &mut outputs, &mut winners);
        assert_eq!((&outputs[1].0[..3], outputs[0].0), (&[0.0, 1.0, 0.0][..], outputs[1].0));
        assert_eq!(winners[1][..3], [Image::DEAD, 0, Image::DEAD]);
    }

    #[test]
    fn rounds_half_to_even_and_stops_gradients_beyond_the_last_step() {
        let (mut outputs, mut winners) = ([Block::ZERO; 2], [[9; BLOCK]; 2]);
        rectify(&[pixel([1.25, 0.2]), pixel([200.0, 127.4])], Some(0.5), &mut outputs, &mut winners);
        assert_eq!(outputs.map(|pixel| pixel.0[..2].to_vec()), [[1.0, 0.0], [127.5, 127.5]]);
        assert_eq!(winners.map(|winners| winners[..2].to_vec()), [[0, 0], [Image::DEAD, 0]]);
    }
}
