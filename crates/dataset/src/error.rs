//! What can be wrong with a data folder.

use std::io;
use std::path::PathBuf;

use onnx2int_graph::DType;

use crate::npy::NpyError;
use crate::{ImageShape, WantedShape};

/// Why data was refused. Every message names the file, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// There is no such folder.
    #[error(
        "there is no data folder {directory:?}: expected a folder with the four IDX files of MNIST, plain or \
         gzip; give another one, or restore data/mnist from the repository"
    )]
    NoDirectory {
        /// The folder asked for.
        directory: PathBuf,
    },
    /// A file is there neither plain nor packed.
    #[error("neither {name:?} nor \"{name}.gz\" is in {directory:?}: copy one of them there")]
    Missing {
        /// The folder searched.
        directory: PathBuf,
        /// The plain file's name.
        name: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {action} {path:?}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A gzip file is cut off or damaged.
    #[error("{path:?} is not an intact gzip file ({reason}): copy it anew")]
    Gzip {
        /// The packed file.
        path: PathBuf,
        /// The decoder's reason.
        reason: String,
    },
    /// The first four bytes are not those of the IDX format.
    #[error("{path:?} does not begin as an IDX file: expected {expected:#010x}, found {found}")]
    Magic {
        /// The file.
        path: PathBuf,
        /// The magic number of this kind of file.
        expected: u32,
        /// The first bytes, and what they mean if they are known.
        found: String,
    },
    /// The header announces other extents than MNIST's.
    #[error(
        "{path:?} holds data of shape {found:?}, expected {expected:?}: only data of MNIST's exact sizes can be \
         read (60000 and 10000 images of 28x28)"
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// MNIST's extents.
        expected: Vec<u32>,
        /// The extents in the header.
        found: Vec<u32>,
    },
    /// The file is longer or shorter than its header says.
    #[error(
        "{path:?} should be {expected} bytes long, by its header, and is {}{found}: copy it anew",
        if *at_least { "at least " } else { "" }
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Header and data, in bytes.
        expected: usize,
        /// The bytes that are there (unpacked).
        found: usize,
        /// Whether reading stopped at `found`.
        at_least: bool,
    },
    /// A label is not a class.
    #[error("label {index} in {path:?} is {found}, expected 0 to 9: only data of ten classes can be read")]
    Label {
        /// The file.
        path: PathBuf,
        /// The position of the first such label.
        index: usize,
        /// The label.
        found: u8,
    },
    /// Three files are MNIST's and one is not.
    #[error(
        "{path:?} is not MNIST's though the other three files are: expected SHA-256 {expected} of the unpacked \
         bytes, found {found}; copy it anew"
    )]
    Altered {
        /// The file that differs.
        path: PathBuf,
        /// The digest of MNIST's file.
        expected: &'static str,
        /// The digest of the file's unpacked bytes.
        found: String,
    },
    /// The `mnist` crate takes paths as text.
    #[error("the path {path:?} is not valid Unicode: use another data or cache folder")]
    Unicode {
        /// The path.
        path: PathBuf,
    },
    /// Pixels and labels do not belong together.
    #[error(
        "{}{pixels} bytes of pixels do not make images of {} bytes ({shape}) each",
        labels.map_or(String::new(), |labels| format!("{labels} labels and ")),
        shape.bytes()
    )]
    Counts {
        /// The labels given.
        labels: Option<usize>,
        /// The bytes of pixels given.
        pixels: usize,
        /// The shape of an image.
        shape: ImageShape,
    },
    /// There is nothing at a path.
    #[error(
        "there is no {path:?}: expected a folder of PNG or JPEG images, one such image, or a .npy, .npz or IDX file"
    )]
    NoSource {
        /// The path asked for.
        path: PathBuf,
    },
    /// There is no file of labels.
    #[error("{path:?} is no file: expected labels as a .npy, .npz or IDX file")]
    NoLabelFile {
        /// The path asked for.
        path: PathBuf,
    },
    /// A file of some other kind.
    #[error("{path:?} holds no {purpose}: expected {}, found {}", expected_of(purpose), found(start))]
    UnknownFile {
        /// The file.
        path: PathBuf,
        /// `images` or `labels`.
        purpose: &'static str,
        /// Its first bytes.
        start: Vec<u8>,
    },
    /// A folder without images.
    #[error(
        "no .png, .jpg or .jpeg file is below {path:?}{}",
        if *others > 0 { format!(", only other files ({others} in the folder itself)") } else { String::new() }
    )]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// Files of other kinds that lie in it.
        others: usize,
    },
    /// An image that cannot be read.
    #[error(
        "{path:?} is an image of a kind that is not read: convert it to PNG or JPEG, or move it elsewhere"
    )]
    OtherImage {
        /// The file.
        path: PathBuf,
    },
    /// Folders in folders without end.
    #[error("{path:?} lies more than {levels} folders deep: a link may lead to a folder above it")]
    DeepFolder {
        /// The folder.
        path: PathBuf,
        /// The levels that are looked at.
        levels: usize,
    },
    /// A PNG or JPEG file that is cut off or damaged.
    #[error("{path:?} is not a whole image ({reason}): copy it anew, or leave it out")]
    DamagedImage {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        reason: String,
    },
    /// An image of another size.
    #[error(
        "{path:?} is {}x{} (height x width), expected {}x{}; give --size {}x{} to scale images and cut their middle",
        found.0, found.1, wanted.0, wanted.1, wanted.0, wanted.1
    )]
    ImageSize {
        /// The file.
        path: PathBuf,
        /// Its height and width.
        found: (usize, usize),
        /// Those of all images.
        wanted: (usize, usize),
    },
    /// A number of channels that no PNG or JPEG has.
    #[error(
        "the model takes images of {channels} channels, and {path:?} can give 1 (gray) or 3 (red, green, blue); give \
         such images as a .npy file"
    )]
    ImageChannels {
        /// The first file.
        path: PathBuf,
        /// The channels wanted.
        channels: usize,
    },
    /// A size that the model does not take.
    #[error("--size {}x{} is not what the model takes, images of {wanted}", given.0, given.1)]
    Size {
        /// The height and width given.
        given: (usize, usize),
        /// What the model takes.
        wanted: WantedShape,
    },
    /// A `.npy` file, or one in an archive, that cannot be read.
    #[error("cannot read the array {path:?}")]
    Npy {
        /// The file, or the archive and the array's name.
        path: PathBuf,
        /// Why.
        source: NpyError,
    },
    /// An archive that is damaged.
    #[error("{path:?} is not an intact .npz archive ({reason}): make it anew with `numpy.savez`")]
    Npz {
        /// The archive.
        path: PathBuf,
        /// The decoder's reason.
        reason: String,
    },
    /// An archive from which no array can be chosen.
    #[error("{path:?}: expected {expected}, found{arrays}")]
    NoArray {
        /// The archive.
        path: PathBuf,
        /// What was looked for.
        expected: String,
        /// The arrays there are.
        arrays: String,
    },
    /// An IDX file of another element type, or cut off in its header.
    #[error("{path:?} is no IDX file of bytes: found {found}")]
    Idx {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// An array that is not of images, or of others.
    #[error(
        "{path:?} holds {dtype}{shape:?}, expected uint8 pixels of {wanted} images (channels x height x width): \
         [N,C,H,W] or [N,H,W,C], or [N,H,W] of gray ones; pixels are given before any preprocessing"
    )]
    ImageArray {
        /// The file.
        path: PathBuf,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// What the model takes.
        wanted: WantedShape,
    },
    /// An array that is not of labels.
    #[error("{path:?} holds {dtype}{shape:?}, expected labels: integers [N], one for each image")]
    LabelArray {
        /// The file.
        path: PathBuf,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A label below 0, or beyond 32 bits.
    #[error("label {index} in {path:?} is {found}, expected the number of a class, from 0 on")]
    NoClass {
        /// The file.
        path: PathBuf,
        /// The position of the first such label.
        index: usize,
        /// The label.
        found: i64,
    },
    /// Labels of other images.
    #[error("{path:?} has {labels} labels for {images} images: expected one for each, in the same order")]
    LabelCount {
        /// The file of the labels.
        path: PathBuf,
        /// The labels.
        labels: usize,
        /// The images.
        images: usize,
    },
    /// A position beyond the images.
    #[error("there is no image {index}: expected 0 to {}", images.saturating_sub(1))]
    NoSuchImage {
        /// The position asked for.
        index: usize,
        /// The images there are.
        images: usize,
    },
    /// A number of calibration images that the source cannot give.
    #[error("cannot choose {requested} calibration images: expected 1 to {available}")]
    CalibrationCount {
        /// The number asked for.
        requested: usize,
        /// The images that may be chosen.
        available: usize,
    },
}

fn expected_of(purpose: &str) -> &'static str {
    if purpose == "labels" {
        "a .npy, .npz or IDX file"
    } else {
        "a PNG or JPEG image, or a .npy, .npz or IDX file"
    }
}

/// The first bytes of a file of an unknown kind, as text where they are text.
fn found(start: &[u8]) -> String {
    match std::str::from_utf8(start) {
        Ok("") => "an empty file".to_owned(),
        Ok(text) if text.chars().all(|c| !c.is_control() || c.is_whitespace()) => {
            format!("text ({text:?}...)")
        }
        _ => format!("a file that begins with the bytes {start:02x?}"),
    }
}
