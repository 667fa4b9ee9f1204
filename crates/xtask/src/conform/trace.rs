//! Reading what `onnx2int trace` and `scripts/trace_onnx.py` wrote.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::digest;

const TRACE_SCHEMA: &str = "onnx2int-trace/1";
const VALUES_SCHEMA: &str = "onnx2int-values/1";

/// The bytes of a digest.
pub(crate) const DIGEST_BYTES: usize = 8;

/// What flowed through a model in a runtime.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace {
    pub header: TraceHeader,
    /// `[images, tensors, 8]`.
    pub digests: Vec<u8>,
    /// `[images, classes]`.
    pub outputs: Outputs,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct TraceHeader {
    schema: String,
    pub file: String,
    /// SHA-256 of the model's file.
    pub digest: String,
    pub runtime: String,
    pub runtime_version: String,
    /// Whether digests come from a file with more outputs than the one whose raw outputs these are.
    pub observed_apart: bool,
    pub images: usize,
    /// SHA-256 of the images' pixels.
    pub images_digest: String,
    pub tensors: Vec<Tensor>,
    pub left_out: Vec<LeftOut>,
    outputs: Sidecar,
    digests: Sidecar,
}

/// A tensor that a node computes for every image.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Tensor {
    pub name: String,
    pub node: String,
    pub op: String,
    pub dtype: String,
    /// For one image.
    pub shape: Vec<usize>,
}

/// An integer tensor that is not observed.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct LeftOut {
    pub name: String,
    pub reason: String,
}

/// Raw outputs, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outputs {
    F32(Vec<f32>),
    I32(Vec<i32>),
}

/// The elements of some tensors for some images.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Values {
    /// Positions among the test images.
    pub images: Vec<usize>,
    pub tensors: Vec<Tensor>,
    /// For each image one tensor after the other.
    pub bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct ValuesHeader {
    schema: String,
    images: Vec<usize>,
    tensors: Vec<Tensor>,
    values: Sidecar,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Sidecar {
    /// In the folder of the header.
    file: String,
    dtype: String,
    shape: Vec<usize>,
    sha256: String,
}

impl Trace {
    /// Reads a header and what belongs to it, and checks that they fit.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let header: TraceHeader = read_header(path)?;
        check_schema(path, &header.schema, TRACE_SCHEMA)?;
        let (images, tensors) = (header.images, header.tensors.len());
        let digests = header.digests.read(path, 1)?;
        if header.digests.shape != [images, tensors, DIGEST_BYTES] {
            bail!("{path:?}: digests of shape {:?}, expected one a tensor and image", header.digests.shape);
        }
        let bytes = header.outputs.read(path, 4)?;
        if header.outputs.shape.len() != 2 || header.outputs.shape[0] != images {
            bail!("{path:?}: outputs of shape {:?}, expected a row for each image", header.outputs.shape);
        }
        let words = bytes.as_chunks::<4>().0.iter();
        let outputs = match header.outputs.dtype.as_str() {
            "f32" => Outputs::F32(words.map(|&word| f32::from_le_bytes(word)).collect()),
            "i32" => Outputs::I32(words.map(|&word| i32::from_le_bytes(word)).collect()),
            other => bail!("{path:?}: raw outputs of type {other:?}; expected f32 or i32"),
        };
        Ok(Self { header, digests, outputs })
    }

    /// The digest of a tensor for an image.
    pub(crate) fn digest(&self, image: usize, tensor: usize) -> &[u8] {
        let start = (image * self.header.tensors.len() + tensor) * DIGEST_BYTES;
        &self.digests[start..start + DIGEST_BYTES]
    }

    /// The number of outputs of an image.
    pub(crate) fn classes(&self) -> usize {
        self.outputs.len() / self.header.images.max(1)
    }
}

impl Outputs {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I32(values) => values.len(),
        }
    }
}

impl Tensor {
    /// The bytes of its elements for one image.
    pub(crate) fn bytes(&self) -> anyhow::Result<usize> {
        Ok(self.shape.iter().product::<usize>() * element_size(&self.dtype)?)
    }
}

/// The bytes of an element.
pub(crate) fn element_size(dtype: &str) -> anyhow::Result<usize> {
    match dtype {
        "u8" | "i8" => Ok(1),
        "i32" => Ok(4),
        "i64" => Ok(8),
        other => bail!("tensors of type {other:?} cannot be compared; expected u8, i8, i32 or i64"),
    }
}

impl Values {
    /// Reads a header and the elements that belong to it, and checks that they fit.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let header: ValuesHeader = read_header(path)?;
        check_schema(path, &header.schema, VALUES_SCHEMA)?;
        let bytes = header.values.read(path, 1)?;
        let record: usize = header.tensors.iter().map(Tensor::bytes).sum::<anyhow::Result<usize>>()?;
        if bytes.len() != header.images.len() * record {
            bail!("{path:?}: {} bytes for {} images of {record} bytes", bytes.len(), header.images.len());
        }
        Ok(Self { images: header.images, tensors: header.tensors, bytes })
    }
}

impl Sidecar {
    fn read(&self, header: &Path, size: usize) -> anyhow::Result<Vec<u8>> {
        let path = header.with_file_name(&self.file);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {path:?}"))?;
        let expected = self.shape.iter().product::<usize>() * size;
        if bytes.len() != expected || digest::of_bytes(&bytes) != self.sha256 {
            bail!("{path:?} is not what {header:?} says: {} bytes, expected {expected}", bytes.len());
        }
        Ok(bytes)
    }
}

fn read_header<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<T> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {path:?}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{path:?} is not the header of a trace"))
}

fn check_schema(path: &Path, found: &str, expected: &str) -> anyhow::Result<()> {
    if found != expected {
        bail!("{path:?} has schema {found:?}, expected {expected:?}");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A trace of made-up tensors: `digests` has a row for each image, with a byte that stands for each digest.
    pub(crate) fn made_up(
        runtime: &str,
        tensors: &[(&str, &str, &str)],
        digests: &[&[u8]],
        outputs: Outputs,
    ) -> Trace {
        let tensors: Vec<Tensor> = tensors
            .iter()
            .map(|&(name, op, dtype)| Tensor {
                name: name.to_owned(),
                node: format!("{name}_node"),
                op: op.to_owned(),
                dtype: dtype.to_owned(),
                shape: vec![2],
            })
            .collect();
        let sidecar =
            || Sidecar { file: String::new(), dtype: String::new(), shape: vec![], sha256: String::new() };
        let header = TraceHeader {
            schema: TRACE_SCHEMA.to_owned(),
            file: "m.onnx".to_owned(),
            digest: "m0".to_owned(),
            runtime: runtime.to_owned(),
            runtime_version: "1".to_owned(),
            observed_apart: false,
            images: digests.len(),
            images_digest: format!("{} images", digests.len()),
            tensors,
            left_out: vec![],
            outputs: sidecar(),
            digests: sidecar(),
        };
        let digests =
            digests.iter().flat_map(|row| row.iter().flat_map(|&byte| [byte; DIGEST_BYTES])).collect();
        Trace { header, digests, outputs }
    }

    #[test]
    fn files_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        let digests = [7u8; 2 * DIGEST_BYTES];
        let outputs: Vec<u8> = [1i32, -2, 3, 4].iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(folder.path().join("t.digests.bin"), digests).unwrap();
        fs::write(folder.path().join("t.outputs.bin"), &outputs).unwrap();
        let header = json!({
            "schema": TRACE_SCHEMA, "file": "m.onnx", "digest": "00", "runtime": "tract", "runtime_version": "1",
            "observed_apart": true, "images": 2, "images_digest": "11", "left_out": [],
            "tensors": [{ "name": "a", "node": "n", "op": "Add", "dtype": "i32", "shape": [3] }],
            "digests": { "file": "t.digests.bin", "dtype": "u8", "shape": [2, 1, 8], "sha256": digest::of_bytes(&digests) },
            "outputs": { "file": "t.outputs.bin", "dtype": "i32", "shape": [2, 2], "sha256": digest::of_bytes(&outputs) },
        });
        fs::write(&path, header.to_string()).unwrap();
        let trace = Trace::read(&path).unwrap();
        assert_eq!((trace.outputs.clone(), trace.classes()), (Outputs::I32(vec![1, -2, 3, 4]), 2));
        assert_eq!(trace.digest(1, 0), [7; 8]);

        let changes = [
            ("/schema", json!("onnx2int-trace/2"), "has schema"),
            ("/digests/shape", json!([2, 2, 8]), "16 bytes, expected 32"),
            ("/digests/sha256", json!("00"), "is not what"),
            ("/outputs/dtype", json!("u8"), "raw outputs of type"),
            ("/images", json!(3), "expected one a tensor and image"),
        ];
        for (pointer, value, message) in changes {
            let mut other = header.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            fs::write(&path, other.to_string()).unwrap();
            let found = format!("{:#}", Trace::read(&path).unwrap_err());
            assert!(found.contains(message), "{pointer}: {found}");
        }
    }

    #[test]
    fn elements_that_are_cut_short_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.json");
        let bytes = [1u8; 14];
        fs::write(folder.path().join("v.values.bin"), bytes).unwrap();
        let header = |images: &[usize]| {
            json!({
                "schema": VALUES_SCHEMA, "images": images,
                "tensors": [
                    { "name": "a", "node": "n", "op": "Add", "dtype": "i32", "shape": [1] },
                    { "name": "b", "node": "q", "op": "Cast", "dtype": "u8", "shape": [3] },
                ],
                "values": { "file": "v.values.bin", "dtype": "u8", "shape": [14], "sha256": digest::of_bytes(&bytes) },
            })
        };
        fs::write(&path, header(&[4, 9]).to_string()).unwrap();
        assert_eq!(Values::read(&path).unwrap().images, [4, 9]);
        fs::write(&path, header(&[4]).to_string()).unwrap();
        assert!(format!("{:#}", Values::read(&path).unwrap_err()).contains("1 images of 7 bytes"));
    }
}
