//! The text of a tiny network after each transform, and what the driver records about it.
//! `cargo run -p onnx2int-transforms --example bless_golden` writes the files.

use onnx2int_graph::{Op, Stage, Tensor, verify_stage};

mod tiny;

#[test]
fn each_stage_is_as_committed() {
    for (stage, applied) in tiny::lower() {
        let path = tiny::file(stage);
        let golden =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let made = applied.graph.to_full_text();
        for (number, (made, golden)) in made.lines().zip(golden.lines()).enumerate() {
            assert_eq!(made, golden, "{}, line {}", path.display(), number + 1);
        }
        assert_eq!(made.lines().count(), golden.lines().count(), "{}", path.display());
    }
}

#[test]
fn every_transform_has_work_and_says_so() {
    let made = tiny::lower();
    assert_eq!(made.len(), Stage::ALL.len() - 2);
    for (stage, applied) in &made {
        let record = &applied.record;
        assert!(!record.sites.is_empty(), "{stage}");
        assert_eq!(record.stage, stage.name());
        assert_eq!(record.nodes_after, applied.graph.nodes().len());
        assert_eq!(record.probe.images, 32);
        assert_eq!(record.probe.argmax_changes, 0, "{stage}");
        verify_stage(&applied.graph, *stage).unwrap_or_else(|error| panic!("{stage}: {error}"));
    }
}

/// A layer keeps its node's name, and its result the value's, through all stages.
#[test]
fn names_survive_where_the_thing_is_the_same() {
    for (stage, applied) in tiny::lower() {
        for name in ["conv1", "conv2", "pool", "flatten", "fc1", "fc2"] {
            assert!(applied.graph.node_by_name(name).is_some(), "{stage}: node {name}");
        }
        for name in ["input", "conv1_output", "pool_output", "fc1_output", "logits"] {
            assert!(applied.graph.value_by_name(name).is_some(), "{stage}: value {name}");
        }
        let input = applied.graph.value(applied.graph.inputs()[0]);
        assert_eq!(input.name, "input");
        assert_eq!(input.ty.shape[0].to_string(), "N", "{stage}: the batch is symbolic");
    }
}

/// The stages between the sanitized and the pruned one only move work: bit for bit the same.
#[test]
fn moving_work_changes_no_bit() {
    let made = tiny::lower();
    let logits = |stage: Stage| {
        let graph = &made.iter().find(|(made, _)| *made == stage).unwrap().1.graph;
        onnx2int_interpreter::run(verify_stage(graph, stage).unwrap(), &[tiny::images()]).unwrap()
    };
    let rescaled = logits(Stage::Rescaled);
    assert_eq!(rescaled, logits(Stage::Activations));
    assert_eq!(rescaled, logits(Stage::Pruned));
}

/// At the integer stage what is left of floats is the quantizers and their casts.
#[test]
fn integer_accumulators_are_exact() {
    let made = tiny::lower();
    let of = |stage: Stage| &made.iter().find(|(made, _)| *made == stage).unwrap().1.graph;
    for (_, node) in of(Stage::Integer).nodes() {
        let value = of(Stage::Integer).value(node.output);
        let float = value.ty.dtype == onnx2int_graph::DType::F32;
        assert_eq!(float, matches!(node.op, Op::Cast { .. } | Op::DequantizeLinear { .. }), "{}", node.name);
    }
    // The same numbers as the float accumulators, which are below 2^24.
    let observe = |stage: Stage, name: &str| {
        let graph = of(stage);
        let wanted = graph.value_by_name(name).unwrap();
        let mut seen = None;
        let inputs = [tiny::images()];
        onnx2int_interpreter::run_observed(
            verify_stage(graph, stage).unwrap(),
            &inputs,
            &mut |value, tensor| {
                if value == wanted {
                    seen = Some(tensor.clone());
                }
            },
        )
        .unwrap();
        seen.unwrap()
    };
    let float = observe(Stage::Split, "conv1_output");
    let integer = observe(Stage::Integer, "conv1_output");
    let widened: Vec<f32> = integer.as_slice::<i32>().unwrap().iter().map(|&value| value as f32).collect();
    assert_eq!(float, Tensor::from_vec(float.shape(), widened).unwrap());
}
