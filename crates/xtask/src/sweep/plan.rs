//! What is varied, from which value to which, and the calls of `onnx2int` that measure one setting.

use onnx2int_graph::Stage;
use serde::{Deserialize, Serialize};

use crate::pipeline::{self, CALIBRATION_SAMPLES, DATA_DIR, words};
use crate::run::Run;

/// Every calibration method by its name on the command line.
const METHODS: [&str; 5] = ["min-max", "moving-average", "percentile", "entropy", "mse"];

/// Numbers of training images, up to as many as there are test images.
const SAMPLES: [u32; 9] = [1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000];

/// What `onnx2int` takes.
const MANTISSA_BITS: std::ops::RangeInclusive<u32> = 2..=23;
const WEIGHT_BITS: std::ops::RangeInclusive<u32> = 2..=8;

/// How a model is taken from floats to integers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Setting {
    pub mantissa_bits: u32,
    pub weight_bits: u32,
    pub per_axis: bool,
    pub calibration: String,
    pub calibration_samples: u32,
}

impl Default for Setting {
    /// That of `cargo xtask run-all`.
    fn default() -> Self {
        Self {
            mantissa_bits: *MANTISSA_BITS.end(),
            weight_bits: *WEIGHT_BITS.end(),
            per_axis: true,
            calibration: METHODS[0].to_owned(),
            calibration_samples: CALIBRATION_SAMPLES,
        }
    }
}

/// What differs along a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Varied {
    MantissaBits,
    CalibrationSamples,
    WeightBits,
}

impl Varied {
    /// Its value in settings.
    pub(crate) fn of(self, settings: &Setting) -> u32 {
        match self {
            Self::MantissaBits => settings.mantissa_bits,
            Self::CalibrationSamples => settings.calibration_samples,
            Self::WeightBits => settings.weight_bits,
        }
    }
}

/// Lines over one axis; `P` is a setting, or what was measured at one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Chart<P> {
    pub varied: Varied,
    pub series: Vec<Series<P>>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Series<P> {
    pub name: String,
    pub points: Vec<P>,
}

/// All settings that are measured.
pub(crate) fn charts() -> Vec<Chart<Setting>> {
    let of_method = |method: &str| {
        let at = |calibration_samples| Setting {
            calibration: method.to_owned(),
            calibration_samples,
            ..Setting::default()
        };
        Series { name: method.to_owned(), points: SAMPLES.into_iter().map(at).collect() }
    };
    let of_scales = |name: &str, per_axis| {
        let at = |weight_bits| Setting { weight_bits, per_axis, ..Setting::default() };
        Series { name: name.to_owned(), points: WEIGHT_BITS.map(at).collect() }
    };
    let of_mantissas =
        MANTISSA_BITS.map(|mantissa_bits| Setting { mantissa_bits, ..Setting::default() }).collect();
    vec![
        Chart {
            varied: Varied::MantissaBits,
            series: vec![Series { name: "default settings".to_owned(), points: of_mantissas }],
        },
        Chart { varied: Varied::CalibrationSamples, series: METHODS.into_iter().map(of_method).collect() },
        Chart {
            varied: Varied::WeightBits,
            series: vec![of_scales("per axis", true), of_scales("per tensor", false)],
        },
    ]
}

/// The calls that make the model of a setting in `folder`, and the one that scores it and prints JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Calls {
    pub make: Vec<Vec<String>>,
    pub score: Vec<String>,
}

impl Setting {
    /// How a setting is measured on the models of a run; what `run` made already is not made again.
    pub(crate) fn calls(&self, run: Run, folder: &str) -> Calls {
        let file = |stage: Stage| format!("{folder}/{}", stage.file_name("point"));
        let model = file(Stage::ScaleOut);
        let bits = self.mantissa_bits.to_string();
        let quantized_as_in_run = Self { mantissa_bits: self.mantissa_bits, ..Self::default() } == *self;
        let make = match quantized_as_in_run {
            true => {
                let integer = pipeline::model_path(run, Stage::Integer);
                vec![words(&[
                    "transform",
                    Stage::ScaleOut.made_by(),
                    "--model",
                    &integer,
                    "--output",
                    &model,
                    "--mantissa-bits",
                    &bits,
                ])]
            }
            false => {
                let quantized = file(Stage::Quantized);
                vec![
                    self.quantize(&pipeline::model_path(run, Stage::Float), &quantized),
                    words(&[
                        "lower",
                        "--model",
                        &quantized,
                        "--output-dir",
                        folder,
                        "--mantissa-bits",
                        &bits,
                    ]),
                ]
            }
        };
        let float = pipeline::score_path(run, Stage::Float);
        let subject = ["evaluate", "--model", &model, "--data-dir", DATA_DIR];
        let score =
            words(&[&subject[..], &["--runtime", "engine", "--reference", &float, "--json"]].concat());
        Calls { make, score }
    }

    fn quantize(&self, float: &str, quantized: &str) -> Vec<String> {
        let (bits, samples) = (self.weight_bits.to_string(), self.calibration_samples.to_string());
        let subject = ["quantize", "--model", float, "--data-dir", DATA_DIR, "--output", quantized];
        let numbers = ["--calibration-samples", &samples, "--weight-bits", &bits];
        let scales: &[&str] = if self.per_axis { &["--per-axis"] } else { &[] };
        words(&[&subject[..], &["--calibration", &self.calibration], &numbers, scales].concat())
    }

    /// The setting in short.
    pub(crate) fn label(&self) -> String {
        let Self { mantissa_bits, weight_bits, per_axis, calibration, calibration_samples } = self;
        let scales = if *per_axis { "axis" } else { "tensor" };
        format!(
            "{calibration} on {calibration_samples}, weights of {weight_bits} bits per {scales}, multipliers of {mantissa_bits}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_varied_covers_all_that_the_tool_takes() {
        let charts = charts();
        let at = |chart: usize, series: usize| -> Vec<u32> {
            let chart = &charts[chart];
            chart.series[series].points.iter().map(|point| chart.varied.of(point)).collect()
        };
        assert_eq!(at(0, 0), (2..=23).collect::<Vec<u32>>());
        let names = |chart: usize| -> Vec<&str> {
            charts[chart].series.iter().map(|series| series.name.as_str()).collect()
        };
        assert_eq!(names(1), METHODS);
        for series in 0..METHODS.len() {
            assert_eq!(at(1, series), SAMPLES);
        }
        assert_eq!(names(2), ["per axis", "per tensor"]);
        assert_eq!([at(2, 0), at(2, 1)], [(2..=8).collect::<Vec<u32>>(), (2..=8).collect()]);
        // One thing is varied at a time: every line but the other kind of scales passes through the default.
        let lines = charts.iter().flat_map(|chart| &chart.series);
        let through = lines.filter(|series| series.points.contains(&Setting::default()));
        assert_eq!(through.count(), 3);
    }

    #[test]
    fn the_default_is_what_a_run_does() {
        let run = crate::pipeline::Settings {
            run: Run::default(),
            seed: pipeline::DEFAULT_SEED,
            epochs: None,
            mantissa_bits: None,
        };
        let steps = pipeline::steps(&run, &serde_json::Map::new(), &std::collections::BTreeMap::new());
        let quantize = steps.iter().find(|step| step.name == Stage::Quantized.made_by()).unwrap();
        // Where it leaves an option out, ours is the tool's default.
        let ours = pipeline::parameters_of(&Setting::default().quantize("float", "quantized"));
        let defaults = ["--calibration", "--weight-bits", "--model", "--output"];
        for (name, value) in &ours {
            assert_eq!(
                quantize.parameters.get(name) == Some(value),
                !defaults.contains(&name.as_str()),
                "{name}"
            );
        }
        assert_eq!(quantize.parameters.keys().filter(|name| !ours.contains_key(*name)).count(), 0);
    }

    #[test]
    fn only_what_the_run_has_not_is_made() {
        let calls = Setting { mantissa_bits: 5, ..Setting::default() }.calls(Run::default(), "work");
        let lines = |calls: &Calls| -> Vec<String> {
            calls.make.iter().chain([&calls.score]).map(|call| call.join(" ")).collect()
        };
        let score = "evaluate --model work/point_scale_out.onnx --data-dir data/mnist --runtime engine --reference \
                     reports/mnist/scores/float.json --json";
        assert_eq!(
            lines(&calls),
            [
                "transform scale-out --model reports/mnist/models/mnist_cnn_integer.onnx --output \
                 work/point_scale_out.onnx --mantissa-bits 5",
                score
            ]
        );
        let settings = Setting {
            weight_bits: 3,
            per_axis: false,
            calibration: "mse".to_owned(),
            calibration_samples: 30,
            ..Setting::default()
        };
        assert_eq!(
            lines(&settings.calls(Run::default(), "work")),
            [
                "quantize --model reports/mnist/models/mnist_cnn.onnx --data-dir data/mnist --output \
                 work/point_quantized.onnx --calibration mse --calibration-samples 30 --weight-bits 3",
                "lower --model work/point_quantized.onnx --output-dir work --mantissa-bits 23",
                score
            ]
        );
        let axis = Setting { weight_bits: 3, ..Setting::default() }.calls(Run::default(), "work");
        assert!(lines(&axis)[0].ends_with(" --weight-bits 3 --per-axis"), "{axis:?}");
    }
}
