//! Intervals of hand-made graphs, and against a search over all inputs.

use super::*;
use crate::{ConvAttributes, GraphEditor, TensorType, verify};

fn graph(build: impl FnOnce(&mut GraphEditor, ValueId) -> ValueId, input: TensorType) -> Graph {
    let mut editor = GraphEditor::new("range");
    let x = editor.add_input("x", input).unwrap();
    let output = build(&mut editor, x);
    editor.set_outputs([output]);
    editor.finish().unwrap()
}

fn range_of(graph: &Graph) -> (ChannelRange, Vec<Overflow>) {
    let ranges = analyze(verify(graph).unwrap());
    (ranges.get(graph.outputs()[0]).unwrap().clone(), ranges.overflows().to_vec())
}

fn batch(dtype: DType, rest: &[usize]) -> TensorType {
    let mut shape = vec![Dim::symbol("N")];
    shape.extend(rest.iter().map(|&extent| Dim::Fixed(extent)));
    TensorType::new(dtype, shape)
}

#[test]
fn convolution_bounds_follow_each_filter_and_include_zero() {
    let graph = graph(
        |editor, x| {
            let weights = Tensor::from_vec(&[2, 1, 1, 2], vec![3i8, -2, 5, 7]).unwrap();
            let w = editor.add_constant("w", weights).unwrap();
            let z = editor.add_constant("z", Tensor::scalar(10u8)).unwrap();
            let op = Op::ConvInteger(ConvAttributes::padded(0, 2));
            editor.add_node("conv", op, [Some(x), Some(w), Some(z)], "y").unwrap()
        },
        batch(DType::U8, &[1, 4, 4]),
    );
    let (range, overflows) = range_of(&graph);
    // x - 10 is in [-10, 245].
    assert_eq!(range, ChannelRange::per_channel(vec![(-30 - 490, 735 + 20), (-120, 12 * 245)]));
    assert!(overflows.is_empty());
}

#[test]
fn a_signed_and_an_unsigned_encoding_of_weights_have_one_bound() {
    let build = |unsigned: bool| {
        graph(
            |editor, x| {
                let (w, zero_point) = if unsigned {
                    (Tensor::from_vec(&[2, 1], vec![125u8, 255]).unwrap(), Tensor::scalar(128u8))
                } else {
                    (Tensor::from_vec(&[2, 1], vec![-3i8, 127]).unwrap(), Tensor::scalar(0i8))
                };
                let w = editor.add_constant("w", w).unwrap();
                let xz = editor.add_constant("xz", Tensor::scalar(0u8)).unwrap();
                let wz = editor.add_constant("wz", zero_point).unwrap();
                editor.add_node("fc", Op::MatMulInteger, [Some(x), Some(w), Some(xz), Some(wz)], "y").unwrap()
            },
            batch(DType::U8, &[2]),
        )
    };
    assert_eq!(range_of(&build(true)), range_of(&build(false)));
    assert_eq!(range_of(&build(true)).0.bounds, vec![(-765, 127 * 255)]);
}

#[test]
fn channels_survive_flatten_and_per_channel_constants() {
    let graph = graph(
        |editor, x| {
            let wide = editor.add_node("wide", Op::Cast { to: DType::I32 }, [Some(x)], "wide").unwrap();
            let cap = Tensor::from_vec(&[1, 2, 1, 1], vec![3i32, 500]).unwrap();
            let cap = editor.add_constant("cap", cap).unwrap();
            let capped = editor.add_node("min", Op::Min, [Some(wide), Some(cap)], "capped").unwrap();
            editor.add_node("flat", Op::Flatten { axis: 1 }, [Some(capped)], "y").unwrap()
        },
        batch(DType::U8, &[2, 1, 2]),
    );
    assert_eq!(range_of(&graph).0, ChannelRange::per_channel(vec![(0, 3), (0, 3), (0, 255), (0, 255)]));
}

#[test]
fn an_overflow_is_reported_with_its_exact_range() {
    let graph = graph(
        |editor, x| {
            let big = editor.add_constant("big", Tensor::scalar(i32::MAX)).unwrap();
            editor.add_node("add", Op::Add, [Some(x), Some(big)], "y").unwrap()
        },
        batch(DType::I32, &[2]),
    );
    let (range, overflows) = range_of(&graph);
    let full = (i64::from(i32::MIN), i64::from(i32::MAX));
    assert_eq!(range, ChannelRange::uniform(full.0, full.1));
    assert_eq!(overflows.len(), 1);
    assert_eq!(overflows[0].range, (full.0 + full.1, full.1 + full.1));
}

#[test]
fn elementwise_rules_match_a_search_over_all_pairs() {
    let intervals = [(-7, -2), (-3, 4), (0, 5), (2, 6)];
    for a in intervals {
        for b in intervals {
            let pairs = || (a.0..=a.1).flat_map(move |x| (b.0..=b.1).map(move |y| (x, y)));
            let hull = |f: &dyn Fn(i64, i64) -> i64| {
                pairs()
                    .fold((i64::MAX, i64::MIN), |(low, high), (x, y)| (low.min(f(x, y)), high.max(f(x, y))))
            };
            assert_eq!(product(a, b), hull(&|x, y| x * y), "{a:?} * {b:?}");
            assert_eq!(maximum(a, b), hull(&|x, y| x.max(y)), "max {a:?} {b:?}");
            assert_eq!(minimum(a, b), hull(&|x, y| x.min(y)), "min {a:?} {b:?}");
            if b.0 > 0 {
                assert_eq!(quotient(a, b), hull(&|x, y| x / y), "{a:?} / {b:?}");
            }
        }
    }
}

fn range_of_text(text: &str) -> (ChannelRange, Vec<Overflow>) {
    range_of(&Graph::from_text(text).unwrap())
}

#[test]
fn one_channel_broadcasts_over_many() {
    let text = |operands: &str| {
        format!(
            "in %x: u8[N,1,2,2]
            const %w: i8[1,1,1,1] = [2]
            const %b: i32[1,3,1,1] = [1, 10, 100]
            %one = ConvInteger(%x, %w, 0u8, 0i8)
            %three = Add({operands})
            %positive = Relu(%three)
            out %positive"
        )
    };
    let expected = ChannelRange::per_channel(vec![(1, 511), (10, 520), (100, 610)]);
    assert_eq!(range_of_text(&text("%one, %b")).0, expected);
    assert_eq!(range_of_text(&text("%b, %one")).0, expected);
}

#[test]
fn padding_adds_its_value_to_every_channel() {
    let range = |operands: &str| {
        range_of_text(&format!(
            "in %x: u8[N,1,2,2]
            const %w: i8[2,1,1,1] = [2, -1]
            const %axes: i64[2] = [2, -1]
            const %channels: i64[1] = [1]
            const %both: i64[4] = [1, 0, 0, 1]
            const %one: i64[2] = [0, 1]
            %y = ConvInteger(%x, %w, 0u8, 0i8)
            %b = Add(%y, 5i32)
            %p = Pad(%b, {operands})
            out %p"
        ))
        .0
    };
    let channels = |bounds: &[Interval]| ChannelRange::per_channel(bounds.to_vec());
    assert_eq!(range("%both, _, %axes"), channels(&[(0, 515), (-250, 5)]));
    assert_eq!(range("%both, 600i32, %axes"), channels(&[(5, 600), (-250, 600)]));
    assert_eq!(range("%one, -300i32, %channels"), ChannelRange::uniform(-300, 515));
}

#[test]
fn huge_extents_take_no_memory() {
    let (range, _) = range_of_text(
        "in %x: u8[N,1,1000000000,1000000000]
        const %w: i8[2,1,1,1] = [1, 2]
        %y = ConvInteger(%x, %w, 0u8, 0i8)
        %f = Flatten(%y)
        out %f",
    );
    assert_eq!(range, ChannelRange::uniform(0, 510));
    let (range, _) = range_of_text(
        "in %x: u8[N,1000000000000], %z: u8[N,1000000000000]
        %y = Concat(%x, %z) axis=1
        out %y",
    );
    assert_eq!(range, ChannelRange::uniform(0, 255));
}
