//! The runtimes, by name.

use std::fmt;

use onnx2int_engine::Kernel;
use onnx2int_graph::{DType, Graph, Stage, metadata};

/// What executes a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeKind {
    /// Tract, with graphs handed over as ONNX bytes: the fast one.
    Tract,
    /// Tract as it parses a graph, neither decluttered nor optimized: slow, and there to be compared with.
    TractPlain,
    /// Our interpreter: the exact one.
    Interpreter,
    /// Our engine, for graphs of stage scale_out alone: the fastest, with the interpreter's bits. With the kernel
    /// named, or with the fastest of this processor.
    Engine(Option<Kernel>),
}

/// Tract does not tell its version; a test compares this with the lock file.
const TRACT_VERSION: &str = "0.23.9";

impl RuntimeKind {
    /// Every runtime.
    pub const ALL: [Self; 10] = [
        Self::Tract,
        Self::TractPlain,
        Self::Interpreter,
        Self::Engine(None),
        Self::Engine(Some(Kernel::Avx512Vnni)),
        Self::Engine(Some(Kernel::AvxVnni)),
        Self::Engine(Some(Kernel::Avx2)),
        Self::Engine(Some(Kernel::Neon)),
        Self::Engine(Some(Kernel::Portable)),
        Self::Engine(Some(Kernel::PortablePairs)),
    ];

    /// Those that run a graph of any stage.
    pub const OF_ANY_STAGE: [Self; 3] = [Self::Tract, Self::TractPlain, Self::Interpreter];

    /// The fastest one for a graph: the engine for what says that it is at stage scale_out, else tract.
    pub fn fastest(graph: &Graph) -> Self {
        let is_last = graph.metadata().get(metadata::STAGE).is_some_and(|s| s == Stage::ScaleOut.name());
        // A float tail is the engine's limit.
        let has_floats = graph.values().any(|(_, value)| value.ty.dtype == DType::F32);
        if is_last && !has_floats { Self::Engine(None) } else { Self::Tract }
    }

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tract => "tract",
            Self::TractPlain => "tract-plain",
            Self::Interpreter => "interpreter",
            Self::Engine(None) => "engine",
            Self::Engine(Some(Kernel::Avx512Vnni)) => "engine-avx512-vnni",
            Self::Engine(Some(Kernel::AvxVnni)) => "engine-avx-vnni",
            Self::Engine(Some(Kernel::Avx2)) => "engine-avx2",
            Self::Engine(Some(Kernel::Neon)) => "engine-neon",
            Self::Engine(Some(Kernel::Portable)) => "engine-portable",
            Self::Engine(Some(Kernel::PortablePairs)) => "engine-portable-pairs",
        }
    }

    /// The version of the code that computes; of what is ours, our own.
    pub const fn version(self) -> &'static str {
        match self {
            Self::Tract | Self::TractPlain => TRACT_VERSION,
            Self::Interpreter | Self::Engine(_) => env!("CARGO_PKG_VERSION"),
        }
    }

    /// Whether the runtime rewrites a graph before it runs it, so that asking for more outputs may change what runs.
    pub const fn optimizes(self) -> bool {
        match self {
            Self::Tract | Self::Engine(_) => true,
            Self::TractPlain | Self::Interpreter => false,
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

    #[test]
    fn every_kernel_of_the_engine_is_a_runtime() {
        for kernel in Kernel::ALL {
            let kind = RuntimeKind::from_name(&format!("engine-{kernel}"));
            assert_eq!(kind, Some(RuntimeKind::Engine(Some(kernel))));
        }
    }

    #[test]
    fn the_version_of_tract_is_that_of_the_lock_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
        let lock = std::fs::read_to_string(path).unwrap();
        let (_, entry) = lock.split_once("name = \"tract-onnx\"\n").unwrap();
        assert_eq!(entry.lines().next(), Some(format!("version = \"{TRACT_VERSION}\"").as_str()));
    }
}
