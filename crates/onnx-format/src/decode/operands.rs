//! The operands of one node of a file, and why a node cannot be read.

use onnx2int_graph::pointwise::known_tensor;
use onnx2int_graph::{Graph, Tensor, TensorType, ValueId};

use super::attributes::Attributes;

/// Why a node cannot be read.
pub(super) enum Refusal {
    /// The node asks for something that cannot be represented.
    Unsupported(String),
    /// It depends on a value that could not be read; the cause is reported there.
    OperandUnreadable,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Unsupported(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::Unsupported(reason.to_owned())
    }
}

/// What a name in a node's input list stands for.
#[derive(Clone, Copy)]
pub(super) enum Operand {
    /// Left out.
    Absent,
    /// Made by something that could not be read.
    Unreadable,
    /// A value of the graph so far.
    Known(ValueId),
}

/// One node of a file, as its reader sees it.
pub(super) struct Node<'a> {
    /// The version of the default operator set.
    pub(super) opset: i64,
    pub(super) attributes: Attributes<'a>,
    pub(super) operands: Operands<'a>,
}

/// The operands of one node.
pub(super) struct Operands<'a> {
    pub(super) graph: &'a Graph,
    pub(super) slots: &'a [Operand],
}

impl<'a> Operands<'a> {
    /// The operand in that slot, if there is one.
    pub(super) fn get(&self, slot: usize) -> Result<Option<ValueId>, Refusal> {
        match self.slots.get(slot) {
            None | Some(Operand::Absent) => Ok(None),
            Some(Operand::Unreadable) => Err(Refusal::OperandUnreadable),
            Some(Operand::Known(id)) => Ok(Some(*id)),
        }
    }

    /// The operand in that slot, which must be there.
    pub(super) fn required(&self, slot: usize) -> Result<ValueId, Refusal> {
        self.get(slot)?.ok_or_else(|| format!("operand {slot} is missing").into())
    }

    pub(super) fn ty(&self, slot: usize) -> Result<&'a TensorType, Refusal> {
        Ok(&self.graph.value(self.required(slot)?).ty)
    }

    /// The tensor of an operand that is an initializer or the result of a `Constant` node; none if
    /// the operand is computed, or left out.
    pub(super) fn constant(&self, slot: usize) -> Result<Option<&'a Tensor>, Refusal> {
        Ok(self.get(slot)?.and_then(|id| known_tensor(self.graph, id)))
    }

    /// Refuses more operands than the operator has.
    pub(super) fn expect_at_most(&self, most: usize) -> Result<(), Refusal> {
        match self.slots.len() {
            found if found > most => {
                Err(format!("expected at most {most} operands in this operator set, found {found}").into())
            }
            _ => Ok(()),
        }
    }
}
