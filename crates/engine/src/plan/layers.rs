//! Layers of products: their weights packed, their zero points folded, and what stands behind them.

use onnx2int_graph::{ConvAttributes, DType, Node, NodeId, Op, Tensor, ValueId};

use super::build::Builder;
use super::recognize::{Epilogue, Results, constant, epilogue};
use super::{BufferId, Work};
use crate::EngineError;
use crate::lanes::{Lanes, MOST_LANES, element_bytes};
use crate::pack::{Run, pack};
use crate::rescale::Rescale;
use crate::steps::depthwise::Depthwise;
use crate::steps::layer::{Layer, Walk, most_vectors};
use crate::steps::simple::Border;

impl<S: Lanes> Builder<'_, S> {
    /// The weights of an integer layer less their zero point, if they fit a signed byte.
    fn signed_weights(&self, node: &Node) -> Option<(Vec<i8>, Vec<usize>)> {
        let weights = constant(self.graph, node.input(1))?;
        let zero_point = match node.input(3) {
            None => 0,
            Some(value) => single(constant(self.graph, Some(value))?)?,
        };
        let signed = |weight: i32| i8::try_from(weight - zero_point).ok();
        let elements = match weights.dtype() {
            DType::U8 => {
                weights.as_slice::<u8>()?.iter().map(|&w| signed(w.into())).collect::<Option<_>>()?
            }
            DType::I8 => {
                weights.as_slice::<i8>()?.iter().map(|&w| signed(w.into())).collect::<Option<_>>()?
            }
            _ => return None,
        };
        Some((elements, weights.shape().to_vec()))
    }

    /// The zero point of a layer's input.
    fn input_zero_point(&self, node: &Node) -> Option<u8> {
        match node.input(2) {
            None => Some(0),
            Some(value) => u8::try_from(single(constant(self.graph, Some(value))?)?).ok(),
        }
    }

    pub(super) fn convolution(
        &mut self,
        id: NodeId,
        node: &Node,
        attributes: &ConvAttributes,
    ) -> Result<Option<Vec<NodeId>>, EngineError> {
        let graph = self.graph;
        let Some((weights, weight_shape)) = self.signed_weights(node) else { return Ok(None) };
        let (Some(zero_point), Some(x)) = (self.input_zero_point(node), node.input(0)) else {
            return Ok(None);
        };
        let (from, to) = (self.port(x)?, self.port(node.output)?);
        let ([filters, depth, kernel @ ..], [channels, extents @ ..]) = (&weight_shape[..], &from.shape[..])
        else {
            return Ok(None);
        };
        let ([_, output @ ..], true) = (&to.shape[..], from.dtype == DType::U8) else { return Ok(None) };
        let (Some([kernel_rows, kernel_columns]), Some([height, width]), Some([rows, columns])) =
            (plane(kernel, 1), plane(extents, 1), plane(output, 1))
        else {
            return Ok(None);
        };
        let attribute = |values: &[usize], neutral| plane(values, neutral).unwrap_or([neutral; 2]);
        let strides = attribute(&attributes.strides, 1);
        let dilations = attribute(&attributes.dilations, 1);
        let (begin, end) = (attribute(&attributes.pads.begin, 0), attribute(&attributes.pads.end, 0));
        let (filters, depth, channels, groups) = (*filters, *depth, *channels, attributes.group);

        let is_depthwise = depth == 1 && filters == groups && groups > 1;
        let widened = element_bytes::<S>() == 2 && !is_depthwise;
        let border = Border {
            height,
            width,
            channels,
            rows: (begin[0], end[0]),
            columns: (begin[1], end[1]),
            fill: zero_point,
            widened,
        };
        let mut input = self.with_channels(x, channels)?;
        let is_bordered = begin != [0; 2] || end != [0; 2];
        if is_bordered || widened {
            input = self.bordered(x, input, border);
        }
        let line = border.bordered_width() * channels;
        let tap = |row: usize, column: usize| row * dilations[0] * line + column * dilations[1] * channels;

        let mut tail = epilogue(graph, &self.uses, node.output, filters, Results::Bytes);
        let mut nodes = vec![id];
        nodes.extend(&tail.nodes);
        let pool = self.pool_behind(&tail, is_depthwise, rows, columns);
        if let Some((pool, result)) = pool {
            nodes.push(pool);
            tail.result = result;
        }
        fold_zero_point(&mut tail.bias, &weights, zero_point);
        let result = self.port(tail.result)?;
        let name = graph.value(tail.result).name.clone();
        let result_buffer = self.add_buffer(result.dtype, result.elements(), filters);
        let multiply_adds = (rows * columns * weights.len()) as u64;
        let result_columns = if pool.is_some() { columns / 2 } else { columns };
        let mut walk = Walk {
            rows,
            columns,
            row_step: strides[0] * line,
            column_step: strides[1] * channels,
            output_row_step: result_columns * filters,
            output_column_step: filters,
        };
        let is_pointwise = [kernel_rows, kernel_columns, strides[0], strides[1]] == [1; 4];
        if is_pointwise && !is_bordered && pool.is_none() {
            // Rows touch, so that all pixels are one row.
            walk = Walk { rows: 1, columns: rows * columns, ..walk };
        }
        let rescale = tail.rescale.as_deref().map(Rescale::new);
        let work = if is_depthwise {
            let taps = || (0..kernel_rows * kernel_columns).map(|t| (t / kernel_columns, t % kernel_columns));
            let padding = Depthwise::padded(channels) - channels;
            let weights = taps().enumerate().flat_map(|(index, _)| {
                let of_channel = |channel| i32::from(weights[channel * kernel_rows * kernel_columns + index]);
                (0..channels).map(of_channel).chain(std::iter::repeat_n(0, padding)).collect::<Vec<i32>>()
            });
            let depthwise = Depthwise {
                channels,
                taps: taps().map(|(row, column)| tap(row, column)).collect(),
                weights: weights.collect(),
                bias: padded(tail.bias),
                rescale,
            };
            Work::Depthwise { depthwise, walk }
        } else {
            let mut runs = Vec::new();
            for row in 0..kernel_rows {
                if groups == 1 && dilations[1] == 1 {
                    add_run(&mut runs, Run { offset: tap(row, 0), elements: kernel_columns * channels });
                } else {
                    for column in 0..kernel_columns {
                        add_run(&mut runs, Run { offset: tap(row, column), elements: depth });
                    }
                }
            }
            let cells = kernel_rows * kernel_columns;
            let packed =
                pack::<S>(groups, filters / groups, depth, &runs, most_vectors::<S>(), |filter, element| {
                    let (cell, channel) = (element / depth, element % depth);
                    weights[(filter * depth + channel) * cells + cell]
                });
            let (bias, is_bytes, pooled) = (padded(tail.bias), tail.is_bytes, pool.is_some());
            let layer = Layer { runs, packed, bias, rescale, is_bytes, pooled };
            Work::Convolution { layer, walk }
        };
        self.add_step(&name, work, vec![input], result_buffer, multiply_adds);
        self.made[tail.result.index()] = Some(result_buffer);
        Ok(Some(nodes))
    }

    /// A copy of a value as a kernel wants it.
    fn bordered(&mut self, value: ValueId, from: BufferId, border: Border) -> BufferId {
        let name = self.graph.value(value).name.clone();
        let element_bytes = if border.widened { 2 } else { 1 };
        let elements = border.bytes() / element_bytes;
        let output = self.add_buffer(DType::U8, elements, border.channels);
        self.plan.buffers[output.0].element_bytes = element_bytes;
        self.add_step(&name, Work::Border(border), vec![from], output, 0);
        output
    }

    /// The pooling of 2 by 2 that alone reads the bytes of a layer.
    fn pool_behind(
        &self,
        tail: &Epilogue,
        is_depthwise: bool,
        rows: usize,
        columns: usize,
    ) -> Option<(NodeId, ValueId)> {
        if is_depthwise || tail.rescale.is_none() || rows < 2 || columns < 2 {
            return None;
        }
        let user = self.uses.only_user(tail.result)?;
        let node = self.graph.node(user);
        let Op::MaxPool(attributes) = &node.op else { return None };
        let is_plain = attributes.kernel_shape == [2, 2]
            && attributes.strides == [2, 2]
            && attributes.dilations == [1, 1]
            && attributes.pads.begin == [0, 0]
            && attributes.pads.end == [0, 0];
        // Rounded up, a last window would be smaller.
        let is_whole = !attributes.ceil_mode || (rows.is_multiple_of(2) && columns.is_multiple_of(2));
        (is_plain && is_whole).then_some((user, node.output))
    }

    pub(super) fn matrix_product(
        &mut self,
        id: NodeId,
        node: &Node,
    ) -> Result<Option<Vec<NodeId>>, EngineError> {
        let graph = self.graph;
        let Some((weights, shape)) = self.signed_weights(node) else { return Ok(None) };
        let (Some(zero_point), Some(x)) = (self.input_zero_point(node), node.input(0)) else {
            return Ok(None);
        };
        let from = self.port(x)?;
        let ([depth, filters], DType::U8, 1) = (&shape[..], from.dtype, from.shape.len()) else {
            return Ok(None);
        };
        let (depth, filters) = (*depth, *filters);
        let mut input = self.buffer_of(x)?;
        let channels = self.plan.buffers[input.0].channels;
        if element_bytes::<S>() == 2 {
            let none = (0, 0);
            let border = Border {
                height: 1,
                width: 1,
                channels: depth,
                rows: none,
                columns: none,
                fill: 0,
                widened: true,
            };
            input = self.bordered(x, input, border);
        }
        let mut tail = epilogue(graph, &self.uses, node.output, filters, Results::BytesOrIntegers);
        fold_matrix_zero_point(&mut tail.bias, &weights, zero_point);
        let runs = vec![Run { offset: 0, elements: depth }];
        let positions = depth / channels;
        let packed = pack::<S>(1, filters, 0, &runs, 2, |filter, element| {
            // The buffer lies channels-last, the rows of the matrix in the order of the graph.
            let row = element % channels * positions + element / channels;
            weights[row * filters + filter]
        });
        let result = self.port(tail.result)?;
        let name = graph.value(tail.result).name.clone();
        let output = self.add_buffer(result.dtype, filters, filters);
        let rescale = tail.rescale.as_deref().map(Rescale::new);
        let is_bytes = tail.is_bytes;
        let layer = Layer { runs, packed, bias: padded(tail.bias), rescale, is_bytes, pooled: false };
        self.add_step(&name, Work::MatrixProduct { layer }, vec![input], output, weights.len() as u64);
        self.made[tail.result.index()] = Some(output);
        let mut nodes = vec![id];
        nodes.extend(tail.nodes);
        Ok(Some(nodes))
    }
}

/// One or two spatial extents as height and width.
pub(super) fn plane(extents: &[usize], neutral: usize) -> Option<[usize; 2]> {
    match *extents {
        [width] => Some([neutral, width]),
        [height, width] => Some([height, width]),
        _ => None,
    }
}

/// The only element of an 8-bit constant.
fn single(tensor: &Tensor) -> Option<i32> {
    let signed = tensor.as_single::<i8>().map(i32::from);
    signed.or_else(|| tensor.as_single::<u8>().map(i32::from))
}

/// Filled up with zeros for vectors.
pub(super) fn padded(mut numbers: Vec<i32>) -> Vec<i32> {
    numbers.extend([0; 4 * MOST_LANES]);
    numbers
}

/// `sum w (x - z)` is `sum w x` less `z sum w`; weights are `[filter][...]`.
fn fold_zero_point(bias: &mut [i32], weights: &[i8], zero_point: u8) {
    let depth = weights.len() / bias.len().max(1);
    for (bias, weights) in bias.iter_mut().zip(weights.chunks(depth.max(1))) {
        let sum: i32 = weights.iter().map(|&weight| i32::from(weight)).sum();
        // What leaves i32 here comes back in the sums, which are exact modulo 2^32 and fit at the end.
        *bias = bias.wrapping_sub(sum.wrapping_mul(zero_point.into()));
    }
}

/// The same for a matrix `[row][filter]`.
fn fold_matrix_zero_point(bias: &mut [i32], weights: &[i8], zero_point: u8) {
    for row in weights.chunks(bias.len().max(1)) {
        for (bias, &weight) in bias.iter_mut().zip(row) {
            *bias = bias.wrapping_sub(i32::from(weight) * i32::from(zero_point));
        }
    }
}

/// Appends a run, or makes the last one longer where they touch.
fn add_run(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.offset + last.elements == run.offset => last.elements += run.elements,
        _ => runs.push(run),
    }
}
