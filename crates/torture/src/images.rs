//! Inputs that drive a network to its ends, and ordinary ones.

use onnx2int_graph::{ConvAttributes, Graph, Op, Tensor};

use crate::noise::Noise;

/// Images of the network's first input: all 0, all 255, all at the zero point, matched to the signs
/// of a filter of the first layer both ways, and noise of several kinds.
///
/// The batch of the graph is the extent of axis 0 where that is fixed, else all images are one
/// batch. Every entry is `u8[batch, channels, spatial...]`.
pub(crate) fn images(graph: &Graph, noise: &mut Noise) -> Vec<Tensor> {
    let shape: Vec<usize> =
        graph.value(graph.inputs()[0]).ty.shape.iter().map(|dim| dim.fixed().unwrap_or(COUNT)).collect();
    let (batch, extents) = (shape[0], &shape[1..]);
    let size: usize = extents.iter().product();
    let mut pixels = vec![vec![0; size], vec![255; size], vec![input_zero_point(graph); size]];
    for sign in [1, -1] {
        pixels.push(matched(graph, extents, sign, noise).unwrap_or_else(|| vec![128; size]));
    }
    pixels.push((0..size).map(|_| noise.byte()).collect());
    pixels.push((0..size).map(|_| if noise.byte() < 128 { 0 } else { 255 }).collect());
    let count = pixels.len().max(COUNT).next_multiple_of(batch);
    while pixels.len() < count {
        pixels.push((0..size).map(|_| noise.byte()).collect());
    }
    pixels
        .chunks(batch)
        .map(|chunk| Tensor::from_vec(&shape, chunk.concat()).expect("whole images in a batch"))
        .collect()
}

/// Images of a symbolic batch.
const COUNT: usize = 8;

fn input_zero_point(graph: &Graph) -> u8 {
    let quantizer = graph.consumers(graph.inputs()[0]).next().map(|(id, _)| graph.node(id));
    let zero_point = quantizer.and_then(|node| graph.constant_operand(node, 2));
    zero_point.and_then(Tensor::as_single::<u8>).unwrap_or(0)
}

/// Where the first layer is a convolution right behind the input: 255 where a filter's tap has
/// that sign, 0 where it has the other, under one position of its window; noise elsewhere.
fn matched(graph: &Graph, extents: &[usize], sign: i64, noise: &mut Noise) -> Option<Vec<u8>> {
    let (_, layer) = graph.nodes().find(|(_, node)| matches!(node.op, Op::Conv(_) | Op::Gemm(_)))?;
    let Op::Conv(attributes) = &layer.op else { return None };
    let (_, dequantize) = graph.producer(layer.input(1)?)?;
    let weights = graph.constant_operand(dequantize, 0)?;
    let zero_point = graph.constant_operand(dequantize, 2)?.to_i64_vec()?[0];
    let shape = weights.shape();
    let filters = weights.to_i64_vec()?;
    let per_filter: usize = shape[1..].iter().product();
    let filter = noise.whole(0, shape[0] as i64 - 1) as usize;
    let taps = &filters[filter * per_filter..][..per_filter];
    let first_channel = filter / (shape[0] / attributes.group) * shape[1];
    // A layer behind data movement may see other extents.
    if shape.len() != extents.len() + 1 || shape[1] * attributes.group != extents[0] {
        return None;
    }
    let mut pixels: Vec<u8> = (0..extents.iter().product::<usize>()).map(|_| noise.byte()).collect();
    for (tap, weight) in taps.iter().enumerate() {
        let position = position(tap, &shape[1..], attributes, first_channel);
        let index = position.iter().zip(extents).try_fold(0, |index, (&at, &extent)| {
            usize::try_from(at).ok().filter(|&at| at < extent).map(|at| index * extent + at)
        });
        if let Some(index) = index {
            pixels[index] = if (weight - zero_point) * sign > 0 { 255 } else { 0 };
        }
    }
    Some(pixels)
}

/// Channel and spatial position that a tap reads under the first window.
fn position(tap: usize, kernel: &[usize], attributes: &ConvAttributes, first_channel: usize) -> Vec<i64> {
    let mut rest = tap;
    let mut position: Vec<i64> = (1..kernel.len())
        .rev()
        .map(|axis| {
            let cell = rest % kernel[axis];
            rest /= kernel[axis];
            (cell * attributes.dilations[axis - 1]) as i64 - attributes.pads.begin[axis - 1] as i64
        })
        .collect();
    position.push((first_channel + rest) as i64);
    position.reverse();
    position
}
