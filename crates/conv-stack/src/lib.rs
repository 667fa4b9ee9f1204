//! A stack of 3x3 convolutions, each with ReLU and perhaps max pooling: values and all gradients.
//!
//! This is the front of an image classifier, and where its training spends its time. The crate
//! knows no tensor library: it takes slices and gives slices, so that any library can wrap it as
//! one operator. It is exact in the sense of the field: the same function and the same gradients as
//! the single operators, up to the rounding of `f32` sums.
//!
//! # Why it is fast
//!
//! - A convolution reads each pixel's nine neighbors where they lie, in an image with a border of
//!   zeros and channels last. Nothing of the size of im2col is written.
//! - An image goes through the whole stack before the next one is touched, so that what a layer
//!   writes is still in the cache when the next one reads it.
//! - Behind a max pooling three of four gradients are zero, and behind a ReLU about half. The
//!   backward pass lists those of a filter that are not, and works through that list alone, with
//!   the filter's weights or its gradients in registers.
//!
//! # Determinism
//!
//! Images are worked on in groups of a fixed size, each of which sums its own gradients; the groups'
//! sums are added in order. The result does not depend on the number of threads. It does depend on
//! the processor, in the last bits: not every one has fused multiplication and addition.
//!
//! # Layouts
//!
//! | what | layout |
//! |---|---|
//! | images | `[batch, channels, height, width]`, row-major |
//! | parameters | for each layer its weights `[filters, channels, 3, 3]`, then its bias `[filters]` |
//! | outputs | `[batch, filters, height, width]` of the last layer, after its pooling |
//!
//! ```
//! use onnx2int_conv_stack::{Layer, Shape, Stack, Tape};
//!
//! let stack = Stack::new(
//!     Shape { channels: 1, height: 28, width: 28 },
//!     &[Layer { filters: 8, pool: false }, Layer { filters: 16, pool: true }],
//! )?;
//! let parameters = vec![0.01; stack.parameters()];
//! let images = vec![1.0; 3 * stack.input().elements()];
//! let mut tape = Tape::default();
//! let outputs = stack.forward(&parameters, None, &images, &mut tape);
//! assert_eq!(outputs.len(), 3 * 16 * 14 * 14);
//! // For the loss `outputs.iter().sum()`:
//! let gradients = stack.backward(&vec![1.0; outputs.len()], &mut tape);
//! assert_eq!(gradients.len(), parameters.len());
//! # Ok::<(), onnx2int_conv_stack::StackError>(())
//! ```

mod backward;
mod epilogue;
mod forward;
mod pack;
mod stack;
mod tape;

pub use stack::{Layer, Shape, Stack, StackError};
pub use tape::Tape;
