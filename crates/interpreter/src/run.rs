//! Running a graph: every node once, in execution order.

use onnx2int_graph::{Graph, Node, Source, Tensor, TensorType, ValueId, Verified};

use crate::inputs::{Extents, bind_extents, is_of_type};
use crate::operands::Operands;
use crate::{OpError, RunError, evaluate};

/// The graph's outputs for these inputs, both in the graph's order.
///
/// # Errors
/// Inputs that are not of the declared types, and whatever a node cannot compute; see the crate
/// documentation for what counts as an error there.
pub fn run(graph: Verified<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
    run_observed(graph, inputs, &mut |_, _| {})
}

/// As [`run`], showing `observe` each graph input and then each node's result, once, as soon as it
/// is there.
///
/// A tensor is freed after its last use, so that the memory needed is that of the tensors alive
/// at one time; clone what `observe` wants to keep (elements are shared, not copied).
///
/// # Errors
/// As [`run`].
pub fn run_observed(
    graph: Verified<'_>,
    inputs: &[Tensor],
    observe: &mut dyn FnMut(ValueId, &Tensor),
) -> Result<Vec<Tensor>, RunError> {
    let graph = graph.graph();
    let extents = bind_extents(graph, inputs)?;
    let last_uses = last_uses(graph);

    let mut tensors: Vec<Option<Tensor>> =
        graph.values().map(|(_, value)| value.constant().cloned()).collect();
    for (&id, tensor) in graph.inputs().iter().zip(inputs) {
        observe(id, tensor);
        tensors[id.index()] = Some(tensor.clone());
    }

    for (position, (_, node)) in graph.nodes().enumerate() {
        let operands = Operands(
            node.inputs.iter().map(|input| input.and_then(|id| tensors[id.index()].as_ref())).collect(),
        );
        let result =
            evaluate::evaluate(&node.op, &operands).map_err(|source| at_node(node, &operands, source))?;
        check_result(node, &operands, &result, &graph.value(node.output).ty, &extents)?;
        observe(node.output, &result);
        for id in node.inputs.iter().flatten() {
            if last_uses[id.index()] == Some(position) {
                tensors[id.index()] = None;
            }
        }
        tensors[node.output.index()] = Some(result);
    }

    Ok(graph
        .outputs()
        .iter()
        .map(|id| tensors[id.index()].clone().expect("a verified graph makes every output"))
        .collect())
}

fn at_node(node: &Node, operands: &Operands<'_>, source: OpError) -> RunError {
    RunError::Node { node: node.name.clone(), op: node.op.name(), operands: operands.describe(), source }
}

/// The type rules of the graph crate and the kernels of this one say the same in two ways: where
/// they differ, one of them has a bug, and the run must not go on as if nothing were.
fn check_result(
    node: &Node,
    operands: &Operands<'_>,
    result: &Tensor,
    declared: &TensorType,
    extents: &Extents<'_>,
) -> Result<(), RunError> {
    if is_of_type(result, declared, extents) {
        return Ok(());
    }
    Err(RunError::ResultType {
        node: node.name.clone(),
        op: node.op.name(),
        operands: operands.describe(),
        expected: Box::new(declared.clone()),
        found: Box::new(TensorType::of(result)),
    })
}

/// For each value, the position of the last node that reads it; none where it must stay: constants
/// (the graph holds them anyway) and graph outputs.
fn last_uses(graph: &Graph) -> Vec<Option<usize>> {
    let mut last_uses = vec![None; graph.values().len()];
    for (position, (_, node)) in graph.nodes().enumerate() {
        for id in node.inputs.iter().flatten() {
            last_uses[id.index()] = match graph.value(*id).source {
                Source::Input | Source::Node(_) => Some(position),
                Source::Constant(_) => None,
            };
        }
    }
    for id in graph.outputs() {
        last_uses[id.index()] = None;
    }
    last_uses
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::{DType, Dim, Graph, verify};

    use super::*;
    use crate::fragment::{run_text, tensor};

    const TWO_STEPS: &str = "
        in    %x: i32[N,2]
        %doubled = Mul(%x, 2i32)
        %y = Add(%doubled, %x)
        out %y, %x";

    #[test]
    fn outputs_come_in_the_order_of_the_graph() {
        let x = tensor(&[2, 2], &[1, 2, 3, -4]);
        let outputs = run_text(TWO_STEPS, std::slice::from_ref(&x)).unwrap();
        assert_eq!(outputs, [tensor(&[2, 2], &[3, 6, 9, -12]), x]);
    }

    #[test]
    fn an_empty_batch_gives_empty_outputs() {
        let outputs = run_text(TWO_STEPS, &[tensor::<i32>(&[0, 2], &[])]).unwrap();
        assert_eq!(outputs[0].shape(), [0, 2]);
    }

    #[test]
    fn inputs_and_results_are_observed_once_in_execution_order() {
        let graph = Graph::from_text(TWO_STEPS).unwrap();
        let mut seen = Vec::new();
        let x = tensor(&[1, 2], &[5, 6]);
        run_observed(verify(&graph).unwrap(), &[x], &mut |id, tensor| {
            seen.push((graph.value(id).name.clone(), tensor.to_i64_vec().unwrap()));
        })
        .unwrap();
        let expected = [("x", vec![5, 6]), ("doubled", vec![10, 12]), ("y", vec![15, 18])];
        assert_eq!(seen, expected.map(|(name, elements)| (name.to_owned(), elements)));
    }

    #[test]
    fn a_result_of_another_shape_than_declared_is_an_error() {
        let graph = Graph::from_text(TWO_STEPS).unwrap();
        let (_, node) = graph.nodes().next().unwrap();
        let x = tensor(&[3, 2], &[0; 6]);
        let check = |symbol: &str, extent: usize| {
            let declared = TensorType::new(DType::I32, [Dim::symbol(symbol), Dim::Fixed(2)]);
            let operands = Operands(vec![Some(&x), None]);
            check_result(node, &operands, &x, &declared, &Extents::from([("N", extent)]))
        };
        assert_eq!(check("N", 3), Ok(()));
        // A symbol that no input binds fits any extent.
        assert_eq!(check("M", 4), Ok(()));
        assert_eq!(
            check("N", 4).unwrap_err().to_string(),
            r#"node "doubled" (Mul of i32[3,2], none): expected a result of type i32[N,2], found i32[3,2]"#
        );
    }

    #[test]
    fn tensors_are_freed_after_their_last_use() {
        let graph = Graph::from_text(TWO_STEPS).unwrap();
        let last = last_uses(&graph);
        let of = |name: &str| last[graph.value_by_name(name).unwrap().index()];
        assert_eq!(of("doubled"), Some(1));
        // Outputs stay, and so do constants.
        assert_eq!((of("x"), of("y"), of("doubled_b")), (None, None, None));
    }

    #[test]
    fn an_error_names_the_node_its_operator_and_its_operands() {
        let text = "in %x: i32[2]\n %y = Mul(%x, 2i32) @twice\n out %y";
        let error = run_text(text, &[tensor(&[2], &[0, i32::MAX])]).unwrap_err();
        assert_eq!(error.to_string(), r#"node "twice" (Mul of i32[2], i32[])"#);
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "element 1 is 2147483647 * 2, which i32 cannot hold");
    }
}
