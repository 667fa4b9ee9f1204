//! Plain Rust, for any processor: the reference for the other instruction sets.

use super::{GROUP_BYTES, Lanes};

const LANES: usize = 8;

/// Bytes by bytes, as the dot product instructions have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

/// Widened to i16, in pairs, as instruction sets without a mixed dot product have it. The same generic
/// code as theirs runs with it on any machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortablePairs;

macro_rules! portable {
    ($name:ident, $group:literal, |$sum:ident, $x:ident, $weights:ident| $dot:expr) => {
        impl Lanes for $name {
            const LANES: usize = LANES;
            const REGISTERS: usize = 16;
            const GROUP: usize = $group;
            type Vector = [i32; LANES];
            type Weights = [[u8; GROUP_BYTES]; LANES];

            #[inline(always)]
            fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
                work()
            }

            #[inline(always)]
            fn weights(self, packed: &[u8]) -> Self::Weights {
                let (lanes, _) = packed[..LANES * GROUP_BYTES].as_chunks();
                std::array::from_fn(|lane| lanes[lane])
            }

            #[inline(always)]
            fn dot(self, sum: Self::Vector, x: [u8; GROUP_BYTES], weights: Self::Weights) -> Self::Vector {
                std::array::from_fn(|lane| {
                    let ($sum, $x, $weights) = (sum[lane], x, weights[lane]);
                    $dot
                })
            }

            #[inline(always)]
            fn splat(self, value: i32) -> Self::Vector {
                [value; LANES]
            }

            #[inline(always)]
            fn load(self, from: &[i32]) -> Self::Vector {
                let from = &from[..LANES];
                std::array::from_fn(|lane| from[lane])
            }

            #[inline(always)]
            fn store(self, vector: Self::Vector, to: &mut [i32]) {
                to[..LANES].copy_from_slice(&vector);
            }

            #[inline(always)]
            fn widen(self, from: &[u8]) -> Self::Vector {
                let from = &from[..LANES];
                std::array::from_fn(|lane| i32::from(from[lane]))
            }

            #[inline(always)]
            fn narrow(self, vector: Self::Vector, to: &mut [u8]) {
                to[..LANES].copy_from_slice(&vector.map(|element| element as u8));
            }

            #[inline(always)]
            fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                std::array::from_fn(|lane| a[lane].wrapping_add(b[lane]))
            }

            #[inline(always)]
            fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                std::array::from_fn(|lane| a[lane].wrapping_sub(b[lane]))
            }

            #[inline(always)]
            fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                std::array::from_fn(|lane| a[lane].wrapping_mul(b[lane]))
            }

            #[inline(always)]
            fn multiply_add(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                self.add(sum, self.mul(a, b))
            }

            #[inline(always)]
            fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                std::array::from_fn(|lane| a[lane].max(b[lane]))
            }

            #[inline(always)]
            fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                std::array::from_fn(|lane| a[lane].min(b[lane]))
            }

            #[inline(always)]
            fn shift_right(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                std::array::from_fn(|lane| a[lane] >> (b[lane] & 31))
            }
        }
    };
}

portable!(Portable, 4, |sum, x, weights| {
    let products = x.into_iter().zip(weights).map(|(x, weight)| i32::from(x) * i32::from(weight as i8));
    products.fold(sum, i32::wrapping_add)
});

portable!(PortablePairs, 2, |sum, x, weights| {
    let half = |bytes: [u8; 4], at: usize| i32::from(i16::from_ne_bytes([bytes[at], bytes[at + 1]]));
    let products = [0, 2].map(|at| half(x, at) * half(weights, at));
    sum.wrapping_add(products[0]).wrapping_add(products[1])
});
