//! `onnx2int inspect`: a model as text.

use crate::arguments::Inspect;
use crate::{console, files};

pub(crate) fn run(arguments: &Inspect) -> anyhow::Result<()> {
    let model = files::read_model(&arguments.model)?;
    let text = if arguments.full { model.graph.to_full_text() } else { model.graph.to_text() };
    Ok(console::print(text)?)
}
