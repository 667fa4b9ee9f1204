//! Tests of the text form: goldens, refusals, round trips, and arbitrary input.

use proptest::prelude::*;

use crate::{Graph, GraphEditor};

/// Everything the grammar has, as the printer writes it.
const EVERYTHING: &str = "\
graph mnist_cnn
meta \"odd key\" = \"line\\nbreak \\\"quoted\\\"\"
meta onnx2int.stage = \"float\"
in %x: f32[N,1,5,5]
in %\"odd name\": f32[\"N+1\",2]
const %w: f32[2,1,3,3] = splat 0.5
const %b: f32[2] = [0.1, -1e-7]
const %shape: i64[2] = [0, -1]
%y: f32[N,2,5,5] = Conv(%x, %w, %b) pads=[1,1,1,1] @/conv1/Conv
%r: f32[N,2,5,5] = Relu(%y)
%q: u8[N,2,5,5] = QuantizeLinear(%r, 0.1, 0u8)
%p: u8[N,2,2,2] = MaxPool(%q) kernel_shape=[2,2] strides=[2,2]
%d: f32[N,2,2,2] = DequantizeLinear(%p, 0.1, 0u8)
%f: f32[N,8] = Reshape(%d, %shape)
%c: f32[8,3] = Constant() value=f32[8,3] splat 1.0
%g: f32[N,3] = Gemm(%f, %c, _) alpha=2.0 @fc1
%class: i64[N] = ArgMax(%g) axis=1 keepdims=0
annotate %q scale=q_scale zero_point=q_zero_point
out %class, %g
";

#[test]
fn everything_survives() {
    // The trailing `_` of Gemm is what `finish` removes.
    let expected = EVERYTHING.replace("%c, _)", "%c)");
    let graph = Graph::from_text(EVERYTHING).unwrap();
    assert_eq!(graph.to_full_text(), expected);
    assert_eq!(graph.to_text(), expected);
    assert_eq!(Graph::from_text(&expected).unwrap(), graph);
}
