//! One scale for a whole tensor is a scalar, and so is its zero point.
//!
//! Some quantizers write vectors of one element, or a vector beside a scalar.

use std::collections::HashMap;

use onnx2int_graph::pointwise::known_tensor;
use onnx2int_graph::{Graph, NodeId, Op, ValueId};

use crate::edits::rewrite_each;
use crate::{RewriteLog, TransformError};

pub(super) fn rewrite(graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let mut sites: Vec<(NodeId, usize)> = Vec::new();
    for (id, node) in graph.nodes() {
        if matches!(node.op, Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. }) {
            let is_vector_of_one = |&slot: &usize| {
                let tensor = node.input(slot).and_then(|value| known_tensor(&graph, value));
                tensor.is_some_and(|tensor| tensor.rank() == 1 && tensor.len() == 1)
            };
            sites.extend((1..3).filter(is_vector_of_one).map(|slot| (id, slot)));
        }
    }
    // Quantizers share constants, and go on sharing them.
    let mut scalars: HashMap<ValueId, ValueId> = HashMap::new();
    rewrite_each(&graph, sites, |editor, (id, slot)| {
        let vector = graph.node(id).input(slot).expect("the site has the operand");
        let name = &graph.value(vector).name;
        let scalar = match scalars.get(&vector) {
            Some(&scalar) => scalar,
            None => {
                let tensor = known_tensor(&graph, vector).and_then(|tensor| tensor.reshape(&[]).ok());
                let aside = editor.unique_name(&format!("{name}_vector"));
                editor.rename_value(vector, &aside)?;
                editor.add_constant(name, tensor.expect("the site is a constant of one element"))?
            }
        };
        scalars.insert(vector, scalar);
        editor.set_input(id, slot, Some(scalar));
        log.changed(&graph.node(id).name, format!("{name:?} is a scalar"));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::check_form;

    #[test]
    fn vectors_of_one_are_scalars() {
        check_form(
            super::rewrite,
            "in %x: f32[N,2]
             const %s: f32[1] = [0.5]
             const %b: i32[2] = [1, 2]
             const %z: i32[] = 0
             %q = QuantizeLinear(%x, %s)
             %d = DequantizeLinear(%q, %s)
             %bd = DequantizeLinear(%b, %s, %z)
             %y = Add(%d, %bd)
             out %y",
            "in %x: f32[N,2]
             const %b: i32[2] = [1, 2]
             const %z: i32[] = 0
             const %s: f32[] = 0.5
             %q = QuantizeLinear(%x, %s)
             %d = DequantizeLinear(%q, %s)
             %bd = DequantizeLinear(%b, %s, %z)
             %y = Add(%d, %bd)
             out %y",
        );
    }
}
