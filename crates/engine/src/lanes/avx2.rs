//! AVX2: eight lanes. Its only byte product saturates, so bytes are widened to i16 and multiplied in pairs, exactly.
#![expect(unsafe_code, reason = "intrinsics; each needs the instructions that the value of the type proves")]

use std::arch::x86_64::{
    __m256i, _mm_loadl_epi64, _mm_storel_epi64, _mm256_add_epi32, _mm256_castsi256_si128,
    _mm256_cvtepu8_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_max_epi32, _mm256_min_epi32,
    _mm256_mullo_epi32, _mm256_permutevar8x32_epi32, _mm256_set1_epi32, _mm256_setr_epi32,
    _mm256_shuffle_epi8, _mm256_srlv_epi32, _mm256_storeu_si256, _mm256_sub_epi32,
};

use super::{GROUP_BYTES, Lanes};

const LANES: usize = 8;

/// Proof that the processor has the instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// None where the processor lacks the instructions.
    pub(crate) fn detect() -> Option<Self> {
        let found = std::arch::is_x86_feature_detected!("avx2");
        found.then_some(Self(()))
    }
}

/// # Safety
/// The processor has the instructions.
#[inline(never)]
#[target_feature(enable = "avx2")]
unsafe fn with_instructions<R>(work: impl FnOnce() -> R) -> R {
    work()
}

// SAFETY of every block below: `self` exists, so that the processor has the instructions; what is read
// or written through a pointer is a slice that was cut to its length, without demands on alignment.
impl Lanes for Avx2 {
    const LANES: usize = LANES;
    const REGISTERS: usize = 16;
    const GROUP: usize = 2;
    type Vector = __m256i;
    type Weights = __m256i;

    #[inline(always)]
    fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
        // SAFETY: see above.
        unsafe { with_instructions(work) }
    }

    #[inline(always)]
    fn weights(self, packed: &[u8]) -> Self::Weights {
        let packed = &packed[..LANES * GROUP_BYTES];
        // SAFETY: see above.
        unsafe { _mm256_loadu_si256(packed.as_ptr().cast()) }
    }

    #[inline(always)]
    fn dot(self, sum: Self::Vector, x: [u8; GROUP_BYTES], weights: Self::Weights) -> Self::Vector {
        let x = i32::from_ne_bytes(x);
        // SAFETY: see above.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_set1_epi32(x), weights)) }
    }

    #[inline(always)]
    fn splat(self, value: i32) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm256_set1_epi32(value) }
    }

    #[inline(always)]
    fn load(self, from: &[i32]) -> Self::Vector {
        let from = &from[..LANES];
        // SAFETY: see above.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [i32]) {
        let to = &mut to[..LANES];
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
    }

    #[inline(always)]
    fn widen(self, from: &[u8]) -> Self::Vector {
        let from = &from[..LANES];
        // SAFETY: see above.
        unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn narrow(self, vector: Self::Vector, to: &mut [u8]) {
        let to = &mut to[..LANES];
        // SAFETY: see above.
        unsafe {
            // The low byte of each lane, first within each half, then the halves side by side.
            let order = _mm256_set1_epi32(0x0c08_0400);
            let bytes = _mm256_shuffle_epi8(vector, order);
            let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 0, 0, 0, 0, 0, 0));
            _mm_storel_epi64(to.as_mut_ptr().cast(), _mm256_castsi256_si128(bytes));
        }
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm256_sub_epi32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm256_mullo_epi32(a, b) }
    }

    #[inline(always)]
    fn multiply_add(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)) }
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm256_max_epi32(a, b) }
    }

    #[inline(always)]
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm256_min_epi32(a, b) }
    }

    #[inline(always)]
    fn shift_right(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { _mm256_srlv_epi32(a, b) }
    }
}
