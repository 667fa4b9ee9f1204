//! What a stack is, and its two passes over a batch.

use pulp::Arch;
use rayon::prelude::*;

use crate::backward::BackwardGroup;
use crate::forward::ForwardGroup;
use crate::pack::Packed;
use crate::tape::Tape;

/// Channels are stored in blocks of this many, a multiple of every vector's width. A constant lets
/// the compiler see that a pixel's channels are where the kernels look for them.
pub(crate) const BLOCK: usize = 16;

/// A block of channels at one pixel, where a vector can be read and written at once.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Block(pub(crate) [f32; BLOCK]);

/// Images that one task works on. Fixed, so that sums do not depend on the number of threads; small,
/// so that a batch of 64 feeds several of them.
pub(crate) const GROUP: usize = 8;

/// The extents of an image with its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// 1 for a gray image; filters, behind a layer.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// A 3x3 convolution of stride 1 and padding 1 with bias, a ReLU, and perhaps a max pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Output channels.
    pub filters: usize,
    /// Whether a 2x2 max pooling of stride 2 follows; an odd last row or column is left out.
    pub pool: bool,
}

/// Layers that fit each other.
#[derive(Clone, Debug)]
pub struct Stack {
    pub(crate) layers: Vec<Geometry>,
    /// The instructions that the passes use.
    arch: Arch,
}

impl Block {
    pub(crate) const ZERO: Self = Self([0.0; BLOCK]);
}

/// A stack that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    /// There is nothing to compute.
    #[error("a stack needs at least one layer, found none")]
    NoLayer,
    /// A layer without input or output.
    #[error(
        "layer {layer} makes {filters} filters of {} x {} x {}, expected extents of at least 1{}",
        .input.channels, .input.height, .input.width,
        if *.pool { ", and of at least 2 where it pools" } else { "" }
    )]
    Empty {
        /// Its position, from 0.
        layer: usize,
        /// What it reads.
        input: Shape,
        /// Its filters.
        filters: usize,
        /// Whether it pools.
        pool: bool,
    },
}

/// A layer in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) input: Shape,
    pub(crate) filters: usize,
    pub(crate) pool: bool,
    /// Channels that lie side by side in the padded form of the input: [`BLOCK`] or, for images,
    /// one or four.
    pub(crate) block: usize,
    /// Where the layer's weights are in the stack's parameters; its bias follows.
    pub(crate) parameters: usize,
}

impl Shape {
    /// Elements of an image.
    pub fn elements(&self) -> usize {
        self.channels * self.height * self.width
    }
}

impl Geometry {
    /// What the layer makes.
    pub(crate) fn output(&self) -> Shape {
        let step = if self.pool { 2 } else { 1 };
        Shape { channels: self.filters, height: self.input.height / step, width: self.input.width / step }
    }

    /// Blocks of filters.
    pub(crate) fn filter_blocks(&self) -> usize {
        self.filters.div_ceil(BLOCK)
    }

    /// Blocks of channels of the input.
    pub(crate) fn blocks(&self) -> usize {
        self.input.channels.div_ceil(self.block)
    }

    /// Pixels from a row of the padded input to the next.
    pub(crate) fn padded_width(&self) -> usize {
        self.input.width + 2
    }

    /// Pixels of the padded input.
    pub(crate) fn padded_pixels(&self) -> usize {
        (self.input.height + 2) * self.padded_width()
    }

    /// The number in its padded form of the pixel `[row, column]` of the input.
    pub(crate) fn pixel(&self, row: usize, column: usize) -> usize {
        (row + 1) * self.padded_width() + column + 1
    }

    pub(crate) fn weights(&self) -> usize {
        self.filters * self.input.channels * 9
    }
}

impl Stack {
    /// The layers, one behind the other, over images of that shape.
    ///
    /// # Errors
    /// There is no layer, or one whose input or output is empty.
    pub fn new(input: Shape, layers: &[Layer]) -> Result<Self, StackError> {
        if layers.is_empty() {
            return Err(StackError::NoLayer);
        }
        let mut geometries: Vec<Geometry> = Vec::with_capacity(layers.len());
        let (mut shape, mut parameters) = (input, 0);
        for (layer, &Layer { filters, pool }) in layers.iter().enumerate() {
            let block = match shape.channels {
                1 if layer == 0 => 1,
                2..=4 if layer == 0 => 4,
                _ => BLOCK,
            };
            let geometry = Geometry { input: shape, filters, pool, block, parameters };
            if shape.elements() == 0 || geometry.output().elements() == 0 {
                return Err(StackError::Empty { layer, input: shape, filters, pool });
            }
            shape = geometry.output();
            parameters += geometry.weights() + filters;
            geometries.push(geometry);
        }
        Ok(Self { layers: geometries, arch: Arch::new() })
    }

    /// The shape of an image.
    pub fn input(&self) -> Shape {
        self.layers[0].input
    }

    /// The shape of what is made of an image.
    pub fn output(&self) -> Shape {
        self.last().output()
    }

    /// How many parameters there are.
    pub fn parameters(&self) -> usize {
        let last = self.last();
        last.parameters + last.weights() + last.filters
    }

    pub(crate) fn last(&self) -> &Geometry {
        self.layers.last().expect("a stack has a layer")
    }

    /// The outputs for a batch of images; the tape keeps what [`Stack::backward`] needs.
    ///
    /// With `scales`, one a layer and above 0, each output is rounded to the nearest of
    /// `0, scale, ..., 255 * scale`, half to even: what an 8-bit quantizer does to it. Gradients then
    /// pass through the rounding and stop where an output is above the last step, the
    /// straight-through estimator of quantization-aware training.
    ///
    /// # Panics
    /// If `parameters`, `scales` or `images` are not of the stack's sizes.
    pub fn forward(
        &self,
        parameters: &[f32],
        scales: Option<&[f32]>,
        images: &[f32],
        tape: &mut Tape,
    ) -> Vec<f32> {
        assert_eq!(parameters.len(), self.parameters(), "parameters of the stack");
        assert!(scales.is_none_or(|scales| scales.len() == self.layers.len()), "a scale for each layer");
        let input = self.input().elements();
        assert_eq!(images.len() % input, 0, "whole images of {input} elements");
        let mut outputs = vec![0.0; images.len() / input * self.output().elements()];
        tape.fit(self, images.len() / input);
        tape.packed = Packed::new(self, parameters, scales, self.arch);
        let packed = &tape.packed;
        tape.groups
            .par_iter_mut()
            .zip(images.par_chunks(GROUP * input))
            .zip(outputs.par_chunks_mut(GROUP * self.output().elements()))
            .for_each(|((group, images), outputs)| {
                self.arch.dispatch(ForwardGroup { stack: self, packed, images, outputs, group });
            });
        outputs
    }

    /// The gradients of the parameters, in their layout, from those of the outputs that
    /// [`Stack::forward`] made last with this tape.
    ///
    /// # Panics
    /// If the tape is of another stack, or the gradients are not one for each of these outputs.
    pub fn backward(&self, output_gradients: &[f32], tape: &mut Tape) -> Vec<f32> {
        let output = self.output().elements();
        assert!(tape.is_of(self), "a tape of this stack");
        assert_eq!(output_gradients.len(), tape.images * output, "a gradient for each output of the pass");
        let packed = &tape.packed;
        tape.groups.par_iter_mut().zip(output_gradients.par_chunks(GROUP * output)).for_each(
            |(group, output_gradients)| {
                self.arch.dispatch(BackwardGroup { stack: self, packed, output_gradients, group });
            },
        );
        let mut gradients = vec![0.0; self.parameters()];
        for group in &tape.groups {
            group.add_gradients(self, &mut gradients);
        }
        gradients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_be() {
        let input = Shape { channels: 1, height: 3, width: 5 };
        assert_eq!(Stack::new(input, &[]).err(), Some(StackError::NoLayer));
        let pooled = Layer { filters: 2, pool: true };
        let message = Stack::new(input, &[pooled, pooled]).expect_err("nothing is left").to_string();
        assert_eq!(
            message,
            "layer 1 makes 2 filters of 2 x 1 x 2, expected extents of at least 1, and of at least 2 where it pools"
        );
        let none = Layer { filters: 0, pool: false };
        assert!(Stack::new(input, &[none]).is_err());
    }

    #[test]
    fn counts_parameters_and_outputs() {
        let stack = Stack::new(
            Shape { channels: 1, height: 28, width: 28 },
            &[Layer { filters: 32, pool: false }, Layer { filters: 64, pool: true }],
        )
        .expect("the layers fit");
        assert_eq!(stack.parameters(), 32 * 9 + 32 + 64 * 32 * 9 + 64);
        assert_eq!(stack.output(), Shape { channels: 64, height: 14, width: 14 });
    }

    /// All that this processor has, the slowest first.
    fn arches() -> Vec<Arch> {
        let mut arches = vec![Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            arches.extend(pulp::x86::V3::try_new().map(Arch::V3));
            arches.extend(pulp::x86::V4::try_new().map(Arch::V4));
        }
        arches.push(Arch::new());
        arches
    }

    #[test]
    fn every_width_of_vectors_agrees() {
        // Extents and filters that leave a remainder at every width of tile and block.
        for (channels, filters) in [(1, [16, 40]), (3, [5, 64]), (6, [33, 8])] {
            let input = Shape { channels, height: 9, width: 25 };
            let layers =
                [Layer { filters: filters[0], pool: false }, Layer { filters: filters[1], pool: true }];
            let mut stack = Stack::new(input, &layers).expect("the layers fit");
            let number = |index: usize| ((index * 7919 % 1009) as f32 - 504.0) / 2048.0;
            let parameters: Vec<f32> = (0..stack.parameters()).map(number).collect();
            let images: Vec<f32> = (0..10 * input.elements()).map(|index| number(index + 13)).collect();
            let mut results = Vec::new();
            for arch in arches() {
                stack.arch = arch;
                let mut tape = Tape::default();
                let outputs = stack.forward(&parameters, None, &images, &mut tape);
                let gradients = stack.backward(&outputs, &mut tape);
                results.push((outputs, gradients));
            }
            let (outputs, gradients) = &results[0];
            let largest = |values: &[f32]| values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            for (other_outputs, other_gradients) in &results[1..] {
                for (values, others) in [(outputs, other_outputs), (gradients, other_gradients)] {
                    let differences: Vec<f32> = values.iter().zip(others).map(|(a, b)| a - b).collect();
                    assert!(largest(&differences) <= 1e-5 * largest(values), "{channels} channels");
                }
            }
        }
    }
}
