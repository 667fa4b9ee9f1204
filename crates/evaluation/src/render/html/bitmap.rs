//! Images inside of the page: BMP files as data URLs. They need no compression and no checksum, and every browser reads
//! them.

use crate::Pixels;

/// File header and `BITMAPINFOHEADER`.
const HEADER: usize = 14 + 40;

/// An address that holds the image itself; none where the bytes do not fill the shape or the size is beyond the format.
pub(super) fn data_url(pixels: &Pixels) -> Option<String> {
    let Pixels { channels, height, width, bytes } = pixels;
    let plane = height.checked_mul(*width)?;
    if plane == 0 || plane.checked_mul(*channels)? != bytes.len() || !matches!(channels, 1 | 3) {
        return None;
    }
    // Rows are filled up to four bytes.
    let stride = (3 * width).next_multiple_of(4);
    let size = u32::try_from(HEADER + stride * height).ok()?;
    let mut file = Vec::with_capacity(HEADER + stride * height);
    file.extend_from_slice(b"BM");
    let extents = [i32::try_from(*width).ok()?, -i32::try_from(*height).ok()?];
    for word in [size, 0, HEADER as u32, 40] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    // A negative height says that the first row is the upper one.
    for extent in extents {
        file.extend_from_slice(&extent.to_le_bytes());
    }
    // One plane, 24 bits a pixel, no compression, and four words that nobody reads.
    file.extend_from_slice(&[1, 0, 24, 0]);
    file.extend_from_slice(&[0; 24]);
    for row in 0..*height {
        for column in 0..*width {
            let at = row * width + column;
            let color = |channel: usize| bytes[if *channels == 1 { at } else { channel * plane + at }];
            file.extend_from_slice(&[color(2), color(1), color(0)]);
        }
        file.resize(HEADER + (row + 1) * stride, 0);
    }
    Some(format!("data:image/bmp;base64,{}", base64(&file)))
}

/// RFC 4648, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * position) & 63) as usize];
            text.push(if position > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let table = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in table {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn what_does_not_fill_its_shape_is_no_image() {
        let pixels =
            |channels, height, width, count| Pixels { channels, height, width, bytes: vec![7; count] };
        assert!(
            data_url(&pixels(1, 28, 28, 784)).is_some_and(|url| url.starts_with("data:image/bmp;base64,Qk"))
        );
        assert!(data_url(&pixels(3, 5, 3, 45)).is_some());
        for bad in
            [pixels(1, 28, 28, 783), pixels(2, 1, 1, 2), pixels(1, 0, 9, 0), pixels(3, usize::MAX, 2, 9)]
        {
            assert_eq!(data_url(&bad), None);
        }
    }
}
