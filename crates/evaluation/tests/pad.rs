//! The pad of `report.html` in a browser: the network in the page has the bits of the engine and the interpreter.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod chromium;
mod tiny;

use std::path::Path;

use chromium::{Folder, chromium_or_skip, console};
use onnx2int_dataset::{DatasetError, ImageShape, ImageSource};
use onnx2int_evaluation::{Report, SelfTest, render};
use onnx2int_graph::digest::sha256;
use onnx2int_graph::{Graph, GraphEditor, Tensor, Verified, verify};
use onnx2int_interpreter::{run, run_observed};
use onnx2int_transforms::{Options, RewriteLog, pipeline};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

/// As numerical recipes have it: its high bits are good enough for pixels.
fn noise(state: &mut u32) -> u8 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*state >> 24) as u8
}

/// Three images for each of three labels.
struct Noise;

const LABELS: [u32; 9] = [0, 1, 2, 0, 1, 2, 0, 1, 2];

impl ImageSource for Noise {
    fn shape(&self) -> ImageShape {
        ImageShape { channels: 1, height: 28, width: 28 }
    }
    fn len(&self) -> usize {
        LABELS.len()
    }
    fn labels(&self) -> Option<&[u32]> {
        Some(&LABELS)
    }
    fn read(&self, indices: &[usize]) -> Result<Vec<u8>, DatasetError> {
        let image = |&index: &usize| {
            let mut state = index as u32 + 1;
            (0..784).map(|_| noise(&mut state)).collect::<Vec<u8>>()
        };
        Ok(indices.iter().flat_map(image).collect())
    }
    fn name(&self, index: usize) -> String {
        index.to_string()
    }
}

/// Layers whose activations are pictures, a bias of its own for each class, and a tensor with a name that wants out.
const NETWORK: &str = r#"
graph tiny
meta onnx2int.stage = "scale_out"
in %image: u8[N,1,28,28]
const %conv_weight: i8[3,1,3,3] = cycle [5, -2, 7, 1, -3]
const %bias: i32[1,3,1,1] = [100, -300, 20]
const %fc_weight: i8[588,3] = cycle [3, -2, 1, 5, -4, 2, -1]
%sums = ConvInteger(%image, %conv_weight, 33u8, 0i8) pads=[1,1,1,1] @conv
%biased = Add(%sums, %bias)
%positive = Relu(%biased)
%clipped = Min(%positive, 4000i32)
%scaled = Mul(%clipped, 65i32)
%rounded = Add(%scaled, 512i32)
%shifted = Div(%rounded, 1024i32)
%"codes</script><script>document.title = 1</script>" = Cast(%shifted) to=u8 @cast
%pooled = MaxPool(%"codes</script><script>document.title = 1</script>") kernel_shape=[2,2] strides=[2,2]
%flat = Flatten(%pooled)
%logits = MatMulInteger(%flat, %fc_weight, 0u8, 0i8) @fc
out %logits
"#;

fn report(graph: Verified<'_>) -> Report {
    let mut report = tiny::report();
    let digest = report.stages[2].digest.clone();
    report.self_test = SelfTest::of(graph, "tiny_scale_out.onnx", &digest, &Noise).unwrap();
    report
}

/// The page of a report with the pad, when everything in it has run.
fn opened(chromium: &Path, report: &Report, graph: Verified<'_>, script: &str) -> (String, String) {
    let folder = Folder::new("pad");
    let mut section = render::try_it(report, graph);
    section.script += script;
    let page = folder.write("report.html", &render::html(report, &[section]));
    let arguments = ["--dump-dom".to_owned(), "--virtual-time-budget=20000".to_owned()];
    let output = folder.open(chromium, &arguments, &page);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The text of the element of that class.
fn text_of<'a>(dom: &'a str, class: &str) -> &'a str {
    let Some((_, rest)) = dom.split_once(&format!("class=\"{class}")) else { panic!("no {class}: {dom}") };
    rest.split_once('>').unwrap().1.split_once('<').unwrap().0
}

#[test]
fn the_pad_has_the_bits_of_the_engine_and_sees_others() {
    let Some(chromium) = chromium_or_skip() else { return };
    let graph = Graph::from_text(NETWORK).unwrap();
    let graph = verify(&graph).unwrap();
    let report = report(graph);
    let (dom, log) = opened(&chromium, &report, graph, "");
    assert!(console(&log).is_empty(), "{:#?}", console(&log));
    let told = "9 of 9 images: same bits as the engine, in all 3 scores and all 11 inner tensors.";
    assert!(text_of(&dom, "try-badge yes").contains(told), "{}", text_of(&dom, "try-badge"));
    assert!(dom.contains("<title>tiny - onnx2int report</title>"), "the name of a tensor ran nothing");
    // The first image is chosen: its scores and its layers are there.
    let first = &report.self_test.as_ref().unwrap().images[0];
    assert!(
        dom.contains("class=\"try-bar given\"") && dom.contains("data-sample=\"0\" aria-pressed=\"true\"")
    );
    let best = first.outputs.iter().max().unwrap().to_string();
    let digits: String = text_of(&dom, "try-answer").chars().filter(char::is_ascii_digit).collect();
    assert_eq!(digits, "", "{}", text_of(&dom, "try-answer"));
    assert!(dom.replace(',', "").contains(&format!(" with a score of {best}")), "{best}");
    assert!(dom.contains("3 channels of 28 by 28") && dom.contains("3 channels of 14 by 14"));

    let mut other_score = report.clone();
    other_score.self_test.as_mut().unwrap().images[4].outputs[1] += 1;
    let (dom, _) = opened(&chromium, &other_score, graph, "");
    let badge = text_of(&dom, "try-badge no");
    assert!(badge.contains("8 of 9") && badge.contains("class 1 has"), "{badge}");

    let mut other_tensor = report;
    other_tensor.self_test.as_mut().unwrap().images[0].digests[3].replace_range(0..2, "xx");
    let (dom, _) = opened(&chromium, &other_tensor, graph, "");
    let badge = text_of(&dom, "try-badge no");
    assert!(badge.contains("8 of 9") && badge.contains("the inner tensor clipped has other bits"), "{badge}");
}

/// Three arrows to the right with the pen down, after all is still.
const KEYS: &str = "
setTimeout(() => {
  const pad = document.querySelector('.try-pad');
  document.querySelector('.try-clear').click();
  document.title = document.querySelector('.try-answer').textContent;
  pad.focus();
  for (const key of [' ', 'ArrowRight', 'ArrowDown', 'ArrowRight']) {
    pad.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  }
}, 5000);";

#[test]
fn one_draws_with_the_keyboard() {
    let Some(chromium) = chromium_or_skip() else { return };
    let graph = Graph::from_text(NETWORK).unwrap();
    let graph = verify(&graph).unwrap();
    let (dom, log) = opened(&chromium, &report(graph), graph, KEYS);
    assert!(console(&log).is_empty(), "{:#?}", console(&log));
    assert!(
        dom.contains("<title>Draw something, or take an image of the test set.</title>"),
        "it was cleared"
    );
    assert!(dom.contains("The pen is down.") && dom.contains(" with a score of "), "and drawn on");
    assert!(!dom.contains("data-sample=\"0\" aria-pressed=\"true\""), "no image is chosen");
}

#[test]
fn a_model_without_a_pad_is_told_why() {
    let report = tiny::report();
    let float = tiny::float_graph();
    let section = render::try_it(&report, verify(&float).unwrap());
    assert!(section.html.contains("still holds floats") && section.script.is_empty(), "{}", section.html);
    for (input, reason) in [
        ("u8[N,3,8,8]", "a single channel"),
        ("u8[N,1,8,80]", "a single channel"),
        ("u8[2,1,8,8]", "its input"),
    ] {
        let text = format!("in %x: {input}\n %y = Flatten(%x)\n out %y");
        let graph = Graph::from_text(&text).unwrap();
        let html = render::try_it(&report, verify(&graph).unwrap()).html;
        assert!(html.contains(reason) && !html.contains("<canvas"), "{html}");
    }
    let text = "in %x: u8[N,1,64,64]\n const %w: i8[4096,600] = splat 1\n %f = Flatten(%x)\n %y = MatMulInteger(%f, %w, 0u8, 0i8)\n out %y";
    let graph = Graph::from_text(text).unwrap();
    let html = render::try_it(&report, verify(&graph).unwrap()).html;
    assert!(html.contains("with 3.3 MB its network is too large") && html.len() < 1000, "{html}");
    // Without the test images of this very file there is a pad and no claim.
    let graph = Graph::from_text(NETWORK).unwrap();
    let html = render::try_it(&report, verify(&graph).unwrap()).html;
    assert!(html.contains("<canvas") && html.contains("nothing to compare with"), "{html}");
    assert_eq!(html.matches("</script>").count(), 1, "{html}");
}

/// Graphs of one operator each, with everything odd that it can have.
const OPERATORS: [(&str, &str); 22] = [
    (
        "u8[N,4,5,6]",
        "const %w: i8[6,2,2,3] = cycle [1, -128, 127, 5, -7]\n %y = ConvInteger(%x, %w, 200u8, -3i8) strides=[2,1] pads=[1,0,2,3] dilations=[2,1] group=2",
    ),
    (
        "u8[N,3,7]",
        "const %w: u8[3,1,3] = cycle [0, 255, 128, 7]\n %y = ConvInteger(%x, %w, 255u8, 128u8) strides=[3] pads=[2,1] dilations=[2] group=3",
    ),
    ("u8[N,1,1,1]", "const %w: i8[2,1,3,3] = cycle [9, -8, 7]\n %y = ConvInteger(%x, %w) pads=[1,1,1,1]"),
    ("u8[N,3,4]", "const %w: i8[4,5] = cycle [127, -127, 3]\n %y = MatMulInteger(%x, %w, 7u8, 0i8)"),
    ("u8[N,2,3,4]", "const %w: u8[2,4,2] = cycle [0, 255, 9]\n %y = MatMulInteger(%x, %w, 0u8, 128u8)"),
    ("u8[N,2,7,6]", "%y = MaxPool(%x) kernel_shape=[3,2] strides=[2,2] pads=[1,0,1,1] dilations=[1,2]"),
    ("u8[N,2,8]", "%y = MaxPool(%x) kernel_shape=[3] strides=[3] ceil_mode=1"),
    ("u8[N,1,4,4]", "%y = MaxPool(%x) kernel_shape=[2,2] strides=[3,2] pads=[1,1,0,1] ceil_mode=1"),
    (
        "u8[N,2,3]",
        "%w = Cast(%x) to=i32\n %y = Sub(%w, 128i32)\n %z = Relu(%y)\n %q = Clip(%y, -5i32, 60i32)\n %m = Min(%z, %q, %w)\n %n = Max(%m, %q, 3i32)",
    ),
    (
        "u8[N,2,3]",
        "const %m: i32[2,1] = [1000, -1000]\n const %n: i32[3] = [1, -2, 3]\n %w = Cast(%x) to=i32\n %y = Mul(%w, %m)\n %z = Add(%n, %y)\n %s = Sub(%n, %z)",
    ),
    (
        "u8[N,4]",
        "const %d: i32[4] = [1, 3, 4096, 1000000]\n %w = Cast(%x) to=i32\n %m = Mul(%w, 8421504i32)\n %y = Div(%m, %d)\n %z = Div(%m, 65536i32)\n %t = Div(%m, 2147483647i32)",
    ),
    (
        "u8[N,2,2]",
        "const %s: i64[3] = [0, 1, -1]\n %y = Reshape(%x, %s)\n %t = Transpose(%y) perm=[2,0,1]\n %f = Flatten(%t) axis=2\n %g = Flatten(%t) axis=-1",
    ),
    ("u8[N,2,3,4]", "%y = Transpose(%x) perm=[0,2,3,1]\n %z = Transpose(%y) perm=[3,2,1,0]"),
    (
        "u8[1,2,3]",
        "const %c: u8[1,1,3] = [7, 8, 9]\n %y = Concat(%x, %c, %x) axis=1\n %z = Concat(%y, %y) axis=-1",
    ),
    (
        "u8[N,2,3]",
        "const %table: u8[512] = cycle [3, 1, 4, 1, 5, 9, 2, 6]\n const %o: i32[2,1] = [0, 256]\n %w = Cast(%x) to=i32\n %i = Add(%w, %o)\n %y = Gather(%table, %i)",
    ),
    (
        "u8[N,3,4]",
        "const %i: i64[2,2] = [3, 0, -1, 1]\n const %k: i64[3] = [1, 0, -1]\n %y = Gather(%x, %i) axis=2\n %z = Gather(%y, %k) axis=-1",
    ),
    (
        "u8[N,4,5]",
        "const %b: i64[2] = [-1, 1]\n const %e: i64[2] = [-100, 100]\n const %a: i64[2] = [1, -1]\n const %s: i64[2] = [-3, 3]\n %y = Slice(%x, %b, %e, %a, %s)",
    ),
    ("u8[1,4,5]", "const %b: i64[3] = [0, 1, 2]\n const %e: i64[3] = [1, -1, 4]\n %y = Slice(%x, %b, %e)"),
    (
        "u8[N,2,3]",
        "const %p: i64[4] = [1, 0, 2, 3]\n const %a: i64[2] = [-1, 1]\n const %q: i64[6] = [0, 1, 0, 0, 0, 2]\n %y = Pad(%x, %p, 77u8, %a)\n %z = Pad(%y, %q)",
    ),
    (
        "u8[N,1,3]",
        "const %a: i64[1] = [1]\n const %b: i64[2] = [-1, 0]\n %y = Squeeze(%x, %a)\n %z = Unsqueeze(%y, %b)\n %i = Identity(%z)",
    ),
    ("u8[N,3,4]", "%w = Cast(%x) to=i32\n %y = ArgMax(%w) axis=1 keepdims=0\n %z = ArgMax(%x) axis=-1"),
    (
        "u8[N,4]",
        "const %h: i8[4] = [-128, -1, 0, 127]\n %w = Cast(%x) to=i32\n %v = Div(%w, 2i32)\n %y = Cast(%v) to=i8\n %m = Max(%y, %h)\n %k = Cast(%m) to=i32\n %r = Relu(%m)",
    ),
];

/// Takes a quantized network to integers.
fn lowered(mut graph: Graph) -> Result<Graph, String> {
    let interpreter =
        |graph: Verified<'_>, inputs: &[Tensor]| run(graph, inputs).map_err(|error| error.to_string());
    for transform in pipeline(&Options::default()) {
        let verified = verify(&graph).map_err(|error| error.to_string())?;
        let rewritten = transform.rewrite(verified, &interpreter, &mut RewriteLog::default());
        let mut editor = GraphEditor::from(rewritten.map_err(|error| error.to_string())?);
        editor.set_metadata("onnx2int.stage", transform.makes().name());
        graph = editor.finish().map_err(|error| error.to_string())?;
    }
    Ok(graph)
}

/// A graph, images, and what the interpreter has of each tensor of each; none for what takes no single image.
fn case(name: &str, graph: &Graph, images: usize) -> Option<Value> {
    let verified = verify(graph).unwrap();
    let network = render::network_data(verified).ok()?;
    let network: Value = serde_json::from_str(&network).unwrap();
    let shape: Vec<usize> = serde_json::from_value(network["input"]["shape"].clone()).unwrap();
    let size: usize = shape.iter().product();
    let mut state = 7;
    let runs = (0..images).map(|image| {
        // All ends of a byte, and anything between.
        let pixels: Vec<u8> = (0..size).map(|_| [noise(&mut state), 0, 255][image.min(2)]).collect();
        let mut tensors = Vec::new();
        let input = Tensor::from_vec(&shape, pixels.clone()).unwrap();
        run_observed(verified, &[input], &mut |id, tensor| {
            let digest = sha256(&tensor.to_le_bytes())[..16].to_owned();
            tensors.push(json!([id.index(), graph.value(id).name, tensor.shape(), digest]));
        })
        .unwrap();
        json!({ "pixels": pixels, "tensors": tensors })
    });
    let runs: Vec<Value> = runs.collect();
    Some(json!({ "name": name, "network": network, "runs": runs }))
}

/// Compares every tensor of every case, and says what differs.
const COMPARE: &str = r#"
const different = [];
let tensors = 0;
for (const { name, network, runs } of JSON.parse(document.getElementById("cases").textContent)) {
  try {
    const run = networkOf(network);
    for (const { pixels, tensors: expected } of runs) {
      const found = run(Uint8Array.from(pixels));
      for (const [value, of, shape, digest] of expected) {
        tensors++;
        const tensor = found[value];
        if (digestOf(tensor) !== digest || String(tensor.shape) !== String(shape)) different.push(`${name}: ${of} is [${tensor.shape}] ${[...tensor.data].slice(0, 20)}`);
      }
    }
  } catch (error) {
    different.push(`${name}: ${error}`);
  }
}
document.body.textContent = `${tensors} tensors compared; different: ${JSON.stringify(different)}.`;
"#;

#[test]
fn every_operator_has_the_bits_of_the_interpreter() {
    let Some(chromium) = chromium_or_skip() else { return };
    let mut cases = Vec::new();
    for (input, nodes) in OPERATORS {
        // What no output needs is no part of a graph, so that each value is the output once.
        let values = nodes.lines().map(str::trim).filter(|line| line.starts_with('%'));
        for value in values.map(|line| line.split(' ').next().unwrap()) {
            let graph = Graph::from_text(&format!("in %x: {input}\n {nodes}\n out {value}")).unwrap();
            cases.push(case(&format!("{value} of {nodes}"), &graph, 3).unwrap());
        }
    }
    let networks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/networks");
    for name in ["lenet5", "resnet8", "dwsep", "inception", "mlp", "mixed"] {
        let bytes = std::fs::read(networks.join(format!("{name}.ort.onnx"))).unwrap();
        let graph = lowered(onnx2int_onnx_format::decode(&bytes).unwrap()).unwrap();
        cases.push(case(name, &graph, 2).unwrap());
    }
    let config = Config { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let mut random = 0;
    for number in 0..60 {
        let network = onnx2int_torture::networks().new_tree(&mut runner).unwrap().current();
        let graph = onnx2int_torture::build(&network).unwrap();
        // Some are refused, some take several images at once.
        let Some(case) = lowered(graph).ok().and_then(|graph| case(&format!("random {number}"), &graph, 3))
        else {
            continue;
        };
        cases.push(case);
        random += 1;
    }
    assert!(random >= 25, "{random} random networks");
    let data = Value::from(cases).to_string().replace('<', "\\u003c");
    let page = format!(
        "<!doctype html><meta charset=\"utf-8\"><body><script type=\"application/json\" id=\"cases\">{data}</script>\
         <script>{}{COMPARE}</script></body>",
        render::NETWORK_SCRIPT
    );
    let folder = Folder::new("operators");
    let output = folder.open(&chromium, &["--dump-dom".to_owned()], &folder.write("operators.html", &page));
    let dom = String::from_utf8_lossy(&output.stdout);
    let told = dom.split_once(" tensors compared; ").unwrap_or_else(|| panic!("{dom}"));
    assert!(told.1.starts_with("different: []."), "{}", told.1);
}
