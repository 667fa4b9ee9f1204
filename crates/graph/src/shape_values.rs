//! What is known of the contents of shape-like tensors before anything runs.
//!
//! Exporters compute shapes at run time (`Shape -> Gather -> Concat -> Reshape`). Following the
//! extents symbolically gives the type of the `Reshape` even when the batch is symbolic.

use std::collections::{HashMap, HashSet};

use crate::{DType, Dim, Graph, Node, Op, Tensor, ValueId};

/// One element of a shape-like tensor: a number, or the extent of a symbolic axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShapeElement {
    /// A known number.
    Number(i64),
    /// The extent of the axis of that name.
    Symbol(std::sync::Arc<str>),
}

impl From<&Dim> for ShapeElement {
    fn from(dim: &Dim) -> Self {
        match dim {
            Dim::Fixed(extent) => Self::Number(*extent as i64),
            Dim::Symbol(name) => Self::Symbol(name.clone()),
        }
    }
}

/// Longer tensors are not followed. No shape is longer, as no tensor has more axes that a file may
/// declare; and a few nodes that join a tensor with itself must not fill the memory.
const MOST_ELEMENTS: usize = 64;

/// The known contents of i64 tensors of rank 0 or 1, of 64 elements at most.
#[derive(Clone, Debug, Default)]
pub struct ShapeValues {
    known: HashMap<ValueId, Vec<ShapeElement>>,
}

impl ShapeValues {
    /// Follows every shape-like value of a graph whose nodes are in execution order.
    pub fn of(graph: &Graph) -> Self {
        let mut values = Self::default();
        for (_, node) in graph.nodes() {
            values.visit(graph, node);
        }
        values
    }

    /// The elements of a value, in row-major order, if they are known.
    pub fn get(&self, graph: &Graph, value: ValueId) -> Option<Vec<ShapeElement>> {
        match graph.value(value).constant() {
            Some(tensor) => numbers(tensor),
            None => self.known.get(&value).cloned(),
        }
    }

    /// Adds what the node's output holds, given what is known of its operands.
    pub(crate) fn visit(&mut self, graph: &Graph, node: &Node) {
        if graph.value(node.output).ty.rank() <= 1
            && let Some(elements) = self.evaluate(graph, node)
        {
            self.known.insert(node.output, elements);
        }
    }

    /// Adds what is known of `value`, following the nodes that make it.
    pub(crate) fn look_back(&mut self, graph: &Graph, value: ValueId) {
        // An explicit stack: a long chain in a hostile file must not overflow the thread's own.
        let mut seen = HashSet::new();
        let mut stack = vec![(value, false)];
        while let Some((value, operands_are_done)) = stack.pop() {
            let Some((_, node)) = graph.producer(value) else { continue };
            if operands_are_done {
                self.visit(graph, node);
            } else if graph.value(value).ty.dtype == DType::I64 && seen.insert(value) {
                stack.push((value, true));
                if !matches!(node.op, Op::Shape { .. }) {
                    stack.extend(node.inputs.iter().flatten().map(|&input| (input, false)));
                }
            }
        }
    }

    fn evaluate(&self, graph: &Graph, node: &Node) -> Option<Vec<ShapeElement>> {
        let operand = |slot: usize| node.input(slot).and_then(|id| self.get(graph, id));
        let number = |slot: usize| match operand(slot)?.as_slice() {
            [ShapeElement::Number(number)] => Some(*number),
            _ => None,
        };
        let rank_of = |slot: usize| graph.operand(node, slot).map(|value| value.ty.rank());
        match &node.op {
            Op::Shape { start, end } => {
                let shape = &graph.operand(node, 0)?.ty.shape;
                let bound = |index: i64| {
                    let rank = shape.len() as i64;
                    (if index < 0 { index + rank } else { index }).clamp(0, rank) as usize
                };
                let range = bound(*start)..end.map_or(shape.len(), bound);
                Some(shape.get(range)?.iter().map(ShapeElement::from).collect())
            }
            Op::Constant(tensor) => numbers(tensor),
            Op::Identity | Op::Unsqueeze | Op::Squeeze | Op::Cast { to: DType::I64 } => operand(0),
            Op::Gather { axis: 0 } => {
                let data = operand(0)?;
                let indices = operand(1)?;
                indices
                    .iter()
                    .map(|index| match index {
                        ShapeElement::Number(index) => {
                            let index = if *index < 0 { index + data.len() as i64 } else { *index };
                            data.get(usize::try_from(index).ok()?).cloned()
                        }
                        ShapeElement::Symbol(_) => None,
                    })
                    .collect()
            }
            Op::Concat { axis: 0 | -1 } => {
                let mut joined = Vec::new();
                for slot in 0..node.inputs.len() {
                    joined.extend(operand(slot)?);
                    if joined.len() > MOST_ELEMENTS {
                        return None;
                    }
                }
                Some(joined)
            }
            Op::Slice if rank_of(0) == Some(1) => {
                let data = operand(0)?;
                let extent = data.len() as i64;
                let bound = |index: i64| (if index < 0 { index + extent } else { index }).clamp(0, extent);
                let step = if node.input(4).is_some() { number(4)? } else { 1 };
                if step != 1 {
                    return None;
                }
                let (start, end) = (bound(number(1)?) as usize, bound(number(2)?) as usize);
                Some(data.get(start..end.max(start))?.to_vec())
            }
            Op::Add | Op::Sub | Op::Mul | Op::Div => {
                let (a, b) = (number(0)?, number(1)?);
                let result = match node.op {
                    Op::Add => a.checked_add(b)?,
                    Op::Sub => a.checked_sub(b)?,
                    Op::Div => a.checked_div(b)?,
                    _ => a.checked_mul(b)?,
                };
                Some(vec![ShapeElement::Number(result)])
            }
            _ => None,
        }
    }
}

fn numbers(tensor: &Tensor) -> Option<Vec<ShapeElement>> {
    if tensor.rank() > 1 || tensor.len() > MOST_ELEMENTS {
        return None;
    }
    let elements = tensor.as_slice::<i64>()?;
    Some(elements.iter().map(|&number| ShapeElement::Number(number)).collect())
}
