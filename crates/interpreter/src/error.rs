//! Why a graph could not be run.

use onnx2int_graph::{DType, TensorType};

/// Why a graph could not be run on given inputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The caller gave too few or too many tensors.
    #[error("graph {graph:?} takes {expected} inputs, found {found}")]
    InputCount {
        /// The graph's name.
        graph: String,
        /// The number of graph inputs.
        expected: usize,
        /// The number of tensors given.
        found: usize,
    },
    /// A tensor is not of the type that the graph declares for it.
    #[error("input {name:?}: expected {expected}, found {found}")]
    InputType {
        /// The graph input.
        name: String,
        /// The declared type.
        expected: TensorType,
        /// The type of the tensor given.
        found: TensorType,
    },
    /// Two axes that the graph gives one name have different extents.
    #[error(
        "input {name:?}: expected extent {expected} at axis {axis}, as the other axis named {symbol:?} has, \
         found {found}"
    )]
    SymbolicExtent {
        /// The graph input.
        name: String,
        /// The axis of that input.
        axis: usize,
        /// The name of the extent.
        symbol: String,
        /// The extent found first under that name.
        expected: usize,
        /// The extent found now.
        found: usize,
    },
    /// A node refused its operands.
    #[error("node {node:?} ({op} of {operands})")]
    Node {
        /// The node's name.
        node: String,
        /// Its operator.
        op: &'static str,
        /// The element types and shapes of its operands.
        operands: String,
        /// What is wrong.
        source: OpError,
    },
    /// A node's result is not of the type that the graph declares for it.
    #[error("node {node:?} ({op} of {operands}): expected a result of type {expected}, found {found}")]
    ResultType {
        /// The node's name.
        node: String,
        /// Its operator.
        op: &'static str,
        /// The element types and shapes of its operands.
        operands: String,
        /// The declared type.
        expected: Box<TensorType>,
        /// The type of the result.
        found: Box<TensorType>,
    },
}

/// What is wrong with the operands of one node. Elements are counted in row-major order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// A required operand was left out.
    #[error("operand {slot} is missing")]
    MissingOperand {
        /// The operand's position.
        slot: usize,
    },
    /// An operand has an element type that the operator does not take.
    #[error("expected operand {slot} of type {expected}, found {found}")]
    OperandDtype {
        /// The operand's position.
        slot: usize,
        /// What the operator takes.
        expected: &'static str,
        /// What it was given.
        found: DType,
    },
    /// Operands or attributes whose extents do not fit.
    #[error("expected {expected}, found {found}")]
    Shape {
        /// What the operator takes.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// An integer result that its element type cannot hold.
    #[error("element {element} is {value}, which {dtype} cannot hold")]
    Overflow {
        /// The element of the result.
        element: usize,
        /// The exact value, or the expression that has it.
        value: String,
        /// The element type of the result.
        dtype: DType,
    },
    /// An integer divided by zero.
    #[error("element {element} is {dividend} divided by zero")]
    DivisionByZero {
        /// The element of the result.
        element: usize,
        /// The dividend.
        dividend: String,
    },
    /// A NaN that the result could not show.
    #[error("element {element} of the operand is not a number, so that the result is undefined")]
    NotANumber {
        /// The element of the operand, or of the quotient where the operand is divided first.
        element: usize,
    },
    /// An index beyond the axis that it indexes.
    #[error("index {index} is outside an axis of extent {extent}")]
    Index {
        /// The index given.
        index: i64,
        /// The extent of the axis.
        extent: usize,
    },
    /// A pooling window that covers nothing but padding.
    #[error("the window of output position {position} covers padding only")]
    EmptyWindow {
        /// The spatial position, in row-major order.
        position: usize,
    },
    /// `Dropout` asked to drop.
    #[error("training mode is on; expected inference, where the operand passes unchanged")]
    TrainingMode,
}

impl OpError {
    pub(crate) fn shape(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Shape { expected: expected.into(), found: found.into() }
    }
}
