//! A source seen otherwise: some of its images, other labels, or negatives.

use std::path::Path;

use crate::{DatasetError, ImageShape, ImageSource};

/// Images of another source, which are read when they are asked for.
pub struct View {
    source: Box<dyn ImageSource>,
    /// Positions in the source; none: all of it.
    indices: Option<Vec<usize>>,
    labels: Option<Vec<u32>>,
    /// What each byte is exclusive-ored with.
    mask: u8,
}

impl View {
    /// The images `indices` of a source, in that order.
    ///
    /// # Errors
    /// [`DatasetError::NoSuchImage`].
    pub fn select(source: Box<dyn ImageSource>, indices: Vec<usize>) -> Result<Self, DatasetError> {
        let images = source.len();
        if let Some(&index) = indices.iter().find(|&&index| index >= images) {
            return Err(DatasetError::NoSuchImage { index, images });
        }
        let labels = source.labels().map(|labels| indices.iter().map(|&index| labels[index]).collect());
        Ok(Self { source, indices: Some(indices), labels, mask: 0 })
    }

    /// The images of a source with these labels, from the file `path`, instead of its own.
    ///
    /// # Errors
    /// [`DatasetError::LabelCount`].
    pub fn label(source: Box<dyn ImageSource>, labels: Vec<u32>, path: &Path) -> Result<Self, DatasetError> {
        if labels.len() != source.len() {
            let (path, labels) = (path.to_owned(), labels.len());
            return Err(DatasetError::LabelCount { path, labels, images: source.len() });
        }
        Ok(Self { source, indices: None, labels: Some(labels), mask: 0 })
    }

    /// The negatives of the images of a source: 255 minus each byte.
    pub fn invert(source: Box<dyn ImageSource>) -> Self {
        let labels = source.labels().map(<[u32]>::to_vec);
        Self { source, indices: None, labels, mask: u8::MAX }
    }

    fn position(&self, index: usize) -> usize {
        self.indices.as_ref().map_or(index, |indices| indices[index])
    }
}

impl ImageSource for View {
    fn shape(&self) -> ImageShape {
        self.source.shape()
    }

    fn len(&self) -> usize {
        self.indices.as_ref().map_or(self.source.len(), Vec::len)
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<u8>, DatasetError> {
        let positions: Vec<usize> = indices.iter().map(|&index| self.position(index)).collect();
        let mut pixels = self.source.read(&positions)?;
        pixels.iter_mut().for_each(|pixel| *pixel ^= self.mask);
        Ok(pixels)
    }

    fn name(&self, index: usize) -> String {
        self.source.name(self.position(index))
    }

    fn class_names(&self) -> Option<&[String]> {
        self.source.class_names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Images;

    fn images() -> Box<dyn ImageSource> {
        let shape = ImageShape { channels: 1, height: 1, width: 2 };
        Box::new(Images::of_shape(shape, vec![0, 1, 2, 3, 4, 255], Some(vec![7, 8, 9])).unwrap())
    }

    #[test]
    fn chosen_images_come_with_their_labels_and_names() {
        let view = View::select(images(), vec![2, 0]).unwrap();
        assert_eq!((view.len(), view.labels()), (2, Some(&[9, 7][..])));
        assert_eq!(view.read(&[1, 0]).unwrap(), [0, 1, 4, 255]);
        assert_eq!(view.name(0), "image 2");
        let error = View::select(images(), vec![0, 3]).err().unwrap().to_string();
        assert_eq!(error, "there is no image 3: expected 0 to 2");
    }

    #[test]
    fn given_labels_replace_the_sources_and_must_be_as_many() {
        let view = View::label(images(), vec![1, 1, 2], Path::new("y.npy")).unwrap();
        assert_eq!((view.labels(), view.read(&[1]).unwrap()), (Some(&[1, 1, 2][..]), vec![2, 3]));
        let error = View::label(images(), vec![1], Path::new("y.npy")).err().unwrap().to_string();
        assert!(error.contains("\"y.npy\" has 1 labels for 3 images"), "{error}");
    }

    #[test]
    fn negatives_turn_black_to_white() {
        let view = View::invert(images());
        assert_eq!((view.read(&[2]).unwrap(), view.labels()), (vec![251, 0], Some(&[7, 8, 9][..])));
    }
}
