//! Damaged files: an error or another graph, never a panic.

use std::fs;

use onnx2int_graph::verify;
use onnx2int_onnx_format::{DecodeError, decode, encode};
use proptest::prelude::*;

fn fixture() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pytorch_small.onnx");
    fs::read(path).expect("the fixture is committed")
}

/// Whatever decodes can be handled further.
fn probe(bytes: &[u8]) {
    if let Ok(graph) = decode(bytes)
        && let Ok(verified) = verify(&graph)
    {
        decode(&encode(verified)).expect("a file of ours is readable");
    }
}

#[test]
fn a_file_cut_short_anywhere_does_not_panic() {
    let bytes = fixture();
    for length in 0..bytes.len() {
        probe(&bytes[..length]);
    }
}

#[test]
fn a_file_cut_short_within_its_graph_is_no_onnx_model() {
    let bytes = fixture();
    // The graph is one field, and by far the longest.
    for length in (64..bytes.len() - 64).step_by(97) {
        let error = decode(&bytes[..length]).expect_err("the graph is incomplete");
        assert!(matches!(error, DecodeError::NotOnnx { .. }), "{error}");
    }
}

#[test]
fn every_bit_of_a_file_may_flip() {
    let mut bytes = fixture();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            bytes[index] ^= 1 << bit;
            probe(&bytes);
            bytes[index] ^= 1 << bit;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bytes_may_be_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        probe(&bytes);
    }

    #[test]
    fn several_bytes_of_a_file_may_change(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = fixture();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        probe(&bytes);
    }
}
