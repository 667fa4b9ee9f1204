//! What is done once, before any image: which nodes become which step, with packed weights.

mod build;
mod elementwise;
mod layers;
mod memory;
mod recognize;
mod text;

pub(crate) use build::build;
pub(crate) use memory::Arena;

use onnx2int_graph::{DType, Graph};

use crate::steps::depthwise::Depthwise;
use crate::steps::layer::{Layer, Walk};
use crate::steps::simple::{Border, Concat, MaxPool, Reorder, Sum, Table};

/// Names a buffer of one [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferId(pub(crate) usize);

/// What a step writes and others read: one image's worth of a value, channels-last.
///
/// Element `position * channels + channel` is the graph's element `channel * positions + position`.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub(crate) dtype: DType,
    pub(crate) elements: usize,
    /// Bytes of an element; wider than the type where a kernel wants it.
    pub(crate) element_bytes: usize,
    pub(crate) channels: usize,
}

impl Buffer {
    pub(crate) const fn bytes(&self) -> usize {
        self.elements * self.element_bytes
    }
}

/// A node that is run by the interpreter.
#[derive(Clone, Debug)]
pub(crate) struct Interpreted {
    /// The node alone, its operands as inputs or constants.
    pub(crate) graph: Graph,
    /// The shape of each input, without the batch.
    pub(crate) shapes: Vec<Vec<usize>>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Copies an input of the graph, to channels-last.
    Import {
        input: usize,
        reorder: Reorder,
    },
    /// A convolution, image by image.
    Convolution {
        layer: Layer,
        walk: Walk,
    },
    /// A matrix product, all images of a group at once.
    MatrixProduct {
        layer: Layer,
    },
    Depthwise {
        depthwise: Depthwise,
        walk: Walk,
    },
    Border(Border),
    Reorder(Reorder),
    MaxPool(MaxPool),
    Table(Table),
    Sum(Sum),
    /// Operands side by side; each has the first channel and the number of channels.
    Concat {
        concat: Concat,
        places: Vec<(usize, usize)>,
    },
    /// No fast path.
    Interpreted(Box<Interpreted>),
}

/// One call of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The nodes that it stands for, by the name of the value that it makes.
    pub(crate) name: String,
    pub(crate) work: Work,
    pub(crate) inputs: Vec<BufferId>,
    pub(crate) output: BufferId,
    /// For each image.
    pub(crate) multiply_adds: u64,
}

impl Step {
    /// Whether the step takes all images of a group at once.
    pub(crate) const fn takes_group(&self) -> bool {
        matches!(self.work, Work::MatrixProduct { .. } | Work::Interpreted(_))
    }

    /// Heap bytes of weights and constants.
    pub(crate) fn constant_bytes(&self) -> usize {
        match &self.work {
            Work::Convolution { layer, .. } | Work::MatrixProduct { layer } => layer.bytes(),
            Work::Depthwise { depthwise, .. } => depthwise.bytes(),
            Work::Table(table) => table.entries.len() + size_of_val(&table.starts[..]),
            Work::Sum(sum) => sum.bytes(),
            Work::Interpreted(interpreted) => {
                let constants = interpreted.graph.values().filter_map(|(_, value)| value.constant());
                constants.map(|tensor| tensor.len() * tensor.dtype().size()).sum()
            }
            Work::Import { .. }
            | Work::Border(_)
            | Work::Reorder(_)
            | Work::MaxPool(_)
            | Work::Concat { .. } => 0,
        }
    }
}

/// An input or output of the graph.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) dtype: DType,
    /// Extents, without the batch.
    pub(crate) shape: Vec<usize>,
}

impl Port {
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The steps of a graph, in order, and what flows between them.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) steps: Vec<Step>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<(Port, BufferId)>,
    /// The images of a batch, where the graph says how many; all of them are one group then.
    pub(crate) batch: Option<usize>,
}
