//! What the transforms tell of their work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What one transform did. A record that the transforms crate writes as JSON reads as this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransformRecord {
    /// The name of the stage that it made.
    pub stage: String,
    /// Its name on the command line.
    pub transform: String,
    /// The places that it changed, in order.
    pub sites: Vec<SiteRecord>,
    /// Whatever else its record has beside these entries (the numeric probe, for one): kept in
    /// `report.json`, not rendered.
    #[serde(flatten)]
    pub details: BTreeMap<String, Value>,
}

/// A place that a transform changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteRecord {
    /// The node's name.
    pub node: String,
    /// One sentence: what was done.
    pub change: String,
    /// Numbers that come with it.
    #[serde(default)]
    pub notes: Vec<NoteRecord>,
    /// Of a rescale: the error bound of each channel. A report has them as
    /// [`super::Report::rescale_bounds`].
    #[serde(default, skip_serializing)]
    pub error_bounds: Vec<f64>,
}

/// A number that comes with a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoteRecord {
    /// What it is, with its unit.
    pub name: String,
    /// The number.
    pub value: f64,
}

/// How far the integer rescale of one layer can be off.
///
/// Before its last rounding a rescale is within the bound of the exact real result. Rounded half up
/// the two differ by at most [`RescaleBound::units`], and only where the exact result lies within
/// the bound of a rounding boundary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RescaleBound {
    /// The layer's name.
    pub layer: String,
    /// The bound of each channel, in units of the layer's output; one if all channels share it.
    pub errors: Vec<f64>,
}

impl RescaleBound {
    /// By how many output units an error bound can move a rounded result: 1 up to a bound of 1.
    pub fn units(error_bound: f64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a bound is not negative"
        )]
        let units = error_bound.ceil() as u64;
        units.max(1)
    }

    /// The channel with the largest bound and that bound, if there is a channel.
    pub fn largest(&self) -> Option<(usize, f64)> {
        self.errors.iter().copied().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best })
    }
}
