//! Geometry of sliding windows: `auto_pad` becomes explicit pads.

use onnx2int_graph::{Dim, Pads, TensorType};

use super::attributes::Attributes;
use super::operands::Refusal;

/// `auto_pad` of ONNX's `Conv`, `ConvInteger` and `MaxPool`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AutoPad {
    NotSet,
    Valid,
    /// As many windows as strides; an odd cell of padding goes to the end.
    SameUpper,
    /// The same, but an odd cell goes to the beginning.
    SameLower,
}

/// The attributes of a window as the file gives them.
pub(super) struct Geometry {
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
    auto_pad: AutoPad,
}

/// The attributes of a window with every default filled in.
pub(super) struct Window {
    pub(super) strides: Vec<usize>,
    pub(super) dilations: Vec<usize>,
    pub(super) pads: Pads,
}

impl Geometry {
    pub(super) fn read(attributes: &Attributes<'_>) -> Result<Self, String> {
        let auto_pad = match attributes.string("auto_pad")? {
            None | Some("" | "NOTSET") => AutoPad::NotSet,
            Some("VALID") => AutoPad::Valid,
            Some("SAME_UPPER") => AutoPad::SameUpper,
            Some("SAME_LOWER") => AutoPad::SameLower,
            Some(other) => {
                return Err(format!(
                    "attribute \"auto_pad\": expected NOTSET, VALID, SAME_UPPER or SAME_LOWER, found {other:?}"
                ));
            }
        };
        let pads = attributes.extents("pads", 0)?;
        if auto_pad != AutoPad::NotSet && pads.iter().flatten().any(|&pad| pad != 0) {
            return Err("attributes \"auto_pad\" and \"pads\" exclude each other".to_owned());
        }
        Ok(Self {
            strides: attributes.extents("strides", 1)?,
            dilations: attributes.extents("dilations", 1)?,
            pads,
            auto_pad,
        })
    }

    pub(super) fn is_automatic(&self) -> bool {
        self.auto_pad != AutoPad::NotSet
    }

    /// Fills in the defaults for a kernel of these extents; `input` is asked for only where the
    /// padding depends on it.
    pub(super) fn resolve<'a>(
        self,
        kernel: &[usize],
        input: impl FnOnce() -> Result<&'a TensorType, Refusal>,
    ) -> Result<Window, Refusal> {
        let rank = kernel.len();
        let per_axis = |name: &str, given: Option<Vec<usize>>| match given {
            None => Ok(vec![1; rank]),
            Some(given) if given.len() == rank => Ok(given),
            Some(given) => Err(format!("attribute {name:?}: expected {rank} numbers, found {given:?}")),
        };
        let strides = per_axis("strides", self.strides)?;
        let dilations = per_axis("dilations", self.dilations)?;
        let pads = match (self.auto_pad, self.pads) {
            (AutoPad::NotSet, Some(pads)) => {
                if pads.len() != 2 * rank {
                    return Err(
                        format!("attribute \"pads\": expected {} numbers, found {pads:?}", 2 * rank).into()
                    );
                }
                Pads { begin: pads[..rank].to_vec(), end: pads[rank..].to_vec() }
            }
            (AutoPad::NotSet, None) | (AutoPad::Valid, _) => Pads::symmetric(0, rank),
            (AutoPad::SameUpper | AutoPad::SameLower, _) => {
                let extents = spatial_extents(input()?, rank)?;
                let mut pads = Pads::symmetric(0, rank);
                for axis in 0..rank {
                    let total = same_padding(extents[axis], kernel[axis], strides[axis], dilations[axis]);
                    let (less, more) = (total / 2, total - total / 2);
                    (pads.begin[axis], pads.end[axis]) =
                        if self.auto_pad == AutoPad::SameUpper { (less, more) } else { (more, less) };
                }
                pads
            }
        };
        Ok(Window { strides, dilations, pads })
    }
}

/// The padding of one axis that makes `ceil(extent / stride)` windows, after ONNX's `MaxPool`:
/// `(windows - 1) * stride + ((kernel - 1) * dilation + 1) - extent`, or none if that is negative.
fn same_padding(extent: usize, kernel: usize, stride: usize, dilation: usize) -> usize {
    let reach = kernel.saturating_sub(1) * dilation + 1;
    (extent.div_ceil(stride).saturating_sub(1) * stride + reach).saturating_sub(extent)
}

fn spatial_extents(input: &TensorType, rank: usize) -> Result<Vec<usize>, String> {
    let extents: Option<Vec<usize>> =
        input.shape.get(2..).and_then(|spatial| spatial.iter().map(Dim::fixed).collect());
    match extents {
        Some(extents) if extents.len() == rank => Ok(extents),
        _ => Err(format!("attribute \"auto_pad\" needs {rank} fixed spatial extents, found {input}")),
    }
}

#[cfg(test)]
mod tests {
    use super::same_padding;

    #[test]
    fn same_padding_gives_one_window_per_stride() {
        for extent in 1..20 {
            for kernel in 1..6 {
                for stride in 1..5 {
                    for dilation in 1..4 {
                        let reach = (kernel - 1) * dilation + 1;
                        let padded = extent + same_padding(extent, kernel, stride, dilation);
                        let windows = (padded - reach) / stride + 1;
                        assert_eq!(windows, extent.div_ceil(stride), "{extent} {kernel} {stride} {dilation}");
                    }
                }
            }
        }
    }
}
