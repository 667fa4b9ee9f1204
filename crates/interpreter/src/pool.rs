//! `MaxPool`, for any number of spatial axes.

use onnx2int_graph::{Element, PoolWindow, Tensor};

use crate::OpError;
use crate::operands::{Operands, filled};
use crate::window::{Tap, pool_axes, taps};

/// The maximum under a sliding window. Padded cells never win; NaN always does.
pub(crate) fn max_pool(x: &Operands<'_>, window: &PoolWindow) -> Result<Tensor, OpError> {
    let tensor = x.tensor(0)?;
    let [batch, channels, spatial @ ..] = tensor.shape() else {
        return Err(OpError::shape("x [N, C, spatial...]", format!("{:?}", tensor.shape())));
    };
    let axes = pool_axes(spatial, window)?;
    let windows = taps(&axes);
    if let Some(position) = windows.iter().position(Vec::is_empty) {
        return Err(OpError::EmptyWindow { position });
    }
    let shape: Vec<_> = [*batch, *channels].into_iter().chain(axes.iter().map(|axis| axis.output)).collect();
    let plane = spatial.iter().product();
    match tensor {
        Tensor::F32(_) => Ok(pooled(x.elements::<f32>(0)?, plane, &windows, &shape, |a, b| {
            // `f32::max` would drop a NaN.
            if a.is_nan() || a >= b { a } else { b }
        })),
        Tensor::U8(_) => Ok(pooled(x.elements::<u8>(0)?, plane, &windows, &shape, u8::max)),
        Tensor::I8(_) => Ok(pooled(x.elements::<i8>(0)?, plane, &windows, &shape, i8::max)),
        Tensor::I32(_) | Tensor::I64(_) | Tensor::Bool(_) => {
            Err(OpError::OperandDtype { slot: 0, expected: "f32, u8 or i8", found: tensor.dtype() })
        }
    }
}

fn pooled<T: Element>(
    input: &[T],
    plane: usize,
    windows: &[Vec<Tap>],
    shape: &[usize],
    greater: impl Fn(T, T) -> T + Copy,
) -> Tensor {
    let output = input
        .chunks_exact(plane.max(1))
        .flat_map(|plane| {
            windows.iter().map(move |window| {
                window.iter().map(|tap| plane[tap.input]).reduce(greater).expect("no window is empty")
            })
        })
        .collect();
    filled(shape, output)
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::Pads;
    use proptest::prelude::*;

    use super::*;
    use crate::fragment::{tensor, value_of};

    #[test]
    fn padding_never_wins() {
        let text = "const %x: i8[1,1,2,2] = [-5, -6, -7, -8]
             %y = MaxPool(%x) kernel_shape=[2,2] pads=[1,1,0,0]
             out %y";
        assert_eq!(value_of(text), tensor(&[1, 1, 2, 2], &[-5i8, -5, -5, -5]));
    }

    #[test]
    fn ceil_mode_keeps_a_last_partial_window() {
        let pool = |attributes: &str| {
            let text = format!(
                "const %x: u8[1,1,5] = [1,5,2,3,4]\n %y = MaxPool(%x) kernel_shape=[2] strides=[2] {attributes}\n out %y"
            );
            value_of(&text)
        };
        assert_eq!(pool(""), tensor(&[1, 1, 2], &[5u8, 3]));
        assert_eq!(pool("ceil_mode=1"), tensor(&[1, 1, 3], &[5u8, 3, 4]));
        assert_eq!(pool("dilations=[2]"), tensor(&[1, 1, 2], &[2u8, 4]));
    }

    #[test]
    fn not_a_number_wins() {
        let text = "const %x: f32[1,1,4] = [1.0, nan, 3.0, -inf]
             %y = MaxPool(%x) kernel_shape=[2] strides=[2]
             out %y";
        let result = value_of(text);
        let elements = result.as_slice::<f32>().unwrap();
        assert!(elements[0].is_nan());
        assert_eq!(elements[1], 3.0);
    }

    #[test]
    fn a_window_of_padding_only_is_an_error() {
        // The type rules refuse such padding; the kernel does not rely on it.
        let window = PoolWindow {
            kernel_shape: vec![1],
            strides: vec![1],
            pads: Pads { begin: vec![1], end: vec![0] },
            dilations: vec![1],
            ceil_mode: false,
        };
        let x = tensor(&[1, 1, 1], &[1u8]);
        let error = max_pool(&Operands(vec![Some(&x)]), &window).unwrap_err();
        assert_eq!(error, OpError::EmptyWindow { position: 0 });
    }

    proptest! {
        #[test]
        fn pooling_is_its_definition(
            extents in prop::array::uniform2(1usize..=6),
            kernel in prop::array::uniform2(1usize..=3),
            strides in prop::array::uniform2(1usize..=3),
            pad in 0usize..=1,
            ceil_mode: bool,
            elements in prop::collection::vec(any::<i8>(), 2 * 36),
        ) {
            let pad = pad.min(kernel[0] - 1).min(kernel[1] - 1);
            prop_assume!((0..2).all(|axis| extents[axis] + 2 * pad >= kernel[axis]));
            let window = PoolWindow {
                kernel_shape: kernel.to_vec(),
                strides: strides.to_vec(),
                pads: Pads::symmetric(pad, 2),
                dilations: vec![1, 1],
                ceil_mode,
            };
            let plane = extents[0] * extents[1];
            let x = tensor(&[1, 2, extents[0], extents[1]], &elements[..2 * plane]);
            let result = max_pool(&Operands(vec![Some(&x)]), &window).unwrap();
            let &[1, 2, rows, columns] = result.shape() else { panic!("rank 4 expected") };
            for (index, &found) in result.as_slice::<i8>().unwrap().iter().enumerate() {
                let (channel, row, column) = (index / (rows * columns), index / columns % rows, index % columns);
                let inside = |position: usize, axis: usize| {
                    let start = position * strides[axis];
                    (start..start + kernel[axis])
                        .filter_map(|cell| cell.checked_sub(pad))
                        .filter(move |&cell| cell < extents[axis])
                        .collect::<Vec<_>>()
                };
                let expected = inside(row, 0)
                    .into_iter()
                    .flat_map(|y| inside(column, 1).into_iter().map(move |z| (y, z)))
                    .map(|(y, z)| elements[channel * plane + y * extents[1] + z])
                    .max();
                prop_assert_eq!(Some(found), expected);
            }
        }
    }
}
