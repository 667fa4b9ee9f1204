//! Declared types: of graph inputs, and those that must agree with what is inferred.

use crate::proto::tensor_shape_proto::dimension::Value as DimValue;
use crate::proto::type_proto::{Tensor as TensorTypeProto, Value as TypeValue};
use crate::proto::{GraphProto, ValueInfoProto};
use onnx2int_graph::{Dim, TensorType};

use super::fresh_names::FreshNames;
use super::size::check_size;
use super::tensor::dtype;

/// The longest name of an extent, in bytes. Every type that has the extent spells it, and every
/// message that quotes the type.
const LONGEST_SYMBOL: usize = 200;

/// Names for the extents that graph inputs leave unnamed.
pub(super) struct Symbols {
    names: FreshNames,
}

impl Symbols {
    /// Knows the names that the graph's inputs use.
    pub(super) fn of(graph: &GraphProto) -> Self {
        let dims =
            graph.input.iter().filter_map(tensor_type).flat_map(|ty| ty.shape.iter()).flat_map(|s| &s.dim);
        let taken = dims.filter_map(|dim| match &dim.value {
            Some(DimValue::DimParam(name)) => Some(name.clone()),
            Some(DimValue::DimValue(_)) | None => None,
        });
        Self { names: FreshNames::beside(taken) }
    }

    /// A name that no other extent has: two unnamed extents are not known to be equal.
    fn fresh(&mut self, input: &str, axis: usize) -> Dim {
        let input: String = input.chars().take(LONGEST_SYMBOL / 8).collect();
        Dim::symbol(&self.names.fresh(&format!("{input}_{axis}")))
    }
}

/// The type of a graph input, which must be declared in full but for names of extents.
pub(super) fn input_type(input: &ValueInfoProto, symbols: &mut Symbols) -> Result<TensorType, String> {
    let Some(proto) = tensor_type(input) else {
        return Err("expected a tensor type, found another or none".to_owned());
    };
    let dtype = dtype(proto.elem_type)?;
    let Some(shape) = &proto.shape else {
        return Err(
            "expected a shape, found none; symbolic extents are fine, their number must be known".to_owned()
        );
    };
    let mut dims = Vec::with_capacity(shape.dim.len());
    for (axis, dim) in shape.dim.iter().enumerate() {
        dims.push(match &dim.value {
            Some(DimValue::DimValue(extent)) => Dim::Fixed(usize::try_from(*extent).map_err(|_| {
                format!("extent {extent} of axis {axis} is negative; give it a name instead")
            })?),
            Some(DimValue::DimParam(name)) if name.len() > LONGEST_SYMBOL => {
                return Err(format!(
                    "the name of the extent of axis {axis} has {} bytes; expected at most {LONGEST_SYMBOL}",
                    name.len()
                ));
            }
            Some(DimValue::DimParam(name)) if !name.is_empty() => Dim::symbol(name),
            Some(DimValue::DimParam(_)) | None => symbols.fresh(&input.name, axis),
        });
    }
    let ty = TensorType::new(dtype, dims);
    check_size(&ty)?;
    Ok(ty)
}

/// Refuses a declaration that the type inferred from the nodes contradicts.
///
/// What is left open, or named where the other has a number, is no contradiction: exporters name
/// extents of inner values as they like.
pub(super) fn check_declared(declared: &ValueInfoProto, inferred: &TensorType) -> Result<(), String> {
    let Some(proto) = tensor_type(declared) else {
        return match &declared.r#type {
            Some(_) => Err(format!("declared as something other than a tensor, the nodes make {inferred}")),
            None => Ok(()),
        };
    };
    if proto.elem_type != 0 && dtype(proto.elem_type) != Ok(inferred.dtype) {
        let declared = dtype(proto.elem_type).map_or_else(|reason| reason, |dtype| dtype.to_string());
        return Err(format!("declared with element type {declared}, the nodes make {inferred}"));
    }
    let Some(shape) = &proto.shape else { return Ok(()) };
    let agrees = shape.dim.len() == inferred.rank()
        && shape.dim.iter().zip(&inferred.shape).all(|(declared, inferred)| {
            match (&declared.value, inferred.fixed()) {
                (Some(DimValue::DimValue(declared)), Some(inferred)) => {
                    usize::try_from(*declared).is_ok_and(|declared| declared == inferred)
                }
                (Some(DimValue::DimParam(_)) | None, _) | (_, None) => true,
            }
        });
    if agrees {
        return Ok(());
    }
    let dims: Vec<_> = shape
        .dim
        .iter()
        .map(|dim| match &dim.value {
            Some(DimValue::DimValue(extent)) => extent.to_string(),
            Some(DimValue::DimParam(name)) => name.clone(),
            None => "?".to_owned(),
        })
        .collect();
    Err(format!("declared with shape [{}], the nodes make {inferred}", dims.join(",")))
}

fn tensor_type(info: &ValueInfoProto) -> Option<&TensorTypeProto> {
    match info.r#type.as_ref()?.value.as_ref()? {
        TypeValue::TensorType(ty) => Some(ty),
    }
}
