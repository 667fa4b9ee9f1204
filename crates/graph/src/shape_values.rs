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

/// The known contents of i64 tensors, of 64 elements at most.
///
/// Computed ones are followed up to rank 2: an exporter turns pads around as rows of a matrix.
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

    /// The numbers that a value of a graph in the making holds, in row-major order, if all are known.
    pub fn numbers_of(graph: &Graph, value: ValueId) -> Option<Vec<i64>> {
        let mut values = Self::default();
        values.look_back(graph, value);
        let elements = values.get(graph, value)?.into_iter().map(|element| match element {
            ShapeElement::Number(number) => Some(number),
            ShapeElement::Symbol(_) => None,
        });
        elements.collect()
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
        if graph.value(node.output).ty.rank() <= 2
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
            Op::Identity
            | Op::Unsqueeze
            | Op::Squeeze
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Cast { to: DType::I64 } => operand(0),
            Op::Transpose { perm } => {
                let data = operand(0)?;
                match (perm.as_slice(), graph.operand(node, 0)?.ty.fixed_shape()?.as_slice()) {
                    ([1, 0], &[rows, columns]) => (0..rows * columns)
                        .map(|index| data.get(index % rows * columns + index / rows).cloned())
                        .collect(),
                    _ => perm.is_sorted().then_some(data),
                }
            }
            Op::Gather { axis: 0 } if rank_of(0) == Some(1) => {
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
            Op::Concat { axis: 0 | -1 } if rank_of(0) == Some(1) => {
                let mut joined = Vec::new();
                for slot in 0..node.inputs.len() {
                    joined.extend(operand(slot)?);
                    if joined.len() > MOST_ELEMENTS {
                        return None;
                    }
                }
                Some(joined)
            }
            Op::Slice => {
                let data = operand(0)?;
                let shape = graph.operand(node, 0)?.ty.fixed_shape()?;
                let axis = if node.input(3).is_some() { number(3)? } else { 0 };
                let step = if node.input(4).is_some() { number(4)? } else { 1 };
                let rows = *shape.first()?;
                if axis != 0 && axis != -(shape.len() as i64) || data.len() % rows.max(1) != 0 {
                    return None;
                }
                let width = data.len() / rows.max(1);
                let picked = sliced(rows as i64, number(1)?, number(2)?, step)?;
                let picked = picked.into_iter().map(|row| data.get(row * width..(row + 1) * width));
                Some(picked.collect::<Option<Vec<_>>>()?.concat())
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

/// The indices that a `Slice` of that many rows takes, in its order.
fn sliced(rows: i64, start: i64, end: i64, step: i64) -> Option<Vec<usize>> {
    let from_end = |index: i64| if index < 0 { index.saturating_add(rows) } else { index };
    let (start, end) = (from_end(start), from_end(end));
    // Where a step backwards begins is a row, and where it ends may be one before the first.
    let (least, greatest) = if step > 0 { (0, rows) } else { (-1, rows - 1) };
    let (mut index, end) = (start.clamp(least, greatest), end.clamp(least, greatest));
    let mut picked = Vec::new();
    while step != 0 && (if step > 0 { index < end } else { index > end }) {
        picked.push(usize::try_from(index).ok()?);
        index = index.saturating_add(step);
    }
    (step != 0).then_some(picked)
}

fn numbers(tensor: &Tensor) -> Option<Vec<ShapeElement>> {
    if tensor.len() > MOST_ELEMENTS {
        return None;
    }
    let elements = tensor.as_slice::<i64>()?;
    Some(elements.iter().map(|&number| ShapeElement::Number(number)).collect())
}

#[cfg(test)]
mod tests {
    use super::{ShapeElement, ShapeValues};
    use crate::Graph;

    #[test]
    fn pads_turned_around_as_rows_of_a_matrix_are_followed() {
        // As PyTorch's older exporter writes `pad(x, (1, 2, 3, 4))`: last axis first, begin beside end.
        let graph = Graph::from_text(
            "in %x: f32[N,1,4,4]
             const %given: i64[4] = [1, 2, 3, 4]
             const %rest: i64[4] = [0, 0, 0, 0]
             const %pairs: i64[2] = [-1, 2]
             const %flat: i64[1] = [-1]
             const %axis: i64[1] = [0]
             const %start: i64[1] = [-1]
             const %end: i64[1] = [-9223372036854775807]
             const %step: i64[1] = [-1]
             %c = Concat(%given, %rest) axis=0
             %r = Reshape(%c, %pairs)
             %s = Slice(%r, %start, %end, %axis, %step)
             %t = Transpose(%s) perm=[1,0]
             %f = Reshape(%t, %flat)
             %pads = Cast(%f) to=i64
             %y = Pad(%x, %pads)
             out %y",
        )
        .unwrap();
        let pads = graph.value_by_name("pads").unwrap();
        let numbers = [0, 0, 3, 1, 0, 0, 4, 2].map(ShapeElement::Number).to_vec();
        assert_eq!(ShapeValues::of(&graph).get(&graph, pads), Some(numbers));
        assert_eq!(graph.value(graph.outputs()[0]).ty.to_string(), "f32[N,1,11,7]");
    }

    #[test]
    fn slices_take_the_rows_that_onnx_names() {
        for (start, end, step, rows) in [
            (0, 4, 1, vec![0, 1, 2, 3]),
            (1, i64::MAX, 2, vec![1, 3]),
            (-1, i64::MIN, -1, vec![3, 2, 1, 0]),
            (-1, i64::MIN, -3, vec![3, 0]),
            (9, 1, -1, vec![3, 2]),
            (3, 1, 1, vec![]),
        ] {
            assert_eq!(super::sliced(4, start, end, step), Some(rows), "{start}:{end}:{step}");
        }
        assert_eq!(super::sliced(4, 0, 4, 0), None);
    }
}
