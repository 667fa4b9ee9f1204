//! One file by itself.

use std::path::Path;

use crate::files::FILES;
use crate::{DatasetError, cache};

/// Whether bytes are a file of a data folder, by the file's name: of the right form, or a gzip of
/// such a file if the name ends in `.gz`. Whose data it is does not matter.
///
/// # Errors
/// As [`crate::Dataset::load`] of a folder that holds such a file: what is wrong with it. A name
/// that is none of the four, plain or with `.gz`, is [`DatasetError::Missing`].
pub fn check_file(path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (stem, is_packed) = match name.strip_suffix(".gz") {
        Some(stem) => (stem, true),
        None => (name.as_ref(), false),
    };
    let Some(file) = FILES.into_iter().find(|file| file.name == stem) else {
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        return Err(DatasetError::Missing { directory, name: FILES[0].name });
    };
    if is_packed {
        return file.check(path, &cache::decode(path, bytes, file.length())?);
    }
    file.check(path, bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn labels() -> Vec<u8> {
        [[0, 0, 8, 1].as_slice(), &10_000_u32.to_be_bytes(), &[7; 10_000]].concat()
    }

    #[test]
    fn a_file_is_checked_by_its_name_plain_or_packed() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&labels()).unwrap();
        let packed = gzip.finish().unwrap();
        let check = |name: &str, bytes: &[u8]| check_file(Path::new(name), bytes);
        assert!(check("data/t10k-labels-idx1-ubyte", &labels()).is_ok());
        assert!(check("data/t10k-labels-idx1-ubyte.gz", &packed).is_ok());
        assert!(matches!(check("t10k-images-idx3-ubyte", &labels()), Err(DatasetError::Magic { .. })));
        assert!(matches!(check("t10k-labels-idx1-ubyte.gz", &labels()), Err(DatasetError::Gzip { .. })));
        assert!(matches!(check("labels", &labels()), Err(DatasetError::Missing { .. })));
    }
}
