//! Loading the repository's MNIST, and folders in which something is wrong.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use onnx2int_dataset::{Dataset, Images, Origin};
use tempfile::TempDir;

const NAMES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

fn mnist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/mnist")
}

/// A folder with the repository's four gzip files, and room for a cache.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in NAMES {
        let packed = format!("{name}.gz");
        fs::copy(mnist().join(&packed), folder.path().join(&packed)).expect("data/mnist is there");
    }
    folder
}

fn cache(folder: &TempDir) -> PathBuf {
    folder.path().join("cache")
}

fn load(folder: &TempDir) -> Result<Dataset, onnx2int_dataset::DatasetError> {
    Dataset::load(folder.path(), &cache(folder))
}

fn refusal(folder: &TempDir) -> String {
    load(folder).expect_err("something is wrong with the folder").to_string()
}

fn unpacked(folder: &TempDir, name: &str) -> Vec<u8> {
    let packed = fs::read(folder.path().join(format!("{name}.gz"))).expect("it was copied");
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).expect("data/mnist is intact");
    bytes
}

fn pack(folder: &TempDir, name: &str, bytes: &[u8]) {
    let file = fs::File::create(folder.path().join(format!("{name}.gz"))).expect("the folder is writable");
    let mut encoder = GzEncoder::new(file, Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("the disk has room");
}

fn histogram(images: &Images) -> [usize; 10] {
    let mut counts = [0; 10];
    for &label in images.labels().expect("MNIST is labeled") {
        counts[label as usize] += 1;
    }
    counts
}

#[test]
fn mnist_is_recognized_and_read_whole() {
    let folder = folder();
    let dataset = load(&folder).expect("data/mnist is intact");
    assert_eq!(*dataset.origin(), Origin::Mnist);
    assert_eq!((dataset.train.len(), dataset.test.len()), (60_000, 10_000));
    // The class counts that the authors of the data publish.
    assert_eq!(histogram(&dataset.train), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert_eq!(histogram(&dataset.test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    assert_eq!(dataset.train.pixels(), &unpacked(&folder, NAMES[0])[16..]);
    assert_eq!(dataset.test.pixels(), &unpacked(&folder, NAMES[2])[16..]);
    assert_eq!(dataset.train.split().validation, 55_000..60_000);
}

#[test]
fn plain_files_need_no_cache() {
    let folder = folder();
    for name in NAMES {
        fs::write(folder.path().join(name), unpacked(&folder, name)).expect("the disk has room");
        fs::remove_file(folder.path().join(format!("{name}.gz"))).expect("it was copied");
    }
    assert_eq!(*load(&folder).expect("plain files are fine").origin(), Origin::Mnist);
    assert!(!cache(&folder).exists());
}

#[test]
fn a_damaged_cache_is_repaired() {
    let folder = folder();
    load(&folder).expect("data/mnist is intact");
    let copies = || -> Vec<PathBuf> {
        let entries = fs::read_dir(cache(&folder)).expect("the first load made it");
        entries.map(|entry| entry.expect("it can be listed").path()).collect()
    };
    assert_eq!(copies().len(), 4);
    for (index, copy) in copies().into_iter().enumerate() {
        let mut bytes = fs::read(&copy).expect("it was listed");
        match index {
            0 => bytes.truncate(100),
            1 => bytes.clear(),
            _ => bytes[5000] ^= 1,
        }
        fs::write(&copy, bytes).expect("the cache is writable");
    }
    let dataset = load(&folder).expect("the archives are intact");
    assert_eq!(*dataset.origin(), Origin::Mnist);
    assert_eq!(dataset.train.pixels(), &unpacked(&folder, NAMES[0])[16..]);
    assert_eq!(copies().len(), 4);
}

#[test]
fn half_a_copy_that_a_killed_load_left_is_gone_after_the_next() {
    let folder = folder();
    fs::create_dir(cache(&folder)).expect("the folder is writable");
    fs::write(cache(&folder).join(".onnx2int-killed.tmp"), [0; 1000]).expect("the cache is writable");
    load(&folder).expect("data/mnist is intact");
    assert_eq!(fs::read_dir(cache(&folder)).expect("the load made it").count(), 4);
}

#[test]
fn several_loads_at_once_share_a_cache() {
    let folder = folder();
    std::thread::scope(|scope| {
        let loads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| load(&folder).map(|dataset| dataset.test))).collect();
        for handle in loads {
            let test = handle.join().expect("no panic").expect("data/mnist is intact");
            assert_eq!(test.len(), 10_000);
        }
    });
    assert_eq!(fs::read_dir(cache(&folder)).expect("the loads made it").count(), 4);
}

#[test]
fn one_altered_file_is_refused_by_name() {
    let folder = folder();
    let mut bytes = unpacked(&folder, NAMES[3]);
    bytes[4000] = (bytes[4000] + 1) % 10;
    pack(&folder, NAMES[3], &bytes);
    let message = refusal(&folder);
    assert!(message.contains("t10k-labels-idx1-ubyte.gz\" is not MNIST's"), "{message}");
    assert!(
        message.contains("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        "{message}"
    );
}

#[test]
fn other_data_of_the_same_form_is_accepted() {
    let folder = folder();
    for name in [NAMES[2], NAMES[3]] {
        let mut bytes = unpacked(&folder, name);
        let last = bytes.len() - 1;
        bytes[last] = (bytes[last] + 1) % 10;
        pack(&folder, name, &bytes);
    }
    let dataset = load(&folder).expect("the form is right");
    assert!(matches!(dataset.origin(), Origin::Other { digest } if digest.len() == 64));
}

#[test]
fn damaged_archives_are_refused_by_name() {
    let folder = folder();
    let path = folder.path().join("t10k-labels-idx1-ubyte.gz");
    let intact = fs::read(&path).expect("it was copied");
    let mut flipped = intact.clone();
    flipped[2000] ^= 0x10;
    let mut trailing = intact.clone();
    trailing.extend(b"junk after the end");
    for damaged in
        [&intact[..intact.len() / 2], &intact[..intact.len() - 3], &flipped, &trailing, b"", b"PK\x03\x04"]
    {
        fs::write(&path, damaged).expect("the folder is writable");
        let message = refusal(&folder);
        assert!(message.contains("t10k-labels-idx1-ubyte.gz"), "{message}");
        assert!(message.contains("copy it anew") || message.contains("IDX"), "{message}");
    }
    // Nothing of a damaged archive stays behind.
    let copies = fs::read_dir(cache(&folder)).expect("the other three were unpacked");
    assert!(
        copies.filter_map(Result::ok).all(|copy| !copy.file_name().to_string_lossy().contains("t10k-labels"))
    );
}

#[test]
fn other_sizes_and_missing_files_are_refused_by_name() {
    let folder = folder();
    let mut bytes = unpacked(&folder, NAMES[2]);
    bytes[4..8].copy_from_slice(&9_999_u32.to_be_bytes());
    pack(&folder, NAMES[2], &bytes);
    let message = refusal(&folder);
    assert!(message.contains("t10k-images-idx3-ubyte.gz\" holds data of shape [9999, 28, 28]"), "{message}");

    fs::remove_file(folder.path().join("t10k-images-idx3-ubyte.gz")).expect("it was copied");
    let message = refusal(&folder);
    assert!(
        message.starts_with("neither \"t10k-images-idx3-ubyte\" nor \"t10k-images-idx3-ubyte.gz\""),
        "{message}"
    );

    let message =
        Dataset::load(&folder.path().join("absent"), &cache(&folder)).expect_err("no folder").to_string();
    assert!(message.starts_with("there is no data folder"), "{message}");
}
