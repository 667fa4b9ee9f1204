//! Each target on layers at the edge of what it computes exactly.

use super::*;
use crate::{Graph, range, verify};

/// The targets at which a graph is not exact.
fn inexact(text: &str) -> Vec<&'static str> {
    let graph = Graph::from_text(text).unwrap();
    let verified = verify(&graph).unwrap();
    let ranges = range::analyze(verified);
    ALL.iter()
        .filter(|target| !target.findings(verified, &ranges).is_empty())
        .map(|target| target.name)
        .collect()
}

fn product(weights: &str, zero_point: &str) -> String {
    format!(
        "in %x: u8[N,3]
         const %w: {weights}
         %y = MatMulInteger(%x, %w, 7u8, {zero_point})
         out %y"
    )
}

fn convolution(weights: &str, zero_point: &str) -> String {
    format!(
        "in %x: u8[N,1,3]
         const %w: {weights}
         %y = ConvInteger(%x, %w, 7u8, {zero_point}) pads=[1,1]
         out %y"
    )
}

#[test]
fn signed_products_saturate_beyond_64() {
    // 2 * 255 * 64 = 32640; a third weight is in no pair with both.
    assert_eq!(inexact(&product("i8[3,1] = [64, 1, 64]", "0i8")), [""; 0]);
    let found = ["onnxruntime-avx2", "onnxruntime-before-1.24", "rten-avx2"];
    assert_eq!(inexact(&product("i8[3,1] = [65, 1, 64]", "0i8")), found);
    assert_eq!(inexact(&product("i8[3,1] = [-64, -65, 1]", "0i8")), found);
    // One large weight alone is exact: the actual weights count.
    assert_eq!(inexact(&product("i8[3,1] = [127, 0, 1]", "0i8")), [""; 0]);
    // Weights of different columns are never added.
    assert_eq!(inexact(&product("i8[3,2] = [127, 1, 0, 0, 0, 127]", "0i8")), [""; 0]);
}

#[test]
fn unsigned_products_are_exact_in_onnxruntime() {
    assert_eq!(inexact(&product("u8[3,1] = [255, 255, 1]", "128u8")), ["rten-avx2"]);
    assert_eq!(inexact(&product("u8[3,1] = [64, 192, 128]", "128u8")), [""; 0]);
}

#[test]
fn convolutions_pair_unsigned_weights_with_shifted_inputs() {
    // 2 * 127 * 128 = 32512.
    assert_eq!(inexact(&convolution("u8[1,1,3] = [127, 127, 0]", "64u8")), [""; 0]);
    assert_eq!(inexact(&convolution("u8[1,1,3] = [129, 128, 0]", "64u8")), ["rten-avx2"]);
    let signed = convolution("i8[1,1,3] = [-64, 63, 0]", "0i8");
    assert_eq!(inexact(&signed), ["onnxruntime-before-1.24"]);
    let wide = convolution("i8[1,1,3] = [-65, 64, 64]", "0i8");
    assert_eq!(inexact(&wide), ["onnxruntime-before-1.24", "rten-avx2"]);
}

#[test]
fn proven_ranges_of_the_input_count() {
    let text = "in %x: u8[N,2]
         const %w: i8[2,1] = [127, 127]
         %low = Min(%x, 128u8)
         %y = MatMulInteger(%low, %w, 7u8, 0i8)
         out %y";
    assert_eq!(inexact(text), [""; 0]);
    assert_eq!(inexact(&text.replace("128u8", "130u8")).len(), 3);
}

#[test]
fn floats_hold_sums_up_to_2_to_the_24() {
    let sum = |count: usize| {
        format!(
            "in %x: u8[N,{count}]
             const %w: u8[{count},1] = splat 127
             %y = MatMulInteger(%x, %w, 0u8, 0u8)
             out %y"
        )
    };
    // Weights -1 in rten: 127 - 128. 518 * 255 * 127 = 16775430 is below 16777216, another product is not.
    assert_eq!(inexact(&sum(518)), [""; 0]);
    assert_eq!(inexact(&sum(519)), ["tract-plain", "f32"]);
}

#[test]
fn a_finding_names_the_layer_the_reason_and_what_to_do() {
    let graph = Graph::from_text(&product("i8[3,1] = [127, 127, 1]", "0i8")).unwrap();
    let verified = verify(&graph).unwrap();
    let findings = ALL[0].findings(verified, &range::analyze(verified));
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!((finding.node.as_str(), finding.op), ("y", "MatMulInteger"));
    assert_eq!(finding.reason, "two products of filter 0 can add up to 64770, which saturates in 16 bits");
    assert!(finding.advice.contains("encode-weights"), "{finding:?}");
}
