//! How far a count of right images can be trusted, alone and against another count on the same
//! images.

mod accuracy;
mod paired_test;

pub use accuracy::{Accuracy, wilson_interval};
pub use paired_test::{PairedTest, Verdict};
