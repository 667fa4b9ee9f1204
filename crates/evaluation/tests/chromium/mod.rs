//! Chromium on pages from disk, for the tests of what is in them.
//!
//! Where there is none a test says so in a line of its own and ends.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What Chromium is called on Debian, elsewhere, and by others.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|file| file.is_file())
}

/// A folder that is gone in the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Tests run at the same time, and a profile is of one browser.
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("onnx2int-{name}-{}-{next}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn write(&self, name: &str, page: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, page).unwrap();
        format!("file://{}", path.display())
    }

    pub(crate) fn open(&self, chromium: &Path, arguments: &[String], address: &str) -> Output {
        Command::new(chromium)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
            .args(["--enable-logging=stderr", "--no-first-run", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", self.0.join("profile").display()))
            .args(arguments)
            .arg(address)
            .output()
            .unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a temporary folder harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The browser, or a line that says what is not tested without it.
pub(crate) fn chromium_or_skip() -> Option<PathBuf> {
    let found = chromium();
    if found.is_none() {
        // Not by a macro, whose output the harness would keep to itself.
        let line = format!("SKIPPED: no Chromium among {NAMES:?}; `apt-get install chromium` has one\n");
        io::stderr().write_all(line.as_bytes()).unwrap();
    }
    found
}

/// What Chromium wrote to the console of a page.
pub(crate) fn console(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("CONSOLE")).collect()
}
