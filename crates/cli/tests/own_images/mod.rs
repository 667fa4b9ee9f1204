//! Colored images from files of any kind, through a network of seven classes that was not trained.

mod config;

use std::fs;
use std::io::Write;

use image::{GrayImage, Rgb, RgbImage};
use onnx2int_graph::{Graph, Tensor, verify};
use serde_json::Value;

use crate::binary::Folder;

const CLASSES: usize = 7;
const SIDE: u32 = 6;
/// Of each class; not a multiple of any batch.
const IMAGES: usize = 3;

const NETWORK: &str = r#"
graph color
in    %input: f32[N,3,6,6]
const %conv.weight: f32[4,3,3,3] = cycle [0.5, -0.25, 0.125, -0.75, 1.0, -0.625, 0.375]
const %conv.bias: f32[4] = [0.1, -0.2, 0.0, 0.3]
const %fc.weight: f32[7,36] = cycle [0.3, -0.2, 0.1, 0.5, -0.4, 0.2, -0.3, 0.15, 0.25, -0.1, -0.05]
const %fc.bias: f32[7] = [0.1, -0.1, 0.05, 0.0, 0.2, -0.2, 0.15]
%conv: f32[N,4,6,6] = Conv(%input, %conv.weight, %conv.bias) pads=[1,1,1,1]
%relu: f32[N,4,6,6] = Relu(%conv)
%pool: f32[N,4,3,3] = MaxPool(%relu) kernel_shape=[2,2] strides=[2,2]
%flatten: f32[N,36] = Flatten(%pool)
%fc: f32[N,7] = Gemm(%flatten, %fc.weight, %fc.bias) transB=1
out %fc
"#;

/// The mean is 102/255, so that every pixel is its own code.
const PREPROCESSING: [&str; 4] = ["--mean", "0.4", "--std", "0.25"];

fn write_model(folder: &Folder, name: &str, text: &str) {
    let graph = Graph::from_text(text).unwrap();
    fs::write(folder.path(name), onnx2int_onnx_format::encode(verify(&graph).unwrap())).unwrap();
}

fn picture(class: usize, image: usize) -> RgbImage {
    let shade = |x: u32, y: u32, z: u32| ((x * 31 + y * 17 + z * 59 + class as u32 * 83) % 256) as u8;
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        Rgb([shade(x, y, 0), shade(y, x * image as u32, 1), shade(x * y, image as u32, 2)])
    })
}

/// The same images as a folder of classes, `images.npy` and `labels.npy`, channels last, and `both.npz`.
fn write_images(folder: &Folder) {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for class in 0..CLASSES {
        let name = format!("images/{}", char::from(b'a' + class as u8));
        fs::create_dir_all(folder.path(&name)).unwrap();
        for image in 0..IMAGES {
            let picture = picture(class, image);
            picture.save(folder.path(&format!("{name}/{image}.png"))).unwrap();
            pixels.extend(picture.into_raw());
            labels.push(class as i64);
        }
    }
    let images = Tensor::from_vec(&[CLASSES * IMAGES, 6, 6, 3], pixels).unwrap();
    let arrays = [("images", images), ("labels", Tensor::vector(labels))];
    let mut archive = zip::ZipWriter::new(fs::File::create(folder.path("both.npz")).unwrap());
    for (name, tensor) in arrays {
        let bytes = onnx2int_dataset::npy::encode(&tensor);
        fs::write(folder.path(&format!("{name}.npy")), &bytes).unwrap();
        archive.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(&bytes).unwrap();
    }
    archive.finish().unwrap();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A folder with the network, its images, its quantized form and its last stage.
fn lowered() -> Folder {
    let folder = Folder::new();
    write_model(&folder, "color.onnx", NETWORK);
    write_images(&folder);
    let quantize =
        ["quantize", "--model", "color.onnx", "--images", "images", "--output", "color_quantized.onnx"];
    let printed = folder.succeed(&[&quantize[..], &PREPROCESSING].concat());
    // All of fewer than 1000.
    assert!(printed.stderr.contains("calibrated on 21 images"), "{}", printed.stderr);
    folder.succeed(&["lower", "--model", "color_quantized.onnx", "--output-dir", "."]);
    folder
}

#[test]
fn images_of_every_kind_are_scored_the_same() {
    let folder = lowered();
    let evaluate = |more: &[&str]| {
        let models = [
            "evaluate",
            "--model",
            "color.onnx",
            "color_quantized.onnx",
            "color_scale_out.onnx",
            "--json",
            "--batch",
            "4",
        ];
        let arguments = [&models[..], &PREPROCESSING, more].concat();
        json(&folder.succeed(&arguments).stdout)["models"].clone()
    };
    let of_folder = evaluate(&["--images", "images"]);
    assert_eq!(of_folder[0]["images"], 21);
    let rows = of_folder.as_array().unwrap();
    for row in rows {
        let (one, five) = (row["correct"].as_u64().unwrap(), row["correct_of_five"].as_u64().unwrap());
        assert!(one <= five && five <= 21 && five > 0, "{row}");
    }
    for arguments in [
        &["--inputs", "images.npy", "--labels", "labels.npy"][..],
        &["--images", "both.npz"],
        &["--images", "both.npz:images", "--labels", "both.npz:labels"],
    ] {
        let other = evaluate(arguments);
        for (row, same) in rows.iter().zip(other.as_array().unwrap()) {
            for entry in ["logits_digest", "correct", "correct_of_five"] {
                assert_eq!(row[entry], same[entry], "{arguments:?}: {entry} of {}", row["file"]);
            }
        }
    }
    // A table has both accuracies; the first images are the first class's.
    let table = ["evaluate", "--model", "color_scale_out.onnx", "--images", "images", "--first", "3"];
    let printed = folder.succeed(&[&table[..], &["--output", "score.json"]].concat()).stdout;
    assert!(printed.contains("top 5") && printed.contains("of 3 right"), "{printed}");
    assert_eq!(json(&folder.read("score.json"))["labels"], serde_json::json!([0, 0, 0]));

    // Traces take the same sources.
    let trace = ["trace", "--model", "color_scale_out.onnx", "--image", "20", "4", "--output", "t.json"];
    let of = |source: &str| {
        folder.succeed(&[&trace[..], &["--images", source]].concat());
        (folder.read("t.json"), fs::read(folder.path("t.digests.bin")).unwrap())
    };
    assert_eq!(of("images"), of("images.npy"));
}

#[test]
fn predict_tells_class_and_scores_at_any_stage() {
    let folder = lowered();
    let evaluate =
        ["evaluate", "--model", "color_scale_out.onnx", "--images", "images", "--output", "score.json"];
    folder.succeed(&evaluate);
    let predictions = json(&folder.read("score.json"))["predictions"].clone();

    // Paths of every kind, in the order given.
    let predict =
        ["predict", "--model", "color_scale_out.onnx", "--json", "images/c/1.png", "images.npy", "images"];
    let document = json(&folder.succeed(&predict).stdout);
    let images = document["images"].as_array().unwrap();
    assert_eq!((document["schema"].as_str(), images.len()), (Some("onnx2int-predict/1"), 1 + 21 + 21));
    assert_eq!(images[0]["class"], predictions[7]);
    for index in 0..21 {
        assert_eq!(images[1 + index]["class"], predictions[index]);
        assert_eq!(images[22 + index]["class"], predictions[index]);
    }
    let names = [0, 2, 23].map(|image| images[image]["image"].as_str().unwrap());
    assert_eq!(names, ["images/c/1.png", "images.npy[1]", "images/a/1.png"]);
    // Integers, and what they stand for.
    let scale = document["scale"].as_f64().unwrap();
    for class in images[0]["top"].as_array().unwrap() {
        let (raw, score) = (class["raw"].as_i64().unwrap(), class["score"].as_f64().unwrap());
        assert!((raw as f64 * scale - score).abs() < 1e-9, "{class}");
    }

    // A float model with the same preprocessing has nearly the same scores.
    let float = ["predict", "--model", "color.onnx", "--json", "--top", "7", "images/c/1.png"];
    let float = json(&folder.succeed(&[&float[..], &PREPROCESSING].concat()).stdout);
    let top = float["images"][0]["top"].as_array().unwrap();
    assert_eq!((top.len(), &float["scale"]), (7, &serde_json::json!(1.0)));
    let best = &images[0]["top"][0];
    let same = top.iter().find(|class| class["class"] == best["class"]).unwrap();
    let gap = (same["raw"].as_f64().unwrap() - best["score"].as_f64().unwrap()).abs();
    assert!(gap < 0.05 * best["score"].as_f64().unwrap().abs(), "{same} {best}");

    // Names, and text.
    fs::write(folder.path("names.txt"), "ant\nbee\ncat\ndog\neel\nfox\ngnu\n\n").unwrap();
    let text = ["predict", "--model", "color_scale_out.onnx", "--labels-file", "names.txt", "--top", "2"];
    let printed = folder.succeed(&[&text[..], &["images/c/1.png"]].concat()).stdout;
    let class = predictions[7].as_u64().unwrap() as usize;
    let name = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"][class];
    assert!(printed.starts_with(&format!("images/c/1.png: {class} {name}\n  {class} {name} ")), "{printed}");
    assert_eq!(printed.lines().count(), 3, "{printed}");

    // The negative of a negative.
    let mut negative = picture(2, 1);
    image::imageops::invert(&mut negative);
    negative.save(folder.path("negative.png")).unwrap();
    let inverted = ["predict", "--model", "color_scale_out.onnx", "--json", "--invert", "negative.png"];
    let inverted = json(&folder.succeed(&inverted).stdout);
    assert_eq!(inverted["images"][0]["top"], images[0]["top"]);
}

#[test]
fn images_of_another_size_are_scaled_when_asked() {
    let folder = lowered();
    // Twice as large and wider: scaled by half, the middle is the picture itself.
    let small = picture(3, 1);
    let large = RgbImage::from_fn(20, 12, |x, y| *small.get_pixel((x.saturating_sub(4) / 2).min(5), y / 2));
    large.save(folder.path("large.jpg.png")).unwrap();
    let predict = ["predict", "--model", "color_scale_out.onnx", "--json", "large.jpg.png"];
    let message = folder.fail(&predict);
    assert!(message.contains("is 12x20") && message.contains("--size 6x6"), "{message}");
    let document = json(&folder.succeed(&[&predict[..], &["--size", "6x6"]].concat()).stdout);
    assert_eq!(document["images"].as_array().unwrap().len(), 1);
    let message = folder.fail(&[&predict[..], &["--size", "5x6"]].concat());
    assert!(
        message.contains("--size 5x6 is not what the model takes") && message.contains("3x6x6"),
        "{message}"
    );
}

#[test]
fn assumed_preprocessing_and_other_classes_are_told() {
    let folder = lowered();
    let evaluate = ["evaluate", "--images", "images", "--model"];
    let note = "does not tell its preprocessing; assumed is (x/255 - mean)/std with mean 0 and std 1";
    let printed = folder.succeed(&[&evaluate[..], &["color.onnx"]].concat());
    assert!(printed.stderr.contains(note), "{}", printed.stderr);
    let printed =
        folder.succeed(&[&evaluate[..], &["color.onnx", "--mean", "0,0.1,0.2", "--std", "1"]].concat());
    assert!(!printed.stderr.contains("preprocessing"), "{}", printed.stderr);
    let printed = folder.succeed(&[&evaluate[..], &["color_quantized.onnx"]].concat());
    assert!(!printed.stderr.contains("preprocessing"), "{}", printed.stderr);

    fs::remove_dir_all(folder.path("images/c")).unwrap();
    let printed = folder.succeed(&[&evaluate[..], &["color_quantized.onnx"]].concat());
    assert!(printed.stderr.contains("tells 7 classes apart, and the folder has 6"), "{}", printed.stderr);
}

#[test]
fn bad_images_are_told_in_one_message() {
    let folder = lowered();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path(name), bytes).unwrap();
    let npy = |tensor: Tensor| onnx2int_dataset::npy::encode(&tensor);
    write("text.png", b"this is a letter, not a picture");
    let whole = fs::read(folder.path("images/a/0.png")).unwrap();
    write("cut.png", &whole[..whole.len() / 2]);
    write("empty.npz", &[&b"PK\x05\x06"[..], &[0; 18]].concat());
    write("gray.npy", &npy(Tensor::from_vec(&[2, 1, 6, 6], vec![0_u8; 72]).unwrap()));
    write("float.npy", &npy(Tensor::from_vec(&[1, 3, 6, 6], vec![0.5_f32; 108]).unwrap()));
    write("three.npy", &npy(Tensor::vector(vec![0_i64, 1, 2])));
    write("seven.npy", &npy(Tensor::vector(vec![7_u8; 21])));
    fs::create_dir(folder.path("bare")).unwrap();
    fs::create_dir(folder.path("flat")).unwrap();
    write("bare/notes.md", b"# none");
    write("flat/0.png", &whole);
    GrayImage::from_raw(6, 6, vec![9; 36]).unwrap().save(folder.path("gray.png")).unwrap();

    let predict = |path: &str| folder.fail(&["predict", "--model", "color_scale_out.onnx", path]);
    for (path, expected) in [
        ("absent.png", "there is no \"absent.png\""),
        ("text.png", "\"text.png\" holds no images: expected a PNG or JPEG image"),
        ("text.png", "found text (\"this is a letter"),
        ("cut.png", "\"cut.png\" is not a whole image"),
        ("empty.npz", "found no array"),
        ("gray.npy", "holds u8[2, 1, 6, 6], expected uint8 pixels of 3x6x6 images"),
        ("float.npy", "holds f32[1, 3, 6, 6]"),
        ("bare", "no .png, .jpg or .jpeg file is below \"bare\""),
        ("both.npz:other", "expected an array \"other\", found"),
    ] {
        let message = predict(path);
        assert!(message.contains(expected), "{path}: {message}");
    }
    // A gray image serves a colored network.
    folder.succeed(&["predict", "--model", "color_scale_out.onnx", "gray.png"]);

    let evaluate = |more: &[&str]| {
        folder.fail(&[&["evaluate", "--model", "color_scale_out.onnx", "--images"], more].concat())
    };
    for (arguments, expected) in [
        (&["images.npy", "--labels", "three.npy"][..], "\"three.npy\" has 3 labels for 21 images"),
        (&["images.npy", "--labels", "seven.npy"], "7 classes apart, image 0 has label 7"),
        (&["images.npy", "--labels", "images.npy"], "expected labels: integers [N]"),
        (&["images.npy", "--labels", "names.txt"], "\"names.txt\" is no file"),
        (&["images.npy"], "have no labels"),
        (&["flat"], "have no labels; give a folder with a subfolder for each class"),
        (&["images", "--first", "22"], "cannot take the first 22 images: expected 1 to 21"),
    ] {
        let message = evaluate(arguments);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }

    let quantize = |more: &[&str]| {
        let output = ["quantize", "--model", "color.onnx", "--output", "q.onnx"];
        folder.fail(&[&output[..], &PREPROCESSING, more].concat())
    };
    assert!(quantize(&["--images", "images", "--calibration-samples", "22"]).contains("expected 1 to 21"));
    assert!(
        quantize(&["--data-dir", &crate::binary::data_dir()])
            .contains("takes f32[N,3,6,6], found images of 1x28x28")
    );
    write("names.txt", b"one\ntwo\n");
    let names = ["predict", "--model", "color_scale_out.onnx", "flat", "--labels-file", "names.txt"];
    assert!(folder.fail(&names).contains("has 2 names, and the model tells 7 classes apart"));
    assert!(!folder.path("q.onnx").exists());
    assert_eq!(folder.leftovers(), Vec::<String>::new());
}
