//! Settings of single tensors and nodes, by name: what is excluded, fixed or chosen in another way.
//!
//! Names are those of the network as it is quantized, after its operators were brought to the forms
//! that the quantizer knows. An entry that nothing has the name of is an error, as a misspelled one would
//! otherwise change nothing unseen.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use onnx2int_graph::scales::{Parameters, activation_parameters};
use onnx2int_graph::{Graph, NodeId, ValueId, movement};
use serde::Deserialize;

use crate::plan::Plan;
use crate::{CalibrationError, Method};

/// What is said of single tensors and nodes; nothing by default.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// Nodes that stay float, by name.
    pub exclude_nodes: BTreeSet<String>,
    /// Operators all of whose nodes stay float, by their ONNX name.
    pub exclude_op_types: BTreeSet<String>,
    /// Quantized activations, by name.
    pub tensors: BTreeMap<String, TensorOverride>,
    /// Layers, by the name of the node.
    pub nodes: BTreeMap<String, NodeOverride>,
}

/// How one activation is quantized: by a range, by its parameters, or by a method of its own.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct TensorOverride {
    /// The least and the greatest value to be represented; widened to hold 0.
    pub range: Option<[f32; 2]>,
    /// Real value of one unit; with `zero_point`.
    pub scale: Option<f32>,
    /// The integer that stands for 0; with `scale`.
    pub zero_point: Option<u8>,
    /// How its range follows from what is seen.
    pub calibration: Option<MethodName>,
    /// With the method percentile: what part of the values the range holds, 99.99 if left out.
    pub percentile: Option<f64>,
}

/// A [`Method`] by the name that it has on the command line.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// [`Method::MinMax`].
    MinMax,
    /// [`Method::MovingAverage`].
    MovingAverage,
    /// [`Method::Percentile`].
    Percentile,
    /// [`Method::Entropy`].
    Entropy,
    /// [`Method::MeanSquaredError`].
    Mse,
}

/// How the weights of one layer are quantized.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct NodeOverride {
    /// Bits of a weight, 2 to 8.
    pub weight_bits: Option<u32>,
    /// One scale for each output channel, or one for the layer; goes for the logits too.
    pub per_axis: Option<bool>,
}

/// What is fixed or chosen for one activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Chosen {
    Range(f32, f32),
    Parameters(Parameters),
    Method(Method),
}

/// The overrides of a planned graph, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) tensors: BTreeMap<ValueId, Chosen>,
    pub(crate) nodes: BTreeMap<NodeId, NodeOverride>,
}

impl Chosen {
    /// The range and the parameters, where they do not depend on what is seen.
    pub(crate) fn fixed(self) -> Option<(f32, f32, Parameters)> {
        match self {
            Self::Range(least, greatest) => Some((least, greatest, activation_parameters(least, greatest))),
            Self::Parameters(parameters) => {
                let zero_point = f32::from(parameters.zero_point);
                let real = |code: f32| (code - zero_point) * parameters.scale;
                Some((real(0.0), real(255.0), parameters))
            }
            Self::Method(_) => None,
        }
    }
}

impl Overrides {
    /// The nodes that stay float.
    ///
    /// # Errors
    /// Names an entry that no node matches.
    pub(crate) fn excluded(&self, graph: &Graph) -> Result<HashSet<NodeId>, CalibrationError> {
        let nodes = || graph.nodes().map(|(_, node)| node.name.as_str());
        let op_types = || graph.nodes().map(|(_, node)| node.op.name());
        for name in &self.exclude_nodes {
            known("exclude_nodes", name, "node", nodes())?;
        }
        for name in &self.exclude_op_types {
            known("exclude_op_types", name, "operator", op_types())?;
        }
        let excluded = graph.nodes().filter(|(_, node)| {
            self.exclude_nodes.contains(&node.name) || self.exclude_op_types.contains(node.op.name())
        });
        Ok(excluded.map(|(id, _)| id).collect())
    }

    /// The entries by what they are about.
    ///
    /// # Errors
    /// Names an entry that nothing quantized matches, or that contradicts itself.
    pub(crate) fn resolve(&self, graph: &Graph, plan: &Plan) -> Result<Resolved, CalibrationError> {
        let mut resolved = Resolved::default();
        let own: Vec<ValueId> = [plan.input].into_iter().chain(plan.observed.iter().copied()).collect();
        for (name, tensor) in &self.tensors {
            let entry = format!("tensors.{name:?}");
            let value = match graph.value_by_name(name) {
                Some(value) if own.contains(&value) => value,
                Some(value) => return Err(refused(&entry, elsewhere(graph, plan, &own, value))),
                None => {
                    let names = own.iter().map(|&value| graph.value(value).name.as_str());
                    return Err(unknown(&entry, "quantized tensor", name, names));
                }
            };
            let chosen = tensor.chosen().map_err(|reason| refused(&entry, reason))?;
            if value == plan.input && matches!(chosen, Chosen::Method(_)) {
                return Err(refused(
                    &entry,
                    "the range of the input follows from the preprocessing and not from what is seen; fix it \
                     by range, or by scale and zero_point"
                        .to_owned(),
                ));
            }
            resolved.tensors.insert(value, chosen);
        }
        for (name, node) in &self.nodes {
            let entry = format!("nodes.{name:?}");
            let layers = plan.layers.keys().map(|&layer| graph.node(layer).name.as_str());
            let Some(id) = graph.node_by_name(name).filter(|id| plan.layers.contains_key(id)) else {
                return Err(unknown(&entry, "quantized layer", name, layers));
            };
            if node.weight_bits.is_some_and(|bits| !(2..=8).contains(&bits)) {
                return Err(refused(&entry, "expected weight_bits of 2 to 8".to_owned()));
            }
            if *node == NodeOverride::default() {
                return Err(refused(&entry, "expected weight_bits or per_axis, found neither".to_owned()));
            }
            resolved.nodes.insert(id, *node);
        }
        Ok(resolved)
    }
}

impl TensorOverride {
    fn chosen(self) -> Result<Chosen, String> {
        if self.percentile.is_some() && self.calibration != Some(MethodName::Percentile) {
            return Err("percentile goes with calibration = \"percentile\" only".to_owned());
        }
        match self {
            Self {
                range: Some([least, greatest]), scale: None, zero_point: None, calibration: None, ..
            } => match least < greatest && least.is_finite() && greatest.is_finite() {
                true => Ok(Chosen::Range(least, greatest)),
                false => Err(format!("expected a range from less to more, found [{least}, {greatest}]")),
            },
            Self {
                range: None, scale: Some(scale), zero_point: Some(zero_point), calibration: None, ..
            } => match scale.is_normal() && scale > 0.0 {
                true => Ok(Chosen::Parameters(Parameters { scale, zero_point })),
                false => Err(format!("expected a scale above 0, found {scale}")),
            },
            Self { range: None, scale: None, zero_point: None, calibration: Some(name), percentile } => {
                let percent = percentile.unwrap_or(99.99);
                if !(percent > 50.0 && percent <= 100.0) {
                    return Err(format!("expected a percentile above 50 and up to 100, found {percent}"));
                }
                Ok(Chosen::Method(match name {
                    MethodName::MinMax => Method::MinMax,
                    MethodName::MovingAverage => Method::MovingAverage,
                    MethodName::Percentile => Method::Percentile(percent),
                    MethodName::Entropy => Method::Entropy,
                    MethodName::Mse => Method::MeanSquaredError,
                }))
            }
            _ => Err("expected either range, or scale and zero_point, or calibration".to_owned()),
        }
    }
}

/// Why a tensor that is there has no parameters of its own, and which one to name instead.
fn elsewhere(graph: &Graph, plan: &Plan, own: &[ValueId], value: ValueId) -> String {
    let name = |value: ValueId| &graph.value(value).name;
    if let Some(&source) = plan.range_of.get(&value) {
        return format!("it takes the range of {:?}; name that one", name(source));
    }
    match movement::origins(graph, value).as_slice() {
        &[origin] if origin != value && own.contains(&origin) => {
            format!("moved data keep their scale; name {:?}, where they come from", name(origin))
        }
        _ => "it is not quantized".to_owned(),
    }
}

fn known<'n>(
    list: &str,
    name: &str,
    what: &str,
    names: impl Iterator<Item = &'n str>,
) -> Result<(), CalibrationError> {
    let names: Vec<&str> = names.collect();
    match names.contains(&name) {
        true => Ok(()),
        false => Err(unknown(&format!("{name:?} in {list}"), what, name, names.into_iter())),
    }
}

fn unknown<'n>(
    entry: &str,
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'n str>,
) -> CalibrationError {
    let nearest = names.min_by_key(|other| distance(name, other));
    let nearest = nearest.map(|nearest| format!("; the nearest name is {nearest:?}")).unwrap_or_default();
    refused(entry, format!("no {what} has this name{nearest}"))
}

fn refused(entry: &str, reason: String) -> CalibrationError {
    CalibrationError::Override { entry: entry.to_owned(), reason }
}

/// How many characters must be added, removed or changed to get from one name to the other
/// (Levenshtein 1966; row by row).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted() {
        for (a, b, expected) in [("", "", 0), ("conv", "conv", 0), ("cnov", "conv", 2), ("relu", "relu_1", 2)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn an_activation_is_fixed_in_one_way() {
        let none = TensorOverride::default();
        let range = TensorOverride { range: Some([-1.0, 1.0]), ..none };
        assert_eq!(range.chosen(), Ok(Chosen::Range(-1.0, 1.0)));
        let parameters = TensorOverride { scale: Some(0.5), zero_point: Some(3), ..none };
        let (least, greatest, _) = parameters.chosen().unwrap().fixed().unwrap();
        assert_eq!((least, greatest), (-1.5, 126.0));
        let method = TensorOverride { calibration: Some(MethodName::Percentile), ..none };
        assert_eq!(method.chosen(), Ok(Chosen::Method(Method::Percentile(99.99))));
        for wrong in [
            none,
            TensorOverride { scale: Some(0.5), ..none },
            TensorOverride { zero_point: Some(1), ..range },
            TensorOverride { range: Some([1.0, 1.0]), ..none },
            TensorOverride { range: Some([0.0, f32::INFINITY]), ..none },
            TensorOverride { scale: Some(-0.5), ..parameters },
            TensorOverride { percentile: Some(99.0), ..range },
            TensorOverride { percentile: Some(30.0), ..method },
        ] {
            assert!(wrong.chosen().is_err(), "{wrong:?}");
        }
    }
}
