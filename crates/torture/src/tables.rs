//! Every function of one byte against its table, on all 256 codes of every channel.

use onnx2int_graph::{
    DType, Dim, Graph, GraphEditor, Node, Op, Tensor, TensorType, ValueId, pointwise, verify,
};
use onnx2int_interpreter::run;

use crate::Fault;

/// The codes that a quantizer gives a function of, if it does: operators between one dequantizer and
/// the quantizer that compute single elements.
pub(crate) fn function_of(graph: &Graph, quantizer: &Node) -> Option<ValueId> {
    let cone = pointwise::cone(graph, quantizer.input(0)?, |_| false);
    let &[leaf] = cone.leaves.as_slice() else { return None };
    let (_, dequantizer) = graph.producer(leaf)?;
    matches!(dequantizer.op, Op::DequantizeLinear { .. }).then(|| dequantizer.input(0))?
}

/// Checks that each function of the QDQ graph is a table of the integer graph, bit for bit, or is not
/// there where it gives every code back; gives the number of tables.
pub(crate) fn check(pruned: &Graph, integers: &Graph) -> Result<usize, Fault> {
    let mut tables = 0;
    for (_, node) in pruned.nodes().filter(|(_, node)| matches!(node.op, Op::QuantizeLinear { .. })) {
        let Some(codes) = function_of(pruned, node) else { continue };
        let shape = &pruned.value(codes).ty.shape;
        let all = all_codes(shape.get(1).and_then(Dim::fixed).unwrap_or(1), shape.len());
        let wanted = apply(pruned, codes, node.output, &all)?;
        let found = match integers.node_by_name(&node.name).map(|id| integers.node(id)) {
            None => all.clone(),
            Some(gather) => {
                tables += 1;
                let codes = table_input(integers, gather);
                let codes = codes.ok_or_else(|| Fault::form(&node.name, "a table of a byte"))?;
                apply(integers, codes, gather.output, &all)?
            }
        };
        let bytes = |tensor: &Tensor| tensor.to_i64_vec().unwrap_or_default();
        let (wanted, found) = (bytes(&wanted), bytes(&found));
        if wanted.len() != all.len() || found.len() != all.len() {
            return Err(Fault::form(&node.name, "a byte for each code"));
        }
        let channels = all.shape()[1];
        if let Some(index) = (0..all.len()).find(|&index| wanted[index] != found[index]) {
            return Err(Fault::Table {
                node: node.name.clone(),
                channel: index % channels,
                code: index / channels,
                found: found[index],
                wanted: wanted[index],
            });
        }
    }
    Ok(tables)
}

/// `u8[256, channels, 1...]`: each code in every channel.
fn all_codes(channels: usize, rank: usize) -> Tensor {
    let mut shape = vec![1; rank.max(2)];
    (shape[0], shape[1]) = (256, channels);
    let codes = (0..=u8::MAX).flat_map(|code| std::iter::repeat_n(code, channels)).collect();
    Tensor::from_vec::<u8>(&shape, codes).expect("every code for every channel")
}

/// The bytes in front of the Cast, the Add of a channel's offset and the Gather of a table.
fn table_input(graph: &Graph, gather: &Node) -> Option<ValueId> {
    let producer = |value: ValueId| graph.producer(value).map(|(_, node)| node);
    let is_table = matches!(gather.op, Op::Gather { .. }) && graph.constant_operand(gather, 0).is_some();
    let mut index = gather.input(1).filter(|_| is_table)?;
    if let Some(add) = producer(index).filter(|node| matches!(node.op, Op::Add)) {
        graph.constant_operand(add, 1)?;
        index = add.input(0)?;
    }
    producer(index).filter(|node| matches!(node.op, Op::Cast { to: DType::I32 }))?.input(0)
}

/// What a graph makes of these codes in the place of a value.
fn apply(graph: &Graph, codes: ValueId, output: ValueId, all: &Tensor) -> Result<Tensor, Fault> {
    let mut editor = GraphEditor::from(graph.clone());
    let mut shape: Vec<Dim> = all.shape().iter().map(|&extent| Dim::Fixed(extent)).collect();
    shape[0] = Dim::symbol("codes");
    let name = editor.unique_name("all_codes");
    let input = editor.add_input(&name, TensorType::new(DType::U8, shape))?;
    editor.redirect_uses(codes, input);
    editor.set_outputs([output]);
    let alone = editor.finish()?;
    let image = &alone.value(alone.inputs()[0]).ty;
    let extents: Vec<usize> = image.shape.iter().map(|dim| dim.fixed().unwrap_or(1)).collect();
    let zeros = Tensor::from_vec::<u8>(&extents, vec![0; extents.iter().product()]).expect("one byte each");
    let mut outputs =
        run(verify(&alone)?, &[zeros, all.clone()]).map_err(|source| Fault::run("a table", source))?;
    Ok(outputs.swap_remove(0))
}
