//! Operators that move data or speak of shapes.

use super::{NUMBERS, Operands, TypeError, TypeRule, error, resolve_axis};
use crate::shape_values::ShapeElement;
use crate::{DType, Dim, TensorType};

pub(super) fn flatten(x: &Operands<'_>, axis: i64) -> Result<TensorType, TypeError> {
    let ty = x.ty(0)?;
    let axis = if axis == ty.rank() as i64 { ty.rank() } else { resolve_axis(axis, ty.rank())? };
    let shape = vec![merged(&ty.shape[..axis])?, merged(&ty.shape[axis..])?];
    Ok(TensorType { dtype: ty.dtype, shape })
}

/// The longest name that [`merged`] gives to an extent, in bytes. Merging a merged axis with itself
/// doubles the name, so that without a limit a few nodes would fill the memory.
const LONGEST_PRODUCT: usize = 1000;

/// The product of extents; a symbolic one gets a name that spells the product.
fn merged(dims: &[Dim]) -> Result<Dim, TypeError> {
    let fixed = fixed_product(dims)?;
    let symbols: Vec<_> = dims.iter().filter(|dim| dim.fixed().is_none()).map(Dim::to_string).collect();
    let length: usize = symbols.iter().map(String::len).sum();
    if length > LONGEST_PRODUCT {
        return error(
            TypeRule::OperandShape,
            format!("a product of extents that is spelled with {LONGEST_PRODUCT} bytes"),
            format!("names of {length}"),
        );
    }
    Ok(match (symbols.is_empty(), fixed) {
        (true, _) | (_, 0) => Dim::Fixed(fixed),
        (false, 1) => Dim::symbol(&symbols.join("*")),
        (false, _) => Dim::symbol(&format!("{}*{fixed}", symbols.join("*"))),
    })
}

/// The product of the extents that are known.
fn fixed_product(dims: &[Dim]) -> Result<usize, TypeError> {
    let mut extents = dims.iter().filter_map(Dim::fixed);
    match extents.clone().find(|&extent| extent == 0) {
        Some(zero) => Ok(zero),
        None => match extents.try_fold(1_usize, usize::checked_mul) {
            Some(product) => Ok(product),
            None => error(TypeRule::OperandShape, "a number of elements below 2^64", format!("{dims:?}")),
        },
    }
}

pub(super) fn reshape(x: &Operands<'_>, allow_zero: bool) -> Result<TensorType, TypeError> {
    let ty = x.ty(0)?;
    let target = x.required(1)?;
    if x.typed(1, &[DType::I64])?.rank() != 1 {
        return error(TypeRule::OperandShape, "a shape of rank 1", target.ty);
    }
    let Some(elements) = &target.elements else {
        return error(TypeRule::OperandConstant, "a shape that can be followed from constants", target.ty);
    };
    let mut shape = Vec::with_capacity(elements.len());
    let mut inferred = None;
    for (i, element) in elements.iter().enumerate() {
        shape.push(match element {
            ShapeElement::Symbol(name) => Dim::Symbol(name.clone()),
            ShapeElement::Number(0) if !allow_zero => match ty.shape.get(i) {
                Some(dim) => dim.clone(),
                None => return error(TypeRule::OperandShape, "0 at an axis of the operand", ty),
            },
            ShapeElement::Number(-1) if inferred.is_none() => {
                inferred = Some(i);
                Dim::Fixed(1)
            }
            ShapeElement::Number(extent) => match usize::try_from(*extent) {
                Ok(extent) => Dim::Fixed(extent),
                Err(_) => return error(TypeRule::OperandShape, "extents, and one -1 at most", extent),
            },
        });
    }
    let size = |shape: &[Dim]| -> Result<(usize, Vec<String>), TypeError> {
        let mut symbols: Vec<_> =
            shape.iter().filter(|dim| dim.fixed().is_none()).map(Dim::to_string).collect();
        symbols.sort();
        Ok((fixed_product(shape)?, symbols))
    };
    let (whole, mut whole_symbols) = size(&ty.shape)?;
    let (part, part_symbols) = size(&shape)?;
    let misfit =
        || error(TypeRule::OperandShape, format!("as many elements as {ty} has"), format!("{elements:?}"));
    match inferred {
        None if (whole, &whole_symbols) == (part, &part_symbols) => {}
        None => return misfit(),
        Some(i) => {
            for symbol in &part_symbols {
                match whole_symbols.iter().position(|other| other == symbol) {
                    Some(at) => drop(whole_symbols.remove(at)),
                    None => return misfit(),
                }
            }
            if part == 0 || whole % part != 0 {
                return misfit();
            }
            let mut rest: Vec<Dim> = whole_symbols.iter().map(|name| Dim::symbol(name)).collect();
            rest.push(Dim::Fixed(whole / part));
            shape[i] = merged(&rest)?;
        }
    }
    Ok(TensorType { dtype: ty.dtype, shape })
}

pub(super) fn transpose(x: &Operands<'_>, perm: &[usize]) -> Result<TensorType, TypeError> {
    let ty = x.ty(0)?;
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..ty.rank()) {
        return error(
            TypeRule::Attribute,
            format!("a permutation of {} axes", ty.rank()),
            format!("{perm:?}"),
        );
    }
    let shape: Vec<_> = perm.iter().map(|&axis| ty.shape[axis].clone()).collect();
    Ok(TensorType { dtype: ty.dtype, shape })
}

pub(super) fn concat(x: &Operands<'_>, axis: i64) -> Result<TensorType, TypeError> {
    let first = x.ty(0)?;
    let axis = resolve_axis(axis, first.rank())?;
    let mut extent = 0_usize;
    for slot in 0..x.0.len() {
        let ty = x.typed(slot, &[first.dtype])?;
        let fits =
            ty.rank() == first.rank() && (0..ty.rank()).all(|i| i == axis || ty.shape[i] == first.shape[i]);
        let joined = ty.shape.get(axis).and_then(Dim::fixed).and_then(|own| extent.checked_add(own));
        match joined {
            Some(joined) if fits => extent = joined,
            _ => {
                return error(
                    TypeRule::OperandShape,
                    format!("operands like {first} but for axis {axis}"),
                    ty,
                );
            }
        }
    }
    let mut ty = first.clone();
    ty.shape[axis] = Dim::Fixed(extent);
    Ok(ty)
}

pub(super) fn gather(x: &Operands<'_>, axis: i64) -> Result<TensorType, TypeError> {
    let ty = x.ty(0)?;
    let indices = x.typed(1, &[DType::I64, DType::I32])?;
    let axis = resolve_axis(axis, ty.rank())?;
    if let (Some(extent), Some(known)) =
        (ty.shape[axis].fixed(), x.get(1).and_then(|indices| indices.constant?.to_i64_vec()))
        && let Some(index) =
            known.iter().find(|&&index| usize::try_from(index.max(-1 - index)).is_ok_and(|i| i >= extent))
    {
        return error(TypeRule::OperandShape, format!("indices within axis {axis} of {ty}"), index);
    }
    let mut shape = ty.shape[..axis].to_vec();
    shape.extend(indices.shape.iter().cloned());
    shape.extend(ty.shape[axis + 1..].iter().cloned());
    Ok(TensorType { dtype: ty.dtype, shape })
}

pub(super) fn slice(x: &Operands<'_>) -> Result<TensorType, TypeError> {
    let ty = x.ty(0)?;
    let (starts, ends) = (x.numbers(1)?, x.numbers(2)?);
    let axes = match x.get(3) {
        Some(_) => x.numbers(3)?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match x.get(4) {
        Some(_) => x.numbers(4)?,
        None => vec![1; starts.len()],
    };
    if [ends.len(), axes.len(), steps.len()].iter().any(|&length| length != starts.len()) {
        return error(TypeRule::OperandShape, "starts, ends, axes and steps of one length", starts.len());
    }
    let mut shape = ty.shape.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let axis = resolve_axis(axis, ty.rank())?;
        let Dim::Fixed(extent) = shape[axis] else {
            return error(TypeRule::OperandShape, "a fixed extent along a sliced axis", ty);
        };
        let Some(length) = slice_length(extent, starts[i], ends[i], steps[i]) else {
            return error(TypeRule::OperandShape, "steps that are not 0", steps[i]);
        };
        shape[axis] = Dim::Fixed(length);
    }
    Ok(TensorType { dtype: ty.dtype, shape })
}

/// None if the step is 0.
fn slice_length(extent: usize, start: i64, end: i64, step: i64) -> Option<usize> {
    let extent = i64::try_from(extent).unwrap_or(i64::MAX);
    let bound = |index: i64, low: i64, high: i64| {
        (if index < 0 { index.saturating_add(extent) } else { index }).clamp(low, high)
    };
    let span = match step {
        0 => return None,
        1.. => bound(end, 0, extent) - bound(start, 0, extent),
        _ => bound(start, -1, extent - 1) - bound(end, -1, extent - 1),
    };
    Some(span.max(0).unsigned_abs().div_ceil(step.unsigned_abs()) as usize)
}

pub(super) fn squeeze(x: &Operands<'_>) -> Result<TensorType, TypeError> {
    let ty = x.ty(0)?;
    let axes = match x.get(1) {
        Some(_) => x
            .numbers(1)?
            .into_iter()
            .map(|axis| resolve_axis(axis, ty.rank()))
            .collect::<Result<Vec<_>, _>>()?,
        // The extent of a symbolic axis may turn out to be 1, and then the rank would change.
        None if ty.fixed_shape().is_none() => {
            return error(
                TypeRule::OperandCount,
                format!("axes for {ty}, which has symbolic extents"),
                "none",
            );
        }
        None => (0..ty.rank()).filter(|&axis| ty.shape[axis] == Dim::Fixed(1)).collect(),
    };
    if axes.iter().any(|&axis| ty.shape[axis] != Dim::Fixed(1)) {
        return error(TypeRule::OperandShape, format!("extent 1 at axes {axes:?}"), ty);
    }
    let shape: Vec<_> =
        (0..ty.rank()).filter(|axis| !axes.contains(axis)).map(|axis| ty.shape[axis].clone()).collect();
    Ok(TensorType { dtype: ty.dtype, shape })
}

pub(super) fn unsqueeze(x: &Operands<'_>) -> Result<TensorType, TypeError> {
    let ty = x.ty(0)?;
    let axes = x.numbers(1)?;
    let rank = ty.rank() + axes.len();
    let mut axes = distinct_axes(&axes, rank)?;
    axes.sort_unstable();
    let mut shape = ty.shape.clone();
    for axis in axes {
        shape.insert(axis, Dim::Fixed(1));
    }
    Ok(TensorType { dtype: ty.dtype, shape })
}

pub(super) fn shape(x: &Operands<'_>, start: i64, end: Option<i64>) -> Result<TensorType, TypeError> {
    let rank = x.ty(0)?.rank() as i64;
    let bound = |index: i64| (if index < 0 { index + rank } else { index }).clamp(0, rank);
    let length = (end.map_or(rank, bound) - bound(start)).max(0) as usize;
    Ok(TensorType::fixed(DType::I64, &[length]))
}

pub(super) fn arg_max(x: &Operands<'_>, axis: i64, keepdims: bool) -> Result<TensorType, TypeError> {
    let ty = x.typed(0, &NUMBERS)?;
    let axis = resolve_axis(axis, ty.rank())?;
    if ty.shape[axis] == Dim::Fixed(0) {
        return error(TypeRule::OperandShape, format!("an element along axis {axis}"), ty);
    }
    let mut shape = ty.shape.clone();
    if keepdims {
        shape[axis] = Dim::Fixed(1);
    } else {
        shape.remove(axis);
    }
    Ok(TensorType { dtype: DType::I64, shape })
}

pub(super) fn pad(x: &Operands<'_>) -> Result<TensorType, TypeError> {
    let ty = x.ty(0)?;
    if x.get(2).is_some() {
        let value = x.typed(2, &[ty.dtype])?;
        if !matches!(value.shape.as_slice(), [] | [Dim::Fixed(1)]) {
            return error(TypeRule::OperandShape, "a single value to pad with", value);
        }
    }
    let pads = x.numbers(1)?;
    let axes = match x.get(3) {
        Some(_) => distinct_axes(&x.numbers(3)?, ty.rank())?,
        None => (0..ty.rank()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        let expected = format!("{} pads, two for each of {} axes", 2 * axes.len(), axes.len());
        return error(TypeRule::OperandShape, expected, pads.len());
    }
    let mut shape = ty.shape.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let sides = [pads[i], pads[i + axes.len()]];
        let Ok(sides) = sides.map(usize::try_from).into_iter().collect::<Result<Vec<_>, _>>() else {
            return error(
                TypeRule::OperandShape,
                "pads of at least 0 (a Slice removes cells)",
                format!("{pads:?}"),
            );
        };
        if sides == [0, 0] {
            continue;
        }
        let Dim::Fixed(extent) = shape[axis] else {
            return error(TypeRule::OperandShape, format!("a fixed extent along padded axis {axis}"), ty);
        };
        let Some(padded) = sides.iter().try_fold(extent, |extent, &side| extent.checked_add(side)) else {
            return error(TypeRule::OperandShape, "extents below 2^64", format!("{pads:?}"));
        };
        shape[axis] = Dim::Fixed(padded);
    }
    Ok(TensorType { dtype: ty.dtype, shape })
}

/// Axes of a tensor of rank `rank` as indices, in the order given.
pub(super) fn distinct_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, TypeError> {
    let resolved = axes.iter().map(|&axis| resolve_axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut sorted = resolved.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return error(TypeRule::Attribute, "distinct axes", format!("{axes:?}"));
    }
    Ok(resolved)
}
