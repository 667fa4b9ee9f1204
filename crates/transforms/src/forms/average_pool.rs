//! An average over a window of quantized values is a convolution of ones.
//!
//! `AveragePool` and `GlobalAveragePool` are sums of each channel alone, divided by the number of
//! cells `K`: a `Conv` with one group for each channel, the integer weights 1 and the weight scale
//! `1 / K`. From there it is a layer like any other: the sum is an i32 accumulator, and `1 / K` goes
//! into the multiplier of its rescale.
//!
//! Where windows have different numbers of cells (`count_include_pad=0` at a border, a last window
//! cut off by `ceil_mode`), the scale is `1 / L` with the least common multiple `L` of the counts,
//! and a `Mul` by the whole number `L / count` of each position follows.

use onnx2int_graph::{
    AveragePoolAttributes, ConvAttributes, Graph, GraphEditor, NodeId, Op, Pads, PoolWindow, Tensor,
};

use crate::edits::rewrite_each;
use crate::{RewriteLog, TransformError};

/// The least common multiple may be so large that sums of bytes times it stay in i32.
const MOST_CELLS: usize = 1 << 20;

pub(super) fn rewrite(graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let sites: Vec<(NodeId, Window)> = graph
        .nodes()
        .filter_map(|(id, _)| Some(Window::at(&graph, id)?.map(|window| (id, window))))
        .collect::<Result<_, _>>()?;
    rewrite_each(&graph, sites, |editor, (id, window)| window.rewrite(editor, id, log))
}

/// What an average runs over.
struct Window {
    channels: usize,
    kernel_shape: Vec<usize>,
    strides: Vec<usize>,
    pads: Pads,
    dilations: Vec<usize>,
    /// For each spatial axis and output position, how many cells of the window count.
    counts: Vec<Vec<usize>>,
}

impl Window {
    /// The window of a pooling node; none of any other.
    fn at(graph: &Graph, id: NodeId) -> Option<Result<Self, TransformError>> {
        let node = graph.node(id);
        let attributes = match &node.op {
            Op::AveragePool(attributes) => Some(attributes),
            Op::GlobalAveragePool => None,
            _ => return None,
        };
        let input = &graph.operand(node, 0)?.ty;
        let extents: Option<Vec<usize>> = input.shape.iter().skip(1).map(|dim| dim.fixed()).collect();
        let Some((channels, space)) = extents.as_deref().and_then(<[usize]>::split_first) else {
            let reason =
                format!("expected fixed extents to average over, found {input}; export with a fixed size");
            return Some(Err(TransformError::refused("pool-extents", &node.name, reason)));
        };
        Some(Ok(match attributes {
            None => Self {
                channels: *channels,
                kernel_shape: space.to_vec(),
                strides: vec![1; space.len()],
                pads: Pads::symmetric(0, space.len()),
                dilations: vec![1; space.len()],
                counts: space.iter().map(|&extent| vec![extent]).collect(),
            },
            Some(attributes) => {
                let outputs: Vec<usize> =
                    graph.value(node.output).ty.shape.iter().skip(2).filter_map(|dim| dim.fixed()).collect();
                Self::of(*channels, space, &outputs, attributes)
            }
        }))
    }

    fn of(channels: usize, space: &[usize], outputs: &[usize], attributes: &AveragePoolAttributes) -> Self {
        let AveragePoolAttributes { window, count_include_pad } = attributes;
        let PoolWindow { kernel_shape, strides, pads, dilations, .. } = window;
        let mut pads = pads.clone();
        let mut counts = Vec::new();
        for axis in 0..space.len() {
            let (begin, end) = (pads.begin[axis], pads.end[axis]);
            // What counts ends with the input, or with its padding; never behind that.
            let counted = match count_include_pad {
                true => 0..begin + space[axis] + end,
                false => begin..begin + space[axis],
            };
            let cells = |position: usize| {
                let cell = |tap: usize| position * strides[axis] + tap * dilations[axis];
                (0..kernel_shape[axis]).filter(|&tap| counted.contains(&cell(tap))).count()
            };
            counts.push((0..outputs[axis]).map(cells).collect());
            // The last window of `ceil_mode` may reach further than the padding.
            let reach = outputs[axis].saturating_sub(1) * strides[axis]
                + (kernel_shape[axis] - 1) * dilations[axis]
                + 1;
            pads.end[axis] = end.max(reach.saturating_sub(begin + space[axis]));
        }
        Self {
            channels,
            kernel_shape: kernel_shape.clone(),
            strides: strides.clone(),
            pads,
            dilations: dilations.clone(),
            counts,
        }
    }

    /// How many cells each output position averages, row-major.
    fn cells(&self) -> Vec<usize> {
        self.counts.iter().fold(vec![1], |cells, axis| {
            cells.iter().flat_map(|&outer| axis.iter().map(move |&count| outer * count)).collect()
        })
    }

    fn rewrite(
        self,
        editor: &mut GraphEditor,
        id: NodeId,
        log: &mut RewriteLog,
    ) -> Result<(), TransformError> {
        let node = editor.graph().node(id).clone();
        let cells = self.cells();
        let multiple = cells.iter().try_fold(1, |multiple, &count| least_common_multiple(multiple, count));
        let Some(multiple) = multiple else {
            let reason = format!("expected windows whose counts have a common multiple up to {MOST_CELLS}");
            return Err(TransformError::refused("pool-windows", &node.name, reason));
        };
        let mut shape = vec![self.channels, 1];
        shape.extend(&self.kernel_shape);
        let ones = Tensor::from_vec(&shape, vec![1_i8; shape.iter().product()]).expect("a one for each tap");
        let name = editor.graph().value(node.output).name.clone();
        let constant = |editor: &mut GraphEditor, role: &str, tensor: Tensor| {
            editor.add_fresh_constant(&format!("{name}_{role}"), tensor)
        };
        let weights = constant(editor, "ones", ones)?;
        let scale = constant(editor, "ones_dequantized_scale", Tensor::scalar(1.0 / multiple as f32))?;
        let zero_point = constant(editor, "ones_dequantized_zero_point", Tensor::scalar(0_i8))?;
        let dequantize = editor.unique_name(&format!("{name}_ones_dequantized"));
        let inputs = [Some(weights), Some(scale), Some(zero_point)];
        let weights = editor.add_node(&dequantize, Op::DequantizeLinear { axis: 0 }, inputs, &dequantize)?;
        let attributes = ConvAttributes {
            strides: self.strides.clone(),
            pads: self.pads.clone(),
            dilations: self.dilations.clone(),
            group: self.channels,
        };
        editor.replace_node(id, Op::Conv(attributes), [node.input(0), Some(weights)]);
        let mut change = format!("{} is a Conv of ones with scale 1/{multiple}", node.op.name());
        if cells.iter().any(|&count| count != multiple) {
            let mut shape = vec![1, 1];
            shape.extend(self.counts.iter().map(Vec::len));
            let weights = cells.iter().map(|&count| (multiple / count.max(1)) as f32).collect();
            let weights = Tensor::from_vec::<f32>(&shape, weights).expect("a number for each position");
            let weights = constant(editor, "weights", weights)?;
            let sums = editor.unique_name(&format!("{name}_sums"));
            editor.rename_value(node.output, &sums)?;
            let weigh = editor.unique_name(&format!("{}_weigh", node.name));
            editor.insert_after(node.output, &weigh, Op::Mul, &[weights], &name)?;
            change.push_str(", weighed by position");
        }
        log.changed(&node.name, change);
        Ok(())
    }
}

/// None above [`MOST_CELLS`]. A window of padding alone counts no cell and has the sum 0.
fn least_common_multiple(a: usize, b: usize) -> Option<usize> {
    let b = b.max(1);
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    Some(a / divisor * b).filter(|&multiple| multiple <= MOST_CELLS)
}

#[cfg(test)]
mod tests {
    use crate::testing::check_form;

    #[test]
    fn averages_are_convolutions_of_ones() {
        check_form(
            super::rewrite,
            "in %x: f32[N,2,4,4]
             %y = AveragePool(%x) kernel_shape=[2,2] strides=[2,2]
             %z = GlobalAveragePool(%y)
             out %z",
            "in %x: f32[N,2,4,4]
             const %y_ones: i8[2,1,2,2] = cycle [1]
             const %z_ones: i8[2,1,2,2] = cycle [1]
             %y_ones_dequantized = DequantizeLinear(%y_ones, 0.25, 0i8) axis=0
             %y = Conv(%x, %y_ones_dequantized) strides=[2,2] group=2
             %z_ones_dequantized = DequantizeLinear(%z_ones, 0.25, 0i8) axis=0
             %z = Conv(%y, %z_ones_dequantized) group=2
             out %z",
        );
    }

    #[test]
    fn windows_of_several_sizes_are_weighed() {
        check_form(
            super::rewrite,
            "in %x: f32[N,1,3]
             %y = AveragePool(%x) kernel_shape=[2] pads=[1,0] count_include_pad=0
             out %y",
            "in %x: f32[N,1,3]
             const %y_ones: i8[1,1,2] = cycle [1]
             const %y_weights: f32[1,1,3] = [2.0, 1.0, 1.0]
             %y_ones_dequantized = DequantizeLinear(%y_ones, 0.5, 0i8) axis=0
             %y_sums = Conv(%x, %y_ones_dequantized) pads=[1,0] @y
             %y = Mul(%y_sums, %y_weights) @y_weigh
             out %y",
        );
    }
}
