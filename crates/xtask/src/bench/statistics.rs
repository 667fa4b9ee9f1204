//! The few numbers that stand for many.

use serde::{Deserialize, Serialize};

/// Where numbers lie.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one number; of none, all three are NaN.
    pub(crate) fn of(numbers: &[f64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        // The middle one, or the mean of the middle two.
        let median = (at(last / 2) + at(sorted.len() / 2)) / 2.0;
        Self { median, min: at(0), max: at(last) }
    }
}

/// The mean; of no numbers, NaN.
pub(crate) fn mean(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.into_iter().fold((0.0, 0_u32), |(sum, count), next| (sum + next, count + 1));
    sum / f64::from(count)
}

/// Each number by the one at the same place.
pub(crate) fn ratios(numerators: &[f64], denominators: &[f64]) -> Vec<f64> {
    numerators.iter().zip(denominators).map(|(numerator, denominator)| numerator / denominator).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of(&[5.0]), Spread { median: 5.0, min: 5.0, max: 5.0 });
        assert_eq!(Spread::of(&[9.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 9.0 });
        assert_eq!(Spread::of(&[4.0, 1.0, 100.0, 2.0]), Spread { median: 3.0, min: 1.0, max: 100.0 });
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn means_and_ratios() {
        assert_eq!(mean([1.0, 2.0, 6.0]), 3.0);
        assert_eq!(ratios(&[1.0, 6.0], &[2.0, 3.0]), [0.5, 2.0]);
    }
}
