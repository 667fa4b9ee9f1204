//! Statements to a graph.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::attributes;
use super::cursor::{Cursor, Place};
use super::literal::RepeatedElements;
use super::parse::{NodeLine, OperandText, Statement, ValueName, statement};
use super::print::literal_name;
use super::{DEFAULT_NAME, ParseError};
use crate::shape_values::ShapeValues;
use crate::{
    Graph, GraphEditor, Node, NodeId, QuantizationAnnotation, Source, Tensor, TensorType, Value, ValueId,
    infer,
};

/// What is done about declared types.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// They must follow from the operands.
    CheckTypes,
    /// They are believed, and the graph is left as it is written.
    AsWritten,
}

pub(super) fn build(text: &str, trust: Trust) -> Result<Graph, ParseError> {
    let mut builder = Builder {
        trust,
        graph: Graph {
            name: DEFAULT_NAME.to_owned(),
            nodes: Vec::new(),
            values: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            metadata: BTreeMap::new(),
        },
        ids: HashMap::new(),
        node_names: HashSet::new(),
        shape_values: ShapeValues::default(),
        is_first: true,
        annotations: Vec::new(),
        outputs: Vec::new(),
    };
    let mut repeated = RepeatedElements::default();
    let mut last_line = 1;
    for (index, line) in text.lines().enumerate() {
        last_line = index + 1;
        if let Some(statement) = statement(line, last_line, &mut repeated)? {
            builder.add(statement)?;
        }
    }
    builder.finish(Cursor::new("", last_line).place())
}

struct Builder {
    trust: Trust,
    graph: Graph,
    ids: HashMap<String, ValueId>,
    node_names: HashSet<String>,
    shape_values: ShapeValues,
    is_first: bool,
    /// `annotate` lines; their values may be defined further down.
    annotations: Vec<(ValueName, QuantizationAnnotation)>,
    /// The values of `out` lines, which may be defined further down.
    outputs: Vec<ValueName>,
}

impl Builder {
    fn add(&mut self, statement: Statement) -> Result<(), ParseError> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        match statement {
            Statement::Graph { name, place } => {
                if !is_first {
                    return Err(place.error("the `graph` line above all others", "it below another"));
                }
                self.graph.name = name;
            }
            Statement::Meta { key, value, place } => {
                if self.graph.metadata.contains_key(&key) {
                    return Err(place.error("a key that is not there yet", format!("{key:?}")));
                }
                self.graph.metadata.insert(key, value);
            }
            Statement::In { inputs } => {
                for (value, ty) in inputs {
                    let id = self.define(value.name, value.place, ty, Source::Input)?;
                    self.graph.inputs.push(id);
                }
            }
            Statement::Const { value, tensor } => {
                self.define_constant(value.name, value.place, tensor)?;
            }
            Statement::Node(node) => self.node(node)?,
            Statement::Annotate { value, annotation } => self.annotations.push((value, annotation)),
            Statement::Out { values } => self.outputs.extend(values),
        }
        Ok(())
    }

    fn node(&mut self, line: NodeLine) -> Result<(), ParseError> {
        let NodeLine { output, ty, op, op_place, operands, attributes, name } = line;
        let operand_rank = match operands.first() {
            Some(OperandText::Value(value)) => {
                let id = self.find(value)?;
                self.graph.value(id).ty.rank()
            }
            Some(OperandText::LeftOut | OperandText::Literal(..)) | None => 0,
        };
        let op = attributes::op(&op, op_place, attributes, operand_rank)?;
        let mut inputs = Vec::with_capacity(operands.len());
        for (slot, operand) in operands.into_iter().enumerate() {
            inputs.push(match operand {
                OperandText::Value(value) => Some(self.find(&value)?),
                OperandText::LeftOut => None,
                OperandText::Literal(tensor, place) => {
                    let name = literal_name(&output.name, &op, slot);
                    Some(self.define_constant(name, place, tensor)?)
                }
            });
        }
        let inferred = infer::output_type(&op, &infer::operands(&self.graph, &inputs, &self.shape_values));
        let ty = match (self.trust, inferred, ty) {
            (Trust::AsWritten, _, Some((declared, _))) => declared,
            (_, Err(error), _) => {
                let (node, op) = (&output.name, op.name());
                return Err(op_place.error(format!("{} by {op} {node:?}", error.expected), error.found));
            }
            (_, Ok(inferred), Some((declared, place))) if inferred != declared => {
                return Err(
                    place.error(format!("{inferred}, which follows from the operands"), declared.to_string())
                );
            }
            (_, Ok(inferred), _) => inferred,
        };
        let name = name.unwrap_or_else(|| ValueName { name: output.name.clone(), place: output.place });
        if !self.node_names.insert(name.name.clone()) {
            return Err(name.place.error("a node name that is not taken", format!("{:?}", name.name)));
        }
        let id = NodeId(self.graph.nodes.len() as u32);
        let output = self.define(output.name, output.place, ty, Source::Node(id))?;
        let node = Node { name: name.name, op, inputs, output };
        self.shape_values.visit(&self.graph, &node);
        self.graph.nodes.push(node);
        Ok(())
    }

    fn find(&self, value: &ValueName) -> Result<ValueId, ParseError> {
        self.ids
            .get(&value.name)
            .copied()
            .ok_or_else(|| value.place.error("a value that is defined above", format!("%{}", value.name)))
    }

    fn define_constant(&mut self, name: String, place: Place, tensor: Tensor) -> Result<ValueId, ParseError> {
        self.define(name, place, TensorType::of(&tensor), Source::Constant(tensor))
    }

    fn define(
        &mut self,
        name: String,
        place: Place,
        ty: TensorType,
        source: Source,
    ) -> Result<ValueId, ParseError> {
        let id = ValueId(self.graph.values.len() as u32);
        if self.ids.contains_key(&name) {
            return Err(place.error("a name that is not taken", format!("{name:?}")));
        }
        self.ids.insert(name.clone(), id);
        self.graph.values.push(Value { name, ty, source, annotation: None });
        Ok(id)
    }

    fn finish(mut self, end: Place) -> Result<Graph, ParseError> {
        for (value, annotation) in std::mem::take(&mut self.annotations) {
            let id = self.find(&value)?;
            self.graph.values[id.index()].annotation = Some(annotation);
        }
        for value in std::mem::take(&mut self.outputs) {
            let id = self.find(&value)?;
            self.graph.outputs.push(id);
        }
        if self.trust == Trust::AsWritten {
            return Ok(self.graph);
        }
        if self.graph.outputs.is_empty() && !self.graph.nodes.is_empty() {
            return Err(end.error("an `out` line, without which no node is of use", "none"));
        }
        GraphEditor::from(self.graph)
            .finish()
            .map_err(|error| end.error("a graph that can be put in order", error.to_string()))
    }
}
