//! The only way to make or change a [`Graph`].

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::infer::{self, TypeError};
use crate::shape_values::ShapeValues;
use crate::{Graph, Node, NodeId, Op, QuantizationAnnotation, Source, Tensor, TensorType, Value, ValueId};

/// Why an edit was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Two values, or two nodes, would have one name.
    #[error("the name {name:?} is taken")]
    NameTaken {
        /// The name asked for.
        name: String,
    },
    /// A use would be handed a value of another type.
    #[error("{new:?} of type {new_type} cannot replace {old:?} of type {old_type}")]
    TypeMismatch {
        /// The value replaced.
        old: String,
        /// Its type.
        old_type: TensorType,
        /// The value offered.
        new: String,
        /// Its type.
        new_type: TensorType,
    },
    /// A node does not accept its operands.
    #[error("node {node:?} ({op})")]
    Type {
        /// The node's name.
        node: String,
        /// Its operator.
        op: &'static str,
        /// What is wrong.
        source: TypeError,
    },
    /// A node depends on itself.
    #[error("node {node:?} depends on its own output")]
    Cycle {
        /// The node's name.
        node: String,
    },
}

/// Makes a graph, or changes one.
///
/// Ids of the graph that went in stay valid while it is edited; [`GraphEditor::finish`] sorts the
/// nodes into execution order, drops what no output depends on, infers every type anew and
/// renumbers.
#[derive(Clone, Debug)]
pub struct GraphEditor {
    graph: Graph,
    value_names: HashSet<String>,
    node_names: HashSet<String>,
    /// What the shape-like values of the graph hold, as long as nodes have only been added: a reader
    /// of files adds as many as a file has, and must not look back over all of them each time.
    followed: Option<ShapeValues>,
}

impl From<Graph> for GraphEditor {
    fn from(graph: Graph) -> Self {
        let value_names = graph.values.iter().map(|value| value.name.clone()).collect();
        let node_names = graph.nodes.iter().map(|node| node.name.clone()).collect();
        Self { graph, value_names, node_names, followed: None }
    }
}

impl GraphEditor {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        let empty = Graph {
            name: name.to_owned(),
            nodes: Vec::new(),
            values: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            metadata: BTreeMap::new(),
        };
        Self { followed: Some(ShapeValues::default()), ..Self::from(empty) }
    }

    /// The graph as it stands. Nodes added since the start come last.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// `base` if no value and no node has that name, else `base_2`, `base_3`, ...
    pub fn unique_name(&self, base: &str) -> String {
        let free = |name: &str| !self.value_names.contains(name) && !self.node_names.contains(name);
        if free(base) {
            return base.to_owned();
        }
        (2..).map(|n| format!("{base}_{n}")).find(|name| free(name)).expect("some number is free")
    }

    /// Adds a graph input.
    pub fn add_input(&mut self, name: &str, ty: TensorType) -> Result<ValueId, EditError> {
        let id = self.add_value(name, ty, Source::Input)?;
        self.graph.inputs.push(id);
        Ok(id)
    }

    /// Adds an initializer.
    pub fn add_constant(&mut self, name: &str, tensor: Tensor) -> Result<ValueId, EditError> {
        self.add_value(name, TensorType::of(&tensor), Source::Constant(tensor))
    }

    /// Adds an initializer under [`GraphEditor::unique_name`] of `base`.
    ///
    /// # Errors
    /// As [`GraphEditor::add_constant`].
    pub fn add_fresh_constant(&mut self, base: &str, tensor: Tensor) -> Result<ValueId, EditError> {
        let name = self.unique_name(base);
        self.add_constant(&name, tensor)
    }

    /// Adds a node and gives its output; both have the same name, [`GraphEditor::unique_name`] of
    /// `base`.
    ///
    /// # Errors
    /// As [`GraphEditor::add_node`].
    pub fn add_fresh_node(
        &mut self,
        base: &str,
        op: Op,
        inputs: impl Into<Vec<Option<ValueId>>>,
    ) -> Result<ValueId, EditError> {
        let name = self.unique_name(base);
        self.add_node(&name, op, inputs, &name)
    }

    /// Adds a node and gives its output.
    pub fn add_node(
        &mut self,
        name: &str,
        op: Op,
        inputs: impl Into<Vec<Option<ValueId>>>,
        output_name: &str,
    ) -> Result<ValueId, EditError> {
        let inputs = inputs.into();
        let looked_back;
        let shape_values = match &self.followed {
            Some(followed) => followed,
            None => {
                looked_back = self.shape_values_of(&inputs);
                &looked_back
            }
        };
        let ty = infer::output_type(&op, &infer::operands(&self.graph, &inputs, shape_values))
            .map_err(|source| EditError::Type { node: name.to_owned(), op: op.name(), source })?;
        if self.node_names.contains(name) {
            return Err(EditError::NameTaken { name: name.to_owned() });
        }
        let node = NodeId(self.graph.nodes.len() as u32);
        let output = self.add_value(output_name, ty, Source::Node(node))?;
        self.node_names.insert(name.to_owned());
        self.graph.nodes.push(Node { name: name.to_owned(), op, inputs, output });
        if let (Some(followed), Some(added)) = (&mut self.followed, self.graph.nodes.last()) {
            followed.visit(&self.graph, added);
        }
        Ok(output)
    }

    /// Gives a node another operator and other operands. Its name and its output stay; the
    /// output's type follows at once if the operands fit, else in [`GraphEditor::finish`].
    pub fn replace_node(&mut self, node: NodeId, op: Op, inputs: impl Into<Vec<Option<ValueId>>>) {
        self.followed = None;
        let changed = &mut self.graph.nodes[node.index()];
        changed.op = op;
        changed.inputs = inputs.into();
        self.follow_type(node);
    }

    /// Puts another value into one operand slot, whatever its type; [`GraphEditor::finish`]
    /// refuses it if the node does. The output's type follows as in [`GraphEditor::replace_node`].
    pub fn set_input(&mut self, node: NodeId, slot: usize, value: Option<ValueId>) {
        self.followed = None;
        let inputs = &mut self.graph.nodes[node.index()].inputs;
        if inputs.len() <= slot {
            inputs.resize(slot + 1, None);
        }
        inputs[slot] = value;
        self.follow_type(node);
    }

    /// Infers the type of one node's output anew, if its operands fit at this moment. Between two
    /// edits they often do not; [`GraphEditor::finish`] has the last word.
    fn follow_type(&mut self, node: NodeId) {
        let node = &self.graph.nodes[node.index()];
        let shape_values = self.shape_values_of(&node.inputs);
        let operands = infer::operands(&self.graph, &node.inputs, &shape_values);
        if let Ok(ty) = infer::output_type(&node.op, &operands) {
            let output = node.output;
            self.graph.values[output.index()].ty = ty;
        }
    }

    /// Replaces **all** uses of `old`, graph outputs included, by a value of the same type.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) -> Result<(), EditError> {
        let (old_value, new_value) = (self.graph.value(old), self.graph.value(new));
        if old_value.ty != new_value.ty {
            return Err(EditError::TypeMismatch {
                old: old_value.name.clone(),
                old_type: old_value.ty.clone(),
                new: new_value.name.clone(),
                new_type: new_value.ty.clone(),
            });
        }
        self.redirect_uses(old, new);
        Ok(())
    }

    /// Replaces **all** uses of `old`, graph outputs included, by a value of any type; types
    /// downstream are inferred anew by [`GraphEditor::finish`], which refuses what does not fit.
    ///
    /// A `new` that depends on `old` then depends on itself; [`GraphEditor::insert_after`] is for that.
    pub fn redirect_uses(&mut self, old: ValueId, new: ValueId) {
        self.followed = None;
        for node in &mut self.graph.nodes {
            for input in &mut node.inputs {
                if *input == Some(old) {
                    *input = Some(new);
                }
            }
        }
        for output in &mut self.graph.outputs {
            if *output == old {
                *output = new;
            }
        }
    }

    /// Adds a node between `value` and **all** of its other uses, graph outputs included.
    ///
    /// `value` is the first operand, `others` follow. The result must have the type of `value`.
    pub fn insert_after(
        &mut self,
        value: ValueId,
        name: &str,
        op: Op,
        others: &[ValueId],
        output_name: &str,
    ) -> Result<ValueId, EditError> {
        let inputs: Vec<_> = std::iter::once(value).chain(others.iter().copied()).map(Some).collect();
        let output = self.add_node(name, op, inputs.clone(), output_name)?;
        let node = self.graph.nodes.len() - 1;
        self.replace_uses(value, output)?;
        self.graph.nodes[node].inputs = inputs;
        Ok(output)
    }

    /// Changes the type of a graph input; types downstream follow in [`GraphEditor::finish`].
    ///
    /// # Panics
    /// If the value is not a graph input.
    pub fn retype_input(&mut self, input: ValueId, ty: TensorType) {
        assert!(self.graph.inputs.contains(&input), "retype_input takes a graph input");
        self.followed = None;
        self.graph.values[input.index()].ty = ty;
    }

    /// Declares the graph outputs, in order.
    pub fn set_outputs(&mut self, outputs: impl Into<Vec<ValueId>>) {
        self.graph.outputs = outputs.into();
    }

    /// Renames a value. No two values have one name. Annotations are left as they are: they speak
    /// of constants by name.
    pub fn rename_value(&mut self, value: ValueId, name: &str) -> Result<(), EditError> {
        let current = &mut self.graph.values[value.index()].name;
        if current == name {
            return Ok(());
        }
        if !self.value_names.insert(name.to_owned()) {
            return Err(EditError::NameTaken { name: name.to_owned() });
        }
        self.value_names.remove(current.as_str());
        name.clone_into(current);
        Ok(())
    }

    /// Tells readers of the file what real numbers a value stands for.
    pub fn annotate(&mut self, value: ValueId, annotation: Option<QuantizationAnnotation>) {
        self.graph.values[value.index()].annotation = annotation;
    }

    /// Sets a metadata entry.
    pub fn set_metadata(&mut self, key: &str, value: impl Into<String>) {
        self.graph.metadata.insert(key.to_owned(), value.into());
    }

    /// Removes a metadata entry.
    pub fn remove_metadata(&mut self, key: &str) {
        self.graph.metadata.remove(key);
    }

    /// Sorts, sweeps, infers every type and renumbers.
    ///
    /// Nodes come in the order in which the outputs ask for them (depth first, operands left to
    /// right), so that the result does not depend on the order of the edits. An annotation goes with
    /// the constants that it names.
    pub fn finish(self) -> Result<Graph, EditError> {
        let order = execution_order(&self.graph)?;
        let Graph { name, nodes, values, inputs, outputs, metadata } = self.graph;
        let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
        let mut values: Vec<Option<Value>> = values.into_iter().map(Some).collect();
        let mut compact = Graph {
            name,
            nodes: Vec::with_capacity(order.len()),
            values: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            metadata,
        };
        let mut renumbered: HashMap<ValueId, ValueId> = HashMap::new();
        let mut take = |id: ValueId, compact: &mut Graph| {
            *renumbered.entry(id).or_insert_with(|| {
                let value = values[id.index()].take().expect("a value is taken once");
                compact.values.push(value);
                ValueId(compact.values.len() as u32 - 1)
            })
        };
        compact.inputs = inputs.iter().map(|&input| take(input, &mut compact)).collect();
        let mut shape_values = ShapeValues::default();
        for id in order {
            let mut node = nodes[id.index()].take().expect("the order names a node once");
            for input in node.inputs.iter_mut().flatten() {
                *input = take(*input, &mut compact);
            }
            while node.inputs.last() == Some(&None) {
                node.inputs.pop();
            }
            node.output = take(node.output, &mut compact);
            let operands = infer::operands(&compact, &node.inputs, &shape_values);
            let ty = infer::output_type(&node.op, &operands).map_err(|source| EditError::Type {
                node: node.name.clone(),
                op: node.op.name(),
                source,
            })?;
            let new_id = NodeId(compact.nodes.len() as u32);
            let output = &mut compact.values[node.output.index()];
            output.ty = ty;
            output.source = Source::Node(new_id);
            shape_values.visit(&compact, &node);
            compact.nodes.push(node);
        }
        compact.outputs = outputs.iter().map(|&output| take(output, &mut compact)).collect();
        drop_dangling_annotations(&mut compact);
        Ok(compact)
    }

    fn add_value(&mut self, name: &str, ty: TensorType, source: Source) -> Result<ValueId, EditError> {
        if !self.value_names.insert(name.to_owned()) {
            return Err(EditError::NameTaken { name: name.to_owned() });
        }
        self.graph.values.push(Value { name: name.to_owned(), ty, source, annotation: None });
        Ok(ValueId(self.graph.values.len() as u32 - 1))
    }

    /// What is known of the contents of shape-like operands. Only `Reshape` and its kin ask, and
    /// their shape operands hang on few nodes, so that looking back from each new node is cheap.
    fn shape_values_of(&self, inputs: &[Option<ValueId>]) -> ShapeValues {
        let mut shape_values = ShapeValues::default();
        for &input in inputs.iter().flatten() {
            shape_values.look_back(&self.graph, input);
        }
        shape_values
    }
}

/// Takes annotations away whose scale or zero point is no constant of the graph.
fn drop_dangling_annotations(graph: &mut Graph) {
    let constants: HashSet<String> = graph
        .values
        .iter()
        .filter(|value| value.constant().is_some())
        .map(|value| value.name.clone())
        .collect();
    for value in &mut graph.values {
        value.annotation.take_if(|annotation| {
            !constants.contains(&annotation.scale) || !constants.contains(&annotation.zero_point)
        });
    }
}

/// The nodes that the outputs depend on, operands first.
fn execution_order(graph: &Graph) -> Result<Vec<NodeId>, EditError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; graph.nodes.len()];
    let mut order = Vec::with_capacity(graph.nodes.len());
    // An explicit stack: a deep network must not overflow the thread's own.
    let mut stack: Vec<(NodeId, usize)> = Vec::new();
    let root = |value: ValueId| graph.producer(value).map(|(id, _)| id);
    for start in graph.outputs.iter().filter_map(|&output| root(output)) {
        if marks[start.index()] == Mark::New {
            marks[start.index()] = Mark::Open;
            stack.push((start, 0));
        }
        while let Some((id, slot)) = stack.pop() {
            let node = graph.node(id);
            let Some(input) = node.inputs.get(slot) else {
                marks[id.index()] = Mark::Done;
                order.push(id);
                continue;
            };
            stack.push((id, slot + 1));
            if let Some(next) = input.and_then(root) {
                match marks[next.index()] {
                    Mark::New => {
                        marks[next.index()] = Mark::Open;
                        stack.push((next, 0));
                    }
                    Mark::Open => {
                        return Err(EditError::Cycle { node: graph.node(next).name.clone() });
                    }
                    Mark::Done => {}
                }
            }
        }
    }
    Ok(order)
}
