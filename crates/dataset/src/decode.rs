//! From the bytes of a PNG or JPEG file to pixels of the shape that is wanted.
//!
//! Gray is `(19595 R + 38470 G + 7471 B + 32768) >> 16`, the weights of ITU-R BT.601 as Pillow has
//! them, so that a network sees what it saw in a Python training. Transparency is dropped, 16 bits
//! are scaled to 8, and the orientation of a camera's metadata is not applied, as in torchvision.
//!
//! Scaling is bilinear with a support that grows as the image shrinks (Pillow's `BILINEAR`): so that
//! the image just covers the wanted size, which is then cut out of its middle, as torchvision's
//! `Resize` and `CenterCrop` of one size do.

use std::io::Cursor;
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, ImageReader, Pixel};

use crate::array::planes;
use crate::{DatasetError, ImageShape};

/// A scaled image of more pixels, before it is cut, is refused: a strip of one row would be scaled
/// to more than memory holds.
const MOST_PIXELS: f64 = 67_108_864.0;

/// Makes images of one shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder {
    /// One or three channels.
    pub(crate) shape: ImageShape,
    /// Whether an image of another size is scaled and cut, or refused.
    pub(crate) resizes: bool,
}

/// The format of a file that begins with `start`.
pub(crate) fn format(start: &[u8]) -> Option<ImageFormat> {
    image::guess_format(start).ok().filter(|format| matches!(format, ImageFormat::Png | ImageFormat::Jpeg))
}

/// Height and width of the image in a file.
pub(crate) fn size(path: &Path) -> Result<(usize, usize), DatasetError> {
    let bytes = read(path)?;
    let (width, height) = reader(path, &bytes)?.into_dimensions().map_err(|error| damaged(path, &error))?;
    Ok((height as usize, width as usize))
}

impl Decoder {
    /// The pixels of the image in a file, `[channels, height, width]`.
    ///
    /// # Errors
    /// [`DatasetError::UnknownFile`], [`DatasetError::DamagedImage`], [`DatasetError::ImageSize`].
    pub(crate) fn decode(self, path: &Path) -> Result<Vec<u8>, DatasetError> {
        let bytes = read(path)?;
        let image = reader(path, &bytes)?.decode().map_err(|error| damaged(path, &error))?;
        if bytes.starts_with(JPEG_START) && !ends_as_jpeg(&bytes) {
            // The decoder fills what is missing with gray.
            return Err(damaged(path, &"it ends before its last row"));
        }
        if self.shape.channels == 1 {
            return Ok(self.fitted(path, gray(&image))?.into_raw());
        }
        let color = self.fitted(path, image.into_rgb8())?;
        Ok(planes(color.as_raw(), self.shape.channels, self.shape.plane()))
    }

    /// The image in the wanted size.
    fn fitted<P: Pixel<Subpixel = u8> + 'static>(
        self,
        path: &Path,
        image: ImageBuffer<P, Vec<u8>>,
    ) -> Result<ImageBuffer<P, Vec<u8>>, DatasetError> {
        let (width, height) = image.dimensions();
        let ImageShape { height: wanted_height, width: wanted_width, .. } = self.shape;
        if (height as usize, width as usize) == (wanted_height, wanted_width) {
            return Ok(image);
        }
        if !self.resizes {
            return Err(DatasetError::ImageSize {
                path: path.to_owned(),
                found: (height as usize, width as usize),
                wanted: (wanted_height, wanted_width),
            });
        }
        let scale =
            f64::max(wanted_height as f64 / f64::from(height), wanted_width as f64 / f64::from(width));
        let scaled = |extent: u32, wanted: usize| (f64::from(extent) * scale).round().max(wanted as f64);
        let (scaled_height, scaled_width) = (scaled(height, wanted_height), scaled(width, wanted_width));
        if scaled_height * scaled_width > MOST_PIXELS {
            let reason = format!("{height}x{width} cannot be scaled to cover {wanted_height}x{wanted_width}");
            return Err(damaged(path, &reason));
        }
        // At most as many as there may be pixels.
        let (rows, columns) = (scaled_height as u32, scaled_width as u32);
        let resized = imageops::resize(&image, columns, rows, FilterType::Triangle);
        let (cut_height, cut_width) = (wanted_height as u32, wanted_width as u32);
        let (left, top) = ((columns - cut_width) / 2, (rows - cut_height) / 2);
        Ok(imageops::crop_imm(&resized, left, top, cut_width, cut_height).to_image())
    }
}

fn gray(image: &DynamicImage) -> GrayImage {
    if !image.color().has_color() {
        return image.to_luma8();
    }
    let color = image.to_rgb8();
    let weighed = color.pixels().map(|pixel| {
        let [red, green, blue] = pixel.0.map(u32::from);
        ((19_595 * red + 38_470 * green + 7_471 * blue + 32_768) >> 16) as u8
    });
    GrayImage::from_raw(color.width(), color.height(), weighed.collect()).expect("a byte for each pixel")
}

fn read(path: &Path) -> Result<Vec<u8>, DatasetError> {
    std::fs::read(path).map_err(|source| DatasetError::Io { action: "read", path: path.to_owned(), source })
}

fn reader<'b>(path: &Path, bytes: &'b [u8]) -> Result<ImageReader<Cursor<&'b [u8]>>, DatasetError> {
    // By the content: names lie.
    let Some(format) = format(bytes) else {
        let start = bytes[..bytes.len().min(16)].to_vec();
        return Err(DatasetError::UnknownFile { path: path.to_owned(), purpose: "images", start });
    };
    Ok(ImageReader::with_format(Cursor::new(bytes), format))
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> DatasetError {
    DatasetError::DamagedImage { path: path.to_owned(), reason: reason.to_string() }
}

const JPEG_START: &[u8] = &[0xff, 0xd8];

/// Whether an end marker follows the last start of a scan. In the data of a scan 0xff is never
/// followed by either, and thumbnails, which have markers of their own, come before it.
fn ends_as_jpeg(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    match (last(0xda), last(0xd9)) {
        (Some(scan), Some(end)) => end > scan,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decoded(bytes: &[u8], decoder: Decoder) -> Result<Vec<u8>, DatasetError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.png");
        std::fs::write(&path, bytes).unwrap();
        decoder.decode(&path)
    }

    fn decoder(channels: usize, height: usize, width: usize, resizes: bool) -> Decoder {
        Decoder { shape: ImageShape { channels, height, width }, resizes }
    }

    /// Red, green and blue, white, black, and a color.
    fn colors() -> RgbImage {
        let pixels = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [12, 200, 99]];
        RgbImage::from_raw(3, 2, pixels.concat()).expect("six pixels")
    }

    #[test]
    fn colors_come_channel_by_channel_and_gray_is_pillows() {
        let bytes = encoded(colors(), ImageFormat::Png);
        assert_eq!(
            decoded(&bytes, decoder(3, 2, 3, false)).unwrap(),
            [255, 0, 0, 255, 0, 12, 0, 255, 0, 255, 0, 200, 0, 0, 255, 255, 0, 99]
        );
        // `Image.open(..).convert("L")` of Pillow gives the same.
        assert_eq!(decoded(&bytes, decoder(1, 2, 3, false)).unwrap(), [76, 150, 29, 255, 0, 132]);
    }

    #[test]
    fn gray_files_serve_colored_networks_and_transparency_is_dropped() {
        let gray = GrayImage::from_raw(2, 1, vec![7, 200]).unwrap();
        let bytes = encoded(gray, ImageFormat::Png);
        assert_eq!(decoded(&bytes, decoder(3, 1, 2, false)).unwrap(), [7, 200, 7, 200, 7, 200]);
        assert_eq!(decoded(&bytes, decoder(1, 1, 2, false)).unwrap(), [7, 200]);
        let faint = image::RgbaImage::from_raw(1, 1, vec![9, 8, 7, 0]).unwrap();
        assert_eq!(decoded(&encoded(faint, ImageFormat::Png), decoder(3, 1, 1, false)).unwrap(), [9, 8, 7]);
    }

    #[test]
    fn an_image_is_scaled_to_cover_and_cut_in_the_middle() {
        // 4 rows of 8 columns, each column of one shade: to 2x2, by half and without the outer columns.
        let shades = [10, 10, 20, 40, 60, 80, 90, 90];
        let strip = GrayImage::from_raw(8, 4, shades.repeat(4)).unwrap();
        let bytes = encoded(strip, ImageFormat::Png);
        let pixels = decoded(&bytes, decoder(1, 2, 2, true)).unwrap();
        assert_eq!((pixels.len(), pixels[0], pixels[1]), (4, pixels[2], pixels[3]));
        // The triangle of width two around each pair: weights 1/8, 3/8, 3/8, 1/8.
        assert!(pixels[0].abs_diff(31) <= 1 && pixels[1].abs_diff(68) <= 1, "{pixels:?}");
        // Scaled up as well, and one shade stays one shade.
        let flat = GrayImage::from_raw(3, 2, vec![77; 6]).unwrap();
        let grown = decoded(&encoded(flat, ImageFormat::Png), decoder(1, 5, 5, true)).unwrap();
        assert_eq!(grown, [77; 25]);
    }

    #[test]
    fn another_size_is_refused_unless_it_is_asked_for() {
        let bytes = encoded(colors(), ImageFormat::Png);
        let message = decoded(&bytes, decoder(3, 3, 3, false)).unwrap_err().to_string();
        assert!(message.contains("is 2x3") && message.contains("--size 3x3"), "{message}");
    }

    #[test]
    fn a_strip_that_scaling_would_make_huge_is_refused() {
        let strip = GrayImage::from_raw(5000, 1, vec![0; 5000]).unwrap();
        let bytes = encoded(strip, ImageFormat::Png);
        let message = decoded(&bytes, decoder(1, 224, 224, true)).unwrap_err().to_string();
        assert!(message.contains("1x5000 cannot be scaled"), "{message}");
    }

    #[test]
    fn damaged_files_are_told_wherever_they_are_cut() {
        let shaded = RgbImage::from_fn(40, 40, |x, y| image::Rgb([x as u8 * 6, y as u8 * 6, (x * y) as u8]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let bytes = encoded(shaded.clone(), format);
            assert!(decoded(&bytes, decoder(3, 40, 40, false)).is_ok());
            for kept in [bytes.len() / 4, bytes.len() / 2, bytes.len() * 9 / 10] {
                let message = decoded(&bytes[..kept], decoder(3, 40, 40, false)).unwrap_err().to_string();
                assert!(message.contains("is not a whole image"), "{format:?}, {kept}: {message}");
            }
        }
        for text in [&b"not an image at all"[..], b"", b"GIF89a"] {
            let message = decoded(text, decoder(3, 40, 40, false)).unwrap_err().to_string();
            assert!(message.contains("expected a PNG or JPEG image"), "{message}");
        }
    }
}
