//! `onnx2int trace`: what flows through a model, image by image, to be compared bit for bit.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use onnx2int_dataset::ImageSource;
use onnx2int_evaluation::{Execution, Trace as Traced, tensor_values, trace};
use onnx2int_graph::verify;
use onnx2int_progress::Progress;
use onnx2int_runtimes::{Kernel, RuntimeKind};

use crate::arguments::Trace;
use crate::images::{self, Wanted};
use crate::{console, files};

pub(crate) fn run(arguments: &Trace) -> anyhow::Result<()> {
    let runtime = RuntimeKind::from_name(&arguments.runtime)
        .with_context(|| format!("no runtime is called {:?}", arguments.runtime))?;
    if arguments.every_kernel && runtime != RuntimeKind::Engine(None) {
        bail!("--every-kernel is for the runtime engine; {runtime} has one way to run a model");
    }
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
    let output = &arguments.output;
    if !arguments.dump.is_empty() {
        let progress = Progress::new(format!("{} in {runtime}", model.file), images.len(), "images");
        let advance = |done| progress.add(done);
        let values = tensor_values(verified, runtime, &scored, images, &arguments.dump, execution, &advance)?;
        let (path, name) = beside(output, "values.bin");
        // The elements first: a header never speaks of a file that is not there.
        files::write(&path, &values.bytes)?;
        files::write(output, values.to_json(&chosen, &name).as_bytes())?;
        console::note(format_args!("wrote {output:?} and {path:?}, {} bytes", values.bytes.len()));
        return Ok(());
    }
    let traced = |runtime, images: &dyn ImageSource| {
        let progress = Progress::new(format!("{} in {runtime}", model.file), images.len(), "images");
        trace(verified, runtime, &scored, images, execution, &|done| progress.add(done))
    };
    let trace = traced(runtime, images)?;
    if arguments.every_kernel {
        let kernels = Kernel::ALL.into_iter().filter(|kernel| kernel.is_available());
        for kernel in kernels.filter(|&kernel| kernel != Kernel::fastest()) {
            let few;
            let images = if kernel.is_portable() && chosen.len() > PORTABLE_IMAGES {
                (few, _) = Wanted { chosen: &chosen[..PORTABLE_IMAGES], ..wanted }.open(scored.images)?;
                few.as_ref()
            } else {
                images
            };
            check_same_bits(&trace, &traced(RuntimeKind::Engine(Some(kernel)), images)?)?;
            console::note(format_args!(
                "{kernel} gives the bits of {} for {} images",
                Kernel::fastest(),
                images.len()
            ));
        }
    }
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

/// What kernels without special instructions are run on, which take hundreds of times as long.
const PORTABLE_IMAGES: usize = 500;

/// Whether two kernels agree in every tensor and output of every image that the second one saw.
fn check_same_bits(expected: &Traced, found: &Traced) -> anyhow::Result<()> {
    let differs = |what: &str| {
        format!("the {what} of {} are other bits than with {}", found.runtime, Kernel::fastest())
    };
    if !expected.outputs_bytes().starts_with(&found.outputs_bytes()) {
        bail!("{}; this is a defect of onnx2int", differs("outputs"));
    }
    if !expected.digests.starts_with(&found.digests) {
        bail!("{}; this is a defect of onnx2int", differs("inner tensors"));
    }
    Ok(())
}

/// The path and the name of a file that belongs to `header`: `t.json` has `t.digests.bin`.
fn beside(header: &Path, extension: &str) -> (PathBuf, String) {
    let path = header.with_extension(extension);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    (path, name)
}
