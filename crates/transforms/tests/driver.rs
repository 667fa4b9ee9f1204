//! What the driver checks around every pass.

#![expect(clippy::unwrap_used, reason = "a test may stop where its own fixtures are wrong")]

use onnx2int_graph::metadata::Normalization;
use onnx2int_graph::{Graph, GraphEditor, Op, Relation, Stage, Tensor, Verified};
use onnx2int_transforms::passes::{EncodeWeights, Encoding};
use onnx2int_transforms::{
    Executor, Failure, Options, Probe, ProbeError, RewriteLog, Transform, TransformError, apply, pipeline,
    transform_for,
};

mod tiny;

fn probe() -> Probe {
    Probe { images: tiny::images(), normalization: Normalization::default() }
}

fn failure(transform: &dyn Transform, graph: &Graph, probe: &Probe) -> Failure {
    let error = apply(transform, graph, &tiny::interpreter, probe).unwrap_err();
    assert_eq!(error.transform, transform.name());
    assert_eq!(*error.input, *graph, "the error carries the graph to replay it on");
    *error.failure
}

/// What a test's transform does to the graph.
type Rewrite = fn(&Graph, &mut RewriteLog) -> Result<Graph, TransformError>;

/// A transform that makes the sanitized stage by any means.
struct Made {
    rewrite: Rewrite,
    relation: Relation,
}

impl Transform for Made {
    fn makes(&self) -> Stage {
        Stage::Sanitized
    }

    fn relation(&self) -> Relation {
        self.relation
    }

    fn rewrite(
        &self,
        graph: Verified<'_>,
        _executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError> {
        (self.rewrite)(&graph, log)
    }
}

/// The network without its LogSoftmax, and with `op` by a constant behind its logits.
fn with_constant(
    graph: &Graph,
    log: &mut RewriteLog,
    op: Op,
    constant: Tensor,
) -> Result<Graph, TransformError> {
    log.changed("fc2", "changed");
    let mut editor = GraphEditor::from(graph.clone());
    let logits = graph.value_by_name("fc2_output").unwrap();
    let constant = editor.add_constant("constant", constant)?;
    let changed = editor.add_node("change", op, [Some(logits), Some(constant)], "changed")?;
    editor.set_outputs([changed]);
    Ok(editor.finish()?)
}

#[test]
fn a_model_at_another_stage_is_refused_with_the_next_step() {
    let made = tiny::lower();
    for transform in pipeline(&Options::default()) {
        for (found, applied) in made.iter().filter(|(stage, _)| *stage != transform.from()) {
            let error = failure(transform.as_ref(), &applied.graph, &probe());
            assert_eq!(error, Failure::WrongStage { expected: transform.from(), found: *found });
        }
    }
    let sanitized = &made[0].1.graph;
    let sanitize = transform_for(Stage::Sanitized, &Options::default()).unwrap();
    assert_eq!(
        failure(sanitize.as_ref(), sanitized, &probe()).to_string(),
        "expected a model at stage quantized, found one at stage sanitized; the next step for it is \
         add-rescaling"
    );
}

#[test]
fn a_model_that_breaks_the_rules_of_its_stage_is_refused() {
    let fold = transform_for(Stage::Folded, &Options::default()).unwrap();
    let mut editor = GraphEditor::from(tiny::quantized());
    editor.remove_metadata("onnx2int.stage");
    let unnamed = editor.finish().unwrap();
    match failure(fold.as_ref(), &unnamed, &probe()) {
        Failure::Before { stage: Stage::Pruned, source } => {
            assert!(source.violations.iter().any(|violation| violation.rule == "input-is-u8"), "{source}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn nothing_to_do_is_an_error_without_permission() {
    let idle = Made { rewrite: |graph, _| Ok(graph.clone()), relation: Relation::SameArgmax };
    assert_eq!(failure(&idle, &tiny::quantized(), &probe()), Failure::NothingToDo);
}

#[test]
fn a_result_that_breaks_the_rules_of_its_stage_is_an_error() {
    // Says that it did something, and leaves the LogSoftmax.
    let idle = Made {
        rewrite: |graph, log| {
            log.changed("fc2", "nothing");
            let mut editor = GraphEditor::from(graph.clone());
            editor.remove_metadata("onnx2int.stage");
            Ok(editor.finish()?)
        },
        relation: Relation::SameArgmax,
    };
    match failure(&idle, &tiny::quantized(), &probe()) {
        Failure::After { stage: Stage::Sanitized, source } => {
            assert!(
                source.violations.iter().any(|violation| violation.rule == "no-trailing-softmax"),
                "{source}"
            );
        }
        other => panic!("{other}"),
    }
}

#[test]
fn another_argmax_is_an_error() {
    let negated: Rewrite = |graph, log| with_constant(graph, log, Op::Mul, Tensor::scalar(-1.0_f32));
    let error =
        failure(&Made { rewrite: negated, relation: Relation::SameArgmax }, &tiny::quantized(), &probe());
    assert!(matches!(error, Failure::Probe(ProbeError::Argmax { .. })), "{error}");
    // The same graph passes where accuracy is the judge, and the record counts.
    let applied = apply(
        &Made { rewrite: negated, relation: Relation::Accuracy },
        &tiny::quantized(),
        &tiny::interpreter,
        &probe(),
    )
    .unwrap();
    assert!(applied.record.probe.argmax_changes > 16, "{:?}", applied.record.probe);
}

#[test]
fn other_logits_are_an_error_where_the_function_is_the_same() {
    // LogSoftmax shifts the logits by up to several units, so that the sanitized network is no
    // longer the same function.
    let shifted: Rewrite = |graph, log| with_constant(graph, log, Op::Add, Tensor::scalar(0.0_f32));
    let error =
        failure(&Made { rewrite: shifted, relation: Relation::SameFunction }, &tiny::quantized(), &probe());
    assert!(matches!(error, Failure::Probe(ProbeError::Gap { .. })), "{error}");
    let error =
        failure(&Made { rewrite: shifted, relation: Relation::WithinOneUnit }, &tiny::quantized(), &probe());
    assert!(matches!(error, Failure::Probe(ProbeError::Gap { .. })), "{error}");
    assert!(
        apply(
            &Made { rewrite: shifted, relation: Relation::SameArgmax },
            &tiny::quantized(),
            &tiny::interpreter,
            &probe()
        )
        .is_ok()
    );
}

#[test]
fn a_logit_that_is_no_number_is_an_error() {
    let broken: Rewrite = |graph, log| with_constant(graph, log, Op::Mul, Tensor::scalar(f32::INFINITY));
    let error =
        failure(&Made { rewrite: broken, relation: Relation::Accuracy }, &tiny::quantized(), &probe());
    assert!(matches!(error, Failure::Probe(ProbeError::NotFinite { which: "after", .. })), "{error}");
}

#[test]
fn images_that_the_model_does_not_take_are_refused() {
    let sanitize = transform_for(Stage::Sanitized, &Options::default()).unwrap();
    let images = Tensor::from_vec(&[1, 1, 28, 28], vec![0_u8; 784]).unwrap();
    let other = Probe { images, normalization: Normalization::default() };
    let error = failure(sanitize.as_ref(), &tiny::quantized(), &other);
    assert!(matches!(error, Failure::Probe(ProbeError::Interface { .. })), "{error}");
}

#[test]
fn an_executor_that_fails_is_reported() {
    let sanitize = transform_for(Stage::Sanitized, &Options::default()).unwrap();
    let broken = |_: Verified<'_>, _: &[Tensor]| Err::<Vec<Tensor>, _>("out of order".to_owned());
    let error = apply(sanitize.as_ref(), &tiny::quantized(), &broken, &probe()).unwrap_err();
    assert_eq!(
        *error.failure,
        Failure::Probe(ProbeError::Run { which: "before", message: "out of order".to_owned() })
    );
}

#[test]
fn the_preprocessing_comes_from_the_metadata_before_the_probes() {
    // The tiny network's own is the default; a probe that says otherwise changes nothing.
    let sanitize = transform_for(Stage::Sanitized, &Options::default()).unwrap();
    let rescale = transform_for(Stage::Rescaled, &Options::default()).unwrap();
    let wrong = Probe { images: tiny::images(), normalization: Normalization::new(&[0.9], &[0.1]).unwrap() };
    let sanitized = apply(sanitize.as_ref(), &tiny::quantized(), &tiny::interpreter, &wrong).unwrap().graph;
    let applied = apply(rescale.as_ref(), &sanitized, &tiny::interpreter, &wrong).unwrap();
    assert_eq!(applied.record.probe.largest_gap, Some(0.0));
}

#[test]
fn the_seeds_scale_is_judged_by_accuracy() {
    let sanitize = transform_for(Stage::Sanitized, &Options::default()).unwrap();
    let sanitized = apply(sanitize.as_ref(), &tiny::quantized(), &tiny::interpreter, &probe()).unwrap().graph;
    let options = Options { scale: Some(0.0127), zero_point: Some(33), ..Options::default() };
    let mut graph = sanitized;
    for stage in
        [Stage::Rescaled, Stage::Activations, Stage::Pruned, Stage::Folded, Stage::Split, Stage::Integer]
    {
        let transform = transform_for(stage, &options).unwrap();
        let applied = apply(transform.as_ref(), &graph, &tiny::interpreter, &probe())
            .unwrap_or_else(|error| panic!("{error}: {}", error.failure));
        assert_eq!(applied.record.probe.argmax_changes, 0, "{stage}");
        graph = applied.graph;
    }
}

#[test]
fn an_encoding_that_changes_a_bit_is_an_error() {
    let made = tiny::lower();
    let (stage, last) = made.last().unwrap();
    for encoding in Encoding::ALL {
        let encode = EncodeWeights { stage: *stage, encoding };
        let applied = apply(&encode, &last.graph, &tiny::interpreter, &probe())
            .unwrap_or_else(|error| panic!("{error}: {}", error.failure));
        assert_eq!(applied.record.transform, "encode-weights");
        assert_eq!(onnx2int_graph::metadata::stage(&applied.graph), Some(*stage));
        assert_eq!(applied.record.sites.is_empty(), encoding == Encoding::U8, "integer-ops writes u8");
    }
    let shifted: Rewrite = |graph, log| with_constant(graph, log, Op::Add, Tensor::scalar(1e-3_f32));
    let error =
        failure(&Made { rewrite: shifted, relation: Relation::SameBits }, &tiny::quantized(), &probe());
    assert!(matches!(error, Failure::Probe(ProbeError::Bits { .. })), "{error}");
}
