//! Why bytes cannot be read as a graph.

use std::collections::HashSet;
use std::fmt;

use onnx2int_graph::EditError;

use crate::ACCEPTED_OPSETS;

/// Why bytes cannot be read as a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are something else, cut short, or damaged.
    #[error("not an ONNX model: {reason}")]
    NotOnnx {
        /// What is missing or wrong.
        reason: String,
    },
    /// The model speaks another version of ONNX's operators.
    #[error(
        "operator set {found} of the default domain; expected {} to {} (onnx.version_converter changes it)",
        ACCEPTED_OPSETS.start(),
        ACCEPTED_OPSETS.end()
    )]
    Opset {
        /// The version that the model imports.
        found: i64,
    },
    /// Parts of the model have no counterpart in a [`Graph`](onnx2int_graph::Graph), or
    /// contradict each other.
    #[error("{}", list(problems))]
    Unsupported {
        /// All of them, in file order; at least one.
        problems: Vec<Problem>,
    },
    /// Each part is readable, but they do not make a graph.
    #[error("the nodes do not make a graph")]
    Graph(#[from] EditError),
}

/// One part of a model that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What was expected and found.
    pub reason: String,
}

/// A part of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A node.
    Node {
        /// Its name, or the one it was given for lack of one.
        name: String,
        /// Its operator, with the domain unless it is the default one.
        op: String,
    },
    /// A constant tensor of the graph.
    Initializer(String),
    /// A graph input.
    Input(String),
    /// A graph output.
    Output(String),
    /// A value whose type or annotation the file declares.
    Value(String),
    /// The model as a whole.
    Model,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { name, op } => write!(f, "node {name:?} ({op})"),
            Self::Initializer(name) => write!(f, "initializer {name:?}"),
            Self::Input(name) => write!(f, "graph input {name:?}"),
            Self::Output(name) => write!(f, "graph output {name:?}"),
            Self::Value(name) => write!(f, "value {name:?}"),
            Self::Model => f.write_str("the model"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// What comes before the names of all operators that can be read.
pub(crate) const LIST: &str = "; expected one of ";

/// One problem as it is; several under a heading, a line each. A long list of what was expected is
/// given once.
fn list(problems: &[Problem]) -> String {
    match problems {
        [problem] => problem.to_string(),
        _ => {
            let mut text = format!("{} parts of the model cannot be read", problems.len());
            let mut told = HashSet::new();
            for Problem { place, reason } in problems {
                let (what, list) = reason.split_once(LIST).unwrap_or((reason, ""));
                text.push_str(&format!("\n  {place}: {what}"));
                if !list.is_empty() && told.insert(list) {
                    text.push_str(&format!("{LIST}{list}"));
                }
            }
            text
        }
    }
}
