//! Values and gradients against sums written as the definition says, in `f64`.

use onnx2int_conv_stack::{Layer, Shape, Stack, Tape};
use proptest::prelude::*;

/// A stack with parameters and images of random sizes and values.
#[derive(Clone, Debug)]
struct Case {
    input: Shape,
    layers: Vec<Layer>,
    batch: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let layer = (1_usize..40, any::<bool>()).prop_map(|(filters, pool)| Layer { filters, pool });
    let shape = (1_usize..4, 4_usize..19, 4_usize..19);
    (shape, proptest::collection::vec(layer, 1..4), 1_usize..20, any::<u64>()).prop_filter_map(
        "the layers must fit",
        |((channels, height, width), layers, batch, seed)| {
            let input = Shape { channels, height, width };
            Stack::new(input, &layers).ok()?;
            Some(Case { input, layers, batch, seed })
        },
    )
}

/// Numbers from -1 to 1 (SplitMix64).
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A layer's sums, outputs and where each output comes from.
struct Reference {
    input: Vec<f64>,
    outputs: Vec<f64>,
    /// Index of the winning sum, or none behind a ReLU that made zero of it.
    winners: Vec<Option<usize>>,
}

/// Calls `tap(weight, input, sum)` with the index of each product of a convolution.
fn for_each_product(shape: Shape, filters: usize, mut tap: impl FnMut(usize, usize, usize)) {
    let Shape { channels, height, width } = shape;
    for filter in 0..filters {
        for channel in 0..channels {
            for (row, column) in (0..height * width).map(|pixel| (pixel / width, pixel % width)) {
                for (tap_row, tap_column) in (0..9).map(|tap| (tap / 3, tap % 3)) {
                    let (y, x) = (row + tap_row, column + tap_column);
                    if (1..=height).contains(&y) && (1..=width).contains(&x) {
                        tap(
                            ((filter * channels + channel) * 3 + tap_row) * 3 + tap_column,
                            (channel * height + y - 1) * width + x - 1,
                            (filter * height + row) * width + column,
                        );
                    }
                }
            }
        }
    }
}

fn forward(shape: Shape, layer: Layer, parameters: &[f64], input: Vec<f64>) -> (Shape, Reference) {
    let Shape { channels, height, width } = shape;
    let weights = layer.filters * channels * 9;
    let mut sums: Vec<f64> =
        (0..layer.filters * height * width).map(|sum| parameters[weights + sum / (height * width)]).collect();
    for_each_product(shape, layer.filters, |weight, pixel, sum| {
        sums[sum] += parameters[weight] * input[pixel]
    });
    let step = if layer.pool { 2 } else { 1 };
    let output = Shape { channels: layer.filters, height: height / step, width: width / step };
    let mut winners = Vec::new();
    for filter in 0..layer.filters {
        for (row, column) in
            (0..output.height * output.width).map(|pixel| (pixel / output.width, pixel % output.width))
        {
            let candidates = (0..step * step).map(|place| {
                (filter * height + row * step + place / step) * width + column * step + place % step
            });
            let best = candidates.reduce(|best, other| if sums[other] > sums[best] { other } else { best });
            winners.push(best.filter(|&best| sums[best] > 0.0));
        }
    }
    let outputs = winners.iter().map(|winner| winner.map_or(0.0, |winner| sums[winner])).collect();
    (output, Reference { input, outputs, winners })
}

/// Outputs and parameter gradients of a batch.
fn reference(case: &Case, parameters: &[f32], images: &[f32], gradients: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let parameters: Vec<f64> = parameters.iter().map(|&value| f64::from(value)).collect();
    let mut outputs = Vec::new();
    let mut sums = vec![0.0; parameters.len()];
    for (index, image) in images.chunks_exact(case.input.elements()).enumerate() {
        let mut shape = case.input;
        let mut values: Vec<f64> = image.iter().map(|&value| f64::from(value)).collect();
        let (mut steps, mut from) = (Vec::new(), 0);
        for &layer in &case.layers {
            let (output, step) = forward(shape, layer, &parameters[from..], values);
            values = step.outputs.clone();
            steps.push((shape, layer, from, step));
            from += layer.filters * (shape.channels * 9 + 1);
            shape = output;
        }
        let mut incoming: Vec<f64> = gradients[index * shape.elements()..][..shape.elements()]
            .iter()
            .map(|&value| f64::from(value))
            .collect();
        for (shape, layer, from, step) in steps.iter().rev() {
            let plane = shape.height * shape.width;
            let mut of_sums = vec![0.0; layer.filters * plane];
            for (winner, gradient) in step.winners.iter().zip(&incoming) {
                if let Some(winner) = winner {
                    of_sums[*winner] += gradient;
                }
            }
            let bias = from + layer.filters * shape.channels * 9;
            for (sum, gradient) in of_sums.iter().enumerate() {
                sums[bias + sum / plane] += gradient;
            }
            incoming = vec![0.0; shape.elements()];
            for_each_product(*shape, layer.filters, |weight, pixel, sum| {
                sums[from + weight] += of_sums[sum] * step.input[pixel];
                incoming[pixel] += of_sums[sum] * parameters[from + weight];
            });
        }
        outputs.extend(values);
    }
    (outputs, sums)
}

/// Both in one number: the largest difference over the largest value.
fn difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-3_f64, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).fold(0.0_f64, |worst, (a, b)| worst.max((f64::from(*a) - b).abs())) / largest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn values_and_gradients_are_those_of_the_definition(case in cases()) {
        let stack = Stack::new(case.input, &case.layers).expect("the strategy keeps what fits");
        // Multiples of 2^-5, so that all sums of the first layers are exact, and no rounding decides
        // which of two candidates wins.
        let coarse = |seed, count| -> Vec<f32> {
            numbers(seed, count).into_iter().map(|value| (value * 32.0).round() / 32.0).collect()
        };
        let parameters = coarse(case.seed, stack.parameters());
        let images = coarse(!case.seed, case.batch * case.input.elements());
        let gradients = numbers(case.seed ^ 77, case.batch * stack.output().elements());
        let (outputs, sums) = reference(&case, &parameters, &images, &gradients);
        let mut tape = Tape::default();
        // Twice: what one pass leaves on the tape must not show in the next.
        for _ in 0..2 {
            let found = stack.forward(&parameters, None, &images, &mut tape);
            prop_assert!(difference(&found, &outputs) < 1e-5, "outputs {}", difference(&found, &outputs));
            let found = stack.backward(&gradients, &mut tape);
            prop_assert!(difference(&found, &sums) < 1e-4, "gradients {}", difference(&found, &sums));
        }
    }
}

#[test]
fn gradients_are_the_slopes_of_the_values() {
    let input = Shape { channels: 2, height: 9, width: 7 };
    let layers = [Layer { filters: 5, pool: false }, Layer { filters: 18, pool: true }];
    let stack = Stack::new(input, &layers).expect("the layers fit");
    let parameters = numbers(1, stack.parameters());
    let images = numbers(2, 3 * input.elements());
    let coefficients = numbers(3, 3 * stack.output().elements());
    let mut tape = Tape::default();
    let mut loss = |parameters: &[f32]| -> f64 {
        let outputs = stack.forward(parameters, None, &images, &mut tape);
        outputs.iter().zip(&coefficients).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    // Small enough that next to no output changes its winner, large enough for f32.
    let step = 3e-4;
    let mut slopes = Vec::new();
    for index in 0..parameters.len() {
        let mut moved = parameters.clone();
        moved[index] += step;
        let above = loss(&moved);
        moved[index] -= 2.0 * step;
        slopes.push((above - loss(&moved)) / f64::from(2.0 * step));
    }
    stack.forward(&parameters, None, &images, &mut tape);
    let gradients = stack.backward(&coefficients, &mut tape);
    assert!(difference(&gradients, &slopes) < 0.02, "{}", difference(&gradients, &slopes));
}

#[test]
fn a_tape_serves_batches_and_stacks_of_any_size() {
    let shape = Shape { channels: 1, height: 8, width: 8 };
    let small = Stack::new(shape, &[Layer { filters: 3, pool: true }]).expect("it fits");
    let large = Stack::new(shape, &[Layer { filters: 20, pool: false }; 2]).expect("it fits");
    let mut tape = Tape::default();
    for (stack, batch) in [(&small, 30), (&small, 2), (&large, 9), (&small, 17)] {
        let (parameters, images) = (numbers(4, stack.parameters()), numbers(5, batch * shape.elements()));
        let outputs = stack.forward(&parameters, None, &images, &mut tape);
        let gradients = stack.backward(&outputs, &mut tape);
        let mut fresh = Tape::default();
        assert_eq!(stack.forward(&parameters, None, &images, &mut fresh), outputs);
        assert_eq!(stack.backward(&outputs, &mut fresh), gradients);
    }
}

#[test]
fn sums_do_not_depend_on_the_number_of_threads() {
    let shape = Shape { channels: 1, height: 12, width: 12 };
    let stack = Stack::new(shape, &[Layer { filters: 16, pool: false }, Layer { filters: 32, pool: true }])
        .expect("it fits");
    let (parameters, images) = (numbers(6, stack.parameters()), numbers(7, 41 * shape.elements()));
    let results = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be had");
        pool.install(|| {
            let mut tape = Tape::default();
            let outputs = stack.forward(&parameters, None, &images, &mut tape);
            let gradients = stack.backward(&outputs, &mut tape);
            (outputs, gradients)
        })
    });
    assert_eq!(results[0], results[1]);
}
