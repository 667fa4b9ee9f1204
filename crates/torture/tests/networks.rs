//! Two hundred random networks, and that the checks see what is wrong.

use onnx2int_graph::Graph;
use onnx2int_torture::{Fault, Outcome, Tally, check, torture};

const CASES: u64 = 200;

#[test]
fn random_networks_keep_every_promise() {
    let mut tally = Tally::default();
    for case in 0..CASES {
        match torture(1, case) {
            Ok(outcome) => tally.add(&outcome),
            Err(failure) => {
                panic!(
                    "case {case}: {:?}: {}\n{}",
                    failure.fault,
                    failure.fault,
                    failure.graph.to_full_text()
                )
            }
        }
    }
    // A generator of networks that are refused would test nothing.
    assert!(tally.lowered as u64 * 10 >= CASES * 8, "{tally}");
    assert!(tally.pre_shifted > 0 && tally.rescales > tally.lowered, "{tally}");
    assert!(tally.tables as u64 > CASES / 4 && tally.sums as u64 > CASES / 20, "{tally}");
}

/// A network of one hidden layer.
const NETWORK: &str = include_str!("one_hidden_layer.graph");

#[test]
fn a_network_that_was_written_down_replays() {
    let graph = Graph::from_text(NETWORK).unwrap();
    let outcome = check(&graph).unwrap();
    assert!(matches!(outcome, Outcome::Lowered { rescales: 1, pre_shifted: 0, .. }), "{outcome:?}");
    let again = check(&Graph::from_text(&graph.to_full_text()).unwrap()).unwrap();
    assert_eq!(outcome, again);
}

#[test]
fn a_refusal_without_cause_is_a_fault() {
    // The bias counts in other units than the products.
    let graph = Graph::from_text(&NETWORK.replace("0.00003921569", "0.5")).unwrap();
    let fault = check(&graph).unwrap_err();
    assert!(matches!(&fault, Fault::Refused { rule, .. } if rule == "bias-scale"), "{fault}");
}
