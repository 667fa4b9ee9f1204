//! The stages between a float network and its integer-only graph.
//!
//! This table drives file names, the command line, the report and the documentation.

use std::fmt;

/// How a stage's outputs relate to those of the stage before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Nothing comes before.
    Origin,
    /// Judged by accuracy on the test set only.
    Accuracy,
    /// The same class for every input.
    SameArgmax,
    /// The same outputs, bit for bit.
    SameBits,
    /// The same real function; float kernels may round differently.
    SameFunction,
    /// The same real function but for a rescale that is off by at most one unit, and only near
    /// a rounding boundary.
    WithinOneUnit,
}

impl Relation {
    /// A phrase for reports and help texts.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Origin => "the float network",
            Self::Accuracy => "judged by accuracy",
            Self::SameArgmax => "same argmax",
            Self::SameBits => "same bits",
            Self::SameFunction => "same real function",
            Self::WithinOneUnit => "rescale within one unit",
        }
    }
}

/// One of the ten stages, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The float network.
    Float,
    /// 8-bit weights and activations in QDQ form.
    Quantized,
    /// Constants folded, casts that do nothing and a trailing softmax removed.
    Sanitized,
    /// The input is uint8; preprocessing is a `DequantizeLinear`.
    Rescaled,
    /// Every implied Relu is explicit.
    Activations,
    /// No quantize/dequantize pair that only moves data.
    Pruned,
    /// Input, weight and bias scales are 1.
    Folded,
    /// Every bias is an `Add` of its own.
    Split,
    /// Integer convolutions and products, float output quantizers.
    Integer,
    /// Integers only.
    ScaleOut,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 10] = [
        Self::Float,
        Self::Quantized,
        Self::Sanitized,
        Self::Rescaled,
        Self::Activations,
        Self::Pruned,
        Self::Folded,
        Self::Split,
        Self::Integer,
        Self::ScaleOut,
    ];

    /// The position in [`Stage::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name used by the command line, reports and model metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Quantized => "quantized",
            Self::Sanitized => "sanitized",
            Self::Rescaled => "rescaled",
            Self::Activations => "activations",
            Self::Pruned => "pruned",
            Self::Folded => "folded",
            Self::Split => "split",
            Self::Integer => "integer",
            Self::ScaleOut => "scale_out",
        }
    }

    /// The subcommand that makes this stage: `train`, `quantize`, or a transform's name.
    pub const fn made_by(self) -> &'static str {
        match self {
            Self::Float => "train",
            Self::Quantized => "quantize",
            Self::Sanitized => "sanitize",
            Self::Rescaled => "add-rescaling",
            Self::Activations => "embed-act",
            Self::Pruned => "prune-qdq",
            Self::Folded => "fold-op-scales",
            Self::Split => "split-bias-add",
            Self::Integer => "integer-ops",
            Self::ScaleOut => "scale-out",
        }
    }

    /// What holds between this stage and the one before.
    pub const fn relation(self) -> Relation {
        match self {
            Self::Float => Relation::Origin,
            Self::Quantized => Relation::Accuracy,
            Self::Sanitized => Relation::SameArgmax,
            Self::Rescaled
            | Self::Activations
            | Self::Pruned
            | Self::Folded
            | Self::Split
            | Self::Integer => Relation::SameFunction,
            Self::ScaleOut => Relation::WithinOneUnit,
        }
    }

    /// The stage before, unless this is the first.
    pub const fn previous(self) -> Option<Self> {
        match self.index().checked_sub(1) {
            Some(index) => Some(Self::ALL[index]),
            None => None,
        }
    }

    /// The file of this stage of the model `stem`: `mnist_cnn_folded.onnx`; the float stage is
    /// `mnist_cnn.onnx`.
    pub fn file_name(self, stem: &str) -> String {
        match self {
            Self::Float => format!("{stem}.onnx"),
            _ => format!("{stem}_{}.onnx", self.name()),
        }
    }

    /// The stage of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
