//! A scale and an offset for each channel behind a layer go into its weights and its bias.
//!
//! `a_c (sum w_c x + b_c) + d_c = sum (a_c w_c) x + (a_c b_c + d_c)`, with
//!
//! - `BatchNormalization`: `a = scale / sqrt(variance + epsilon)`, `d = bias - a mean`
//!   (Ioffe and Szegedy 2015, "Batch Normalization", algorithm 2);
//! - `Mul`, `Div`, `Add`, `Sub` with a constant: `a` or `d` alone.
//!
//! Computed in f64 and rounded once to f32.

use onnx2int_graph::pointwise::known_tensor;
use onnx2int_graph::{Graph, GraphEditor, Node, NodeId, Op, Tensor, ValueId};

use super::per_channel;
use crate::edits::{bypass, rewrite_each, set_constant, set_constant_named};
use crate::{RewriteLog, TransformError};

pub(super) fn rewrite(mut graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    // One node behind each layer at a time: of a chain, the next is seen in the next round.
    loop {
        let sites: Vec<Affine> = graph.nodes().filter_map(|(id, _)| find(&graph, id)).collect();
        if sites.is_empty() {
            return Ok(graph);
        }
        graph = rewrite_each(&graph, sites, |editor, site| {
            let node = editor.graph().node(site.node);
            let change = format!("{} {:?} folded into weights and bias", node.op.name(), node.name);
            log.changed(&editor.graph().node(site.layer).name, change);
            fold(editor, &site)
        })?;
    }
}

/// `scale * x + offset` for each channel, behind a layer that nothing else reads.
struct Affine {
    node: NodeId,
    layer: NodeId,
    /// What the layer gives, and what the node behind it gives.
    product: ValueId,
    result: ValueId,
    scale: Vec<f64>,
    offset: Vec<f64>,
    /// The axis of the weights that runs along output channels.
    filters: usize,
}

fn find(graph: &Graph, id: NodeId) -> Option<Affine> {
    let node = graph.node(id);
    let (slot, product) = (0..2).find_map(|slot| {
        let value = node.input(slot)?;
        let (layer, layer_node) = graph.producer(value)?;
        let filters = match &layer_node.op {
            Op::Conv(_) => 0,
            Op::Gemm(attributes) => usize::from(!attributes.trans_b),
            _ => return None,
        };
        Some((slot, (value, layer, layer_node, filters)))
    })?;
    let (value, layer, layer_node, filters) = product;
    let read_once = graph.consumers(value).count() == 1 && !graph.outputs().contains(&value);
    let float = |slot: usize| known_tensor(graph, layer_node.input(slot)?)?.as_slice::<f32>();
    let constant_layer = float(1).is_some() && (layer_node.input(2).is_none() || float(2).is_some());
    // A result that broadcasts to more than the layer gives is another thing.
    let same_shape = graph.value(value).ty == graph.value(node.output).ty;
    if !(read_once && constant_layer && same_shape) {
        return None;
    }
    let channels = known_tensor(graph, layer_node.input(1)?)?.shape()[filters];
    let rank = graph.value(value).ty.rank();
    let constant = |slot: usize| -> Option<Vec<f64>> {
        per_channel(known_tensor(graph, node.input(slot)?)?, rank, channels)
    };
    let (one, zero) = (vec![1.0; channels], vec![0.0; channels]);
    let negated = |values: Vec<f64>| values.into_iter().map(|value| -value).collect::<Vec<f64>>();
    let (scale, offset) = match (&node.op, slot) {
        (Op::BatchNormalization { epsilon }, 0) => normalization(graph, node, *epsilon)?,
        (Op::Mul, slot) => (constant(1 - slot)?, zero),
        (Op::Div, 0) => (constant(1)?.into_iter().map(|value| 1.0 / value).collect(), zero),
        (Op::Add, slot) => (one, constant(1 - slot)?),
        (Op::Sub, 0) => (one, negated(constant(1)?)),
        (Op::Sub, _) => (negated(one), constant(0)?),
        _ => return None,
    };
    let usable = scale.iter().chain(&offset).all(|value| value.is_finite()) && scale.len() == channels;
    usable.then_some(Affine { node: id, layer, product: value, result: node.output, scale, offset, filters })
}

/// Scale and offset of a batch normalization.
fn normalization(graph: &Graph, node: &Node, epsilon: f32) -> Option<(Vec<f64>, Vec<f64>)> {
    let numbers = |slot: usize| known_tensor(graph, node.input(slot)?)?.as_slice::<f32>();
    let (scale, bias, mean, variance) = (numbers(1)?, numbers(2)?, numbers(3)?, numbers(4)?);
    let factors: Vec<f64> = scale
        .iter()
        .zip(variance)
        .map(|(&scale, &variance)| f64::from(scale) / (f64::from(variance) + f64::from(epsilon)).sqrt())
        .collect();
    let moved = factors.iter().zip(bias.iter().zip(mean));
    let offsets = moved.map(|(factor, (&bias, &mean))| f64::from(bias) - factor * f64::from(mean)).collect();
    Some((factors, offsets))
}

#[expect(clippy::cast_possible_truncation, reason = "rounded once to f32, as the head says")]
fn fold(editor: &mut GraphEditor, site: &Affine) -> Result<(), TransformError> {
    let graph = editor.graph();
    let layer = graph.node(site.layer).clone();
    let tensor = |slot: usize| layer.input(slot).and_then(|value| known_tensor(graph, value)).cloned();
    let (weights, bias) = (tensor(1).expect("the site has weights"), tensor(2));
    let inner: usize = weights.shape()[site.filters + 1..].iter().product();
    let channels = site.scale.len();
    let scaled = weights.as_slice::<f32>().expect("the site's weights are floats");
    let scaled = scaled
        .iter()
        .enumerate()
        .map(|(index, &weight)| (f64::from(weight) * site.scale[index / inner % channels]) as f32)
        .collect();
    let biases = bias.as_ref().and_then(Tensor::as_slice::<f32>);
    let moved = (0..channels)
        .map(|channel| {
            let bias =
                biases.map_or(0.0, |biases| f64::from(biases[if biases.len() == 1 { 0 } else { channel }]));
            (bias * site.scale[channel] + site.offset[channel]) as f32
        })
        .collect();
    let name = |slot: usize| layer.input(slot).map(|value| graph.value(value).name.clone());
    let (weights_name, bias_name) = (name(1).expect("the site has weights"), name(2));
    let weights = Tensor::from_vec::<f32>(weights.shape(), scaled).expect("as many weights as before");
    set_constant_named(editor, site.layer, 1, weights, &weights_name)?;
    let moved = Tensor::vector::<f32>(moved);
    match bias_name {
        Some(name) => set_constant_named(editor, site.layer, 2, moved, &name)?,
        None => set_constant(editor, site.layer, 2, moved)?,
    };
    bypass(editor, site.result, site.product)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_form, check_form_unchanged};

    #[test]
    fn a_batch_normalization_folds_into_its_layer() {
        check_form(
            super::rewrite,
            "in %x: f32[N,1,3,3]
             const %w: f32[2,1,1,1] = [1.0, 2.0]
             const %b: f32[2] = [1.0, -1.0]
             const %scale: f32[2] = [1.0, 3.0]
             const %shift: f32[2] = [5.0, 6.0]
             const %mean: f32[2] = [2.0, 4.0]
             const %variance: f32[2] = [3.0, 8.0]
             %y = Conv(%x, %w, %b)
             %n = BatchNormalization(%y, %scale, %shift, %mean, %variance) epsilon=1.0
             %r = Relu(%n)
             out %r",
            "in %x: f32[N,1,3,3]
             const %w: f32[2,1,1,1] = [0.5, 2.0]
             const %b: f32[2] = [4.5, 1.0]
             %y = Conv(%x, %w, %b)
             %r = Relu(%y)
             out %r",
        );
    }

    #[test]
    fn a_chain_of_constants_folds_from_the_layer_on() {
        check_form(
            super::rewrite,
            "in %x: f32[N,2]
             const %w: f32[2,2] = [1.0, 2.0, 3.0, 4.0]
             const %m: f32[1,2] = [2.0, 4.0]
             const %a: f32[2] = [1.0, 2.0]
             %y = Gemm(%x, %w)
             %s = Mul(%m, %y)
             %t = Add(%s, %a)
             %u = Sub(1.0, %t)
             out %u",
            "in %x: f32[N,2]
             const %w: f32[2,2] = [-2.0, -8.0, -6.0, -16.0]
             const %y_c: f32[2] = [0.0, -1.0]
             %u = Gemm(%x, %w, %y_c) @y
             out %u",
        );
    }

    #[test]
    fn what_is_read_twice_or_varies_over_space_is_left_alone() {
        for rest in [
            "const %k: f32[3,3] = cycle [1.0, 2.0]\n%z = Mul(%y, %k)\nout %z",
            "%z = Mul(%y, 2.0)\nout %z, %y",
        ] {
            let text = format!(
                "in %x: f32[N,1,3,3]\nconst %w: f32[2,1,1,1] = [1.0, 2.0]\n%y = Conv(%x, %w)\n{rest}"
            );
            check_form_unchanged(super::rewrite, &text);
        }
    }
}
