//! Where images come from.

use crate::{DatasetError, ImageShape, Images};

/// Images of one shape that are read when they are asked for, from several threads at once.
///
/// [`Images`] holds them in memory; [`crate::ImageFiles`] decodes files, and its memory does not
/// grow with their number.
pub trait ImageSource: Send + Sync {
    /// The shape of every image.
    fn shape(&self) -> ImageShape;

    /// The number of images.
    fn len(&self) -> usize;

    /// The class of each image, where it is known.
    fn labels(&self) -> Option<&[u32]>;

    /// The pixels of the chosen images, `[indices, channels, height, width]` in row-major order.
    ///
    /// # Errors
    /// A file that cannot be read or decoded, or whose image has another shape.
    ///
    /// # Panics
    /// If an index is out of range.
    fn read(&self, indices: &[usize]) -> Result<Vec<u8>, DatasetError>;

    /// What the user knows an image by.
    ///
    /// # Panics
    /// If there is no such image.
    fn name(&self, index: usize) -> String;

    /// The names of the classes 0 and on, where the source tells them.
    fn class_names(&self) -> Option<&[String]> {
        None
    }

    /// Whether there is no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ImageSource for Images {
    fn shape(&self) -> ImageShape {
        Images::shape(self)
    }

    fn len(&self) -> usize {
        Images::len(self)
    }

    fn labels(&self) -> Option<&[u32]> {
        Images::labels(self)
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<u8>, DatasetError> {
        Ok(self.gather(indices))
    }

    fn name(&self, index: usize) -> String {
        assert!(index < Images::len(self), "there is no image {index}");
        format!("image {index}")
    }
}
