//! A float bias of a quantized layer is an int32 one, in the units of the layer's sums.
//!
//! Some quantizers leave the bias in floats. It becomes `round(b / (i_scale w_scale_c))` behind a
//! `DequantizeLinear` of that scale, which is off by at most half a unit of the sum.

use onnx2int_graph::pointwise::known_tensor;
use onnx2int_graph::{Graph, GraphEditor, Node, NodeId, Op, Tensor, movement};

use crate::edits::rewrite_each;
use crate::qdq::{Parameters, is_layer};
use crate::{RewriteLog, TransformError};

pub(super) fn rewrite(graph: Graph, log: &mut RewriteLog) -> Result<Graph, TransformError> {
    let mut sites = Vec::new();
    for (id, node) in graph.nodes().filter(|(_, node)| is_layer(&node.op)) {
        let bias =
            node.input(2).and_then(|bias| known_tensor(&graph, bias)).and_then(Tensor::as_slice::<f32>);
        if let (Some(bias), Some(scales)) = (bias, product_scales(&graph, node)?) {
            sites.push((id, quantize(node, bias, &scales)?, scales));
        }
    }
    rewrite_each(&graph, sites, |editor, (id, integers, scales)| {
        rewrite_site(&graph, editor, id, integers, scales, log)
    })
}

/// `i_scale * w_scale` of each channel, if the layer is quantized.
fn product_scales(graph: &Graph, node: &Node) -> Result<Option<Vec<f32>>, TransformError> {
    let dequantizer = |value| {
        graph
            .producer(value)
            .map(|(_, node)| node)
            .filter(|node| matches!(node.op, Op::DequantizeLinear { .. }))
    };
    let input = node.input(0).map(|input| movement::origins(graph, input)).unwrap_or_default();
    let (Some(input), Some(weights)) =
        (input.first().copied().and_then(dequantizer), node.input(1).and_then(dequantizer))
    else {
        return Ok(None);
    };
    let (input, weights) = (Parameters::of(graph, input)?, Parameters::of(graph, weights)?);
    Ok(input.per_tensor().map(|(scale, _)| weights.scales.iter().map(|weight| scale * weight).collect()))
}

fn quantize(node: &Node, bias: &[f32], scales: &[f32]) -> Result<Vec<i32>, TransformError> {
    let integer = |(channel, &bias): (usize, &f32)| {
        let scale = scales[if scales.len() == 1 { 0 } else { channel }];
        let units = (f64::from(bias) / f64::from(scale)).round_ties_even();
        if !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&units) {
            let reason =
                format!("expected the bias of channel {channel} to fit int32, found {units:e} units");
            return Err(TransformError::refused("bias-range", &node.name, reason));
        }
        #[expect(clippy::cast_possible_truncation, reason = "in range, and a whole number")]
        Ok(units as i32)
    };
    bias.iter().enumerate().map(integer).collect()
}

fn rewrite_site(
    graph: &Graph,
    editor: &mut GraphEditor,
    id: NodeId,
    integers: Vec<i32>,
    scales: Vec<f32>,
    log: &mut RewriteLog,
) -> Result<(), TransformError> {
    let node = graph.node(id);
    let name = graph.operand(node, 2).expect("the site has a bias").name.clone();
    let mut constant =
        |role: &str, tensor: Tensor| editor.add_fresh_constant(&format!("{name}_{role}"), tensor);
    let integers = constant("quantized", Tensor::vector(integers))?;
    let scales = match scales.as_slice() {
        &[scale] => Tensor::scalar(scale),
        _ => Tensor::vector(scales),
    };
    let scales = constant("scale", scales)?;
    let dequantize = editor.unique_name(&format!("{name}_dequantized"));
    let inputs = [Some(integers), Some(scales)];
    let bias = editor.add_node(&dequantize, Op::DequantizeLinear { axis: 0 }, inputs, &dequantize)?;
    editor.set_input(id, 2, Some(bias));
    log.changed(&node.name, "float bias quantized to int32");
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_form, parse};
    use crate::{RewriteLog, TransformError};

    const LAYER: &str = "in %x: u8[N,2]
         const %w: i8[2,2] = [1, 2, 3, 4]
         const %ws: f32[2] = [0.25, 0.5]
         %xd = DequantizeLinear(%x, 0.5, 3u8)
         %wd = DequantizeLinear(%w, %ws) axis=0";

    #[test]
    fn a_float_bias_counts_in_the_units_of_its_layer() {
        check_form(
            super::rewrite,
            &format!("{LAYER}\nconst %b: f32[2] = [1.0, -1.0]\n%y = Gemm(%xd, %wd, %b) transB=1\nout %y"),
            &format!(
                "{LAYER}
                 const %b_quantized: i32[2] = [8, -4]
                 const %b_scale: f32[2] = [0.125, 0.25]
                 %b_dequantized = DequantizeLinear(%b_quantized, %b_scale) axis=0
                 %y = Gemm(%xd, %wd, %b_dequantized) transB=1
                 out %y"
            ),
        );
    }

    #[test]
    fn a_bias_beyond_int32_is_refused() {
        let graph = parse(&format!(
            "{LAYER}\nconst %b: f32[2] = [1e9, 0.0]\n%y = Gemm(%xd, %wd, %b) transB=1\nout %y"
        ));
        let error = super::rewrite(graph, &mut RewriteLog::default()).unwrap_err();
        assert!(matches!(error, TransformError::Refused { rule: "bias-range", .. }), "{error}");
    }
}
