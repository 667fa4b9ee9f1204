//! `quantize --config`, with the example of the documentation.

use std::fs;

use super::{NETWORK, PREPROCESSING, write_images, write_model};
use crate::binary::Folder;

const EXAMPLE: &str = include_str!("quantize.toml");

fn folder() -> Folder {
    let folder = Folder::new();
    write_model(&folder, "color.onnx", NETWORK);
    write_images(&folder);
    folder
}

fn arguments(more: &[&'static str]) -> Vec<&'static str> {
    let quantize = ["quantize", "--model", "color.onnx", "--images", "images", "--config", "quantize.toml"];
    [&quantize[..], &PREPROCESSING, ["--output", "color_quantized.onnx"].as_slice(), more].concat()
}

#[test]
fn the_example_is_followed_to_integers() {
    let folder = folder();
    fs::write(folder.path("quantize.toml"), EXAMPLE).unwrap();
    // Together with the options of the whole network.
    let printed = folder.succeed(&arguments(&["--equalize", "--correct-bias"]));
    assert!(printed.stderr.contains("scale 1.000000e-1, zero point 0"), "{}", printed.stderr);
    assert!(printed.stderr.contains("scale 2.000000e-2, zero point 100"), "{}", printed.stderr);
    let text = folder.succeed(&["inspect", "--model", "color_quantized.onnx"]).stdout;
    assert!(text.contains("%fc.weight_equalized_scale: f32[7]"), "{text}");
    folder.succeed(&["lower", "--model", "color_quantized.onnx", "--output-dir", "."]);
}

#[test]
fn what_is_excluded_is_told_by_lower() {
    let folder = folder();
    fs::write(folder.path("quantize.toml"), "exclude_nodes = [\"fc\"]").unwrap();
    folder.succeed(&arguments(&[]));
    let message = folder.fail(&["lower", "--model", "color_quantized.onnx", "--output-dir", "out"]);
    assert!(message.contains("fc"), "{message}");
    assert!(!folder.path("out/color_scale_out.onnx").exists());
}

#[test]
fn a_configuration_that_says_nothing_of_the_network_is_refused() {
    let folder = folder();
    for (text, expected) in [
        ("[nodes.convv]\nweight_bits = 4", "the nearest name is \"conv\""),
        ("[nodes.conv]\nbits = 4", "unknown field `bits`"),
        ("[tensors.relu]\ncalibration = \"median\"", "unknown variant `median`"),
        ("[tensors.relu", "quantize.toml"),
    ] {
        fs::write(folder.path("quantize.toml"), text).unwrap();
        let message = folder.fail(&arguments(&[]));
        assert!(message.contains(expected), "{text:?}: {message}");
        assert!(!folder.path("color_quantized.onnx").exists());
    }
    assert_eq!(folder.leftovers(), Vec::<String>::new());
}
