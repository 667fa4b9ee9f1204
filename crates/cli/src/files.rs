//! Model files and whole-file writes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use onnx2int_dataset::Dataset;
use onnx2int_graph::{Graph, Verified, digest, verify};

/// A model as read from its file.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) graph: Graph,
    /// The file's name without folders.
    pub(crate) file: String,
    /// SHA-256 of the file, in hexadecimal.
    pub(crate) digest: String,
    /// The file's size.
    pub(crate) bytes: u64,
}

/// Reads and decodes a model, and checks structure and types.
pub(crate) fn read_model(path: &Path) -> anyhow::Result<Model> {
    let bytes = read(path)?;
    let graph =
        onnx2int_onnx_format::decode(&bytes).with_context(|| format!("cannot read the model {path:?}"))?;
    verify(&graph).with_context(|| format!("the model {path:?} is not valid"))?;
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Model { graph, file, digest: digest::sha256(&bytes), bytes: bytes.len() as u64 })
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
