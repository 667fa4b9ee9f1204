//! The binary from training to the report, in a fresh folder, on a network trained for a moment.

#![expect(clippy::unwrap_used, reason = "what a test's own functions cannot do fails the test")]

mod binary;
mod determinism;
#[cfg(unix)]
mod faults;
mod float_tail;
mod network;
mod own_images;

use std::fs;

use binary::{Folder, stage_file};
use sha2::Digest;

const STAGES: [&str; 10] = [
    "float",
    "quantized",
    "sanitized",
    "rescaled",
    "activations",
    "pruned",
    "folded",
    "split",
    "integer",
    "scale_out",
];
const TRANSFORMS: [&str; 8] = [
    "sanitize",
    "add-rescaling",
    "embed-act",
    "prune-qdq",
    "fold-op-scales",
    "split-bias-add",
    "integer-ops",
    "scale-out",
];

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// One test: each part needs the files of the part before, and training takes its time.
#[test]
fn a_network_goes_from_training_to_integers_and_a_report() {
    let folder = Folder::new();
    let model = |stage: &str| format!("models/{}", stage_file(stage));

    // Train a little, and resume: the second run has nothing left to train.
    let train = ["train", "--quick", "--epochs", "1", "--seed", "7", "--output", "models/net.onnx"];
    let first = folder.succeed(&[&train[..], &["--data-dir", &binary::data_dir()]].concat());
    assert!(first.stdout.starts_with("test accuracy "), "{}", first.stdout);
    let bytes = fs::read(folder.path("models/net.onnx")).unwrap();
    let resumed = folder.succeed(&[&train[..], &["--data-dir", &binary::data_dir(), "--resume"]].concat());
    assert!(resumed.stderr.contains("going on after epoch 1"), "{}", resumed.stderr);
    assert_eq!(
        fs::read(folder.path("models/net.onnx")).unwrap(),
        bytes,
        "a resumed run ends in the same weights"
    );

    folder.succeed(&[
        "quantize",
        "--model",
        "models/net.onnx",
        "--per-axis",
        "--calibration-samples",
        "100",
        "--data-dir",
        &binary::data_dir(),
        "--output",
        "models/net_quantized.onnx",
    ]);
    for (transform, pair) in TRANSFORMS.iter().zip(STAGES[1..].windows(2)) {
        let record = format!("records/{}.json", pair[1]);
        folder.succeed(&[
            "transform",
            transform,
            "--model",
            &model(pair[0]),
            "--output",
            &model(pair[1]),
            "--record",
            &record,
        ]);
        let sites = &json(&folder.read(&record))["sites"];
        assert!(sites.as_array().is_some_and(|sites| !sites.is_empty()), "{transform} changed nothing");
    }

    // All at once is the same as one by one, bit for bit.
    folder.succeed(&["lower", "--model", "models/net_quantized.onnx", "--output-dir", "lowered"]);
    for stage in &STAGES[2..] {
        let one_by_one = fs::read(folder.path(&model(stage))).unwrap();
        let at_once = fs::read(folder.path(&format!("lowered/{}", stage_file(stage)))).unwrap();
        assert!(one_by_one == at_once, "{stage} differs between `transform` and `lower`");
    }

    // Every stage obeys its rules, and the last one holds integers only.
    for stage in STAGES {
        let found = json(&folder.succeed(&["verify", "--json", "--model", &model(stage)]).stdout);
        assert_eq!((found["valid"].as_bool(), found["stage"].as_str()), (Some(true), Some(stage)));
        assert_eq!(found["integer_only"].as_bool(), Some(stage == "scale_out"), "{stage}");
    }

    // Scores, each against the one before.
    let mut correct = Vec::new();
    for (index, stage) in STAGES.iter().enumerate() {
        let (model, output) = (model(stage), format!("scores/{stage}.json"));
        let data_dir = binary::data_dir();
        let mut arguments = vec![
            "evaluate",
            "--model",
            &model,
            "--images",
            "400",
            "--output",
            &output,
            "--data-dir",
            &data_dir,
        ];
        let previous = index.checked_sub(1).map(|before| format!("scores/{}.json", STAGES[before]));
        if let Some(previous) = &previous {
            arguments.extend(["--reference", "scores/float.json", "--previous", previous]);
        }
        folder.succeed(&arguments);
        correct.push(json(&folder.read(&output))["correct"].as_u64().unwrap());
    }
    assert!(correct[0] > 300, "{correct:?}: the float network learned nothing");
    // What a quantizer and a rescale may cost on 400 images.
    assert!(correct.iter().all(|&correct_here| correct_here.abs_diff(correct[0]) <= 8), "{correct:?}");

    // Integers have the same bits in both runtimes.
    let digest = |runtime: &str| {
        let output = folder.succeed(&[
            "evaluate",
            "--model",
            &model("scale_out"),
            "--images",
            "60",
            "--runtime",
            runtime,
            "--json",
            "--data-dir",
            &binary::data_dir(),
        ]);
        json(&output.stdout)["models"][0]["logits_digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest("tract"), digest("interpreter"));
    traces(&folder);

    // The report, twice the same.
    let table = folder.succeed(&["report", "--dir", "."]).stdout;
    for stage in STAGES {
        assert!(table.contains(stage), "{table}");
    }
    let files = ["report.json", "report.md", "report.html"];
    let [report, text, page] = files.map(|file| folder.read(file));
    assert!(page.starts_with("<!doctype html>"));
    folder.succeed(&["report", "--dir", "."]);
    assert_eq!(files.map(|file| folder.read(file)), [report, text, page]);

    // With the images that it shows, and the proof of the very file.
    let data_dir = binary::data_dir();
    let certificate = ["--certificate", "proof/scale_out.certificate.json"];
    fs::create_dir(folder.path("proof")).unwrap();
    folder.succeed(&[&["verify", "--model", "models/net_scale_out.onnx"], &certificate[..]].concat());
    folder.succeed(&["report", "--dir", ".", "--data-dir", &data_dir]);
    let page = folder.read("report.html");
    assert!(page.contains("data:image/bmp;base64,") && page.contains("overflow is proven impossible"));
    let noise = &json(&folder.read("report.json"))["noise"];
    let measured: Vec<&str> = noise["activations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["tensor"].as_str().unwrap())
        .collect();
    assert_eq!(measured, ["relu1_output", "relu2_output", "relu3_output", "fc2_output"], "{noise}");
    assert!(noise["activations"][0]["decibels"].as_f64().unwrap() > 20.0, "{noise}");
    folder.succeed(&["report", "--compare", ".", ".", "--output", "compare.html"]);
    assert!(folder.read("compare.html").contains("+0.00 percentage points"));
    fs::remove_file(folder.path("compare.html")).unwrap();
    let message = folder.fail(&["report", "--compare", ".", "models"]);
    assert!(message.contains("report.json"), "{message}");
    let tampered =
        folder.read("proof/scale_out.certificate.json").replacen("\"op\":\"Add\"", "\"op\":\"Sub\"", 1);
    fs::write(folder.path("proof/scale_out.certificate.json"), tampered).unwrap();
    let told = folder.succeed(&["report", "--dir", ".", "--data-dir", &data_dir]).stderr;
    assert!(told.contains("left out of the report"), "{told}");
    assert!(folder.read("report.html").contains("overflow is not checked"));

    proofs(&folder);
    refusals(&folder);
    assert_eq!(folder.leftovers(), Vec::<String>::new());
}

/// Certificates are the same on every run and are checked; witnesses are run and written.
fn proofs(folder: &Folder) {
    for stage in ["integer", "scale_out"] {
        let (model, path) = (format!("models/{}", stage_file(stage)), format!("proof/{stage}.json"));
        let verify = ["verify", "--model", &model];
        folder.succeed(&[&verify[..], &["--certificate", &path]].concat());
        let certificate = folder.read(&path);
        folder.succeed(&[&verify[..], &["--certificate", &path]].concat());
        assert_eq!(folder.read(&path), certificate, "{stage}");
        folder.succeed(&[&verify[..], &["--check-certificate", &path]].concat());
        if stage == "integer" {
            continue;
        }
        // The first clip that reaches 255 is called one at 254.
        let forged = certificate.replacen(
            "\"low\":0,\"high\":255,\"least\":0",
            "\"low\":0,\"high\":254,\"least\":0",
            1,
        );
        fs::write(folder.path("proof/forged.json"), forged).unwrap();
        let message = folder.fail(&[&verify[..], &["--check-certificate", "proof/forged.json"]].concat());
        assert!(message.contains("expected 255, found 254"), "{message}");
        folder.succeed(&[&verify[..], &["--witnesses", "witnesses"]].concat());
        let index = json(&folder.read("witnesses/witnesses.json"));
        let layers = index["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 4);
        assert_eq!(layers[0]["scope"], "network");
        for layer in layers {
            for file in ["model", "input", "expected"] {
                let path = folder.path("witnesses").join(layer[file].as_str().unwrap());
                assert!(fs::metadata(&path).unwrap().len() > 100, "{path:?}");
            }
            let witnesses = layer["witnesses"].as_array().unwrap();
            assert!(!witnesses.is_empty() && witnesses.iter().all(|witness| witness["is_attained"] == true));
        }
    }
    let message =
        folder.fail(&["verify", "--model", "models/net_split.onnx", "--certificate", "proof/split.json"]);
    assert!(message.contains("\"split\"") && message.contains("floats"), "{message}");
    assert!(!folder.path("proof/split.json").exists());
    let message = folder.fail(&[
        "verify",
        "--model",
        "models/net_scale_out.onnx",
        "--check-certificate",
        "proof/integer.json",
    ]);
    assert!(message.contains("is not that of the model"), "{message}");
}

/// Every bit that flows through the last stage, in our three runtimes; and what a digest is a digest of.
fn traces(folder: &Folder) {
    let data_dir = binary::data_dir();
    let trace = |stage: &str, output: &str, more: &[&str]| {
        let model = format!("models/{}", stage_file(stage));
        let common = ["trace", "--model", &model, "--output", output, "--data-dir", &data_dir];
        folder.succeed(&[&common[..], more].concat());
        json(&folder.read(output))
    };
    let read = |name: &str| fs::read(folder.path(name)).unwrap();

    let header = trace("scale_out", "traces/i.json", &["--images", "25"]);
    let tensors = header["tensors"].as_array().unwrap();
    let named = |name: &str| tensors.iter().position(|tensor| tensor["name"] == name).unwrap();
    assert_eq!((&header["runtime"], &header["images"]), (&"interpreter".into(), &25.into()));
    assert_eq!(header["digests"]["shape"], serde_json::json!([25, tensors.len(), 8]));
    assert!(tensors.iter().any(|tensor| tensor["op"] == "ConvInteger" && tensor["dtype"] == "i32"));
    assert_eq!(header["left_out"], serde_json::json!([]));
    let digests = read("traces/i.digests.bin");
    let others: [(&str, &[&str], bool); 3] = [
        ("tract", &["--threads", "1"], true),
        ("tract-plain", &["--threads", "2"], false),
        ("engine", &["--threads", "2", "--every-kernel"], true),
    ];
    for (runtime, more, apart) in others {
        let more = [&["--images", "25", "--runtime", runtime, "--batch", "7"], more].concat();
        let other = trace("scale_out", "traces/t.json", &more);
        assert_eq!(other["observed_apart"], apart);
        assert_eq!((&other["tensors"], &other["digest"]), (&header["tensors"], &header["digest"]));
        assert!(read("traces/t.digests.bin") == digests, "{runtime} differs from the interpreter");
        assert!(read("traces/t.outputs.bin") == read("traces/i.outputs.bin"), "{runtime} has other outputs");
    }

    // The elements of two tensors for two images, in the order asked for, have the digests of the trace.
    let (byte, logits) = (named("relu3_output_quantized"), named("logits"));
    let more = ["--dump", "logits", "relu3_output_quantized", "--image", "24", "3", "--runtime", "tract"];
    let values = trace("scale_out", "traces/v.json", &more);
    assert_eq!(values["images"], serde_json::json!([24, 3]));
    let bytes = read("traces/v.values.bin");
    let size = tensors[byte]["shape"][0].as_u64().unwrap() as usize;
    assert_eq!(bytes.len(), 2 * (40 + size));
    for (record, image) in bytes.chunks(40 + size).zip([24, 3]) {
        let (last, middle) = record.split_at(40);
        assert_eq!(last, &read("traces/i.outputs.bin")[image * 40..][..40]);
        for (elements, tensor) in [(last, logits), (middle, byte)] {
            let digest = &digests[(image * tensors.len() + tensor) * 8..][..8];
            assert_eq!(digest, &sha2::Sha256::digest(elements)[..8]);
        }
    }

    // A float stage has no integer tensor inside, but may be looked into.
    let header = trace("float", "traces/f.json", &["--images", "3"]);
    assert_eq!((&header["tensors"], &header["outputs"]["dtype"]), (&serde_json::json!([]), &"f32".into()));
    let values = trace("float", "traces/f.json", &["--dump", "conv1_output", "--image", "0"]);
    assert_eq!(values["tensors"][0]["dtype"], "f32");

    let common =
        ["trace", "--model", "models/net_scale_out.onnx", "--output", "t.json", "--data-dir", &data_dir];
    let message = folder.fail(&[&common[..], &["--dump", "nothing", "--image", "0"]].concat());
    assert!(message.contains("no node computes a tensor \"nothing\""), "{message}");
    let message = folder.fail(&[&common[..], &["--image", "10000"]].concat());
    assert!(message.contains("expected 0 to 9999"), "{message}");
    assert!(!folder.path("t.json").exists());
}

/// What goes wrong with files that exist, told in one message, with everything left as it was.
fn refusals(folder: &Folder) {
    // A model at the wrong stage, for every transform.
    for (index, transform) in TRANSFORMS.iter().enumerate() {
        let wrong = format!("models/{}", stage_file(STAGES[(index + 4) % STAGES.len()]));
        let message = folder.fail(&["transform", transform, "--model", &wrong, "--output", "wrong.onnx"]);
        assert!(message.contains("expected a model at stage"), "{transform}: {message}");
    }
    assert!(!folder.path("wrong.onnx").exists());

    // A truncated model, and something else altogether.
    let bytes = fs::read(folder.path("models/net_integer.onnx")).unwrap();
    fs::write(folder.path("truncated.onnx"), &bytes[..bytes.len() / 2]).unwrap();
    let message = folder.fail(&["verify", "--model", "truncated.onnx"]);
    assert!(message.contains("truncated.onnx"), "{message}");
    fs::write(folder.path("text.onnx"), "hello").unwrap();
    let message = folder.fail(&["inspect", "--model", "text.onnx"]);
    assert!(message.contains("text.onnx") && message.contains("not an ONNX model"), "{message}");

    // An output that cannot be written: the file in its way stays as it was.
    fs::write(folder.path("in-the-way"), "precious").unwrap();
    let message = folder.fail(&[
        "transform",
        "scale-out",
        "--model",
        "models/net_integer.onnx",
        "--output",
        "in-the-way/out.onnx",
    ]);
    assert!(message.contains("in-the-way"), "{message}");
    assert_eq!(folder.read("in-the-way"), "precious");

    // A score of another model.
    fs::copy(folder.path("scores/folded.json"), folder.path("scores/split.json")).unwrap();
    let message = folder.fail(&["report", "--dir", "."]);
    assert!(message.contains("split"), "{message}");
}

/// What goes wrong before there is anything.
#[test]
fn bad_input_is_told_in_one_message() {
    let folder = Folder::new();
    let message = folder.fail(&["verify", "--model", "absent.onnx"]);
    assert!(message.contains("absent.onnx"), "{message}");
    let message = folder.fail(&["inspect", "--model", "."]);
    assert!(message.contains("found a folder"), "{message}");

    let message = folder.fail(&["train", "--quick", "--data-dir", "nowhere", "--output", "net.onnx"]);
    assert!(message.contains("nowhere"), "{message}");
    assert!(!folder.path("net.onnx").exists());

    // One of the four files is cut short.
    fs::create_dir(folder.path("data")).unwrap();
    for entry in fs::read_dir(binary::data_dir()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let bytes = fs::read(entry.path()).unwrap();
        let kept = if name.starts_with("t10k-images") { bytes.len() / 2 } else { bytes.len() };
        fs::write(folder.path("data").join(&name), &bytes[..kept]).unwrap();
    }
    let message = folder.fail(&["train", "--quick", "--data-dir", "data", "--output", "net.onnx"]);
    assert!(message.contains("t10k-images"), "{message}");

    let message = folder.fail(&["report", "--dir", "."]);
    assert!(message.contains("run-all"), "{message}");
    let trainings = [
        (r#"{"schema": "onnx2int-training/1", "epochs": [{"epoch""#, "not valid JSON of schema"),
        (r#"{"schema": "onnx2int-training/9"}"#, "expected \"onnx2int-training/1\""),
        (r#"{"format": "another"}"#, "missing field `schema`"),
    ];
    for (text, expected) in trainings {
        fs::write(folder.path("odd.training.json"), text).unwrap();
        let message = folder.fail(&["report", "--dir", ".", "--training", "odd.training.json"]);
        assert!(message.contains("odd.training.json") && message.contains(expected), "{message}");
    }
}

/// A .npy file of version 1.0, as numpy writes it but for the padding.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", (header.len() as u16).to_le_bytes().as_slice(), header.as_bytes(), data].concat()
}

#[test]
fn any_model_runs_on_tensors_from_files() {
    let folder = Folder::new();
    let text = "in %a: u8[N]\n in %b: u8[N]\n %sum = Add(%a, %b)\n %top = Max(%a, %b)\n out %sum, %top";
    let graph = onnx2int_graph::Graph::from_text(text).unwrap();
    let model = onnx2int_onnx_format::encode(onnx2int_graph::verify(&graph).unwrap());
    fs::write(folder.path("model.onnx"), model).unwrap();
    fs::write(folder.path("a.npy"), npy("|u1", "(2,)", &[1, 200])).unwrap();
    fs::write(folder.path("b.npy"), npy("|u1", "(2,)", &[2, 55])).unwrap();
    fs::write(folder.path("c.npy"), npy("|u1", "(2,)", &[2, 56])).unwrap();

    let run = ["run", "--model", "model.onnx", "--output-dir", "outputs", "--input"];
    for runtime in ["interpreter", "tract"] {
        let arguments = [&run[..], &["a.npy", "b=b.npy", "--runtime", runtime]].concat();
        let printed = folder.succeed(&arguments).stdout;
        assert_eq!(printed, "sum: u8[2] in outputs/sum.npy\ntop: u8[2] in outputs/top.npy\n");
        assert!(fs::read(folder.path("outputs/sum.npy")).unwrap().ends_with(&[b'\n', 3, 255]));
        assert!(fs::read(folder.path("outputs/top.npy")).unwrap().ends_with(&[b'\n', 2, 200]));
    }

    // The interpreter never wraps.
    let message = folder.fail(&[&run[..], &["a.npy", "c.npy"]].concat());
    assert!(message.contains("element 1 is 200 + 56, which u8 cannot hold"), "{message}");
    let message = folder.fail(&[&run[..], &["a.npy"]].concat());
    assert!(message.contains("input \"b\" is missing"), "{message}");
}
