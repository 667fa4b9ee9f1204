//! A proof, as plain data, that an integer graph cannot overflow, and inputs that try to falsify it.
//!
//! A [`Certificate`] holds every bound of the range analysis of a model of stage `integer` or
//! `scale_out`, digests of what the bounds rest on, and the obligations that they fulfill: that no
//! sum leaves i32, partial sums included, that no narrowing Cast drops bits, that no division
//! meets a negative number. Whoever distrusts this program computes the bounds anew from the ONNX file, as
//! `scripts/check_certificate.py` does, which shares no code with it. `SCHEMA.md` beside this
//! crate's manifest describes the file.
//!
//! [`certify`] makes a certificate, [`Certificate::to_json`] writes it, the same bytes on every run,
//! [`Certificate::from_json`] reads one that may come from anywhere, and [`Certificate::difference`]
//! finds where two of them part.
//!
//! [`LayerWitnesses`] are inputs that take the accumulators of a layer to their extremes. Where the
//! certificate calls a bound attained they must meet it exactly, in any correct runtime.

mod certificate;
mod certify;
mod difference;
mod error;
mod json;
mod witness;

pub use certificate::{
    AttainedRuns, Certificate, Constant, Extent, Input, Layer, LayerChannel, ModelFile, Obligation, SCHEMA,
    TensorBounds,
};
pub use certify::certify;
pub use difference::Difference;
pub use error::{CertificateError, CertifyError, WitnessError};
pub use witness::{LayerWitnesses, Witness};
