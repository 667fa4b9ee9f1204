//! The fuzz targets on the kept corpus: all that libFuzzer found worth keeping, in an ordinary test.

use std::fs;
use std::path::{Path, PathBuf};

// The very functions that libFuzzer calls.
#[path = "../../../fuzz/src/lib.rs"]
pub mod entry_points;

use entry_points::TARGETS;

const LARGEST_FILE: u64 = 10_000;
const LARGEST_CORPUS: u64 = 300_000;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The paths in a folder, sorted.
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_kept_file_is_handled() {
    for (name, target) in TARGETS {
        let files = entries(&fuzz().join("corpus").join(name));
        assert!(files.len() >= 5, "{name} has {} files", files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            // Names the file if it panics.
            std::panic::catch_unwind(|| target(&bytes))
                .unwrap_or_else(|_| panic!("{} is not handled", file.display()));
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let mut names: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    let stems = |folder: &str| -> Vec<String> {
        let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        entries(&fuzz().join(folder)).into_iter().map(stem).collect()
    };
    assert_eq!(stems("corpus"), names);
    assert_eq!(stems("fuzz_targets"), names);
}

#[test]
fn the_corpus_stays_small() {
    let mut total = 0;
    for file in entries(&fuzz().join("corpus")).iter().flat_map(|folder| entries(folder)) {
        let length = fs::metadata(&file).unwrap().len();
        assert!(length < LARGEST_FILE, "{} has {length} bytes", file.display());
        total += length;
    }
    assert!(total < LARGEST_CORPUS, "{total} bytes");
}
