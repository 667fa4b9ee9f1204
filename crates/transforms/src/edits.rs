//! Edits that several passes make, which keep the names that a reader of the file knows.

use onnx2int_graph::{EditError, Graph, GraphEditor, NodeId, Op, Tensor, ValueId};

use crate::TransformError;

/// Rewrites places of `graph` one after the other, in a copy that is sorted and swept at the end.
///
/// # Errors
/// The first place that cannot be rewritten.
pub(crate) fn rewrite_each<S>(
    graph: &Graph,
    sites: impl IntoIterator<Item = S>,
    mut rewrite_site: impl FnMut(&mut GraphEditor, S) -> Result<(), TransformError>,
) -> Result<Graph, TransformError> {
    let mut editor = GraphEditor::from(graph.clone());
    sites.into_iter().try_for_each(|site| rewrite_site(&mut editor, site))?;
    Ok(editor.finish()?)
}

/// Puts a constant into an operand slot, named after the node's output and the operand's role:
/// `conv1_bias_scale`.
pub(crate) fn set_constant(
    editor: &mut GraphEditor,
    node: NodeId,
    slot: usize,
    tensor: Tensor,
) -> Result<ValueId, EditError> {
    let target = editor.graph().node(node);
    let output = &editor.graph().value(target.output).name;
    let name = format!("{output}_{}", target.op.operand_role(slot));
    set_constant_named(editor, node, slot, tensor, &name)
}

/// Puts a constant of that name into an operand slot. Where the name belongs to the very constant
/// that is replaced, and nothing else reads that, it passes on.
pub(crate) fn set_constant_named(
    editor: &mut GraphEditor,
    node: NodeId,
    slot: usize,
    tensor: Tensor,
    name: &str,
) -> Result<ValueId, EditError> {
    if let Some(holder) = editor.graph().value_by_name(name) {
        let graph = editor.graph();
        let is_replaced = graph.value(holder).constant().is_some()
            && !graph.outputs().contains(&holder)
            && graph.consumers(holder).all(|user| user == (node, slot));
        if is_replaced {
            let aside = editor.unique_name(&format!("{name}_replaced"));
            editor.rename_value(holder, &aside)?;
        }
    }
    let constant = editor.add_fresh_constant(name, tensor)?;
    editor.set_input(node, slot, Some(constant));
    Ok(constant)
}

/// Puts a node between a value and all its readers, the caller among them; the result may be of
/// another type. `others` are the operands behind the first.
pub(crate) fn insert_behind(
    editor: &mut GraphEditor,
    value: ValueId,
    name: &str,
    op: Op,
    others: &[Option<ValueId>],
    output_name: &str,
) -> Result<ValueId, EditError> {
    let readers: Vec<_> = editor.graph().consumers(value).collect();
    let inputs: Vec<_> = std::iter::once(Some(value)).chain(others.iter().copied()).collect();
    let result = editor.add_node(name, op, inputs, output_name)?;
    for (reader, slot) in readers {
        editor.set_input(reader, slot, Some(result));
    }
    let outputs = editor.graph().outputs().iter();
    let outputs: Vec<ValueId> =
        outputs.map(|&output| if output == value { result } else { output }).collect();
    editor.set_outputs(outputs);
    Ok(result)
}

/// Takes what lies between `new` and `old` out: every reader of `old` reads `new`.
///
/// A graph output keeps its name: if `old` is one, `new` takes it over.
pub(crate) fn bypass(editor: &mut GraphEditor, old: ValueId, new: ValueId) -> Result<(), EditError> {
    let graph = editor.graph();
    let name_moves =
        graph.outputs().contains(&old) && !graph.outputs().contains(&new) && graph.producer(new).is_some();
    let name = graph.value(old).name.clone();
    editor.redirect_uses(old, new);
    if name_moves {
        let aside = editor.unique_name(&format!("{name}_removed"));
        editor.rename_value(old, &aside)?;
        editor.rename_value(new, &name)?;
    }
    Ok(())
}
