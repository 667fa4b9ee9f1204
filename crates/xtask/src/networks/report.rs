//! What came of all networks, as data and as Markdown. Nothing in it differs between two runs on the same files.

use std::fmt::Write as _;

use serde::Serialize;

use super::Extent;
use super::results::{Comparisons, Count, LARGEST_DIFFERENCE, LEAST_AGREEMENT, NetworkResult, Row};

const SCHEMA: &str = "onnx2int-networks/3";

/// Every network, judged.
#[derive(Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    pub ok: bool,
    /// The test images scored, and those of which every inner tensor is compared: the first so many.
    images_scored: usize,
    images_traced: usize,
    /// Wanted of scale_out against its quantized stage, of 1000 images each.
    least_agreement_of_1000: usize,
    largest_difference_of_1000: usize,
    networks: Vec<NetworkResult>,
    /// Everything that was refused or missed a bar.
    pub failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(extent: Extent, networks: Vec<NetworkResult>) -> Self {
        let of_network =
            |network: &NetworkResult| [network.failures.clone(), of_rows(&network.rows)].concat();
        let failures: Vec<String> = networks.iter().flat_map(of_network).collect();
        Self {
            schema: SCHEMA,
            ok: failures.is_empty(),
            images_scored: extent.scored,
            images_traced: extent.traced,
            least_agreement_of_1000: LEAST_AGREEMENT,
            largest_difference_of_1000: LARGEST_DIFFERENCE,
            networks,
            failures,
        }
    }

    /// The report to read.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Networks\n\n");
        text.push_str(match self.ok {
            true => "Every network becomes integers, and every bar is reached.\n",
            false => "**Something was refused or missed a bar; see the end.**\n",
        });
        let _ = write!(
            text,
            "`cargo xtask networks` made this of the files in data/networks: each float network quantized by us, and each \
             file that ONNX Runtime's quantizer made of it.\n\n\
             ## To integers\n\n{}\n\
             Accuracies are of {} test images.\n\
             Difference and agreement are those of scale_out with the quantized stage, in the runtime where they are \
             worse; wanted are at most {:.2} percentage points and at least {:.1} % of the images with the same class.\n\
             ONNX Runtime is asked for exact 8-bit products in quantized stages.\n\
             Certificate: the rules of the last stage hold, and code that shares nothing with ours computed every bound \
             anew.\n\
             Bits: every inner integer tensor of {} images is the same in the interpreter, tract, and ONNX Runtime with \
             and without optimizations, and so are the raw outputs of {} images in the last three.\n\n\
             ## Our quantizer and ONNX Runtime's\n\n{}\n\
             All with one weight scale a channel, that of the logits included, u8 activations, i8 weights and min-max ranges of the same 1000 training \
             images; all scored as integers (scale_out), where every runtime gives the same bits.\n\
             The quantized stages are scored in the table above, and are no yardstick for single images: an average over four codes of one scale \
             is an exact tie in a quarter of its elements, and the last bit of the scale decides how floats round it.\n\
             With the same settings quantizers are where ONNX Runtime's quantizer puts them (`--placement onnxruntime`); in our own placement, \
             the default, logits stay sums, branches of a Concat share a scale, and averages have a range of their own.\n\
             Lost are the images that only theirs gets right, gained those that only ours does.\n\
             With the same settings ours must get at least as many images right on each network; the p-value of McNemar's mid-p test says whether a \
             difference is more than noise.\n",
            self.table(),
            self.images_scored,
            self.largest_difference_of_1000 as f64 / 10.0,
            self.least_agreement_of_1000 as f64 / 10.0,
            self.images_traced,
            self.images_scored,
            self.quantizers()
        );
        if !self.failures.is_empty() {
            text.push_str("\n## What is missed\n\n");
        }
        for failure in self.brief_failures() {
            let _ = writeln!(text, "- {}", failure.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        text
    }

    /// What is wrong, in a few short lines each; the JSON has all of it.
    pub(crate) fn brief_failures(&self) -> Vec<String> {
        self.failures.iter().map(|failure| brief(failure)).collect()
    }

    /// A line for each quantized file.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from(
            "| network | quantized by | float | QDQ, ONNX Runtime | QDQ, tract | scale_out | difference | agreement | certificate | bits |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for network in &self.networks {
            for row in &network.rows {
                let difference = row.difference().map(|points| format!("{points:+.2}"));
                let agreement = row
                    .agreement()
                    .map(|images| format!("{:.2} %", 100.0 * images as f64 / self.images_scored as f64));
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                    network.name,
                    row.quantized_by,
                    accuracy(network.float),
                    accuracy(row.quantized_onnxruntime),
                    accuracy(row.quantized_tract),
                    accuracy(row.scale_out),
                    difference.unwrap_or_else(nothing),
                    agreement.unwrap_or_else(nothing),
                    verdict(row.scale_out.map(|_| row.certified), "holds", "**fails**"),
                    verdict(same_bits(row), "equal", "**differ**"),
                );
            }
        }
        text
    }

    fn quantizers(&self) -> String {
        let mut text = String::from(
            "| network | placement | ours | ONNX Runtime's | ours against it |\n|---|---|---|---|---|\n",
        );
        for (placement, is_ours) in [("the same", false), ("our own", true)] {
            let compared = |network: &NetworkResult| {
                let Comparisons { same_settings, own_placement } = network.quantizers;
                if is_ours { own_placement } else { same_settings }
            };
            for network in &self.networks {
                let cells = compared(network).map_or_else(
                    || "- | - | -".to_owned(),
                    |compared| {
                        let of = |correct| accuracy(Some(Count { correct, images: compared.images }));
                        format!("{} | {} | {}", of(compared.ours), of(compared.theirs), compared.paired_test)
                    },
                );
                let _ = writeln!(text, "| {} | {placement} | {cells} |", network.name);
            }
            let all = self.networks.iter().filter_map(compared);
            let (ours, theirs) =
                all.fold((0, 0), |(ours, theirs), both| (ours + both.ours, theirs + both.theirs));
            let more = ours as i64 - theirs as i64;
            let _ = writeln!(text, "| all, images right | {placement} | {ours} | {theirs} | {more:+} |");
        }
        text
    }
}

fn of_rows(rows: &[Row]) -> Vec<String> {
    rows.iter().flat_map(|row| row.failures.clone()).collect()
}

/// A message of few short lines: a refusal may name every node of a file first, or its cause last.
fn brief(message: &str) -> String {
    const LINES: usize = 6;
    const FIRST: usize = 3;
    const LAST: usize = 2;
    const CHARACTERS: usize = 160;
    let cut = |line: &str| {
        let short: String = line.chars().take(CHARACTERS).collect();
        if short.len() < line.len() { short + "..." } else { short }
    };
    let mut told: Vec<String> = message.lines().map(cut).collect();
    if told.len() > LINES {
        let left_out = told.len() - FIRST - LAST;
        told.splice(FIRST..FIRST + left_out, [format!("... {left_out} lines ...")]);
    }
    told.join("\n")
}

/// Whether all runtimes agree, where that could be asked.
fn same_bits(row: &Row) -> Option<bool> {
    Some(row.bits.as_ref()?.are_equal() && row.outputs_equal?)
}

fn accuracy(count: Option<Count>) -> String {
    count.map_or_else(nothing, |count| format!("{:.2} %", count.accuracy()))
}

fn verdict(holds: Option<bool>, yes: &str, no: &str) -> String {
    holds.map_or_else(nothing, |holds| if holds { yes } else { no }.to_owned())
}

fn nothing() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{good, score};
    use super::super::results::{Bits, Findings, Quantizers};
    use super::*;
    use crate::conform::Runtime;

    const EXTENT: Extent = Extent { scored: 1_000, traced: 100 };

    fn report(findings: Findings) -> Report {
        let row = Row::new("net", "onnx2int", findings);
        let float = Some(Count { correct: 995, images: 1_000 });
        let quantizers = Quantizers::compare(&score("ort", &[0, 0]), &score("ort", &[0, 1])).unwrap();
        let quantizers = Comparisons { same_settings: Some(quantizers), own_placement: None };
        let network = NetworkResult::new("net".to_owned(), float, quantizers, vec![row], vec![]);
        Report::new(EXTENT, vec![network])
    }

    #[test]
    fn a_row_says_everything_that_was_found() {
        let report = report(good());
        assert!(report.ok);
        let text = report.markdown();
        let row =
            "| net | onnx2int | 99.50 % | 99.00 % | 99.00 % | 99.00 % | +0.00 | 100.00 % | holds | equal |";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains(
                "| net | the same | 100.00 % | 50.00 % | 0 lost, 1 gained, p = 0.50: within noise |"
            ),
            "{text}"
        );
        assert!(text.contains("at most 0.10 percentage points and at least 99.8 %"), "{text}");
        assert!(!text.contains("What is missed"), "{text}");
    }

    #[test]
    fn a_refusal_leaves_a_row_of_dashes_and_a_failure() {
        let report = report(Findings::default());
        let text = report.markdown();
        assert!(text.contains("| net | onnx2int | 99.50 % | - | - | - | - | - | - | - |"), "{text}");
        // Nothing was refused here, so nothing is missed either; a refusal is.
        assert!(report.ok);
        let refused =
            Report { failures: vec!["net.ort.lower: no\n  such operator".to_owned()], ok: false, ..report };
        assert!(refused.markdown().contains("\n- net.ort.lower: no such operator\n"));
    }

    #[test]
    fn a_long_refusal_is_told_in_brief_and_kept_in_whole() {
        let long = format!("net.ort.lower: {}\nb\nc\nd\ne\nf\ng", "a".repeat(200));
        let report = Report { failures: vec![long.clone()], ..report(good()) };
        let [told] = <[String; 1]>::try_from(report.brief_failures()).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!((lines[0].len(), &lines[1..]), (163, ["b", "c", "... 2 lines ...", "f", "g"].as_slice()));
        assert!(serde_json::to_string(&report).unwrap().contains(&"a".repeat(200)));
    }

    #[test]
    fn networks_are_summed_and_each_is_judged_alone() {
        let of = |ours: &[u32], theirs: &[u32]| {
            let quantizers = Quantizers::compare(&score("ort", ours), &score("ort", theirs)).unwrap();
            let quantizers = Comparisons { same_settings: Some(quantizers), own_placement: Some(quantizers) };
            NetworkResult::new("net".to_owned(), None, quantizers, vec![], vec![])
        };
        let report = Report::new(EXTENT, vec![of(&[0, 1], &[0, 0]), of(&[0, 0], &[1, 0])]);
        assert!(report.markdown().contains("| all, images right | the same | 3 | 3 | +0 |"));
        let [failure] = report.failures.as_slice() else { panic!("{:?}", report.failures) };
        assert!(failure.contains("our quantizer gets 1 of 2 images right, ONNX Runtime's 2"), "{failure}");
    }

    #[test]
    fn what_fails_stands_out() {
        let mut findings = good();
        findings.certified = false;
        findings.bits = Some(Bits::new(100, vec![(Runtime::Tract, Err("other bits".to_owned()))]));
        let text = report(findings).markdown();
        assert!(text.contains("| **fails** | **differ** |"), "{text}");
        assert!(text.contains("- net.onnx2int: scale_out in tract: other bits"), "{text}");
    }
}
