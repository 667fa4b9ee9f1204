//! How large images are, and how large a model wants them.

use std::fmt;

/// The extents of an image; all images of a source have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// 1 for gray images, 3 for colored ones (red, green, blue).
    pub channels: usize,
    /// In pixels.
    pub height: usize,
    /// In pixels.
    pub width: usize,
}

impl ImageShape {
    /// The bytes of an image.
    pub const fn bytes(self) -> usize {
        self.channels * self.plane()
    }

    /// The bytes of one channel of an image.
    pub const fn plane(self) -> usize {
        self.height * self.width
    }

    /// `[images, channels, height, width]`.
    pub const fn of_images(self, images: usize) -> [usize; 4] {
        [images, self.channels, self.height, self.width]
    }
}

impl fmt::Display for ImageShape {
    /// Channels, height and width: `3x224x224`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// The images that a model takes; an extent that is none may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedShape {
    /// The channels.
    pub channels: Option<usize>,
    /// In pixels.
    pub height: Option<usize>,
    /// In pixels.
    pub width: Option<usize>,
}

impl WantedShape {
    /// Whether images of this shape are wanted.
    pub fn accepts(self, shape: ImageShape) -> bool {
        self.extents().into_iter().zip([shape.channels, shape.height, shape.width]).all(|(wanted, found)| {
            // A symbolic extent may be anything that the images want it to be.
            wanted.is_none_or(|wanted| wanted == found)
        })
    }

    const fn extents(self) -> [Option<usize>; 3] {
        [self.channels, self.height, self.width]
    }
}

impl From<ImageShape> for WantedShape {
    fn from(shape: ImageShape) -> Self {
        Self { channels: Some(shape.channels), height: Some(shape.height), width: Some(shape.width) }
    }
}

impl fmt::Display for WantedShape {
    /// Channels, height and width, `?` where they may be anything: `3x?x?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.extents().map(|extent| extent.map_or("?".to_owned(), |extent| extent.to_string()));
        f.write_str(&text.join("x"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_extent_takes_any_image() {
        let color = WantedShape { channels: Some(3), ..WantedShape::default() };
        let shape = |channels, height| ImageShape { channels, height, width: 5 };
        assert!(color.accepts(shape(3, 4)) && color.accepts(shape(3, 7)) && !color.accepts(shape(1, 4)));
        let exact = WantedShape::from(shape(3, 4));
        assert!(exact.accepts(shape(3, 4)) && !exact.accepts(shape(3, 5)));
        assert_eq!((color.to_string(), exact.to_string()), ("3x?x?".to_owned(), "3x4x5".to_owned()));
        assert_eq!((shape(3, 4).bytes(), shape(3, 4).of_images(2)), (60, [2, 3, 4, 5]));
    }
}
