//! Files that are the old ones or the new ones, never half of one, whatever ends the writer.
//!
//! [`write`] fills a temporary file beside its target, syncs it and renames it: a full disk, an
//! error or a kill leaves the target as it was. What a killed writer leaves of its temporary file,
//! the next writer in that folder removes. It knows the dead ones by their locks: a writer holds a
//! lock on its temporary file for as long as it lives, and the system frees it however it ends.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

const PREFIX: &str = ".onnx2int-";
const SUFFIX: &str = ".tmp";

/// Writes all of `content` to `path`, or leaves what is there.
///
/// The folder is made where needed; temporary files of dead writers in it are removed.
///
/// # Errors
/// Whatever the system says, with no more left behind than an empty folder.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    write_parts(path, &[content])
}

/// As [`write`], of contents that lie in several places.
///
/// # Errors
/// As [`write`].
pub fn write_parts(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = temporary_for(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    // Without this a power failure could leave the new name on an empty file.
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Whether [`write`] would find a place for `path`, tried with an empty temporary file: for long
/// work to fail before it begins. Makes the folder where needed.
///
/// # Errors
/// As [`write`].
pub fn check_writable(path: &Path) -> io::Result<()> {
    temporary_for(path).map(drop)
}

/// Removes the temporary files that killed writers left in a folder.
///
/// Those of living writers are left alone, and so is what this process may not remove.
pub fn remove_stale(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        if is_temporary(&entry.file_name().to_string_lossy())
            && let Ok(file) = File::options().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            // Removed while it is locked: its writer, if it was made this very moment, waits for
            // the lock and then sees that the file is gone.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a file name is that of a temporary file.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// An empty, locked file in the folder of `path`, which goes away when it is dropped.
fn temporary_for(path: &Path) -> io::Result<NamedTempFile> {
    if path.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    remove_stale(folder);
    let mut builder = Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    if let Some(permissions) = permissions() {
        builder.permissions(permissions);
    }
    loop {
        let file = builder.tempfile_in(folder)?;
        // A file system without locks only means that nobody tidies up after a kill.
        let _ = file.as_file().lock();
        if file.path().exists() {
            return Ok(file);
        }
    }
}

/// The process's umask takes away what it does not want; a temporary file's default would leave
/// the file unreadable to others.
#[cfg(unix)]
fn permissions() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt;
    Some(Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn permissions() -> Option<Permissions> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_earlier_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/model.onnx");
        write(&path, b"first").unwrap();
        write_parts(&path, &[b"sec", b"ond"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        // A file in the place of the folder, and a folder in the place of the file.
        assert!(write(&path.join("model.onnx"), b"third").is_err());
        assert!(write(&folder.path().join("deep"), b"third").is_err());
        assert!(check_writable(&folder.path().join("deep")).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(
            (names(folder.path()), names(path.parent().unwrap())),
            (vec!["deep".to_owned()], vec!["model.onnx".to_owned()])
        );
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        // As a kill leaves them: no process holds their locks any more.
        for number in 0..3 {
            fs::write(folder.path().join(format!("{PREFIX}dead{number}{SUFFIX}")), "half a mod").unwrap();
        }
        fs::write(folder.path().join(".other.tmp"), "somebody else's").unwrap();
        write(&folder.path().join("model.onnx"), b"whole").unwrap();
        assert_eq!(names(folder.path()), [".other.tmp", "model.onnx"]);
    }

    #[test]
    fn a_living_writer_keeps_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let mut living = temporary_for(&path).unwrap();
        living.write_all(b"slow").unwrap();
        write(&path, b"fast").unwrap();
        remove_stale(folder.path());
        assert!(living.path().exists());
        living.persist(&path).unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"slow".to_vec(), vec!["model.onnx".to_owned()])
        );
    }

    #[test]
    fn writers_of_one_file_at_once_all_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::thread::scope(|scope| {
            for writer in 0..4u8 {
                let path = &path;
                scope.spawn(move || (0..50).for_each(|_| write(path, &[writer; 5000]).unwrap()));
            }
        });
        let content = fs::read(&path).unwrap();
        assert!(content.len() == 5000 && content.iter().all(|byte| *byte == content[0]));
        assert_eq!(names(folder.path()), ["model.onnx"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_can_be_read_by_those_whom_the_umask_lets() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (plain, ours) = (folder.path().join("plain"), folder.path().join("ours"));
        fs::write(&plain, "").unwrap();
        write(&ours, b"").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
