//! NEON of 64-bit ARM: four lanes. Bytes are widened to i16 and multiplied in pairs, exactly: the dot products of
//! four bytes are not in every processor, and not stable in Rust.
#![expect(unsafe_code, reason = "intrinsics; each needs the instructions that the value of the type proves")]

#[cfg(not(target_arch = "aarch64"))]
use super::neon_model as aarch64;
#[cfg(target_arch = "aarch64")]
use std::arch::aarch64;

use aarch64::{
    int16x8_t, int32x4_t, vaddq_s32, vcombine_u16, vcreate_u8, vdupq_n_s32, vget_lane_u32, vget_low_s16,
    vget_low_u16, vld1q_s16, vld1q_s32, vmaxq_s32, vminq_s32, vmlaq_s32, vmovl_u8, vmovl_u16, vmovn_u16,
    vmovn_u32, vmull_high_s16, vmull_s16, vmulq_s32, vnegq_s32, vpaddq_s32, vreinterpret_u32_u8,
    vreinterpretq_s16_s32, vreinterpretq_s32_u32, vreinterpretq_u32_s32, vshlq_s32, vst1q_s32, vsubq_s32,
};

use super::{GROUP_BYTES, Lanes};

const LANES: usize = 4;

/// Proof that the processor has the instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

impl Neon {
    /// None where the processor lacks the instructions.
    pub(crate) fn detect() -> Option<Self> {
        #[cfg(target_arch = "aarch64")]
        let is_there = std::arch::is_aarch64_feature_detected!("neon");
        // The model, in tests.
        #[cfg(not(target_arch = "aarch64"))]
        let is_there = true;
        is_there.then_some(Self(()))
    }
}

/// # Safety
/// The processor has the instructions.
#[inline(never)]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
unsafe fn with_instructions<R>(work: impl FnOnce() -> R) -> R {
    work()
}

// SAFETY of every block below: `self` exists, so that the processor has the instructions; what is read
// or written through a pointer is a slice that was cut to its length, without demands on alignment.
impl Lanes for Neon {
    const LANES: usize = LANES;
    const REGISTERS: usize = 32;
    const GROUP: usize = 2;
    type Vector = int32x4_t;
    type Weights = int16x8_t;

    #[inline(always)]
    fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
        // SAFETY: see above.
        unsafe { with_instructions(work) }
    }

    #[inline(always)]
    fn weights(self, packed: &[u8]) -> Self::Weights {
        let packed = &packed[..LANES * GROUP_BYTES];
        // SAFETY: see above.
        unsafe { vld1q_s16(packed.as_ptr().cast()) }
    }

    #[inline(always)]
    fn dot(self, sum: Self::Vector, x: [u8; GROUP_BYTES], weights: Self::Weights) -> Self::Vector {
        let x = i32::from_ne_bytes(x);
        // SAFETY: see above.
        unsafe {
            let x = vreinterpretq_s16_s32(vdupq_n_s32(x));
            let low = vmull_s16(vget_low_s16(x), vget_low_s16(weights));
            let high = vmull_high_s16(x, weights);
            vaddq_s32(sum, vpaddq_s32(low, high))
        }
    }

    #[inline(always)]
    fn splat(self, value: i32) -> Self::Vector {
        // SAFETY: see above.
        unsafe { vdupq_n_s32(value) }
    }

    #[inline(always)]
    fn load(self, from: &[i32]) -> Self::Vector {
        let from = &from[..LANES];
        // SAFETY: see above.
        unsafe { vld1q_s32(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [i32]) {
        let to = &mut to[..LANES];
        // SAFETY: see above.
        unsafe { vst1q_s32(to.as_mut_ptr(), vector) }
    }

    #[inline(always)]
    fn widen(self, from: &[u8]) -> Self::Vector {
        let bytes = u32::from_ne_bytes([from[0], from[1], from[2], from[3]]);
        // SAFETY: see above.
        unsafe { vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(bytes.into()))))) }
    }

    #[inline(always)]
    fn narrow(self, vector: Self::Vector, to: &mut [u8]) {
        let to = &mut to[..LANES];
        // SAFETY: see above.
        unsafe {
            let halves = vmovn_u32(vreinterpretq_u32_s32(vector));
            let bytes = vmovn_u16(vcombine_u16(halves, halves));
            to.copy_from_slice(&vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)).to_ne_bytes());
        }
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { vaddq_s32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { vsubq_s32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { vmulq_s32(a, b) }
    }

    #[inline(always)]
    fn multiply_add(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { vmlaq_s32(sum, a, b) }
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { vmaxq_s32(a, b) }
    }

    #[inline(always)]
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { vminq_s32(a, b) }
    }

    #[inline(always)]
    fn shift_right(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: see above.
        unsafe { vshlq_s32(a, vnegq_s32(b)) }
    }
}
