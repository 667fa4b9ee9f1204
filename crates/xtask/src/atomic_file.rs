//! Whole files with their names in the errors, and without needless changes.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Writes all of `content` or leaves what is there, making the folder where needed.
pub(crate) fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    onnx2int_whole_file::write(path, content).with_context(|| format!("cannot write {path:?}"))
}

/// Writes `content` unless the file holds it already, so that an unchanged file keeps its time.
pub(crate) fn write_if_changed(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    write(path, content)
}

/// Removes a file; one that is not there is none to remove.
pub(crate) fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {path:?}"))
        }
        _ => Ok(()),
    }
}

/// Removes what killed writers left in a folder and all folders in it.
pub(crate) fn remove_stale(folder: &Path) {
    onnx2int_whole_file::remove_stale(folder);
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        // A link may lead anywhere; `file_type` does not follow it.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_stale(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_the_old_file_when_it_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("report.json");
        // A folder in the file's place: rename fails after the temporary file was written.
        fs::create_dir_all(blocked.join("child")).unwrap();
        let message = format!("{:#}", write(&blocked, b"new").unwrap_err());
        assert!(message.contains("report.json"), "{message}");
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["report.json"]);
    }

    #[test]
    fn an_unchanged_file_keeps_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/run.json");
        write(&path, b"{}").unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        write_if_changed(&path, b"{}").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), long_ago);
        write_if_changed(&path, b"{1}").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{1}");
    }
}
