//! From a verified graph to its certificate.

use onnx2int_graph::float_tail::FloatTail;
use onnx2int_graph::infer::resolve_axis;
use onnx2int_graph::range::{self, Attained, Attainment, ChannelRange, Interval, Ranges, Side, Width};
use onnx2int_graph::{Dim, Graph, Node, Op, Source, Stage, TensorType, Value, ValueId, digest, verify_stage};

use crate::certificate::{
    AttainedRuns, Certificate, Constant, Extent, Input, Layer, LayerChannel, ModelFile, Obligation, SCHEMA,
    TensorBounds,
};
use crate::{CertificateError, CertifyError};

/// The certificate of a model that was decoded from the ONNX file `file`. Of a model with a float tail
/// it covers what is before it.
///
/// # Errors
/// A stage before `integer`, a model that breaks a rule of its stage, and tensors without elements.
pub fn certify(graph: &Graph, stage: Stage, file: ModelFile) -> Result<Certificate, CertifyError> {
    if stage < Stage::Integer {
        return Err(CertifyError::Stage { stage: stage.name() });
    }
    let rules = |source| CertifyError::Rules { source };
    verify_stage(graph, stage).map_err(rules)?;
    // Both are there if the verifier passed.
    let head = FloatTail::of(graph).ok().flatten().and_then(|tail| tail.head(graph).ok());
    let graph = head.as_ref().unwrap_or(graph);
    let verified = verify_stage(graph, stage).map_err(rules)?;
    if let Some((_, value)) = graph.values().find(|(_, value)| value.ty.shape.contains(&Dim::Fixed(0))) {
        return Err(CertifyError::Empty { tensor: value.name.clone(), found: value.ty.to_string() });
    }
    let ranges = range::analyze(verified);
    let attained = range::attained(verified, &ranges);
    let view = View { graph, ranges: &ranges, attained: &attained };
    Ok(Certificate {
        schema: SCHEMA.to_owned(),
        model: file,
        stage: stage.name().to_owned(),
        inputs: view.inputs(),
        constants: view.constants(),
        tensors: graph.nodes().filter_map(|(_, node)| view.tensor(node)).collect(),
        layers: view.layers(),
        obligations: graph.nodes().flat_map(|(_, node)| view.obligations(node)).collect(),
    })
}

impl Certificate {
    /// Whether the obligations are fulfilled by the bounds that are stated.
    ///
    /// # Errors
    /// The first one that is not.
    pub fn check_obligations(&self) -> Result<(), CertificateError> {
        match self.obligations.iter().find(|obligation| !obligation.holds()) {
            None => Ok(()),
            Some(broken) => Err(CertificateError::Inconsistent {
                entity: format!("obligation {} of node {:?}", broken.rule, broken.node),
                expected: format!("{:?} within [{}, {}]", broken.tensor, broken.least, broken.greatest),
                found: format!("[{}, {}]", broken.low, broken.high),
            }),
        }
    }
}

/// A graph and what was found of it.
struct View<'a> {
    graph: &'a Graph,
    ranges: &'a Ranges,
    attained: &'a [Option<Attainment>],
}

impl View<'_> {
    fn inputs(&self) -> Vec<Input> {
        let entry = |&id: &ValueId| {
            let value = self.graph.value(id);
            let (low, high) = self.ranges.get(id)?.hull();
            Some(Input {
                name: value.name.clone(),
                dtype: value.ty.dtype.name().to_owned(),
                shape: shape(&value.ty),
                low,
                high,
            })
        };
        self.graph.inputs().iter().filter_map(entry).collect()
    }

    fn constants(&self) -> Vec<Constant> {
        let entry = |value: &Value| match &value.source {
            Source::Constant(tensor) => Some(Constant {
                name: value.name.clone(),
                dtype: tensor.dtype().name().to_owned(),
                shape: tensor.shape().iter().map(|&extent| extent as u64).collect(),
                sha256: digest::sha256(&tensor.to_le_bytes()),
            }),
            Source::Input | Source::Node(_) => None,
        };
        let mut constants: Vec<_> = self.graph.values().filter_map(|(_, value)| entry(value)).collect();
        constants.sort_by(|a, b| a.name.cmp(&b.name));
        constants
    }

    fn tensor(&self, node: &Node) -> Option<TensorBounds> {
        let range = self.ranges.get(node.output)?;
        let attained = self.attained[node.output.index()].as_ref()?;
        let value = self.graph.value(node.output);
        let runs_of = |side: Side| runs(attained.channels.iter().map(|channel| channel[side as usize]));
        Some(TensorBounds {
            name: value.name.clone(),
            node: node.name.clone(),
            op: node.op.name().to_owned(),
            dtype: value.ty.dtype.name().to_owned(),
            shape: shape(&value.ty),
            axis: range.axis.map(|axis| axis as u64),
            lows: range.bounds.iter().map(|bound| bound.0).collect(),
            highs: range.bounds.iter().map(|bound| bound.1).collect(),
            attained: AttainedRuns { lows: runs_of(Side::Low), highs: runs_of(Side::High) },
        })
    }

    fn layers(&self) -> Vec<Layer> {
        let accumulators = self.ranges.accumulators(self.graph);
        accumulators
            .iter()
            .filter_map(|accumulator| {
                let node = self.graph.node(accumulator.node);
                let attained = self.attained[node.output.index()].as_ref()?;
                let operand = node.input(0)?;
                let hull = accumulator.range.hull();
                Some(Layer {
                    node: node.name.clone(),
                    op: node.op.name().to_owned(),
                    operand: self.graph.value(operand).name.clone(),
                    output: self.graph.value(node.output).name.clone(),
                    products: self.products(node),
                    low: hull.0,
                    high: hull.1,
                    bits: range::needed_bits(hull),
                    headroom: range::headroom(hull),
                    fits: fits(hull),
                    channels: channels(&accumulator.range, attained),
                })
            })
            .collect()
    }

    /// How many products one sum of a layer has.
    fn products(&self, node: &Node) -> u64 {
        let weights = node.input(1).map(|id| &self.graph.value(id).ty.shape);
        let extents = weights.map(|shape| match node.op {
            Op::ConvInteger(_) => &shape[1..],
            _ => &shape[shape.len() - 2..shape.len() - 1],
        });
        extents.into_iter().flatten().map(|extent| extent.fixed().unwrap_or(0) as u64).product()
    }

    /// How many indices the axis has that a Gather looks up in; at every stage that has a certificate
    /// it is known, if the index is computed.
    fn gathered_extent(&self, node: &Node, axis: i64) -> Option<i64> {
        let shape = &self.graph.operand(node, 0)?.ty.shape;
        let extent = shape.get(resolve_axis(axis, shape.len()).ok()?)?.fixed()?;
        i64::try_from(extent).ok()
    }

    fn obligations(&self, node: &Node) -> Vec<Obligation> {
        let entry = |rule: &str, tensor: Option<ValueId>, allowed: Interval| {
            let tensor = tensor?;
            let (low, high) = self.ranges.get(tensor)?.hull();
            Some(Obligation {
                rule: rule.to_owned(),
                node: node.name.clone(),
                tensor: self.graph.value(tensor).name.clone(),
                low,
                high,
                least: allowed.0,
                greatest: allowed.1,
            })
        };
        let dtype = self.graph.value(node.output).ty.dtype;
        let Some(type_range) = dtype.integer_range() else { return Vec::new() };
        let fits = match node.op.is_integer_layer() {
            true => "accumulator-fits-i32",
            false => "integer-op-fits-i32",
        };
        let mut obligations = Vec::new();
        match node.op {
            Op::Gather { axis } => {
                let index = node.input(1).filter(|&index| self.graph.value(index).constant().is_none());
                if let Some(extent) = self.gathered_extent(node, axis) {
                    obligations.extend(entry("gather-index-in-range", index, (0, extent - 1)));
                }
            }
            Op::Cast { .. } => {
                obligations.extend(entry("narrowing-cast-is-clipped", node.input(0), type_range))
            }
            Op::Div => {
                obligations.extend(entry("dividend-is-non-negative", node.input(0), (0, type_range.1)));
                obligations.extend(entry("divisor-is-positive", node.input(1), (1, type_range.1)));
            }
            _ => {}
        }
        obligations.extend(entry(fits, Some(node.output), type_range));
        obligations
    }
}

fn channels(range: &ChannelRange, attained: &Attainment) -> Vec<LayerChannel> {
    let entries = range.bounds.iter().zip(&attained.channels);
    entries
        .map(|(&bound, [low_attained, high_attained])| LayerChannel {
            low: bound.0,
            high: bound.1,
            bits: range::needed_bits(bound),
            headroom: range::headroom(bound),
            fits: fits(bound),
            low_attained: low_attained.name().to_owned(),
            high_attained: high_attained.name().to_owned(),
        })
        .collect()
}

/// The names of the widths that hold an interval.
pub(crate) fn fits(interval: Interval) -> Vec<String> {
    let widths = Width::ALL.into_iter().filter(|width| width.holds(interval));
    widths.map(|width| width.name().to_owned()).collect()
}

fn runs(attained: impl Iterator<Item = Attained>) -> Vec<(u64, String)> {
    let mut runs: Vec<(u64, String)> = Vec::new();
    for name in attained.map(Attained::name) {
        match runs.last_mut() {
            Some((count, last)) if last == name => *count += 1,
            _ => runs.push((1, name.to_owned())),
        }
    }
    runs
}

fn shape(ty: &TensorType) -> Vec<Extent> {
    let extent = |dim: &Dim| match dim {
        Dim::Fixed(extent) => Extent::Fixed(*extent as u64),
        Dim::Symbol(name) => Extent::Symbol(name.to_string()),
    };
    ty.shape.iter().map(extent).collect()
}
