//! The networks on offer, as data.

use onnx2int_conv_stack::{Layer, Shape, Stack};
use onnx2int_dataset::{CLASSES, SIDE};

/// Which network is trained. All are stacks of 3x3 convolutions with ReLU, some followed by a 2x2
/// max pooling, and one or two linear layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// The CNN of PyTorch's MNIST example: two convolutions of 32 and 64 filters, a pooling, two
    /// linear layers. 1.6 million parameters.
    #[default]
    Standard,
    /// Under 64 kB of 8-bit weights.
    Small,
    /// Under 12 kB of 8-bit weights.
    Tiny,
}

/// What an architecture is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blueprint {
    pub(crate) convolutions: &'static [Layer],
    /// What the first of two linear layers makes; none if there is only one.
    pub(crate) hidden: Option<usize>,
    /// Of 256 features, how many are dropped in training.
    pub(crate) feature_dropout: u8,
    /// Of 256 hidden activations, how many are dropped in training.
    pub(crate) hidden_dropout: u8,
}

const fn plain(filters: usize) -> Layer {
    Layer { filters, pool: false }
}

const fn pooled(filters: usize) -> Layer {
    Layer { filters, pool: true }
}

impl Architecture {
    /// Every architecture, the default one first.
    pub const ALL: [Self; 3] = [Self::Standard, Self::Small, Self::Tiny];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Small => "small",
            Self::Tiny => "tiny",
        }
    }

    pub(crate) const fn blueprint(self) -> Blueprint {
        match self {
            Self::Standard => Blueprint {
                convolutions: const { &[plain(32), pooled(64)] },
                hidden: Some(128),
                feature_dropout: 64,
                hidden_dropout: 128,
            },
            Self::Small => Blueprint {
                convolutions: const { &[plain(16), pooled(16), plain(32), pooled(32), pooled(48)] },
                hidden: None,
                feature_dropout: 32,
                hidden_dropout: 0,
            },
            Self::Tiny => Blueprint {
                convolutions: const { &[plain(8), pooled(8), plain(16), pooled(16), pooled(16)] },
                hidden: None,
                feature_dropout: 0,
                hidden_dropout: 0,
            },
        }
    }

    /// Weights and biases.
    pub fn parameters(self) -> usize {
        let stack = self.stack();
        let features = stack.output().elements();
        let linear = match self.blueprint().hidden {
            Some(hidden) => (features + 1) * hidden + (hidden + 1) * CLASSES,
            None => (features + 1) * CLASSES,
        };
        stack.parameters() + linear
    }

    /// The convolutions with what belongs to them.
    pub(crate) fn stack(self) -> Stack {
        let input = Shape { channels: 1, height: SIDE, width: SIDE };
        Stack::new(input, self.blueprint().convolutions)
            .expect("the images are large enough for every blueprint")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fits_where_it_says() {
        assert_eq!(Architecture::Standard.parameters(), 1_625_866);
        assert!(Architecture::Small.parameters() < 64_000);
        assert!(Architecture::Tiny.parameters() < 12_000);
    }
}
