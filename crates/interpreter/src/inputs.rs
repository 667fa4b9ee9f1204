//! Are these the tensors that the graph asks for?

use std::collections::HashMap;

use onnx2int_graph::{Dim, Graph, Tensor, TensorType};

use crate::RunError;

/// The extents that the inputs give to symbolic dimensions.
pub(crate) type Extents<'g> = HashMap<&'g str, usize>;

/// Whether these are the tensors that a graph asks for: their number, element types, ranks and
/// fixed extents, and one extent for all axes of one name.
///
/// # Errors
/// The first mismatch, with the name of the input, what was expected and what was found.
pub fn check_inputs(graph: &Graph, inputs: &[Tensor]) -> Result<(), RunError> {
    bind_extents(graph, inputs).map(|_| ())
}

/// As [`check_inputs`], giving the extents of the names.
pub(crate) fn bind_extents<'g>(graph: &'g Graph, inputs: &[Tensor]) -> Result<Extents<'g>, RunError> {
    if inputs.len() != graph.inputs().len() {
        return Err(RunError::InputCount {
            graph: graph.name().to_owned(),
            expected: graph.inputs().len(),
            found: inputs.len(),
        });
    }
    let mut extents = Extents::new();
    for (&id, tensor) in graph.inputs().iter().zip(inputs) {
        let value = graph.value(id);
        if !is_of_type(tensor, &value.ty, &Extents::new()) {
            return Err(RunError::InputType {
                name: value.name.clone(),
                expected: value.ty.clone(),
                found: TensorType::of(tensor),
            });
        }
        for (axis, (dim, &found)) in value.ty.shape.iter().zip(tensor.shape()).enumerate() {
            if let Dim::Symbol(symbol) = dim {
                let expected = *extents.entry(symbol).or_insert(found);
                if expected != found {
                    return Err(RunError::SymbolicExtent {
                        name: value.name.clone(),
                        axis,
                        symbol: symbol.to_string(),
                        expected,
                        found,
                    });
                }
            }
        }
    }
    Ok(extents)
}

/// Whether a tensor has the element type, the rank, the fixed extents and the known symbolic
/// extents of a type. A symbol that `extents` does not know (`N*4`, say) fits any extent.
pub(crate) fn is_of_type(tensor: &Tensor, ty: &TensorType, extents: &Extents<'_>) -> bool {
    tensor.dtype() == ty.dtype
        && tensor.rank() == ty.rank()
        && tensor.shape().iter().zip(&ty.shape).all(|(&found, dim)| match dim {
            Dim::Fixed(extent) => *extent == found,
            Dim::Symbol(symbol) => extents.get(&**symbol).is_none_or(|&extent| extent == found),
        })
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::{DType, Graph, GraphEditor};

    use super::*;

    fn graph() -> Graph {
        let mut editor = GraphEditor::new("two inputs");
        let ty = TensorType::new(DType::F32, [Dim::symbol("N"), Dim::Fixed(2)]);
        editor.add_input("a", ty.clone()).unwrap();
        editor.add_input("b", ty).unwrap();
        editor.finish().unwrap()
    }

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::from_vec(shape, vec![0.0f32; shape.iter().product()]).unwrap()
    }

    fn message(inputs: &[Tensor]) -> String {
        bind_extents(&graph(), inputs).unwrap_err().to_string()
    }

    #[test]
    fn a_symbol_takes_the_extent_of_the_input() {
        let graph = graph();
        let extents = bind_extents(&graph, &[zeros(&[3, 2]), zeros(&[3, 2])]).unwrap();
        assert_eq!(extents.get("N"), Some(&3));
    }

    #[test]
    fn every_mismatch_names_the_input_and_both_types() {
        assert_eq!(message(&[zeros(&[1, 2])]), r#"graph "two inputs" takes 2 inputs, found 1"#);
        assert_eq!(
            message(&[zeros(&[1, 2]), Tensor::vector(vec![0.0f32; 2])]),
            r#"input "b": expected f32[N,2], found f32[2]"#
        );
        assert_eq!(
            message(&[zeros(&[1, 3]), zeros(&[1, 2])]),
            r#"input "a": expected f32[N,2], found f32[1,3]"#
        );
        assert_eq!(
            message(&[Tensor::from_vec(&[1, 2], vec![0u8; 2]).unwrap(), zeros(&[1, 2])]),
            r#"input "a": expected f32[N,2], found u8[1,2]"#
        );
        assert_eq!(
            message(&[zeros(&[1, 2]), zeros(&[4, 2])]),
            r#"input "b": expected extent 1 at axis 0, as the other axis named "N" has, found 4"#
        );
    }
}
