//! The calls that take one quantized network to integers: what each one reads and writes.

use onnx2int_graph::Stage;

use crate::conform::Place;
use crate::pipeline::{DATA_DIR, words};

use super::Extent;
use super::fixtures::FOLDER;

/// How many training images our quantizer looks at, as the twins did.
pub(super) const CALIBRATION_SAMPLES: &str = "1000";

/// What the scripts are made of: with another version of these, a result may be another one.
const SCRIPTS: [&str; 4] =
    ["scripts/mnist_images.py", "scripts/requirements.txt", "scripts/score_onnx.py", "scripts/trace_onnx.py"];
const CERTIFICATE_CHECKER: &str = "scripts/check_certificate.py";

/// A quantized network.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub network: String,
    pub quantizer: Quantizer,
    /// Where the results of all networks go.
    pub folder: String,
    pub extent: Extent,
}

/// Who quantized a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Quantizer {
    /// `onnx2int quantize`, which puts quantizers where integers are served best.
    Ours,
    /// `onnx2int quantize`, which puts them where ONNX Runtime's quantizer does.
    OursPlacedAsTheirs,
    /// Another tool; the suffix of the file that it made.
    Theirs(String),
}

/// A program that makes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The binary `onnx2int`.
    Tool,
    /// The Python of the scripts.
    Python,
    /// Both, by turns.
    Both,
}

/// One call of a program, or several that belong together.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Unique among all steps; also that of its stamp.
    pub name: String,
    pub program: Program,
    pub arguments: Vec<String>,
    /// Files from the root.
    pub inputs: Vec<String>,
    /// Files from the root; the first is the one that is read here.
    pub outputs: Vec<String>,
}

/// Which file is scored, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scored {
    FloatOnnxRuntime,
    /// With exact 8-bit products, so that the processor does not matter.
    QuantizedOnnxRuntime,
    QuantizedTract,
    ScaleOutTract,
    ScaleOutOnnxRuntime,
    ScaleOutOnnxRuntimePlain,
}

impl Scored {
    /// The stage of the file, and the runtime by the name that `onnx2int evaluate` or `scripts/score_onnx.py` knows.
    const fn parts(self) -> (Stage, &'static str) {
        match self {
            Self::FloatOnnxRuntime => (Stage::Float, "onnxruntime"),
            Self::QuantizedOnnxRuntime => (Stage::Quantized, "onnxruntime-precise"),
            Self::QuantizedTract => (Stage::Quantized, "tract"),
            Self::ScaleOutTract => (Stage::ScaleOut, "tract"),
            Self::ScaleOutOnnxRuntime => (Stage::ScaleOut, "onnxruntime"),
            Self::ScaleOutOnnxRuntimePlain => (Stage::ScaleOut, "onnxruntime-plain"),
        }
    }
}

impl Subject {
    /// For messages.
    pub(crate) fn name(&self) -> String {
        format!("{} quantized by {}", self.network, self.by())
    }

    /// Whose quantized file it is.
    pub(crate) fn by(&self) -> &str {
        match &self.quantizer {
            Quantizer::Ours => "onnx2int",
            Quantizer::OursPlacedAsTheirs => "onnx2int-placed-as-ort",
            Quantizer::Theirs(suffix) => suffix,
        }
    }

    /// Where its models of the later stages are, and where traces go.
    pub(crate) fn place(&self) -> Place {
        Place {
            models: format!("{}/models", self.folder()),
            stem: self.stem(),
            traces: format!("{}/traces", self.folder()),
        }
    }

    /// The calls that make our quantized file; none where it is another's.
    pub(crate) fn quantize(&self) -> Option<Step> {
        let placement: &[&str] = match self.quantizer {
            Quantizer::Ours => &[],
            Quantizer::OursPlacedAsTheirs => &["--placement", "onnxruntime"],
            Quantizer::Theirs(_) => return None,
        };
        let (model, output) = (self.model(Stage::Float), self.model(Stage::Quantized));
        let arguments = words(
            &[
                ["quantize", "--model", &model, "--data-dir", DATA_DIR].as_slice(),
                // As the twins have them.
                &["--per-axis", "--logits", "per-channel", "--calibration-samples", CALIBRATION_SAMPLES],
                placement,
                &["--output", &output],
            ]
            .concat(),
        );
        Some(self.step("quantize", Program::Tool, arguments, vec![model], vec![output]))
    }

    /// All transforms.
    pub(crate) fn lower(&self) -> Step {
        let (model, place) = (self.model(Stage::Quantized), self.place());
        let arguments = words(&["lower", "--model", &model, "--output-dir", &place.models]);
        let outputs = vec![place.model(Stage::ScaleOut)];
        self.step("lower", Program::Tool, arguments, vec![model], outputs)
    }

    /// The rules of the last stage, and its certificate.
    pub(crate) fn certify(&self) -> Step {
        let (model, certificate) = (self.model(Stage::ScaleOut), self.certificate());
        let arguments = words(&["verify", "--model", &model, "--certificate", &certificate]);
        self.step("verify", Program::Tool, arguments, vec![model], vec![certificate])
    }

    /// Every bound of the certificate computed anew, by code that shares nothing with ours.
    pub(crate) fn check_certificate(&self) -> Step {
        let (model, certificate) = (self.model(Stage::ScaleOut), self.certificate());
        let arguments = words(&[CERTIFICATE_CHECKER, "--model", &model, "--certificate", &certificate]);
        let inputs = vec![CERTIFICATE_CHECKER.to_owned(), model, certificate];
        self.step("check-certificate", Program::Python, arguments, inputs, vec![])
    }

    /// A score of the test images.
    pub(crate) fn score(&self, scored: Scored) -> Step {
        let (stage, runtime) = scored.parts();
        let (program, call) = match runtime {
            "tract" => (Program::Tool, "evaluate"),
            _ => (Program::Python, "scripts/score_onnx.py"),
        };
        let (model, images) = (self.model(stage), self.extent.scored.to_string());
        let name = format!("{}.{runtime}", stage.name());
        let output = format!("{}/scores/{name}.json", self.folder());
        let arguments = words(
            &[
                [call, "--model", &model, "--data-dir", DATA_DIR, "--runtime", runtime].as_slice(),
                &["--images", &images, "--output", &output],
            ]
            .concat(),
        );
        let mut outputs = vec![output.clone()];
        if program == Program::Tool {
            outputs.push(output.replace(".json", ".logits.bin"));
        }
        self.step(&format!("score-{name}"), program, arguments, vec![model], outputs)
    }

    /// The bits of the last stage in all runtimes.
    pub(crate) fn same_bits(&self) -> Step {
        let model = self.model(Stage::ScaleOut);
        let output = format!("{}/bits.json", self.folder());
        let arguments = words(&["--images", &self.extent.traced.to_string()]);
        self.step("bits", Program::Both, arguments, vec![model], vec![output])
    }

    /// The file of a stage.
    fn model(&self, stage: Stage) -> String {
        match (stage, &self.quantizer) {
            (Stage::Float, _) => format!("{FOLDER}/{}.onnx", self.network),
            (Stage::Quantized, Quantizer::Theirs(suffix)) => {
                format!("{FOLDER}/{}.{suffix}.onnx", self.network)
            }
            _ => self.place().model(stage),
        }
    }

    /// What `onnx2int lower` begins the names of its files with.
    fn stem(&self) -> String {
        match &self.quantizer {
            Quantizer::Ours | Quantizer::OursPlacedAsTheirs => self.network.clone(),
            Quantizer::Theirs(suffix) => format!("{}.{suffix}", self.network),
        }
    }

    fn folder(&self) -> String {
        format!("{}/{}/{}", self.folder, self.network, self.by())
    }

    fn certificate(&self) -> String {
        format!("{}/scale_out.certificate.json", self.folder())
    }

    fn step(
        &self,
        name: &str,
        program: Program,
        arguments: Vec<String>,
        mut inputs: Vec<String>,
        outputs: Vec<String>,
    ) -> Step {
        if program != Program::Tool {
            inputs.extend(words(&SCRIPTS));
        }
        let name = format!("{}.{}.{name}", self.network, self.by());
        Step { name, program, arguments, inputs, outputs }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const EXTENT: Extent = Extent { scored: 10_000, traced: 1_000 };
    const SCORED: [Scored; 6] = [
        Scored::FloatOnnxRuntime,
        Scored::QuantizedOnnxRuntime,
        Scored::QuantizedTract,
        Scored::ScaleOutTract,
        Scored::ScaleOutOnnxRuntime,
        Scored::ScaleOutOnnxRuntimePlain,
    ];

    fn subject(quantizer: Quantizer) -> Subject {
        Subject {
            network: "net".to_owned(),
            quantizer,
            folder: "reports/networks".to_owned(),
            extent: EXTENT,
        }
    }

    fn subjects() -> [Subject; 3] {
        let theirs = Quantizer::Theirs("ort".to_owned());
        [Quantizer::Ours, Quantizer::OursPlacedAsTheirs, theirs].map(subject)
    }

    fn every_step(subject: &Subject) -> Vec<Step> {
        let mut steps: Vec<Step> = subject.quantize().into_iter().collect();
        steps.extend([subject.lower(), subject.certify(), subject.check_certificate(), subject.same_bits()]);
        steps.extend(SCORED.map(|scored| subject.score(scored)));
        steps
    }

    #[test]
    fn the_commands_are_those_of_the_documentation() {
        let ours = subject(Quantizer::Ours);
        assert_eq!(
            ours.quantize().unwrap().arguments.join(" "),
            "quantize --model data/networks/net.onnx --data-dir data/mnist --per-axis --logits per-channel \
             --calibration-samples 1000 --output reports/networks/net/onnx2int/models/net_quantized.onnx"
        );
        let placed = subject(Quantizer::OursPlacedAsTheirs).quantize().unwrap();
        assert!(
            placed
                .arguments
                .join(" ")
                .contains("--calibration-samples 1000 --placement onnxruntime --output")
        );
        let theirs = subject(Quantizer::Theirs("ort-i8".to_owned()));
        assert!(theirs.quantize().is_none());
        assert_eq!(
            theirs.lower().arguments.join(" "),
            "lower --model data/networks/net.ort-i8.onnx --output-dir reports/networks/net/ort-i8/models"
        );
        assert_eq!(theirs.lower().outputs, ["reports/networks/net/ort-i8/models/net.ort-i8_scale_out.onnx"]);
        assert_eq!(
            theirs.score(Scored::ScaleOutTract).arguments.join(" "),
            "evaluate --model reports/networks/net/ort-i8/models/net.ort-i8_scale_out.onnx --data-dir data/mnist \
             --runtime tract --images 10000 --output reports/networks/net/ort-i8/scores/scale_out.tract.json"
        );
    }

    #[test]
    fn what_one_step_writes_the_next_ones_read() {
        for subject in subjects() {
            let steps = every_step(&subject);
            let written: Vec<&String> = steps.iter().flat_map(|step| &step.outputs).collect();
            for step in &steps {
                for input in step.inputs.iter().filter(|input| input.starts_with("reports/")) {
                    assert!(written.contains(&input), "{} reads {input:?}, which no step writes", step.name);
                }
            }
        }
    }

    #[test]
    fn no_two_steps_share_a_name_or_a_file() {
        let steps: Vec<Step> = subjects().iter().flat_map(every_step).collect();
        let names: std::collections::BTreeSet<_> = steps.iter().map(|step| &step.name).collect();
        assert_eq!(names.len(), steps.len());
        let outputs: Vec<_> = steps.iter().flat_map(|step| &step.outputs).collect();
        let distinct: std::collections::BTreeSet<_> = outputs.iter().collect();
        assert_eq!(distinct.len(), outputs.len());
    }

    #[test]
    fn the_scripts_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for step in every_step(&subject(Quantizer::Ours)) {
            for input in step.inputs.iter().filter(|input| input.starts_with("scripts/")) {
                assert!(root.join(input).is_file(), "{input:?}");
            }
        }
    }
}
