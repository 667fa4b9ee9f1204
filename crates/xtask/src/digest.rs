//! SHA-256 of files, remembered by size and modification time so that asking again is cheap.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use onnx2int_graph::digest::{hexadecimal, sha256};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::atomic_file;

/// The digests of files, relative to a root folder.
pub(crate) struct Digests {
    root: PathBuf,
    cache_file: PathBuf,
    entries: BTreeMap<String, Entry>,
    bytes_hashed: u64,
}

#[derive(Clone, Deserialize, Serialize)]
struct Entry {
    size: u64,
    /// Nanoseconds since 1970.
    modified: u64,
    sha256: String,
}

/// A file that was modified less than this before it was hashed might change again with the same time, as file
/// systems count time in steps of up to two seconds: such a digest is not remembered.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// Hashing less than this again costs less than it is worth to write the cache.
const WORTH_SAVING: u64 = 32 << 20;

impl Digests {
    /// Opens the cache; one that is absent or cannot be read only costs the time to hash again.
    pub(crate) fn open(root: &Path, cache_file: &Path) -> Self {
        let entries = fs::read(cache_file)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self { root: root.to_owned(), cache_file: cache_file.to_owned(), entries, bytes_hashed: 0 }
    }

    /// The lower-case hexadecimal SHA-256 of the content of `path`, or `None` where there is no such file.
    pub(crate) fn of_file(&mut self, path: &str) -> anyhow::Result<Option<String>> {
        let full_path = self.root.join(path);
        let metadata = match fs::metadata(&full_path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => anyhow::bail!("{path:?} is not a file; remove what is in its place"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {path:?}")),
        };
        let (size, modified) = (metadata.len(), modified_nanoseconds(&metadata));
        if let Some(entry) = self.entries.get(path)
            && entry.size == size
            && Some(entry.modified) == modified
        {
            return Ok(Some(entry.sha256.clone()));
        }
        let settled = metadata.modified().is_ok_and(|time| time + CLOCK_STEP < SystemTime::now());
        let sha256 = hash(&full_path).with_context(|| format!("cannot read {path:?}"))?;
        self.bytes_hashed += size;
        match modified {
            Some(modified) if settled => {
                self.entries.insert(path.to_owned(), Entry { size, modified, sha256: sha256.clone() });
            }
            _ => {
                self.entries.remove(path);
            }
        }
        Ok(Some(sha256))
    }

    /// The digest of a file that a task cannot do without.
    pub(crate) fn existing(&mut self, path: &str) -> anyhow::Result<String> {
        self.of_file(path)?.with_context(|| {
            format!("{path:?} does not exist; `cargo xtask run-all --force` makes every file anew")
        })
    }

    /// The digests of those of `paths` that exist, by path.
    pub(crate) fn of_existing(&mut self, paths: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for path in paths {
            if let Some(digest) = self.of_file(path)? {
                found.insert(path.clone(), digest);
            }
        }
        Ok(found)
    }

    /// Writes the cache if that is worth the while.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        if self.bytes_hashed < WORTH_SAVING {
            return Ok(());
        }
        atomic_file::write(&self.cache_file, &serde_json::to_vec_pretty(&self.entries)?)
    }
}

/// The lower-case hexadecimal SHA-256 of bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    sha256(bytes)
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn modified_nanoseconds(metadata: &Metadata) -> Option<u64> {
    let since_1970 = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_1970.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn set_modified(path: &Path, seconds: u64) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    #[test]
    fn digests_are_sha256() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("abc"), "abc").unwrap();
        let mut digests = Digests::open(folder.path(), &folder.path().join("cache"));
        assert_eq!(digests.of_file("abc").unwrap().as_deref(), Some(ABC));
        assert_eq!(of_bytes(b""), EMPTY);
        assert_eq!(digests.of_file("absent").unwrap(), None);
        assert!(digests.of_file(".").is_err());
    }

    #[test]
    fn a_settled_file_is_hashed_once_and_a_fresh_one_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut digests = Digests::open(folder.path(), &folder.path().join("cache"));

        fs::write(&path, "abc").unwrap();
        set_modified(&path, 1000);
        assert_eq!(digests.of_file("file").unwrap().as_deref(), Some(ABC));
        // Same size and time: what is remembered is believed.
        fs::write(&path, "xyz").unwrap();
        set_modified(&path, 1000);
        assert_eq!(digests.of_file("file").unwrap().as_deref(), Some(ABC));
        // Another time: it is not.
        set_modified(&path, 1001);
        assert_eq!(digests.of_file("file").unwrap(), Some(of_bytes(b"xyz")));

        // Modified just now: not remembered, whatever its time says later.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 60;
        set_modified(&path, now);
        assert_eq!(digests.of_file("file").unwrap(), Some(of_bytes(b"xyz")));
        fs::write(&path, "abc").unwrap();
        set_modified(&path, now);
        assert_eq!(digests.of_file("file").unwrap().as_deref(), Some(ABC));
    }
}
