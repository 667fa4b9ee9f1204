//! A trace as three files: a JSON header that people and scripts read, and digests and raw outputs beside it.
//!
//! ```text
//! digests = numpy.fromfile(file, "u1").reshape(images, tensors, 8)
//! outputs = numpy.fromfile(file, "<i4").reshape(images, classes)       # "<f4" where dtype is f32
//! ```

use serde::Serialize;

use super::digest::DIGEST_BYTES;
use super::{LeftOut, TensorValues, Trace, TracedTensor};
use onnx2int_graph::digest::sha256;

use crate::json_text::to_json;

/// The schema of a trace's header.
pub const TRACE_SCHEMA: &str = "onnx2int-trace/1";

/// The schema of the header of tensors' elements.
pub const VALUES_SCHEMA: &str = "onnx2int-values/1";

#[derive(Serialize)]
struct TraceHeader<'a> {
    schema: &'static str,
    stage: Option<&'static str>,
    file: &'a str,
    /// SHA-256 of the model's file.
    digest: &'a str,
    runtime: &'static str,
    runtime_version: &'a str,
    /// Whether digests come from a second run, of the file with every observed tensor made an output.
    observed_apart: bool,
    images: usize,
    /// SHA-256 of the images' pixels.
    images_digest: &'a str,
    outputs: Sidecar<'a>,
    digests: Sidecar<'a>,
    tensors: &'a [TracedTensor],
    left_out: &'a [LeftOut],
}

#[derive(Serialize)]
struct ValuesHeader<'a> {
    schema: &'static str,
    file: &'a str,
    digest: &'a str,
    runtime: &'static str,
    runtime_version: &'a str,
    /// Positions among the test images, in the order of the records.
    images: &'a [usize],
    tensors: &'a [TracedTensor],
    values: Sidecar<'a>,
}

/// A file of nothing but elements, row-major and little-endian, in the folder of the header.
#[derive(Serialize)]
struct Sidecar<'a> {
    file: &'a str,
    dtype: &'static str,
    shape: Vec<usize>,
    sha256: String,
}

impl Trace {
    /// The header, whose digests and raw outputs are in files of these names.
    pub fn to_json(&self, digests_file: &str, outputs_file: &str) -> String {
        let images = self.outputs.shape()[0];
        to_json(&TraceHeader {
            schema: TRACE_SCHEMA,
            stage: self.model.stage.map(|stage| stage.name()),
            file: &self.model.file,
            digest: &self.model.digest,
            runtime: self.runtime.name(),
            runtime_version: self.runtime.version(),
            observed_apart: self.runtime.optimizes(),
            images,
            images_digest: &self.images_digest,
            outputs: Sidecar {
                file: outputs_file,
                dtype: self.outputs.dtype().name(),
                shape: self.outputs.shape().to_vec(),
                sha256: sha256(&self.outputs_bytes()),
            },
            digests: Sidecar {
                file: digests_file,
                dtype: "u8",
                shape: vec![images, self.tensors.len(), DIGEST_BYTES],
                sha256: sha256(&self.digests),
            },
            tensors: &self.tensors,
            left_out: &self.left_out,
        })
    }

    /// The contents of the file of raw outputs.
    pub fn outputs_bytes(&self) -> Vec<u8> {
        self.outputs.to_le_bytes()
    }
}

impl TensorValues {
    /// The header, whose elements are in a file of this name; `images` are the positions that the user asked for.
    pub fn to_json(&self, images: &[usize], values_file: &str) -> String {
        to_json(&ValuesHeader {
            schema: VALUES_SCHEMA,
            file: &self.model.file,
            digest: &self.model.digest,
            runtime: self.runtime.name(),
            runtime_version: self.runtime.version(),
            images,
            tensors: &self.tensors,
            values: Sidecar {
                file: values_file,
                dtype: "u8",
                shape: vec![images.len(), self.bytes.len() / images.len().max(1)],
                sha256: sha256(&self.bytes),
            },
        })
    }
}
