//! One row for each operator and each refusal.

use crate::{Graph, verify};

/// Values that the rows use.
const VALUES: &str = "\
in %image: f32[N,4,8,6]
in %line: f32[N,4,9]
in %matrix: f32[N,4]
in %square: f32[4,4]
in %other: f32[M,4]
in %batches: f32[N,2,3,4]
in %vector: f32[4]
in %ones: f32[1,4,1,5]
in %empty: f32[N,0]
in %any: f32[N,H,W]
in %scalar: f32[]
in %bytes: u8[N,4,8,6]
in %signed: i8[N,4,8,6]
in %u: u8[N,4]
in %i: i32[N,4]
in %long: i64[N,4]
in %truth: bool[N,4]
in %truth_scalar: bool[]
in %u_scalar: u8[]
in %i8_scalar: i8[]
in %u_vector: u8[4]
in %unknown: i64[2]
const %w: f32[6,4,3,3] = splat 0.5
const %w_grouped: f32[6,2,3,3] = splat 0.5
const %w_line: f32[2,4,3] = splat 0.5
const %w_large: f32[1,4,9,1] = splat 0.5
const %w_bytes: i8[6,4,3,3] = splat 1
const %w_depthwise: u8[4,1,1,1] = splat 1
const %bias: f32[6] = splat 0.5
const %b: f32[4,3] = splat 0.5
const %b_wide: f32[5,4] = splat 0.5
const %b_bytes: i8[4,3] = splat 1
const %b_int: i32[4,3] = splat 1
const %c: f32[3] = splat 0.5
const %c_column: f32[2,1] = splat 0.5
const %scales: f32[4] = splat 0.5
const %one_scale: f32[1] = [0.5]
const %zeros: u8[4] = splat 0
const %i8_zeros: i8[4] = splat 0
const %scale_matrix: f32[4,1] = splat 0.5
const %keep: i64[2] = [0, -1]
const %flat: i64[1] = [-1]
const %two_inferred: i64[2] = [-1, -1]
const %three: i64[2] = [-1, 3]
const %split: i64[3] = [0, 4, 48]
const %zero: i64[1] = [0]
const %zero_long: i64[] = 0
const %one: i64[1] = [1]
const %last: i64[1] = [-1]
const %far: i64[1] = [9]
const %least: i64[1] = [-9223372036854775808]
const %rows: i64[2] = [0, -4]
const %rows_out: i64[2] = [0, 4]
const %rows_under: i64[1] = [-5]
const %index: i32[] = 3
const %axes: i64[2] = [2, 3]
const %nested: i64[1,1] = [1]
const %none: i64[0] = []
const %line_pads: i64[6] = [0, 0, 1, 0, 0, 2]
const %batch_pads: i64[6] = [1, 0, 0, 0, 0, 0]
const %minus: i64[2] = [-1, 1]
";

/// The type that the verifier infers, or the name of the rule that the operands break.
fn judge(operation: &str) -> String {
    let text = format!("{VALUES}%y: bool[9,9,9] = {operation}\nout %y");
    let graph = Graph::from_text_as_written(&text).unwrap_or_else(|error| panic!("{operation}: {error}"));
    let violation = verify(&graph).unwrap_err().violations.remove(0);
    match violation.rule {
        "declared-type" => violation.expected.split(", which").next().unwrap().to_owned(),
        rule => rule.to_owned(),
    }
}

fn check(rows: &[(&str, &str)]) {
    let failures: Vec<_> = rows
        .iter()
        .map(|(operation, expected)| (operation, *expected, judge(operation)))
        .filter(|(_, expected, found)| expected != found)
        .map(|(operation, expected, found)| format!("{operation}: expected {expected}, found {found}"))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn convolutions() {
    check(&[
        ("Conv(%image, %w)", "f32[N,6,6,4]"),
        ("Conv(%image, %w, %bias) pads=[1,1,1,1]", "f32[N,6,8,6]"),
        ("Conv(%image, %w) strides=[2,3]", "f32[N,6,3,2]"),
        ("Conv(%image, %w) dilations=[2,1] pads=[0,1,3,0]", "f32[N,6,7,5]"),
        ("Conv(%image, %w_grouped) group=2", "f32[N,6,6,4]"),
        ("Conv(%line, %w_line)", "f32[N,2,7]"),
        ("Conv(%image, %w_grouped)", "operand-shape"),
        ("Conv(%image, %w) group=2", "operand-shape"),
        ("Conv(%image, %w_grouped) group=4", "operand-shape"),
        ("Conv(%image, %w) group=0", "attribute-fits"),
        ("Conv(%image, %w_large)", "operand-shape"),
        ("Conv(%image, %w_line)", "operand-shape"),
        ("Conv(%matrix, %b)", "operand-shape"),
        ("Conv(%any, %w_line)", "operand-shape"),
        ("Conv(%image, %image)", "operand-shape"),
        ("Conv(%image, %w, %c)", "operand-shape"),
        ("Conv(%image, %w, %scalar)", "operand-shape"),
        ("Conv(%image, %w, %u_scalar)", "operand-dtype"),
        ("Conv(%bytes, %w_bytes)", "operand-dtype"),
        ("Conv(%image, %w_bytes)", "operand-dtype"),
        ("Conv(%image)", "operand-count"),
        ("Conv(_, %w)", "operand-count"),
        ("Conv(%image, %w) strides=[1]", "attribute-fits"),
        ("Conv(%image, %w) strides=[1,0]", "attribute-fits"),
        ("Conv(%image, %w) dilations=[0,1]", "attribute-fits"),
        ("Conv(%image, %w) pads=[1,1]", "attribute-fits"),
        ("Conv(%image, %w) pads=[9223372036854775807,0,9223372036854775807,0]", "operand-shape"),
        ("ConvInteger(%bytes, %w_bytes)", "i32[N,6,6,4]"),
        ("ConvInteger(%signed, %w_bytes, %i8_scalar, 0i8) strides=[2,2]", "i32[N,6,3,2]"),
        ("ConvInteger(%bytes, %w_depthwise, 3u8) group=4", "i32[N,4,8,6]"),
        ("ConvInteger(%bytes, %w_bytes, 0i8)", "operand-dtype"),
        ("ConvInteger(%bytes, %w_bytes, 0u8, 0u8)", "operand-dtype"),
        ("ConvInteger(%bytes, %w_bytes, 0u8, %i8_zeros)", "operand-shape"),
        ("ConvInteger(%bytes, %w_bytes, %u_vector)", "operand-shape"),
        ("ConvInteger(%bytes, %w_depthwise, 3u8, %u_vector) group=4", "i32[N,4,8,6]"),
        ("ConvInteger(%image, %w_bytes)", "operand-dtype"),
        ("ConvInteger(%bytes, %w)", "operand-dtype"),
        ("ConvInteger(%bytes, %w_bytes, _, _, %w)", "operand-count"),
    ]);
}

#[test]
fn products() {
    check(&[
        ("Gemm(%matrix, %b)", "f32[N,3]"),
        ("Gemm(%matrix, %b, %c) alpha=0.5", "f32[N,3]"),
        ("Gemm(%matrix, %b_wide, %scalar) transB=1", "f32[N,5]"),
        ("Gemm(%square, %b) transA=1", "f32[4,3]"),
        ("Gemm(%matrix, %b_wide)", "operand-shape"),
        ("Gemm(%matrix, %b) transA=1", "operand-shape"),
        ("Gemm(%vector, %b)", "operand-shape"),
        ("Gemm(%matrix, %b, %vector)", "operand-shape"),
        ("Gemm(%matrix, %b, %c_column)", "operand-shape"),
        ("Gemm(%square, %b, %ones)", "operand-shape"),
        ("Gemm(%i, %b_int)", "operand-dtype"),
        ("Gemm(%matrix, %b, %u_scalar)", "operand-dtype"),
        ("MatMul(%matrix, %b)", "f32[N,3]"),
        ("MatMul(%batches, %b)", "f32[N,2,3,3]"),
        ("MatMul(%i, %b_int)", "i32[N,3]"),
        ("MatMul(%matrix, %b_wide)", "operand-shape"),
        ("MatMul(%vector, %b)", "f32[3]"),
        ("MatMul(%batches, %vector)", "f32[N,2,3]"),
        ("MatMul(%vector, %vector)", "f32[]"),
        ("MatMul(%scalar, %b)", "operand-shape"),
        ("MatMul(%b, %vector)", "operand-shape"),
        ("MatMul(%batches, %any)", "operand-shape"),
        ("MatMul(%i, %b)", "operand-dtype"),
        ("MatMul(%u, %u)", "operand-dtype"),
        ("MatMulInteger(%u, %b_bytes)", "i32[N,3]"),
        ("MatMulInteger(%u, %b_bytes, 3u8, 1i8)", "i32[N,3]"),
        ("MatMulInteger(%u, %b_bytes, %zeros)", "operand-shape"),
        ("MatMulInteger(%u, %b_bytes, 3u8, %i8_zeros)", "operand-shape"),
        ("MatMulInteger(%u_vector, %b_bytes)", "operand-shape"),
        ("MatMulInteger(%u, %b_bytes, 3i8)", "operand-dtype"),
        ("MatMulInteger(%i, %b_bytes)", "operand-dtype"),
        ("MatMulInteger(%u, %b_int)", "operand-dtype"),
    ]);
}

#[test]
fn pools() {
    check(&[
        ("MaxPool(%image) kernel_shape=[2,2]", "f32[N,4,7,5]"),
        ("MaxPool(%bytes) kernel_shape=[2,2] strides=[2,2]", "u8[N,4,4,3]"),
        ("MaxPool(%signed) kernel_shape=[3,3] strides=[2,2]", "i8[N,4,3,2]"),
        ("MaxPool(%image) kernel_shape=[3,3] strides=[2,2] ceil_mode=1", "f32[N,4,4,3]"),
        ("MaxPool(%line) kernel_shape=[3] strides=[4] pads=[1,0] ceil_mode=1", "f32[N,4,3]"),
        // The last window would start in the padding: runtimes and shape inference do not agree.
        ("MaxPool(%line) kernel_shape=[2] strides=[5] pads=[1,1] ceil_mode=1", "attribute-fits"),
        ("MaxPool(%line) kernel_shape=[2] strides=[5] pads=[0,1] ceil_mode=1", "attribute-fits"),
        ("MaxPool(%line) kernel_shape=[2] strides=[3] pads=[0,1] ceil_mode=1", "attribute-fits"),
        ("MaxPool(%line) kernel_shape=[2] strides=[3] pads=[0,1]", "f32[N,4,3]"),
        ("MaxPool(%line) kernel_shape=[3] dilations=[3]", "f32[N,4,3]"),
        // Of the cells -1 and 8 one is in the input, of -1 and 9 none.
        ("MaxPool(%line) kernel_shape=[2] dilations=[9] pads=[1,1]", "f32[N,4,2]"),
        ("MaxPool(%line) kernel_shape=[2] dilations=[10] pads=[1,1]", "attribute-fits"),
        ("MaxPool(%image) kernel_shape=[9,1]", "operand-shape"),
        ("MaxPool(%image) kernel_shape=[0,1]", "attribute-fits"),
        ("MaxPool(%image) kernel_shape=[2]", "attribute-fits"),
        ("MaxPool(%image) kernel_shape=[2,2] pads=[2,0,0,0]", "attribute-fits"),
        ("MaxPool(%image) kernel_shape=[2,2] pads=[0,0,0,2]", "attribute-fits"),
        ("MaxPool(%matrix) kernel_shape=[]", "operand-shape"),
        ("MaxPool(%any) kernel_shape=[2]", "operand-shape"),
        ("MaxPool(%i) kernel_shape=[2]", "operand-dtype"),
        ("AveragePool(%image) kernel_shape=[2,2] strides=[2,2]", "f32[N,4,4,3]"),
        ("AveragePool(%line) kernel_shape=[3] strides=[4] pads=[1,0] ceil_mode=1", "f32[N,4,3]"),
        ("AveragePool(%line) kernel_shape=[3] dilations=[3] count_include_pad=1", "f32[N,4,3]"),
        ("AveragePool(%line) kernel_shape=[2] strides=[5] pads=[1,1] ceil_mode=1", "attribute-fits"),
        ("AveragePool(%line) kernel_shape=[2] dilations=[10] pads=[1,1]", "attribute-fits"),
        ("AveragePool(%image) kernel_shape=[2,2] pads=[2,0,0,0] count_include_pad=1", "attribute-fits"),
        ("AveragePool(%matrix) kernel_shape=[]", "operand-shape"),
        ("AveragePool(%bytes) kernel_shape=[2,2]", "operand-dtype"),
    ]);
}

#[test]
fn averages_and_normalization() {
    check(&[
        ("GlobalAveragePool(%image)", "f32[N,4,1,1]"),
        ("GlobalAveragePool(%any)", "f32[N,H,1]"),
        ("GlobalAveragePool(%matrix)", "operand-shape"),
        ("GlobalAveragePool(%bytes)", "operand-dtype"),
        ("ReduceMean(%image)", "f32[1,1,1,1]"),
        ("ReduceMean(%image) keepdims=0", "f32[]"),
        ("ReduceMean(%image, %axes)", "f32[N,4,1,1]"),
        ("ReduceMean(%image, %axes) keepdims=0", "f32[N,4]"),
        ("ReduceMean(%image, %none)", "f32[1,1,1,1]"),
        ("ReduceMean(%any, %last) keepdims=0", "f32[N,H]"),
        ("ReduceMean(%square, %keep)", "f32[1,1]"),
        ("ReduceMean(%square, %two_inferred)", "attribute-fits"),
        ("ReduceMean(%square, %far)", "attribute-fits"),
        ("ReduceMean(%matrix, %unknown)", "operand-constant"),
        ("ReduceMean(%matrix, %index)", "operand-dtype"),
        ("ReduceMean(%empty, %last)", "operand-shape"),
        ("ReduceMean(%i)", "operand-dtype"),
        ("BatchNormalization(%image, %vector, %vector, %vector, %vector)", "f32[N,4,8,6]"),
        ("BatchNormalization(%matrix, %vector, %vector, %vector, %scales) epsilon=0.5", "f32[N,4]"),
        ("BatchNormalization(%vector, %vector, %vector, %vector, %vector)", "operand-shape"),
        ("BatchNormalization(%image, %vector, %c, %vector, %vector)", "operand-shape"),
        ("BatchNormalization(%image, %vector, %vector, %vector, %scalar)", "operand-shape"),
        ("BatchNormalization(%image, %vector, %vector, %vector, %u_vector)", "operand-dtype"),
        ("BatchNormalization(%bytes, %vector, %vector, %vector, %vector)", "operand-dtype"),
        ("BatchNormalization(%image, %vector, %vector, %vector)", "operand-count"),
    ]);
}

#[test]
fn quantizers() {
    check(&[
        ("QuantizeLinear(%image, 0.5)", "u8[N,4,8,6]"),
        ("QuantizeLinear(%image, 0.5, 0i8)", "i8[N,4,8,6]"),
        ("QuantizeLinear(%image, %scales, %zeros)", "u8[N,4,8,6]"),
        ("QuantizeLinear(%square, %scales, %i8_zeros) axis=-2", "i8[4,4]"),
        ("QuantizeLinear(%image, %one_scale)", "u8[N,4,8,6]"),
        ("QuantizeLinear(%image, %scales) axis=2", "operand-shape"),
        ("QuantizeLinear(%image, %scales) axis=0", "operand-shape"),
        ("QuantizeLinear(%image, %scales) axis=4", "attribute-fits"),
        ("QuantizeLinear(%image, %scales) axis=-5", "attribute-fits"),
        ("QuantizeLinear(%image, %scale_matrix)", "operand-shape"),
        ("QuantizeLinear(%image, %scales, 0u8)", "operand-shape"),
        ("QuantizeLinear(%image, 0.5, %zeros)", "operand-shape"),
        ("QuantizeLinear(%image, 0.5, 0i32)", "operand-dtype"),
        ("QuantizeLinear(%image, 1u8)", "operand-dtype"),
        ("QuantizeLinear(%i, 0.5)", "operand-dtype"),
        ("QuantizeLinear(%image)", "operand-count"),
        ("DequantizeLinear(%bytes, 0.5, 0u8)", "f32[N,4,8,6]"),
        ("DequantizeLinear(%i, %scales)", "f32[N,4]"),
        ("DequantizeLinear(%bytes, %scales, %zeros) axis=-3", "f32[N,4,8,6]"),
        ("DequantizeLinear(%bytes, 0.5, 0i8)", "operand-dtype"),
        ("DequantizeLinear(%bytes, %scales) axis=3", "operand-shape"),
        ("DequantizeLinear(%image, 0.5)", "operand-dtype"),
        ("DequantizeLinear(%long, 0.5)", "operand-dtype"),
    ]);
}

#[test]
fn element_by_element() {
    check(&[
        ("Relu(%image)", "f32[N,4,8,6]"),
        ("Relu(%i)", "i32[N,4]"),
        ("Relu(%signed)", "i8[N,4,8,6]"),
        ("Relu(%bytes)", "operand-dtype"),
        ("Relu(%matrix, %matrix)", "operand-count"),
        ("Sigmoid(%any)", "f32[N,H,W]"),
        ("LeakyRelu(%matrix) alpha=0.5", "f32[N,4]"),
        ("Gelu(%scalar) tanh=1", "f32[]"),
        ("HardSwish(%i)", "operand-dtype"),
        ("Tanh(%u)", "operand-dtype"),
        ("Erf(%matrix, %matrix)", "operand-count"),
        ("PRelu(%matrix, %vector)", "f32[N,4]"),
        ("PRelu(%matrix, %scalar)", "f32[N,4]"),
        ("PRelu(%vector, %square)", "operand-shape"),
        ("PRelu(%one_scale, %vector)", "operand-shape"),
        ("PRelu(%matrix, %c)", "operand-shape"),
        ("PRelu(%i, %i)", "operand-dtype"),
        ("PRelu(%matrix, %u_vector)", "operand-dtype"),
        ("Clip(%matrix, 0.0, 6.0)", "f32[N,4]"),
        ("Clip(%u, _, 6u8)", "u8[N,4]"),
        ("Max(%u, 3u8)", "u8[N,4]"),
        ("Min(%u, %u_vector)", "u8[N,4]"),
        ("Clip(%i)", "i32[N,4]"),
        ("Clip(%matrix, 0i32)", "operand-dtype"),
        ("Clip(%matrix, %one_scale)", "operand-shape"),
        ("Clip(%truth)", "operand-dtype"),
        ("Add(%matrix, %vector)", "f32[N,4]"),
        ("Add(%square, %ones)", "operand-shape"),
        ("Add(%matrix, %scalar)", "f32[N,4]"),
        ("Add(%scale_matrix, %vector)", "f32[4,4]"),
        ("Add(%empty, %scalar)", "f32[N,0]"),
        ("Add(%matrix, %other)", "operand-shape"),
        ("Add(%matrix, %square)", "operand-shape"),
        ("Add(%matrix, %i)", "operand-dtype"),
        ("Add(%truth, %truth)", "operand-dtype"),
        ("Add(%matrix)", "operand-count"),
        ("Sub(%i, 1i32)", "i32[N,4]"),
        ("Mul(%u, %u_vector)", "u8[N,4]"),
        ("Div(%long, 2i64)", "i64[N,4]"),
        ("Div(%matrix, %vector, %vector)", "operand-count"),
        ("Max(%matrix)", "f32[N,4]"),
        ("Max(%scalar, %vector, %matrix)", "f32[N,4]"),
        ("Min(%i, 0i32)", "i32[N,4]"),
        ("Min(%i, _)", "operand-count"),
        ("Min()", "operand-count"),
        ("Min(%i, %matrix)", "operand-dtype"),
        ("Cast(%image) to=u8", "u8[N,4,8,6]"),
        ("Cast(%truth) to=f32", "f32[N,4]"),
        ("Softmax(%matrix)", "f32[N,4]"),
        ("LogSoftmax(%matrix) axis=0", "f32[N,4]"),
        ("Softmax(%matrix) axis=2", "attribute-fits"),
        ("Softmax(%matrix) axis=-3", "attribute-fits"),
        ("LogSoftmax(%scalar)", "attribute-fits"),
        ("LogSoftmax(%i)", "operand-dtype"),
        ("Identity(%truth)", "bool[N,4]"),
        ("Dropout(%matrix)", "f32[N,4]"),
        ("Dropout(%matrix, 0.5, false)", "f32[N,4]"),
        ("Dropout(%matrix, 0.5, true)", "operand-constant"),
        ("Dropout(%matrix, 0.5, %truth_scalar)", "operand-constant"),
        ("Dropout(%matrix, %one_scale)", "operand-shape"),
        ("Dropout(%matrix, 1i32)", "operand-dtype"),
        ("Dropout(%i)", "operand-dtype"),
    ]);
}

#[test]
fn data_movement() {
    check(&[
        ("Flatten(%image)", "f32[N,192]"),
        ("Flatten(%image) axis=2", "f32[N*4,48]"),
        ("Flatten(%image) axis=-4", "f32[1,N*192]"),
        ("Flatten(%image) axis=4", "f32[N*192,1]"),
        ("Flatten(%any)", "f32[N,H*W]"),
        ("Flatten(%empty)", "f32[N,0]"),
        ("Flatten(%scalar) axis=0", "f32[1,1]"),
        ("Flatten(%scalar)", "attribute-fits"),
        ("Flatten(%image) axis=5", "attribute-fits"),
        ("Reshape(%image, %keep)", "f32[N,192]"),
        ("Reshape(%image, %flat)", "f32[N*192]"),
        ("Reshape(%image, %split)", "f32[N,4,48]"),
        ("Reshape(%vector, %zero)", "f32[4]"),
        ("Reshape(%empty, %keep)", "f32[N,0]"),
        ("Reshape(%image, %keep) allowzero=1", "operand-shape"),
        ("Reshape(%image, %two_inferred)", "operand-shape"),
        ("Reshape(%square, %three)", "operand-shape"),
        ("Reshape(%batches, %split)", "operand-shape"),
        ("Reshape(%vector, %rows)", "operand-shape"),
        ("Reshape(%vector, %split)", "operand-shape"),
        ("Reshape(%matrix, %unknown)", "operand-constant"),
        ("Reshape(%matrix, %nested)", "operand-shape"),
        ("Reshape(%vector, %zero_long)", "operand-shape"),
        ("Reshape(%matrix, %index)", "operand-dtype"),
        ("Transpose(%image)", "f32[6,8,4,N]"),
        ("Transpose(%image) perm=[0,2,3,1]", "f32[N,8,6,4]"),
        ("Transpose(%image) perm=[0,2,3]", "attribute-fits"),
        ("Transpose(%image) perm=[0,2,2,1]", "attribute-fits"),
        ("Transpose(%image) perm=[0,2,3,4]", "attribute-fits"),
        ("Concat(%square, %b_wide) axis=0", "f32[9,4]"),
        ("Concat(%matrix, %empty, %matrix) axis=-1", "f32[N,8]"),
        ("Concat(%matrix, %matrix) axis=0", "operand-shape"),
        ("Concat(%square, %matrix) axis=1", "operand-shape"),
        ("Concat(%square, %vector) axis=0", "operand-shape"),
        ("Concat(%square, %square) axis=2", "attribute-fits"),
        ("Concat(%matrix, %i) axis=1", "operand-dtype"),
        ("Concat(%scalar, %scalar) axis=0", "attribute-fits"),
        ("Gather(%square, %rows)", "f32[2,4]"),
        ("Gather(%image, %index) axis=1", "f32[N,8,6]"),
        ("Gather(%matrix, %unknown) axis=1", "f32[N,2]"),
        ("Gather(%square, %nested) axis=-1", "f32[4,1,1]"),
        ("Gather(%square, %rows_out)", "operand-shape"),
        ("Gather(%square, %rows_under)", "operand-shape"),
        ("Gather(%matrix, %rows_under)", "f32[1,4]"),
        ("Gather(%square, %rows) axis=2", "attribute-fits"),
        ("Gather(%u_vector, %i)", "u8[N,4]"),
        ("Gather(%square, %u)", "operand-dtype"),
        ("Slice(%vector, %one, %far)", "f32[3]"),
        ("Slice(%vector, %one, %last)", "f32[2]"),
        ("Slice(%vector, %last, %least, %zero, %last)", "f32[4]"),
        ("Slice(%vector, %far, %one)", "f32[0]"),
        ("Slice(%image, %one, %far, %last)", "f32[N,4,8,5]"),
        ("Slice(%image, %rows, %axes, %axes, %axes)", "f32[N,4,1,1]"),
        ("Slice(%image, %one, %far)", "operand-shape"),
        ("Slice(%vector, %one, %far, %one)", "attribute-fits"),
        ("Slice(%vector, %one, %far, %zero, %zero)", "operand-shape"),
        ("Slice(%vector, %one, %rows)", "operand-shape"),
        ("Slice(%vector, %one, %nested)", "operand-shape"),
        ("Slice(%matrix, %unknown, %rows)", "operand-constant"),
        ("Slice(%vector, %one)", "operand-count"),
        ("Pad(%line, %line_pads)", "f32[N,4,12]"),
        ("Pad(%line, %line_pads, 0.5)", "f32[N,4,12]"),
        ("Pad(%line, %rows, %one_scale, %last)", "operand-shape"),
        ("Pad(%vector, %three)", "operand-shape"),
        ("Pad(%vector, %minus)", "operand-shape"),
        ("Pad(%bytes, %axes, 3u8, %one)", "u8[N,9,8,6]"),
        ("Pad(%truth, %axes, true, %last)", "bool[N,9]"),
        ("Pad(%line, %batch_pads)", "operand-shape"),
        ("Pad(%line, %axes)", "operand-shape"),
        ("Pad(%line, %axes, _, %far)", "attribute-fits"),
        ("Pad(%square, %split, _, %two_inferred)", "attribute-fits"),
        ("Pad(%line, %unknown, _, %last)", "operand-constant"),
        ("Pad(%line, %axes, 0u8, %last)", "operand-dtype"),
        ("Pad(%line, %axes, %scales, %last)", "operand-shape"),
        ("Pad(%line, %index)", "operand-dtype"),
        ("Pad(%line)", "operand-count"),
        ("Squeeze(%ones)", "f32[4,5]"),
        ("Squeeze(%ones, %zero)", "f32[4,1,5]"),
        ("Squeeze(%ones, %one)", "operand-shape"),
        ("Squeeze(%matrix, %zero)", "operand-shape"),
        ("Squeeze(%matrix)", "operand-count"),
        ("Squeeze(%ones, %far)", "attribute-fits"),
        ("Squeeze(%ones, %unknown)", "operand-constant"),
        ("Unsqueeze(%matrix, %axes)", "f32[N,4,1,1]"),
        ("Unsqueeze(%matrix, %last)", "f32[N,4,1]"),
        ("Unsqueeze(%scalar, %zero)", "f32[1]"),
        ("Unsqueeze(%vector, %axes)", "attribute-fits"),
        ("Unsqueeze(%scale_matrix, %rows)", "attribute-fits"),
        ("Unsqueeze(%matrix, %far)", "attribute-fits"),
        ("Unsqueeze(%matrix, %unknown)", "operand-constant"),
    ]);
}

#[test]
fn others() {
    check(&[
        ("Constant() value=i64[2] [1, 2]", "i64[2]"),
        ("Shape(%image)", "i64[4]"),
        ("Shape(%image) start=1 end=-1", "i64[2]"),
        ("Shape(%image) start=3 end=1", "i64[0]"),
        ("Shape(%image) start=-9 end=9", "i64[4]"),
        ("ArgMax(%image) axis=1", "i64[N,1,8,6]"),
        ("ArgMax(%i) axis=-1 keepdims=0", "i64[N]"),
        ("ArgMax(%matrix) axis=2", "attribute-fits"),
        ("ArgMax(%empty) axis=1", "operand-shape"),
        ("ArgMax(%truth) axis=1", "operand-dtype"),
    ]);
}

#[test]
fn shapes_are_followed_through_nodes() {
    let graph = Graph::from_text(
        "in %x: f32[N,2,3,4]
        %shape = Shape(%x)
        %batch = Gather(%shape, 0i64)
        const %axes: i64[1] = [0]
        const %rest: i64[1] = [-1]
        %batch_vector = Unsqueeze(%batch, %axes)
        %target = Concat(%batch_vector, %rest) axis=0
        %y = Reshape(%x, %target)
        const %one: i64[1] = [1]
        const %three: i64[1] = [3]
        %tail = Slice(%shape, %one, %three)
        %product = Mul(%three, %one)
        %odd = Concat(%product, %rest) axis=0
        %z = Reshape(%tail, %odd) @refused_below
        out %y",
    );
    // 2 elements do not go into rows of 3.
    assert_eq!(graph.unwrap_err().line, 14);

    let graph = Graph::from_text(
        "in %x: f32[N,2,3,4]
        %shape = Shape(%x)
        %batch = Gather(%shape, 0i64)
        const %axes: i64[1] = [0]
        const %rest: i64[1] = [-1]
        %batch_vector = Unsqueeze(%batch, %axes)
        %target = Concat(%batch_vector, %rest) axis=0
        %y = Reshape(%x, %target)
        out %y",
    )
    .unwrap();
    assert_eq!(graph.value(graph.outputs()[0]).ty.to_string(), "f32[N,24]");
}

#[test]
fn shapes_are_followed_through_arithmetic() {
    let graph = Graph::from_text(
        "in %x: f32[N,2,3,4]
        %channels = Shape(%x) start=1 end=2
        const %two: i64[1] = [2]
        const %rest: i64[1] = [-1]
        %half = Div(%channels, %two)
        %target = Concat(%half, %rest) axis=0
        %y = Reshape(%x, %target)
        out %y",
    )
    .unwrap();
    assert_eq!(graph.value(graph.outputs()[0]).ty.to_string(), "f32[1,N*24]");
}

#[test]
fn names_of_products_are_not_spelled_without_end() {
    // [A, 1] + [1, A] merges into [A*A, 1], and so on.
    let steps: String = (0..12)
        .map(|n| {
            let x = if n == 0 { "x".to_owned() } else { format!("f{}", n - 1) };
            format!(
                "%t{n} = Transpose(%{x}) perm=[1,0]\n%s{n} = Add(%{x}, %t{n})\n%f{n} = Flatten(%s{n}) axis=2\n"
            )
        })
        .collect();
    let error = Graph::from_text(&format!("in %x: f32[A,1]\n{steps}out %f11")).unwrap_err();
    assert!(error.to_string().contains("a product of extents that is spelled with 1000 bytes"), "{error}");
}

#[test]
fn lists_that_grow_without_end_are_not_followed() {
    let steps: String = (0..40).map(|n| format!("%v{} = Concat(%v{n}, %v{n}) axis=0\n", n + 1)).collect();
    let text = format!("in %x: f32[N]\nconst %v0: i64[1] = [1]\n{steps}out %v40");
    let graph = Graph::from_text(&text).unwrap();
    assert_eq!(graph.value(graph.outputs()[0]).ty.to_string(), "i64[1099511627776]");
    let error = Graph::from_text(&text.replace("out", "%y = Reshape(%x, %v7)\nout")).unwrap_err();
    assert!(error.to_string().contains("followed from constants"), "{error}");
}

#[test]
fn a_shape_of_rank_two_is_not_followed() {
    // Gather along the first of two axes takes rows, not elements.
    let text = "in %x: f32[N,2]
        %shape = Shape(%x)
        const %axes: i64[1] = [0]
        %table = Unsqueeze(%shape, %axes)
        %row = Gather(%table, 0i64)
        %y: f32[N] = Reshape(%x, %row)
        out %y";
    let graph = Graph::from_text_as_written(text).unwrap();
    assert_eq!(verify(&graph).unwrap_err().violations[0].rule, "operand-constant");
}
