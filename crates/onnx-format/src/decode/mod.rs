//! ONNX bytes to [`Graph`].

mod attributes;
mod expansion;
mod external;
mod fresh_names;
mod operands;
mod operators;
mod size;
mod tensor;
mod types;
mod windows;

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use crate::proto::{GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorAnnotation};
use onnx2int_graph::{EditError, Graph, GraphEditor, QuantizationAnnotation, ValueId};
use prost::Message;

use crate::annotation_keys::{SCALE, ZERO_POINT};
use crate::{DecodeError, Place, Problem};
use attributes::Attributes;
use expansion::{Input, Step, StepName};
pub use external::ExternalData;
use external::Fetch;
use fresh_names::FreshNames;
use operands::{Node, Operand, Operands, Refusal};
use operators::is_default_domain;
use size::check_size;
use types::{Symbols, check_declared, input_type};

/// The versions of ONNX's default operator set that [`decode`] reads.
///
/// From 13 on every operator of [`Op`](onnx2int_graph::Op) that the set has is read. Before, those are
/// whose meaning was the same already, whatever their form; others are refused by name. Newer sets
/// than the last one may change any operator, and are refused until someone has compared them.
pub const ACCEPTED_OPSETS: RangeInclusive<i64> = 7..=28;

/// From 3 on a model says which operator sets it uses. The upper end only tells a model from
/// noise; what an operator means hangs on its operator set.
const PLAUSIBLE_IR_VERSIONS: RangeInclusive<i64> = 3..=64;

/// More problems than anyone reads; beyond them reading stops. Each may quote a type, so that their
/// text could else be far longer than the file.
const MOST_PROBLEMS: usize = 1000;

/// What `graph.name` becomes where a file has none; ONNX demands one.
const UNNAMED_GRAPH: &str = "main_graph";

/// Reads an ONNX model.
///
/// Nodes without a name are named `<op type>_<output name>`; a second node of one name gets a
/// number. Extents without a name get one. `auto_pad` becomes explicit pads. `Constant` nodes
/// stay nodes. A node of an older set's form, or of ONNX Runtime's QLinear operators, becomes the nodes
/// that say the same now: their inner values are called `<operand>_dequantized`, `<output>_float` and the
/// like, and make way for names of the file. Declared types of inner values and outputs are checked against the inferred ones.
///
/// # Errors
/// [`DecodeError`]; all parts that cannot be read are named at once. No bytes make it panic, and
/// it allocates in proportion to the bytes given.
pub fn decode(bytes: &[u8]) -> Result<Graph, DecodeError> {
    decode_with_data(bytes, &mut |_| {
        Err("its data is in another file; save the model as a single file".to_owned())
    })
}

/// Reads an ONNX model, as [`decode`] does, that keeps constants in other files.
///
/// `fetch` is asked for each of them and gives its bytes, or the reason why it does not. What a
/// location means, and whether it is to be trusted, is for the caller to say: nothing here opens a file.
///
/// # Errors
/// As [`decode`]; also what `fetch` says, with the constant's name.
pub fn decode_with_data(
    bytes: &[u8],
    fetch: &mut dyn FnMut(&ExternalData) -> Result<Vec<u8>, String>,
) -> Result<Graph, DecodeError> {
    let model = parse(bytes)?;
    let Some(graph) = &model.graph else { return not_onnx("it holds no graph") };
    let mut decoder = Decoder::new(graph, operator_set(&model)?);
    decoder.read_model(&model);
    decoder.read_constants(graph, fetch);
    decoder.read_inputs(graph);
    for node in &graph.node {
        if decoder.problems.len() >= MOST_PROBLEMS {
            break;
        }
        decoder.read_node(node);
    }
    if decoder.problems.len() < MOST_PROBLEMS {
        decoder.read_outputs(graph);
        decoder.check_value_infos(graph);
    }
    decoder.read_annotations(&graph.quantization_annotation);
    decoder.finish()
}

fn not_onnx<T>(reason: impl Into<String>) -> Result<T, DecodeError> {
    Err(DecodeError::NotOnnx { reason: reason.into() })
}

fn parse(bytes: &[u8]) -> Result<ModelProto, DecodeError> {
    if bytes.is_empty() {
        return not_onnx("the file is empty");
    }
    ModelProto::decode(bytes)
        .or_else(|error| not_onnx(format!("{error}; it is something else, or cut short")))
}

/// The version of the default operator set that the model imports.
fn operator_set(model: &ModelProto) -> Result<i64, DecodeError> {
    if !PLAUSIBLE_IR_VERSIONS.contains(&model.ir_version) {
        return not_onnx(format!("ir_version is {}; expected 3 or more", model.ir_version));
    }
    let mut versions =
        model.opset_import.iter().filter(|set| is_default_domain(&set.domain)).map(|set| set.version);
    let Some(version) = versions.next() else {
        return not_onnx("it imports no operator set of the default domain");
    };
    if let Some(other) = versions.find(|&other| other != version) {
        return not_onnx(format!("it imports the operator sets {version} and {other} of the default domain"));
    }
    if ACCEPTED_OPSETS.contains(&version) { Ok(version) } else { Err(DecodeError::Opset { found: version }) }
}

/// What is known of a value's name.
#[derive(Clone, Copy)]
enum Slot {
    Readable(ValueId),
    /// Its maker is among the problems.
    Unreadable,
}

/// The graph so far and what could not be read.
struct Decoder<'a> {
    editor: GraphEditor,
    /// The version of the default operator set.
    opset: i64,
    values: HashMap<&'a str, Slot>,
    /// Values that some node reads, or that the graph gives.
    used: HashSet<&'a str>,
    /// Names that nodes have, or will have.
    node_names: FreshNames,
    /// The same of values.
    value_names: FreshNames,
    named_nodes: HashSet<&'a str>,
    outputs: Vec<ValueId>,
    symbols: Symbols,
    problems: Vec<Problem>,
}

impl<'a> Decoder<'a> {
    fn new(graph: &'a GraphProto, opset: i64) -> Self {
        let name = if graph.name.is_empty() { UNNAMED_GRAPH } else { &graph.name };
        let node_outputs = graph.node.iter().flat_map(|node| &node.output);
        let values = node_outputs
            .chain(graph.initializer.iter().map(|tensor| &tensor.name))
            .chain(graph.input.iter().map(|input| &input.name));
        let operands = graph.node.iter().flat_map(|node| &node.input);
        let outputs = graph.output.iter().map(|output| &output.name);
        Self {
            editor: GraphEditor::new(name),
            opset,
            values: HashMap::new(),
            used: operands.chain(outputs).map(String::as_str).collect(),
            node_names: FreshNames::beside(graph.node.iter().map(|node| node.name.clone())),
            value_names: FreshNames::beside(values.cloned()),
            named_nodes: HashSet::new(),
            outputs: Vec::new(),
            symbols: Symbols::of(graph),
            problems: Vec::new(),
        }
    }

    fn problem(&mut self, place: Place, reason: impl Into<String>) {
        self.problems.push(Problem { place, reason: reason.into() });
    }

    fn read_model(&mut self, model: &ModelProto) {
        if !model.functions.is_empty() {
            self.problem(Place::Model, "functions are not supported; inline them before");
        }
        if !model.training_info.is_empty() {
            self.problem(Place::Model, "training_info is not supported; export the model for inference");
        }
        let mut keys = HashSet::new();
        for StringStringEntryProto { key, value } in &model.metadata_props {
            if !keys.insert(key) {
                self.problem(Place::Model, format!("metadata key {key:?} is given twice"));
            }
            self.editor.set_metadata(key, value);
        }
    }

    fn read_constants(&mut self, graph: &'a GraphProto, fetch: Fetch<'_>) {
        for sparse in &graph.sparse_initializer {
            let name = sparse.values.as_ref().map_or("", |values| values.name.as_str());
            self.values.insert(name, Slot::Unreadable);
            self.problem(Place::Initializer(name.to_owned()), "sparse tensors are not supported");
        }
        for proto in &graph.initializer {
            let tensor = external::fetched(proto, fetch).and_then(|proto| tensor::tensor(&proto));
            let added = tensor.and_then(|tensor| {
                check_name(&proto.name)?;
                self.editor.add_constant(&proto.name, tensor).map_err(edit_reason)
            });
            self.define(&proto.name, added, Place::Initializer);
        }
    }

    fn read_inputs(&mut self, graph: &'a GraphProto) {
        let constants: HashSet<&str> = self.values.keys().copied().collect();
        for input in &graph.input {
            // Up to ir_version 3 every initializer had to be listed as an input too.
            if constants.contains(input.name.as_str()) {
                continue;
            }
            let added = check_name(&input.name)
                .and_then(|()| input_type(input, &mut self.symbols))
                .and_then(|ty| self.editor.add_input(&input.name, ty).map_err(edit_reason));
            self.define(&input.name, added, Place::Input);
        }
    }

    /// Notes a value, or the reason why it cannot be read.
    fn define(&mut self, name: &'a str, added: Result<ValueId, String>, place: fn(String) -> Place) {
        let slot = match added {
            Ok(id) => Slot::Readable(id),
            Err(reason) => {
                self.problem(place(name.to_owned()), reason);
                Slot::Unreadable
            }
        };
        self.values.insert(name, slot);
    }

    fn read_node(&mut self, node: &'a NodeProto) {
        let name = self.node_name(node);
        let slot = match self.make_node(&name, node) {
            Ok(id) => Slot::Readable(id),
            Err(refusal) => {
                if let Refusal::Unsupported(reason) = refusal {
                    let op = if is_default_domain(&node.domain) {
                        node.op_type.clone()
                    } else {
                        format!("{}.{}", node.domain, node.op_type)
                    };
                    self.problem(Place::Node { name, op }, reason);
                }
                Slot::Unreadable
            }
        };
        let mut outputs = node.output.iter().map(String::as_str);
        if let Some(first) = outputs.next() {
            self.values.insert(first, slot);
        }
        for other in outputs.filter(|other| !other.is_empty()) {
            self.values.insert(other, Slot::Unreadable);
        }
    }

    /// A name that no other node has; that of the file where possible.
    fn node_name(&mut self, node: &'a NodeProto) -> String {
        if !node.name.is_empty() && self.named_nodes.insert(&node.name) {
            return node.name.clone();
        }
        let base = match (node.name.as_str(), node.output.first()) {
            ("", Some(output)) if !output.is_empty() => format!("{}_{output}", node.op_type),
            ("", _) => node.op_type.clone(),
            (name, _) => name.to_owned(),
        };
        self.node_names.fresh(&base)
    }

    fn make_node(&mut self, name: &str, node: &'a NodeProto) -> Result<ValueId, Refusal> {
        let slots = node
            .input
            .iter()
            .enumerate()
            .map(|(slot, operand)| match self.values.get(operand.as_str()) {
                _ if operand.is_empty() => Ok(Operand::Absent),
                Some(Slot::Readable(id)) => Ok(Operand::Known(*id)),
                Some(Slot::Unreadable) => Ok(Operand::Unreadable),
                None => Err(format!(
                    "operand {slot} is {operand:?}, which no input, initializer or earlier node gives"
                )),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let view = Node {
            opset: self.opset,
            attributes: Attributes::of(node)?,
            operands: Operands { graph: self.editor.graph(), slots: &slots },
        };
        let expansion = operators::read(&node.domain, &node.op_type, &view)?;
        let output = match node.output.first() {
            Some(output) if !output.is_empty() => output,
            _ => return Err("its first output has no name".into()),
        };
        for (index, other) in node.output.iter().enumerate().skip(1) {
            if self.used.contains(other.as_str()) && !other.is_empty() {
                return Err(
                    format!("its output {index}, {other:?}, is in use; only the first is supported").into()
                );
            }
        }
        if slots.iter().any(|slot| matches!(slot, Operand::Unreadable)) {
            return Err(Refusal::OperandUnreadable);
        }
        let mut results = Vec::new();
        for step in expansion.into_steps() {
            results.push(self.make_step(name, output, node, &slots, &results, step)?);
        }
        Ok(*results.last().expect("an expansion has a last step"))
    }

    /// Makes one node of those that a node of the file becomes; `results` are those of the earlier ones.
    fn make_step(
        &mut self,
        name: &str,
        output: &str,
        node: &NodeProto,
        slots: &[Operand],
        results: &[ValueId],
        step: Step,
    ) -> Result<ValueId, Refusal> {
        let own_name = step.name.map(|name| match name {
            StepName::OfOperand(slot, suffix) => {
                format!("{}_{suffix}", node.input.get(slot).map_or(output, String::as_str))
            }
            StepName::OfOutput(suffix) => format!("{output}_{suffix}"),
        });
        let (node_name, value_name) = match own_name {
            None => (name.to_owned(), output.to_owned()),
            Some(own) => (self.node_names.fresh(&own), self.value_names.fresh(&own)),
        };
        let mut inputs = Vec::with_capacity(step.inputs.len());
        for (slot, input) in step.inputs.into_iter().enumerate() {
            inputs.push(match input {
                Input::Absent => None,
                Input::Operand(slot) => match slots.get(slot) {
                    Some(Operand::Known(id)) => Some(*id),
                    Some(Operand::Absent | Operand::Unreadable) | None => None,
                },
                Input::Step(index) => Some(results[index]),
                Input::Constant(tensor) => {
                    let role = step.op.operand_role(slot);
                    let constant = self.value_names.fresh(&format!("{value_name}_{role}"));
                    Some(self.editor.add_constant(&constant, tensor).map_err(edit_reason)?)
                }
            });
        }
        let id = self.editor.add_node(&node_name, step.op, inputs, &value_name).map_err(edit_reason)?;
        check_size(&self.editor.graph().value(id).ty).map_err(|reason| format!("its result: {reason}"))?;
        Ok(id)
    }

    fn read_outputs(&mut self, graph: &'a GraphProto) {
        if graph.output.is_empty() {
            self.problem(Place::Model, "expected a graph output, found none");
        }
        let mut seen = HashSet::new();
        for output in &graph.output {
            let place = || Place::Output(output.name.clone());
            if !seen.insert(&output.name) {
                self.problem(place(), "it is listed twice");
            }
            match self.values.get(output.name.as_str()) {
                None => self.problem(place(), "no input, initializer or node gives it"),
                Some(Slot::Unreadable) => {}
                Some(Slot::Readable(id)) => {
                    let id = *id;
                    self.outputs.push(id);
                    if let Err(reason) = check_declared(output, &self.editor.graph().value(id).ty) {
                        self.problem(place(), reason);
                    }
                }
            }
        }
    }

    fn check_value_infos(&mut self, graph: &'a GraphProto) {
        for info in &graph.value_info {
            if self.problems.len() >= MOST_PROBLEMS {
                break;
            }
            if let Some(Slot::Readable(id)) = self.values.get(info.name.as_str())
                && let Err(reason) = check_declared(info, &self.editor.graph().value(*id).ty)
            {
                self.problem(Place::Value(info.name.clone()), reason);
            }
        }
    }

    fn read_annotations(&mut self, annotations: &'a [TensorAnnotation]) {
        for annotation in annotations {
            let name = annotation.tensor_name();
            let mut parameters: Vec<_> = annotation
                .quant_parameter_tensor_names
                .iter()
                .map(|entry| (entry.key.as_str(), entry.value.as_str()))
                .collect();
            parameters.sort_unstable();
            let &[(SCALE, scale), (ZERO_POINT, zero_point)] = parameters.as_slice() else {
                let keys: Vec<_> = parameters.iter().map(|(key, _)| *key).collect();
                let reason =
                    format!("quantization annotation: expected {SCALE} and {ZERO_POINT}, found {keys:?}");
                self.problem(Place::Value(name.to_owned()), reason);
                continue;
            };
            if let Some(Slot::Readable(id)) = self.values.get(name) {
                let (scale, zero_point) = (scale.to_owned(), zero_point.to_owned());
                self.editor.annotate(*id, Some(QuantizationAnnotation { scale, zero_point }));
            }
        }
    }

    fn finish(mut self) -> Result<Graph, DecodeError> {
        if !self.problems.is_empty() {
            return Err(DecodeError::Unsupported { problems: self.problems });
        }
        self.editor.set_outputs(self.outputs);
        Ok(self.editor.finish()?)
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() { Err("it has no name".to_owned()) } else { Ok(()) }
}

/// The reason of an [`EditError`], whose node is named by the caller.
fn edit_reason(error: EditError) -> String {
    match error {
        EditError::Type { source, .. } => source.to_string(),
        other @ (EditError::NameTaken { .. } | EditError::TypeMismatch { .. } | EditError::Cycle { .. }) => {
            other.to_string()
        }
    }
}
