//! Images from folders, archives and IDX files, and what is wrong with some.

#![expect(clippy::unwrap_used, reason = "what a test's own functions cannot do fails the test")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use image::{GrayImage, RgbImage};
use onnx2int_dataset::{ImageShape, ImageSource, OpenOptions, WantedShape, npy, open};
use onnx2int_graph::Tensor;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A gray image of 2x3 pixels of one shade.
fn write_gray(path: PathBuf, shade: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::from_raw(3, 2, vec![shade; 6]).unwrap().save(path).unwrap();
}

fn gray() -> OpenOptions {
    let wanted = WantedShape::from(ImageShape { channels: 1, height: 2, width: 3 });
    OpenOptions { wanted, ..OpenOptions::default() }
}

fn refusal(path: &Path, options: &OpenOptions) -> String {
    open(path, options).err().unwrap().to_string()
}

/// The first pixel of each image.
fn shades(source: &dyn ImageSource) -> Vec<u8> {
    let indices: Vec<usize> = (0..source.len()).collect();
    let pixels = source.read(&indices).unwrap();
    pixels.chunks(source.shape().bytes()).map(|image| image[0]).collect()
}

#[test]
fn subfolders_are_classes_in_the_order_of_their_names() {
    let folder = folder();
    let root = folder.path();
    write_gray(root.join("b/deeper/9.PNG"), 1);
    write_gray(root.join("b/10.png"), 2);
    write_gray(root.join("B/z.png"), 3);
    write_gray(root.join("c/.hidden.png"), 4);
    write_gray(root.join("d/1.png"), 5);
    write_gray(root.join(".cache/1.png"), 6);
    fs::write(root.join("b/notes.txt"), "none").unwrap();
    fs::write(root.join("classes.csv"), "none").unwrap();
    let source = open(root, &gray()).unwrap();
    assert_eq!(shades(source.as_ref()), [3, 2, 1, 5]);
    // A folder without images is a class too, or the numbers of those after it would change.
    assert_eq!(source.labels().unwrap(), [0, 1, 1, 3]);
    assert_eq!(source.class_names().unwrap(), ["B", "b", "c", "d"]);
    let names: Vec<_> = (0..4).map(|image| source.name(image)).collect();
    assert_eq!(names, ["B/z.png", "b/10.png", "b/deeper/9.PNG", "d/1.png"]);
    assert_eq!(source.read(&[3, 0]).unwrap(), [[5; 6], [3; 6]].concat());
}

#[test]
fn images_beside_folders_have_no_classes() {
    let folder = folder();
    write_gray(folder.path().join("z.png"), 1);
    write_gray(folder.path().join("a/1.png"), 2);
    let source = open(folder.path(), &gray()).unwrap();
    assert_eq!((shades(source.as_ref()), source.labels(), source.class_names()), (vec![2, 1], None, None));
    let labels = folder.path().join("labels.npy");
    fs::write(&labels, npy::encode(&Tensor::vector(vec![8_i32, 9]))).unwrap();
    let options = OpenOptions { labels: Some(labels), ..gray() };
    assert_eq!(open(folder.path(), &options).unwrap().labels().unwrap(), [8, 9]);
}

#[test]
fn what_is_open_in_the_wanted_shape_comes_from_the_first_image() {
    let folder = folder();
    write_gray(folder.path().join("1.png"), 7);
    RgbImage::new(5, 5).save(folder.path().join("2.png")).unwrap();
    let source = open(folder.path(), &OpenOptions::default()).unwrap();
    assert_eq!(source.shape().to_string(), "3x2x3");
    let message = source.read(&[0, 1]).unwrap_err().to_string();
    assert!(message.contains("2.png\" is 5x5 (height x width), expected 2x3"), "{message}");
    let sized = OpenOptions { size: Some((4, 4)), ..OpenOptions::default() };
    let source = open(folder.path(), &sized).unwrap();
    assert_eq!((source.shape().to_string().as_str(), source.read(&[0]).unwrap()), ("3x4x4", vec![7; 48]));
}

#[test]
fn folders_without_usable_images_are_refused() {
    let folder = folder();
    assert!(refusal(folder.path(), &gray()).contains("no .png, .jpg or .jpeg file is below"));
    fs::write(folder.path().join("readme"), "none").unwrap();
    assert!(refusal(folder.path(), &gray()).contains("only other files (1 in"));
    write_gray(folder.path().join("1.png"), 7);
    fs::write(folder.path().join("2.webp"), "none").unwrap();
    assert!(refusal(folder.path(), &gray()).contains("2.webp\" is an image of a kind that is not read"));
    fs::remove_file(folder.path().join("2.webp")).unwrap();
    let five = OpenOptions { wanted: WantedShape { channels: Some(5), ..gray().wanted }, ..gray() };
    assert!(refusal(folder.path(), &five).contains("images of 5 channels"));
    assert!(refusal(&folder.path().join("absent"), &gray()).contains("there is no"));
}

#[cfg(unix)]
#[test]
fn a_link_to_a_folder_above_has_an_end() {
    let folder = folder();
    write_gray(folder.path().join("a/1.png"), 7);
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/up")).unwrap();
    assert!(refusal(folder.path(), &gray()).contains("folders deep"));
}

fn archive(path: &Path, arrays: &[(&str, Tensor)], method: zip::CompressionMethod) {
    let mut archive = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, tensor) in arrays {
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(&npy::encode(tensor)).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn archives_are_read_by_name_or_where_one_array_suits() {
    let folder = folder();
    let path = folder.path().join("data.npz");
    let images = |count: usize, shade: u8| Tensor::from_vec(&[count, 2, 3], vec![shade; 6 * count]).unwrap();
    let labels = |count: usize| Tensor::vector((0..count as i64).collect());
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        // As `numpy.savez` and `numpy.savez_compressed` write it.
        archive(&path, &[("x", images(2, 5)), ("y", labels(2)), ("scale", Tensor::scalar(0.5_f32))], method);
        let source = open(&path, &gray()).unwrap();
        assert_eq!((shades(source.as_ref()), source.labels()), (vec![5, 5], Some(&[0, 1][..])));
    }
    let stored = zip::CompressionMethod::Stored;
    let two = [("train", images(3, 1)), ("test", images(2, 2)), ("labels", labels(3))];
    archive(&path, &two, stored);
    let message = refusal(&path, &gray());
    assert!(message.contains("test: |u1 [2, 2, 3]") && message.contains("data.npz\":NAME"), "{message}");
    let named = PathBuf::from(format!("{}:train", path.display()));
    let source = open(&named, &gray()).unwrap();
    assert_eq!((shades(source.as_ref()), source.labels()), (vec![1; 3], None));

    // Other numbers are no labels of these images, unless the user says so.
    archive(&path, &[("x", images(2, 5)), ("y", labels(3))], stored);
    assert_eq!(open(&path, &gray()).unwrap().labels(), None);
    let options = OpenOptions { labels: Some(path.clone()), ..gray() };
    assert!(refusal(&path, &options).contains("has 3 labels for 2 images"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(refusal(&path, &gray()).contains("is not an intact .npz archive"));
}

#[test]
fn idx_files_of_any_size_are_read_with_their_labels() {
    let folder = folder();
    let (images, labels) = (folder.path().join("images-idx3-ubyte"), folder.path().join("labels-idx1-ubyte"));
    fs::write(&images, [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3][..], &[9; 12]].concat()).unwrap();
    fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 2, 77, 200]).unwrap();
    let options = OpenOptions { labels: Some(labels.clone()), ..gray() };
    let source = open(&images, &options).unwrap();
    assert_eq!((shades(source.as_ref()), source.labels()), (vec![9, 9], Some(&[77, 200][..])));
    // The two the other way round.
    let message = refusal(&labels, &OpenOptions { labels: Some(images), ..gray() });
    assert!(message.contains("labels-idx1-ubyte\" holds u8[2], expected uint8 pixels"), "{message}");
}

/// Whatever happens to a file, it is read or refused.
#[test]
fn damaged_files_are_read_or_refused() {
    let folder = folder();
    let path = folder.path().join("file");
    let color = RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8 * 80, y as u8 * 90, 7]));
    let mut files = Vec::new();
    for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg] {
        color.save_with_format(&path, format).unwrap();
        files.push(fs::read(&path).unwrap());
    }
    let images = Tensor::from_vec(&[1, 2, 3], vec![5_u8; 6]).unwrap();
    files.push(npy::encode(&images));
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        archive(&path, &[("x", images.clone()), ("y", Tensor::vector(vec![3_i64]))], method);
        files.push(fs::read(&path).unwrap());
    }
    files.push([&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3][..], &[9; 6]].concat());
    let read = |bytes: &[u8]| {
        // Some file systems wait for the disk when a file is written over.
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        open(&path, &gray()).and_then(|source| source.read(&Vec::from_iter(0..source.len()))).is_ok()
    };
    for file in files {
        assert!(read(&file));
        let (mut cut, mut flipped) = (0, 0);
        for length in 0..file.len() {
            cut += usize::from(read(&file[..length]));
        }
        for position in 0..file.len() {
            let mut bytes = file.clone();
            bytes[position] ^= 1 << (position % 8);
            flipped += usize::from(read(&bytes));
        }
        // Only what lies behind the pixels may be missing; a changed pixel is one like any other.
        assert!(cut <= 20, "{cut} of {} cut files are read", file.len());
        assert!(flipped < file.len(), "every changed file of {} bytes is read", file.len());
    }
}

#[test]
fn a_header_that_claims_a_huge_image_is_refused() {
    let folder = folder();
    let path = folder.path().join("huge.png");
    write_gray(path.clone(), 1);
    let mut bytes = fs::read(&path).unwrap();
    // Width and height, and the checksum of the header.
    bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let checksum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let message = open(&path, &gray()).unwrap().read(&[0]).unwrap_err().to_string();
    assert!(message.contains("huge.png\" is not a whole image"), "{message}");
}

/// The checksum of PNG chunks (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

#[test]
fn a_file_is_what_it_holds_whatever_its_name() {
    let folder = folder();
    let path = folder.path().join("photo");
    RgbImage::from_pixel(3, 2, image::Rgb([10, 20, 30]))
        .save_with_format(&path, image::ImageFormat::Png)
        .unwrap();
    let color = OpenOptions { wanted: WantedShape { channels: Some(3), ..gray().wanted }, ..gray() };
    let source = open(&path, &color).unwrap();
    assert_eq!(source.read(&[0]).unwrap(), [[10; 6], [20; 6], [30; 6]].concat());
    fs::write(&path, "a letter").unwrap();
    assert!(refusal(&path, &color).contains("found text (\"a letter\"...)"));
    fs::write(&path, "").unwrap();
    assert!(refusal(&path, &color).contains("found an empty file"));
    fs::write(&path, [1, 2, 3]).unwrap();
    assert!(refusal(&path, &color).contains("begins with the bytes [01, 02, 03]"));
}
