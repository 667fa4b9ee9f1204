//! Where a sliding window meets its input: the geometry that convolutions and pooling share.

use onnx2int_graph::{Pads, PoolWindow};

use crate::OpError;

/// One spatial axis that a window slides along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowAxis {
    /// The extent of the input, without padding.
    pub(crate) input: usize,
    /// The number of positions of the window.
    pub(crate) output: usize,
    /// The number of cells of the window.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) pad_begin: usize,
}

impl WindowAxis {
    /// The input index under a cell of the window, or none where it lies in the padding.
    pub(crate) fn input_index(&self, position: usize, cell: usize) -> Option<usize> {
        (position * self.stride + cell * self.dilation)
            .checked_sub(self.pad_begin)
            .filter(|&index| index < self.input)
    }

    /// The window positions at which a cell lies inside the input, and the input index at the first
    /// of them; the following ones are `stride` apart. Empty if there are none.
    pub(crate) fn span(&self, cell: usize) -> Span {
        let inside = |&position: &usize| self.input_index(position, cell).is_some();
        let start = (0..self.output).find(inside);
        let end = (0..self.output).rfind(inside).map_or(0, |last| last + 1);
        let start = start.unwrap_or(end);
        Span { positions: start..end, first_input: self.input_index(start, cell).unwrap_or(0) }
    }
}

/// See [`WindowAxis::span`].
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) positions: std::ops::Range<usize>,
    pub(crate) first_input: usize,
}

/// The axes of a pool's window over those of its input.
pub(crate) fn pool_axes(input: &[usize], window: &PoolWindow) -> Result<Vec<WindowAxis>, OpError> {
    let PoolWindow { kernel_shape, strides, pads, dilations, ceil_mode } = window;
    window_axes(input, kernel_shape, strides, pads, dilations, *ceil_mode)
}

/// The spatial axes of a window over an input of the given spatial extents.
///
/// The number of positions is ONNX's: `floor((input + pads - reach) / stride) + 1`, or `ceil`
/// without a last window that would start in the padding at the end.
pub(crate) fn window_axes(
    input: &[usize],
    kernel: &[usize],
    strides: &[usize],
    pads: &Pads,
    dilations: &[usize],
    ceil_mode: bool,
) -> Result<Vec<WindowAxis>, OpError> {
    let lengths = [kernel.len(), strides.len(), pads.begin.len(), pads.end.len(), dilations.len()];
    if lengths.iter().any(|&length| length != input.len()) {
        return Err(OpError::shape(
            format!("kernel, strides, pads and dilations for {} spatial axes", input.len()),
            format!("{lengths:?} entries"),
        ));
    }
    (0..input.len())
        .map(|i| {
            let (input, kernel, stride, dilation) = (input[i], kernel[i], strides[i], dilations[i]);
            if kernel == 0 || stride == 0 || dilation == 0 {
                return Err(OpError::shape("kernel, strides and dilations of at least 1", "0"));
            }
            let reach = (kernel - 1) * dilation + 1;
            let Some(room) = (input + pads.begin[i] + pads.end[i]).checked_sub(reach) else {
                return Err(OpError::shape(
                    "a window that fits into the padded input",
                    format!("kernel {kernel} over extent {input}"),
                ));
            };
            let mut output = if ceil_mode { room.div_ceil(stride) } else { room / stride } + 1;
            if ceil_mode && (output - 1) * stride >= input + pads.begin[i] {
                output -= 1;
            }
            Ok(WindowAxis { input, output, kernel, stride, dilation, pad_begin: pads.begin[i] })
        })
        .collect()
}

/// A cell of the window and the input cell under it, as row-major offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    pub(crate) kernel: usize,
    pub(crate) input: usize,
}

/// For every position of the window over all `axes`, in row-major order, the cells that lie inside
/// the input, in row-major order. Over no axis there is one position with one cell.
pub(crate) fn taps(axes: &[WindowAxis]) -> Vec<Vec<Tap>> {
    let mut positions = vec![vec![Tap { kernel: 0, input: 0 }]];
    for axis in axes {
        positions = positions
            .iter()
            .flat_map(|outer| {
                (0..axis.output).map(move |position| {
                    outer
                        .iter()
                        .flat_map(|tap| {
                            (0..axis.kernel).filter_map(move |cell| {
                                axis.input_index(position, cell).map(|index| Tap {
                                    kernel: tap.kernel * axis.kernel + cell,
                                    input: tap.input * axis.input + index,
                                })
                            })
                        })
                        .collect()
                })
            })
            .collect();
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(input: usize, kernel: usize, stride: usize, pads: (usize, usize), ceil_mode: bool) -> WindowAxis {
        let pads = Pads { begin: vec![pads.0], end: vec![pads.1] };
        window_axes(&[input], &[kernel], &[stride], &pads, &[1], ceil_mode).unwrap()[0]
    }

    #[test]
    fn positions_are_counted_as_onnx_counts_them() {
        assert_eq!(axis(28, 3, 1, (1, 1), false).output, 28);
        assert_eq!(axis(28, 2, 2, (0, 0), false).output, 14);
        assert_eq!(axis(5, 2, 2, (0, 0), false).output, 2);
        assert_eq!(axis(5, 2, 2, (0, 0), true).output, 3);
        // The third window would start at 4, in the end padding of [0, 4).
        assert_eq!(axis(4, 1, 2, (0, 1), true).output, 2);
    }

    #[test]
    fn a_span_leaves_out_the_padding() {
        let axis = axis(5, 3, 2, (1, 1), false);
        assert_eq!(axis.output, 3);
        let spans: Vec<_> = (0..3).map(|cell| axis.span(cell)).collect();
        assert_eq!((spans[0].positions.clone(), spans[0].first_input), (1..3, 1));
        assert_eq!((spans[1].positions.clone(), spans[1].first_input), (0..3, 0));
        assert_eq!((spans[2].positions.clone(), spans[2].first_input), (0..2, 1));
    }

    #[test]
    fn a_cell_that_never_meets_the_input_has_an_empty_span() {
        // One input cell, kernel 3 with padding 1: only the middle cell meets it.
        let axis = axis(1, 3, 1, (1, 1), false);
        assert!(axis.span(0).positions.is_empty());
        assert_eq!(axis.span(1).positions, 0..1);
        assert!(axis.span(2).positions.is_empty());
    }

    #[test]
    fn taps_of_two_axes_are_row_major() {
        let taps = taps(&[axis(2, 2, 1, (1, 0), false), axis(3, 2, 1, (0, 0), false)]);
        assert_eq!(taps.len(), 2 * 2);
        // The first row of the window is padding at the first row of positions.
        assert_eq!(taps[1], [Tap { kernel: 2, input: 1 }, Tap { kernel: 3, input: 2 }]);
        assert_eq!(taps[2].len(), 4);
    }

    #[test]
    fn a_window_larger_than_its_input_is_refused() {
        let pads = Pads::symmetric(0, 1);
        let error = window_axes(&[2], &[3], &[1], &pads, &[1], false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a window that fits into the padded input, found kernel 3 over extent 2"
        );
    }
}
