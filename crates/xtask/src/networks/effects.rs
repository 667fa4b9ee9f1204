//! What each option of `onnx2int quantize` does to accuracy, measured on every float network.
//!
//! The QDQ file of each recipe is scored in tract and compared with the float file, image by image. Nothing is judged:
//! which option helps depends on the network.

use std::fmt::Write as _;

use serde::Serialize;

use crate::pipeline::{DATA_DIR, words};

use super::Extent;
use super::fixtures::FOLDER;
use super::results::{Count, Score};
use super::steps::{CALIBRATION_SAMPLES, Program, Step};

const SCHEMA: &str = "onnx2int-effects/1";

/// Every calibration method by its name on the command line.
const METHODS: [&str; 5] = ["min-max", "moving-average", "percentile", "entropy", "mse"];

/// Bits of a weight: the usual, and so few that differences are seen.
pub(crate) const WEIGHT_BITS: [u32; 2] = [8, 4];

/// One way to quantize, but for the bits of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Recipe {
    pub calibration: &'static str,
    pub per_axis: bool,
    pub equalize: bool,
    pub correct_bias: bool,
}

/// Every method with plain weights, then equalization and bias correction with the first method; for a scale a
/// layer and a scale a channel.
pub(crate) fn recipes() -> Vec<Recipe> {
    let of_scales = |per_axis| {
        let plain =
            METHODS.map(|calibration| Recipe { calibration, per_axis, equalize: false, correct_bias: false });
        let treated = [(true, false), (false, true), (true, true)].map(|(equalize, correct_bias)| Recipe {
            equalize,
            correct_bias,
            ..plain[0]
        });
        plain.into_iter().chain(treated)
    };
    [false, true].into_iter().flat_map(of_scales).collect()
}

/// What came of a recipe with weights of some bits.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Effect {
    pub recipe: Recipe,
    pub weight_bits: u32,
    pub score: Count,
    /// The images with the class of the float network.
    pub as_float: usize,
}

impl Effect {
    pub(crate) fn new(recipe: Recipe, weight_bits: u32, score: &Score, float: &Score) -> Self {
        Self { recipe, weight_bits, score: score.count(), as_float: score.agreeing(float) }
    }
}

/// The effects on one network.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NetworkEffects {
    pub name: String,
    pub float: Count,
    pub effects: Vec<Effect>,
}

/// The steps of one network.
#[derive(Clone, Debug)]
pub(crate) struct EffectSteps<'a> {
    pub network: &'a str,
    /// Where the results of all networks go.
    pub folder: &'a str,
    pub extent: Extent,
}

impl EffectSteps<'_> {
    /// The score of the float file.
    pub(crate) fn float(&self) -> Step {
        self.score("float", &self.model())
    }

    /// Quantizes, and scores what came of it.
    pub(crate) fn of(&self, recipe: Recipe, weight_bits: u32) -> [Step; 2] {
        let name = recipe.name(weight_bits);
        let (model, output) = (self.model(), format!("{}/{name}.onnx", self.own()));
        let bits = weight_bits.to_string();
        let mut arguments = words(
            &[
                ["quantize", "--model", &model, "--data-dir", DATA_DIR].as_slice(),
                &["--calibration", recipe.calibration, "--weight-bits", &bits],
                &["--calibration-samples", CALIBRATION_SAMPLES, "--output", &output],
            ]
            .concat(),
        );
        let switches = [
            (recipe.per_axis, "--per-axis"),
            (recipe.equalize, "--equalize"),
            (recipe.correct_bias, "--correct-bias"),
        ];
        let on = switches.into_iter().filter(|(on, _)| *on).map(|(_, switch)| switch.to_owned());
        arguments.extend(on);
        let quantize = Step {
            name: format!("{}.effects.quantize-{name}", self.network),
            program: Program::Tool,
            arguments,
            inputs: vec![model],
            outputs: vec![output.clone()],
        };
        [quantize, self.score(&name, &output)]
    }

    fn score(&self, name: &str, model: &str) -> Step {
        let output = format!("{}/{name}.score.json", self.own());
        let images = self.extent.scored.to_string();
        let arguments = words(
            &[
                ["evaluate", "--model", model, "--data-dir", DATA_DIR, "--runtime", "tract"].as_slice(),
                &["--images", &images, "--output", &output],
            ]
            .concat(),
        );
        Step {
            name: format!("{}.effects.score-{name}", self.network),
            program: Program::Tool,
            arguments,
            inputs: vec![model.to_owned()],
            outputs: vec![output.clone(), output.replace(".json", ".logits.bin")],
        }
    }

    fn model(&self) -> String {
        format!("{FOLDER}/{}.onnx", self.network)
    }

    fn own(&self) -> String {
        format!("{}/effects/{}", self.folder, self.network)
    }
}

impl Recipe {
    /// Of files and steps.
    fn name(self, weight_bits: u32) -> String {
        let scales = if self.per_axis { "axis" } else { "tensor" };
        let mut name = format!("{}-{scales}-w{weight_bits}", self.calibration);
        for (on, suffix) in [(self.equalize, "-equalized"), (self.correct_bias, "-corrected")] {
            if on {
                name.push_str(suffix);
            }
        }
        name
    }

    /// Of rows.
    fn label(self) -> String {
        let treatment = match (self.equalize, self.correct_bias) {
            (false, false) => "",
            (true, false) => ", equalized",
            (false, true) => ", bias corrected",
            (true, true) => ", equalized, bias corrected",
        };
        format!("{} | {}{treatment}", if self.per_axis { "a channel" } else { "a layer" }, self.calibration)
    }
}

/// All networks.
#[derive(Serialize)]
pub(crate) struct EffectsReport {
    schema: &'static str,
    images: usize,
    networks: Vec<NetworkEffects>,
}

impl EffectsReport {
    pub(crate) fn new(extent: Extent, networks: Vec<NetworkEffects>) -> Self {
        Self { schema: SCHEMA, images: extent.scored, networks }
    }

    /// The report to read: the mean over networks, then each network.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# What the options of the quantizer do\n\n\
             `cargo xtask networks --effects` made this of the float files in data/networks: each recipe's QDQ file on {} \
             test images, in tract.\n\
             Ranges are of {CALIBRATION_SAMPLES} training images; percentile is 99.99; the weight scales are one a layer \
             or one a channel.\n\
             As float: the images with the class of the float network.\n\n",
            self.images
        );
        let all: Vec<&NetworkEffects> = self.networks.iter().collect();
        let _ = write!(text, "## Mean of the networks\n\n{}", table(&all));
        for network in &self.networks {
            let _ = write!(
                text,
                "\n## {}\n\nThe float network: {:.2} %.\n\n{}",
                network.name,
                network.float.accuracy(),
                table(&[network])
            );
        }
        text
    }
}

/// A row a recipe, with means over the networks.
fn table(networks: &[&NetworkEffects]) -> String {
    let mut text = String::from("| one scale | calibration |");
    for bits in WEIGHT_BITS {
        let _ = write!(text, " {bits} bits | as float |");
    }
    text.push_str("\n|---|---|---|---|---|---|\n");
    for recipe in recipes() {
        let _ = write!(text, "| {} |", recipe.label());
        for bits in WEIGHT_BITS {
            let found: Vec<&Effect> = networks
                .iter()
                .flat_map(|network| &network.effects)
                .filter(|effect| effect.recipe == recipe && effect.weight_bits == bits)
                .collect();
            let mean = |of: &dyn Fn(&Effect) -> f64| {
                found.iter().map(|&effect| of(effect)).sum::<f64>() / found.len() as f64
            };
            let accuracy = mean(&|effect| effect.score.accuracy());
            let as_float = mean(&|effect| 100.0 * effect.as_float as f64 / effect.score.images as f64);
            let _ = write!(text, " {accuracy:.2} % | {as_float:.2} % |");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const STEPS: EffectSteps<'static> = EffectSteps {
        network: "net",
        folder: "reports/networks",
        extent: Extent { scored: 1_000, traced: 100 },
    };

    #[test]
    fn no_two_recipes_are_the_same_call_or_file() {
        let all: Vec<Step> = recipes()
            .into_iter()
            .flat_map(|recipe| WEIGHT_BITS.map(|bits| STEPS.of(recipe, bits)))
            .flatten()
            .chain([STEPS.float()])
            .collect();
        assert_eq!(all.len(), 2 * 16 * 2 + 1);
        let names: BTreeSet<&str> = all.iter().map(|step| step.name.as_str()).collect();
        let outputs: BTreeSet<&String> = all.iter().map(|step| &step.outputs[0]).collect();
        assert_eq!((names.len(), outputs.len()), (all.len(), all.len()));
    }

    #[test]
    fn a_recipe_is_its_options() {
        let recipe = Recipe { calibration: "mse", per_axis: true, equalize: true, correct_bias: true };
        let [quantize, score] = STEPS.of(recipe, 4);
        assert_eq!(
            quantize.arguments.join(" "),
            "quantize --model data/networks/net.onnx --data-dir data/mnist --calibration mse --weight-bits 4 \
             --calibration-samples 1000 --output reports/networks/effects/net/mse-axis-w4-equalized-corrected.onnx \
             --per-axis --equalize --correct-bias"
        );
        assert_eq!(score.inputs, quantize.outputs);
    }

    #[test]
    fn a_table_has_the_mean_of_its_networks() {
        let network = |correct: usize, as_float: usize| NetworkEffects {
            name: "net".to_owned(),
            float: Count { correct: 990, images: 1000 },
            effects: recipes()
                .into_iter()
                .flat_map(|recipe| {
                    WEIGHT_BITS.map(|weight_bits| Effect {
                        recipe,
                        weight_bits,
                        score: Count { correct: correct - weight_bits as usize, images: 1000 },
                        as_float,
                    })
                })
                .collect(),
        };
        let (one, other) = (network(988, 1000), network(968, 990));
        let text = table(&[&one, &other]);
        assert!(text.contains("| a layer | min-max | 97.00 % | 99.50 % | 97.40 % | 99.50 % |"), "{text}");
        assert!(text.contains("| a channel | min-max, equalized, bias corrected | 97.00 %"), "{text}");
    }
}
