//! `onnx2int trace`: what flows through a model, image by image, to be compared bit for bit.

use std::path::{Path, PathBuf};

use anyhow::Context;
use onnx2int_evaluation::{Execution, tensor_values, trace};
use onnx2int_graph::verify;
use onnx2int_progress::Progress;
use onnx2int_runtimes::RuntimeKind;

use crate::arguments::Trace;
use crate::images::{self, Wanted};
use crate::{console, files};

pub(crate) fn run(arguments: &Trace) -> anyhow::Result<()> {
    let runtime = RuntimeKind::from_name(&arguments.runtime)
        .with_context(|| format!("no runtime is called {:?}", arguments.runtime))?;
    files::check_writable(&arguments.output)?;
    let model = files::read_model(&arguments.model)?;
    let scored = images::scored(&model, &arguments.preprocessing)?;
    let verified = verify(&model.graph)?;
    let wanted = Wanted {
        data: &arguments.data,
        source: &arguments.source,
        labels: None,
        first: arguments.first,
        chosen: &arguments.image,
    };
    let (images, chosen) = wanted.open(scored.images)?;
    let images = images.as_ref();
    let execution = Execution { batch: usize::from(arguments.batch), threads: arguments.threads.count() };
    let progress = Progress::new(format!("{} in {runtime}", model.file), images.len(), "images");
    let advance = |done| progress.add(done);

    let output = &arguments.output;
    if !arguments.dump.is_empty() {
        let values = tensor_values(verified, runtime, &scored, images, &arguments.dump, execution, &advance)?;
        let (path, name) = beside(output, "values.bin");
        // The elements first: a header never speaks of a file that is not there.
        files::write(&path, &values.bytes)?;
        files::write(output, values.to_json(&chosen, &name).as_bytes())?;
        console::note(format_args!("wrote {output:?} and {path:?}, {} bytes", values.bytes.len()));
        return Ok(());
    }
    let trace = trace(verified, runtime, &scored, images, execution, &advance)?;
    let (digests_path, digests_name) = beside(output, "digests.bin");
    let (outputs_path, outputs_name) = beside(output, "outputs.bin");
    files::write(&digests_path, &trace.digests)?;
    files::write(&outputs_path, &trace.outputs_bytes())?;
    files::write(output, trace.to_json(&digests_name, &outputs_name).as_bytes())?;
    console::note(format_args!(
        "wrote {output:?}: {} tensors of {} images in {runtime}",
        trace.tensors.len(),
        images.len()
    ));
    Ok(())
}

/// The path and the name of a file that belongs to `header`: `t.json` has `t.digests.bin`.
fn beside(header: &Path, extension: &str) -> (PathBuf, String) {
    let path = header.with_extension(extension);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    (path, name)
}
