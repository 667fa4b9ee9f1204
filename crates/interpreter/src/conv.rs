//! `Conv` and `ConvInteger`, for any number of spatial axes.

use onnx2int_graph::{ConvAttributes, Tensor};

use crate::OpError;
use crate::operands::{Operands, filled};
use crate::sums::{AxisFromEnd, add_product_i32, add_product_i64, centered, narrowed, sum_fits_i32};
use crate::window::{Span, Tap, WindowAxis, taps, window_axes};

/// Float convolution. The bias and all products are summed in f64 and rounded to f32 once.
pub(crate) fn conv(x: &Operands<'_>, attributes: &ConvAttributes) -> Result<Tensor, OpError> {
    let geometry = Geometry::new(x, attributes)?;
    let widen = |elements: &[f32]| elements.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let input = widen(x.elements::<f32>(0)?);
    let weights = widen(x.elements::<f32>(1)?);
    let bias = match x.optional_elements::<f32>(2)? {
        Some(bias) if bias.len() == geometry.filters => widen(bias),
        Some(bias) => {
            return Err(OpError::shape(
                format!("a bias of {} elements", geometry.filters),
                bias.len().to_string(),
            ));
        }
        None => vec![0.0; geometry.filters],
    };
    let sums = geometry.convolve(&input, &weights, &bias, |sum, x, w| sum + x * w);
    Ok(filled(&geometry.output_shape(), sums.into_iter().map(|sum| sum as f32).collect()))
}

/// Convolution of 8-bit integers into i32. The padding stands for the zero point: it adds nothing.
///
/// The sum must fit i32 at the end; see [`crate::sums`].
pub(crate) fn conv_integer(x: &Operands<'_>, attributes: &ConvAttributes) -> Result<Tensor, OpError> {
    let geometry = Geometry::new(x, attributes)?;
    // Filters are the first axis of the weights; the input has one zero point.
    let input = centered(x, 0, 2, AxisFromEnd(geometry.axes.len()))?;
    let weights = centered(x, 1, 3, AxisFromEnd(geometry.axes.len() + 1))?;
    let shape = geometry.output_shape();
    if sum_fits_i32(geometry.taps_per_sum()) {
        let zeros = vec![0i32; geometry.filters];
        let sums = geometry.convolve(&input, &weights, &zeros, add_product_i32);
        return Ok(filled(&shape, sums));
    }
    let zeros = vec![0i64; geometry.filters];
    let sums = geometry.convolve(&input, &weights, &zeros, add_product_i64);
    Ok(filled(&shape, narrowed(&sums)?))
}

/// The extents of one convolution.
struct Geometry {
    batch: usize,
    group: usize,
    channels_per_group: usize,
    filters: usize,
    axes: Vec<WindowAxis>,
}

impl Geometry {
    fn new(x: &Operands<'_>, attributes: &ConvAttributes) -> Result<Self, OpError> {
        let (input, weights) = (x.tensor(0)?.shape(), x.tensor(1)?.shape());
        if input.len() < 3 || weights.len() != input.len() {
            return Err(OpError::shape(
                "x [N, C, spatial...] and w [filters, C/group, kernel...] of one rank",
                format!("{input:?} and {weights:?}"),
            ));
        }
        let group = attributes.group;
        if group == 0 || weights[0] % group != 0 || input[1] != weights[1] * group {
            return Err(OpError::shape(
                format!("{} input channels and filters in {group} groups", weights[1] * group),
                format!("{} channels and {} filters", input[1], weights[0]),
            ));
        }
        let axes = window_axes(
            &input[2..],
            &weights[2..],
            &attributes.strides,
            &attributes.pads,
            &attributes.dilations,
            false,
        )?;
        Ok(Self { batch: input[0], group, channels_per_group: weights[1], filters: weights[0], axes })
    }

    fn output_shape(&self) -> Vec<usize> {
        [self.batch, self.filters].into_iter().chain(self.axes.iter().map(|axis| axis.output)).collect()
    }

    /// The number of products in one sum.
    fn taps_per_sum(&self) -> usize {
        self.channels_per_group * self.axes.iter().map(|axis| axis.kernel).product::<usize>()
    }

    /// `start[filter]` plus the sum of all products, for every output element, in row-major order.
    ///
    /// One output row at a time, and one weight at a time into the whole row: the innermost loop
    /// runs over contiguous memory with a scalar weight, which the compiler vectorizes.
    fn convolve<X: Copy, Sum: Copy>(
        &self,
        input: &[X],
        weights: &[X],
        start: &[Sum],
        multiply_add: impl Fn(Sum, X, X) -> Sum + Copy,
    ) -> Vec<Sum> {
        let (columns, outer_axes) = self.axes.split_last().expect("a convolution has a spatial axis");
        // For each output row, the rows of the kernel and of the input that meet there; for each
        // kernel column, the output columns that it reaches without leaving the input.
        let row_taps: Vec<Vec<Tap>> = taps(outer_axes);
        let column_spans: Vec<Span> = (0..columns.kernel).map(|cell| columns.span(cell)).collect();
        let extent =
            |axes: &[WindowAxis], of: fn(&WindowAxis) -> usize| axes.iter().map(of).product::<usize>();
        let plane = extent(&self.axes, |axis| axis.input);
        let kernel_rows = extent(outer_axes, |axis| axis.kernel);
        let channels = self.channels_per_group * self.group;
        let filters_per_group = self.filters / self.group;

        let mut output = Vec::with_capacity(self.output_shape().iter().product());
        for image in 0..self.batch {
            for (filter, &start) in start.iter().enumerate() {
                let group = filter / filters_per_group;
                for taps in &row_taps {
                    let row_start = output.len();
                    output.resize(row_start + columns.output, start);
                    let row = &mut output[row_start..];
                    for channel in 0..self.channels_per_group {
                        let input_plane =
                            (image * channels + group * self.channels_per_group + channel) * plane;
                        let kernel = (filter * self.channels_per_group + channel) * kernel_rows;
                        for tap in taps {
                            let input_row =
                                &input[input_plane + tap.input * columns.input..][..columns.input];
                            let kernel_row = &weights[(kernel + tap.kernel) * columns.kernel..];
                            for (span, &weight) in column_spans.iter().zip(kernel_row) {
                                let sums = &mut row[span.positions.clone()];
                                let inputs = &input_row[span.first_input..];
                                if columns.stride == 1 {
                                    for (sum, &x) in sums.iter_mut().zip(inputs) {
                                        *sum = multiply_add(*sum, x, weight);
                                    }
                                } else {
                                    for (sum, &x) in
                                        sums.iter_mut().zip(inputs.iter().step_by(columns.stride))
                                    {
                                        *sum = multiply_add(*sum, x, weight);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fragment::{tensor, value_of};

    #[test]
    fn float_convolution_by_hand() {
        // A 2 x 2 window of ones: sums of four neighbors, plus the bias.
        let text = "const %x: f32[1,1,3,3] = [1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0]
             const %w: f32[1,1,2,2] = splat 1.0
             const %b: f32[1] = [0.5]
             %y = Conv(%x, %w, %b)
             out %y";
        assert_eq!(value_of(text), tensor(&[1, 1, 2, 2], &[12.5f32, 16.5, 24.5, 28.5]));
    }

    #[test]
    fn products_are_summed_exactly_and_rounded_once() {
        // 1 + 2^-24 + 2^-24: each f32 step would round back to 1.
        let text = "const %x: f32[1,3,1] = [1.0, 5.9604645e-8, 5.9604645e-8]
             const %w: f32[1,3,1] = splat 1.0
             %y = Conv(%x, %w)
             out %y";
        assert_eq!(value_of(text).as_single::<f32>(), Some(1.0 + f32::EPSILON));
    }

    #[test]
    fn groups_strides_dilations_and_one_spatial_axis() {
        let text = "const %x: f32[1,2,5] = [1.0,2.0,3.0,4.0,5.0,10.0,20.0,30.0,40.0,50.0]
             const %w: f32[2,1,2] = [1.0,-1.0,2.0,1.0]
             %y = Conv(%x, %w) group=2 strides=[2] dilations=[2] pads=[1,1]
             out %y";
        // Positions -1, 1 and 3 of each padded channel; the cells are 2 apart.
        assert_eq!(value_of(text), tensor(&[1, 2, 3], &[-2.0f32, -2.0, 4.0, 20.0, 80.0, 80.0]));
    }

    #[test]
    fn padding_of_an_integer_convolution_stands_for_the_zero_point() {
        let text = "const %x: u8[1,1,1,2] = [33, 35]
             const %w: i8[1,1,1,3] = [10, 1, 100]
             %y = ConvInteger(%x, %w, 33u8, 0i8) pads=[0,1,0,1]
             out %y";
        assert_eq!(value_of(text), tensor(&[1, 1, 1, 2], &[200, 2]));
    }

    #[test]
    fn both_zero_points_are_subtracted_and_may_be_left_out() {
        let sums = |operands: &str| {
            let text = format!(
                "const %x: u8[1,1,2] = [255, 0]
                 const %w: u8[1,1,2] = [0, 255]
                 %y = ConvInteger({operands})
                 out %y"
            );
            value_of(&text).as_single::<i32>().unwrap()
        };
        assert_eq!(sums("%x, %w"), 0);
        assert_eq!(sums("%x, %w, 128u8"), -128 * 255);
        assert_eq!(sums("%x, %w, _, 128u8"), 255 * -128);
        assert_eq!(sums("%x, %w, 255u8, 255u8"), 0);
        assert_eq!(sums("%x, %w, 1u8, 2u8"), 254 * -2 - 253);
    }

    #[test]
    fn each_filter_may_have_a_zero_point_of_its_own() {
        let text = "const %x: u8[1,1,2] = [1, 2]
             const %w: u8[2,1,2] = [5, 6, 105, 106]
             const %z: u8[2] = [5, 105]
             %y = ConvInteger(%x, %w, 0u8, %z)
             out %y";
        assert_eq!(value_of(text), tensor(&[1, 2, 1], &[2, 2]));
    }

    /// `weight * 255` summed over `taps` cells.
    fn uniform_sum(taps: usize, weight: i8) -> Result<Tensor, OpError> {
        let x = tensor(&[1, 1, taps], &vec![255u8; taps]);
        let w = tensor(&[1, 1, taps], &vec![weight; taps]);
        conv_integer(&Operands(vec![Some(&x), Some(&w)]), &ConvAttributes::padded(0, 1))
    }

    #[test]
    fn a_sum_beyond_i32_is_an_error() {
        // 255 * 127 * 66 311 is just below 2^31, one more product is above it.
        assert_eq!(uniform_sum(66_311, 127).unwrap().as_single::<i32>(), Some(2_147_481_735));
        assert_eq!(
            uniform_sum(66_312, 127).unwrap_err().to_string(),
            "element 0 is 2147514120, which i32 cannot hold"
        );
        assert!(uniform_sum(65_793, -128).is_ok());
        assert!(uniform_sum(65_794, -128).is_err());
    }

    #[derive(Clone, Debug)]
    struct Case {
        input: [usize; 4],
        weights: [usize; 4],
        attributes: ConvAttributes,
        seed: u64,
    }

    fn case() -> impl Strategy<Value = Case> {
        let pair = |range: std::ops::RangeInclusive<usize>| prop::array::uniform2(range);
        let extents = (0usize..=2, 1usize..=3, 1usize..=2, 1usize..=2, pair(1..=6), pair(1..=3));
        (extents, pair(1..=3), pair(1..=2), prop::array::uniform4(0usize..=2), any::<u64>())
            .prop_map(
                |((batch, group, channels, filters, spatial, kernel), strides, dilations, pads, seed)| Case {
                    input: [batch, group * channels, spatial[0], spatial[1]],
                    weights: [group * filters, channels, kernel[0], kernel[1]],
                    attributes: ConvAttributes {
                        strides: strides.to_vec(),
                        pads: onnx2int_graph::Pads { begin: pads[..2].to_vec(), end: pads[2..].to_vec() },
                        dilations: dilations.to_vec(),
                        group,
                    },
                    seed,
                },
            )
            .prop_filter("the window must fit", |case| {
                (0..2).all(|axis| {
                    let pads = &case.attributes.pads;
                    let reach = (case.weights[axis + 2] - 1) * case.attributes.dilations[axis] + 1;
                    case.input[axis + 2] + pads.begin[axis] + pads.end[axis] >= reach
                })
            })
    }

    /// Bytes that look random.
    fn bytes(seed: u64, count: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..count).map(|_| next()).collect()
    }

    /// The definition, index by index: seven loops and no shortcut.
    fn seven_loops(
        case: &Case,
        x: impl Fn([usize; 4]) -> i64,
        w: impl Fn([usize; 4]) -> i64,
    ) -> (Vec<usize>, Vec<i64>) {
        let attributes = &case.attributes;
        let output = |axis: usize| {
            let padded = case.input[axis + 2] + attributes.pads.begin[axis] + attributes.pads.end[axis];
            (padded - (case.weights[axis + 2] - 1) * attributes.dilations[axis] - 1)
                / attributes.strides[axis]
                + 1
        };
        let shape = [case.input[0], case.weights[0], output(0), output(1)];
        let at = |axis: usize, position: usize, cell: usize| {
            let index = (position * attributes.strides[axis] + cell * attributes.dilations[axis]) as i64
                - attributes.pads.begin[axis] as i64;
            (0..case.input[axis + 2] as i64).contains(&index).then_some(index as usize)
        };
        let mut sums = Vec::new();
        for image in 0..shape[0] {
            for filter in 0..shape[1] {
                for row in 0..shape[2] {
                    for column in 0..shape[3] {
                        let mut sum = 0;
                        for channel in 0..case.weights[1] {
                            for kernel_row in 0..case.weights[2] {
                                for kernel_column in 0..case.weights[3] {
                                    let filters_per_group = case.weights[0] / attributes.group;
                                    let group_start = filter / filters_per_group * case.weights[1];
                                    if let (Some(y), Some(z)) =
                                        (at(0, row, kernel_row), at(1, column, kernel_column))
                                    {
                                        sum += x([image, group_start + channel, y, z])
                                            * w([filter, channel, kernel_row, kernel_column]);
                                    }
                                }
                            }
                        }
                        sums.push(sum);
                    }
                }
            }
        }
        (shape.to_vec(), sums)
    }

    fn offset(shape: &[usize; 4], index: [usize; 4]) -> usize {
        shape.iter().zip(index).fold(0, |offset, (&extent, index)| offset * extent + index)
    }

    proptest! {
        #[test]
        fn integer_convolution_is_its_definition(case in case(), zero_point: u8, weight_zero_point: i8) {
            let x = bytes(case.seed, case.input.iter().product());
            let w: Vec<i8> =
                bytes(!case.seed, case.weights.iter().product()).into_iter().map(|v| v as i8).collect();
            let (shape, sums) = seven_loops(
                &case,
                |index| i64::from(x[offset(&case.input, index)]) - i64::from(zero_point),
                |index| i64::from(w[offset(&case.weights, index)]) - i64::from(weight_zero_point),
            );
            let operands = [
                tensor(&case.input, &x),
                tensor(&case.weights, &w),
                Tensor::scalar(zero_point),
                Tensor::scalar(weight_zero_point),
            ];
            let result = conv_integer(&Operands(operands.iter().map(Some).collect()), &case.attributes).unwrap();
            prop_assert_eq!(result.shape(), shape);
            prop_assert_eq!(result.to_i64_vec().unwrap(), sums);
        }

        #[test]
        fn float_convolution_is_its_definition(case in case()) {
            // Small integers as floats: every sum is exact, so that the results must be equal.
            let x: Vec<f32> = bytes(case.seed, case.input.iter().product()).into_iter().map(f32::from).collect();
            let w: Vec<f32> =
                bytes(!case.seed, case.weights.iter().product()).into_iter().map(|v| f32::from(v as i8)).collect();
            let (shape, sums) = seven_loops(
                &case,
                |index| x[offset(&case.input, index)] as i64,
                |index| w[offset(&case.weights, index)] as i64,
            );
            let (x, w) = (tensor(&case.input, &x), tensor(&case.weights, &w));
            let result = conv(&Operands(vec![Some(&x), Some(&w)]), &case.attributes).unwrap();
            prop_assert_eq!(result.shape(), shape);
            let expected: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
            prop_assert_eq!(result.as_slice::<f32>().unwrap(), expected);
        }
    }
}
