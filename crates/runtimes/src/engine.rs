//! Sessions of our engine.

use onnx2int_engine::Engine;
use onnx2int_graph::{Graph, Tensor, Verified};

use crate::prepare::verified;
use crate::{RuntimeError, Session};

/// A planned graph. Each run is done by the caller's thread; callers that have several use one session.
pub(crate) struct EngineSession {
    engine: Engine,
}

impl EngineSession {
    pub(crate) fn new(graph: &Graph) -> Result<Self, RuntimeError> {
        let engine = Engine::new(verified(graph)?).map_err(RuntimeError::Engine)?;
        Ok(Self { engine })
    }
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
