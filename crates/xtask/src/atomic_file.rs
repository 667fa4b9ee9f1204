//! Files that are either the old ones or the new ones, never half of one.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;

/// Writes `content` to a temporary name beside `path`, then renames it, making the folder where needed.
pub(crate) fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    replace(path, content).with_context(|| format!("cannot write {path:?}"))
}

/// Writes `content` unless the file holds it already, so that an unchanged file keeps its time.
pub(crate) fn write_if_changed(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    write(path, content)
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell; a left-over temporary file is only litter.
        let _ = fs::remove_file(&temporary);
    }
    written
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
