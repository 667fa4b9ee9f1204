//! `report.html`: what it says, and that nothing in a report can make it do more than show.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod tiny;

use std::collections::BTreeMap;

use onnx2int_evaluation::{
    ActivationNoise, Evidence, Histogram, LayerBound, LayerUse, MultiplierBits, Noise, NoiseSources,
    OverflowProof, PairedTest, Pixels, Report, RuntimeBits, SameBits, Sweep, SweepOutcome, render,
};
use tiny::report;

const ATTACK: &str = "<script>alert(1)</script>\" onload='alert(2)' x=\"&amp;";

fn page(report: &Report) -> String {
    let page = render::html(report, &[]);
    assert_well_formed(&page);
    page
}

/// Every element that is opened is closed in its place, and every attribute has quotes.
fn assert_well_formed(page: &str) {
    const VOID: [&str; 4] = ["meta", "img", "br", "!doctype"];
    let mut open = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let (tag, after) = rest[start + 1..].split_once('>').unwrap();
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "near {:?}", &rest[..rest.len().min(200)]);
        } else if !VOID.contains(&name) && !tag.ends_with('/') {
            open.push(name);
            if matches!(name, "style" | "script") {
                rest = &rest[rest.find(&format!("</{name}>")).unwrap()..];
            }
        }
        assert!(tag.matches('"').count() % 2 == 0, "an attribute that is not closed: {tag:?}");
        for attribute in tag.split('"').step_by(2).skip(1).flat_map(|text| text.split_whitespace()) {
            assert!(!attribute.starts_with("on"), "an event handler: {tag:?}");
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
}

/// The report with every string in it replaced.
fn attacked() -> Report {
    let mut value = serde_json::to_value(report()).unwrap();
    fn attack(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = format!("{text}{ATTACK}"),
            serde_json::Value::Array(values) => values.iter_mut().for_each(attack),
            serde_json::Value::Object(fields) => {
                let spoilt = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                    attack(&mut value);
                    (name, value)
                });
                *fields = spoilt.collect();
            }
            _ => {}
        }
    }
    for field in ["model", "dataset", "transforms", "rescale_bounds", "parameters", "versions", "confusions"]
    {
        attack(&mut value[field]);
    }
    let graph = &mut value["stages"][2]["graph"];
    attack(&mut graph["nodes"]);
    attack(&mut graph["inputs"]);
    attack(&mut graph["outputs"]);
    for value in graph["values"].as_object_mut().unwrap().values_mut() {
        attack(&mut value["dtype"]);
        attack(&mut value["shape"]);
    }
    for field in ["file", "relation", "made_by", "runtime", "name", "digest"] {
        attack(&mut value["stages"][2][field]);
    }
    let mut report: Report = serde_json::from_value(value).unwrap();
    let renamed = |name: &str| format!("{name}{ATTACK}");
    // The operands are found under their new names.
    let values = std::mem::take(&mut report.stages[2].graph.values);
    report.stages[2].graph.values = values.into_iter().map(|(name, value)| (renamed(&name), value)).collect();
    report.parameters = BTreeMap::from([(renamed("title"), renamed("value"))]);
    report
}

#[test]
fn names_cannot_run_anything() {
    let page = page(&attacked());
    assert!(page.contains("&lt;script&gt;alert(1)"), "the names are shown");
    assert!(!page.contains("<script>alert"), "as names");
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    // Even if one were forgotten: the policy knows the page's own script by its hash.
    assert_eq!(page.matches("'sha256-").count(), 1);
    assert!(!page.contains("'unsafe-inline' script") && page.contains("default-src 'none'"));
}

#[test]
fn nothing_is_loaded_from_anywhere() {
    let page = page(&with_pixels());
    for start in ["src=\"", "href=\""] {
        for rest in page.split(start).skip(1) {
            assert!(rest.starts_with("data:image/bmp;base64,") || rest.starts_with('#'), "{}", &rest[..40]);
        }
    }
    for word in ["url(", "@import", "fetch(", "https:"] {
        assert!(!page.contains(word), "{word}");
    }
    assert_eq!(page.matches("http:").count(), page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
}

fn with_pixels() -> Report {
    let mut report = report();
    assert!(!report.shown_images.is_empty());
    for shown in &mut report.shown_images {
        shown.pixels = Some(Pixels { channels: 1, height: 28, width: 28, bytes: vec![128; 784] });
    }
    report
}

#[test]
fn what_was_not_checked_is_told_so_and_what_was_is_of_this_very_file() {
    let mut report = report();
    let text = page(&report);
    assert!(text.contains("overflow is not checked; bits across runtimes are not checked"), "{text}");
    assert!(text.contains("its accuracy is kept"));
    assert!(text.contains("</code> is integer-only;"));

    let digest = report.stages[2].digest.clone();
    let layer = LayerBound {
        node: "fc".to_owned(),
        op: "MatMulInteger".to_owned(),
        products: 784,
        low: -1_000_000,
        high: 999_600,
        bits: 21,
    };
    let runtime = |name: &str, equal| RuntimeBits { name: name.to_owned(), version: None, images: 6, equal };
    report.evidence = Evidence {
        overflow: Some(OverflowProof {
            stage: "scale_out".to_owned(),
            digest: digest.clone(),
            obligations: 7,
            layers: vec![layer],
        }),
        same_bits: Some(SameBits {
            stage: "scale_out".to_owned(),
            digest,
            runtimes: vec![runtime("interpreter", true), runtime("tract", true)],
        }),
    };
    let text = page(&report);
    assert!(text.contains("overflow is proven impossible; bits across runtimes are equal"), "{text}");
    assert!(
        text.contains("Equal in 2 of 2 runtimes: on 6 images interpreter, tract.")
            && text.contains("need 21 of 32 bits"),
        "{text}"
    );
    assert!(text.contains("\u{2212}1,000,000"), "{text}");

    report.evidence.same_bits.as_mut().unwrap().runtimes[1].equal = false;
    assert!(page(&report).contains("runtimes are <strong>not equal</strong>"));

    report.stages[2].digest = "of another file".to_owned();
    assert!(page(&report).contains("overflow is not checked; bits across runtimes are not checked"));
}

#[test]
fn two_runs_stand_side_by_side() {
    let (a, mut b) = (report(), attacked());
    b.stages[1].accuracy.fraction += 0.1;
    b.stages[2].name = "scale_out".to_owned();
    let text = render::compare_html(("runs/<a>", &a), ("runs/b", &b));
    assert_well_formed(&text);
    assert!(!text.contains("<script>alert"));
    assert!(text.contains("A is <code>runs/&lt;a&gt;</code> (tiny)"), "{text}");
    assert!(text.contains("different images") && text.contains("+10.00"), "{text}");
    assert!(text.contains(">epochs</th><td>5</td><td>-</td>"), "{text}");

    let same = render::compare_html(("a", &a), ("b", &a));
    assert!(
        same.contains("+0.00 percentage points") && same.contains("Their parameters are the same"),
        "{same}"
    );
    assert!(!same.contains("different images"));
}

#[test]
fn a_real_loss_is_not_called_kept() {
    let mut report = report();
    report.stages[2].versus_float.as_mut().unwrap().paired_test = PairedTest::of(40, 2);
    report.stages[2].versus_previous.as_mut().unwrap().paired_test = PairedTest::of(40, 2);
    let text = page(&report);
    assert!(text.contains("its accuracy is <strong>not kept</strong>"), "{text}");
    assert!(text.contains("Most was lost at <code>scale_out</code>: 40 lost, 2 gained"), "{text}");
}

#[test]
fn changed_and_wrong_images_are_shown_with_scores() {
    let report = with_pixels();
    // Image 4 changes and is right in the end, image 3 changes and is wrong.
    let shown: Vec<usize> = report.shown_images.iter().map(|shown| shown.image).collect();
    assert_eq!(shown, [3, 4]);
    let stages: Vec<&str> =
        report.shown_images[0].scores.iter().map(|scores| scores.stage.as_str()).collect();
    assert_eq!(stages, ["float", "integer", "scale_out"]);
    let text = page(&report);
    assert!(text.contains("<strong>now wrong</strong>") && text.contains("<strong>now right</strong>"));
    assert!(text.contains("alt=\"test image 3, labelled 2\""));
    assert!(text.contains("is most wrong about"));
}

#[test]
fn the_noisiest_layer_is_named() {
    let mut report = report();
    assert!(!page(&report).contains("id=\"layers\""), "nothing was measured");
    let activation = |tensor: &str, decibels, below| ActivationNoise {
        tensor: tensor.to_owned(),
        codes: format!("{tensor}_quantized"),
        scale: 0.5,
        zero_point: 0,
        elements: 100,
        decibels,
        sources: None,
        above: 0.0,
        below,
        histogram: Some(Histogram { low: 0.0, high: 127.5, float: vec![3; 64], integer: vec![2; 64] }),
    };
    let mut activations = vec![activation("a", Some(31.25), 0.0), activation("<b>", Some(22.25), 0.125)];
    activations.push(ActivationNoise { histogram: None, ..activation("logits", None, 0.0) });
    report.noise = Some(Noise { images: 16, activations, weights: Vec::new(), layers: Vec::new() });
    let text = page(&report);
    let sentence = "The noisiest is <code>&lt;b&gt;</code>: 22.2 dB, measured on 16 images. \
                    Most elements beyond the codes has <code>&lt;b&gt;</code>: 12.50 %.";
    assert!(text.contains(sentence), "{text}");
    assert!(text.contains("exact"), "without noise there is no ratio");
    assert!(text.contains("Its sources are not told apart"), "nothing is left out in silence");
    assert_eq!(Report::from_json(&render::json(&report)).unwrap(), report);
}

#[test]
fn sources_of_noise_and_sums_are_set_side_by_side() {
    let mut report = report();
    let activation = ActivationNoise {
        tensor: "<relu>".to_owned(),
        codes: "relu_quantized".to_owned(),
        scale: 0.5,
        zero_point: 0,
        elements: 100,
        decibels: Some(29.5),
        // 10 dB less is ten times the power.
        sources: Some(NoiseSources { weights: Some(40.0), activations: Some(30.0), rescale: None }),
        above: 0.0,
        below: 0.0,
        histogram: None,
    };
    let layer = LayerUse {
        node: "<conv>".to_owned(),
        op: "ConvInteger".to_owned(),
        low: -300,
        high: 200,
        bits: 10,
        proven_low: -1_200,
        proven_high: 1_100,
        proven_bits: 12,
        multipliers: Some(MultiplierBits { count: 32, least: 14, greatest: 15 }),
    };
    report.noise = Some(Noise {
        images: 16,
        activations: vec![activation],
        weights: Vec::new(),
        layers: vec![layer.clone(), LayerUse { node: "logits".to_owned(), multipliers: None, ..layer }],
    });
    let text = page(&report);
    let sentence = "At <code>&lt;relu&gt;</code> the activation rounding dominates: alone it leaves 30.0 dB; \
                    the weight rounding alone 40.0 dB, the fixed-point rescale alone is exact.";
    assert!(text.contains(sentence), "{text}");
    assert!(text.contains("weights 9.09 %, activations 90.91 %, rescale 0.00 %"), "{text}");
    for cell in [
        "\u{2212}300 to 200",
        "\u{2212}1,200 to 1,100",
        "25.00 %",
        "10 of 12",
        "14 to 15 <small>(32)</small>",
    ] {
        assert!(text.contains(cell), "{cell}: {text}");
    }
    assert!(text.contains(">none</td>"), "logits have no rescale");
    assert_eq!(Report::from_json(&render::json(&report)).unwrap(), report);
}

fn swept() -> Report {
    let mut report = report();
    let mut sweep = Sweep::from_json(include_str!("sweep.json")).unwrap();
    sweep.float_digest.clone_from(&report.stages[0].digest);
    report.sweep = Some(sweep);
    report
}

#[test]
fn trade_offs_are_drawn_and_told() {
    let mut report = swept();
    let text = page(&report);
    assert!(text.contains("<h2>Trade-offs</h2>") && text.contains("href=\"#trade-offs\""));
    let label = "Line chart of the accuracy over mantissa bits. default settings: \
                 71.88 % at 23, refused at 2. A dashed line is at 83.33 %, float.";
    assert!(text.contains(&format!("role=\"img\" aria-label=\"{label}\"")), "{text}");
    assert!(text.contains("refused at default settings, 2: node &quot;fc&quot;: m = 0"), "{text}");
    assert!(text.contains("<details><summary>The numbers</summary>") && text.contains("30 of 32"), "{text}");
    assert!(text.contains("within the interval that it has at 8: from 8 on."), "{text}");
    let markdown = render::markdown(&report);
    assert!(markdown.contains("## Trade-offs") && markdown.contains("is refused: node"), "{markdown}");
    assert_eq!(Report::from_json(&render::json(&report)).unwrap(), report);

    // Whatever a file says, it is shown and no more.
    let series = &mut report.sweep.as_mut().unwrap().charts[0].series[0];
    series.name = ATTACK.to_owned();
    series.points[0].outcome = SweepOutcome::Refused { reason: ATTACK.to_owned() };
    assert!(!page(&report).contains("<script>alert"));
}

#[test]
fn without_a_sweep_the_page_says_how_to_make_one() {
    let text = page(&report());
    assert!(text.contains("Not measured of this float model: <code>cargo xtask sweep</code>"), "{text}");
    assert!(!text.contains("class=\"lines\""), "nothing is drawn");
    assert!(render::markdown(&report()).contains("Not measured of this float model: `cargo xtask sweep`"));
}

#[test]
fn what_a_step_changed_is_marked_in_words() {
    let text = page(&report());
    // From Gemm to MatMulInteger and an Add, and no LogSoftmax.
    for word in [
        "~ operator, constants, types",
        "+ new",
        "\u{2212} goes",
        "MatMulInteger",
        "u8 N\u{d7}1\u{d7}28\u{d7}28",
    ] {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn further_sections_come_with_their_scripts_allowed() {
    let section = render::Section {
        id: "try".to_owned(),
        title: "Try <it>".to_owned(),
        html: "<p>a pad</p>".to_owned(),
        script: "void 0;".to_owned(),
    };
    let text = render::html(&report(), &[section]);
    assert_well_formed(&text);
    assert!(text.contains("<section id=\"try\">\n<h2>Try &lt;it&gt;</h2>\n<p>a pad</p>"));
    assert!(text.contains("<script>void 0;</script>") && text.contains("<a href=\"#try\">"));
    assert_eq!(text.matches("'sha256-").count(), 2);
}

#[test]
fn a_page_of_a_large_network_stays_below_six_megabytes() {
    let mut report = with_pixels();
    let graph = &mut report.stages[2].graph;
    let node = graph.nodes[1].clone();
    graph.nodes = (0..1_400)
        .map(|number| {
            let mut node = node.clone();
            node.name = format!("a_node_with_quite_a_long_name_{number}");
            node
        })
        .collect();
    let row = report.stages[2].clone();
    report.stages.extend((0..7).map(|number| {
        let mut row = row.clone();
        row.name = format!("stage_{number}");
        row
    }));
    let page = page(&report);
    assert!(page.len() < 6_000_000, "{}", page.len());
    assert!(page.contains("too large for this page"));
}

#[test]
fn a_graph_that_names_what_it_has_not_is_drawn_as_far_as_it_goes() {
    let mut report = report();
    for row in &mut report.stages {
        row.graph.values.clear();
        row.graph.outputs = vec!["absent".to_owned()];
    }
    report.shown_images[0].scores[0].outputs.clear();
    report.shown_images[0].scores[0].class = 99;
    page(&report);
    report.stages.truncate(1);
    page(&report);
    report.stages.clear();
    assert!(page(&report).contains("No model was scored"));
}
