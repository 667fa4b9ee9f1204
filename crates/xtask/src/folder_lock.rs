//! One run at a time in a folder of results.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Locks the folder of results until the file is dropped.
///
/// Waits a moment for a process that is about to end, or a child of one that has not let go of its files yet.
pub(crate) fn lock(path: &Path) -> anyhow::Result<File> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let open = File::options().create(true).truncate(false).write(true).open(path);
    let file = open.with_context(|| format!("cannot open {path:?}"))?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                bail!("another run is at work on these results (it holds {path:?}); wait for it or end it")
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {path:?}"));
            }
        }
    }
}
