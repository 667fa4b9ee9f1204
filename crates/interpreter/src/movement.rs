//! Operators that move elements, or speak of shapes.

use ndarray::Axis;
use onnx2int_graph::{Array, Element, Tensor, TensorType, match_tensor};

use crate::OpError;
use crate::operands::{Operands, resolve_axis};

/// To rank 2: axes before `axis` merged, and those from it on.
pub(crate) fn flatten(x: &Operands<'_>, axis: i64) -> Result<Tensor, OpError> {
    let tensor = x.tensor(0)?;
    let rank = tensor.rank();
    // The axis after the last one is a legal place to cut.
    let axis = if axis == rank as i64 { rank } else { resolve_axis(axis, rank)? };
    let (before, after) = tensor.shape().split_at(axis);
    reshaped(tensor, &[before.iter().product(), after.iter().product()])
}

/// To the shape given by operand 1: -1 is inferred, 0 copies an extent unless `allow_zero`.
pub(crate) fn reshape(x: &Operands<'_>, allow_zero: bool) -> Result<Tensor, OpError> {
    let tensor = x.tensor(0)?;
    let wanted = x.elements::<i64>(1)?;
    let misfit = || {
        OpError::shape(
            format!("a shape for the {} elements of {}", tensor.len(), TensorType::of(tensor)),
            format!("{wanted:?}"),
        )
    };
    let mut shape = Vec::with_capacity(wanted.len());
    let mut inferred = None;
    for (axis, &extent) in wanted.iter().enumerate() {
        shape.push(match extent {
            0 if !allow_zero => *tensor.shape().get(axis).ok_or_else(misfit)?,
            -1 if inferred.is_none() => {
                inferred = Some(axis);
                1
            }
            _ => usize::try_from(extent).map_err(|_| misfit())?,
        });
    }
    if let Some(axis) = inferred {
        let rest: usize = shape.iter().product();
        if rest == 0 || !tensor.len().is_multiple_of(rest) {
            return Err(misfit());
        }
        shape[axis] = tensor.len() / rest;
    }
    tensor.reshape(&shape).map_err(|_| misfit())
}

fn reshaped(tensor: &Tensor, shape: &[usize]) -> Result<Tensor, OpError> {
    tensor
        .reshape(shape)
        .map_err(|error| OpError::shape(format!("{} elements", error.elements), format!("shape {shape:?}")))
}

/// Axis `i` of the result is axis `perm[i]` of the operand.
pub(crate) fn transpose(x: &Operands<'_>, perm: &[usize]) -> Result<Tensor, OpError> {
    fn permuted<T: Element>(array: &Array<T>, perm: &[usize]) -> Tensor {
        Tensor::from_array(array.view().permuted_axes(perm).into())
    }
    let tensor = x.tensor(0)?;
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..tensor.rank()) {
        return Err(OpError::shape(format!("a permutation of {} axes", tensor.rank()), format!("{perm:?}")));
    }
    Ok(match_tensor!(tensor, array => permuted(array, perm)))
}

/// Operands of one element type joined along an axis.
pub(crate) fn concat(x: &Operands<'_>, axis: i64) -> Result<Tensor, OpError> {
    fn joined<T: Element>(x: &Operands<'_>, axis: usize) -> Result<Tensor, OpError> {
        let views = (0..x.len())
            .map(|slot| {
                x.elements::<T>(slot)?;
                Ok(x.tensor(slot)?.as_array::<T>().expect("its elements are of type T").view())
            })
            .collect::<Result<Vec<_>, OpError>>()?;
        ndarray::concatenate(Axis(axis), &views)
            .map(|array| Tensor::from_array(array.into()))
            .map_err(|_| OpError::shape(format!("operands that differ at axis {axis} only"), x.describe()))
    }
    let first = x.tensor(0)?;
    let axis = resolve_axis(axis, first.rank())?;
    match first {
        Tensor::F32(_) => joined::<f32>(x, axis),
        Tensor::U8(_) => joined::<u8>(x, axis),
        Tensor::I8(_) => joined::<i8>(x, axis),
        Tensor::I32(_) => joined::<i32>(x, axis),
        Tensor::I64(_) => joined::<i64>(x, axis),
        Tensor::Bool(_) => joined::<bool>(x, axis),
    }
}

/// The slices of `tensor` at these indices of an axis, in that order.
fn selected(tensor: &Tensor, axis: usize, indices: &[usize]) -> Tensor {
    fn select<T: Element>(array: &Array<T>, axis: usize, indices: &[usize]) -> Tensor {
        Tensor::from_array(array.select(Axis(axis), indices).into())
    }
    match_tensor!(tensor, array => select(array, axis, indices))
}

/// `(x, indices)`: the slices of `x` at `indices` of an axis; the axes of `indices` take its place.
/// A negative index counts from the end.
pub(crate) fn gather(x: &Operands<'_>, axis: i64) -> Result<Tensor, OpError> {
    let (tensor, indices) = (x.tensor(0)?, x.integers(1)?);
    let axis = resolve_axis(axis, tensor.rank())?;
    let extent = tensor.shape()[axis];
    let resolved = indices
        .iter()
        .map(|&index| {
            let resolved = if index < 0 { index.saturating_add(extent as i64) } else { index };
            usize::try_from(resolved)
                .ok()
                .filter(|&resolved| resolved < extent)
                .ok_or(OpError::Index { index, extent })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (before, after) = (&tensor.shape()[..axis], &tensor.shape()[axis + 1..]);
    let shape = [before, x.tensor(1)?.shape(), after].concat();
    reshaped(&selected(tensor, axis, &resolved), &shape)
}

/// `(x, starts, ends, axes?, steps?)`: every `step`-th slice from `start` up to, and without,
/// `end`. Negative bounds count from the end, bounds beyond it are clamped.
pub(crate) fn slice(x: &Operands<'_>) -> Result<Tensor, OpError> {
    let (starts, ends) = (x.integers(1)?, x.integers(2)?);
    let axes = match x.optional(3) {
        Some(_) => x.integers(3)?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match x.optional(4) {
        Some(_) => x.integers(4)?,
        None => vec![1; starts.len()],
    };
    if [ends.len(), axes.len(), steps.len()].iter().any(|&length| length != starts.len()) {
        return Err(OpError::shape("starts, ends, axes and steps of one length", x.describe()));
    }
    let mut tensor = x.tensor(0)?.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let axis = resolve_axis(axis, tensor.rank())?;
        let extent = tensor.shape()[axis] as i64;
        let from_start = |index: i64| if index < 0 { index.saturating_add(extent) } else { index };
        let (start, end) = (from_start(starts[i]), from_start(ends[i]));
        let indices: Vec<usize> = match steps[i] {
            0 => return Err(OpError::shape("steps that are not 0", format!("{steps:?}"))),
            step @ 1.. => {
                let (start, end) = (start.clamp(0, extent), end.clamp(0, extent));
                std::iter::successors(Some(start), |index| index.checked_add(step))
                    .take_while(|&index| index < end)
                    .map(|index| index as usize)
                    .collect()
            }
            step => {
                let (start, end) = (start.clamp(-1, extent - 1), end.clamp(-1, extent - 1));
                std::iter::successors(Some(start), |index| index.checked_add(step))
                    .take_while(|&index| index > end)
                    .map(|index| index as usize)
                    .collect()
            }
        };
        tensor = selected(&tensor, axis, &indices);
    }
    Ok(tensor)
}

/// `(x, pads, value?, axes?)`: cells of `value`, or of zeros, before and after `x` along each axis.
pub(crate) fn pad(x: &Operands<'_>) -> Result<Tensor, OpError> {
    fn padded<T: Element + Default>(
        x: &Operands<'_>,
        shape: &[usize],
        begin: &[usize],
    ) -> Result<Tensor, OpError> {
        let value = match x.optional_elements::<T>(2)? {
            None => T::default(),
            Some(&[value]) => value,
            Some(_) => return Err(OpError::shape("a single value to pad with", x.describe())),
        };
        let source = x.tensor(0)?.as_array::<T>().expect("the caller chose the type of the elements");
        let mut array = ndarray::ArrayD::from_elem(shape, value);
        array
            .slice_each_axis_mut(|axis| {
                let (start, extent) = (begin[axis.axis.index()], source.shape()[axis.axis.index()]);
                ndarray::Slice::from(start..start + extent)
            })
            .assign(source);
        Ok(Tensor::from_array(array.into()))
    }
    let tensor = x.tensor(0)?;
    let rank = tensor.rank();
    let pads = x.integers(1)?;
    let axes = match x.optional(3) {
        Some(_) => x.integers(3)?,
        None => (0..rank as i64).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(OpError::shape(format!("{} pads", 2 * axes.len()), format!("{pads:?}")));
    }
    let (mut begin, mut shape) = (vec![0; rank], tensor.shape().to_vec());
    for (i, &axis) in axes.iter().enumerate() {
        let axis = resolve_axis(axis, rank)?;
        for (side, pad) in [pads[i], pads[i + axes.len()]].into_iter().enumerate() {
            let pad = usize::try_from(pad)
                .map_err(|_| OpError::shape("pads of at least 0", format!("{pads:?}")))?;
            shape[axis] += pad;
            begin[axis] += if side == 0 { pad } else { 0 };
        }
    }
    match tensor {
        Tensor::F32(_) => padded::<f32>(x, &shape, &begin),
        Tensor::U8(_) => padded::<u8>(x, &shape, &begin),
        Tensor::I8(_) => padded::<i8>(x, &shape, &begin),
        Tensor::I32(_) => padded::<i32>(x, &shape, &begin),
        Tensor::I64(_) => padded::<i64>(x, &shape, &begin),
        Tensor::Bool(_) => padded::<bool>(x, &shape, &begin),
    }
}

/// `(x, axes?)`: the axes of extent 1 that are named, or all of them, removed.
pub(crate) fn squeeze(x: &Operands<'_>) -> Result<Tensor, OpError> {
    let tensor = x.tensor(0)?;
    let shape = tensor.shape();
    let axes = match x.optional(1) {
        Some(_) => x
            .integers(1)?
            .into_iter()
            .map(|axis| resolve_axis(axis, shape.len()))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
    };
    if axes.iter().any(|&axis| shape[axis] != 1) {
        return Err(OpError::shape(format!("extent 1 at axes {axes:?}"), format!("{shape:?}")));
    }
    let kept: Vec<_> = (0..shape.len()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).collect();
    reshaped(tensor, &kept)
}

/// `(x, axes)`: axes of extent 1 inserted; `axes` are positions in the result.
pub(crate) fn unsqueeze(x: &Operands<'_>) -> Result<Tensor, OpError> {
    let tensor = x.tensor(0)?;
    let axes = x.integers(1)?;
    let rank = tensor.rank() + axes.len();
    let mut axes = axes.into_iter().map(|axis| resolve_axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    if axes.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(OpError::shape("distinct axes", format!("{axes:?}")));
    }
    let mut shape = tensor.shape().to_vec();
    for axis in axes {
        shape.insert(axis, 1);
    }
    reshaped(tensor, &shape)
}

/// The operand itself: nothing is dropped at inference.
pub(crate) fn dropout(x: &Operands<'_>) -> Result<Tensor, OpError> {
    if let Some(training) = x.optional_elements::<bool>(2)?
        && training.contains(&true)
    {
        return Err(OpError::TrainingMode);
    }
    x.tensor(0).cloned()
}

/// The extents of the operand from axis `start` to, and without, `end`, as i64. Negative axes count
/// from the end, those beyond it are clamped.
pub(crate) fn shape(x: &Operands<'_>, start: i64, end: Option<i64>) -> Result<Tensor, OpError> {
    let shape = x.tensor(0)?.shape();
    let rank = shape.len() as i64;
    let bound = |axis: i64| (if axis < 0 { axis.saturating_add(rank) } else { axis }).clamp(0, rank) as usize;
    let extents = shape.get(bound(start)..end.map_or(shape.len(), bound)).unwrap_or_default();
    Ok(Tensor::vector(extents.iter().map(|&extent| extent as i64).collect::<Vec<i64>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragment::{run_text, tensor, value_of};

    /// The result of one operator on `[[1,2,3],[4,5,6]]`.
    fn of(application: &str) -> Tensor {
        value_of(&format!("const %x: u8[2,3] = [1,2,3,4,5,6]\n {application}\n out %y"))
    }

    #[test]
    fn shapes_change_and_elements_stay() {
        let with_shape = |shape: &[usize]| tensor(shape, &[1u8, 2, 3, 4, 5, 6]);
        assert_eq!(of("%y = Flatten(%x) axis=0"), with_shape(&[1, 6]));
        assert_eq!(of("%y = Flatten(%x) axis=2"), with_shape(&[6, 1]));
        assert_eq!(of("const %s: i64[2] = [-1, 2]\n %y = Reshape(%x, %s)"), with_shape(&[3, 2]));
        assert_eq!(of("const %s: i64[3] = [0, 1, -1]\n %y = Reshape(%x, %s)"), with_shape(&[2, 1, 3]));
        assert_eq!(of("const %a: i64[2] = [0, -1]\n %y = Unsqueeze(%x, %a)"), with_shape(&[1, 2, 3, 1]));
        let squeezed = "const %a: i64[2] = [0, -1]\n %z = Unsqueeze(%x, %a)\n";
        assert_eq!(of(&format!("{squeezed} %y = Squeeze(%z)")), with_shape(&[2, 3]));
        assert_eq!(
            of(&format!("{squeezed} const %b: i64[1] = [-1]\n %y = Squeeze(%z, %b)")),
            with_shape(&[1, 2, 3])
        );
        assert_eq!(of("%y = Identity(%x)"), with_shape(&[2, 3]));
        assert_eq!(of("%f = Cast(%x) to=f32\n %d = Dropout(%f)\n %y = Cast(%d) to=u8"), with_shape(&[2, 3]));
    }

    #[test]
    fn elements_move() {
        assert_eq!(of("%y = Transpose(%x) perm=[1,0]"), tensor(&[3, 2], &[1u8, 4, 2, 5, 3, 6]));
        assert_eq!(
            of("%y = Concat(%x, %x) axis=-1"),
            tensor(&[2, 6], &[1u8, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6])
        );
        assert_eq!(
            of("const %i: i64[2] = [-1, 0]\n %y = Gather(%x, %i) axis=1"),
            tensor(&[2, 2], &[3u8, 1, 6, 4])
        );
        assert_eq!(of("%y = Gather(%x, 1i64) axis=0"), tensor(&[3], &[4u8, 5, 6]));
    }

    #[test]
    fn cells_are_added_on_either_side() {
        let pad = |pads: &str, rest: &str| {
            let count = pads.split(',').count();
            of(&format!(
                "const %p: i64[{count}] = [{pads}]\n const %a: i64[1] = [-1]\n %y = Pad(%x, %p{rest})"
            ))
        };
        assert_eq!(pad("1,0,0,1", ""), tensor(&[3, 4], &[0u8, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0]));
        assert_eq!(pad("2,1", ", 9u8, %a"), tensor(&[2, 6], &[9u8, 9, 1, 2, 3, 9, 9, 9, 4, 5, 6, 9]));
        assert_eq!(pad("0,0", ", _, %a"), of("%y = Identity(%x)"));
    }

    #[test]
    fn bytes_are_looked_up_by_an_i32_index() {
        // Two channels, each with a table of its own.
        let text = "const %x: u8[1,2,2] = [0,2,1,2]
             const %table: u8[6] = [10,11,12,20,21,22]
             const %offset: i32[2,1] = [0,3]
             %wide = Cast(%x) to=i32
             %index = Add(%wide, %offset)
             %y = Gather(%table, %index)
             out %y";
        assert_eq!(value_of(text), tensor(&[1, 2, 2], &[10u8, 12, 21, 22]));
    }

    #[test]
    fn slices_step_either_way_and_clamp() {
        let slice = |start: i64, end: i64, step: i64| {
            let constants = format!(
                "const %s: i64[1] = [{start}]\n const %e: i64[1] = [{end}]\n const %p: i64[1] = [{step}]"
            );
            value_of(&format!(
                "const %x: i32[5] = [0,1,2,3,4]\n {constants}\n const %a: i64[1] = [0]
                 %y = Slice(%x, %s, %e, %a, %p)\n out %y"
            ))
            .to_i64_vec()
            .unwrap()
        };
        assert_eq!(slice(1, 4, 2), [1, 3]);
        assert_eq!(slice(-2, i64::MAX, 1), [3, 4]);
        assert_eq!(slice(4, i64::MIN, -1), [4, 3, 2, 1, 0]);
        assert_eq!(slice(3, 0, -2), [3, 1]);
        assert_eq!(slice(3, 1, 1), [0i64; 0]);
        assert_eq!(slice(0, 5, i64::MAX), [0]);
    }

    #[test]
    fn shape_speaks_of_the_tensor_at_hand() {
        let text = "in %x: f32[N,3,2]\n %y = Shape(%x)\n %z = Shape(%x) start=-2 end=2\n out %y, %z";
        let outputs = run_text(text, &[tensor(&[4, 3, 2], &[0.0f32; 24])]).unwrap();
        assert_eq!(outputs, [tensor(&[3], &[4i64, 3, 2]), tensor(&[1], &[3i64])]);
    }

    #[test]
    fn a_constant_is_its_tensor() {
        assert_eq!(value_of("%y = Constant() value=i32[2] [7, -7]\n out %y"), tensor(&[2], &[7, -7]));
    }

    #[test]
    fn a_computed_shape_is_followed() {
        let text = "in %x: u8[N,2,2]
             %shape = Shape(%x)
             const %zero: i64[1] = [0]
             const %rest: i64[1] = [-1]
             %batch = Gather(%shape, %zero) axis=0
             %target = Concat(%batch, %rest) axis=0
             %y = Reshape(%x, %target)
             out %y";
        let outputs = run_text(text, &[tensor(&[3, 2, 2], &[9u8; 12])]).unwrap();
        assert_eq!(outputs[0].shape(), [3, 4]);
    }

    #[test]
    fn an_index_beyond_the_axis_is_refused() {
        // Where the indices are constant, the type rules refuse them already.
        let text = "const %x: u8[2] = [1, 2]\n in %i: i64[1]\n %y = Gather(%x, %i)\n out %y";
        assert_eq!(run_text(text, &[tensor(&[1], &[-2i64])]).unwrap(), [tensor(&[1], &[1u8])]);
        let error = run_text(text, &[tensor(&[1], &[-3i64])]).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap();
        assert_eq!(cause.to_string(), "index -3 is outside an axis of extent 2");
    }

    #[test]
    fn dropout_in_training_mode_is_refused() {
        // A graph with that operand passes no type rule; the kernel does not rely on it.
        let operands = [tensor(&[2], &[1.0f32, 2.0]), Tensor::scalar(0.5f32), Tensor::scalar(true)];
        let result = dropout(&Operands(operands.iter().map(Some).collect()));
        assert_eq!(result, Err(OpError::TrainingMode));
        let result = dropout(&Operands(vec![Some(&operands[0]), None, Some(&Tensor::scalar(false))]));
        assert_eq!(result, Ok(operands[0].clone()));
    }
}
