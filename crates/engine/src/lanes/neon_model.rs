//! The NEON intrinsics that this crate uses, lane by lane in plain Rust, for tests on processors that lack them.
//!
//! Names, types and safety are those of `core::arch::aarch64` in the documentation of the standard library, so that
//! what compiles with these compiles there; what each does is what the Arm C Language Extensions say of it.
#![expect(non_camel_case_types, reason = "the names of the Arm C Language Extensions")]
#![expect(unsafe_code, reason = "the intrinsics are unsafe where the instructions are not known to be there")]

pub(crate) type int16x4_t = [i16; 4];
pub(crate) type int16x8_t = [i16; 8];
pub(crate) type int32x4_t = [i32; 4];
pub(crate) type uint8x8_t = [u8; 8];
pub(crate) type uint16x4_t = [u16; 4];
pub(crate) type uint16x8_t = [u16; 8];
pub(crate) type uint32x2_t = [u32; 2];
pub(crate) type uint32x4_t = [u32; 4];

/// `name(operands) -> type = what it does`, each an unsafe function.
macro_rules! intrinsics {
    ($($name:ident($($operand:ident: $from:ty),*) -> $to:ty = $meaning:expr;)*) => {$(
        /// # Safety
        /// None is needed here: it is plain Rust.
        pub(crate) unsafe fn $name($($operand: $from),*) -> $to {
            $meaning
        }
    )*};
}

fn each<A: Copy, B: Copy, C, const N: usize>(a: [A; N], b: [B; N], of: impl Fn(A, B) -> C) -> [C; N] {
    std::array::from_fn(|lane| of(a[lane], b[lane]))
}

fn half<T: Copy, const N: usize>(vector: [T; N], first: usize) -> [T; 4] {
    std::array::from_fn(|lane| vector[first + lane])
}

fn products(a: [i16; 4], b: [i16; 4]) -> [i32; 4] {
    each(a, b, |a, b| i32::from(a) * i32::from(b))
}

/// By the lowest byte of `by`, signed: to the left, or for negative numbers to the right, where the sign stays.
fn shifted(number: i32, by: i32) -> i32 {
    match i32::from(by as i8) {
        by @ 0..=31 => number << by,
        32.. => 0,
        by => number >> (-by).min(31),
    }
}

intrinsics! {
    vaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t = each(a, b, i32::wrapping_add);
    vsubq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t = each(a, b, i32::wrapping_sub);
    vmulq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t = each(a, b, i32::wrapping_mul);
    vmlaq_s32(a: int32x4_t, b: int32x4_t, c: int32x4_t) -> int32x4_t =
        each(a, each(b, c, i32::wrapping_mul), i32::wrapping_add);
    vmaxq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t = each(a, b, i32::max);
    vminq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t = each(a, b, i32::min);
    vshlq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t = each(a, b, shifted);
    vnegq_s32(a: int32x4_t) -> int32x4_t = a.map(i32::wrapping_neg);
    vdupq_n_s32(value: i32) -> int32x4_t = [value; 4];
    vpaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t =
        [a[0].wrapping_add(a[1]), a[2].wrapping_add(a[3]), b[0].wrapping_add(b[1]), b[2].wrapping_add(b[3])];
    vmull_s16(a: int16x4_t, b: int16x4_t) -> int32x4_t = products(a, b);
    vmull_high_s16(a: int16x8_t, b: int16x8_t) -> int32x4_t = products(half(a, 4), half(b, 4));
    vget_low_s16(a: int16x8_t) -> int16x4_t = half(a, 0);
    vget_low_u16(a: uint16x8_t) -> uint16x4_t = half(a, 0);
    vcombine_u16(a: uint16x4_t, b: uint16x4_t) -> uint16x8_t =
        std::array::from_fn(|lane| if lane < 4 { a[lane] } else { b[lane - 4] });
    vmovl_u8(a: uint8x8_t) -> uint16x8_t = a.map(u16::from);
    vmovl_u16(a: uint16x4_t) -> uint32x4_t = a.map(u32::from);
    vmovn_u16(a: uint16x8_t) -> uint8x8_t = a.map(|element| element as u8);
    vmovn_u32(a: uint32x4_t) -> uint16x4_t = a.map(|element| element as u16);
    vcreate_u8(a: u64) -> uint8x8_t = a.to_le_bytes();
    vreinterpret_u32_u8(a: uint8x8_t) -> uint32x2_t =
        [u32::from_le_bytes([a[0], a[1], a[2], a[3]]), u32::from_le_bytes([a[4], a[5], a[6], a[7]])];
    vreinterpretq_s32_u32(a: uint32x4_t) -> int32x4_t = a.map(|element| element as i32);
    vreinterpretq_u32_s32(a: int32x4_t) -> uint32x4_t = a.map(|element| element as u32);
    vreinterpretq_s16_s32(a: int32x4_t) -> int16x8_t =
        std::array::from_fn(|lane| (a[lane / 2] >> (16 * (lane % 2))) as i16);
}

/// # Safety
/// None is needed here: it is plain Rust.
pub(crate) unsafe fn vget_lane_u32<const LANE: i32>(v: uint32x2_t) -> u32 {
    v[LANE as usize]
}

/// # Safety
/// Eight elements are readable.
pub(crate) unsafe fn vld1q_s16(ptr: *const i16) -> int16x8_t {
    // SAFETY: an array has the alignment of its elements, and that is not asked for.
    unsafe { ptr.cast::<int16x8_t>().read_unaligned() }
}

/// # Safety
/// Four elements are readable.
pub(crate) unsafe fn vld1q_s32(ptr: *const i32) -> int32x4_t {
    // SAFETY: as above.
    unsafe { ptr.cast::<int32x4_t>().read_unaligned() }
}

/// # Safety
/// Four elements are writable.
pub(crate) unsafe fn vst1q_s32(ptr: *mut i32, a: int32x4_t) {
    // SAFETY: as above.
    unsafe { ptr.cast::<int32x4_t>().write_unaligned(a) }
}
