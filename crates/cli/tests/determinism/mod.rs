//! The same files from the same input, whatever the number of threads, on a network that was not trained.

use std::collections::BTreeMap;
use std::fs;

use crate::binary::{self, Folder, stage_file};
use crate::network;

/// What a training tells of itself, as `train` writes it.
const TRAINING: &str = r#"{
    "schema": "onnx2int-training/1",
    "recipe": {"recipe version": "2", "epochs": "1"},
    "steps_per_epoch": 430,
    "epochs": [{"epoch": 1, "training_loss": 0.3, "validation_accuracy": 0.97, "losses": [0.7, 0.1, 0.1]}],
    "test_accuracy": {"correct": 98, "images": 107}
}"#;

/// Every file that quantize, the transforms, lower, evaluate and report write, by its path.
fn pipeline(threads: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Folder::new();
    network::write_float(&folder);
    let data_dir = binary::data_dir();
    let run = |arguments: &[&str]| {
        folder.succeed(&[arguments, &["--threads", threads]].concat());
    };
    let mut before = "float";
    for (stage, made_by) in network::made_stages() {
        let (model, output) =
            (format!("models/{}", stage_file(before)), format!("models/{}", stage_file(stage)));
        let files = ["--model", &model, "--output", &output];
        if made_by == "quantize" {
            // Not a multiple of the batch or of any number of threads.
            let samples = ["--calibration-samples", "53", "--per-axis", "--data-dir", &data_dir];
            run(&[&["quantize"], &files[..], &samples[..]].concat());
        } else {
            let record = format!("records/{stage}.json");
            run(&[&["transform", made_by], &files[..], &["--record", &record]].concat());
        }
        before = stage;
    }
    run(&["lower", "--model", "models/net_quantized.onnx", "--output-dir", "lowered"]);

    let mut previous: Option<String> = None;
    for (stage, runtime) in
        [("float", "tract"), ("quantized", "interpreter"), ("integer", "tract"), ("scale_out", "tract")]
    {
        let (model, output) = (format!("models/{}", stage_file(stage)), format!("scores/{stage}.json"));
        let mut arguments = vec!["evaluate", "--model", &model, "--output", &output, "--runtime", runtime];
        arguments.extend(["--images", "107", "--batch", "10", "--data-dir", &data_dir]);
        if let Some(previous) = &previous {
            arguments.extend(["--reference", "scores/float.json", "--previous", previous]);
        }
        run(&arguments);
        previous = Some(output);
    }
    fs::write(folder.path("training.json"), TRAINING).unwrap();
    folder.succeed(&["report", "--dir", ".", "--training", "training.json"]);
    assert!(folder.read("report.md").contains("\n## Training\n\nRecipe: epochs 1, recipe version 2.\n"));
    folder.files()
}

#[test]
fn files_are_the_same_in_every_run_and_on_any_number_of_threads() {
    let first = pipeline("1");
    // Ten models, eight more from lower, eight records, four scores of two files, the training, three reports.
    assert_eq!(first.len(), 10 + 8 + 8 + 4 * 2 + 1 + 3, "{:?}", first.keys());
    for threads in ["2", "3"] {
        let again = pipeline(threads);
        assert!(first.keys().eq(again.keys()), "other files on {threads} threads: {:?}", again.keys());
        let different: Vec<_> =
            first.iter().filter(|(name, bytes)| again[*name] != **bytes).map(|(name, _)| name).collect();
        assert!(different.is_empty(), "{different:?} differ on {threads} threads");
    }
}
