//! The passes in order.

use onnx2int_graph::Stage;

use crate::Transform;
use crate::passes::{
    AddRescaling, EmbedAct, FoldOpScales, IntegerOps, PruneQdq, Sanitize, ScaleOut, SplitBiasAdd,
};

/// What a user may ask of the passes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// The scale that `add-rescaling` gives the input; none: the input quantizer's own.
    pub scale: Option<f32>,
    /// The zero point that `add-rescaling` gives the input; none: the input quantizer's own.
    pub zero_point: Option<u8>,
    /// The bits of the multipliers of `scale-out`; none: the most that there are.
    pub mantissa_bits: Option<u32>,
}

/// The transform that makes a stage; none for the two stages that are not made by one.
pub fn transform_for(stage: Stage, options: &Options) -> Option<Box<dyn Transform>> {
    match stage {
        Stage::Float | Stage::Quantized => None,
        Stage::Sanitized => Some(Box::new(Sanitize)),
        Stage::Rescaled => {
            Some(Box::new(AddRescaling { scale: options.scale, zero_point: options.zero_point }))
        }
        Stage::Activations => Some(Box::new(EmbedAct)),
        Stage::Pruned => Some(Box::new(PruneQdq)),
        Stage::Folded => Some(Box::new(FoldOpScales)),
        Stage::Split => Some(Box::new(SplitBiasAdd)),
        Stage::Integer => Some(Box::new(IntegerOps)),
        Stage::ScaleOut => Some(Box::new(match options.mantissa_bits {
            Some(mantissa_bits) => ScaleOut { mantissa_bits },
            None => ScaleOut::default(),
        })),
    }
}

/// Every transform, in the order in which they run.
pub fn pipeline(options: &Options) -> Vec<Box<dyn Transform>> {
    Stage::ALL.into_iter().filter_map(|stage| transform_for(stage, options)).collect()
}
