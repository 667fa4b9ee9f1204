//! Folds what is constant and removes what does nothing.
//!
//! Exporters leave shape arithmetic, idle casts and training leftovers in the graph, and networks
//! end in a softmax that no classification needs: `softmax` and `log_softmax` are increasing in each
//! logit, so that the greatest logit stays the greatest. After this pass a graph is layers,
//! quantizers and data movement with constant parameters, which is all that later passes know.
//!
//! In one walk over the nodes, in execution order:
//!
//! - `Constant` becomes an initializer, and so does every node whose operands are all constant, run
//!   by the executor. A `DequantizeLinear` of a constant stays: it is the quantization of weights.
//! - A shape that follows from the types becomes an initializer. `Reshape` by a shape with the
//!   extent of the batch in it gets 0 there (0 copies the extent), and becomes `Flatten` where it is
//!   one, and nothing where it is nothing.
//! - `Identity`, `Dropout`, a `Cast` to the type that is there already, and a `Cast` there and back
//!   are taken out.
//!
//! Then `Softmax` or `LogSoftmax` before the graph output is dropped, with a quantize/dequantize
//! pair behind it, and the output is named `logits`.
//!
//! ```text
//! in      %x: f32[N,2,4,4], %w: f32[3,32]
//! Before  %s: i64[4] = Shape(%x)
//!         %i: i64[] = Constant() value=i64[] 0
//!         %n: i64[] = Gather(%s, %i)
//!         %a: i64[1] = Constant() value=i64[1] [0]
//!         %u: i64[1] = Unsqueeze(%n, %a)
//!         %m: i64[1] = Constant() value=i64[1] [-1]
//!         %t: i64[2] = Concat(%u, %m) axis=0
//!         %c: f32[N,2,4,4] = Cast(%x) to=f32
//!         %d: f32[N,2,4,4] = Dropout(%c)
//!         %f: f32[N,32] = Reshape(%d, %t)
//!         %y: f32[N,3] = Gemm(%f, %w) transB=1 @fc
//!         %p: f32[N,3] = LogSoftmax(%y)
//!         out %p
//! After   %f: f32[N,32] = Flatten(%x)
//!         %logits: f32[N,3] = Gemm(%f, %w) transB=1 @fc
//!         out %logits
//! ```
//!
//! # Equivalence
//! Same argmax; without the softmax, the same bits. A clean graph is left as it is.
//!
//! # Refuses
//! A Dropout that is in training mode (`dropout-training`); a Reshape whose shape is not known
//! before anything runs, but for one extent (`reshape-shape`); a softmax before the output along
//! another axis than the last (`softmax-axis`); a node that the executor cannot run.

use onnx2int_graph::infer::resolve_axis;
use onnx2int_graph::shape_values::{ShapeElement, ShapeValues};
use onnx2int_graph::{
    DType, Dim, Graph, GraphEditor, Node, NodeId, Op, Source, Stage, Tensor, ValueId, Verified, verify,
};

use crate::edits::{bypass, set_constant};
use crate::{Executor, RewriteLog, Transform, TransformError};

/// The `sanitize` transform; see the file's head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sanitize;

impl Transform for Sanitize {
    fn makes(&self) -> Stage {
        Stage::Sanitized
    }

    /// A clean file is fine; the stage's rules notice what is left.
    fn noop_allowed(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        graph: Verified<'_>,
        executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError> {
        let folded = fold(graph, executor, log)?;
        drop_softmax(folded, log)
    }
}

/// Folds constants and shapes and removes idle nodes: everything but the softmax, so that the
/// outputs keep their bits. Works on float graphs as well as on quantized ones.
///
/// # Errors
/// See the file's head.
pub fn fold(
    graph: Verified<'_>,
    executor: &dyn Executor,
    log: &mut RewriteLog,
) -> Result<Graph, TransformError> {
    let mut folder = Folder {
        shapes: ShapeValues::of(&graph),
        editor: GraphEditor::from(graph.graph().clone()),
        executor,
    };
    for (id, _) in graph.nodes() {
        // As the walk left it: its operands are folded already.
        let node = folder.editor.graph().node(id).clone();
        if let Some(change) = folder.visit(id, &node)? {
            log.changed(&node.name, change);
        }
    }
    Ok(folder.editor.finish()?)
}

struct Folder<'g> {
    shapes: ShapeValues,
    editor: GraphEditor,
    executor: &'g dyn Executor,
}

impl Folder<'_> {
    /// Folds or removes one node; gives what was done, if anything.
    fn visit(&mut self, id: NodeId, node: &Node) -> Result<Option<String>, TransformError> {
        if let Some(tensor) = self.constant_result(node)? {
            return self.become_constant(node, tensor);
        }
        let graph = self.editor.graph();
        let operand = node.input(0);
        match (&node.op, operand) {
            (Op::Dropout, Some(operand)) => {
                check_inference(graph, node)?;
                self.remove(node, operand, "Dropout")
            }
            (Op::Identity, Some(operand)) => self.remove(node, operand, "Identity"),
            (Op::Cast { to }, Some(operand)) => self.visit_cast(id, node, operand, *to),
            (Op::Reshape { allow_zero }, Some(operand)) => self.visit_reshape(id, node, operand, *allow_zero),
            _ => Ok(None),
        }
    }

    /// What the node gives, if that is known before anything runs.
    fn constant_result(&self, node: &Node) -> Result<Option<Tensor>, TransformError> {
        if let Op::Constant(tensor) = &node.op {
            return Ok(Some(tensor.clone()));
        }
        let graph = self.editor.graph();
        if let Some(tensor) = known_shape(graph, &self.shapes, node.output) {
            return Ok(Some(tensor));
        }
        let all_constant = !node.inputs.is_empty()
            && node.inputs.iter().flatten().all(|&input| graph.value(input).constant().is_some());
        if !all_constant || matches!(node.op, Op::DequantizeLinear { .. }) {
            return Ok(None);
        }
        run_alone(graph, node, self.executor).map(Some)
    }

    /// Puts an initializer of the same name in the place of the node's output. A graph output must
    /// come from a node, so that one is left alone.
    fn become_constant(&mut self, node: &Node, tensor: Tensor) -> Result<Option<String>, TransformError> {
        if self.editor.graph().outputs().contains(&node.output) {
            return Ok(None);
        }
        let name = self.editor.graph().value(node.output).name.clone();
        let aside = self.editor.unique_name(&format!("{name}_folded"));
        self.editor.rename_value(node.output, &aside)?;
        let constant = self.editor.add_constant(&name, tensor)?;
        self.editor.replace_uses(node.output, constant)?;
        Ok(Some(format!("{} folded into a constant", node.op.name())))
    }

    /// Lets the readers of a node's output read its operand.
    fn remove(
        &mut self,
        node: &Node,
        operand: ValueId,
        what: &str,
    ) -> Result<Option<String>, TransformError> {
        let graph = self.editor.graph();
        let gives_output = graph.outputs().contains(&node.output);
        let computed = matches!(graph.value(operand).source, Source::Node(_));
        if gives_output && (!computed || graph.outputs().contains(&operand)) {
            // The output needs a node of its own that gives it.
            return Ok(None);
        }
        bypass(&mut self.editor, node.output, operand)?;
        Ok(Some(format!("{what} removed")))
    }

    /// A cast that cannot change a value does nothing; of two casts the first can go if its type
    /// holds all values of its operand's.
    fn visit_cast(
        &mut self,
        id: NodeId,
        node: &Node,
        operand: ValueId,
        to: DType,
    ) -> Result<Option<String>, TransformError> {
        let graph = self.editor.graph();
        let between = graph.value(operand).ty.dtype;
        if between == to {
            return self.remove(node, operand, "idle Cast");
        }
        let Some((_, before)) = graph.producer(operand) else { return Ok(None) };
        let (Op::Cast { .. }, Some(start)) = (&before.op, before.input(0)) else { return Ok(None) };
        let from = graph.value(start).ty.dtype;
        if !holds(between, from) {
            return Ok(None);
        }
        let change = format!("reads {:?} without the Cast between", graph.value(start).name);
        if from == to {
            return self.remove(node, start, "Cast there and back");
        }
        self.editor.set_input(id, 0, Some(start));
        Ok(Some(change))
    }

    fn visit_reshape(
        &mut self,
        id: NodeId,
        node: &Node,
        operand: ValueId,
        allow_zero: bool,
    ) -> Result<Option<String>, TransformError> {
        let graph = self.editor.graph();
        let (data, result) = (&graph.value(operand).ty, &graph.value(node.output).ty);
        if data == result {
            return self.remove(node, operand, "idle Reshape");
        }
        if result.rank() == 2 && data.rank() >= 2 && data.shape[0] == result.shape[0] {
            self.editor.replace_node(id, Op::Flatten { axis: 1 }, [Some(operand)]);
            return Ok(Some("Reshape is Flatten".to_owned()));
        }
        if graph.constant_operand(node, 1).is_some() {
            return Ok(None);
        }
        let elements = node.input(1).and_then(|shape| self.shapes.get(graph, shape));
        let Some(shape) = elements.and_then(|elements| constant_shape(&elements, &data.shape, allow_zero))
        else {
            let reason = "expected a shape that is known but for one extent; export with a fixed shape";
            return Err(TransformError::refused("reshape-shape", &node.name, reason));
        };
        let change = format!("shape {shape:?} is constant");
        set_constant(&mut self.editor, id, 1, Tensor::vector(shape))?;
        Ok(Some(change))
    }
}

/// The numbers of a shape-like value, if all are known.
fn known_shape(graph: &Graph, shapes: &ShapeValues, value: ValueId) -> Option<Tensor> {
    let ty = &graph.value(value).ty;
    if ty.dtype != DType::I64 {
        return None;
    }
    let numbers = shapes.get(graph, value)?.into_iter().map(|element| match element {
        ShapeElement::Number(number) => Some(number),
        ShapeElement::Symbol(_) => None,
    });
    Tensor::from_vec(&ty.fixed_shape()?, numbers.collect::<Option<Vec<_>>>()?).ok()
}

/// A shape with 0 for the extents that are copied from the operand and -1 for one other.
fn constant_shape(elements: &[ShapeElement], data: &[Dim], allow_zero: bool) -> Option<Vec<i64>> {
    let mut shape = Vec::with_capacity(elements.len());
    for (axis, element) in elements.iter().enumerate() {
        shape.push(match element {
            ShapeElement::Number(number) => *number,
            ShapeElement::Symbol(name) => match data.get(axis) {
                Some(Dim::Symbol(own)) if own == name && !allow_zero => 0,
                _ => -1,
            },
        });
    }
    (shape.iter().filter(|&&extent| extent == -1).count() <= 1).then_some(shape)
}

/// Whether a type holds every value of another.
const fn holds(wide: DType, narrow: DType) -> bool {
    match (wide, narrow) {
        (DType::F32, DType::F32 | DType::U8 | DType::I8 | DType::Bool)
        | (DType::U8, DType::U8 | DType::Bool)
        | (DType::I8, DType::I8 | DType::Bool)
        | (DType::I32, DType::I32 | DType::U8 | DType::I8 | DType::Bool)
        | (DType::I64, DType::I64 | DType::I32 | DType::U8 | DType::I8 | DType::Bool)
        | (DType::Bool, DType::Bool) => true,
        (DType::F32, DType::I32 | DType::I64)
        | (DType::U8, DType::F32 | DType::I8 | DType::I32 | DType::I64)
        | (DType::I8, DType::F32 | DType::U8 | DType::I32 | DType::I64)
        | (DType::I32, DType::F32 | DType::I64)
        | (DType::I64, DType::F32)
        | (DType::Bool, DType::F32 | DType::U8 | DType::I8 | DType::I32 | DType::I64) => false,
    }
}

fn check_inference(graph: &Graph, node: &Node) -> Result<(), TransformError> {
    let training = match node.input(2) {
        None => Some(false),
        Some(_) => graph.constant_operand(node, 2).and_then(Tensor::as_single::<bool>),
    };
    if training == Some(false) {
        return Ok(());
    }
    let reason = "expected training_mode false; export the model for inference";
    Err(TransformError::refused("dropout-training", &node.name, reason))
}

/// Runs a graph of that one node, all of whose operands are constant.
fn run_alone(graph: &Graph, node: &Node, executor: &dyn Executor) -> Result<Tensor, TransformError> {
    let mut editor = GraphEditor::new("constant");
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for (slot, input) in node.inputs.iter().enumerate() {
        inputs.push(match input.map(|input| graph.value(input)) {
            None => None,
            Some(value) => {
                let tensor = value.constant().expect("all operands are constant");
                Some(editor.add_constant(&format!("operand_{slot}"), tensor.clone())?)
            }
        });
    }
    let output = editor.add_node(&node.name, node.op.clone(), inputs, "result")?;
    editor.set_outputs([output]);
    let alone = editor.finish()?;
    let failed = |message: String| TransformError::Execution { node: node.name.clone(), message };
    let outputs = executor.run(verify(&alone)?, &[]).map_err(failed)?;
    match <[Tensor; 1]>::try_from(outputs) {
        Ok([result]) => Ok(result),
        Err(outputs) => Err(failed(format!("expected one output, found {}", outputs.len()))),
    }
}

/// Drops a softmax before a graph output, with a quantize/dequantize pair behind it.
fn drop_softmax(graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let mut outputs = graph.outputs().to_vec();
    let mut editor = GraphEditor::from(graph);
    for output in &mut outputs {
        let Some((softmax, logits)) = softmax_before(editor.graph(), *output)? else { continue };
        *output = logits;
        let graph = editor.graph();
        let taken = graph.value(logits).name == "logits" || graph.value_by_name("logits").is_some();
        let node = graph.node(softmax);
        log.changed(&node.name, format!("{} before the output dropped", node.op.name()));
        if !taken {
            editor.rename_value(logits, "logits")?;
        }
    }
    editor.set_outputs(outputs);
    Ok(editor.finish()?)
}

/// The softmax that a graph output comes from, and its operand.
fn softmax_before(graph: &Graph, output: ValueId) -> Result<Option<(NodeId, ValueId)>, TransformError> {
    let step = |value: ValueId, wanted: fn(&Op) -> bool| {
        graph.producer(value).filter(|(_, node)| wanted(&node.op)).and_then(|(_, node)| node.input(0))
    };
    let quantized = step(output, |op| matches!(op, Op::DequantizeLinear { .. }))
        .and_then(|value| step(value, |op| matches!(op, Op::QuantizeLinear { .. })));
    let Some((id, node)) = graph.producer(quantized.unwrap_or(output)) else { return Ok(None) };
    let (Op::Softmax { axis } | Op::LogSoftmax { axis }) = node.op else { return Ok(None) };
    let logits = node.input(0).expect("the operator has a first operand");
    let rank = graph.value(logits).ty.rank();
    if resolve_axis(axis, rank).ok() != rank.checked_sub(1) {
        let reason = format!("expected a softmax along the last axis, found axis {axis}; remove it");
        return Err(TransformError::refused("softmax-axis", &node.name, reason));
    }
    if graph.producer(logits).is_none() || graph.outputs().contains(&logits) {
        // The output needs a node of its own that gives it.
        return Ok(None);
    }
    Ok(Some((id, logits)))
}
