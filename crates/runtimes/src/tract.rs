//! Sessions of tract: the graph as ONNX bytes, parsed once, optimized once for each set of input
//! shapes.
//!
//! Tract plans a graph of known shapes better than one with a symbolic batch, so that a session
//! keeps a plan for each of the last few input shapes it has seen. Evaluation meets two: full
//! batches and the rest.
//!
//! Tract checks much of a graph by assertions, so that a panic inside it is caught and told as its
//! refusal.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use onnx2int_graph::{Graph, Tensor, TensorType};
use onnx2int_onnx_format::encode;
use tract_onnx::prelude::{
    Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, IntoTValue, TVec, TractResult,
    TypedRunnableModel,
};
use tract_onnx::tract_core::internal::anyhow;

use crate::convert::{from_tract, to_tract, to_tract_dtype};
use crate::kernels;
use crate::prepare::verified;
use crate::{RuntimeError, Session};

/// Plans kept. Each holds its own packed copy of the weights.
const KEPT_PLANS: usize = 4;

type Plan = Arc<TypedRunnableModel>;
type Shapes = Vec<Vec<usize>>;

/// What tract does to a graph before it runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plans {
    /// All it can.
    Optimized,
    /// Nothing beyond what its types ask for: neither decluttered nor optimized.
    Plain,
}

/// A graph that tract has parsed, and its plans.
pub(crate) struct TractSession {
    graph_name: String,
    model: InferenceModel,
    kind: Plans,
    /// Name and declared type of each output.
    outputs: Vec<(String, TensorType)>,
    /// The last used comes last.
    plans: Mutex<Vec<(Shapes, Plan)>>,
}

impl TractSession {
    pub(crate) fn new(graph: Graph, kind: Plans) -> Result<Self, RuntimeError> {
        kernels::prefer_fast_integer_products();
        let bytes = encode(verified(&graph)?);
        // Our files declare shapes with a symbolic batch, which tract would hold against the batch
        // it is given.
        let parse = || {
            tract_onnx::onnx()
                .with_ignore_value_info(true)
                .with_ignore_output_shapes(true)
                .model_for_read(&mut bytes.as_slice())
        };
        let model = caught(parse).map_err(|error| RuntimeError::TractPrepare {
            graph: graph.name().to_owned(),
            shapes: Shapes::new(),
            message: format!("{error:#}"),
        })?;
        let outputs = graph
            .outputs()
            .iter()
            .map(|&id| (graph.value(id).name.clone(), graph.value(id).ty.clone()))
            .collect();
        Ok(Self { graph_name: graph.name().to_owned(), model, kind, outputs, plans: Mutex::default() })
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
                let plan = caught(|| self.new_plan(inputs)).map_err(|error| RuntimeError::TractPrepare {
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
        match self.kind {
            // Not only for speed: without it tract rounds integer sums beyond 2^24.
            Plans::Optimized => model.into_optimized()?.into_runnable(),
            Plans::Plain => model.into_typed()?.into_runnable(),
        }
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
        let results = caught(|| plan.run(inputs)).map_err(failed)?;
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

/// What `work` gives, a panic in it told as an error. The work changes nothing that outlives it.
fn caught<T>(work: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(anyhow!("{}", panic_message(&*panic))))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.as_deref().unwrap_or("without a message"))
}

/// Whether a shape has the rank and the fixed extents of a type.
fn fits(shape: &[usize], ty: &TensorType) -> bool {
    shape.len() == ty.rank()
        && shape.iter().zip(&ty.shape).all(|(&found, dim)| dim.fixed().is_none_or(|extent| extent == found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let index = std::hint::black_box(7);
        let error = caught(|| Ok([1, 2][index])).unwrap_err();
        assert!(error.to_string().starts_with("panicked: index out of bounds"), "{error}");
        let error = caught::<()>(|| std::panic::panic_any(3)).unwrap_err();
        assert_eq!(error.to_string(), "panicked: without a message");
        assert_eq!(caught(|| Ok(5)).unwrap(), 5);
    }
}
