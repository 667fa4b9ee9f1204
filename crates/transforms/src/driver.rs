//! The driver: what surrounds every pass, the same for all.

use onnx2int_graph::metadata::{self, Normalization};
use onnx2int_graph::{Graph, GraphEditor, Stage, Tensor, verify, verify_stage};
use serde::{Deserialize, Serialize};

use crate::float_tail::{Whole, cut};
use crate::passes::Sanitize;
use crate::probe::{self, ProbeError, ProbeResult};
use crate::{Executor, RewriteLog, Site, Transform, TransformError, survey};

/// What the driver compares the graph before and after on.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Pixels, `u8[n, channels, height, width]` as the model's input takes them.
    pub images: Tensor,
    /// How pixels become the input of a float model whose metadata does not say so.
    pub normalization: Normalization,
}

/// What a transform did, for reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The transform's name on the command line.
    pub transform: String,
    /// The name of the stage made.
    pub stage: String,
    /// The places that changed.
    pub sites: Vec<Site>,
    /// Nodes of the graph before.
    pub nodes_before: usize,
    /// Nodes of the graph after.
    pub nodes_after: usize,
    /// How the two compare on numbers.
    pub probe: ProbeResult,
}

/// A transform carried out and checked.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The graph after, with its stage in the metadata.
    pub graph: Graph,
    /// What was done.
    pub record: Record,
}

/// A transform that failed, with the graph to replay it on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{transform} failed")]
pub struct DriverError {
    /// The transform's name on the command line.
    pub transform: &'static str,
    /// The graph that it was given.
    pub input: Box<Graph>,
    /// What went wrong.
    #[source]
    pub failure: Box<Failure>,
}

/// What went wrong in a transform.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The model is at another stage.
    #[error("expected a model at stage {expected}, found one at stage {found}; {}", advice(*.found))]
    WrongStage {
        /// The stage that the transform takes.
        expected: Stage,
        /// The stage that the model's metadata names.
        found: Stage,
    },
    /// The model breaks rules of the stage that the transform takes.
    #[error("the model is not a valid {stage} model")]
    Before {
        /// The stage that the transform takes.
        stage: Stage,
        /// The rules broken.
        #[source]
        source: onnx2int_graph::VerifyError,
    },
    /// The pass gave up.
    #[error(transparent)]
    Rewrite(#[from] TransformError),
    /// There was nothing to change.
    #[error("found nothing to change; the model has no place that this transform rewrites")]
    NothingToDo,
    /// The result breaks rules of the stage that it should be at.
    #[error("the result is not a valid {stage} model")]
    After {
        /// The stage that the transform makes.
        stage: Stage,
        /// The rules broken.
        #[source]
        source: onnx2int_graph::VerifyError,
    },
    /// The result computes something else, or could not be run.
    #[error("comparing the model before and after")]
    Probe(#[from] ProbeError),
}

/// What to do with a model at that stage.
fn advice(found: Stage) -> String {
    match Stage::ALL.get(found.index() + 1) {
        Some(next) => format!("the next step for it is {}", next.made_by()),
        None => "it is finished".to_owned(),
    }
}

/// Applies a transform: checks the stage before, rewrites, checks the stage after, and compares
/// the two on the probe's images as [`Transform::relation`] promises.
///
/// # Errors
/// See [`Failure`]; the error carries the graph to replay the failure on.
pub fn apply(
    transform: &dyn Transform,
    graph: &Graph,
    executor: &dyn Executor,
    probe: &Probe,
) -> Result<Applied, DriverError> {
    attempt(transform, graph, executor, probe).map_err(|failure| DriverError {
        transform: transform.name(),
        input: Box::new(graph.clone()),
        failure: Box::new(failure),
    })
}

fn attempt(
    transform: &dyn Transform,
    graph: &Graph,
    executor: &dyn Executor,
    probe: &Probe,
) -> Result<Applied, Failure> {
    let (from, to) = (transform.from(), transform.makes());
    if let Some(found) = metadata::stage(graph)
        && found != from
    {
        return Err(Failure::WrongStage { expected: from, found });
    }
    let before = verify_stage(graph, from).map_err(|source| Failure::Before { stage: from, source })?;

    // A float tail stays as it is: a pass sees what is before it.
    let whole = Whole::of(graph)?;
    let before = match &whole {
        None => before,
        Some(whole) => {
            verify_stage(&whole.head, from).map_err(|source| Failure::Before { stage: from, source })?
        }
    };

    let mut log = RewriteLog::default();
    let rewritten = transform.rewrite(before, executor, &mut log)?;
    if log.sites().is_empty() && !transform.noop_allowed() {
        return Err(Failure::NothingToDo);
    }
    let head = stamp(rewritten, to)?;
    let after = verify_stage(&head, to).map_err(|source| Failure::After { stage: to, source })?;

    let probe = probe::compare(before, after, transform.relation(), executor, probe)?;
    let result = match &whole {
        None => head,
        Some(whole) => whole.put_together(&head)?,
    };
    verify_stage(&result, to).map_err(|source| Failure::After { stage: to, source })?;
    Ok(Applied { record: record(transform, graph, &result, log, probe), graph: result })
}

fn record(
    transform: &dyn Transform,
    before: &Graph,
    after: &Graph,
    log: RewriteLog,
    probe: ProbeResult,
) -> Record {
    Record {
        transform: transform.name().to_owned(),
        stage: transform.makes().name().to_owned(),
        sites: log.into_sites(),
        nodes_before: before.nodes().len(),
        nodes_after: after.nodes().len(),
        probe,
    }
}

/// Sanitizes a quantized model and leaves in floats what has no integer form, if that is its end; the
/// metadata names these nodes. A model without such nodes is sanitized as by [`apply`].
///
/// # Errors
/// See [`Failure`]; also where nothing would be left before the float tail.
pub fn sanitize_with_float_tail(
    graph: &Graph,
    executor: &dyn Executor,
    probe: &Probe,
) -> Result<Applied, DriverError> {
    let attempt = || -> Result<Applied, Failure> {
        let mut log = RewriteLog::default();
        let sound = verify(graph).map_err(TransformError::from)?;
        let sanitized = Sanitize.rewrite(sound, executor, &mut log)?;
        let nodes = match survey(&sanitized) {
            Ok(()) => return attempt(&Sanitize, graph, executor, probe),
            Err(TransformError::Unsupported { nodes }) => nodes,
            Err(other) => return Err(other.into()),
        };
        let result = stamp(cut(sanitized, nodes)?, Stage::Sanitized)?;
        let after = verify_stage(&result, Stage::Sanitized)
            .map_err(|source| Failure::After { stage: Stage::Sanitized, source })?;
        let probe = probe::compare(sound, after, Sanitize.relation(), executor, probe)?;
        Ok(Applied { record: record(&Sanitize, graph, &result, log, probe), graph: result })
    };
    attempt().map_err(|failure| DriverError {
        transform: Sanitize.name(),
        input: Box::new(graph.clone()),
        failure: Box::new(failure),
    })
}

/// Writes the stage into the metadata.
fn stamp(graph: Graph, stage: Stage) -> Result<Graph, TransformError> {
    let mut editor = GraphEditor::from(graph);
    editor.set_metadata(metadata::STAGE, stage.name());
    Ok(editor.finish()?)
}
