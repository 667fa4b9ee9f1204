//! The float tail of a network: its last nodes, where they have no integer form and were left as
//! they are.
//!
//! The metadata names them ([`metadata::FLOAT_TAIL`]). What is before them is the head, a graph by
//! itself whose outputs are what the tail reads, and the outputs that the tail does not make. A
//! stage's rules are about the head alone: at the last stage it holds integers and nothing else, so
//! that the tail begins with the `DequantizeLinear`s of the head's outputs.

use std::collections::HashSet;

use crate::{EditError, Graph, GraphEditor, NodeId, Source, ValueId, metadata};

/// The nodes of a graph that stay in floats; nothing but them reads what they make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloatTail {
    nodes: HashSet<NodeId>,
}

/// Why the nodes that a model's metadata names are no tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoTail {
    /// The node at fault.
    pub node: String,
    /// What a tail is.
    pub expected: &'static str,
    /// What is there.
    pub found: String,
}

impl FloatTail {
    /// The tail that the metadata names; none if it names none.
    ///
    /// # Errors
    /// [`NoTail`] if there is no such node, if a node outside reads what one of them makes, or if one
    /// of them reads an input of the model.
    pub fn of(graph: &Graph) -> Result<Option<Self>, NoTail> {
        let Some(names) = graph.metadata().get(metadata::FLOAT_TAIL) else { return Ok(None) };
        let mut nodes = HashSet::new();
        for name in names.split('\n') {
            let Some((id, _)) = graph.nodes().find(|(_, node)| node.name == name) else {
                return Err(no_tail(name, "a node of that name", "none".to_owned()));
            };
            nodes.insert(id);
        }
        let tail = Self { nodes };
        for (id, node) in graph.nodes() {
            if tail.nodes.contains(&id) {
                let is_input = |value: &&ValueId| matches!(graph.value(**value).source, Source::Input);
                if let Some(&input) = node.inputs.iter().flatten().find(is_input) {
                    let found = format!("the model's input {:?}", graph.value(input).name);
                    return Err(no_tail(&node.name, "only results of the integer part to be read", found));
                }
            } else if let Some(&value) = node.inputs.iter().flatten().find(|&&value| tail.makes(graph, value))
            {
                let found = format!("{:?}", graph.value(value).name);
                return Err(no_tail(&node.name, "nothing outside of the float tail to read of it", found));
            }
        }
        Ok(Some(tail))
    }

    /// Whether a node is one of the tail's.
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes.contains(&node)
    }

    fn makes(&self, graph: &Graph, value: ValueId) -> bool {
        matches!(graph.value(value).source, Source::Node(node) if self.nodes.contains(&node))
    }

    /// The outputs of the head: the graph's own, and then what the tail reads, each once.
    pub fn boundary(&self, graph: &Graph) -> Vec<ValueId> {
        let tail = graph.nodes().filter(|(id, _)| self.contains(*id));
        let read = tail.flat_map(|(_, node)| node.inputs.iter().flatten().copied());
        let mut seen = HashSet::new();
        let of_head = |value: &ValueId| {
            matches!(graph.value(*value).source, Source::Node(_)) && !self.makes(graph, *value)
        };
        let values = graph.outputs().iter().copied().chain(read);
        values.filter(of_head).filter(|&value| seen.insert(value)).collect()
    }

    /// What is before the tail, with the graph's own metadata but for what is about the tail.
    ///
    /// # Errors
    /// None for a graph that was verified.
    pub fn head(&self, graph: &Graph) -> Result<Graph, EditError> {
        let mut editor = GraphEditor::from(graph.clone());
        editor.set_outputs(self.boundary(graph));
        editor.remove_metadata(metadata::FLOAT_TAIL);
        editor.finish()
    }
}

fn no_tail(node: &str, expected: &'static str, found: String) -> NoTail {
    NoTail { node: node.to_owned(), expected, found }
}

/// The metadata of a tail of nodes of these names.
pub fn metadata_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join("\n")
}
