//! How the values of a tensor are spread, and the range that quantizes them best.

/// Bins of a histogram.
pub(crate) const BINS: usize = 2048;

/// Codes of a quantized activation.
const CODES: usize = 256;

/// Steps in which a range is narrowed when the best one is searched for.
const STEPS: usize = 64;

/// A range is not narrowed below this part of what was seen.
const LEAST_STEP: usize = 8;

/// Counts of values in equal bins over the range that was seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    least: f64,
    /// The extent of a bin; 0 where all values are the same.
    width: f64,
    counts: Vec<u64>,
    /// How many of the values are 0 exactly.
    zeros: u64,
}

impl Histogram {
    /// No values yet; all will be within `least..=greatest`.
    pub(crate) fn new(least: f32, greatest: f32) -> Self {
        let width = (f64::from(greatest) - f64::from(least)) / BINS as f64;
        Self { least: f64::from(least), width, counts: vec![0; BINS], zeros: 0 }
    }

    pub(crate) fn see(&mut self, values: &[f32]) {
        self.zeros += values.iter().filter(|&&value| value == 0.0).count() as u64;
        if self.width == 0.0 {
            self.counts[0] += values.len() as u64;
            return;
        }
        for &value in values {
            let bin = self.bin_of(value);
            self.counts[bin] += 1;
        }
    }

    /// The bin that a value is counted in.
    fn bin_of(&self, value: f32) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the bins")]
        let bin = ((f64::from(value) - self.least) / self.width).clamp(0.0, (BINS - 1) as f64) as usize;
        bin
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, other) in self.counts.iter_mut().zip(&other.counts) {
            *count += other;
        }
        self.zeros += other.zeros;
    }

    fn greatest(&self) -> f64 {
        self.least + self.width * BINS as f64
    }

    /// The middle of a bin.
    fn middle(&self, bin: usize) -> f64 {
        self.least + (bin as f64 + 0.5) * self.width
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The range that leaves `(100 - percent) / 2` percent of the values out at each end, as ONNX
    /// Runtime's percentile calibration does.
    pub(crate) fn percentile(&self, percent: f64) -> (f32, f32) {
        let outside = self.total() as f64 * (100.0 - percent) / 200.0;
        let reach = |mut bins: Box<dyn Iterator<Item = usize> + '_>| {
            let mut seen = 0.0;
            bins.find(|&bin| {
                seen += self.counts[bin] as f64;
                seen > outside
            })
            .unwrap_or(0)
        };
        let (low, high) = (reach(Box::new(0..BINS)), reach(Box::new((0..BINS).rev())));
        range(self.least + low as f64 * self.width, self.least + (high + 1) as f64 * self.width)
    }

    /// The range of the least mean squared error of 256 codes: rounding inside, clipping outside
    /// (Banner et al. 2019, "Post training 4-bit quantization of convolutional networks for rapid-deployment").
    pub(crate) fn least_squares(&self) -> (f32, f32) {
        let sums = Moments::of(self);
        let ends = |end: f64| (LEAST_STEP..=STEPS).map(move |step| end * step as f64 / STEPS as f64);
        let mut best = (f64::INFINITY, (self.least, self.greatest()));
        // An end beyond 0 is not narrowed: a range reaches 0 in any case.
        let lows: Vec<f64> = if self.least < 0.0 { ends(self.least).collect() } else { vec![0.0] };
        let highs: Vec<f64> = if self.greatest() > 0.0 { ends(self.greatest()).collect() } else { vec![0.0] };
        for &low in lows.iter().rev() {
            for &high in highs.iter().rev() {
                let error = sums.squared_error(self, low, high);
                if error < best.0 {
                    best = (error, (low, high));
                }
            }
        }
        range(best.1.0, best.1.1)
    }

    /// The range whose 256 codes keep most of the distribution: the least Kullback-Leibler divergence
    /// (Migacz 2017, "8-bit inference with TensorRT"). Both ends are narrowed by the same part.
    ///
    /// Zeros do not count. Each range has a code for 0, so that none of them is lost by any; and behind a
    /// Relu they are so many that the bins that share their code would alone decide for the
    /// narrowest range.
    pub(crate) fn least_divergence(&self) -> (f32, f32) {
        let bin_of = |value: f64| ((value - self.least) / self.width).round().clamp(0.0, BINS as f64);
        let mut best = (f64::INFINITY, (self.least, self.greatest()));
        if self.width == 0.0 {
            return range(best.1.0, best.1.1);
        }
        let mut counts = self.counts.clone();
        counts[self.bin_of(0.0)] -= self.zeros;
        for step in (LEAST_STEP..=STEPS).rev() {
            let part = step as f64 / STEPS as f64;
            let (low, high) = (self.least.min(0.0) * part, self.greatest().max(0.0) * part);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to the bins"
            )]
            let bins = (bin_of(low) as usize, bin_of(high) as usize);
            if bins.1 < bins.0 + CODES {
                break;
            }
            let divergence = divergence(&counts, bins.0, bins.1);
            if divergence < best.0 {
                best = (divergence, (low, high));
            }
        }
        range(best.1.0, best.1.1)
    }
}

/// The divergence of the distribution, clipped to the bins `low..high`, from what is left of it
/// when the bins of each code share their mean.
fn divergence(counts: &[u64], low: usize, high: usize) -> f64 {
    let mut clipped: Vec<f64> = counts[low..high].iter().map(|&count| count as f64).collect();
    let outside = |bins: &[u64]| bins.iter().sum::<u64>() as f64;
    let last = clipped.len() - 1;
    clipped[0] += outside(&counts[..low]);
    clipped[last] += outside(&counts[high..]);
    let total: f64 = clipped.iter().sum();
    let mut divergence = 0.0;
    for code in 0..CODES {
        let bins = code * clipped.len() / CODES..(code + 1) * clipped.len() / CODES;
        // The codes are made of what lies inside: clipping is what the divergence tells.
        let inside = &counts[low..high][bins.clone()];
        let used = inside.iter().filter(|&&count| count > 0).count().max(1);
        let mean = (inside.iter().sum::<u64>() as f64 / used as f64).max(1e-3);
        for &count in clipped[bins].iter().filter(|&&count| count > 0.0) {
            divergence += count / total * (count / mean).ln();
        }
    }
    divergence
}

/// Sums over the bins below each, of counts, of values and of their squares.
struct Moments(Vec<[f64; 3]>);

impl Moments {
    fn of(histogram: &Histogram) -> Self {
        let mut sums = vec![[0.0; 3]];
        let mut running = [0.0; 3];
        for (bin, &count) in histogram.counts.iter().enumerate() {
            let (count, value) = (count as f64, histogram.middle(bin));
            running = [running[0] + count, running[1] + count * value, running[2] + count * value * value];
            sums.push(running);
        }
        Self(sums)
    }

    fn squared_error(&self, histogram: &Histogram, low: f64, high: f64) -> f64 {
        let bin_of = |value: f64| match histogram.width > 0.0 {
            true => ((value - histogram.least) / histogram.width).round().clamp(0.0, BINS as f64),
            false => 0.0,
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the bins")]
        let (below, above) = (bin_of(low) as usize, bin_of(high) as usize);
        let (first, last, all) = (self.0[below], self.0[above.max(below)], self.0[BINS]);
        let distance = |sums: [f64; 3], end: f64| sums[2] - 2.0 * end * sums[1] + end * end * sums[0];
        let rest = [all[0] - last[0], all[1] - last[1], all[2] - last[2]];
        let step = (high - low) / (CODES - 1) as f64;
        distance(first, low) + distance(rest, high) + (last[0] - first[0]) * step * step / 12.0
    }
}

/// Back to the type of the values.
#[expect(clippy::cast_possible_truncation, reason = "between two numbers that were f32")]
fn range(low: f64, high: f64) -> (f32, f32) {
    (low as f32, high as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values evenly from 0 to 1, and one outlier at 100 for each thousand.
    fn with_outliers() -> Histogram {
        let mut histogram = Histogram::new(0.0, 100.0);
        let values: Vec<f32> = (0..100_000).map(|i| i as f32 / 100_000.0).collect();
        histogram.see(&values);
        histogram.see(&[100.0; 100]);
        histogram
    }

    #[test]
    fn the_whole_range_holds_all_values() {
        let mut histogram = Histogram::new(-1.0, 3.0);
        histogram.see(&[-1.0, 0.0, 3.0]);
        assert_eq!(histogram.percentile(100.0), (-1.0, 3.0));
        assert_eq!(histogram.total(), 3);
        let mut other = histogram.clone();
        other.merge(&histogram);
        assert_eq!(other.total(), 6);
    }

    #[test]
    fn a_percentile_leaves_outliers_out() {
        let (low, high) = with_outliers().percentile(99.0);
        assert!(low <= 0.05 && (0.9..1.2).contains(&high), "{low} {high}");
        // A tenth of a percent are outliers, half of 0.15 may go at this end.
        assert!(with_outliers().percentile(99.95).1 > 99.0);
    }

    #[test]
    fn the_squared_error_weighs_clipping_against_steps() {
        // Clipping a thousandth of the values by 88 costs more than coarse steps.
        let (_, high) = with_outliers().least_squares();
        assert!(high > 90.0, "{high}");
        // A far smaller tail is better clipped.
        let mut histogram = Histogram::new(-4.0, 4.0);
        let values: Vec<f32> = (0..1_000_000).map(|i| ((i % 1000) as f32 / 1000.0 - 0.5) * 2.0).collect();
        histogram.see(&values);
        histogram.see(&[4.0, -4.0]);
        let (low, high) = histogram.least_squares();
        assert!(low > -1.5 && high < 1.5, "{low} {high}");
    }

    #[test]
    fn the_divergence_gives_up_a_thin_tail() {
        let mut histogram = Histogram::new(0.0, 100.0);
        let values: Vec<f32> = (0..200_000).map(|i| -(1.0 - i as f32 / 200_001.0).ln()).collect();
        histogram.see(&values);
        histogram.see(&[100.0]);
        let (low, high) = histogram.least_divergence();
        assert_eq!(low, 0.0);
        assert!((6.0..60.0).contains(&high), "{high}");
    }

    #[test]
    fn zeros_do_not_narrow_the_range_of_the_least_divergence() {
        let mut histogram = Histogram::new(0.0, 1.0);
        let values: Vec<f32> = (1..=200_000).map(|i| i as f32 / 200_000.0).collect();
        histogram.see(&values);
        let without = histogram.least_divergence();
        histogram.see(&[0.0; 300_000]);
        assert_eq!(histogram.least_divergence(), without);
        assert!(without.1 > 0.9, "{without:?}");
    }

    #[test]
    fn one_value_alone_is_its_own_range() {
        let mut histogram = Histogram::new(2.0, 2.0);
        histogram.see(&[2.0; 5]);
        assert_eq!(histogram.percentile(99.0), (2.0, 2.0));
        assert_eq!(histogram.least_divergence(), (2.0, 2.0));
        assert_eq!(histogram.least_squares().1, 2.0);
    }
}
