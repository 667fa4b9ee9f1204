//! Sessions of our engine.

use std::num::NonZeroUsize;

use onnx2int_engine::{Engine, Kernel, Options};
use onnx2int_graph::{Graph, Tensor, Verified};

use crate::prepare::verified;
use crate::{RuntimeError, Session};

/// A planned graph. Each run is done by the caller's thread; callers that have several use one session.
pub(crate) struct EngineSession {
    engine: Engine,
}

impl EngineSession {
    pub(crate) fn new(graph: &Graph, kernel: Option<Kernel>) -> Result<Self, RuntimeError> {
        let options = Options { kernel, threads: None };
        let engine = Engine::with_options(verified(graph)?, options).map_err(RuntimeError::Engine)?;
        Ok(Self { engine })
    }
}

/// How the engine runs a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// The instructions to use; the fastest of this processor where none is named.
    pub kernel: Option<Kernel>,
    /// Threads that share each batch, at least 1; a single image is divided among them too.
    pub threads: usize,
}

/// A session of the engine that computes the graph's outputs, on threads of its own.
///
/// # Errors
/// A graph that the engine refuses, and a kernel that this processor lacks.
pub fn prepare_engine(
    graph: Verified<'_>,
    settings: EngineSettings,
) -> Result<Box<dyn Session>, RuntimeError> {
    let options = Options { kernel: settings.kernel, threads: NonZeroUsize::new(settings.threads) };
    let engine = Engine::with_options(graph, options).map_err(RuntimeError::Engine)?;
    Ok(Box::new(EngineSession { engine }))
}

impl Session for EngineSession {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        self.engine.run(inputs).map_err(RuntimeError::Engine)
    }
}

/// How the engine runs a graph of stage scale_out, as text: a line for each step, and the memory it takes.
///
/// # Errors
/// A graph that the engine refuses.
pub fn engine_plan(graph: Verified<'_>) -> Result<String, RuntimeError> {
    Ok(Engine::new(graph).map_err(RuntimeError::Engine)?.to_string())
}
