//! AVX-512 with VNNI: sixteen lanes, and a dot product of four bytes that saturates nowhere.
#![expect(unsafe_code, reason = "intrinsics; each needs the instructions that the value of the type proves")]

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm_storeu_si128, _mm512_add_epi32, _mm512_cvtepi32_epi8, _mm512_cvtepu8_epi32,
    _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_max_epi32, _mm512_min_epi32,
    _mm512_mullo_epi32, _mm512_set1_epi32, _mm512_srlv_epi32, _mm512_storeu_si512, _mm512_sub_epi32,
};

use super::{GROUP_BYTES, Lanes};

const LANES: usize = 16;

/// Proof that the processor has the instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512Vnni(());

impl Avx512Vnni {
    /// None where the processor lacks the instructions.
    pub(crate) fn detect() -> Option<Self> {
        let found = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512vl")
            && std::arch::is_x86_feature_detected!("avx512vnni");
        found.then_some(Self(()))
    }
}

/// # Safety
/// The processor has the instructions.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn with_instructions<R>(work: impl FnOnce() -> R) -> R {
    work()
}

// SAFETY of every block below: `self` exists, so that the processor has the instructions; what is read
// or written through a pointer is a slice that was cut to its length, without demands on alignment.
impl Lanes for Avx512Vnni {
    const LANES: usize = LANES;
    const REGISTERS: usize = 32;
    const GROUP: usize = 4;
    type Vector = __m512i;
    type Weights = __m512i;

    #[inline(always)]
    fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
        // SAFETY: see above.
        unsafe { with_instructions(work) }
    }

    #[inline(always)]
    fn weights(self, packed: &[u8]) -> Self::Weights {
        let packed = &packed[..LANES * GROUP_BYTES];
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(packed.as_ptr().cast()) }
    }

    #[inline(always)]
    fn dot(self, sum: Self::Vector, x: [u8; GROUP_BYTES], weights: Self::Weights) -> Self::Vector {
        let x = i32::from_ne_bytes(x);
        // SAFETY: see above.
        unsafe { _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(x), weights) }
    }

    #[inline(always)]
    fn splat(self, value: i32) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    fn load(self, from: &[i32]) -> Self::Vector {
        let from = &from[..LANES];
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [i32]) {
        let to = &mut to[..LANES];
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), vector) }
    }

    #[inline(always)]
    fn widen(self, from: &[u8]) -> Self::Vector {
        let from = &from[..LANES];
        // SAFETY: see above.
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn narrow(self, vector: Self::Vector, to: &mut [u8]) {
        let to = &mut to[..LANES];
        // SAFETY: see above.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(vector)) }
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm512_sub_epi32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm512_mullo_epi32(a, b) }
    }

    #[inline(always)]
    fn multiply_add(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)) }
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm512_max_epi32(a, b) }
    }

    #[inline(always)]
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm512_min_epi32(a, b) }
    }

    #[inline(always)]
    fn shift_right(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm512_srlv_epi32(a, b) }
    }
}
