//! Vectors of i32, one trait over the instruction sets.
//!
//! Every kernel of this crate is written once, over [`Lanes`]; an instruction set is a small file
//! that says how a vector is loaded, multiplied and stored. All of them give the same bits: a
//! product is exact, and the verifier has proven that no sum leaves i32, in whatever order it is
//! taken.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(any(target_arch = "aarch64", test))]
mod neon;
#[cfg(all(not(target_arch = "aarch64"), test))]
mod neon_model;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx_vnni::AvxVnni;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512_vnni::Avx512Vnni;
#[cfg(any(target_arch = "aarch64", test))]
pub(crate) use neon::Neon;
pub(crate) use portable::{Portable, PortablePairs};

/// The most lanes that an instruction set has; what is padded for vectors is padded to this.
pub(crate) const MOST_LANES: usize = 16;

/// The bytes of one pixel's operands in a [`Lanes::dot`].
pub(crate) const GROUP_BYTES: usize = 4;

/// An instruction set: vectors of `LANES` elements of i32, one for each filter or channel.
///
/// The value is a proof that the processor has the instructions; only [`crate::Kernel`] makes one.
pub(crate) trait Lanes: Copy + Send + Sync {
    /// Elements of a vector.
    const LANES: usize;
    /// Registers for vectors: what a tile may fill.
    const REGISTERS: usize;
    /// Elements of the input that a [`Lanes::dot`] takes: four of u8, or two widened to i16.
    const GROUP: usize;
    /// `LANES` elements of i32.
    type Vector: Copy;
    /// `LANES` times [`Lanes::GROUP`] weights.
    type Weights: Copy;

    /// Runs `work` compiled for these instructions; everything in it must be inlined.
    fn vectorize<R>(self, work: impl FnOnce() -> R) -> R;

    /// `LANES * GROUP_BYTES` bytes of packed weights.
    fn weights(self, packed: &[u8]) -> Self::Weights;

    /// To each lane, the sum of the products of the pixel's operands with the lane's weights.
    fn dot(self, sum: Self::Vector, x: [u8; GROUP_BYTES], weights: Self::Weights) -> Self::Vector;

    /// The same number in every lane.
    fn splat(self, value: i32) -> Self::Vector;
    /// The first `LANES` elements of a slice.
    fn load(self, from: &[i32]) -> Self::Vector;
    /// Into the first `LANES` elements of a slice.
    fn store(self, vector: Self::Vector, to: &mut [i32]);
    /// The first `LANES` elements of a slice, as i32.
    fn widen(self, from: &[u8]) -> Self::Vector;
    /// The low bytes, into the first `LANES` elements of a slice.
    fn narrow(self, vector: Self::Vector, to: &mut [u8]);

    /// `a + b`.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`.
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b`, the low 32 bits.
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `sum + a * b`, where both factors fit i16 and `a` is not negative.
    fn multiply_add(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The greater of each two.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The lesser of each two.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a >> b` for `a` that are not negative and `b` in 0 to 31.
    fn shift_right(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// A weight as [`Lanes::GROUP`] packs it: one byte, or two.
pub(crate) fn pack_weight<S: Lanes>(weight: i8, to: &mut Vec<u8>) {
    if S::GROUP == GROUP_BYTES {
        to.extend(weight.to_ne_bytes());
    } else {
        to.extend(i16::from(weight).to_ne_bytes());
    }
}

/// Bytes of one element of the input as [`Lanes::dot`] reads it.
pub(crate) const fn element_bytes<S: Lanes>() -> usize {
    GROUP_BYTES / S::GROUP
}
