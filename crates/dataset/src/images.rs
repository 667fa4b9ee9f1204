//! Images in memory, as bytes.

use crate::{DatasetError, ImageShape, Normalization};

/// The height and the width of an image of MNIST, in pixels.
pub const SIDE: usize = 28;

/// The pixels of an image of MNIST.
pub const PIXELS: usize = SIDE * SIDE;

/// The number of MNIST's classes; its labels are below it.
pub const CLASSES: usize = 10;

/// The shape of an image of MNIST.
pub const MNIST_SHAPE: ImageShape = ImageShape { channels: 1, height: SIDE, width: SIDE };

/// Images of one shape, each with its class where the classes are known.
#[derive(Clone, PartialEq, Eq)]
pub struct Images {
    shape: ImageShape,
    pixels: Vec<u8>,
    labels: Option<Vec<u32>>,
}

impl Images {
    /// Images of MNIST's form from `pixels`, `[count, 28, 28]` in row-major order, and `labels`,
    /// `[count]`.
    ///
    /// # Errors
    /// The counts do not agree, or a label is not below [`CLASSES`].
    pub fn new(pixels: Vec<u8>, labels: Vec<u8>) -> Result<Self, DatasetError> {
        if let Some(index) = labels.iter().position(|&label| usize::from(label) >= CLASSES) {
            return Err(DatasetError::Label { path: "(memory)".into(), index, found: labels[index] });
        }
        Self::of_shape(MNIST_SHAPE, pixels, Some(labels.into_iter().map(u32::from).collect()))
    }

    /// Images from `pixels`, `[count, channels, height, width]` in row-major order, and `labels`,
    /// `[count]`, where there are any.
    ///
    /// # Errors
    /// The counts do not agree, or an extent is 0.
    pub fn of_shape(
        shape: ImageShape,
        pixels: Vec<u8>,
        labels: Option<Vec<u32>>,
    ) -> Result<Self, DatasetError> {
        let whole = shape.bytes() > 0 && pixels.len().is_multiple_of(shape.bytes());
        let images = if whole { pixels.len() / shape.bytes() } else { 0 };
        if !whole || labels.as_ref().is_some_and(|labels| labels.len() != images) {
            let labels = labels.map(|labels| labels.len());
            return Err(DatasetError::Counts { labels, pixels: pixels.len(), shape });
        }
        Ok(Self { shape, pixels, labels })
    }

    /// The shape of every image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.shape.bytes()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// All pixels, `[count, channels, height, width]` in row-major order; of MNIST, 0 is background.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All labels, `[count]`, where they are known.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// The pixels of one image, `[channels, height, width]` in row-major order.
    ///
    /// # Panics
    /// If there is no image `index`.
    pub fn image(&self, index: usize) -> &[u8] {
        let bytes = self.shape.bytes();
        &self.pixels[index * bytes..(index + 1) * bytes]
    }

    /// The class of one image.
    ///
    /// # Panics
    /// If there is no image `index`, or the images have no labels.
    pub fn label(&self, index: usize) -> u32 {
        self.labels.as_ref().expect("the caller knows that the images are labeled")[index]
    }

    /// The chosen images with their labels, in the order asked for.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn select(&self, indices: &[usize]) -> Self {
        let labels = self.labels.as_ref().map(|labels| indices.iter().map(|&index| labels[index]).collect());
        Self { shape: self.shape, pixels: self.gather(indices), labels }
    }

    /// The chosen images' bytes, `[indices, channels, height, width]`: what a network with a uint8
    /// input takes.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn gather(&self, indices: &[usize]) -> Vec<u8> {
        indices.iter().flat_map(|&index| self.image(index)).copied().collect()
    }

    /// The chosen images' normalized pixels, `[indices, channels, height, width]`: what a float
    /// network takes.
    ///
    /// # Panics
    /// If an index is out of range, or the normalization is for fewer channels.
    pub fn gather_normalized(&self, indices: &[usize], normalization: &Normalization) -> Vec<f32> {
        normalization.normalize(&self.gather(indices), self.shape.channels, self.shape.plane())
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Images({} of {})", self.len(), self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_belong_together() {
        let counts = Images::new(vec![0; PIXELS], vec![1, 2]).expect_err("two labels, one image").to_string();
        assert_eq!(counts, "2 labels and 784 bytes of pixels do not make images of 784 bytes (1x28x28) each");
        let label = Images::new(vec![0; PIXELS], vec![10]).expect_err("ten is not a class").to_string();
        assert!(label.contains("is 10, expected 0 to 9"), "{label}");
        let shape = ImageShape { channels: 3, height: 2, width: 2 };
        assert!(Images::of_shape(shape, vec![0; 13], None).is_err());
        assert!(Images::of_shape(ImageShape { width: 0, ..shape }, vec![], None).is_err());
        assert_eq!(Images::of_shape(shape, vec![0; 24], None).expect("two images").len(), 2);
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

    #[test]
    fn channels_are_normalized_by_their_own_numbers() {
        let shape = ImageShape { channels: 2, height: 1, width: 2 };
        let images = Images::of_shape(shape, vec![0, 255, 255, 0], None).expect("one image");
        let normalization = Normalization::new(&[0.0, 1.0], &[1.0, 0.5]).expect("two channels");
        assert_eq!(images.gather_normalized(&[0], &normalization), [0.0, 1.0, 0.0, -2.0]);
    }
}
