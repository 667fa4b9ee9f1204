//! Random streams that depend on nothing but their key.
//!
//! burn's own generator is one per process: its state at the start of an epoch depends on all that
//! was drawn before, by anyone. A stream made here from (seed, purpose, index) can be opened again
//! at any point, which is what lets a resumed run continue as if it had never stopped.

/// What a stream is for; streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Initial weights; the index is the parameter's.
    Weights = 1,
    /// The order of the images; the index is the epoch.
    Order = 2,
    /// Dropped activations; the index is the epoch.
    Dropout = 3,
    /// Moved images; the index is the epoch.
    Augmentation = 4,
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    state: u64,
}

impl Stream {
    /// The stream of that key.
    pub(crate) fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        // Each part goes through the generator's own mixing, so that neighboring keys give
        // unrelated states.
        let state = [seed, purpose as u64, index]
            .into_iter()
            .fold(0, |state, part| Self { state: state ^ part }.next());
        Self { state }
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`. Its bias, at most `bound / 2^64`, is of no concern here.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number from -1 to 1, evenly distributed.
    pub(crate) fn symmetric_unit(&mut self) -> f32 {
        // 24 bits fill the significand of an f32.
        let unit = (self.next() >> 40) as f32 / (1_u32 << 24) as f32;
        2.0 * unit - 1.0
    }

    /// Puts items into random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_splitmix64() {
        // The reference values for the state 1234567.
        let mut stream = Stream { state: 1_234_567 };
        let drawn: [u64; 5] = std::array::from_fn(|_| stream.next());
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn keys_are_told_apart() {
        let first = |seed, purpose, index| Stream::new(seed, purpose, index).next();
        let mut firsts = Vec::new();
        for seed in 0..4 {
            for purpose in [Purpose::Weights, Purpose::Order, Purpose::Dropout] {
                firsts.extend((0..4).map(|index| first(seed, purpose, index)));
            }
        }
        let drawn = firsts.len();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), drawn);
    }

    #[test]
    fn shuffles_everything_and_reaches_every_order() {
        let mut orders = std::collections::BTreeMap::new();
        let mut stream = Stream::new(0, Purpose::Order, 0);
        for _ in 0..6_000 {
            let mut items = [0, 1, 2];
            stream.shuffle(&mut items);
            *orders.entry(items).or_insert(0) += 1;
        }
        assert_eq!(orders.len(), 6);
        assert!(orders.values().all(|count| (850..1150).contains(count)), "{orders:?}");
    }

    #[test]
    fn symmetric_unit_fills_its_range() {
        let mut stream = Stream::new(5, Purpose::Weights, 0);
        let drawn: Vec<f32> = (0..10_000).map(|_| stream.symmetric_unit()).collect();
        assert!(drawn.iter().all(|value| (-1.0..1.0).contains(value)));
        let mean = drawn.iter().sum::<f32>() / 1e4;
        assert!(mean.abs() < 0.03, "{mean}");
        assert!(drawn.iter().any(|&value| value > 0.99) && drawn.iter().any(|&value| value < -0.99));
    }
}
