//! What a pass is: the [`Transform`] trait, its errors and what it reports.

use onnx2int_graph::{EditError, Graph, Relation, Stage, Tensor, Verified, VerifyError};
use serde::{Deserialize, Serialize};

/// Takes a graph at [`Transform::from`] to the stage [`Transform::makes`].
///
/// A step of the pipeline makes the next stage, and its name and from-stage derive from that. A
/// transform that a user may add ([`crate::passes::EncodeWeights`]) leaves the stage as it is and
/// says all three itself.
///
/// A pass only rewrites. Checking the stages, sorting, sweeping and comparing old with new on
/// numbers is the driver's work ([`crate::apply`]), the same for every pass.
pub trait Transform {
    /// The stage of the result.
    fn makes(&self) -> Stage;

    /// How the outputs relate to those of the graph before. A pass overrides this only where an
    /// option loosens what the stage table promises.
    fn relation(&self) -> Relation {
        self.makes().relation()
    }

    /// Whether a graph with nothing to change is fine. Elsewhere it is an error, so that a pass
    /// which silently stopped matching is noticed.
    fn noop_allowed(&self) -> bool {
        false
    }

    /// Gives the rewritten graph, and one [`Site`] in `log` for each place that changed.
    ///
    /// The result is sorted and swept ([`onnx2int_graph::GraphEditor::finish`] does both). Stage
    /// rules are not asked of `graph`, so that a pass also runs on a fragment; what the pass itself
    /// relies on, it checks and refuses.
    ///
    /// # Errors
    /// A place that looks like a site and cannot be rewritten: never skipped.
    fn rewrite(
        &self,
        graph: Verified<'_>,
        executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError>;

    /// The name on the command line: `add-rescaling`.
    fn name(&self) -> &'static str {
        self.makes().made_by()
    }

    /// The stage of the graph that this takes.
    fn from(&self) -> Stage {
        self.makes().previous().expect("no transform makes the first stage")
    }
}

/// Runs graphs, for constant folding and for the driver's probe. The passes themselves know no
/// arithmetic of operators.
pub trait Executor {
    /// The graph's outputs, in order; `inputs` are in the graph's order.
    ///
    /// # Errors
    /// A message in the executor's own words.
    fn run(&self, graph: Verified<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>, String>;
}

impl<F> Executor for F
where
    F: Fn(Verified<'_>, &[Tensor]) -> Result<Vec<Tensor>, String>,
{
    fn run(&self, graph: Verified<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        self(graph, inputs)
    }
}

/// Why a pass gave up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// A node that the pass cannot rewrite without changing what the graph computes.
    #[error("node {node:?}: {reason} ({rule})")]
    Refused {
        /// The stable kebab-case name of the rule.
        rule: &'static str,
        /// The node's name.
        node: String,
        /// What was expected and found, and what to do.
        reason: String,
    },
    /// Something about the model as a whole.
    #[error("{reason} ({rule})")]
    Model {
        /// The stable kebab-case name of the rule.
        rule: &'static str,
        /// What was expected and found, and what to do.
        reason: String,
    },
    /// Nodes that have no integer form: all of them.
    #[error("{} no integer form:{}", count(nodes.len()), list(nodes))]
    Unsupported {
        /// In execution order.
        nodes: Vec<UnsupportedNode>,
    },
    /// The executor could not run a node whose operands are all constant.
    #[error("node {node:?} cannot be folded: {message}")]
    Execution {
        /// The node's name.
        node: String,
        /// The executor's words.
        message: String,
    },
    /// A graph made along the way is not valid.
    #[error("an intermediate graph is not valid")]
    Verify(#[from] VerifyError),
    /// The editor refused a change.
    #[error("the graph cannot be changed as wanted")]
    Edit(#[from] EditError),
}

/// A node that has no integer form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// Its name.
    pub node: String,
    /// Its operator.
    pub op: &'static str,
    /// Why not, and the way out.
    pub reason: String,
}

fn count(nodes: usize) -> String {
    match nodes {
        1 => "1 node has".to_owned(),
        nodes => format!("{nodes} nodes have"),
    }
}

fn list(nodes: &[UnsupportedNode]) -> String {
    nodes.iter().map(|node| format!("\n  node {:?} ({}): {}", node.node, node.op, node.reason)).collect()
}

impl TransformError {
    /// A [`TransformError::Refused`].
    pub fn refused(rule: &'static str, node: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { rule, node: node.into(), reason: reason.into() }
    }

    /// A [`TransformError::Model`].
    pub fn model(rule: &'static str, reason: impl Into<String>) -> Self {
        Self::Model { rule, reason: reason.into() }
    }

    /// The rule's stable name, where there is one.
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            Self::Refused { rule, .. } | Self::Model { rule, .. } => Some(rule),
            Self::Unsupported { .. } | Self::Execution { .. } | Self::Verify(_) | Self::Edit(_) => None,
        }
    }
}

/// A number that a pass reports about a site, for example an error bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// What the number is, with its unit: `largest error [units]`.
    pub name: String,
    /// The number.
    pub value: f64,
}

/// A place that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// The name of the node that the place is known by: of the new graph where it is still
    /// there, else of the old one.
    pub node: String,
    /// One sentence: what was done.
    pub change: String,
    /// Numbers that come with it.
    pub notes: Vec<Note>,
    /// Of a fixed-point rescale: how far each channel can be off, in output units.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error_bounds: Vec<f64>,
}

impl Site {
    /// Adds a number.
    pub fn note(&mut self, name: impl Into<String>, value: f64) -> &mut Self {
        self.notes.push(Note { name: name.into(), value });
        self
    }
}

/// Collects the places that a pass changes.
#[derive(Clone, Debug, Default)]
pub struct RewriteLog {
    sites: Vec<Site>,
}

impl RewriteLog {
    /// Records a change at a node; `change` is one sentence without full stop.
    pub fn changed(&mut self, node: impl Into<String>, change: impl Into<String>) -> &mut Site {
        self.sites.push(Site {
            node: node.into(),
            change: change.into(),
            notes: Vec::new(),
            error_bounds: Vec::new(),
        });
        self.sites.last_mut().expect("one was just pushed")
    }

    /// The places so far.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The places, given away.
    pub fn into_sites(self) -> Vec<Site> {
        self.sites
    }
}
