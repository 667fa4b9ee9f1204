//! Which bounds are attained, and why others are not.

use super::*;
use crate::range::analyze;
use crate::verify;

/// The claims for the channels of a value, as `low/high`.
fn claims(text: &str, value: &str) -> Vec<String> {
    let graph = Graph::from_text(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let verified = verify(&graph).unwrap();
    let ranges = analyze(verified);
    let found = attained(verified, &ranges);
    let id = graph.value_by_name(value).unwrap();
    let channels = &found[id.index()].as_ref().unwrap().channels;
    channels.iter().map(|[low, high]| format!("{}/{}", low.name(), high.name())).collect()
}

#[test]
fn names_are_distinct() {
    let names: std::collections::BTreeSet<_> = Attained::ALL.iter().map(|attained| attained.name()).collect();
    assert_eq!(names.len(), Attained::ALL.len());
}

#[test]
fn a_layer_on_the_image_is_attained_by_an_image() {
    let text = "in %x: u8[N,1,4,4]
        const %w: i8[2,1,3,3] = cycle [50, -25, 100]
        %y = ConvInteger(%x, %w, 33u8, 0i8) pads=[1,1,1,1]
        out %y";
    assert_eq!(claims(text, "y"), ["network/network"; 2]);
    // Moving the image first changes nothing.
    let text = "in %x: u8[N,2,3]
        const %w: i8[6,2] = cycle [3, -4]
        %t = Transpose(%x) perm=[0,2,1]
        %f = Flatten(%t)
        %y = MatMulInteger(%f, %w, 33u8, 0i8)
        out %y";
    assert_eq!(claims(text, "y"), ["network/network"; 2]);
}

#[test]
fn a_window_that_always_reaches_into_the_padding_misses_products() {
    // One pixel: only the middle of the kernel ever meets it. The second filter needs no more.
    let text = "in %x: u8[N,1,1,1]
        const %w: i8[2,1,1,3] = [1, 2, 0, 0, 2, 0]
        %y = ConvInteger(%x, %w, 33u8, 0i8) pads=[0,1,0,1]
        out %y";
    assert_eq!(claims(text, "y"), ["no: no-such-window/no: no-such-window", "network/network"]);
    // Two pixels, stride 2: the window starts at -1 and at 1, and sees each time a part only.
    let text = "in %x: u8[N,1,2]
        const %w: i8[1,1,3] = [1, 1, 1]
        %y = ConvInteger(%x, %w, 0u8, 0i8) pads=[1,2] strides=[2]
        out %y";
    assert_eq!(claims(text, "y"), ["network/no: no-such-window"]);
}

#[test]
fn padding_can_be_what_a_bound_needs() {
    // The operand is in [0, 9] and its zero point 20: each product is negative for a positive weight, and
    // the sum is 0 only where the window lies in the padding altogether.
    let layer = |attributes: &str| {
        format!(
            "in %x: u8[N,1,3]
            const %w: i8[1,1,1] = [1]
            const %v: i8[1,1,1] = [5]
            %a = ConvInteger(%x, %w, 0u8, 0i8)
            %b = Min(%a, 9i32)
            %c = Cast(%b) to=u8
            %y = ConvInteger(%c, %v, 20u8, 0i8) {attributes}
            out %y"
        )
    };
    assert_eq!(claims(&layer(""), "y"), ["layer/no: partial-sums-only"]);
    assert_eq!(claims(&layer("pads=[1,0]"), "y"), ["layer/layer"]);
}

#[test]
fn monotone_maps_carry_what_is_attained() {
    let text = "in %x: u8[N,1,4,4]
        const %w: i8[2,1,2,2] = [1, 2, 3, 4, -1, -2, -3, -4]
        const %bias: i32[1,2,1,1] = [7, -7]
        const %minus: i32[1,2,1,1] = [-2, 3]
        %y = ConvInteger(%x, %w, 33u8, 0i8)
        %a = Add(%y, %bias)
        %b = Mul(%a, %minus)
        %c = Sub(5i32, %b)
        %d = Max(%c, 0i32)
        %e = Min(%d, 100i32)
        %f = Cast(%e) to=u8
        %g = Div(%d, 4i32)
        out %f, %g";
    for value in ["a", "b", "c", "d", "e", "f", "g"] {
        assert_eq!(claims(text, value), ["network/network"; 2], "{value}");
    }
}

#[test]
fn what_several_positions_share_is_not_claimed() {
    let text = |tail: &str| {
        format!(
            "in %x: u8[N,1,4,4]
            const %w: i8[1,1,1,1] = [2]
            const %each: i32[1,1,2,2] = [1, 2, 3, 4]
            %y = ConvInteger(%x, %w, 33u8, 0i8) strides=[2,2]
            %v = Add(%y, %each)
            %sum = Add(%y, %y)
            %r = Relu(%y)
            %m = Min(%r, 255i32)
            %q = Cast(%m) to=u8
            %p = MaxPool(%q) {tail}
            %f = Flatten(%q)
            out %p, %f, %v, %sum"
        )
    };
    let covering = text("kernel_shape=[2,2]");
    assert_eq!(claims(&covering, "v"), ["no: constant-varies/no: constant-varies"]);
    assert_eq!(claims(&covering, "sum"), ["no: several-operands/no: several-operands"]);
    assert_eq!(claims(&covering, "p"), ["no: window-of-several/network"]);
    assert_eq!(claims(&covering, "f"), ["network/network"]);
    let skipping = text("kernel_shape=[1,1] strides=[2,2]");
    assert_eq!(claims(&skipping, "p"), ["no: window-of-several/no: not-all-elements-kept"]);

    let text = "in %x: u8[N,1,1,3]
        const %w: i8[2,1,1,1] = [2, 3]
        %y = ConvInteger(%x, %w, 33u8, 0i8)
        %r = Relu(%y)
        %m = Min(%r, 255i32)
        %q = Cast(%m) to=u8
        %f = Flatten(%q)
        out %f";
    assert_eq!(claims(text, "f"), ["no: positions-merged/no: positions-merged"; 6]);
}

#[test]
fn an_index_that_is_computed_claims_nothing() {
    let gather = |index: &str| {
        let text = format!(
            "in %x: u8[2]
            const %first: i32[1] = [0]
            const %one: i64[1] = [1]
            %wide = Cast(%x) to=i32
            %clipped = Min(%wide, 1i32)
            %index = Sub(1i32, %clipped)
            %y = Gather(%x, {index})
            out %y"
        );
        claims(&text, "y")
    };
    assert_eq!(gather("%first"), ["network/network"]);
    assert_eq!(gather("%index"), ["no: not-all-elements-kept/no: not-all-elements-kept"]);
}

#[test]
fn the_whole_image_may_be_dark_at_once() {
    let text = "in %x: u8[N,1,4,4]
        %p = MaxPool(%x) kernel_shape=[2,2] strides=[2,2]
        %y = Flatten(%p)
        out %y";
    assert_eq!(claims(text, "p"), ["network/network"]);
    assert_eq!(claims(text, "y"), ["network/network"]);
}

#[test]
fn a_dead_channel_is_always_at_its_bounds() {
    let text = "in %x: u8[N,1,2,2]
        const %w: i8[2,1,3,3] = splat 0
        const %high: i32[1,2,1,1] = [0, 5]
        %y = ConvInteger(%x, %w, 33u8, 0i8) pads=[1,1,1,1]
        %m = Min(%y, %high)
        out %m";
    assert_eq!(claims(text, "y"), ["network/network"; 2]);
    assert_eq!(claims(text, "m"), ["network/network"; 2]);
}

#[test]
fn deeper_layers_answer_for_themselves_only() {
    let text = "in %x: u8[N,1,2,2], %s: f32[N,4]
        const %w: i8[1,1,1,1] = [1]
        const %v: i8[4,1] = [1, -1, 2, 3]
        const %u: i8[4,1] = [1, -1, 2, 3]
        %a = ConvInteger(%x, %w, 0u8, 0i8)
        %b = Cast(%a) to=u8
        %f = Flatten(%b)
        %y = MatMulInteger(%f, %v, 3u8, 0i8)
        %q = QuantizeLinear(%s, 0.1, 3u8)
        %z = MatMulInteger(%q, %u, 3u8, 0i8)
        out %y, %z";
    assert_eq!(claims(text, "a"), ["network/network"]);
    assert_eq!(claims(text, "y"), ["layer/layer"]);
    assert_eq!(claims(text, "q"), ["no: type-range/no: type-range"]);
    assert_eq!(claims(text, "z"), ["layer/layer"]);
}

#[test]
fn a_search_without_end_is_refused() {
    let text = "in %x: u8[N,1,20000]
        const %w: i8[1,1,9000] = splat 1
        %y = ConvInteger(%x, %w, 0u8, 0i8)
        out %y";
    assert_eq!(claims(text, "y"), ["no: search-too-large/no: search-too-large"]);
    // Huge extents and pads are no obstacle: positions come in few kinds.
    let text = "in %x: u8[N,1,1000000000,1000000000]
        const %w: i8[1,1,2,2] = [1, 2, 3, -4]
        %y = ConvInteger(%x, %w, 0u8, 0i8) pads=[1000000000,0,0,1000000000]
        out %y";
    assert_eq!(claims(text, "y"), ["network/network"]);
}
