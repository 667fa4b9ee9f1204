//! The steps of the MNIST pipeline: what each one calls, reads and writes.
//!
//! ```text
//! train -> quantize -> sanitize -> ... -> scale-out        models/*.onnx, records/*.json, models/*.training.json
//!            each of these -> evaluate-<stage>             scores/*.json, scores/*.logits.bin
//!                              all of them -> report       report.json, report.md, report.html, table.txt
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use onnx2int_graph::Stage;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::digest;
use crate::run::Run;

/// Where MNIST is.
pub(crate) const DATA_DIR: &str = "data/mnist";

/// The stem of every model file.
pub(crate) const STEM: &str = "mnist_cnn";

/// The seed of a run that does not name one.
pub(crate) const DEFAULT_SEED: u64 = 1;

/// How many training images the quantizer looks at.
pub(crate) const CALIBRATION_SAMPLES: u32 = 1000;

/// What a user can choose about the whole run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Settings {
    /// What is trained, and for how long.
    #[serde(flatten)]
    pub run: Run,
    /// The seed of the training.
    pub seed: u64,
    /// Epochs instead of the recipe's.
    pub epochs: Option<u32>,
    /// Bits of scale_out's multipliers instead of the default.
    pub mantissa_bits: Option<u32>,
}

impl Settings {
    /// The command that makes what is out of date under these settings, and nothing else.
    pub(crate) fn command(&self) -> String {
        let Self { run, seed, epochs, mantissa_bits } = self;
        let mut command = run.command();
        if *seed != DEFAULT_SEED {
            command.push_str(&format!(" --seed {seed}"));
        }
        if let Some(epochs) = epochs {
            command.push_str(&format!(" --epochs {epochs}"));
        }
        if let Some(bits) = mantissa_bits {
            command.push_str(&format!(" --mantissa-bits {bits}"));
        }
        command
    }
}

/// The file of a stage.
pub(crate) fn model_path(run: Run, stage: Stage) -> String {
    format!("{}/models/{}", run.dir(), stage.file_name(STEM))
}

/// What `onnx2int train` tells of its work, beside its model.
pub(crate) fn training_path(run: Run) -> String {
    model_path(run, Stage::Float).replace(".onnx", ".training.json")
}

/// The score of a stage.
pub(crate) fn score_path(run: Run, stage: Stage) -> String {
    format!("{}/scores/{}.json", run.dir(), stage.name())
}

/// What `onnx2int evaluate` wrote for a stage: the score, and the raw outputs that belong to it.
fn score_files(run: Run, stage: Stage) -> [String; 2] {
    let score = score_path(run, stage);
    let logits = score.replace(".json", ".logits.bin");
    [score, logits]
}

/// What a transform tells of its work; the two stages before the transforms have none.
fn record_path(run: Run, stage: Stage) -> Option<String> {
    let is_transformed = stage > Stage::Quantized;
    is_transformed.then(|| format!("{}/records/{}.json", run.dir(), stage.name()))
}

/// What stands for the code that makes a step's outputs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Code {
    /// The digest of the binary: any change to it makes the step out of date.
    Binary,
    /// A version among the step's parameters: the binary may change without a new training.
    Recipe,
}

/// One call of `onnx2int`.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The name of its stamp and of its entry in the timing file.
    pub name: String,
    /// The stage that `--from` compares with: the step belongs to it or comes after it.
    pub stage: Stage,
    /// The arguments of `onnx2int`.
    pub arguments: Vec<String>,
    /// An argument added unless the step was told to begin anew.
    pub resume: Option<&'static str>,
    pub code: Code,
    pub parameters: Map<String, Value>,
    pub inputs: Vec<String>,
    /// Read where they are there, which other tasks than this pipeline decide.
    pub optional_inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// The file among `outputs` that receives the standard output.
    pub captured: Option<String>,
}

impl Step {
    /// A step made by the binary, whose parameters are its arguments.
    fn new(
        name: &str,
        stage: Stage,
        arguments: Vec<String>,
        inputs: Vec<String>,
        outputs: Vec<String>,
    ) -> Self {
        let parameters = parameters_of(&arguments);
        let name = name.to_owned();
        Self {
            name,
            stage,
            arguments,
            resume: None,
            code: Code::Binary,
            parameters,
            inputs,
            optional_inputs: Vec::new(),
            outputs,
            captured: None,
        }
    }
}

/// The arguments that ask `onnx2int train` for its recipe, one line of JSON.
pub(crate) fn recipe_arguments(settings: &Settings) -> Vec<String> {
    let mut arguments = train_arguments(settings);
    arguments.push("--print-recipe".to_owned());
    arguments
}

/// The four IDX files of `DATA_DIR`, sorted.
pub(crate) fn data_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let unreadable = || {
        format!(
            "cannot read {DATA_DIR:?}; it holds the four IDX files of MNIST and is part of the repository"
        )
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(DATA_DIR)).with_context(unreadable)? {
        let name = entry.with_context(unreadable)?.file_name().to_string_lossy().into_owned();
        if name.contains("-ubyte") {
            files.push(format!("{DATA_DIR}/{name}"));
        }
    }
    if files.len() < 4 {
        bail!(
            "{DATA_DIR:?} holds {} of the four IDX files of MNIST; restore it from the repository",
            files.len()
        );
    }
    files.sort();
    Ok(files)
}

/// Every step in the order in which they run.
///
/// `recipe` is what `onnx2int train --print-recipe` said, `data` the data files with their digests.
pub(crate) fn steps(
    settings: &Settings,
    recipe: &Map<String, Value>,
    data: &BTreeMap<String, String>,
) -> Vec<Step> {
    let data_files: Vec<String> = data.keys().cloned().collect();
    let mut steps: Vec<Step> =
        Stage::ALL.into_iter().map(|stage| make(stage, settings, recipe, data, &data_files)).collect();
    steps.extend(Stage::ALL.into_iter().map(|stage| evaluate(stage, settings.run, &data_files)));
    steps.push(report(settings.run, &data_files));
    steps
}

/// The parameters of the run as the report shows them: `run.json`.
pub(crate) fn run_description(settings: &Settings, recipe: &Map<String, Value>, steps: &[Step]) -> Value {
    let command = |step: &Step| format!("onnx2int {}", step.arguments.join(" "));
    let commands: Map<String, Value> =
        steps.iter().map(|step| (step.name.clone(), command(step).into())).collect();
    json!({
        "quick": settings.run.quick,
        "network": settings.run.network,
        "seed": settings.seed,
        "epochs": settings.epochs,
        "mantissa_bits": settings.mantissa_bits,
        "calibration_samples": CALIBRATION_SAMPLES,
        "recipe": recipe,
        "commands": commands,
    })
}

/// The path of `run.json`.
pub(crate) fn run_description_path(run: Run) -> String {
    format!("{}/run.json", run.dir())
}

/// The step that makes the file of a stage.
fn make(
    stage: Stage,
    settings: &Settings,
    recipe: &Map<String, Value>,
    data: &BTreeMap<String, String>,
    data_files: &[String],
) -> Step {
    let output = model_path(settings.run, stage);
    let Some(previous) = stage.previous() else {
        // A folder of its own for every recipe: a checkpoint is never continued under other settings.
        let key = digest::of_bytes(json!({ "recipe": recipe, "data": data }).to_string().as_bytes());
        let checkpoints = format!("{}/checkpoints/{}", settings.run.dir(), &key[..12]);
        let mut arguments = train_arguments(settings);
        arguments.extend(words(&["--checkpoint-dir", &checkpoints]));
        let outputs = vec![output, training_path(settings.run)];
        return Step {
            resume: Some("--resume"),
            code: Code::Recipe,
            parameters: recipe.clone(),
            ..Step::new(stage.made_by(), stage, arguments, data_files.to_vec(), outputs)
        };
    };
    let model = model_path(settings.run, previous);
    let mut inputs = vec![model.clone()];
    let mut arguments;
    if stage == Stage::Quantized {
        let samples = CALIBRATION_SAMPLES.to_string();
        arguments = words(&["quantize", "--model", &model, "--data-dir", DATA_DIR, "--per-axis"]);
        arguments.extend(words(&["--calibration-samples", &samples]));
        inputs.extend_from_slice(data_files);
    } else {
        arguments = words(&["transform", stage.made_by(), "--model", &model]);
    }
    arguments.extend(words(&["--output", &output]));
    if stage == Stage::ScaleOut
        && let Some(bits) = settings.mantissa_bits
    {
        arguments.extend(words(&["--mantissa-bits", &bits.to_string()]));
    }
    let mut outputs = vec![output];
    if let Some(record) = record_path(settings.run, stage) {
        arguments.extend(words(&["--record", &record]));
        outputs.push(record);
    }
    Step::new(stage.made_by(), stage, arguments, inputs, outputs)
}

/// The step that scores a stage on the test images.
fn evaluate(stage: Stage, run: Run, data_files: &[String]) -> Step {
    let model = model_path(run, stage);
    let outputs = score_files(run, stage);
    let mut arguments = words(&["evaluate", "--model", &model, "--data-dir", DATA_DIR]);
    let mut inputs = vec![model];
    inputs.extend_from_slice(data_files);
    if let Some(stage_before) = stage.previous() {
        let (float, previous) = (score_path(run, Stage::Float), score_path(run, stage_before));
        arguments.extend(words(&["--reference", &float, "--previous", &previous]));
        inputs.extend(score_files(run, Stage::Float));
        // The stage before the second one is the first.
        inputs.extend(score_files(run, stage_before).into_iter().filter(|_| stage_before != Stage::Float));
    }
    arguments.extend(words(&["--output", &outputs[0]]));
    Step::new(&format!("evaluate-{}", stage.name()), stage, arguments, inputs, outputs.to_vec())
}

/// The name of the last step.
pub(crate) const REPORT: &str = "report";

/// The step that puts everything together.
fn report(run: Run, data_files: &[String]) -> Step {
    let dir = run.dir();
    let mut inputs: Vec<String> = Stage::ALL.into_iter().map(|stage| model_path(run, stage)).collect();
    inputs.extend(Stage::ALL.into_iter().flat_map(|stage| score_files(run, stage)));
    inputs.extend(Stage::ALL.into_iter().filter_map(|stage| record_path(run, stage)));
    inputs.push(run_description_path(run));
    let training = training_path(run);
    let arguments = words(&[REPORT, "--dir", &dir, "--training", &training, "--data-dir", DATA_DIR]);
    inputs.push(training);
    inputs.extend_from_slice(data_files);
    let table = table_path(run);
    let mut outputs = ["json", "md", "html"].map(|form| format!("{dir}/report.{form}")).to_vec();
    outputs.push(table.clone());
    // What `prove`, `conform` and `sweep` found is told as well, once they ran.
    let optional_inputs = vec![
        format!("{dir}/proof/{}.certificate.json", Stage::ScaleOut.name()),
        format!("{dir}/conformance.json"),
        sweep_path(run),
    ];
    let step = Step::new(REPORT, Stage::ScaleOut, arguments, inputs, outputs);
    Step { captured: Some(table), optional_inputs, ..step }
}

/// What `cargo xtask sweep` measured.
pub(crate) fn sweep_path(run: Run) -> String {
    format!("{}/sweep.json", run.dir())
}

/// The stage table as `onnx2int report` printed it.
pub(crate) fn table_path(run: Run) -> String {
    format!("{}/table.txt", run.dir())
}

fn train_arguments(settings: &Settings) -> Vec<String> {
    let output = model_path(settings.run, Stage::Float);
    let mut arguments = words(&["train", "--data-dir", DATA_DIR, "--seed", &settings.seed.to_string()]);
    if let Some(epochs) = settings.epochs {
        arguments.extend(words(&["--epochs", &epochs.to_string()]));
    }
    arguments.extend(settings.run.options());
    arguments.extend(words(&["--output", &output]));
    arguments
}

/// The arguments by flag; a flag without a value is `true`.
pub(crate) fn parameters_of(arguments: &[String]) -> Map<String, Value> {
    let mut parameters = Map::new();
    let mut rest = arguments.iter().peekable();
    while let Some(argument) = rest.next() {
        if argument.starts_with("--") {
            let value = rest.next_if(|next| !next.starts_with("--"));
            parameters
                .insert(argument.clone(), value.map_or(Value::Bool(true), |value| value.as_str().into()));
        }
    }
    parameters
}

/// Arguments as owned words.
pub(crate) fn words(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|&argument| argument.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { run: Run::default(), seed: 1, epochs: None, mantissa_bits: None }
    }

    fn all(settings: &Settings) -> Vec<Step> {
        let recipe =
            json!({ "recipe_version": 1, "epochs": settings.epochs.unwrap_or(6), "seed": settings.seed });
        let data = BTreeMap::from([("data/mnist/train-images-idx3-ubyte.gz".to_owned(), "d1".to_owned())]);
        steps(settings, recipe.as_object().unwrap(), &data)
    }

    fn line(settings: &Settings, name: &str) -> String {
        let steps = all(settings);
        steps.iter().find(|step| step.name == name).unwrap().arguments.join(" ")
    }

    #[test]
    fn the_commands_are_those_of_the_documentation() {
        let models = "reports/mnist/models/mnist_cnn";
        assert_eq!(
            line(&settings(), "quantize"),
            format!(
                "quantize --model {models}.onnx --data-dir data/mnist --per-axis --calibration-samples 1000 \
                 --output {models}_quantized.onnx"
            )
        );
        assert_eq!(
            line(&settings(), "embed-act"),
            format!(
                "transform embed-act --model {models}_rescaled.onnx --output {models}_activations.onnx --record \
                 reports/mnist/records/activations.json"
            )
        );
        assert_eq!(
            line(&settings(), "evaluate-folded"),
            format!(
                "evaluate --model {models}_folded.onnx --data-dir data/mnist --reference \
                 reports/mnist/scores/float.json --previous reports/mnist/scores/pruned.json --output \
                 reports/mnist/scores/folded.json"
            )
        );
        assert_eq!(
            line(&settings(), "report"),
            format!("report --dir reports/mnist --training {models}.training.json --data-dir data/mnist")
        );
        let train = line(&Settings { epochs: Some(3), run: Run::QUICK, ..settings() }, "train");
        let expected = "train --data-dir data/mnist --seed 1 --epochs 3 --quick --output \
                        reports/mnist-quick/models/mnist_cnn.onnx --checkpoint-dir reports/mnist-quick/checkpoints/";
        assert!(train.starts_with(expected), "{train}");
    }

    #[test]
    fn the_command_of_settings_has_what_is_not_default() {
        assert_eq!(settings().command(), "cargo xtask run-all");
        let other = Settings { run: Run::QUICK, seed: 7, epochs: Some(2), mantissa_bits: Some(8) };
        assert_eq!(other.command(), "cargo xtask run-all --quick --seed 7 --epochs 2 --mantissa-bits 8");
    }

    #[test]
    fn every_input_is_data_or_the_output_of_an_earlier_step() {
        let mut made =
            vec!["data/mnist/train-images-idx3-ubyte.gz".to_owned(), "reports/mnist/run.json".to_owned()];
        let steps = all(&settings());
        assert_eq!(steps.len(), 21);
        for step in &steps {
            for input in &step.inputs {
                assert!(made.contains(input), "{} reads {input}", step.name);
            }
            // What a command is told to read is what its stamp watches.
            for (flag, value) in parameters_of(&step.arguments) {
                if matches!(flag.as_str(), "--model" | "--reference" | "--previous" | "--training") {
                    assert!(step.inputs.iter().any(|input| value == *input), "{} {flag} {value}", step.name);
                }
            }
            made.extend(step.outputs.iter().cloned());
        }
    }

    #[test]
    fn mantissa_bits_touch_the_last_stage_only() {
        let (plain, narrow) = (all(&settings()), all(&Settings { mantissa_bits: Some(8), ..settings() }));
        let changed: Vec<_> = plain
            .iter()
            .zip(&narrow)
            .filter(|(a, b)| a.parameters != b.parameters)
            .map(|(a, _)| &a.name)
            .collect();
        assert_eq!(changed, ["scale-out"]);
        let scale_out = narrow.iter().find(|step| step.name == "scale-out").unwrap();
        assert!(scale_out.arguments.join(" ").contains("--mantissa-bits 8"));
    }

    #[test]
    fn another_recipe_has_another_checkpoint_folder() {
        let train = |settings: Settings| all(&settings).swap_remove(0);
        let folder = |step: &Step| parameters_of(&step.arguments)["--checkpoint-dir"].clone();
        let (one, other) = (train(settings()), train(Settings { seed: 2, ..settings() }));
        assert_ne!(folder(&one), folder(&other));
        assert_eq!(folder(&one), folder(&train(Settings { mantissa_bits: Some(4), ..settings() })));
        assert_eq!(one.code, Code::Recipe);
        assert_ne!(one.parameters, other.parameters);
    }
}
