//! What `integer-ops` makes of single layers, and what it refuses.

use super::IntegerOps;
use crate::testing::{check, check_refused};

/// A folded layer, and what follows it.
fn layer(rest: &str) -> String {
    format!(
        "in %x: u8[N,2]
         const %w: i8[2,2] = [1, 2, 3, 4]
         %xd = DequantizeLinear(%x, 1.0, 3u8)
         %wd = DequantizeLinear(%w, 1.0)
         %y = Gemm(%xd, %wd) @fc
         {rest}"
    )
}

/// [`layer`] on integers.
fn integer(rest: &str) -> String {
    format!(
        "in %x: u8[N,2]
         const %w_unsigned: u8[2,2] = [129, 130, 131, 132]
         const %xd_zero_point: u8[] = 3
         %y = MatMulInteger(%x, %w_unsigned, %xd_zero_point, 128u8) @fc
         {rest}"
    )
}

#[test]
fn one_cast_serves_all_quantizers() {
    let sites = check(
        &IntegerOps,
        &layer(
            "%p = QuantizeLinear(%y, 4.0, 9u8)
             %q = QuantizeLinear(%y, 8.0, 9u8)
             out %p, %q",
        ),
        &integer(
            "%y_float = Cast(%y) to=f32
             %p = QuantizeLinear(%y_float, 4.0, 9u8)
             %q = QuantizeLinear(%y_float, 8.0, 9u8)
             out %p, %q",
        ),
    );
    assert_eq!(sites[0], "fc: Gemm is MatMulInteger now, on the 8-bit values");
    assert_eq!(sites.len(), 3);
}

#[test]
fn a_zero_point_of_rank_1_becomes_a_scalar() {
    check(
        &IntegerOps,
        "in %x: u8[N,2]
         const %w: i8[2,2] = [1, 2, 3, 4]
         const %s: f32[1] = [1.0]
         const %z: u8[1] = [3]
         %xd = DequantizeLinear(%x, %s, %z)
         %wd = DequantizeLinear(%w, 1.0)
         %y = Gemm(%xd, %wd) @fc
         %q = QuantizeLinear(%y, 4.0, 9u8)
         out %q",
        "in %x: u8[N,2]
         const %w_unsigned: u8[2,2] = [129, 130, 131, 132]
         %y = MatMulInteger(%x, %w_unsigned, 3u8, 128u8) @fc
         %y_float = Cast(%y) to=f32
         %q = QuantizeLinear(%y_float, 4.0, 9u8)
         out %q",
    );
}

#[test]
fn signed_weights_keep_their_differences_and_unsigned_ones_their_bytes() {
    let quantized = |weights: &str, zero_point: &str| {
        format!(
            "in %x: u8[N,4]
             const %w: {weights}
             const %z: u8[] = 3
             %xd = DequantizeLinear(%x, 1.0, %z)
             %wd = DequantizeLinear(%w, 1.0, {zero_point})
             %y = Gemm(%xd, %wd) @fc
             %q = QuantizeLinear(%y, 4.0, 9u8)
             out %q"
        )
    };
    let integer = |weights: &str, operands: &str| {
        format!(
            "in %x: u8[N,4]
             const {weights}
             const %z: u8[] = 3
             %y = MatMulInteger(%x, {operands}) @fc
             %y_float = Cast(%y) to=f32
             %q = QuantizeLinear(%y_float, 4.0, 9u8)
             out %q"
        )
    };
    check(
        &IntegerOps,
        &quantized("i8[4,1] = [-128, -1, 0, 127]", "-3i8"),
        &integer("%w_unsigned: u8[4,1] = [0, 127, 128, 255]", "%w_unsigned, %z, 125u8"),
    );
    check(
        &IntegerOps,
        &quantized("u8[4,1] = [0, 1, 128, 255]", "7u8"),
        &integer("%w: u8[4,1] = [0, 1, 128, 255]", "%w, %z, %wd_zero_point")
            .replace("const %z", "const %wd_zero_point: u8[] = 7\n const %z"),
    );
}

#[test]
fn joined_bytes_are_read_as_they_are() {
    check(
        &IntegerOps,
        "in %a: u8[N,1], %b: u8[N,1]
         const %w: i8[2,2] = [1, 2, 3, 4]
         const %z: u8[] = 3
         const %v: i8[] = 0
         %ad = DequantizeLinear(%a, 1.0, %z)
         %bd = DequantizeLinear(%b, 1.0, %z)
         %c = Concat(%ad, %bd) axis=1
         %wd = DequantizeLinear(%w, 1.0, %v)
         %y = Gemm(%c, %wd) @fc
         %q = QuantizeLinear(%y, 4.0, 9u8)
         out %q",
        "in %a: u8[N,1], %b: u8[N,1]
         const %w_unsigned: u8[2,2] = [129, 130, 131, 132]
         const %z: u8[] = 3
         %c = Concat(%a, %b) axis=1
         %y = MatMulInteger(%c, %w_unsigned, %z, 128u8) @fc
         %y_float = Cast(%y) to=f32
         %q = QuantizeLinear(%y_float, 4.0, 9u8)
         out %q",
    );
}

#[test]
fn logits_of_each_channel_keep_their_scales() {
    check(
        &IntegerOps,
        "in %x: u8[N,1,2]
         const %w: i8[2,1,1] = [1, 2]
         const %v: i8[] = 0
         const %z: u8[] = 3
         const %map_scale: f32[1,2,1] = [0.125, 0.25]
         %xd = DequantizeLinear(%x, 1.0, %z)
         %wd = DequantizeLinear(%w, 1.0, %v)
         %map_accumulator = Conv(%xd, %wd) @conv
         %map = Mul(%map_accumulator, %map_scale) @map_dequantize
         out %map",
        "in %x: u8[N,1,2]
         const %w_unsigned: u8[2,1,1] = [129, 130]
         const %z: u8[] = 3
         const %map_scale: f32[2] = [0.125, 0.25]
         %map_accumulator = ConvInteger(%x, %w_unsigned, %z, 128u8) @conv
         %map = DequantizeLinear(%map_accumulator, %map_scale) @map_dequantize
         out %map",
    );
}

#[test]
fn a_residual_add_stays_float() {
    check(
        &IntegerOps,
        "in %x: u8[N,2]
         const %w: i8[2,2] = [1, 2, 3, 4]
         const %z: u8[] = 3
         const %v: i8[] = 0
         %xr = DequantizeLinear(%x, 0.5, %z)
         %xd = DequantizeLinear(%x, 1.0, %z)
         %wd = DequantizeLinear(%w, 1.0, %v)
         %y = Gemm(%xd, %wd) @fc
         %q = QuantizeLinear(%y, 4.0, 9u8)
         %d = DequantizeLinear(%q, 0.25, 9u8)
         %s = Add(%xr, %d)
         %sq = QuantizeLinear(%s, 0.5, 0u8)
         out %sq",
        "in %x: u8[N,2]
         const %w_unsigned: u8[2,2] = [129, 130, 131, 132]
         const %z: u8[] = 3
         %xr = DequantizeLinear(%x, 0.5, %z)
         %y = MatMulInteger(%x, %w_unsigned, %z, 128u8) @fc
         %y_float = Cast(%y) to=f32
         %q = QuantizeLinear(%y_float, 4.0, 9u8)
         %d = DequantizeLinear(%q, 0.25, 9u8)
         %s = Add(%xr, %d)
         %sq = QuantizeLinear(%s, 0.5, 0u8)
         out %sq",
    );
}

#[test]
fn layers_that_were_not_prepared_are_refused() {
    let output = "%q = QuantizeLinear(%y, 4.0, 9u8)\nout %q";
    let prepared = layer(output);
    check_refused(&IntegerOps, &prepared.replace("%x, 1.0", "%x, 0.5"), "scale-folded", "fc");
    check_refused(&IntegerOps, &prepared.replace("%w, 1.0", "%w, 0.5"), "scale-folded", "fc");
    let biased = layer(output).replace(
        "%y = Gemm(%xd, %wd)",
        "const %b: i32[2] = [1, 2]\n%bd = DequantizeLinear(%b, 1.0)\n%y = Gemm(%xd, %wd, %bd)",
    );
    check_refused(&IntegerOps, &biased, "bias-split", "fc");
}

#[test]
fn operators_without_an_integer_form_are_refused() {
    for (rest, node) in [
        ("%s = Softmax(%y) axis=1\nout %s", "s"),
        ("%s = Add(%y, 0.5)\nout %s", "s"),
        ("%s = Mul(%y, %y)\nout %s", "s"),
        ("%s = Relu(%xd)\n%q = QuantizeLinear(%y, 4.0, 9u8)\nout %q, %s", "s"),
    ] {
        check_refused(&IntegerOps, &layer(rest), "accumulator-reader", node);
    }
    let returned = layer("%q = QuantizeLinear(%y, 4.0, 9u8)\nout %q, %xd");
    check_refused(&IntegerOps, &returned, "accumulator-reader", "xd");
    let two_zero_points = "in %a: u8[N,1], %b: u8[N,1]
         const %w: i8[2,2] = [1, 2, 3, 4]
         %ad = DequantizeLinear(%a, 1.0, 3u8)
         %bd = DequantizeLinear(%b, 1.0, 4u8)
         %c = Concat(%ad, %bd) axis=1
         %wd = DequantizeLinear(%w, 1.0)
         %y = Gemm(%c, %wd) @fc
         out %y";
    check_refused(&IntegerOps, two_zero_points, "layer-input", "fc");
}
