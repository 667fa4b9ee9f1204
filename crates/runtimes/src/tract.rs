//! Sessions of tract: the graph as ONNX bytes, parsed once, optimized once for each set of input
//! shapes.
//!
//! Tract plans a graph of known shapes better than one with a symbolic batch, so that a session
//! keeps a plan for each of the last few input shapes it has seen. Evaluation meets two: full
//! batches and the rest.

use std::sync::{Arc, Mutex, PoisonError};

use onnx2int_graph::{Graph, Tensor, TensorType};
use onnx2int_onnx_format::encode;
use tract_onnx::prelude::{
    Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, IntoTValue, TVec, TractResult,
    TypedRunnableModel,
};

use crate::convert::{from_tract, to_tract, to_tract_dtype};
use crate::kernels;
use crate::prepare::verified;
use crate::{RuntimeError, Session};

/// Plans kept. Each holds its own packed copy of the weights.
const KEPT_PLANS: usize = 4;

type Plan = Arc<TypedRunnableModel>;
type Shapes = Vec<Vec<usize>>;

/// A graph that tract has parsed, and its plans.
pub(crate) struct TractSession {
    graph_name: String,
    model: InferenceModel,
    /// Name and declared type of each output.
    outputs: Vec<(String, TensorType)>,
    /// The last used comes last.
    plans: Mutex<Vec<(Shapes, Plan)>>,
}

impl TractSession {
    pub(crate) fn new(graph: Graph) -> Result<Self, RuntimeError> {
        kernels::prefer_fast_integer_products();
        let bytes = encode(verified(&graph)?);
        // Our files declare shapes with a symbolic batch, which tract would hold against the batch
        // it is given.
        let model = tract_onnx::onnx()
            .with_ignore_value_info(true)
            .with_ignore_output_shapes(true)
            .model_for_read(&mut bytes.as_slice())
            .map_err(|error| RuntimeError::TractPrepare {
                graph: graph.name().to_owned(),
                shapes: Shapes::new(),
                message: format!("{error:#}"),
            })?;
        let outputs = graph
            .outputs()
            .iter()
            .map(|&id| (graph.value(id).name.clone(), graph.value(id).ty.clone()))
            .collect();
        Ok(Self { graph_name: graph.name().to_owned(), model, outputs, plans: Mutex::default() })
    }

    /// The plan for inputs like these. A second thread that asks for a plan in the making waits
    /// for it.
    fn plan(&self, inputs: &[Tensor]) -> Result<Plan, RuntimeError> {
        let shapes: Shapes = inputs.iter().map(|input| input.shape().to_vec()).collect();
        // A panic elsewhere leaves the list as it was, so that it stays usable.
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match plans.iter().position(|(known, _)| *known == shapes) {
            Some(position) => plans.remove(position),
            None => {
                let plan = self.new_plan(inputs).map_err(|error| RuntimeError::TractPrepare {
                    graph: self.graph_name.clone(),
                    shapes: shapes.clone(),
                    message: format!("{error:#}"),
                })?;
                if plans.len() == KEPT_PLANS {
                    plans.remove(0);
                }
                (shapes, plan)
            }
        };
        let plan = Arc::clone(&entry.1);
        plans.push(entry);
        Ok(plan)
    }

    fn new_plan(&self, inputs: &[Tensor]) -> TractResult<Plan> {
        let mut model = self.model.clone();
        for (position, input) in inputs.iter().enumerate() {
            let fact = InferenceFact::dt_shape(to_tract_dtype(input.dtype()), input.shape());
            model.set_input_fact(position, fact)?;
        }
        // Optimized, not only for speed: without it tract rounds integer sums beyond 2^24.
        model.into_optimized()?.into_runnable()
    }
}

impl Session for TractSession {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        let failed =
            |error| RuntimeError::TractRun { graph: self.graph_name.clone(), message: format!("{error:#}") };
        let plan = self.plan(inputs)?;
        let inputs = inputs
            .iter()
            .map(|input| to_tract(input).map(IntoTValue::into_tvalue))
            .collect::<TractResult<TVec<_>>>()
            .map_err(failed)?;
        let results = plan.run(inputs).map_err(failed)?;
        self.outputs
            .iter()
            .zip(&results)
            .map(|((name, ty), result)| {
                let tensor = from_tract(result, ty.dtype).ok().filter(|tensor| fits(tensor.shape(), ty));
                tensor.ok_or_else(|| RuntimeError::TractResult {
                    value: name.clone(),
                    expected: Box::new(ty.clone()),
                    found: format!("{:?} of shape {:?}", result.datum_type(), result.shape()),
                })
            })
            .collect()
    }
}

/// Whether a shape has the rank and the fixed extents of a type.
fn fits(shape: &[usize], ty: &TensorType) -> bool {
    shape.len() == ty.rank()
        && shape.iter().zip(&ty.shape).all(|(&found, dim)| dim.fixed().is_none_or(|extent| extent == found))
}
