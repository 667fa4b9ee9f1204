//! `cargo xtask networks`: every network of data/networks from QDQ to integers, quantized by us and by ONNX Runtime.
//!
//! ```text
//! files (fixtures) -> calls of onnx2int and of scripts (steps), made where out of date (maker)
//!                  -> scores, certificates, bits (results) -> networks.json, networks.md (report)
//! ```
//!
//! `--effects` measures the options of the quantizer instead (effects).
//!
//! What a tool refuses is a finding: it stands in the report with its reason, the next network goes on, and the task
//! fails at its end.

mod effects;
mod fixtures;
mod maker;
mod report;
mod results;
mod steps;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use crate::console::say;
use crate::process::{Interrupt, Interrupted};
use crate::{atomic_file, cargo, python};

use effects::{Effect, EffectSteps, EffectsReport, NetworkEffects};
use fixtures::Network;
use maker::Maker;
use report::Report;
use results::{Comparisons, Findings, NetworkResult, Quantizers, Row};
use steps::{Quantizer, Scored, Step, Subject};

/// The twin that is made with the settings of `onnx2int quantize --per-axis --logits per-channel --placement onnxruntime`.
const COMPARABLE: &str = "ort";

/// Which networks, and how thoroughly.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Only these networks; the report is reports/networks/part.md then
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// A tenth of the images; files and report are in reports/networks-quick then
    #[arg(long)]
    pub quick: bool,
    /// Instead, what each option of `quantize` does to accuracy: calibration methods, weight scales and bits,
    /// equalization, bias correction; needs no Python. The report is reports/networks-effects.md
    #[arg(long)]
    pub effects: bool,
    /// A binary that is built already
    #[arg(long, hide = true)]
    pub tool: Option<PathBuf>,
}

/// How many of the test images, from the first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Scored.
    pub scored: usize,
    /// Traced in every runtime, each inner tensor: the interpreter is slow on purpose.
    pub traced: usize,
}

impl Options {
    fn extent(&self) -> Extent {
        match self.quick {
            true => Extent { scored: 1_000, traced: 100 },
            false => Extent { scored: 10_000, traced: 1_000 },
        }
    }

    /// Where the models, scores and stamps go.
    fn folder(&self) -> &'static str {
        if self.quick { "reports/networks-quick" } else { "reports/networks" }
    }

    /// The report without its extension: that of a part never takes the place of that of the whole.
    fn report(&self) -> String {
        let folder = self.folder();
        let whole = self.only.is_empty() && !self.quick;
        let suffix = if self.effects { "-effects" } else { "" };
        if whole { format!("{folder}{suffix}") } else { format!("{folder}/part{suffix}") }
    }
}

/// Takes the networks through, and fails where one misses a bar.
pub(crate) fn run(root: PathBuf, options: &Options, interrupt: Interrupt) -> anyhow::Result<()> {
    let networks = fixtures::find(&root, &options.only)?;
    let tool = options.tool.clone().map_or_else(|| cargo::build(&root, &interrupt), Ok)?;
    if options.effects {
        return measure_effects(root, options, &networks, tool, interrupt);
    }
    let python = python::python(&root, &interrupt)?;
    let mut maker = Maker::open(root.clone(), tool, Some(python), options.folder(), interrupt)?;
    let extent = options.extent();
    let mut results = Vec::new();
    for network in &networks {
        results.push(network_result(&mut maker, network, options.folder(), extent)?);
    }
    maker.save()?;
    let report = Report::new(extent, results);
    say(format_args!("\n{}", report.table()));
    let path = options.report();
    write(&root, &path, &report, &report.markdown())?;
    say(format_args!("{} steps made anew; {path}.md has the details.", maker.made()));
    if !report.ok {
        bail!("the networks miss what they should reach:\n  {}", report.brief_failures().join("\n  "));
    }
    Ok(())
}

/// Quantizes every network by every recipe; what is refused fails at once, as every recipe is for every network.
fn measure_effects(
    root: PathBuf,
    options: &Options,
    networks: &[Network],
    tool: PathBuf,
    interrupt: Interrupt,
) -> anyhow::Result<()> {
    let mut maker = Maker::open(root.clone(), tool, None, options.folder(), interrupt)?;
    let extent = options.extent();
    let mut results = Vec::new();
    for network in networks {
        let steps = EffectSteps { network: &network.name, folder: options.folder(), extent };
        let step = steps.float();
        made(&mut maker, &step)?;
        let float = maker.score(&step)?;
        let mut effects = Vec::new();
        for recipe in effects::recipes() {
            for weight_bits in effects::WEIGHT_BITS {
                let [quantize, score] = steps.of(recipe, weight_bits);
                made(&mut maker, &quantize)?;
                made(&mut maker, &score)?;
                let score = maker.score(&score)?;
                effects.push(Effect::new(recipe, weight_bits, &score, &float));
            }
        }
        results.push(NetworkEffects { name: network.name.clone(), float: float.count(), effects });
    }
    maker.save()?;
    let report = EffectsReport::new(extent, results);
    let path = options.report();
    write(&root, &path, &report, &report.markdown())?;
    say(format_args!("{} steps made anew; {path}.md has the tables.", maker.made()));
    Ok(())
}

/// A step that must be made.
fn made(maker: &mut Maker, step: &Step) -> anyhow::Result<()> {
    if maker.interrupted() {
        return Err(Interrupted.into());
    }
    match maker.make(step)? {
        Ok(()) => Ok(()),
        Err(reason) => bail!("{}: {reason}", step.name),
    }
}

fn write(root: &Path, path: &str, report: &impl Serialize, markdown: &str) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(report)? + "\n";
    atomic_file::write_if_changed(&root.join(format!("{path}.json")), json.as_bytes())?;
    atomic_file::write_if_changed(&root.join(format!("{path}.md")), markdown.as_bytes())
}

/// One network: its float file scored, and each quantized file taken to integers.
fn network_result(
    maker: &mut Maker,
    network: &Network,
    folder: &str,
    extent: Extent,
) -> anyhow::Result<NetworkResult> {
    let subject = |quantizer: Quantizer| Subject {
        network: network.name.clone(),
        quantizer,
        folder: folder.to_owned(),
        extent,
    };
    let [ours, placed] = [Quantizer::Ours, Quantizer::OursPlacedAsTheirs].map(subject);
    let mut failures = Vec::new();
    let step = ours.score(Scored::FloatOnnxRuntime);
    let float = match maker.make(&step)? {
        Ok(()) => Some(maker.score(&step)?.count()),
        Err(reason) => {
            failures.push(format!("{}: {reason}", step.name));
            None
        }
    };
    let mut rows = Vec::new();
    let mut integers = Vec::new();
    let twins = network.twins.iter().map(|twin| subject(Quantizer::Theirs(twin.clone())));
    for subject in [ours.clone(), placed.clone()].into_iter().chain(twins) {
        let findings = findings(maker, &subject)?;
        integers.push((subject.by().to_owned(), findings.scale_out.clone()));
        rows.push(Row::new(&subject.network, subject.by(), findings));
    }
    let score_by =
        |wanted: &str| integers.iter().find(|(by, _)| by == wanted).and_then(|(_, score)| score.as_ref());
    let against_theirs = |ours: &Subject| match (score_by(ours.by()), score_by(COMPARABLE)) {
        (Some(ours), Some(theirs)) => Quantizers::compare(ours, theirs).map(Some),
        _ => Ok(None),
    };
    let comparisons =
        Comparisons { same_settings: against_theirs(&placed)?, own_placement: against_theirs(&ours)? };
    Ok(NetworkResult::new(network.name.clone(), float, comparisons, rows, failures))
}

/// Takes one quantized file to integers; what is refused stands among the failures, and what needs it is not tried.
fn findings(maker: &mut Maker, subject: &Subject) -> anyhow::Result<Findings> {
    say(format_args!("\n{}", subject.name()));
    if maker.interrupted() {
        return Err(Interrupted.into());
    }
    let mut found = Findings::default();
    if let Some(quantize) = subject.quantize()
        && !found.made(&quantize, maker.make(&quantize)?)
    {
        return Ok(found);
    }
    found.quantized_onnxruntime = found.score(maker, &subject.score(Scored::QuantizedOnnxRuntime))?;
    found.quantized_tract = found.score(maker, &subject.score(Scored::QuantizedTract))?;
    let lower = subject.lower();
    if !found.made(&lower, maker.make(&lower)?) {
        return Ok(found);
    }
    let certify = subject.certify();
    if found.made(&certify, maker.make(&certify)?) {
        let check = subject.check_certificate();
        found.certified = found.made(&check, maker.make(&check)?);
    }
    found.scale_out = found.score(maker, &subject.score(Scored::ScaleOutTract))?;
    for scored in [Scored::ScaleOutOnnxRuntime, Scored::ScaleOutOnnxRuntimePlain] {
        if let Some(score) = found.score(maker, &subject.score(scored))? {
            found.scale_out_elsewhere.push(score);
        }
    }
    found.bits = Some(maker.same_bits(subject)?);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_a_part_does_not_replace_that_of_the_whole() {
        let whole = Options { only: vec![], quick: false, effects: false, tool: None };
        assert_eq!(whole.report(), "reports/networks");
        let one = Options { only: vec!["mlp".to_owned()], ..whole.clone() };
        assert_eq!(one.report(), "reports/networks/part");
        let effects = Options { effects: true, ..whole.clone() };
        assert_eq!(effects.report(), "reports/networks-effects");
        let quick = Options { quick: true, ..whole };
        assert_eq!(quick.report(), "reports/networks-quick/part");
    }
}
