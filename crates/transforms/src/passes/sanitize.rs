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
//! At last operators are brought to few forms (`crates/transforms/src/forms`): a matrix product is a
//! `Gemm`, an average a convolution of ones, an int8 activation a uint8 one, a float bias an int32
//! one.
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
//! A Reshape whose shape is not known before anything runs, but for one extent (`reshape-shape`); a
//! softmax before the output along another axis than the last (`softmax-axis`); a node that the
//! executor cannot run.

use onnx2int_graph::infer::resolve_axis;
use onnx2int_graph::shape_values::{ShapeElement, ShapeValues};
use onnx2int_graph::{
    DType, Dim, Graph, GraphEditor, Node, NodeId, Op, Source, Stage, Tensor, ValueId, Verified, verify,
};

use crate::edits::{bypass, set_constant};
use crate::{Executor, RewriteLog, Transform, TransformError, forms};

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
        let bare = drop_softmax(folded, log)?;
        forms::of_quantized(bare, log)
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
        let operand = node.input(0);
        match (&node.op, operand) {
            // The type rules refuse one in training mode.
            (Op::Dropout, Some(operand)) => self.remove(node, operand, "Dropout"),
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

#[cfg(test)]
mod tests {
    use super::Sanitize;
    use crate::testing::{check, check_refused, check_unchanged};

    #[test]
    fn constants_are_folded_but_for_the_quantization_of_weights() {
        let sites = check(
            &Sanitize,
            "in %x: f32[N,3]
             const %w: f32[2,3] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
             %t = Transpose(%w) perm=[1,0]
             %q = QuantizeLinear(%t, 0.1, 0i8)
             %d = DequantizeLinear(%q, 0.1, 0i8)
             %y = MatMul(%x, %d)
             out %y",
            "in %x: f32[N,3]
             const %q: i8[3,2] = [1, 4, 2, 5, 3, 6]
             %d = DequantizeLinear(%q, 0.1, 0i8)
             %y = Gemm(%x, %d)
             out %y",
        );
        assert_eq!(
            sites,
            [
                "t: Transpose folded into a constant",
                "q: QuantizeLinear folded into a constant",
                "y: MatMul by constant weights is Gemm",
            ]
        );
    }

    #[test]
    fn a_reshape_by_the_batch_copies_its_extent() {
        check(
            &Sanitize,
            "in %x: f32[N,12]
             %n = Shape(%x) start=0 end=1
             const %rest: i64[2] = [3, 4]
             %s = Concat(%n, %rest) axis=0
             %y = Reshape(%x, %s)
             out %y",
            "in %x: f32[N,12]
             const %y_shape: i64[3] = [0, 3, 4]
             %y = Reshape(%x, %y_shape)
             out %y",
        );
        check(
            &Sanitize,
            "in %x: f32[2,N,3]
             %n = Shape(%x) start=1 end=2
             const %rest: i64[2] = [2, 3]
             %s = Concat(%n, %rest) axis=0
             %y = Reshape(%x, %s)
             out %y",
            "in %x: f32[2,N,3]
             const %y_shape: i64[3] = [-1, 2, 3]
             %y = Reshape(%x, %y_shape)
             out %y",
        );
    }

    #[test]
    fn a_reshape_that_does_nothing_goes() {
        check(
            &Sanitize,
            "in %x: f32[N,12]
             const %s: i64[2] = [-1, 12]
             %y = Relu(%x)
             %z = Reshape(%y, %s)
             out %z",
            "in %x: f32[N,12]
             %z = Relu(%x) @y
             out %z",
        );
    }

    #[test]
    fn a_reshape_of_unknown_shape_is_refused() {
        check_refused(
            &Sanitize,
            "in %x: f32[2,N,M,3]
             %s = Shape(%x) start=1 end=3
             const %rest: i64[2] = [2, 3]
             %t = Concat(%s, %rest) axis=0
             %y = Reshape(%x, %t)
             out %y",
            "reshape-shape",
            "y",
        );
    }

    #[test]
    fn casts_there_and_back_go_and_those_that_lose_stay() {
        check(
            &Sanitize,
            "in %x: u8[N,3], %f: f32[N,3]
             %a = Cast(%x) to=i32
             %b = Cast(%a) to=u8
             %c = Cast(%b) to=i32
             %y = Relu(%c)
             %i = Cast(%f) to=i32
             %g = Cast(%i) to=f32
             %z = Relu(%g)
             out %y, %z",
            "in %x: u8[N,3], %f: f32[N,3]
             %c = Cast(%x) to=i32
             %y = Relu(%c)
             %i = Cast(%f) to=i32
             %g = Cast(%i) to=f32
             %z = Relu(%g)
             out %y, %z",
        );
    }

    #[test]
    fn a_cast_by_way_of_a_wider_type_goes_straight() {
        check(
            &Sanitize,
            "in %x: u8[N,3]
             %a = Cast(%x) to=i32
             %b = Cast(%a) to=f32
             %y = Relu(%b)
             out %y",
            "in %x: u8[N,3]
             %b = Cast(%x) to=f32
             %y = Relu(%b)
             out %y",
        );
    }

    #[test]
    fn dropout_goes_and_the_output_keeps_its_name() {
        check(
            &Sanitize,
            "in %x: f32[N,3]
             %y = Relu(%x)
             %d = Dropout(%y, 0.5, false)
             out %d",
            "in %x: f32[N,3]
             %d = Relu(%x) @y
             out %d",
        );
    }

    #[test]
    fn a_softmax_goes_with_the_pair_behind_it() {
        check(
            &Sanitize,
            "in %x: f32[N,3]
             %y = Relu(%x)
             %p = Softmax(%y) axis=-1
             %q = QuantizeLinear(%p, 0.004, 0u8)
             %d = DequantizeLinear(%q, 0.004, 0u8)
             out %d",
            "in %x: f32[N,3]
             %logits = Relu(%x) @y
             out %logits",
        );
    }

    #[test]
    fn logits_keep_their_name_where_that_one_is_taken() {
        check(
            &Sanitize,
            "in %logits: f32[N,3]
             %y = Relu(%logits)
             %p = LogSoftmax(%y) axis=1
             out %p",
            "in %logits: f32[N,3]
             %y = Relu(%logits)
             out %y",
        );
    }

    #[test]
    fn a_softmax_along_another_axis_is_refused() {
        check_refused(
            &Sanitize,
            "in %x: f32[N,3]
             %y = Relu(%x)
             %p = Softmax(%y) axis=0
             out %p",
            "softmax-axis",
            "p",
        );
    }

    #[test]
    fn a_clean_graph_and_an_output_that_needs_its_node_stay() {
        check_unchanged(&Sanitize, "in %x: f32[N,3]\n%y = Relu(%x)\nout %y");
        check_unchanged(&Sanitize, "in %x: f32[N,3]\n%y = Identity(%x)\nout %y");
        check_unchanged(
            &Sanitize,
            "in %x: f32[N,3]\n%p = Softmax(%x) axis=1\n%s = Softmax(%p) axis=1\n%r = Relu(%s)\nout %r",
        );
    }
}
