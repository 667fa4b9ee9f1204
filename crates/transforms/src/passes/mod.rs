//! The passes, one a file, each named as its type and its command-line name.

mod add_rescaling;
mod embed_act;
mod encode_weights;
mod fold_op_scales;
mod integer_ops;
mod prune_qdq;
pub mod sanitize;
mod scale_out;
mod split_bias_add;

pub use add_rescaling::AddRescaling;
pub use embed_act::EmbedAct;
pub use encode_weights::{EncodeWeights, Encoding};
pub use fold_op_scales::FoldOpScales;
pub use integer_ops::IntegerOps;
pub use prune_qdq::PruneQdq;
pub use sanitize::Sanitize;
pub use scale_out::ScaleOut;
pub use split_bias_add::SplitBiasAdd;
