//! Functions of one byte become tables of 256 bytes.
//!
//! Between a `DequantizeLinear` and a `QuantizeLinear` of one scale each, any chain of operators that
//! work element by element on that value and constants is a function from 256 codes to 256 codes:
//! `LeakyRelu`, `Sigmoid`, `HardSwish`, `PRelu`, a `BatchNormalization` that no layer takes up, the
//! change from one scale to another, preprocessing by channel. Nothing has to be approximated: the
//! function is run on all 256 codes, once for each channel where its constants differ by channel.
//!
//! In the graph that is `Cast` to i32, `Add` of `256 c` where channel `c` has a table of its own, and
//! `Gather` from the tables one behind the other.

use std::collections::HashMap;

use onnx2int_graph::pointwise::{self, known_tensor};
use onnx2int_graph::{DType, Dim, Graph, GraphEditor, NodeId, Op, Tensor, TensorType, ValueId, verify};

use crate::edits::bypass;
use crate::qdq::Parameters;
use crate::{Executor, RewriteLog, TransformError};

/// The codes of a byte.
const CODES: usize = 256;

/// Replaces every function of one byte by its table.
pub(crate) fn rewrite(
    graph: Graph,
    executor: &dyn Executor,
    log: &mut RewriteLog,
) -> Result<Graph, TransformError> {
    let mut sites = Vec::new();
    for (id, node) in graph.nodes() {
        if matches!(node.op, Op::QuantizeLinear { .. })
            && let Some(function) = Function::before(&graph, id)?
        {
            let tables = function.tables(&graph, executor)?;
            sites.push((function, tables));
        }
    }
    let mut editor = GraphEditor::from(graph.clone());
    // What gives every code back is gone for the functions behind it, which come later.
    let mut removed: HashMap<ValueId, ValueId> = HashMap::new();
    for (mut function, tables) in sites {
        function.codes = *removed.get(&function.codes).unwrap_or(&function.codes);
        if gives_codes_back(&tables) {
            removed.insert(graph.node(function.quantizer).output, function.codes);
            function.remove(&graph, &mut editor, log)?;
        } else {
            function.replace(&graph, &mut editor, &tables, log)?;
        }
    }
    Ok(editor.finish()?)
}

/// Whether there is one table, and every code is its own result.
fn gives_codes_back(tables: &[u8]) -> bool {
    tables.len() == CODES && tables.iter().enumerate().all(|(code, &result)| code == usize::from(result))
}

/// A function of one quantized value.
pub(crate) struct Function {
    quantizer: NodeId,
    /// The bytes that it is a function of.
    codes: ValueId,
    /// The output of their `DequantizeLinear`.
    leaf: ValueId,
    /// The axis that its constants vary along, if they do.
    axis: Option<usize>,
    /// What it does, for the log.
    names: Vec<&'static str>,
}

impl Function {
    /// The function in front of a quantizer; none if that is no function of one quantized value.
    pub(crate) fn before(graph: &Graph, quantizer: NodeId) -> Result<Option<Self>, TransformError> {
        let node = graph.node(quantizer);
        let input = node.input(0).expect("the operator has a first operand");
        let cone = pointwise::cone(graph, input, |_| false);
        let &[leaf] = cone.leaves.as_slice() else { return Ok(None) };
        let Some((_, dequantizer)) = graph.producer(leaf) else { return Ok(None) };
        if !matches!(dequantizer.op, Op::DequantizeLinear { .. }) {
            return Ok(None);
        }
        for quantization in [node, dequantizer] {
            let parameters = Parameters::of(graph, quantization)?;
            if parameters.dtype != DType::U8 || parameters.per_tensor().is_none() {
                let reason = "expected uint8 codes of one scale and zero point";
                return Err(TransformError::refused("function-of-codes", &quantization.name, reason));
            }
        }
        if graph.value(leaf).ty != graph.value(input).ty {
            let reason = "expected constants that broadcast to the value, found ones that widen it";
            return Err(TransformError::refused("function-of-codes", &node.name, reason));
        }
        let axis = constants_axis(graph, quantizer, &cone.inner)?;
        let producers = cone.inner.iter().rev().filter_map(|&value| graph.producer(value));
        Ok(Some(Self {
            quantizer,
            codes: dequantizer.input(0).expect("the operator has a first operand"),
            leaf,
            axis,
            names: producers.map(|(_, node)| node.op.name()).collect(),
        }))
    }

    /// The tables of all channels one behind the other, or a single one where all agree.
    fn tables(&self, graph: &Graph, executor: &dyn Executor) -> Result<Vec<u8>, TransformError> {
        let node = graph.node(self.quantizer);
        let ty = &graph.value(self.leaf).ty;
        let channels = match self.axis {
            None => 1,
            Some(axis) => ty.shape[axis].fixed().ok_or_else(|| {
                let reason = format!("expected a fixed extent along axis {axis}, found {ty}");
                TransformError::refused("function-of-codes", &node.name, reason)
            })?,
        };
        // Codes along axis 0, channels along theirs.
        let mut shape = vec![1; ty.rank().max(1)];
        shape[0] = CODES;
        if let Some(axis) = self.axis {
            shape[axis] = channels;
        }
        let codes = (0..CODES).flat_map(|code| std::iter::repeat_n(code as u8, channels)).collect();
        let codes = Tensor::from_vec::<u8>(&shape, codes).expect("every code for every channel");
        let alone = self.alone(graph, &TensorType::of(&codes))?;
        let failed = |message: String| TransformError::Execution { node: node.name.clone(), message };
        let results = executor.run(verify(&alone)?, &[codes]).map_err(failed)?;
        let results = results.first().and_then(Tensor::as_slice::<u8>);
        let results = results.ok_or_else(|| failed("expected uint8 codes".to_owned()))?;
        let table = |channel: usize| results.iter().skip(channel).step_by(channels).copied();
        let all_alike = (1..channels).all(|channel| table(channel).eq(table(0)));
        Ok((0..if all_alike { 1 } else { channels }).flat_map(table).collect())
    }

    /// A graph of the function alone, from codes of type `ty` to codes.
    fn alone(&self, graph: &Graph, ty: &TensorType) -> Result<Graph, TransformError> {
        let mut editor = GraphEditor::new("function");
        let input = editor.add_input("codes", ty.clone())?;
        let quantizer = graph.node(self.quantizer);
        let mut copier = Copier { graph, editor, codes: self.codes, input };
        let output = copier.copy(quantizer.output)?;
        copier.editor.set_outputs([output]);
        Ok(copier.editor.finish()?)
    }

    /// What it does, in a word or two.
    fn what(&self) -> String {
        match self.names.as_slice() {
            [] => "change of scale".to_owned(),
            names => names.join(", "),
        }
    }

    /// Takes out a function that gives every code back.
    fn remove(
        &self,
        graph: &Graph,
        editor: &mut GraphEditor,
        log: &mut RewriteLog,
    ) -> Result<(), TransformError> {
        let node = graph.node(self.quantizer);
        bypass(editor, node.output, self.codes)?;
        log.changed(&node.name, format!("{} gives every code back: removed", self.what()));
        Ok(())
    }

    fn replace(
        &self,
        graph: &Graph,
        editor: &mut GraphEditor,
        tables: &[u8],
        log: &mut RewriteLog,
    ) -> Result<(), TransformError> {
        let node = graph.node(self.quantizer);
        let name = graph.value(node.output).name.clone();
        let mut x = editor.add_fresh_node(
            &format!("{name}_index"),
            Op::Cast { to: DType::I32 },
            [Some(self.codes)],
        )?;
        let channels = tables.len() / CODES;
        if let Some(axis) = self.axis.filter(|_| channels > 1) {
            let mut shape = vec![1; graph.value(self.leaf).ty.rank()];
            shape[axis] = channels;
            let offsets = (0..channels).map(|channel| (channel * CODES) as i32).collect();
            let offsets = Tensor::from_vec::<i32>(&shape, offsets).expect("an offset for each channel");
            let offsets = editor.add_fresh_constant(&format!("{name}_channel_offset"), offsets)?;
            x = editor.add_fresh_node(&format!("{name}_channel_index"), Op::Add, [Some(x), Some(offsets)])?;
        }
        let table = editor.add_fresh_constant(&format!("{name}_table"), Tensor::vector(tables.to_vec()))?;
        editor.replace_node(self.quantizer, Op::Gather { axis: 0 }, [Some(table), Some(x)]);
        editor.annotate(node.output, None);
        let tables = if channels == 1 { "a table".to_owned() } else { format!("{channels} tables") };
        log.changed(&node.name, format!("{} is {tables} of 256 bytes", self.what()));
        Ok(())
    }
}

/// The one axis that the constants of a function vary along; none if they do not vary.
fn constants_axis(
    graph: &Graph,
    quantizer: NodeId,
    inner: &[ValueId],
) -> Result<Option<usize>, TransformError> {
    let mut found = None;
    for (_, node) in inner.iter().filter_map(|&value| graph.producer(value)) {
        let rank = graph.value(node.output).ty.rank();
        let constants = node.inputs.iter().flatten().filter(|&&value| pointwise::is_known(graph, value));
        for &constant in constants {
            let shape = &graph.value(constant).ty.shape;
            // The parameters of a normalization are vectors along the channels.
            let first = match node.op {
                Op::BatchNormalization { .. } => 1,
                _ => rank - shape.len(),
            };
            for (axis, extent) in shape.iter().enumerate() {
                if *extent == Dim::Fixed(1) {
                    continue;
                }
                if *found.get_or_insert(first + axis) != first + axis || first + axis == 0 {
                    let reason = format!(
                        "expected constants that vary along one axis behind the batch, found {:?} of {:?}",
                        graph.value(constant).name,
                        node.name
                    );
                    return Err(TransformError::refused(
                        "function-of-codes",
                        &graph.node(quantizer).name,
                        reason,
                    ));
                }
            }
        }
    }
    Ok(found)
}

/// Copies what a value needs into another graph, down to the codes.
struct Copier<'g> {
    graph: &'g Graph,
    editor: GraphEditor,
    codes: ValueId,
    input: ValueId,
}

impl Copier<'_> {
    fn copy(&mut self, value: ValueId) -> Result<ValueId, TransformError> {
        if value == self.codes {
            return Ok(self.input);
        }
        let name = &self.graph.value(value).name;
        if let Some(done) = self.editor.graph().value_by_name(name) {
            return Ok(done);
        }
        if let Some(tensor) = known_tensor(self.graph, value) {
            return Ok(self.editor.add_constant(name, tensor.clone())?);
        }
        let (_, node) = self.graph.producer(value).expect("only the codes come from elsewhere");
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            inputs.push(input.map(|input| self.copy(input)).transpose()?);
        }
        Ok(self.editor.add_node(&node.name, node.op.clone(), inputs, name)?)
    }
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::{Graph, Tensor, verify};

    use crate::testing::{interpreter, parse};
    use crate::{RewriteLog, TransformError};

    fn rewritten(text: &str) -> Result<(Graph, Graph, Vec<String>), TransformError> {
        let graph = parse(text);
        let mut log = RewriteLog::default();
        let result = super::rewrite(graph.clone(), &interpreter, &mut log)?;
        let changes = log.sites().iter().map(|site| site.change.clone()).collect();
        Ok((graph, result, changes))
    }

    /// Runs both on every code in every channel.
    fn check(text: &str, change: &str, nodes: &[&str]) {
        let (before, after, changes) = rewritten(text).unwrap();
        assert_eq!(changes, [change]);
        let names: Vec<&str> = after.nodes().map(|(_, node)| node.op.name()).collect();
        assert_eq!(names, nodes);
        let channels = before.value(before.inputs()[0]).ty.shape[1].fixed().unwrap();
        let codes = (0..256).flat_map(|code| std::iter::repeat_n(code as u8, channels)).collect();
        let codes = Tensor::from_vec::<u8>(&[256, channels], codes).unwrap();
        let run = |graph: &Graph| interpreter(verify(graph).unwrap(), std::slice::from_ref(&codes)).unwrap();
        assert_eq!(run(&before), run(&after));
    }

    #[test]
    fn functions_of_a_byte_are_tables() {
        let text = |function: &str| {
            format!(
                "in %x: u8[N,2]
                 const %k: f32[2] = [0.5, -2.0]
                 %d = DequantizeLinear(%x, 0.05, 128u8)
                 {function}
                 %q = QuantizeLinear(%f, 0.03, 7u8)
                 out %q"
            )
        };
        let one = ["Cast", "Gather"];
        check(&text("%f = Sigmoid(%d)"), "Sigmoid is a table of 256 bytes", &one);
        check(
            &text("%s = HardSigmoid(%d)\n%f = Mul(%d, %s)"),
            "HardSigmoid, Mul is a table of 256 bytes",
            &one,
        );
        let several = ["Cast", "Add", "Gather"];
        check(&text("%f = PRelu(%d, %k)"), "PRelu is 2 tables of 256 bytes", &several);
        check(&text("%g = Relu(%d)\n%f = Sub(%k, %g)"), "Relu, Sub is 2 tables of 256 bytes", &several);
    }

    #[test]
    fn a_change_of_scale_is_a_table_and_none_where_nothing_changes() {
        let text = |scale: &str| {
            format!(
                "in %x: u8[N,2]
                 %d = DequantizeLinear(%x, 0.05, 128u8)
                 %q = QuantizeLinear(%d, {scale}, 128u8)
                 %e = DequantizeLinear(%q, 1.0, 128u8)
                 out %e"
            )
        };
        check(
            &text("0.1"),
            "change of scale is a table of 256 bytes",
            &["Cast", "Gather", "DequantizeLinear"],
        );
        check(&text("0.05"), "change of scale gives every code back: removed", &["DequantizeLinear"]);
    }

    #[test]
    fn behind_what_gives_every_code_back_a_table_reads_what_was_before() {
        let text = "in %x: u8[N,2]
             %d = DequantizeLinear(%x, 0.05, 128u8)
             %c = Clip(%d, -100.0, 100.0)
             %q = QuantizeLinear(%c, 0.05, 128u8)
             %e = DequantizeLinear(%q, 0.05, 128u8)
             %g = Clip(%e, -90.0, 90.0)
             %r = QuantizeLinear(%g, 0.05, 128u8)
             %f = DequantizeLinear(%r, 0.05, 128u8)
             %s = Sigmoid(%f)
             %t = QuantizeLinear(%s, 0.004, 0u8)
             out %t";
        let (_, after, _) = rewritten(text).unwrap();
        assert_eq!(
            after.to_full_text().lines().filter(|line| line.starts_with('%')).collect::<Vec<_>>(),
            ["%t_index: i32[N,2] = Cast(%x) to=i32", "%t: u8[N,2] = Gather(%t_table, %t_index)"]
        );
    }

    #[test]
    fn what_is_no_function_of_codes_is_refused_or_left() {
        let sum = "in %x: u8[N,2], %y: u8[N,2]
             %d = DequantizeLinear(%x, 0.05, 128u8)
             %e = DequantizeLinear(%y, 0.05, 128u8)
             %s = Add(%d, %e)
             %q = QuantizeLinear(%s, 0.1, 128u8)
             out %q";
        assert_eq!(rewritten(sum).unwrap().2, Vec::<String>::new());
        let over_space = "in %x: u8[N,2,2]
             const %k: f32[2,2] = [1.0, 2.0, 3.0, 4.0]
             %d = DequantizeLinear(%x, 0.05, 128u8)
             %s = Mul(%d, %k)
             %q = QuantizeLinear(%s, 0.1, 128u8)
             out %q";
        assert_eq!(rewritten(over_space).unwrap_err().rule(), Some("function-of-codes"));
    }
}
