//! The fast executor of integer graphs: the bits of the interpreter at the speed of the processor.
//!
//! [`Engine::new`] plans a graph of stage scale_out once: a layer, its bias, its clips, its fixed-point
//! rescale, the cast to a byte and a max pooling of 2 by 2 behind it become one call of a kernel; weights are
//! packed as the kernel reads them, with zero points folded into the bias; tensors lie channels-last in
//! one arena, planned from their lifetimes. After that nothing is allocated while images run
//! ([`Engine::run_into`]), except by nodes that have no fast path: the interpreter runs those, and the
//! plan ([`Engine`]'s `Display`) says which.
//!
//! Images go through the network one after the other, so that tensors stay in the cache; only a matrix
//! product takes a group of them at once, because its weights are what would not fit. A batch is divided among
//! threads by images, a single image by rows of pixels.
//!
//! All kernels ([`Kernel`]) are the same source, written over a vector of i32 and a dot product
//! (`lanes`), and give the same bits: products are exact and sums fit i32 in whatever order they
//! are taken, which is what the verifier proves of a graph of that stage.
//!
//! ```
//! use onnx2int_engine::Engine;
//! use onnx2int_graph::{Graph, Tensor, verify};
//!
//! let graph = Graph::from_text(
//!     "in %x: u8[N,2]
//!      const %w: i8[2,1] = [3, -4]
//!      %sum: i32[N,1] = MatMulInteger(%x, %w, 33u8, 0i8)
//!      out %sum",
//! )?;
//! let engine = Engine::new(verify(&graph)?)?;
//! let images = Tensor::from_vec(&[1, 2], vec![34_u8, 35])?;
//! assert_eq!(engine.run(&[images])?[0].as_slice::<i32>(), Some(&[3 - 8][..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod engine;
mod error;
mod execute;
mod kernel;
mod lanes;
mod pack;
mod peak;
mod plan;
mod rescale;
mod steps;
#[cfg(test)]
mod tests;

pub use engine::{Engine, Options};
pub use error::EngineError;
pub use execute::Scratch;
pub use kernel::Kernel;
pub use peak::peak_multiply_adds;
