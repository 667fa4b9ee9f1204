//! What can be wrong with a data folder.

use std::io;
use std::path::PathBuf;

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
    #[error("{labels} labels need {} bytes of pixels (28x28 each), found {pixels}", labels * crate::PIXELS)]
    Counts {
        /// The labels given.
        labels: usize,
        /// The bytes of pixels given.
        pixels: usize,
    },
    /// A number of calibration images that the training split cannot give.
    #[error("cannot choose {requested} calibration images: expected 1 to {available}")]
    CalibrationCount {
        /// The number asked for.
        requested: usize,
        /// The images of the training split.
        available: usize,
    },
}
