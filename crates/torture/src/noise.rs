//! Random numbers that do not depend on the platform or on a library's version.

/// A splitmix64 generator (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
/// generators").
#[derive(Clone, Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number from `least` to `greatest`, both included; every one of them as likely, as
    /// long as their number is far below 2^64.
    pub(crate) fn whole(&mut self, least: i64, greatest: i64) -> i64 {
        let count = greatest.abs_diff(least) + 1;
        least + (self.next() % count) as i64
    }

    /// A byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }

    /// From 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
