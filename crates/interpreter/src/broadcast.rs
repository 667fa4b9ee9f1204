//! Numpy's rule for operands of different shapes, as ONNX uses it.

use std::borrow::Cow;

use crate::OpError;

/// The common shape of operands, if there is one: extents aligned at the last axis, 1 stretches.
pub(crate) fn common_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, OpError> {
    let rank = a.len().max(b.len());
    left_padded(a, rank)
        .zip(left_padded(b, rank))
        .map(|extents| match extents {
            (x, y) if x == y => Ok(x),
            (x, 1) => Ok(x),
            (1, y) => Ok(y),
            _ => Err(OpError::shape("shapes that broadcast", format!("{a:?} and {b:?}"))),
        })
        .collect()
}

fn left_padded(shape: &[usize], rank: usize) -> impl Iterator<Item = usize> {
    std::iter::repeat_n(1, rank - shape.len()).chain(shape.iter().copied())
}

/// The elements of a tensor of shape `from`, repeated to fill a shape that it broadcasts to.
pub(crate) fn expanded<'a, T: Copy>(elements: &'a [T], from: &[usize], to: &[usize]) -> Cow<'a, [T]> {
    if from == to {
        return Cow::Borrowed(elements);
    }
    if to.contains(&0) {
        return Cow::Owned(Vec::new());
    }
    let mut current = elements.to_vec();
    // From the last axis to the first: the elements of the axes after this one form blocks, and a
    // stretched axis repeats each block.
    let mut block = 1;
    let from: Vec<usize> = left_padded(from, to.len()).collect();
    for (&stored, &extent) in from.iter().zip(to).rev() {
        if stored != extent {
            current = current.chunks_exact(block).flat_map(|block| block.repeat(extent)).collect();
        }
        block *= extent;
    }
    Cow::Owned(current)
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
    fn stretched_axes_repeat() {
        let expand = |count: usize, from: &[usize], to: &[usize]| {
            expanded(&(0..count).collect::<Vec<_>>(), from, to).into_owned()
        };
        assert_eq!(expand(6, &[2, 3], &[2, 3]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(expand(3, &[3], &[2, 3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(expand(2, &[2, 1], &[2, 3]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(expand(1, &[], &[2, 2]), [0, 0, 0, 0]);
        assert_eq!(expand(1, &[], &[]), [0]);
        assert_eq!(expand(4, &[2, 1, 2], &[2, 2, 2]), [0, 1, 0, 1, 2, 3, 2, 3]);
        assert!(expand(1, &[1], &[0]).is_empty());
        assert!(expand(2, &[1, 2], &[0, 2]).is_empty());
    }
}
