//! Tensors in `.npy` files.

use std::path::Path;

use anyhow::Context;
use onnx2int_dataset::npy;
use onnx2int_graph::Tensor;

use crate::files;

/// Reads a tensor; see [`npy::decode`] for what is understood.
pub(crate) fn read(path: &Path) -> anyhow::Result<Tensor> {
    npy::decode(&files::read(path)?).with_context(|| format!("cannot read the tensor {path:?}"))
}

/// Writes a tensor; all of it or nothing.
pub(crate) fn write(path: &Path, tensor: &Tensor) -> anyhow::Result<()> {
    files::write(path, &npy::encode(tensor))
}
