//! Makes the bias of each layer an Add of its own.
//!
//! ConvInteger and MatMulInteger take no bias. The bias constant of a Conv gets the shape
//! `[1, C, 1, ...]`, which broadcasts along the channels; a Gemm's `[C]` does so as it is.
//!
//! `Conv(x, w, b) = Conv(x, w) + b`: after `fold-op-scales` all three are integers in floats, so that
//! the two agree bit for bit where the accumulator stays below 2^24, and to float rounding
//! elsewhere.
//!
//! ```text
//! in      %x: f32[N,1,5,5]
//! const   %w_quantized: i8[2,1,3,3] = cycle [1, -2, 3]
//! Before  const %b_quantized: i32[2] = [7, -9]
//!         %w: f32[2,1,3,3] = DequantizeLinear(%w_quantized, 1.0, 0i8)
//!         %b: f32[2] = DequantizeLinear(%b_quantized, 1.0) axis=0
//!         %y: f32[N,2,3,3] = Conv(%x, %w, %b) @conv
//!         %r: f32[N,2,3,3] = Relu(%y)
//! After   const %b_quantized: i32[1,2,1,1] = [7, -9]
//!         %w: f32[2,1,3,3] = DequantizeLinear(%w_quantized, 1.0, 0i8)
//!         %y_without_bias: f32[N,2,3,3] = Conv(%x, %w) @conv
//!         %b: f32[1,2,1,1] = DequantizeLinear(%b_quantized, 1.0)
//!         %y: f32[N,2,3,3] = Add(%y_without_bias, %b) @conv_bias_add
//!         %r: f32[N,2,3,3] = Relu(%y)
//! out     %r
//! ```
//!
//! # Equivalence
//! The same real function. A network without biases is left as it is.
//!
//! # Refuses
//! A bias that is not a `DequantizeLinear` of an int32 constant (`bias-quantized`) or that two layers
//! share (`bias-shared`), and a Conv or Gemm that is no quantized layer (`weights-quantized`,
//! `gemm-factors`, `channel-axis`, `weight-zero-point`).

use onnx2int_graph::{Graph, GraphEditor, NodeId, Op, Stage, Tensor, Verified};

use crate::edits::{rewrite_each, set_constant_named};
use crate::qdq::Layer;
use crate::{Executor, RewriteLog, Transform, TransformError};

/// The `split-bias-add` transform; see the file's head.
#[derive(Clone, Copy, Debug, Default)]
pub struct SplitBiasAdd;

impl Transform for SplitBiasAdd {
    fn makes(&self) -> Stage {
        Stage::Split
    }

    /// A network may have no bias; the stage's rules notice one that is left.
    fn noop_allowed(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        graph: Verified<'_>,
        _executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError> {
        rewrite_each(&graph, find_sites(&graph)?, |editor, site| rewrite_site(editor, site, log))
    }
}

/// A layer with a bias.
struct Biased {
    layer: NodeId,
    /// The bias' `DequantizeLinear`.
    dequantize: NodeId,
    /// The name of its constant.
    constant: String,
    /// The integers, in the shape that broadcasts over the layer's output.
    integers: Tensor,
}

fn find_sites(graph: &Graph) -> Result<Vec<Biased>, TransformError> {
    let mut sites = Vec::new();
    for layer in Layer::all(graph)? {
        let Some(bias) = layer.bias else { continue };
        if graph.consumers(bias.node.output).count() != 1 {
            let reason = format!("expected a bias of its own, found {:?} read by others too", bias.node.name);
            return Err(TransformError::refused("bias-shared", &layer.node.name, reason));
        }
        let rank = graph.value(layer.node.output).ty.rank();
        let mut shape = vec![1; rank];
        shape[1] = layer.channels;
        let integers = match (&layer.node.op, bias.tensor.len() == layer.channels) {
            (Op::Conv(_), true) => bias.tensor.reshape(&shape).expect("one bias for each channel"),
            _ => bias.tensor.clone(),
        };
        sites.push(Biased { layer: layer.id, dequantize: bias.id, constant: bias.name.to_owned(), integers });
    }
    Ok(sites)
}

fn rewrite_site(editor: &mut GraphEditor, site: Biased, log: &mut RewriteLog) -> Result<(), TransformError> {
    let layer = editor.graph().node(site.layer).clone();
    let bias = layer.input(2).expect("the site has a bias");
    editor.replace_node(site.layer, layer.op, &layer.inputs[..2]);

    let dequantize = editor.graph().node(site.dequantize).clone();
    if site.integers.rank() > 1 {
        // The channels lie along axis 1 now, for a scale of each channel.
        editor.replace_node(site.dequantize, Op::DequantizeLinear { axis: 1 }, dequantize.inputs);
    }
    set_constant_named(editor, site.dequantize, 0, site.integers, &site.constant)?;

    // The sum is what the layer gave until now, so that it gets the name.
    let output_name = editor.graph().value(layer.output).name.clone();
    let product_name = editor.unique_name(&format!("{output_name}_without_bias"));
    editor.rename_value(layer.output, &product_name)?;
    let node_name = editor.unique_name(&format!("{}_bias_add", layer.name));
    editor.insert_after(layer.output, &node_name, Op::Add, &[bias], &output_name)?;
    log.changed(layer.name, format!("bias moved to {node_name:?}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::SplitBiasAdd;
    use crate::testing::{check, check_refused, check_unchanged};

    #[test]
    fn a_gemm_bias_keeps_its_shape_and_the_output_its_name() {
        let sites = check(
            &SplitBiasAdd,
            "in %x: f32[N,2]
             const %w: i8[3,2] = [1, 2, 3, 4, 5, 6]
             const %b: i32[3] = [7, 8, 9]
             %wd = DequantizeLinear(%w, 1.0, 0i8)
             %bd = DequantizeLinear(%b, 1.0)
             %logits = Gemm(%x, %wd, %bd) transB=1 @fc
             out %logits",
            "in %x: f32[N,2]
             const %w: i8[3,2] = [1, 2, 3, 4, 5, 6]
             const %b: i32[3] = [7, 8, 9]
             %wd = DequantizeLinear(%w, 1.0, 0i8)
             %logits_without_bias = Gemm(%x, %wd) transB=1 @fc
             %bd = DequantizeLinear(%b, 1.0)
             %logits = Add(%logits_without_bias, %bd) @fc_bias_add
             out %logits",
        );
        assert_eq!(sites, ["fc: bias moved to \"fc_bias_add\""]);
    }

    #[test]
    fn every_reader_reads_the_sum() {
        check(
            &SplitBiasAdd,
            "in %x: f32[N,1,2]
             const %w: i8[1,1,1] = [1]
             const %b: i32[1] = [7]
             %wd = DequantizeLinear(%w, 1.0, 0i8)
             %bd = DequantizeLinear(%b, 1.0)
             %y = Conv(%x, %wd, %bd)
             %r = Relu(%y)
             %s = Add(%r, %y)
             out %s",
            "in %x: f32[N,1,2]
             const %w: i8[1,1,1] = [1]
             const %b: i32[1,1,1] = [7]
             %wd = DequantizeLinear(%w, 1.0, 0i8)
             %y_without_bias = Conv(%x, %wd) @y
             %bd = DequantizeLinear(%b, 1.0)
             %y = Add(%y_without_bias, %bd) @y_bias_add
             %r = Relu(%y)
             %s = Add(%r, %y)
             out %s",
        );
    }

    #[test]
    fn a_scale_of_each_channel_follows_the_channels() {
        check(
            &SplitBiasAdd,
            "in %x: f32[N,1,2]
             const %w: i8[2,1,1] = [1, 2]
             const %b: i32[2] = [7, 8]
             const %s: f32[2] = [0.5, 0.25]
             %wd = DequantizeLinear(%w, 1.0, 0i8)
             %bd = DequantizeLinear(%b, %s) axis=0
             %y = Conv(%x, %wd, %bd) @conv
             out %y",
            "in %x: f32[N,1,2]
             const %w: i8[2,1,1] = [1, 2]
             const %b: i32[1,2,1] = [7, 8]
             const %s: f32[2] = [0.5, 0.25]
             %wd = DequantizeLinear(%w, 1.0, 0i8)
             %y_without_bias = Conv(%x, %wd) @conv
             %bd = DequantizeLinear(%b, %s)
             %y = Add(%y_without_bias, %bd) @conv_bias_add
             out %y",
        );
    }

    #[test]
    fn layers_without_bias_stay() {
        check_unchanged(
            &SplitBiasAdd,
            "in %x: f32[N,2]
             const %w: i8[2,1] = [1, 2]
             %wd = DequantizeLinear(%w, 1.0, 0i8)
             %y = Gemm(%x, %wd)
             out %y",
        );
    }

    #[test]
    fn float_and_shared_biases_are_refused() {
        check_refused(
            &SplitBiasAdd,
            "in %x: f32[N,2]
             const %w: i8[2,1] = [1, 2]
             const %b: f32[1] = [0.5]
             %wd = DequantizeLinear(%w, 1.0, 0i8)
             %y = Gemm(%x, %wd, %b)
             out %y",
            "bias-quantized",
            "y",
        );
        check_refused(
            &SplitBiasAdd,
            "in %x: f32[N,2]
             const %w: i8[2,1] = [1, 2]
             const %b: i32[1] = [5]
             %wd = DequantizeLinear(%w, 1.0, 0i8)
             %bd = DequantizeLinear(%b, 1.0)
             %y = Gemm(%x, %wd, %bd)
             %z = Gemm(%x, %wd, %bd)
             out %y, %z",
            "bias-shared",
            "y",
        );
    }
}
