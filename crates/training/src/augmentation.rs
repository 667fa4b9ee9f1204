//! Images moved a little, so that no two epochs show the same ones.

use onnx2int_dataset::{PIXELS, SIDE};

use crate::random::Stream;

/// How far images may be moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Augmentation {
    /// By up to so many pixels each way.
    pub(crate) max_shift: usize,
    /// By up to so many degrees each way, around the center.
    pub(crate) max_rotation: f64,
}

/// What one image goes through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Movement {
    down: isize,
    right: isize,
    /// In degrees, counterclockwise.
    angle: f64,
}

impl Augmentation {
    /// The next movement of a stream; none if images stay as they are.
    pub(crate) fn draw(&self, stream: &mut Stream) -> Option<Movement> {
        let Self { max_shift, max_rotation } = *self;
        let mut shift = || match max_shift {
            0 => 0,
            _ => stream.below(2 * max_shift + 1) as isize - max_shift as isize,
        };
        let (down, right) = (shift(), shift());
        let angle = match max_rotation {
            0.0 => 0.0,
            _ => max_rotation * f64::from(stream.symmetric_unit()),
        };
        (max_shift > 0 || max_rotation > 0.0).then_some(Movement { down, right, angle })
    }
}

impl Movement {
    /// The moved image; what comes in is background, what goes out is lost. Values between pixels
    /// are interpolated linearly.
    pub(crate) fn apply(self, image: &[u8]) -> [f32; PIXELS] {
        let Self { down, right, angle } = self;
        let (sine, cosine) = angle.to_radians().sin_cos();
        let center = (SIDE - 1) as f64 / 2.0;
        std::array::from_fn(|cell| {
            let row = (cell / SIDE) as f64 - down as f64 - center;
            let column = (cell % SIDE) as f64 - right as f64 - center;
            // Rows grow downwards, which is why this is the inverse of a counterclockwise turn.
            interpolate(image, sine * column + cosine * row + center, cosine * column - sine * row + center)
        })
    }
}

/// The value at a place between pixels.
fn interpolate(image: &[u8], row: f64, column: f64) -> f32 {
    let (top, left) = (row.floor(), column.floor());
    let (low, right) = ((row - top) as f32, (column - left) as f32);
    let at = |row: f64, column: f64| {
        let inside = |position: f64| (0.0..SIDE as f64).contains(&position);
        if inside(row) && inside(column) {
            f32::from(image[row as usize * SIDE + column as usize])
        } else {
            0.0
        }
    };
    let upper = (1.0 - right) * at(top, left) + right * at(top, left + 1.0);
    let lower = (1.0 - right) * at(top + 1.0, left) + right * at(top + 1.0, left + 1.0);
    (1.0 - low) * upper + low * lower
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Vec<u8> {
        (0..PIXELS).map(|cell| (cell % 251) as u8 + 1).collect()
    }

    #[test]
    fn shifts_and_fills_with_background() {
        let image = image();
        let moved = Movement { down: 1, right: -2, angle: 0.0 }.apply(&image);
        assert_eq!(moved[SIDE * 5 + 3], f32::from(image[SIDE * 4 + 5]));
        assert!(moved[..SIDE].iter().all(|&pixel| pixel == 0.0));
        assert!((0..SIDE).all(|row| moved[SIDE * row + SIDE - 1] == 0.0));
    }

    #[test]
    fn turns_counterclockwise() {
        let image = image();
        let turned = Movement { down: 0, right: 0, angle: 90.0 }.apply(&image);
        for (row, column) in [(0, 0), (3, 20), (27, 1)] {
            // The upper right corner goes to the upper left.
            let from = image[column * SIDE + (SIDE - 1 - row)];
            let found = turned[row * SIDE + column];
            assert!((found - f32::from(from)).abs() < 1e-3, "{row} {column}: {found} {from}");
        }
    }

    #[test]
    fn stays_within_its_limits_and_reaches_them() {
        use crate::random::Purpose;

        let mut stream = Stream::new(1, Purpose::Augmentation, 0);
        let none = Augmentation { max_shift: 0, max_rotation: 0.0 };
        assert_eq!(none.draw(&mut stream), None);
        let both = Augmentation { max_shift: 2, max_rotation: 10.0 };
        let drawn: Vec<Movement> = (0..500).filter_map(|_| both.draw(&mut stream)).collect();
        assert_eq!(drawn.len(), 500);
        let extremes = |value: fn(&Movement) -> f64| {
            let values = drawn.iter().map(value);
            (values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN, f64::max))
        };
        assert_eq!(extremes(|movement| movement.down as f64), (-2.0, 2.0));
        assert_eq!(extremes(|movement| movement.right as f64), (-2.0, 2.0));
        let (least, greatest) = extremes(|movement| movement.angle);
        assert!((-10.0..-9.0).contains(&least) && (9.0..=10.0).contains(&greatest), "{least} {greatest}");
    }
}
