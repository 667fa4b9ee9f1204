//! What each fuzz target does with its bytes; `cargo test` does the same with the kept corpus.
//!
//! A function returns on anything that is refused. It panics where something that was accepted
//! turns out not to be what it should.

use std::path::Path;

use onnx2int_certificate::Certificate;
use onnx2int_graph::{Graph, Stage, Verified, range, verify, verify_stage};

/// A target, by the name of its folder below `corpus`.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 4] =
    [("onnx", onnx), ("graph_text", graph_text), ("idx", idx), ("certificate", certificate)];

/// ONNX: whatever decodes is valid, is judged and bounded, and what is written of it is read back.
pub fn onnx(bytes: &[u8]) {
    let Ok(graph) = onnx2int_onnx_format::decode(bytes) else { return };
    let verified = verify(&graph).expect("what decodes is valid");
    judge(&graph, verified);
    assert!(survives(verified), "what was read from ONNX can be read again");
}

/// Graph text: what is read is printed, and read back the same.
pub fn graph_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(graph) = Graph::from_text(text) else { return };
    // NaN is not equal to itself, its text is.
    let printed = graph.to_full_text();
    let again = Graph::from_text(&printed).expect("what is printed can be read");
    assert_eq!(again.to_full_text(), printed);
    let short = graph.to_text();
    assert!(short.len() <= 2 * printed.len() + 1000, "the short text is not short");
    // A text may be a fragment, which is no valid model.
    if let Ok(verified) = verify(&graph) {
        judge(&graph, verified);
        survives(verified);
    }
}

/// IDX: the first byte chooses which of the four files, plain or packed, the others are.
pub fn idx(bytes: &[u8]) {
    let Some((&choice, content)) = bytes.split_first() else { return };
    let names = [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ];
    let ending = if choice & 4 == 0 { "" } else { ".gz" };
    let name = format!("{}{ending}", names[usize::from(choice & 3)]);
    if onnx2int_dataset::check_file(Path::new(&name), content).is_ok() {
        // Nothing of the right form is shorter than a file of labels, but for what packing saves.
        assert!(choice & 4 != 0 || content.len() >= 10_008, "{name} of {} bytes", content.len());
    }
}

/// A certificate: what is read is written, and read back the same.
pub fn certificate(bytes: &[u8]) {
    let Ok(certificate) = Certificate::from_json(bytes) else { return };
    let written = certificate.to_json();
    let again = Certificate::from_json(written.as_bytes()).expect("what is written can be read");
    assert_eq!(again, certificate);
    assert_eq!(certificate.difference(&again), None);
    if let Err(error) = certificate.check_obligations() {
        assert!(!error.to_string().is_empty());
    }
}

/// Every stage's rules, and the ranges of all values.
fn judge(graph: &Graph, verified: Verified<'_>) {
    for stage in Stage::ALL {
        if let Err(error) = verify_stage(graph, stage) {
            assert!(!error.to_string().is_empty());
        }
    }
    let ranges = range::analyze(verified);
    for (id, value) in graph.values() {
        assert_eq!(ranges.get(id).is_some(), value.ty.dtype.is_integer(), "{:?}", value.name);
    }
}

/// Whether what is written of a graph can be read again; if so, it is the same graph. (A text may
/// hold extents and names that are refused in files.)
fn survives(verified: Verified<'_>) -> bool {
    let bytes = onnx2int_onnx_format::encode(verified);
    let Ok(again) = onnx2int_onnx_format::decode(&bytes) else { return false };
    // Bytes are compared rather than graphs, in which NaN is not equal to itself.
    assert_eq!(onnx2int_onnx_format::encode(verify(&again).expect("what decodes is valid")), bytes);
    true
}
