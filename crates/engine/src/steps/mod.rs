//! What the engine can do in one call, each over [`crate::lanes::Lanes`] or on plain bytes.

pub(crate) mod depthwise;
pub(crate) mod layer;
pub(crate) mod simple;
