//! Images that are files, decoded when they are asked for.
//!
//! # Folders
//!
//! All `.png`, `.jpg` and `.jpeg` files below a folder are its images, in the order of their paths;
//! names that begin with a dot are passed over, as are files of other kinds, but for those of images
//! that cannot be read. Where no image lies in the folder itself, its subfolders are the classes, as
//! in torchvision's `ImageFolder`: numbered from 0 on in the order of their names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::decode::{self, Decoder};
use crate::{DatasetError, ImageShape, ImageSource, WantedShape};

/// Endings of files that are images.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// Endings of images that are not read: refused rather than left out.
const OTHER_ENDINGS: [&str; 7] = ["bmp", "gif", "tif", "tiff", "webp", "ppm", "pgm"];

/// No folder of images has more levels; a link to a folder above would have no end.
const DEEPEST: usize = 32;

/// PNG and JPEG files of one shape. Memory holds their paths, and what is being decoded.
#[derive(Clone, Debug)]
pub struct ImageFiles {
    /// What names are told relative to.
    root: PathBuf,
    files: Vec<PathBuf>,
    decoder: Decoder,
    labels: Option<Vec<u32>>,
    class_names: Option<Vec<String>>,
}

impl ImageFiles {
    /// The images below a folder; see the file's head.
    ///
    /// Extents that are not `wanted` are those of the first image, colored if the channels are open.
    /// `resizes` scales and cuts images of another size; else they are refused when they are read.
    ///
    /// # Errors
    /// A folder that cannot be listed or has no images, or a first image that cannot be read.
    pub(crate) fn below(root: &Path, wanted: WantedShape, resizes: bool) -> Result<Self, DatasetError> {
        let classes: Vec<PathBuf> = entries(root)?.into_iter().filter(|path| path.is_dir()).collect();
        let mut files = Vec::new();
        let mut labels = Vec::new();
        let mut others = 0;
        for path in entries(root)? {
            others += usize::from(!collect(&path, DEEPEST, &mut files)? && path.is_file());
            if let Some(class) = classes.iter().position(|class| *class == path) {
                // As many classes as a folder has entries fit 32 bits.
                labels.resize(files.len(), class as u32);
            }
        }
        let Some(first) = files.first() else {
            return Err(DatasetError::NoImages { path: root.to_owned(), others });
        };
        let decoder = decoder(first, wanted, resizes)?;
        let is_sorted_into_classes = files.iter().all(|file| file.parent() != Some(root));
        let class_names = classes.iter().map(|class| name_of(class)).collect();
        Ok(Self {
            root: root.to_owned(),
            files,
            decoder,
            labels: is_sorted_into_classes.then_some(labels),
            class_names: is_sorted_into_classes.then_some(class_names),
        })
    }

    /// One file, whatever its name.
    pub(crate) fn single(path: &Path, wanted: WantedShape, resizes: bool) -> Result<Self, DatasetError> {
        Ok(Self {
            root: PathBuf::new(),
            files: vec![path.to_owned()],
            decoder: decoder(path, wanted, resizes)?,
            labels: None,
            class_names: None,
        })
    }
}

impl ImageSource for ImageFiles {
    fn shape(&self) -> ImageShape {
        self.decoder.shape
    }

    fn len(&self) -> usize {
        self.files.len()
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<u8>, DatasetError> {
        let mut pixels = Vec::with_capacity(indices.len() * self.shape().bytes());
        for &index in indices {
            pixels.extend(self.decoder.decode(&self.files[index])?);
        }
        Ok(pixels)
    }

    fn name(&self, index: usize) -> String {
        let file = &self.files[index];
        file.strip_prefix(&self.root).unwrap_or(file).to_string_lossy().into_owned()
    }

    fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }
}

fn decoder(first: &Path, wanted: WantedShape, resizes: bool) -> Result<Decoder, DatasetError> {
    let channels = wanted.channels.unwrap_or(3);
    if channels != 1 && channels != 3 {
        return Err(DatasetError::ImageChannels { path: first.to_owned(), channels });
    }
    let (height, width) = match (wanted.height, wanted.width) {
        (Some(height), Some(width)) => (height, width),
        (height, width) => {
            let found = decode::size(first)?;
            (height.unwrap_or(found.0), width.unwrap_or(found.1))
        }
    };
    Ok(Decoder { shape: ImageShape { channels, height, width }, resizes })
}

/// Adds the images at or below a path; tells whether it was an image or a folder.
fn collect(path: &Path, levels: usize, files: &mut Vec<PathBuf>) -> Result<bool, DatasetError> {
    if path.is_dir() {
        let Some(levels) = levels.checked_sub(1) else {
            return Err(DatasetError::DeepFolder { path: path.to_owned(), levels: DEEPEST });
        };
        for entry in entries(path)? {
            collect(&entry, levels, files)?;
        }
        return Ok(true);
    }
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if OTHER_ENDINGS.contains(&ending.as_str()) {
        return Err(DatasetError::OtherImage { path: path.to_owned() });
    }
    let is_image = ENDINGS.contains(&ending.as_str());
    if is_image {
        files.push(path.to_owned());
    }
    Ok(is_image)
}

/// What lies in a folder and is not hidden, in the order of the names' bytes.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let failed = |source| DatasetError::Io { action: "list", path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !name_of(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
