//! AVX-VNNI: AVX2 with a dot product of four bytes that saturates nowhere, for processors that have the
//! instruction but not AVX-512, as Intel's since 2021.
//!
//! No machine that tests this project has it. The instruction is `vpdpbusd` as AVX-512 has it for vectors of
//! this width, in another encoding; all else is AVX2's, and runs wherever that is tested.
#![expect(unsafe_code, reason = "intrinsics; each needs the instructions that the value of the type proves")]

use std::arch::x86_64::{__m256i, _mm256_dpbusd_avx_epi32, _mm256_set1_epi32};

use super::{Avx2, GROUP_BYTES, Lanes};

/// Proof that the processor has the instructions, AVX2's among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AvxVnni(Avx2);

impl AvxVnni {
    /// None where the processor lacks the instructions.
    pub(crate) fn detect() -> Option<Self> {
        let avx2 = Avx2::detect()?;
        std::arch::is_x86_feature_detected!("avxvnni").then_some(Self(avx2))
    }
}

/// # Safety
/// The processor has the instructions.
#[inline(never)]
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn with_instructions<R>(work: impl FnOnce() -> R) -> R {
    work()
}

impl Lanes for AvxVnni {
    const LANES: usize = Avx2::LANES;
    const REGISTERS: usize = Avx2::REGISTERS;
    const GROUP: usize = 4;
    type Vector = __m256i;
    type Weights = __m256i;

    #[inline(always)]
    fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
        // SAFETY: `self` exists, so that the processor has the instructions.
        unsafe { with_instructions(work) }
    }

    #[inline(always)]
    fn weights(self, packed: &[u8]) -> Self::Weights {
        self.0.weights(packed)
    }

    #[inline(always)]
    fn dot(self, sum: Self::Vector, x: [u8; GROUP_BYTES], weights: Self::Weights) -> Self::Vector {
        let x = i32::from_ne_bytes(x);
        // SAFETY: `self` exists, so that the processor has the instructions.
        unsafe { _mm256_dpbusd_avx_epi32(sum, _mm256_set1_epi32(x), weights) }
    }

    #[inline(always)]
    fn splat(self, value: i32) -> Self::Vector {
        self.0.splat(value)
    }

    #[inline(always)]
    fn load(self, from: &[i32]) -> Self::Vector {
        self.0.load(from)
    }

    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [i32]) {
        self.0.store(vector, to);
    }

    #[inline(always)]
    fn widen(self, from: &[u8]) -> Self::Vector {
        self.0.widen(from)
    }

    #[inline(always)]
    fn narrow(self, vector: Self::Vector, to: &mut [u8]) {
        self.0.narrow(vector, to);
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.0.add(a, b)
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.0.sub(a, b)
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.0.mul(a, b)
    }

    #[inline(always)]
    fn multiply_add(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.0.multiply_add(sum, a, b)
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.0.max(a, b)
    }

    #[inline(always)]
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.0.min(a, b)
    }

    #[inline(always)]
    fn shift_right(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.0.shift_right(a, b)
    }
}
