//! Models scored in every runtime.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::sync::atomic::{AtomicUsize, Ordering};

use onnx2int_dataset::{Images, PIXELS};
use onnx2int_evaluation::{Execution, GapMeasure, Score, ScoreHeader, ScoredModel, compare, score};
use onnx2int_graph::{
    DType, Dim, GemmAttributes, Graph, GraphEditor, Op, Tensor, TensorType, ValueId, verify,
};
use onnx2int_runtimes::{RuntimeKind, prepare};

/// Images of class `c`: bright in rows `2c` and `2c + 1`, and a little in others.
fn images() -> Images {
    let labels: Vec<u8> = (0..25).map(|index| (index * 7 % 10) as u8).collect();
    let pixels = labels
        .iter()
        .enumerate()
        .flat_map(|(index, &label)| {
            (0..PIXELS).map(move |pixel| {
                let bright = pixel / 28 / 2 == usize::from(label);
                (if bright { 200 } else { 0 }) + ((pixel * 13 + index * 5) % 50) as u8
            })
        })
        .collect();
    Images::new(pixels, labels).unwrap()
}

/// Weights that add up the rows of each class, `[784, 10]`.
fn weights() -> Vec<i8> {
    (0..PIXELS).flat_map(|pixel| (0..10).map(move |class| i8::from(pixel / 28 / 2 == class))).collect()
}

fn editor(dtype: DType) -> (GraphEditor, ValueId) {
    let mut editor = GraphEditor::new("tiny");
    let shape = [Dim::symbol("N"), Dim::Fixed(1), Dim::Fixed(28), Dim::Fixed(28)];
    let image = editor.add_input("image", TensorType::new(dtype, shape)).unwrap();
    let flat = editor.add_node("flatten", Op::Flatten { axis: 1 }, [Some(image)], "flat").unwrap();
    (editor, flat)
}

/// The brightness of each class's rows over 16, with or without a final `LogSoftmax`.
fn float_graph(log_softmax: bool) -> Graph {
    let (mut editor, flat) = editor(DType::F32);
    let weight = weights().into_iter().map(f32::from).collect();
    let weight = editor.add_constant("weight", Tensor::from_vec(&[PIXELS, 10], weight).unwrap()).unwrap();
    let gemm = Op::Gemm(GemmAttributes { alpha: 0.0625, ..GemmAttributes::default() });
    let mut output = editor.add_node("fc", gemm, [Some(flat), Some(weight)], "logits").unwrap();
    if log_softmax {
        let op = Op::LogSoftmax { axis: 1 };
        output = editor.add_node("log_softmax", op, [Some(output)], "log_probabilities").unwrap();
    }
    editor.set_outputs([output]);
    // Normalized pixels are x / 255.
    editor.set_metadata("onnx2int.mean", "0");
    editor.set_metadata("onnx2int.std", "1");
    editor.finish().unwrap()
}

/// The same sums of raw bytes.
fn integer_graph() -> Graph {
    let (mut editor, flat) = editor(DType::U8);
    let weight = Tensor::from_vec(&[PIXELS, 10], weights()).unwrap();
    let weight = editor.add_constant("weight", weight).unwrap();
    let zero = editor.add_constant("x_zero_point", Tensor::scalar(0_u8)).unwrap();
    let weight_zero = editor.add_constant("w_zero_point", Tensor::scalar(0_i8)).unwrap();
    let operands = [flat, weight, zero, weight_zero].map(Some);
    let output = editor.add_node("fc", Op::MatMulInteger, operands, "logits").unwrap();
    editor.set_outputs([output]);
    editor.set_metadata("onnx2int.stage", "scale_out");
    editor.set_metadata("onnx2int.logit_scale", (0.0625 / 255.0).to_string());
    editor.finish().unwrap()
}

fn run(graph: &Graph, kind: RuntimeKind, execution: Execution) -> Score {
    let model = ScoredModel::of(graph, "tiny.onnx", "00").unwrap();
    let session = prepare(kind, verify(graph).unwrap(), graph.outputs()).unwrap();
    let done = AtomicUsize::new(0);
    let progress = |images: usize| {
        done.fetch_add(images, Ordering::Relaxed);
    };
    let score = score(session.as_ref(), kind, &model, &images(), execution, &progress).unwrap();
    assert_eq!(done.into_inner(), images().len(), "progress counts every image once");
    score
}

const EXECUTION: Execution = Execution { batch: 4, threads: 2 };

#[test]
fn float_and_integer_models_are_right_in_every_runtime() {
    for kind in RuntimeKind::OF_ANY_STAGE {
        for graph in [float_graph(true), float_graph(false), integer_graph()] {
            let score = run(&graph, kind, EXECUTION);
            assert_eq!(score.correct, images().len(), "{} in {kind}", graph.name());
            assert_eq!(score.runtime, kind.name());
        }
    }
}

#[test]
fn every_runtime_gives_the_same_integers() {
    let scores = RuntimeKind::OF_ANY_STAGE.map(|kind| run(&integer_graph(), kind, EXECUTION));
    let comparison = compare(&scores[0], &scores[1]).unwrap();
    assert_eq!(comparison.different_outputs, Some(0));
    assert_eq!(scores[0].logits_digest(), scores[1].logits_digest());
    assert_eq!(scores[0].logits.values().dtype(), DType::I32);
}

#[test]
fn float_and_integer_logits_of_one_function_are_close() {
    let integer = run(&integer_graph(), RuntimeKind::Interpreter, EXECUTION);
    for (log_softmax, measure) in [(false, GapMeasure::Logits), (true, GapMeasure::LogSoftmax)] {
        let float = run(&float_graph(log_softmax), RuntimeKind::Interpreter, EXECUTION);
        let gap = compare(&integer, &float).unwrap().largest_logit_gap.unwrap();
        assert_eq!(gap.measure, measure);
        assert!(gap.value < 1e-4, "{gap:?}");
        assert!(gap.reference_magnitude > 1.0, "{gap:?}");
    }
}

#[test]
fn batches_and_threads_change_nothing() {
    let graph = integer_graph();
    let one = run(&graph, RuntimeKind::Interpreter, Execution { batch: 1, threads: 1 });
    let all = run(&graph, RuntimeKind::Interpreter, Execution { batch: 100, threads: 3 });
    assert_eq!(one, all);
    assert_eq!(one.to_json("l.bin"), all.to_json("l.bin"));
}

#[test]
fn a_score_survives_its_files() {
    let score = run(&float_graph(true), RuntimeKind::Interpreter, EXECUTION);
    let header = ScoreHeader::from_json(&score.to_json("tiny.logits.bin")).unwrap();
    assert_eq!(header.model_digest(), "00");
    assert_eq!(header.with_logits(&score.logits_bytes()).unwrap(), score);
}

#[test]
fn a_runtime_error_names_model_and_runtime() {
    let graph = float_graph(false);
    let session = prepare(RuntimeKind::Interpreter, verify(&graph).unwrap(), graph.outputs()).unwrap();
    // Described as a model of bytes, the float model is given bytes.
    let model = ScoredModel::of(&integer_graph(), "tiny.onnx", "00").unwrap();
    let error =
        score(session.as_ref(), RuntimeKind::Interpreter, &model, &images(), EXECUTION, &|_| ()).unwrap_err();
    assert_eq!(error.to_string(), r#"model "tiny.onnx" failed in runtime "interpreter""#);
    assert!(std::error::Error::source(&error).is_some(), "{error:?}");
}
