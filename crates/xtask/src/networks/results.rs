//! What came of a network, and the bars that it must reach.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, fs};

use anyhow::{Context, bail};
use onnx2int_statistics::PairedTest;
use serde::{Deserialize, Serialize};

use crate::conform::Runtime;
use crate::digest;

use super::maker::Maker;
use super::steps::Step;

/// Of 1000 images, how many must get the same class from scale_out as from its QDQ stage.
pub(crate) const LEAST_AGREEMENT: usize = 998;

/// Of 1000 images, by how many right ones the two may differ: 0.10 percentage points.
pub(crate) const LARGEST_DIFFERENCE: usize = 1;

/// What is read of a score file, that of `onnx2int evaluate` or that of `scripts/score_onnx.py`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Score {
    pub runtime: String,
    pub images: usize,
    pub correct: usize,
    labels: Vec<u32>,
    predictions: Vec<u32>,
    /// SHA-256 of the raw outputs, row by row and little-endian.
    #[serde(default)]
    outputs_sha256: Option<String>,
}

/// How many images are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    pub correct: usize,
    pub images: usize,
}

/// Whether every inner integer tensor and output of the last stage has the same bits in all runtimes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Bits {
    /// The first so many test images.
    pub images: usize,
    /// The runtimes compared, and what is wrong with one that differs or does not run.
    pub runtimes: BTreeMap<String, Option<String>>,
}

/// What the steps of one quantized file gave; nothing where a step was refused or not reached.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub quantized_onnxruntime: Option<Score>,
    pub quantized_tract: Option<Score>,
    /// In tract.
    pub scale_out: Option<Score>,
    /// In other runtimes.
    pub scale_out_elsewhere: Vec<Score>,
    /// The rules of the last stage hold, and its certificate was found right by independent code.
    pub certified: bool,
    pub bits: Option<Bits>,
    refusals: Vec<Refusal>,
}

/// What was refused for one reason: where a file cannot be read, for example, every call that reads it.
#[derive(Debug)]
struct Refusal {
    steps: Vec<String>,
    reason: String,
}

/// One quantized file in the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub network: String,
    /// Whose quantizer.
    pub quantized_by: String,
    pub quantized_onnxruntime: Option<Count>,
    pub quantized_tract: Option<Count>,
    pub scale_out: Option<Count>,
    /// The images that scale_out gives the class of the quantized stage in ONNX Runtime.
    pub agree_with_onnxruntime: Option<usize>,
    /// The same with tract.
    pub agree_with_tract: Option<usize>,
    pub certified: bool,
    pub bits: Option<Bits>,
    /// The outputs of all images have the same bits in tract and in ONNX Runtime, optimized and plain.
    pub outputs_equal: Option<bool>,
    /// What was refused, and the bars that were missed.
    pub failures: Vec<String>,
}

/// Our quantizer against ONNX Runtime's; nothing where one of them could not be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Comparisons {
    /// With the same settings, quantizers in the same places: this is what is held to a bar.
    pub same_settings: Option<Quantizers>,
    /// With quantizers where we put them by default.
    pub own_placement: Option<Quantizers>,
}

/// Two quantized files of a network, both scored as integers: a quantized stage is scored differently with another last
/// bit of one scale, because floats decide how ties are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Quantizers {
    pub ours: usize,
    pub theirs: usize,
    pub images: usize,
    /// Ours with theirs as the reference.
    pub paired_test: PairedTest,
}

/// One network in the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct NetworkResult {
    pub name: String,
    /// In ONNX Runtime.
    pub float: Option<Count>,
    pub quantizers: Comparisons,
    pub rows: Vec<Row>,
    /// What is wrong with the float file, and with our quantizer compared with another.
    pub failures: Vec<String>,
}

impl Score {
    /// Reads a score, and of one of ours the raw outputs beside it; `files` are both.
    pub(crate) fn read(root: &Path, files: &[String]) -> anyhow::Result<Self> {
        let [path, rest @ ..] = files else { bail!("a score has a file") };
        let bytes = fs::read(root.join(path)).with_context(|| format!("cannot read {path:?}"))?;
        let mut score: Self =
            serde_json::from_slice(&bytes).with_context(|| format!("{path:?} is not a score file"))?;
        if score.labels.len() != score.images || score.predictions.len() != score.images {
            bail!(
                "{path:?} has {} labels and {} classes for {} images",
                score.labels.len(),
                score.predictions.len(),
                score.images
            );
        }
        if let [outputs] = rest {
            let bytes = fs::read(root.join(outputs)).with_context(|| format!("cannot read {outputs:?}"))?;
            score.outputs_sha256 = Some(digest::of_bytes(&bytes));
        }
        if score.outputs_sha256.is_none() {
            bail!("{path:?} does not say what the raw outputs were");
        }
        Ok(score)
    }

    pub(crate) fn count(&self) -> Count {
        Count { correct: self.correct, images: self.images }
    }

    /// The images that both give the same class.
    pub(crate) fn agreeing(&self, other: &Self) -> usize {
        self.predictions.iter().zip(&other.predictions).filter(|(a, b)| a == b).count()
    }

    fn is_right(&self) -> impl Iterator<Item = bool> {
        self.labels.iter().zip(&self.predictions).map(|(label, class)| label == class)
    }
}

impl Count {
    /// In percent.
    pub(crate) fn accuracy(self) -> f64 {
        100.0 * self.correct as f64 / self.images as f64
    }

    /// By how many percentage points this is more than `other`.
    pub(crate) fn more_than(self, other: Self) -> f64 {
        self.accuracy() - other.accuracy()
    }
}

impl Bits {
    pub(crate) fn new(images: usize, found: Vec<(Runtime, Result<(), String>)>) -> Self {
        let entry =
            |(runtime, outcome): (Runtime, Result<(), String>)| (runtime.name().to_owned(), outcome.err());
        Self { images, runtimes: found.into_iter().map(entry).collect() }
    }

    pub(crate) fn are_equal(&self) -> bool {
        self.runtimes.values().all(Option::is_none)
    }
}

impl Findings {
    /// Whether a step was made; a refusal is noted.
    pub(crate) fn made(&mut self, step: &Step, outcome: Result<(), String>) -> bool {
        let Err(reason) = outcome else { return true };
        let name = step.name.clone();
        match self.refusals.iter_mut().find(|refusal| refusal.reason == reason) {
            Some(refusal) => refusal.steps.push(name),
            None => self.refusals.push(Refusal { steps: vec![name], reason }),
        }
        false
    }

    /// Makes a step that scores, and reads the score.
    pub(crate) fn score(&mut self, maker: &mut Maker, step: &Step) -> anyhow::Result<Option<Score>> {
        let outcome = maker.make(step)?;
        self.made(step, outcome).then(|| maker.score(step)).transpose()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.steps.join(", "), self.reason)
    }
}

impl Row {
    /// The row of one quantized file, judged.
    pub(crate) fn new(network: &str, quantized_by: &str, found: Findings) -> Self {
        let Findings {
            quantized_onnxruntime,
            quantized_tract,
            scale_out,
            scale_out_elsewhere,
            certified,
            bits,
            refusals,
        } = found;
        let agree = |quantized: &Option<Score>| Some(scale_out.as_ref()?.agreeing(quantized.as_ref()?));
        let outputs_equal = scale_out.as_ref().map(|score| {
            // One that could not be had is a refusal.
            scale_out_elsewhere.iter().all(|other| other.outputs_sha256 == score.outputs_sha256)
        });
        let count = |score: &Option<Score>| score.as_ref().map(Score::count);
        let mut row = Self {
            network: network.to_owned(),
            quantized_by: quantized_by.to_owned(),
            quantized_onnxruntime: count(&quantized_onnxruntime),
            quantized_tract: count(&quantized_tract),
            scale_out: count(&scale_out),
            agree_with_onnxruntime: agree(&quantized_onnxruntime),
            agree_with_tract: agree(&quantized_tract),
            certified,
            bits,
            outputs_equal,
            failures: refusals.iter().map(Refusal::to_string).collect(),
        };
        let missed = row.missed();
        row.failures.extend(missed.into_iter().map(|what| format!("{network}.{quantized_by}: {what}")));
        row
    }

    /// The bars that are missed, of what could be had.
    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        if let Some(scale_out) = self.scale_out {
            let sides = [
                ("ONNX Runtime", self.quantized_onnxruntime, self.agree_with_onnxruntime),
                ("tract", self.quantized_tract, self.agree_with_tract),
            ];
            for (runtime, quantized, agreeing) in sides {
                let (Some(quantized), Some(agreeing)) = (quantized, agreeing) else { continue };
                let images = scale_out.images;
                if agreeing * 1000 < images * LEAST_AGREEMENT {
                    missed.push(format!(
                        "scale_out gives {agreeing} of {images} images the class of the quantized stage in {runtime}; \
                         wanted are {LEAST_AGREEMENT} of 1000"
                    ));
                }
                if scale_out.correct.abs_diff(quantized.correct) * 1000 > images * LARGEST_DIFFERENCE {
                    missed.push(format!(
                        "scale_out gets {} of {images} images right, the quantized stage in {runtime} {}; they may \
                         differ by {LARGEST_DIFFERENCE} of 1000",
                        scale_out.correct, quantized.correct
                    ));
                }
            }
        }
        if self.outputs_equal == Some(false) {
            missed
                .push("the raw outputs of scale_out are other bits in ONNX Runtime than in tract".to_owned());
        }
        for (runtime, difference) in self.bits.iter().flat_map(|bits| &bits.runtimes) {
            missed
                .extend(difference.iter().map(|difference| format!("scale_out in {runtime}: {difference}")));
        }
        missed
    }

    /// The fewest images that agree with the quantized stage in any runtime.
    pub(crate) fn agreement(&self) -> Option<usize> {
        [self.agree_with_onnxruntime, self.agree_with_tract].into_iter().flatten().min()
    }

    /// By how many percentage points scale_out is better than the quantized stage, in the runtime where they differ
    /// most.
    pub(crate) fn difference(&self) -> Option<f64> {
        let differences = [self.quantized_onnxruntime, self.quantized_tract]
            .into_iter()
            .flatten()
            .filter_map(|quantized| Some(self.scale_out?.more_than(quantized)));
        differences.max_by(|a, b| a.abs().total_cmp(&b.abs()))
    }
}

impl Quantizers {
    /// Compares two scores of the same images.
    pub(crate) fn compare(ours: &Score, theirs: &Score) -> anyhow::Result<Self> {
        if ours.labels != theirs.labels || ours.runtime != theirs.runtime {
            bail!("the scores of the two quantizers are of other images or of other runtimes");
        }
        let only = |side: &Score, other: &Score| {
            side.is_right().zip(other.is_right()).filter(|&(side, other)| side && !other).count()
        };
        Ok(Self {
            ours: ours.correct,
            theirs: theirs.correct,
            images: ours.images,
            paired_test: PairedTest::of(only(theirs, ours), only(ours, theirs)),
        })
    }
}

impl NetworkResult {
    /// A network, judged.
    pub(crate) fn new(
        name: String,
        float: Option<Count>,
        quantizers: Comparisons,
        rows: Vec<Row>,
        mut failures: Vec<String>,
    ) -> Self {
        match quantizers.same_settings {
            Some(Quantizers { ours, theirs, images, paired_test }) if ours < theirs => {
                failures.push(format!(
                    "{name}: our quantizer gets {ours} of {images} images right, ONNX Runtime's {theirs} with the \
                     same settings: {paired_test}"
                ));
            }
            Some(_) => {}
            None => failures.push(format!("{name}: our quantizer is not compared with ONNX Runtime's")),
        }
        Self { name, float, quantizers, rows, failures }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::steps::Program;
    use super::*;

    /// The score of images of class 0, of which each has the class given.
    pub(crate) fn score(runtime: &str, predictions: &[u32]) -> Score {
        Score {
            runtime: runtime.to_owned(),
            images: predictions.len(),
            correct: predictions.iter().filter(|&&class| class == 0).count(),
            labels: vec![0; predictions.len()],
            predictions: predictions.to_vec(),
            outputs_sha256: Some("raw".to_owned()),
        }
    }

    /// A thousand classes: `wrong` of them 1, the others 0.
    fn thousand(wrong: usize) -> Vec<u32> {
        (0..1000).map(|image| u32::from(image < wrong)).collect()
    }

    /// What a network gives that reaches every bar.
    pub(crate) fn good() -> Findings {
        Findings {
            quantized_onnxruntime: Some(score("onnxruntime-precise", &thousand(10))),
            quantized_tract: Some(score("tract", &thousand(10))),
            scale_out: Some(score("tract", &thousand(10))),
            scale_out_elsewhere: vec![score("onnxruntime", &thousand(10))],
            certified: true,
            bits: Some(Bits::new(100, vec![(Runtime::Interpreter, Ok(())), (Runtime::Tract, Ok(()))])),
            refusals: vec![],
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Findings), words: &[&str]) {
        let mut findings = good();
        change(&mut findings);
        let row = Row::new("net", "ort", findings);
        assert_eq!(row.failures.len(), words.len(), "{:?}", row.failures);
        for (failure, words) in row.failures.iter().zip(words) {
            assert!(failure.contains(words), "{failure}");
        }
    }

    #[test]
    fn a_good_network_misses_nothing() {
        check(|_| (), &[]);
        let row = Row::new("net", "ort", good());
        assert_eq!(
            (row.agreement(), row.difference(), row.outputs_equal),
            (Some(1000), Some(0.0), Some(true))
        );
    }

    #[test]
    fn bars_are_met_exactly_and_missed_by_one_image() {
        check(|found| found.scale_out = Some(score("tract", &thousand(11))), &[]);
        check(
            |found| found.scale_out = Some(score("tract", &thousand(12))),
            &["988 of 1000 images right, the quantized stage in ONNX Runtime 990", "in tract 990"],
        );
        // As many right, but other ones.
        let moved = |by: u32| -> Vec<u32> {
            (0..1000).map(|image| u32::from((by..by + 10).contains(&image))).collect()
        };
        check(|found| found.scale_out = Some(score("tract", &moved(1))), &[]);
        check(
            |found| found.quantized_tract = Some(score("tract", &moved(2))),
            &["gives 996 of 1000 images the class of the quantized stage in tract"],
        );
    }

    #[test]
    fn other_bits_are_a_failure() {
        check(
            |found| found.scale_out_elsewhere[0].outputs_sha256 = Some("other".to_owned()),
            &["the raw outputs of scale_out are other bits"],
        );
        let difference = || Err("1 of 10 outputs differ".to_owned());
        check(
            |found| found.bits = Some(Bits::new(100, vec![(Runtime::OnnxRuntimePlain, difference())])),
            &["scale_out in onnxruntime-plain: 1 of 10 outputs differ"],
        );
    }

    #[test]
    fn what_is_refused_is_a_failure_and_nothing_else_is_judged() {
        let mut refused = Findings::default();
        let step = |name: &str| Step {
            name: format!("net.ort.{name}"),
            program: Program::Tool,
            arguments: vec![],
            inputs: vec![],
            outputs: vec![],
        };
        assert!(refused.made(&step("quantize"), Ok(())));
        for (name, reason) in
            [("score", "no such operator"), ("lower", "no such operator"), ("verify", "odd")]
        {
            assert!(!refused.made(&step(name), Err(reason.to_owned())));
        }
        let row = Row::new("net", "ort", refused);
        assert_eq!(row.failures, ["net.ort.score, net.ort.lower: no such operator", "net.ort.verify: odd"]);
        assert_eq!((row.agreement(), row.difference(), row.outputs_equal), (None, None, None));
    }

    #[test]
    fn quantizers_are_compared_image_by_image() {
        let (ours, theirs) = (score("ort", &[0, 0, 1, 0]), score("ort", &[0, 1, 0, 1]));
        let compared = Quantizers::compare(&ours, &theirs).unwrap();
        assert_eq!((compared.paired_test.gained, compared.paired_test.lost), (2, 1));
        let failures = |same_settings| {
            let quantizers = Comparisons { same_settings, ..Comparisons::default() };
            NetworkResult::new("net".to_owned(), None, quantizers, vec![], vec![]).failures
        };
        assert_eq!(failures(Some(compared)), Vec::<String>::new());
        let worse = Quantizers::compare(&theirs, &ours).unwrap();
        let told = &failures(Some(worse))[0];
        assert!(told.contains("our quantizer gets 2 of 4 images right, ONNX Runtime's 3"), "{told}");
        assert!(told.contains("with the same settings: 2 lost, 1 gained"), "{told}");
        assert!(failures(None)[0].contains("not compared"));
        assert!(Quantizers::compare(&ours, &score("tract", &[0, 0, 1, 0])).is_err());
    }

    #[test]
    fn a_score_that_says_too_little_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let files = ["s.json".to_owned(), "s.logits.bin".to_owned()];
        let read = |text: &str, files: &[String]| {
            fs::write(root.path().join("s.json"), text).unwrap();
            Score::read(root.path(), files)
        };
        let whole =
            r#"{ "runtime": "tract", "images": 2, "correct": 1, "labels": [7, 2], "predictions": [7, 1] }"#;
        fs::write(root.path().join("s.logits.bin"), b"abc").unwrap();
        let score = read(whole, &files).unwrap();
        assert_eq!(score.outputs_sha256, Some(digest::of_bytes(b"abc")));
        let message = |text: &str, files: &[String]| format!("{:#}", read(text, files).unwrap_err());
        assert!(message(whole, &files[..1]).contains("does not say what the raw outputs were"));
        assert!(message(&whole.replace("[7, 1]", "[7]"), &files).contains("1 classes for 2 images"));
    }
}
