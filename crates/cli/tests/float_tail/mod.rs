//! Networks whose end has no integer form, and networks with several outputs.

use std::fs;

use onnx2int_graph::{Graph, Tensor, verify};

use crate::binary::Folder;

/// A Pad that stands alone, two heads, and a softmax in the middle of the second one.
const NETWORK: &str = r#"
graph heads
meta onnx2int.mean = "0.12941177"
meta onnx2int.std = "0.3081"
in    %image: f32[N,1,6,6]
const %conv_w: i8[2,1,3,3] = cycle [50, -25, 100, -7, 31]
const %a_w: i8[72,3] = cycle [50, -25, 17, -90]
const %b_w: i8[72,4] = cycle [-3, 25, 17, 90, -44]
const %pads: i64[8] = [0, 0, 1, 0, 0, 0, 1, 2]
const %axes: i64[1] = [1]
%iq: u8[N,1,6,6] = QuantizeLinear(%image, 0.012728217, 33u8)
%id: f32[N,1,6,6] = DequantizeLinear(%iq, 0.012728217, 33u8)
%conv_wd: f32[2,1,3,3] = DequantizeLinear(%conv_w, 0.01, 0i8)
%conv: f32[N,2,4,4] = Conv(%id, %conv_wd)
%cq: u8[N,2,4,4] = QuantizeLinear(%conv, 0.03, 90u8)
%cd: f32[N,2,4,4] = DequantizeLinear(%cq, 0.03, 90u8)
%pad: f32[N,2,6,6] = Pad(%cd, %pads, 0.7)
%pq: u8[N,2,6,6] = QuantizeLinear(%pad, 0.04, 80u8)
%pd: f32[N,2,6,6] = DequantizeLinear(%pq, 0.04, 80u8)
%flat: f32[N,72] = Flatten(%pd)
%a_wd: f32[72,3] = DequantizeLinear(%a_w, 0.01, 0i8)
%b_wd: f32[72,4] = DequantizeLinear(%b_w, 0.02, 0i8)
%a: f32[N,3] = Gemm(%flat, %a_wd) @a
%b: f32[N,4] = Gemm(%flat, %b_wd) @b
"#;

const TAIL: &str = r#"
%p: f32[N,4] = Softmax(%b) axis=-1 @softmax
%mean: f32[N,1] = ReduceMean(%p, %axes) @mean
%over: f32[N,4] = Div(%p, %mean) @over
out %a, %over
"#;

fn folder(text: &str) -> Folder {
    let folder = Folder::new();
    let graph = Graph::from_text(text).unwrap();
    fs::write(folder.path("heads.onnx"), onnx2int_onnx_format::encode(verify(&graph).unwrap())).unwrap();
    let pixels = (0..5 * 36).map(|index| (index * 37 % 251) as u8).collect();
    let images = Tensor::from_vec::<u8>(&[5, 1, 6, 6], pixels).unwrap();
    fs::write(folder.path("images.npy"), onnx2int_dataset::npy::encode(&images)).unwrap();
    folder
}

/// What each output of the last stage is, in a runtime.
fn outputs(folder: &Folder, runtime: &str, names: &[&str]) -> Vec<Vec<u8>> {
    let run = ["run", "--model", "out/heads_scale_out.onnx", "--input", "images.npy", "--runtime", runtime];
    folder.succeed(&[&run[..], &["--output-dir", runtime]].concat());
    names.iter().map(|name| fs::read(folder.path(&format!("{runtime}/{name}.npy"))).unwrap()).collect()
}

#[test]
fn a_float_tail_is_left_behind_the_integer_part_if_it_is_allowed() {
    let folder = folder(&format!("{NETWORK}{TAIL}"));
    let lower = ["lower", "--model", "heads.onnx", "--output-dir", "out"];
    let refused = folder.fail(&lower);
    for part in ["\"softmax\" (Softmax)", "--allow-float-tail", "nothing was written"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(!folder.path("out").join("heads_sanitized.onnx").exists());

    folder.succeed(&[&lower[..], &["--allow-float-tail"]].concat());
    let verify = ["verify", "--model", "out/heads_scale_out.onnx"];
    let found = folder.succeed(&[&verify[..], &["--json"]].concat()).stdout;
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!((found["valid"].as_bool(), found["integer_only"].as_bool()), (Some(true), Some(false)));
    let tail = ["b_dequantize", "softmax", "mean", "over"];
    assert_eq!(found["float_tail"], serde_json::json!(tail));
    let told = folder.succeed(&verify).stdout;
    assert!(
        told.contains("integer up to \"a\", \"b\"; float tail of 4 nodes: b_dequantize, softmax"),
        "{told}"
    );

    // What is before the tail is certified, and nothing of the tail is.
    folder.succeed(&[&verify[..], &["--certificate", "certificate.json"]].concat());
    let certificate = folder.read("certificate.json");
    assert!(certificate.contains("\"b\"") && !certificate.contains("softmax"), "{certificate}");

    // One pass after the other makes the same files, and the integer output has the same bits anywhere.
    let whole = fs::read(folder.path("out/heads_scale_out.onnx")).unwrap();
    let arguments = ["transform", "scale-out", "--model", "out/heads_integer.onnx", "--output", "again.onnx"];
    folder.succeed(&arguments);
    assert!(fs::read(folder.path("again.onnx")).unwrap() == whole);
    assert_eq!(outputs(&folder, "tract", &["a"]), outputs(&folder, "interpreter", &["a"]));
}

#[test]
fn every_one_of_several_outputs_is_integers() {
    let folder = folder(&format!("{NETWORK}out %a, %b, %pd"));
    folder.succeed(&["lower", "--model", "heads.onnx", "--output-dir", "out"]);
    let found = folder.succeed(&["verify", "--json", "--model", "out/heads_scale_out.onnx"]).stdout;
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["integer_only"].as_bool(), Some(true));
    let names = ["a", "b", "pd"];
    assert_eq!(outputs(&folder, "tract", &names), outputs(&folder, "interpreter", &names));
    let text = folder.succeed(&["inspect", "--model", "out/heads_scale_out.onnx"]).stdout;
    for (name, scale) in [("a", "0.0004"), ("b", "0.0008"), ("pd", "0.04")] {
        let entry = format!("meta onnx2int.logit_scale.{name} = \"{scale}");
        assert!(text.contains(&entry), "{entry}: {text}");
    }
}
