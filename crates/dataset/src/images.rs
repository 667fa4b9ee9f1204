//! Labeled images as bytes.

use crate::{DatasetError, Normalization};

/// The height and the width of an image, in pixels.
pub const SIDE: usize = 28;

/// The pixels of an image.
pub const PIXELS: usize = SIDE * SIDE;

/// The number of classes; labels are below it.
pub const CLASSES: usize = 10;

/// Gray images of 28x28 pixels with a class each.
#[derive(Clone, PartialEq, Eq)]
pub struct Images {
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Images {
    /// Images from `pixels`, `[count, 28, 28]` in row-major order, and `labels`, `[count]`.
    ///
    /// # Errors
    /// The counts do not agree, or a label is not below [`CLASSES`].
    pub fn new(pixels: Vec<u8>, labels: Vec<u8>) -> Result<Self, DatasetError> {
        if pixels.len() != labels.len() * PIXELS {
            return Err(DatasetError::Counts { labels: labels.len(), pixels: pixels.len() });
        }
        if let Some(index) = labels.iter().position(|&label| usize::from(label) >= CLASSES) {
            return Err(DatasetError::Label { path: "(memory)".into(), index, found: labels[index] });
        }
        Ok(Self { pixels, labels })
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// All pixels, `[count, 28, 28]` in row-major order; 0 is background.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All labels, `[count]`.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The pixels of one image, `[28, 28]` in row-major order.
    ///
    /// # Panics
    /// If there is no image `index`.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * PIXELS..(index + 1) * PIXELS]
    }

    /// The class of one image.
    ///
    /// # Panics
    /// If there is no image `index`.
    pub fn label(&self, index: usize) -> u8 {
        self.labels[index]
    }

    /// The chosen images with their labels, in the order asked for.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            pixels: self.gather(indices),
            labels: indices.iter().map(|&index| self.label(index)).collect(),
        }
    }

    /// The chosen images' bytes, `[indices, 28, 28]`: what a network with a uint8 input takes.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn gather(&self, indices: &[usize]) -> Vec<u8> {
        indices.iter().flat_map(|&index| self.image(index)).copied().collect()
    }

    /// The chosen images' normalized pixels, `[indices, 28, 28]`: what a float network takes.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn gather_normalized(&self, indices: &[usize], normalization: &Normalization) -> Vec<f32> {
        normalization.normalize(&self.gather(indices), 1, PIXELS)
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Images({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_belong_together() {
        let counts = Images::new(vec![0; PIXELS], vec![1, 2]).expect_err("two labels, one image").to_string();
        assert_eq!(counts, "2 labels need 1568 bytes of pixels (28x28 each), found 784");
        let label = Images::new(vec![0; PIXELS], vec![10]).expect_err("ten is not a class").to_string();
        assert!(label.contains("is 10, expected 0 to 9"), "{label}");
    }

    #[test]
    fn gathers_in_the_order_asked_for() {
        let mut pixels = vec![0; 3 * PIXELS];
        pixels[2 * PIXELS] = 255;
        let images = Images::new(pixels, vec![3, 4, 5]).expect("three images");
        let gathered = images.gather(&[2, 0]);
        assert_eq!((gathered[0], gathered[PIXELS], gathered.len()), (255, 0, 2 * PIXELS));
        assert_eq!(images.select(&[2, 0]), Images::new(gathered, vec![5, 3]).expect("two images"));
        let normalized = images.gather_normalized(&[0, 2], &Normalization::default());
        assert_eq!(normalized[PIXELS], Normalization::default().apply(0, 255));
    }
}
