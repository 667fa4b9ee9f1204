//! From a graph and the values wanted to a session.

use onnx2int_graph::{Graph, GraphEditor, Source, Tensor, ValueId, Verified, verify};
use onnx2int_interpreter::check_inputs;

use crate::engine::EngineSession;
use crate::interpreter::InterpreterSession;
use crate::tract::{Plans, TractSession};
use crate::{RuntimeError, RuntimeKind};

/// A graph that is ready to run, from any number of threads at once.
pub trait Session: Send + Sync {
    /// The values that the session was prepared for, in the order asked for.
    ///
    /// `inputs` are the graph's inputs in its order. Symbolic extents, such as the batch, may
    /// differ from one run to the next.
    ///
    /// # Errors
    /// Inputs that are not of the declared types, and what the runtime cannot compute.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError>;
}

/// Makes `graph` ready to compute `outputs`: any of its values, inputs and constants included,
/// repeated or not. Nodes that none of them needs do not run.
///
/// # Errors
/// A graph that the runtime refuses; for tract, what depends on the inputs' shapes shows at the
/// first run with these shapes.
pub fn prepare(
    kind: RuntimeKind,
    graph: Verified<'_>,
    outputs: &[ValueId],
) -> Result<Box<dyn Session>, RuntimeError> {
    let graph = graph.graph();
    // Runtimes differ in what they make of an output that is an input, a constant or another
    // output; none of them is asked.
    let mut computed: Vec<ValueId> = Vec::new();
    let origins = outputs
        .iter()
        .map(|&id| match &graph.value(id).source {
            Source::Input => {
                let position = graph.inputs().iter().position(|&input| input == id);
                Origin::Input(position.expect("an input is in the list of inputs"))
            }
            Source::Constant(tensor) => Origin::Constant(tensor.clone()),
            Source::Node(_) => {
                let position = computed.iter().position(|&other| other == id);
                Origin::Computed(position.unwrap_or_else(|| {
                    computed.push(id);
                    computed.len() - 1
                }))
            }
        })
        .collect();

    let reduced = reduced(graph, &computed)?;
    let runtime: Option<Box<dyn Session>> = match (computed.is_empty(), kind) {
        (true, _) => None,
        (false, RuntimeKind::Interpreter) => Some(Box::new(InterpreterSession::new(reduced.clone()))),
        (false, RuntimeKind::Engine(kernel)) => Some(Box::new(EngineSession::new(&reduced, kernel)?)),
        (false, RuntimeKind::Tract) => Some(Box::new(TractSession::new(reduced.clone(), Plans::Optimized)?)),
        (false, RuntimeKind::TractPlain) => Some(Box::new(TractSession::new(reduced.clone(), Plans::Plain)?)),
    };
    Ok(Box::new(Selection { graph: reduced, origins, runtime }))
}

/// The graph with these outputs, without what they do not need.
fn reduced(graph: &Graph, outputs: &[ValueId]) -> Result<Graph, RuntimeError> {
    let mut editor = GraphEditor::from(graph.clone());
    editor.set_outputs(outputs);
    editor
        .finish()
        .map_err(|source| RuntimeError::Select { graph: graph.name().to_owned(), source: Box::new(source) })
}

/// The verified form of a graph that a session owns.
pub(crate) fn verified(graph: &Graph) -> Result<Verified<'_>, RuntimeError> {
    verify(graph).map_err(|source| RuntimeError::Unverified { graph: graph.name().to_owned(), source })
}

/// Where an output comes from.
enum Origin {
    /// The graph input of that position.
    Input(usize),
    /// A tensor of the graph.
    Constant(Tensor),
    /// The runtime's result of that position.
    Computed(usize),
}

/// Checks inputs, runs what must be computed, and puts the outputs in the order asked for.
struct Selection {
    graph: Graph,
    origins: Vec<Origin>,
    /// None where nothing is computed.
    runtime: Option<Box<dyn Session>>,
}

impl Session for Selection {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        check_inputs(&self.graph, inputs).map_err(RuntimeError::Inputs)?;
        let computed = match &self.runtime {
            Some(runtime) => runtime.run(inputs)?,
            None => Vec::new(),
        };
        let output = |origin: &Origin| match origin {
            Origin::Input(position) => inputs[*position].clone(),
            Origin::Constant(tensor) => tensor.clone(),
            Origin::Computed(position) => computed[*position].clone(),
        };
        Ok(self.origins.iter().map(output).collect())
    }
}
