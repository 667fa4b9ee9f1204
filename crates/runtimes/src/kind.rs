//! The runtimes, by name.

use std::fmt;

/// What executes a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeKind {
    /// Tract, with graphs handed over as ONNX bytes: the fast one.
    Tract,
    /// Our interpreter: the exact one.
    Interpreter,
}

impl RuntimeKind {
    /// Every runtime, the default one first.
    pub const ALL: [Self; 2] = [Self::Tract, Self::Interpreter];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tract => "tract",
            Self::Interpreter => "interpreter",
        }
    }

    /// The runtime of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_runtime() {
        for kind in RuntimeKind::ALL {
            assert_eq!(RuntimeKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(RuntimeKind::from_name("onnxruntime"), None);
    }
}
