//! The attributes of one node, each read at most once.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, NodeProto};
use onnx2int_graph::Tensor;

use super::tensor::tensor;

/// The attributes of one node that nobody has asked for yet.
///
/// Whatever is left when the operator has been read is something it does not know, and
/// [`Attributes::finish`] refuses it: an attribute is never ignored.
pub(super) struct Attributes<'a> {
    left: RefCell<HashMap<&'a str, &'a AttributeProto>>,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a NodeProto) -> Result<Self, String> {
        let mut left = HashMap::new();
        for attribute in &node.attribute {
            let name = attribute.name.as_str();
            if !attribute.ref_attr_name.is_empty() {
                return Err(format!("attribute {name:?} refers to a function's attribute"));
            }
            if left.insert(name, attribute).is_some() {
                return Err(format!("attribute {name:?} is given twice"));
            }
        }
        Ok(Self { left: RefCell::new(left) })
    }

    pub(super) fn int(&self, name: &str) -> Result<Option<i64>, String> {
        Ok(self.take(name, AttributeType::Int)?.map(|attribute| attribute.i))
    }

    pub(super) fn int_or(&self, name: &str, default: i64) -> Result<i64, String> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// An integer that stands for a truth value.
    pub(super) fn flag_or(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.int_or(name, default.into())? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("attribute {name:?}: expected 0 or 1, found {other}")),
        }
    }

    /// An integer that may only have its neutral value.
    pub(super) fn expect_int(&self, name: &str, expected: i64) -> Result<(), String> {
        match self.int(name)? {
            Some(found) if found != expected => {
                Err(format!("attribute {name:?} is supported with value {expected} only, found {found}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, String> {
        Ok(self.take(name, AttributeType::Ints)?.map(|attribute| attribute.ints.as_slice()))
    }

    /// Integers from `least` up to what a window's geometry can be computed with.
    pub(super) fn extents(&self, name: &str, least: i64) -> Result<Option<Vec<usize>>, String> {
        let Some(ints) = self.ints(name)? else { return Ok(None) };
        let extent = |&int: &i64| match usize::try_from(int) {
            Ok(extent) if int >= least && int <= i64::from(i32::MAX) => Ok(extent),
            _ => {
                Err(format!("attribute {name:?}: expected numbers from {least} to {}, found {int}", i32::MAX))
            }
        };
        ints.iter().map(extent).collect::<Result<Vec<_>, _>>().map(Some)
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f32>, String> {
        Ok(self.take(name, AttributeType::Float)?.map(|attribute| attribute.f))
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>, String> {
        Ok(self.take(name, AttributeType::Floats)?.map(|attribute| attribute.floats.as_slice()))
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<&'a str>, String> {
        let Some(attribute) = self.take(name, AttributeType::String)? else { return Ok(None) };
        std::str::from_utf8(&attribute.s).map(Some).map_err(|_| format!("attribute {name:?} is not UTF-8"))
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor>, String> {
        let Some(attribute) = self.take(name, AttributeType::Tensor)? else { return Ok(None) };
        let proto = attribute.t.as_ref().ok_or_else(|| format!("attribute {name:?} holds no tensor"))?;
        tensor(proto).map(Some).map_err(|reason| format!("attribute {name:?}: {reason}"))
    }

    /// Refuses what the operator did not ask for.
    pub(super) fn finish(&self) -> Result<(), String> {
        let left = self.left.borrow();
        let mut names: Vec<_> = left.keys().collect();
        names.sort_unstable();
        match names.as_slice() {
            [] => Ok(()),
            [name] => Err(format!("attribute {name:?} is not supported")),
            _ => Err(format!("attributes {names:?} are not supported")),
        }
    }

    fn take(&self, name: &str, expected: AttributeType) -> Result<Option<&'a AttributeProto>, String> {
        let Some(attribute) = self.left.borrow_mut().remove(name) else { return Ok(None) };
        match AttributeType::try_from(attribute.r#type) {
            Ok(found) if found == expected => Ok(Some(attribute)),
            found => Err(format!(
                "attribute {name:?}: expected type {}, found {}",
                expected.name(),
                found.map_or_else(|_| attribute.r#type.to_string(), |found| found.name().to_owned()),
            )),
        }
    }
}
