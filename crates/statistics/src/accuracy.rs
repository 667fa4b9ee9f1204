//! Accuracy and how far it can be trusted.

use serde::{Deserialize, Serialize};

/// The share of images whose class is right, with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The images scored; at least 1.
    pub images: usize,
    /// Those whose class is the label.
    pub correct: usize,
    /// `correct / images`, in `[0, 1]`.
    pub fraction: f64,
    /// The lower end of the 95 % Wilson interval, in `[0, 1]`.
    pub low: f64,
    /// The upper end of the 95 % Wilson interval, in `[0, 1]`.
    pub high: f64,
}

impl Accuracy {
    /// Of `correct` right images out of `images`.
    ///
    /// # Panics
    /// If `images` is 0 or less than `correct`.
    pub fn of(correct: usize, images: usize) -> Self {
        let (low, high) = wilson_interval(correct, images);
        Self { images, correct, fraction: correct as f64 / images as f64, low, high }
    }
}

/// The 97.5 % quantile of the standard normal distribution.
const QUANTILE: f64 = 1.959_963_984_540_054;

/// The 95 % score interval of a binomial proportion, both ends in `[0, 1]`.
///
/// E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
/// the American Statistical Association 22 (1927): with `p = successes / trials` and the normal
/// quantile `z`, the ends are `(p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`. Unlike the
/// usual `p -+ z sqrt(p(1-p)/n)` it stays sensible near 0 and 1, where good classifiers are.
///
/// # Panics
/// If `trials` is 0 or less than `successes`.
pub fn wilson_interval(successes: usize, trials: usize) -> (f64, f64) {
    assert!(trials > 0 && successes <= trials, "a proportion has at least one trial and no more successes");
    let n = trials as f64;
    let p = successes as f64 / n;
    let z2 = QUANTILE * QUANTILE;
    let center = p + z2 / (2.0 * n);
    let spread = QUANTILE * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let denominator = 1.0 + z2 / n;
    // At the extremes the formula gives exactly 0 and 1; rounding must not step over the estimate.
    (((center - spread) / denominator).clamp(0.0, p), ((center + spread) / denominator).clamp(p, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table I of R. G. Newcombe, "Two-sided confidence intervals for the single proportion",
    /// Statistics in Medicine 17 (1998), method 3.
    #[test]
    fn published_intervals_are_reproduced() {
        let table = [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0000, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ];
        for (successes, trials, low, high) in table {
            let (found_low, found_high) = wilson_interval(successes, trials);
            assert!(
                (found_low - low).abs() < 5e-5 && (found_high - high).abs() < 5e-5,
                "{successes}/{trials}: {found_low} to {found_high}, not {low} to {high}"
            );
        }
    }

    #[test]
    fn the_interval_is_symmetric_under_exchange_of_right_and_wrong() {
        let (low, high) = wilson_interval(9911, 10_000);
        let (wrong_low, wrong_high) = wilson_interval(89, 10_000);
        assert!((low - (1.0 - wrong_high)).abs() < 1e-12);
        assert!((high - (1.0 - wrong_low)).abs() < 1e-12);
    }

    #[test]
    fn the_ends_are_reached_where_everything_is_right_or_wrong() {
        assert_eq!(wilson_interval(10, 10).1, 1.0);
        assert_eq!(wilson_interval(0, 10).0, 0.0);
    }

    proptest::proptest! {
        #[test]
        fn the_interval_holds_the_estimate(trials in 1usize..20_000, share in 0.0..=1.0f64) {
            let successes = (share * trials as f64) as usize;
            let accuracy = Accuracy::of(successes, trials);
            proptest::prop_assert!(0.0 <= accuracy.low && accuracy.low <= accuracy.fraction);
            proptest::prop_assert!(accuracy.fraction <= accuracy.high && accuracy.high <= 1.0);
            proptest::prop_assert!(accuracy.low < accuracy.high);
        }
    }
}
