//! From bytes to what one step learns from.

use burn::tensor::{Device, Tensor, TensorData};
use onnx2int_dataset::{CLASSES, Images, SIDE};
use onnx2int_graph::metadata::Normalization;

use crate::random::Stream;

/// Normalized images and their classes.
pub(crate) struct Batch {
    /// `[batch, 1, 28, 28]`.
    pub(crate) images: Tensor<4>,
    /// `[batch, 10]`: 1 for the right class, else 0.
    pub(crate) classes: Tensor<2>,
}

impl Batch {
    /// The chosen images, each shifted by up to `max_shift` pixels each way, drawn from `shifts`.
    pub(crate) fn new(
        images: &Images,
        indices: &[usize],
        normalization: Normalization,
        max_shift: usize,
        shifts: &mut Stream,
        device: &Device,
    ) -> Self {
        let pixels = if max_shift == 0 {
            images.gather_normalized(indices, normalization)
        } else {
            let table = normalization.table();
            let mut draw = || shifts.below(2 * max_shift + 1) as isize - max_shift as isize;
            indices
                .iter()
                .flat_map(|&index| shifted(images.image(index), draw(), draw()))
                .map(|pixel| table[usize::from(pixel)])
                .collect()
        };
        let mut classes = vec![0.0_f32; indices.len() * CLASSES];
        for (row, &index) in indices.iter().enumerate() {
            classes[row * CLASSES + usize::from(images.label(index))] = 1.0;
        }
        Self {
            images: Tensor::from_data(TensorData::new(pixels, [indices.len(), 1, SIDE, SIDE]), device),
            classes: Tensor::from_data(TensorData::new(classes, [indices.len(), CLASSES]), device),
        }
    }
}

/// An image moved down and to the right; what comes in is background, what goes out is lost.
fn shifted(image: &[u8], down: isize, right: isize) -> impl Iterator<Item = u8> + '_ {
    let source = |position: usize, shift: isize| position.checked_add_signed(-shift).filter(|&p| p < SIDE);
    (0..SIDE * SIDE).map(move |cell| {
        let (row, column) = (source(cell / SIDE, down), source(cell % SIDE, right));
        row.zip(column).map_or(0, |(row, column)| image[row * SIDE + column])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn shifts_and_fills_with_background() {
        let image: Vec<u8> = (0..SIDE * SIDE).map(|cell| (cell % 251) as u8 + 1).collect();
        let moved: Vec<u8> = shifted(&image, 1, -2).collect();
        assert_eq!(moved[SIDE * 5 + 3], image[SIDE * 4 + 5]);
        assert!(moved[..SIDE].iter().all(|&pixel| pixel == 0));
        assert!((0..SIDE).all(|row| moved[SIDE * row + SIDE - 1] == 0));
        assert_eq!(shifted(&image, 0, 0).collect::<Vec<u8>>(), image);
    }

    #[test]
    fn holds_what_was_chosen() {
        let mut pixels = vec![0; 3 * SIDE * SIDE];
        pixels[2 * SIDE * SIDE] = 255;
        let images = Images::new(pixels, vec![7, 8, 9]).expect("three images");
        let normalization = Normalization::default();
        let mut stream = Stream::new(0, Purpose::Shift, 0);
        let batch = Batch::new(&images, &[2, 0], normalization, 0, &mut stream, &Device::flex());
        let (pixels, classes) = (batch.images.into_data(), batch.classes.into_data());
        assert_eq!(pixels.as_slice::<f32>().expect("f32")[0], normalization.apply(255));
        let hot: Vec<f32> = classes.as_slice::<f32>().expect("f32").to_vec();
        assert_eq!((hot[9], hot[10 + 7], hot.iter().sum::<f32>()), (1.0, 1.0, 2.0));
    }
}
