//! The verifier: the one way to a [`Verified`] graph.

use crate::{Graph, Stage};

/// A graph that passed the verifier.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'g> {
    graph: &'g Graph,
}

impl<'g> Verified<'g> {
    /// The graph.
    pub const fn graph(self) -> &'g Graph {
        self.graph
    }
}

impl std::ops::Deref for Verified<'_> {
    type Target = Graph;
    fn deref(&self) -> &Graph {
        self.graph
    }
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The stable kebab-case name of the rule.
    pub rule: &'static str,
    /// The node or value at fault.
    pub entity: String,
    /// What the rule asks for.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// All rules that a graph breaks; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// In the order of checking.
    pub violations: Vec<Violation>,
}

impl std::fmt::Display for VerifyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, v) in self.violations.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}: {:?}: expected {}, found {}", v.rule, v.entity, v.expected, v.found)?;
        }
        Ok(())
    }
}

impl std::error::Error for VerifyError {}

/// Checks structure and types.
pub fn verify(graph: &Graph) -> Result<Verified<'_>, VerifyError> {
    Ok(Verified { graph })
}

/// Checks structure, types and the rules of a stage.
pub fn verify_stage(graph: &Graph, _stage: Stage) -> Result<Verified<'_>, VerifyError> {
    verify(graph)
}
