//! Unpacked copies of gzip files, for the `mnist` crate, which reads plain files only.
//!
//! A copy is named `<file>.<digest of the packed bytes>.<digest of the unpacked bytes>`. The name
//! says which archive it is of and what it must contain, so that a damaged copy is found by
//! hashing it, and a copy of another archive is never mistaken for it. Copies are written whole or
//! not at all: two processes that unpack at once both succeed.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use onnx2int_graph::digest::sha256;

use crate::DatasetError;
use crate::files::File;

/// The unpacked bytes of `archive` and where a plain copy of them lies.
pub(crate) struct Unpacked {
    /// The plain copy in the cache folder.
    pub(crate) path: PathBuf,
    /// Its SHA-256.
    pub(crate) digest: String,
}

/// Unpacks `archive` into `directory`, unless an intact copy is there, and checks its form.
pub(crate) fn unpack(archive: &Path, file: File, directory: &Path) -> Result<Unpacked, DatasetError> {
    let packed = fs::read(archive).map_err(|source| DatasetError::Io {
        action: "read",
        path: archive.to_owned(),
        source,
    })?;
    let prefix = format!("{}.{}.", file.name, sha256(&packed));
    if let Some(copy) = intact_copy(directory, &prefix, file) {
        return Ok(copy);
    }
    let bytes = decode(archive, &packed, file.length())?;
    file.check(archive, &bytes)?;
    let digest = sha256(&bytes);
    let path = directory.join(format!("{prefix}{digest}"));
    write(directory, &path, &bytes)?;
    Ok(Unpacked { path, digest })
}

/// A copy whose content is what its name says. A damaged one is left to be replaced.
fn intact_copy(directory: &Path, prefix: &str, file: File) -> Option<Unpacked> {
    let entries = fs::read_dir(directory).ok()?;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(digest) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else { continue };
        let path = entry.path();
        if let Ok(bytes) = fs::read(&path)
            && sha256(&bytes) == digest
            && file.check(&path, &bytes).is_ok()
        {
            return Some(Unpacked { path, digest: digest.to_owned() });
        }
    }
    None
}

/// At most one byte more than `length`, so that a hostile archive cannot fill the memory.
pub(crate) fn decode(archive: &Path, packed: &[u8], length: usize) -> Result<Vec<u8>, DatasetError> {
    // Grows with what is unpacked: the archive may be short.
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed)
        .take(length as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| DatasetError::Gzip { path: archive.to_owned(), reason: error.to_string() })?;
    Ok(bytes)
}

fn write(directory: &Path, path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| DatasetError::Io { action, path, source }
    };
    fs::create_dir_all(directory).map_err(failed("make the cache folder", directory))?;
    onnx2int_whole_file::write(path, bytes).map_err(failed("write", path))
}
