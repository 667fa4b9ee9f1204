//! Try it: the reader draws, and the integer-only network runs in the page.
//!
//! The page holds the network with all its weights ([`network`]), an executor of it (`network.js`), and the test images of
//! [`SelfTest`](crate::SelfTest) with what the engine gives for them, which `pad.js` compares with its own, bit for bit.

mod network;

pub use network::{NETWORK_SCRIPT, network_data};

use onnx2int_graph::{DType, Graph, Op, Verified};
use serde_json::{Value, json};

use super::{Section, bitmap, escape};
use crate::{Pixels, Report, SelfTest};

/// What is added to the page's style for it.
pub(super) const STYLE: &str = include_str!("pad.css");

const SCRIPT: &str = concat!(
    "(() => {\n\"use strict\";\n",
    include_str!("network.js"),
    include_str!("digest.js"),
    include_str!("pad.js"),
    "})();\n"
);

/// What a network may take of a page that is to stay below 6 MB.
const MOST_BYTES: usize = 5 << 19;

/// Nobody draws more pixels by hand.
const MOST_SIDE: usize = 64;

/// The section with the pad. `model` is that of the report's last row.
///
/// For a network that cannot run in a page it is a sentence that says why.
pub fn try_it(report: &Report, model: Verified<'_>) -> Section {
    let (html, script) = match pad(report, model.graph()) {
        Ok(html) => (html, SCRIPT.to_owned()),
        Err(reason) => {
            (format!("<p>This model cannot be tried here: {}.</p>\n", escape::text(&reason)), String::new())
        }
    };
    Section { id: "try-it".to_owned(), title: "Try it".to_owned(), html, script }
}

/// The pad and all that it takes, or why there is none.
fn pad(report: &Report, graph: &Graph) -> Result<String, String> {
    let last = report.stages.last().ok_or("no model was scored")?;
    if graph.values().any(|(_, value)| value.ty.dtype == DType::F32) {
        return Err(format!(
            "the last stage, {}, still holds floats, and the page computes with integers alone",
            last.name
        ));
    }
    let [height, width] = extents(graph)?;
    let network = network::network(graph)?;
    let test = report.self_test.as_ref().filter(|test| {
        // Of another file it says nothing about this one.
        test.digest == last.digest && test.images.iter().all(|image| image.pixels.len() == height * width)
    });
    let data = json!({
        "network": network, "height": height, "width": width,
        "layers": layers(graph), "test": test.map(|test| expected(test, graph)),
    });
    let data = network::without_tags(&data);
    if data.len() > MOST_BYTES {
        return Err(format!(
            "with {:.1} MB its network is too large for a page that is to stay small",
            data.len() as f64 / 1e6
        ));
    }
    Ok(format!(
        "<p>The integer-only network itself, <code>{}</code> (SHA-256 <code>{}\u{2026}</code>), runs in this page, on 8-bit and 32-bit \
         integers alone. Nothing leaves the page. A drawing is fitted into {} by {} pixels and centered by its mass in {height} by \
         {width}, as the images of MNIST were.</p>\n{}<script type=\"application/json\" class=\"try-data\">{data}</script>\n",
        escape::text(&last.file),
        escape::text(&last.digest.chars().take(12).collect::<String>()),
        fitted(height.min(width)),
        fitted(height.min(width)),
        PARTS
            .replace("{samples}", &test.map(samples).unwrap_or_default())
            .replace("{checked}", not_checked(test)),
    ))
}

/// MNIST's digits fill 20 of 28 pixels.
fn fitted(side: usize) -> usize {
    side * 20 / 28
}

const fn not_checked(test: Option<&SelfTest>) -> &'static str {
    match test {
        Some(_) => "? not run yet",
        None => "? nothing to compare with: the report was made without --data-dir",
    }
}

/// All that the script fills; it shows it once it runs.
const PARTS: &str = r#"<noscript><p>This browser runs no script, and the pad is one.</p></noscript>
<p class="try-paper">On paper there is nothing to draw on: this is the image that was tried last.</p>
<div class="try-it" hidden>
<div class="try-checks"><p class="try-badge unknown" role="status">{checked}</p><button type="button" class="try-check">Run the self-test</button></div>
<div class="try-draw">
<canvas class="try-pad" width="560" height="560" tabindex="0" role="application" aria-label="Drawing pad: arrow keys move the pen, Space puts it down or lifts it, Delete clears"></canvas>
<div class="try-buttons"><button type="button" class="try-clear">Clear</button> <span class="try-pen" role="status"></span></div>
<p class="note">Draw a digit with a finger, a pen or a mouse. <span class="try-keys">With a keyboard: the arrow keys move the pen (with Shift in small steps), Space puts it down or lifts it, Delete clears.</span></p>
</div>
<div class="try-result">
<div class="try-said"><canvas class="try-seen" role="img" aria-label="what the network is given"></canvas><p class="try-answer" role="status"></p></div>
<table class="scores try-scores"><caption>Scores of the classes: the network's own 32-bit integers</caption><thead><tr><th scope="col">class</th><th scope="col">above the lowest</th><th scope="col" class="number">score</th></tr></thead><tbody></tbody></table>
</div>
{samples}<div class="try-inside">
<h3>What each layer makes of it</h3>
<p class="note">Each small picture is a channel, from its layer's least code in black to the greatest in white.</p>
<div class="try-layers"></div>
</div>
</div>
"#;

/// Buttons of the test images.
fn samples(test: &SelfTest) -> String {
    let mut text =
        "<div class=\"try-images\">\n<h3>Images of the test set to try</h3>\n<div class=\"try-samples\">\n"
            .to_owned();
    for (position, image) in test.images.iter().enumerate() {
        let (height, width) = (test.height, test.width);
        let pixels = Pixels { channels: 1, height, width, bytes: image.pixels.clone() };
        let label = image.label.map_or_else(|| "no label".to_owned(), |label| format!("labelled {label}"));
        let picture = bitmap::data_url(&pixels).map_or_else(String::new, |url| {
            format!(
                "<img src=\"{url}\" width=\"42\" height=\"42\" alt=\"test image {}, {label}\">",
                image.image
            )
        });
        let caption = image.label.map_or_else(|| image.image.to_string(), |label| label.to_string());
        text += &format!(
            "<button type=\"button\" data-sample=\"{position}\">{picture}<span>{caption}</span></button>\n"
        );
    }
    text + "</div>\n</div>\n"
}

/// The tensors that are shown: 8-bit results, but for those that hold the same codes in another shape.
fn layers(graph: &Graph) -> Vec<Value> {
    let shown = graph.nodes().filter(|(_, node)| {
        let moves = matches!(
            node.op,
            Op::Flatten { .. }
                | Op::Reshape { .. }
                | Op::Transpose { .. }
                | Op::Squeeze
                | Op::Unsqueeze
                | Op::Identity
        );
        let value = graph.value(node.output);
        matches!(value.ty.dtype, DType::U8 | DType::I8) && !moves && !graph.outputs().contains(&node.output)
    });
    shown
        .map(|(_, node)| json!({ "value": node.output.index(), "name": graph.value(node.output).name }))
        .collect()
}

/// What the self-test compares with; its tensors by number.
fn expected(test: &SelfTest, graph: &Graph) -> Value {
    let tensors: Vec<Value> = test
        .tensors
        .iter()
        .map(|name| json!({ "value": graph.value_by_name(name).map(|id| id.index()), "name": name }))
        .collect();
    let images: Vec<Value> = test
        .images
        .iter()
        .map(|image| {
            json!({
                "image": image.image, "label": image.label, "pixels": bitmap::base64(&image.pixels),
                "outputs": image.outputs, "digests": image.digests,
            })
        })
        .collect();
    json!({ "runtime": test.runtime, "tensors": tensors, "images": images })
}

/// The height and width of what is drawn.
fn extents(graph: &Graph) -> Result<[usize; 2], String> {
    let ty = graph.inputs().first().map(|&input| &graph.value(input).ty).ok_or("it takes no image")?;
    let extents: Vec<Option<usize>> = ty.shape.iter().skip(1).map(onnx2int_graph::Dim::fixed).collect();
    match extents.as_slice() {
        [Some(1), Some(height @ 4..=MOST_SIDE), Some(width @ 4..=MOST_SIDE)] => Ok([*height, *width]),
        _ => Err(format!(
            "its input is {ty}; one can draw for a single channel of up to {MOST_SIDE} by {MOST_SIDE} pixels"
        )),
    }
}
