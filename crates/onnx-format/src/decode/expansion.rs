//! What one node of a file becomes: one node of the graph, or several in a row.
//!
//! Operators of older sets and those of quantized files say in one node what the graph says in a
//! few. A reader only describes them, as an [`Expansion`]; the decoder makes them, so that names
//! are given in one place.

use onnx2int_graph::{Op, Tensor};

use super::operands::Operands;

/// Nodes in a row. The last one makes the value that the file's node makes, under its name.
pub(super) struct Expansion {
    steps: Vec<Step>,
}

/// One node to be made.
pub(super) struct Step {
    pub(super) op: Op,
    pub(super) inputs: Vec<Input>,
    /// How its result is called; none for the last one.
    pub(super) name: Option<StepName>,
}

/// Where an operand of a step comes from.
#[derive(Clone)]
pub(super) enum Input {
    /// It is left out.
    Absent,
    /// That operand of the file's node; left out if there it is.
    Operand(usize),
    /// The result of an earlier step.
    Step(usize),
    /// A new constant. It is named after the result of its step and its role there.
    Constant(Tensor),
}

/// The name of an inner result, after that of something in the file.
pub(super) enum StepName {
    /// `<name of that operand>_<suffix>`.
    OfOperand(usize, &'static str),
    /// `<name of the output>_<suffix>`.
    OfOutput(&'static str),
}

impl Expansion {
    /// No step yet; [`Expansion::last`] must come.
    pub(super) fn new() -> Self {
        Self { steps: Vec::new() }
    }

    /// The node as it is in the file.
    pub(super) fn same(op: Op, operands: &Operands<'_>) -> Self {
        Self::one(op, (0..operands.slots.len()).map(Input::Operand))
    }

    /// One node, of other operands.
    pub(super) fn one(op: Op, inputs: impl IntoIterator<Item = Input>) -> Self {
        Self::new().last(op, inputs)
    }

    /// An inner node; gives its result.
    pub(super) fn step(&mut self, name: StepName, op: Op, inputs: impl IntoIterator<Item = Input>) -> Input {
        self.steps.push(Step { op, inputs: trimmed(inputs), name: Some(name) });
        Input::Step(self.steps.len() - 1)
    }

    /// The last node, which makes what the file's node makes.
    pub(super) fn last(mut self, op: Op, inputs: impl IntoIterator<Item = Input>) -> Self {
        self.steps.push(Step { op, inputs: trimmed(inputs), name: None });
        self
    }

    /// The nodes in order; the last one, and it alone, has no name of its own.
    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}

/// Operands without those left out at the end.
fn trimmed(inputs: impl IntoIterator<Item = Input>) -> Vec<Input> {
    let mut inputs: Vec<_> = inputs.into_iter().collect();
    while matches!(inputs.last(), Some(Input::Absent)) {
        inputs.pop();
    }
    inputs
}
