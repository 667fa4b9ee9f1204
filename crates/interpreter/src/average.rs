//! Averages and normalization, summed in f64 and rounded to f32 once.

use onnx2int_graph::{AveragePoolAttributes, Tensor};

use crate::OpError;
use crate::operands::{Operands, filled, resolve_axis};
use crate::window::{WindowAxis, pool_axes, taps};

/// The average under a sliding window, over its cells inside the input or, with
/// `count_include_pad`, inside the padded input. What a last window has beyond the padding never
/// counts.
pub(crate) fn average_pool(x: &Operands<'_>, attributes: &AveragePoolAttributes) -> Result<Tensor, OpError> {
    let elements = x.elements::<f32>(0)?;
    let [batch, channels, spatial @ ..] = x.tensor(0)?.shape() else {
        return Err(OpError::shape("x [N, C, spatial...]", x.describe()));
    };
    let axes = pool_axes(spatial, &attributes.window)?;
    let windows = taps(&axes);
    if let Some(position) = windows.iter().position(Vec::is_empty) {
        return Err(OpError::EmptyWindow { position });
    }
    let padded = padded_cells(&axes, &attributes.window.pads.end);
    let counts: Vec<usize> = windows
        .iter()
        .zip(padded)
        .map(|(window, padded)| if attributes.count_include_pad { padded } else { window.len() })
        .collect();
    let plane: usize = spatial.iter().product();
    let output = elements
        .chunks_exact(plane.max(1))
        .flat_map(|plane| {
            windows.iter().zip(&counts).map(move |(window, &count)| {
                let sum: f64 = window.iter().map(|tap| f64::from(plane[tap.input])).sum();
                (sum / count as f64) as f32
            })
        })
        .collect();
    let shape: Vec<_> = [*batch, *channels].into_iter().chain(axes.iter().map(|axis| axis.output)).collect();
    Ok(filled(&shape, output))
}

/// For every position of the window, in row-major order, the number of its cells in the padded input.
fn padded_cells(axes: &[WindowAxis], pads_end: &[usize]) -> Vec<usize> {
    let mut counts = vec![1];
    for (axis, &pad_end) in axes.iter().zip(pads_end) {
        let end = axis.pad_begin + axis.input + pad_end;
        let inside = |position: usize| {
            (0..axis.kernel).filter(|&cell| position * axis.stride + cell * axis.dilation < end).count()
        };
        counts = counts
            .iter()
            .flat_map(|outer| (0..axis.output).map(move |position| outer * inside(position)))
            .collect();
    }
    counts
}

/// `[N, C, spatial...]`: the average of each channel.
pub(crate) fn global_average_pool(x: &Operands<'_>) -> Result<Tensor, OpError> {
    let rank = x.tensor(0)?.rank();
    if rank < 3 {
        return Err(OpError::shape("x [N, C, spatial...]", x.describe()));
    }
    averaged(x, &(2..rank).collect::<Vec<_>>(), true)
}

/// `(x, axes?)`: the average over these axes, or over all where none is named.
pub(crate) fn reduce_mean(x: &Operands<'_>, keepdims: bool) -> Result<Tensor, OpError> {
    let rank = x.tensor(0)?.rank();
    let named = match x.optional(1) {
        Some(_) => x.integers(1)?,
        None => Vec::new(),
    };
    let axes = named.into_iter().map(|axis| resolve_axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    averaged(x, &if axes.is_empty() { (0..rank).collect() } else { axes }, keepdims)
}

fn averaged(x: &Operands<'_>, axes: &[usize], keepdims: bool) -> Result<Tensor, OpError> {
    let elements = x.elements::<f32>(0)?;
    let shape = x.tensor(0)?.shape();
    // With the averaged axes of extent 1, an element of the result stands where its operands do.
    let kept: Vec<usize> = shape
        .iter()
        .enumerate()
        .map(|(axis, &extent)| if axes.contains(&axis) { 1 } else { extent })
        .collect();
    let mut sums = vec![0.0_f64; kept.iter().product()];
    for (index, &element) in elements.iter().enumerate() {
        let (mut rest, mut target, mut step) = (index, 0, 1);
        for (&extent, &kept) in shape.iter().zip(&kept).rev() {
            target += rest % extent % kept * step;
            rest /= extent;
            step *= kept;
        }
        sums[target] += f64::from(element);
    }
    let count: usize = axes.iter().map(|&axis| shape[axis]).product();
    if count == 0 {
        return Err(OpError::shape(format!("an element along axes {axes:?}"), x.describe()));
    }
    let result = sums.into_iter().map(|sum| (sum / count as f64) as f32).collect();
    let mut axis = 0..;
    let shape: Vec<usize> = kept
        .into_iter()
        .filter(|_| axis.next().is_some_and(|axis| keepdims || !axes.contains(&axis)))
        .collect();
    Ok(filled(&shape, result))
}

/// `(x, scale, bias, mean, variance)`: `(x - mean) / sqrt(variance + epsilon) * scale + bias`, the
/// parameters one for each channel.
pub(crate) fn batch_normalization(x: &Operands<'_>, epsilon: f32) -> Result<Tensor, OpError> {
    let elements = x.elements::<f32>(0)?;
    let shape = x.tensor(0)?.shape();
    let parameters = [1, 2, 3, 4].map(|slot| x.elements::<f32>(slot));
    let [scale, bias, mean, variance] = parameters;
    let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
    let channels = shape.get(1).copied();
    if [scale, bias, mean, variance].iter().any(|parameter| Some(parameter.len()) != channels) {
        return Err(OpError::shape("one scale, bias, mean and variance for each channel", x.describe()));
    }
    let inner: usize = shape.iter().skip(2).product();
    let output = elements
        .iter()
        .enumerate()
        .map(|(index, &element)| {
            let channel = index / inner % scale.len();
            let of = |parameter: &[f32]| f64::from(parameter[channel]);
            let deviation = (of(variance) + f64::from(epsilon)).sqrt();
            ((f64::from(element) - of(mean)) / deviation * of(scale) + of(bias)) as f32
        })
        .collect();
    Ok(filled(shape, output))
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::{Pads, PoolWindow};
    use proptest::prelude::*;

    use super::*;
    use crate::fragment::{tensor, value_of};

    fn pool(x: &str, attributes: &str) -> Tensor {
        value_of(&format!("const %x: {x}\n %y = AveragePool(%x) {attributes}\n out %y"))
    }

    #[test]
    fn padding_counts_only_where_it_is_asked_for() {
        let x = "f32[1,1,2,2] = [4.0, 8.0, 12.0, 16.0]";
        let corner = "kernel_shape=[2,2] pads=[1,1,0,0]";
        assert_eq!(pool(x, corner), tensor(&[1, 1, 2, 2], &[4.0f32, 6.0, 8.0, 10.0]));
        let counted = format!("{corner} count_include_pad=1");
        assert_eq!(pool(x, &counted), tensor(&[1, 1, 2, 2], &[1.0f32, 3.0, 4.0, 10.0]));
    }

    #[test]
    fn what_lies_beyond_the_padding_never_counts() {
        let x = "f32[1,1,5] = [2.0, 4.0, 6.0, 8.0, 10.0]";
        let plain = "kernel_shape=[3] strides=[3] ceil_mode=1";
        assert_eq!(pool(x, plain), tensor(&[1, 1, 2], &[4.0f32, 9.0]));
        // The last window has the cells 3, 4 and one of padding; a fourth cell does not exist.
        let padded = "kernel_shape=[4] strides=[3] pads=[0,1] ceil_mode=1 count_include_pad=1";
        assert_eq!(pool(x, padded), tensor(&[1, 1, 2], &[5.0f32, 6.0]));
    }

    #[test]
    fn a_dilated_window_steps_over_cells() {
        let x = "f32[1,1,5] = [1.0, 50.0, 3.0, 50.0, 5.0]";
        assert_eq!(pool(x, "kernel_shape=[3] dilations=[2]"), tensor(&[1, 1, 1], &[3.0f32]));
    }

    #[test]
    fn averages_over_axes() {
        let mean = |op: &str| {
            value_of(&format!(
                "const %x: f32[2,2,2] = [1.0, 3.0, 5.0, 7.0, 11.0, 13.0, 15.0, 17.0]
                 const %axes: i64[2] = [0, -1]
                 const %none: i64[0] = []
                 %y = {op}
                 out %y"
            ))
        };
        assert_eq!(mean("GlobalAveragePool(%x)"), tensor(&[2, 2, 1], &[2.0f32, 6.0, 12.0, 16.0]));
        assert_eq!(mean("ReduceMean(%x, %axes)"), tensor(&[1, 2, 1], &[7.0f32, 11.0]));
        assert_eq!(mean("ReduceMean(%x, %axes) keepdims=0"), tensor(&[2], &[7.0f32, 11.0]));
        assert_eq!(mean("ReduceMean(%x) keepdims=0"), tensor(&[], &[9.0f32]));
        assert_eq!(mean("ReduceMean(%x, %none)"), tensor(&[1, 1, 1], &[9.0f32]));
    }

    #[test]
    fn a_large_element_does_not_swallow_small_ones() {
        // 2^24 + 1 is 2^24 in f32.
        let text = "const %x: f32[1,1,4] = [16777216.0, 1.0, -16777216.0, 1.0]
             %y = GlobalAveragePool(%x)
             out %y";
        assert_eq!(value_of(text), tensor(&[1, 1, 1], &[0.5f32]));
    }

    #[test]
    fn each_channel_is_normalized_by_its_own_parameters() {
        let text = "const %x: f32[1,2,2] = [1.0, 5.0, 1.0, 5.0]
             const %scale: f32[2] = [2.0, -1.0]
             const %bias: f32[2] = [0.5, 0.0]
             const %mean: f32[2] = [3.0, 1.0]
             const %variance: f32[2] = [3.0, 15.0]
             %y = BatchNormalization(%x, %scale, %bias, %mean, %variance) epsilon=1.0
             out %y";
        assert_eq!(value_of(text), tensor(&[1, 2, 2], &[-1.5f32, 2.5, 0.0, -1.0]));
    }

    proptest! {
        #[test]
        fn an_average_pool_is_its_definition(
            extents in prop::array::uniform2(1usize..=6),
            kernel in prop::array::uniform2(1usize..=3),
            strides in prop::array::uniform2(1usize..=3),
            pads in prop::array::uniform4(0usize..=2),
            dilation in 1usize..=2,
            ceil_mode: bool,
            count_include_pad: bool,
            elements in prop::collection::vec(-100i8..=100, 2 * 36),
        ) {
            let pads: Vec<usize> = pads.iter().zip(kernel.iter().cycle()).map(|(&pad, &k)| pad.min(k - 1)).collect();
            let reach = |axis: usize| (kernel[axis] - 1) * dilation + 1;
            prop_assume!((0..2).all(|axis| extents[axis] + pads[axis] + pads[axis + 2] >= reach(axis)));
            prop_assume!((0..2).all(|axis| pads[axis] == 0 || dilation <= extents[axis]));
            let window = PoolWindow {
                kernel_shape: kernel.to_vec(),
                strides: strides.to_vec(),
                pads: Pads { begin: pads[..2].to_vec(), end: pads[2..].to_vec() },
                dilations: vec![dilation; 2],
                ceil_mode,
            };
            let attributes = AveragePoolAttributes { window, count_include_pad };
            let plane = extents[0] * extents[1];
            let floats: Vec<f32> = elements[..2 * plane].iter().map(|&element| element.into()).collect();
            let x = tensor(&[1, 2, extents[0], extents[1]], &floats);
            let result = average_pool(&Operands(vec![Some(&x)]), &attributes).unwrap();
            let &[1, 2, rows, columns] = result.shape() else { panic!("rank 4 expected") };
            for (index, &found) in result.as_slice::<f32>().unwrap().iter().enumerate() {
                let (channel, row, column) = (index / (rows * columns), index / columns % rows, index % columns);
                // The cells in the padded input, counted from its first one.
                let cells = |position: usize, axis: usize| {
                    (0..kernel[axis])
                        .map(|cell| position * strides[axis] + cell * dilation)
                        .filter(|&cell| cell < pads[axis] + extents[axis] + pads[axis + 2])
                        .collect::<Vec<_>>()
                };
                let (mut sum, mut inside, mut all) = (0, 0, 0);
                for y in cells(row, 0) {
                    for z in cells(column, 1) {
                        all += 1;
                        let cell = y.checked_sub(pads[0]).filter(|&y| y < extents[0]).zip(
                            z.checked_sub(pads[1]).filter(|&z| z < extents[1]),
                        );
                        if let Some((y, z)) = cell {
                            inside += 1;
                            sum += i32::from(elements[channel * plane + y * extents[1] + z]);
                        }
                    }
                }
                let count = if count_include_pad { all } else { inside };
                prop_assert_eq!(found, (f64::from(sum) / f64::from(count)) as f32);
            }
        }
    }
}
