//! Any source of images, by its path.

use std::path::{Path, PathBuf};

use crate::array::{self, ArrayFile, Location, read_labels};
use crate::{DatasetError, ImageFiles, ImageSource, View, WantedShape, decode};

/// How images are to be read.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The shape that the model takes.
    pub wanted: WantedShape,
    /// Height and width to which images that are files are scaled and cut; none: all images have
    /// the same size, that of the model where it has one.
    pub size: Option<(usize, usize)>,
    /// A file of labels, one for each image, instead of what the source itself tells.
    pub labels: Option<PathBuf>,
}

/// Opens what lies at a path: a folder of PNG and JPEG images ([`ImageFiles`]), one such image, or
/// an array of images in a `.npy`, `.npz` (`FILE.npz:NAME` for one array of several) or IDX file,
/// plain or gzip. What a file is tells its content, not its name.
///
/// Of an array of four axes the wanted shape says whether the channels are first or last.
///
/// # Errors
/// Nothing is there, or nothing that images can be read from; images that are not of the wanted
/// shape; labels that are not one for each image.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Box<dyn ImageSource>, DatasetError> {
    let wanted = sized(options)?;
    let source = source(path, wanted, options.size.is_some())?;
    match &options.labels {
        Some(labels) => Ok(Box::new(View::label(source, read_labels(labels)?, labels)?)),
        None => Ok(source),
    }
}

fn source(path: &Path, wanted: WantedShape, resizes: bool) -> Result<Box<dyn ImageSource>, DatasetError> {
    let location = Location::of(path);
    let path = location.path.as_path();
    if path.is_dir() {
        return Ok(Box::new(ImageFiles::below(path, wanted, resizes)?));
    }
    if !path.exists() {
        return Err(DatasetError::NoSource { path: path.to_owned() });
    }
    let start = array::start(path)?;
    match ArrayFile::of(&start) {
        Some(kind) => Ok(Box::new(array::images(&location, kind, wanted)?)),
        None if decode::format(&start).is_some() => Ok(Box::new(ImageFiles::single(path, wanted, resizes)?)),
        None => Err(DatasetError::UnknownFile { path: path.to_owned(), purpose: "images", start }),
    }
}

/// The wanted shape with the extents that the size gives.
fn sized(options: &OpenOptions) -> Result<WantedShape, DatasetError> {
    let wanted = options.wanted;
    let Some((height, width)) = options.size else { return Ok(wanted) };
    let fits = |extent: Option<usize>, given| extent.is_none_or(|extent| extent == given);
    if height == 0 || width == 0 || !fits(wanted.height, height) || !fits(wanted.width, width) {
        return Err(DatasetError::Size { given: (height, width), wanted });
    }
    Ok(WantedShape { height: Some(height), width: Some(width), ..wanted })
}
