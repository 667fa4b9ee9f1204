//! From bytes to what one step learns from.

use burn::tensor::{Device, Tensor, TensorData};
use onnx2int_dataset::{CLASSES, Images, PIXELS, SIDE};
use rayon::prelude::*;

use crate::Recipe;
use crate::random::Stream;

/// Normalized images and their classes.
pub(crate) struct Batch {
    /// `[batch, 1, 28, 28]`.
    pub(crate) images: Tensor<4>,
    /// `[batch, 10]`: the probabilities that the network should give.
    pub(crate) classes: Tensor<2>,
}

impl Batch {
    /// The chosen images, each moved as the recipe says and the stream decides.
    pub(crate) fn new(
        images: &Images,
        indices: &[usize],
        recipe: &Recipe,
        movements: &mut Stream,
        device: &Device,
    ) -> Self {
        let augmentation = recipe.augmentation();
        let moved: Vec<_> = indices.iter().map(|&index| (index, augmentation.draw(movements))).collect();
        let table = recipe.normalization.table();
        let mut pixels = vec![0.0_f32; indices.len() * PIXELS];
        pixels.par_chunks_exact_mut(PIXELS).zip(moved).for_each(|(pixels, (index, movement))| {
            let image = images.image(index);
            match movement {
                None => {
                    for (target, &pixel) in pixels.iter_mut().zip(image) {
                        *target = table[usize::from(pixel)];
                    }
                }
                Some(movement) => {
                    // The table is a straight line.
                    let slope = (table[255] - table[0]) / 255.0;
                    for (target, pixel) in pixels.iter_mut().zip(movement.apply(image)) {
                        *target = table[0] + slope * pixel;
                    }
                }
            }
        });
        let spread = recipe.label_smoothing as f32 / CLASSES as f32;
        let mut classes = vec![spread; indices.len() * CLASSES];
        for (row, &index) in indices.iter().enumerate() {
            classes[row * CLASSES + images.label(index) as usize] += 1.0 - recipe.label_smoothing as f32;
        }
        Self {
            images: Tensor::from_data(TensorData::new(pixels, [indices.len(), 1, SIDE, SIDE]), device),
            classes: Tensor::from_data(TensorData::new(classes, [indices.len(), CLASSES]), device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    /// The batch's pixels and classes for images 2 and 0 of three, which have the labels 9 and 7.
    fn batch(recipe: &Recipe) -> (Vec<f32>, Vec<f32>) {
        let mut pixels = vec![0; 3 * PIXELS];
        pixels[2 * PIXELS] = 255;
        let images = Images::new(pixels, vec![7, 8, 9]).expect("three images");
        let mut stream = Stream::new(0, Purpose::Augmentation, 0);
        let batch = Batch::new(&images, &[2, 0], recipe, &mut stream, &Device::flex());
        let values = |data: TensorData| data.as_slice::<f32>().expect("f32").to_vec();
        (values(batch.images.into_data()), values(batch.classes.into_data()))
    }

    #[test]
    fn holds_what_was_chosen() {
        let recipe = Recipe { max_shift: 0, max_rotation: 0.0, label_smoothing: 0.0, ..Recipe::default() };
        let (pixels, hot) = batch(&recipe);
        assert_eq!(pixels[0], recipe.normalization.apply(255));
        assert_eq!((hot[9], hot[10 + 7], hot.iter().sum::<f32>()), (1.0, 1.0, 2.0));
    }

    #[test]
    fn smoothing_spreads_a_part_over_all_classes() {
        let (_, smooth) = batch(&Recipe { label_smoothing: 0.1, ..Recipe::default() });
        assert!((smooth[9] - 0.91).abs() < 1e-6 && (smooth[8] - 0.01).abs() < 1e-6, "{smooth:?}");
    }

    #[test]
    fn moved_images_are_normalized_alike() {
        let recipe = Recipe { max_shift: 1, max_rotation: 5.0, ..Recipe::default() };
        let (pixels, _) = batch(&recipe);
        let background = recipe.normalization.apply(0);
        assert!(pixels[PIXELS..].iter().all(|&pixel| (pixel - background).abs() < 1e-6));
    }
}
