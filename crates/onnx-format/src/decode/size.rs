//! How large a tensor may claim to be.

use onnx2int_graph::{Dim, TensorType};

/// Extents beyond this, and tensors of more elements than [`MAX_ELEMENTS`], are refused: sizes
/// are then computed without overflow, whatever a file claims.
const MAX_EXTENT: usize = i32::MAX as usize;
const MAX_ELEMENTS: usize = 1 << 40;
const MAX_RANK: usize = 64;

/// Refuses a type that no machine could hold a tensor of.
pub(super) fn check_size(ty: &TensorType) -> Result<(), String> {
    let fixed = || ty.shape.iter().filter_map(Dim::fixed);
    // An extent of 0 must not hide what its neighbors claim.
    let elements = fixed().fold(1_usize, |elements, extent| elements.saturating_mul(extent.max(1)));
    if elements > MAX_ELEMENTS || fixed().any(|extent| extent > MAX_EXTENT) || ty.rank() > MAX_RANK {
        return Err(format!(
            "type {ty} is too large; expected at most {MAX_ELEMENTS} elements, extents up to {MAX_EXTENT} and \
             {MAX_RANK} axes"
        ));
    }
    Ok(())
}
