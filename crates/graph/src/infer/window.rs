//! Windows that slide over the spatial axes, of convolutions and of pooling.

use super::{TypeError, TypeRule, error};
use crate::{Dim, Pads, TensorType};

/// A window that slides over the spatial axes.
pub(super) struct Window<'a> {
    pub(super) kernel: &'a [usize],
    pub(super) strides: &'a [usize],
    pub(super) pads: &'a Pads,
    pub(super) dilations: &'a [usize],
    pub(super) ceil: bool,
}

impl Window<'_> {
    /// The spatial extents of the result.
    pub(super) fn slide(&self, input: &TensorType) -> Result<Vec<Dim>, TypeError> {
        let spatial = input.rank() - 2;
        let lengths = [
            self.kernel.len(),
            self.strides.len(),
            self.pads.begin.len(),
            self.pads.end.len(),
            self.dilations.len(),
        ];
        if lengths.iter().any(|&length| length != spatial) {
            return error(
                TypeRule::Attribute,
                format!("kernel, strides, pads and dilations for {spatial} spatial axes"),
                format!("{lengths:?} entries"),
            );
        }
        (0..spatial)
            .map(|axis| {
                let Dim::Fixed(extent) = input.shape[axis + 2] else {
                    return error(TypeRule::OperandShape, "fixed spatial extents", input);
                };
                let (stride, dilation, kernel) =
                    (self.strides[axis], self.dilations[axis], self.kernel[axis]);
                if stride == 0 || dilation == 0 || kernel == 0 {
                    return error(TypeRule::Attribute, "kernel, strides and dilations of at least 1", "0");
                }
                let reach = (kernel - 1).checked_mul(dilation).and_then(|reach| reach.checked_add(1));
                let padded = extent
                    .checked_add(self.pads.begin[axis])
                    .and_then(|extent| extent.checked_add(self.pads.end[axis]));
                let room = padded.zip(reach).and_then(|(padded, reach)| padded.checked_sub(reach));
                let Some(room) = room else {
                    return error(
                        TypeRule::OperandShape,
                        "a window that fits into the padded input",
                        format!("kernel {kernel} over extent {extent}"),
                    );
                };
                let steps = if self.ceil { room.div_ceil(stride) } else { room / stride };
                // Runtimes drop such a window; shape inference at opset 21 counts it.
                let last_start = steps.checked_mul(stride);
                if self.ceil && last_start.is_none_or(|start| start >= extent + self.pads.begin[axis]) {
                    return error(
                        TypeRule::Attribute,
                        "a last window that does not start in the end padding",
                        format!("ceil_mode with stride {stride} over extent {extent}"),
                    );
                }
                Ok(Dim::Fixed(steps + 1))
            })
            .collect()
    }
}
