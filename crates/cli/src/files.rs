//! Model files and whole-file writes.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use onnx2int_dataset::Dataset;
use onnx2int_graph::{Graph, Verified, digest, verify};
use onnx2int_onnx_format::{ExternalData, decode_with_data};

/// A model as read from its file.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) graph: Graph,
    /// The file's name without folders.
    pub(crate) file: String,
    /// SHA-256 of the file, in hexadecimal; of the file and then each constant's bytes where these lie in others.
    pub(crate) digest: String,
    /// The file's size, with that of constants in others.
    pub(crate) bytes: u64,
}

/// Reads and decodes a model, and checks structure and types.
///
/// Constants may lie in other files of the model's folder or of folders in it, as PyTorch's newer exporter writes them.
pub(crate) fn read_model(path: &Path) -> anyhow::Result<Model> {
    let mut bytes = read(path)?;
    let mut others = Vec::new();
    let graph = decode_with_data(&bytes, &mut |part| {
        let found = external_data(path, part)?;
        others.extend_from_slice(&found);
        Ok(found)
    })
    .with_context(|| format!("cannot read the model {path:?}"))?;
    bytes.append(&mut others);
    verify(&graph).with_context(|| format!("the model {path:?} is not valid"))?;
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Model { graph, file, digest: digest::sha256(&bytes), bytes: bytes.len() as u64 })
}

/// A part of another file, which must lie below the model's folder.
fn external_data(model: &Path, part: &ExternalData) -> Result<Vec<u8>, String> {
    let location = Path::new(&part.location);
    let is_below =
        location.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    if !is_below || part.location.is_empty() {
        return Err(format!(
            "its data is in {:?}, which is not below the model's folder; save the model as a single file",
            part.location
        ));
    }
    let path = model.parent().unwrap_or(Path::new("")).join(location);
    let unreadable = |error: std::io::Error| format!("cannot read its data in {path:?}: {error}");
    let mut file = fs::File::open(&path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if part.offset.checked_add(part.length).is_none_or(|end| end > size) {
        let ExternalData { offset, length, .. } = part;
        return Err(format!("its data is {length} bytes from {offset} on of {path:?}, which has {size}"));
    }
    file.seek(SeekFrom::Start(part.offset)).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(part.length).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Encodes and writes a model; all of it or nothing.
pub(crate) fn write_model(path: &Path, graph: Verified<'_>) -> anyhow::Result<()> {
    write(path, &onnx2int_onnx_format::encode(graph))
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.is_dir() {
        bail!("cannot read {path:?}: expected a file, found a folder");
    }
    fs::read(path).with_context(|| format!("cannot read {path:?}"))
}

/// Reads a whole file as text.
pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read(path)?).with_context(|| format!("cannot read {path:?}: expected UTF-8 text"))
}

/// Writes a whole file, so that neither a full disk nor a kill leaves half of it, and an earlier file
/// stays as it was.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    onnx2int_whole_file::write(path, bytes).with_context(|| format!("cannot write {path:?}"))
}

/// Refuses to start long work whose result could not be written.
pub(crate) fn check_writable(path: &Path) -> anyhow::Result<()> {
    onnx2int_whole_file::check_writable(path).with_context(|| format!("cannot write {path:?}"))
}

/// Loads the images of a folder.
pub(crate) fn load_dataset(dir: &Path) -> anyhow::Result<Dataset> {
    Ok(Dataset::load(dir, &cache_dir())?)
}

/// Where unpacked data files are kept: the user's cache folder.
fn cache_dir() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    base.join("onnx2int").join("data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_in_other_files_is_read_from_below_the_models_folder() {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models");
        fs::create_dir_all(models.join("data")).unwrap();
        fs::write(models.join("data/w"), [1, 2, 3, 4]).unwrap();
        fs::write(folder.path().join("secret"), [9; 4]).unwrap();
        let read = |location: &str, offset, length| {
            let part = ExternalData { location: location.to_owned(), offset, length };
            external_data(&models.join("model.onnx"), &part)
        };
        assert_eq!(read("data/w", 1, 2), Ok(vec![2, 3]));
        assert_eq!(read("./data/w", 0, 1), Ok(vec![1]));
        let absolute = folder.path().join("secret").to_string_lossy().into_owned();
        for location in ["../secret", "data/../../secret", &absolute, ""] {
            let message = read(location, 0, 4).unwrap_err();
            assert!(message.contains("not below the model's folder"), "{location}: {message}");
        }
        let message = read("data/w", 3, 2).unwrap_err();
        assert!(message.contains("2 bytes from 3 on of") && message.contains("which has 4"), "{message}");
        assert!(read("data/w", u64::MAX, 2).is_err());
        assert!(read("data/none", 0, 1).unwrap_err().contains("cannot read its data"));
        assert!(read("data", 0, 1).is_err(), "a folder");
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        write(&path, b"first").unwrap();
        for (blocked, reason) in
            [(path.join("below.onnx"), "below.onnx"), (folder.path().into(), "it is a folder")]
        {
            for result in [write(&blocked, b"second"), check_writable(&blocked)] {
                let message = format!("{:#}", result.unwrap_err());
                assert!(message.starts_with("cannot write ") && message.contains(reason), "{message}");
            }
        }
        assert_eq!(read(&path).unwrap(), b"first");
    }

    #[test]
    fn what_is_no_model_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("odd.onnx");
        write(&path, b"this is no protobuf").unwrap();
        let message = format!("{:#}", read_model(&path).unwrap_err());
        assert!(message.contains("odd.onnx") && message.contains("not an ONNX model"), "{message}");
        assert!(read_model(folder.path()).is_err());
        assert!(read_model(&folder.path().join("absent.onnx")).is_err());
    }
}
