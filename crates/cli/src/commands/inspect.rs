//! `onnx2int inspect`: a model as text.

use onnx2int_graph::verify;
use onnx2int_runtimes::engine_plan;

use crate::arguments::Inspect;
use crate::{console, files};

pub(crate) fn run(arguments: &Inspect) -> anyhow::Result<()> {
    let model = files::read_model(&arguments.model)?;
    let text = match (arguments.plan, arguments.full) {
        (true, _) => engine_plan(verify(&model.graph)?)?,
        (false, true) => model.graph.to_full_text(),
        (false, false) => model.graph.to_text(),
    };
    Ok(console::print(text)?)
}
