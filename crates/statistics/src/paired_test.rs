//! Whether two models that were scored on the same images differ by more than chance.
//!
//! Two confidence intervals that overlap say little about two scores of the *same* images: nearly
//! all images are easy for both models and cancel. What counts are the images that exactly one of
//! the two gets right.

use std::fmt;

use serde::{Deserialize, Serialize};

/// McNemar's test of one model against another on the same labelled images.
///
/// Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
/// percentages", Psychometrika 12 (1947): if both models are equally good, each image that exactly
/// one of them gets right is a toss of a fair coin.
///
/// The p-values are sums of binomial probabilities at any number of images; there is no switch to
/// a chi-square approximation. M. W. Fagerland, S. Lydersen and P. Laake, "The McNemar test for
/// binary matched-pairs data: mid-p and asymptotic are better than exact conditional", BMC Medical
/// Research Methodology 13:91 (2013), find the exact test and the continuity-corrected chi-square
/// (A. L. Edwards, Psychometrika 13, 1948) too slow to call a difference real, and the mid-p value
/// a good choice. Here that is the cautious side: "within noise" is what a quantizer would like to
/// hear. So the mid-p value judges, and the exact one stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedTest {
    /// The images that the reference gets right and the score wrong.
    pub lost: usize,
    /// The images that the reference gets wrong and the score right.
    pub gained: usize,
    /// The two-sided mid-p value, in `[0, 1]`: the judge.
    pub mid_p: f64,
    /// The two-sided p-value of the exact conditional test, in `[0, 1]`; never below `mid_p`.
    pub exact_p: f64,
}

/// What a [`PairedTest`] comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No image is right in one model only.
    NoDifference,
    /// A difference that chance makes in more than one of twenty cases.
    WithinNoise,
    /// More images are lost than chance explains.
    RealLoss,
    /// More images are gained than chance explains.
    RealGain,
}

impl PairedTest {
    /// The mid-p value below which a difference is called real. It is not adjusted for the number
    /// of comparisons in a report, which would only make it easier to call a loss noise.
    pub const SIGNIFICANCE: f64 = 0.05;

    /// Of a score that lost and gained so many images.
    ///
    /// With `n = lost + gained` and `X` binomial of `n` fair tosses, the exact value is
    /// `2 P(X <= min(lost, gained))`, at most 1, and the mid-p value is
    /// `2 P(X <= min) - P(X = min)`.
    pub fn of(lost: usize, gained: usize) -> Self {
        let (at, below) = fair_binomial(lost + gained, lost.min(gained));
        let exact_p = (2.0 * (below + at)).min(1.0);
        // Where both counts are equal the two halves of the distribution meet: exactly 1, but for
        // the rounding of the sum.
        let mid_p = if lost == gained { 1.0 } else { (2.0 * below + at).min(1.0) };
        Self { lost, gained, mid_p, exact_p }
    }

    /// What to make of it.
    pub fn verdict(&self) -> Verdict {
        if self.lost + self.gained == 0 {
            Verdict::NoDifference
        } else if self.mid_p >= Self::SIGNIFICANCE {
            Verdict::WithinNoise
        } else if self.lost > self.gained {
            Verdict::RealLoss
        } else {
            Verdict::RealGain
        }
    }
}

/// `2 lost, 1 gained, p = 0.62: within noise`.
impl fmt::Display for PairedTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = self.verdict();
        if verdict == Verdict::NoDifference {
            return f.write_str("none lost, none gained");
        }
        write!(f, "{} lost, {} gained, ", self.lost, self.gained)?;
        match self.mid_p {
            ..0.001 => f.write_str("p < 0.001")?,
            // Two digits must not round a real difference up to the border.
            ..0.1 => write!(f, "p = {:.3}", self.mid_p)?,
            _ => write!(f, "p = {:.2}", self.mid_p)?,
        }
        write!(f, ": {verdict}")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDifference => "no difference",
            Self::WithinNoise => "within noise",
            Self::RealLoss => "a real loss",
            Self::RealGain => "a real gain",
        })
    }
}

/// `P(X = k)` and `P(X < k)` for `X` binomial of `n` fair tosses, `k <= n / 2`.
///
/// Only additions, multiplications and divisions, which IEEE 754 rounds alike everywhere, so that
/// a report has the same bits on every machine; logarithms do not.
fn fair_binomial(n: usize, k: usize) -> (f64, f64) {
    // C(n, k) / 2^n as a product, a factor 1/2 taken in whenever it keeps the product near 1:
    // neither the binomial coefficient nor the power of two alone would fit.
    let mut at = 1.0_f64;
    let mut halves = n;
    for i in 1..=k {
        at *= (n - k + i) as f64 / i as f64;
        while at > 1.0 && halves > 0 {
            at *= 0.5;
            halves -= 1;
        }
    }
    // What is too small for an f64 becomes 0, which is as significant.
    for _ in 0..halves {
        at *= 0.5;
    }
    let (mut below, mut term) = (0.0, at);
    for j in (1..=k).rev() {
        // C(n, j - 1) = C(n, j) j / (n - j + 1)
        term *= j as f64 / (n - j + 1) as f64;
        below += term;
    }
    (at, below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lost: usize, gained: usize, exact_p: f64, mid_p: f64) {
        let test = PairedTest::of(lost, gained);
        let near = |found: f64, expected: f64| (found - expected).abs() <= 1e-12 * expected;
        assert!(near(test.exact_p, exact_p) && near(test.mid_p, mid_p), "{test:?}");
        let other_way = PairedTest::of(gained, lost);
        assert_eq!((other_way.exact_p, other_way.mid_p), (test.exact_p, test.mid_p));
    }

    /// Both examples of Fagerland, Lydersen and Laake (2013), who print 0.070 and 0.039, 0.052 and
    /// 0.035; the digits here are those of the sums as exact fractions: 18/256 and 10/256, and
    /// 220 112/2^22 and 145 499/2^22.
    #[test]
    fn published_examples_are_reproduced() {
        check(1, 7, 18.0 / 256.0, 10.0 / 256.0);
        check(6, 16, 220_112.0 / 4_194_304.0, 145_499.0 / 4_194_304.0);
    }

    /// The sums in exact rational arithmetic (Python: `fractions.Fraction`, `math.comb`). 86 and 150
    /// are the approvals of A. Agresti, "Categorical Data Analysis", table 10.1.
    #[test]
    fn sums_of_any_size_agree_with_exact_fractions() {
        check(1, 0, 1.0, 0.5);
        check(2, 1, 1.0, 0.625);
        check(5, 5, 1.0, 1.0);
        check(12, 3, 0.035_156_25, 0.021_270_751_953_125);
        check(86, 150, 3.715_936_139_571_442e-5, 2.893_389_517_615_49e-5);
        check(400, 500, 9.564_441_369_189_461e-4, 8.541_955_361_977_179e-4);
        check(6000, 4000, 1.740_431_641_226_878_4e-89, 1.449_782_709_609_385_6e-89);
    }

    #[test]
    fn a_drop_inside_the_noise_is_called_that() {
        let table = [
            (0, 0, "none lost, none gained"),
            (1, 0, "1 lost, 0 gained, p = 0.50: within noise"),
            (2, 1, "2 lost, 1 gained, p = 0.62: within noise"),
            (9, 3, "9 lost, 3 gained, p = 0.092: within noise"),
            (12, 3, "12 lost, 3 gained, p = 0.021: a real loss"),
            (3, 12, "3 lost, 12 gained, p = 0.021: a real gain"),
            (0, 1100, "0 lost, 1100 gained, p < 0.001: a real gain"),
        ];
        for (lost, gained, text) in table {
            assert_eq!(PairedTest::of(lost, gained).to_string(), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn p_values_are_ordered_and_probabilities(lost in 0usize..3000, gained in 0usize..3000) {
            let test = PairedTest::of(lost, gained);
            proptest::prop_assert!(0.0 <= test.mid_p && test.mid_p <= test.exact_p && test.exact_p <= 1.0);
            // One more image lost makes a loss no less significant.
            if lost >= gained {
                proptest::prop_assert!(PairedTest::of(lost + 1, gained).mid_p <= test.mid_p);
            }
        }
    }
}
