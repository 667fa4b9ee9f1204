//! Numpy's rule for operands of different shapes, as ONNX uses it.

use crate::OpError;

/// The common shape of operands, if there is one: extents aligned at the last axis, 1 stretches.
pub(crate) fn common_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, OpError> {
    let rank = a.len().max(b.len());
    let (a_full, b_full) = (left_padded(a, rank), left_padded(b, rank));
    a_full
        .into_iter()
        .zip(b_full)
        .map(|extents| match extents {
            (x, y) if x == y => Ok(x),
            (x, 1) => Ok(x),
            (1, y) => Ok(y),
            _ => Err(OpError::shape("shapes that broadcast", format!("{a:?} and {b:?}"))),
        })
        .collect()
}

fn left_padded(shape: &[usize], rank: usize) -> Vec<usize> {
    std::iter::repeat_n(1, rank - shape.len()).chain(shape.iter().copied()).collect()
}

/// For each element of a tensor of shape `to`, in row-major order, the row-major offset of the
/// element of a tensor of shape `from` that stands there. `from` must broadcast to `to`.
pub(crate) fn offsets(from: &[usize], to: &[usize]) -> Offsets {
    let mut strides = vec![0; to.len()];
    let mut step = 1;
    for (stride, &extent) in strides.iter_mut().rev().zip(from.iter().rev()) {
        if extent != 1 {
            *stride = step;
        }
        step *= extent;
    }
    Offsets { strides, extents: to.to_vec(), index: vec![0; to.len()], offset: 0, left: to.iter().product() }
}

/// See [`offsets`]: an odometer over the elements of the result.
pub(crate) struct Offsets {
    strides: Vec<usize>,
    extents: Vec<usize>,
    index: Vec<usize>,
    offset: usize,
    left: usize,
}

impl Iterator for Offsets {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let current = self.offset;
        for axis in (0..self.extents.len()).rev() {
            self.index[axis] += 1;
            self.offset += self.strides[axis];
            if self.index[axis] < self.extents[axis] {
                break;
            }
            self.offset -= self.strides[axis] * self.extents[axis];
            self.index[axis] = 0;
        }
        Some(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_as_in_numpy() {
        assert_eq!(common_shape(&[2, 3], &[3]).unwrap(), [2, 3]);
        assert_eq!(common_shape(&[2, 1, 4], &[3, 1]).unwrap(), [2, 3, 4]);
        assert_eq!(common_shape(&[], &[0, 2]).unwrap(), [0, 2]);
        assert_eq!(
            common_shape(&[2, 3], &[2]).unwrap_err().to_string(),
            "expected shapes that broadcast, found [2, 3] and [2]"
        );
    }

    #[test]
    fn offsets_repeat_stretched_axes() {
        let collect = |from: &[usize], to: &[usize]| offsets(from, to).collect::<Vec<_>>();
        assert_eq!(collect(&[2, 3], &[2, 3]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(collect(&[3], &[2, 3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(collect(&[2, 1], &[2, 3]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(collect(&[], &[2, 2]), [0, 0, 0, 0]);
        assert_eq!(collect(&[], &[]), [0]);
        assert_eq!(collect(&[2, 1, 2], &[2, 2, 2]), [0, 1, 0, 1, 2, 3, 2, 3]);
        assert!(collect(&[1], &[0]).is_empty());
    }
}
