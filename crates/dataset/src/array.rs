//! Images and labels that are arrays in one file: `.npy`, `.npz` or IDX.
//!
//! # Which axis is which
//!
//! Images are uint8. `[images, height, width]` are gray images. Of four axes, where images are
//! `[channels, height, width]` or `[height, width, channels]`, the shape that is wanted decides: the
//! first reading that fits it is taken, and images that have their channels last are brought to the
//! first form. Labels are integers `[images]`, or `[images, 1]`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use onnx2int_graph::Tensor;

use crate::npy::{self, Header};
use crate::npz::{self, Npz};
use crate::{DatasetError, ImageShape, Images, WantedShape, idx};

/// What an array is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Images,
    Labels,
}

impl Purpose {
    /// Whether an array of such a header can only be meant for this.
    pub(crate) fn is_served_by(self, header: &Header) -> bool {
        let kind = header.descr.trim_start_matches(['<', '>', '|', '=']);
        match self {
            Self::Images => kind == "u1" && (3..=4).contains(&header.shape.len()),
            Self::Labels => {
                kind.starts_with(['i', 'u'])
                    && (header.shape.len() == 1 || matches!(header.shape.as_slice(), [_, 1]))
            }
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Images => "images, uint8 [N,H,W], [N,C,H,W] or [N,H,W,C]",
            Self::Labels => "labels, integers [N]",
        })
    }
}

/// A kind of file that holds arrays, by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArrayFile {
    Npy,
    Npz,
    Idx,
}

impl ArrayFile {
    /// The kind of a file that begins with `start`.
    pub(crate) fn of(start: &[u8]) -> Option<Self> {
        if start.starts_with(npy::MAGIC) {
            Some(Self::Npy)
        } else if npz::MAGICS.iter().any(|magic| start.starts_with(magic)) {
            Some(Self::Npz)
        } else if start.starts_with(idx::MAGIC) || start.starts_with(idx::GZIP_MAGIC) {
            Some(Self::Idx)
        } else {
            None
        }
    }
}

/// A file, and the name of the array in it where one was given: `data.npz:test_images`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    pub(crate) array: Option<String>,
}

impl Location {
    /// A file that is there is taken as it is, whatever its name.
    pub(crate) fn of(path: &Path) -> Self {
        let named =
            || path.to_str()?.rsplit_once(".npz:").map(|(stem, array)| (format!("{stem}.npz"), array));
        match named() {
            Some((file, array)) if !path.exists() => {
                Self { path: file.into(), array: Some(array.to_owned()) }
            }
            _ => Self { path: path.to_owned(), array: None },
        }
    }
}

/// The first bytes of a file.
pub(crate) fn start(path: &Path) -> Result<Vec<u8>, DatasetError> {
    let failed = |source| DatasetError::Io { action: "read", path: path.to_owned(), source };
    let mut start = Vec::new();
    File::open(path).map_err(failed)?.take(16).read_to_end(&mut start).map_err(failed)?;
    Ok(start)
}

/// Reads the images of a file; of an archive with one array of as many labels beside the images,
/// these too.
pub(crate) fn images(
    location: &Location,
    kind: ArrayFile,
    wanted: WantedShape,
) -> Result<Images, DatasetError> {
    let path = &location.path;
    let (shape, pixels) = arranged(path, tensor(location, kind, Purpose::Images)?, wanted)?;
    let mut labels = None;
    if kind == ArrayFile::Npz && location.array.is_none() {
        let found = Npz::open(path)?.labels_of(pixels.len() / shape.bytes())?;
        labels = found.map(|found| labels_of(path, &found)).transpose()?;
    }
    Images::of_shape(shape, pixels, labels)
}

/// Reads the labels of a file.
///
/// # Errors
/// A file that is none, is damaged, or holds something else than one integer not below 0 for each
/// image.
pub fn read_labels(path: &Path) -> Result<Vec<u32>, DatasetError> {
    let location = Location::of(path);
    if location.path.is_dir() || !location.path.exists() {
        return Err(DatasetError::NoLabelFile { path: location.path });
    }
    let start = start(&location.path)?;
    let Some(kind) = ArrayFile::of(&start) else {
        return Err(DatasetError::UnknownFile { path: location.path, purpose: "labels", start });
    };
    labels_of(&location.path, &tensor(&location, kind, Purpose::Labels)?)
}

fn tensor(location: &Location, kind: ArrayFile, purpose: Purpose) -> Result<Tensor, DatasetError> {
    let path = &location.path;
    let read = || {
        std::fs::read(path).map_err(|source| DatasetError::Io { action: "read", path: path.clone(), source })
    };
    match kind {
        ArrayFile::Npy => {
            npy::decode(&read()?).map_err(|source| DatasetError::Npy { path: path.clone(), source })
        }
        ArrayFile::Npz => Npz::open(path)?.array(location.array.as_deref(), purpose),
        ArrayFile::Idx => idx::decode(path, &read()?),
    }
}

fn labels_of(path: &Path, tensor: &Tensor) -> Result<Vec<u32>, DatasetError> {
    let is_list = matches!(tensor.shape(), [_] | [_, 1]);
    let Some(labels) = tensor.to_i64_vec().filter(|_| is_list) else {
        return Err(DatasetError::LabelArray {
            path: path.to_owned(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
        });
    };
    labels
        .iter()
        .enumerate()
        .map(|(index, &label)| {
            u32::try_from(label).map_err(|_| DatasetError::NoClass {
                path: path.to_owned(),
                index,
                found: label,
            })
        })
        .collect()
}

/// The shape of the images of an array, and their pixels with the channels first; see the file's
/// head.
fn arranged(path: &Path, tensor: Tensor, wanted: WantedShape) -> Result<(ImageShape, Vec<u8>), DatasetError> {
    let refused = || DatasetError::ImageArray {
        path: path.to_owned(),
        dtype: tensor.dtype(),
        shape: tensor.shape().to_vec(),
        wanted,
    };
    let Some(pixels) = tensor.as_slice::<u8>() else { return Err(refused()) };
    let shape = |[channels, height, width]: [usize; 3]| ImageShape { channels, height, width };
    let fits = |shape: &ImageShape| wanted.accepts(*shape) && shape.bytes() > 0;
    match *tensor.shape() {
        [_, height, width] => match Some(shape([1, height, width])).filter(fits) {
            Some(shape) => Ok((shape, pixels.to_vec())),
            None => Err(refused()),
        },
        [_, a, b, c] => {
            if let Some(first) = Some(shape([a, b, c])).filter(fits) {
                return Ok((first, pixels.to_vec()));
            }
            match Some(shape([c, a, b])).filter(fits) {
                Some(last) => Ok((last, planes(pixels, last.channels, last.plane()))),
                None => Err(refused()),
            }
        }
        _ => Err(refused()),
    }
}

/// Brings the channels of `[images, plane, channels]` to the front of each image.
pub(crate) fn planes(pixels: &[u8], channels: usize, plane: usize) -> Vec<u8> {
    let images = pixels.chunks_exact(channels * plane);
    images
        .flat_map(|image| {
            (0..channels).flat_map(move |channel| image.iter().copied().skip(channel).step_by(channels))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: WantedShape = WantedShape { channels: None, height: None, width: None };

    fn wanted(channels: usize, height: usize, width: usize) -> WantedShape {
        ImageShape { channels, height, width }.into()
    }

    fn pixels(shape: &[usize]) -> Tensor {
        Tensor::from_vec(shape, (0..shape.iter().product::<usize>()).map(|byte| byte as u8).collect())
            .unwrap()
    }

    fn read(tensor: Tensor, wanted: WantedShape) -> Result<(ImageShape, Vec<u8>), DatasetError> {
        arranged(Path::new("x.npy"), tensor, wanted)
    }

    #[test]
    fn the_wanted_shape_says_which_axis_is_which() {
        let ordered = |count: u8| Vec::from_iter(0..count);
        let shape = |channels, height, width| ImageShape { channels, height, width };
        assert_eq!(read(pixels(&[2, 2, 3]), wanted(1, 2, 3)).unwrap(), (shape(1, 2, 3), ordered(12)));
        assert_eq!(read(pixels(&[1, 3, 2, 2]), wanted(3, 2, 2)).unwrap(), (shape(3, 2, 2), ordered(12)));
        let last = read(pixels(&[2, 1, 2, 3]), wanted(3, 1, 2)).unwrap();
        assert_eq!(last, (shape(3, 1, 2), vec![0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]));
        // Where both readings fit, channels are first.
        assert_eq!(read(pixels(&[1, 2, 2, 2]), wanted(2, 2, 2)).unwrap().1, ordered(8));
        assert_eq!(read(pixels(&[1, 3, 2, 2]), ANY).unwrap().0, shape(3, 2, 2));
        let color = WantedShape { channels: Some(3), ..ANY };
        assert_eq!(read(pixels(&[1, 4, 5, 3]), color).unwrap().0, shape(3, 4, 5));
    }

    #[test]
    fn arrays_of_another_shape_or_type_are_refused_with_both() {
        for (tensor, wanted, found) in [
            (pixels(&[2, 3, 3]), wanted(3, 3, 3), "u8[2, 3, 3]"),
            (pixels(&[2, 3, 4, 4]), wanted(1, 4, 4), "u8[2, 3, 4, 4]"),
            (pixels(&[4, 4]), ANY, "u8[4, 4]"),
            (pixels(&[2, 0, 4]), ANY, "u8[2, 0, 4]"),
            (Tensor::from_vec(&[1, 2, 2], vec![0.5_f32; 4]).unwrap(), wanted(1, 2, 2), "f32[1, 2, 2]"),
        ] {
            let message = read(tensor, wanted).unwrap_err().to_string();
            assert!(message.contains(found) && message.contains(&wanted.to_string()), "{message}");
        }
    }

    #[test]
    fn labels_are_integers_not_below_zero() {
        let labels = |tensor: Tensor| labels_of(Path::new("y.npy"), &tensor);
        assert_eq!(labels(Tensor::vector(vec![0_u8, 255])).unwrap(), [0, 255]);
        assert_eq!(labels(Tensor::from_vec(&[2, 1], vec![7_i64, 999]).unwrap()).unwrap(), [7, 999]);
        let refusal = |tensor| labels(tensor).unwrap_err().to_string();
        assert!(refusal(Tensor::vector(vec![3, -1_i32])).contains("label 1 in \"y.npy\" is -1"));
        assert!(refusal(Tensor::vector(vec![0.5_f32])).contains("holds f32[1]"));
        assert!(refusal(Tensor::from_vec(&[1, 2], vec![0_u8; 2]).unwrap()).contains("u8[1, 2]"));
        assert!(refusal(Tensor::vector(vec![true])).contains("bool"));
    }

    #[test]
    fn an_array_of_an_archive_is_named_behind_a_colon() {
        let location = Location::of(Path::new("data/x.npz:test"));
        assert_eq!((location.path, location.array), ("data/x.npz".into(), Some("test".to_owned())));
        let plain = Location::of(Path::new("data/x.npy:test"));
        assert_eq!((plain.path, plain.array), ("data/x.npy:test".into(), None));
    }
}
