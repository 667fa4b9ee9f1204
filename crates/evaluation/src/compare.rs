//! Two scores of the same images, side by side.

use onnx2int_graph::Tensor;
use serde::{Deserialize, Serialize};

use crate::{EvaluationError, Logits, Margin, OutputKind, PairedTest, Score};

/// What differs between a score and a reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The images that both were scored on.
    pub images: usize,
    /// Those that both give the same class.
    pub agreeing: usize,
    /// The images that exactly one of the two gets right, and whether that is more than chance.
    pub paired_test: PairedTest,
    /// The greatest difference of two outputs, unless the scale of integer outputs is not known.
    pub largest_logit_gap: Option<LogitGap>,
    /// The outputs whose bits differ, where both have one element type.
    pub different_outputs: Option<usize>,
    /// The images whose class differs, in order.
    pub flips: Vec<Flip>,
}

/// The place where two models' outputs are furthest apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogitGap {
    /// What is subtracted from what.
    pub measure: GapMeasure,
    /// The absolute difference, in the measure's unit.
    pub value: f64,
    /// The image.
    pub image: usize,
    /// The class.
    pub class: usize,
    /// The greatest absolute value of any output of the reference in the same measure, to judge the
    /// gap by.
    pub reference_magnitude: f64,
}

/// The numbers whose difference is taken.
///
/// Logits and log-probabilities differ by an offset that varies from image to image and says
/// nothing; so do probabilities by more. The finest measure that both sides have is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapMeasure {
    /// Both end in logits: the logits, as real numbers (integers times their scale).
    Logits,
    /// One ends in `LogSoftmax`, none in `Softmax`: the log-softmax of both, `x - log(sum(exp(x)))`,
    /// which leaves log-probabilities as they are.
    LogSoftmax,
    /// One ends in `Softmax`: the softmax of both.
    Softmax,
}

impl GapMeasure {
    /// The finest measure that both kinds of output have.
    pub const fn between(a: OutputKind, b: OutputKind) -> Self {
        match (a, b) {
            (OutputKind::Probabilities, _) | (_, OutputKind::Probabilities) => Self::Softmax,
            (OutputKind::LogProbabilities, _) | (_, OutputKind::LogProbabilities) => Self::LogSoftmax,
            (OutputKind::Logits, OutputKind::Logits) => Self::Logits,
        }
    }
}

/// An image whose class differs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flip {
    /// Its index in the test set.
    pub image: usize,
    /// What it shows.
    pub label: u32,
    /// The reference's class.
    pub before: u32,
    /// The score's class.
    pub after: u32,
    /// How sure the reference was of `before`.
    pub margin_before: Margin,
    /// How sure the score is of `after`.
    pub margin_after: Margin,
}

/// Compares a score with a reference: the float model, or the stage before.
///
/// # Errors
/// [`EvaluationError::NotComparable`] unless both have the same labels and number of classes.
pub fn compare(score: &Score, reference: &Score) -> Result<Comparison, EvaluationError> {
    if let Some(difference) = difference_of_data(score, reference) {
        return Err(EvaluationError::NotComparable {
            score: score.file.clone(),
            reference: reference.file.clone(),
            difference,
        });
    }
    let (range, reference_range) = (score.logits.largest_range(), reference.logits.largest_range());
    let flips: Vec<Flip> = (0..score.images())
        .filter(|&image| score.predictions[image] != reference.predictions[image])
        .map(|image| Flip {
            image,
            label: score.labels[image],
            before: reference.predictions[image],
            after: score.predictions[image],
            margin_before: reference.logits.margin(image, reference_range),
            margin_after: score.logits.margin(image, range),
        })
        .collect();
    // An image that one of the two gets right and the other wrong is a flip.
    let lost = flips.iter().filter(|flip| flip.before == flip.label).count();
    let gained = flips.iter().filter(|flip| flip.after == flip.label).count();
    Ok(Comparison {
        images: score.images(),
        agreeing: score.images() - flips.len(),
        paired_test: PairedTest::of(lost, gained),
        largest_logit_gap: largest_gap(&score.logits, &reference.logits),
        different_outputs: different_elements(score.logits.values(), reference.logits.values()),
        flips,
    })
}

fn difference_of_data(score: &Score, reference: &Score) -> Option<String> {
    let (classes, reference_classes) = (score.logits.classes(), reference.logits.classes());
    if score.images() != reference.images() {
        Some(format!("{} and {} images", score.images(), reference.images()))
    } else if classes != reference_classes {
        Some(format!("{classes} and {reference_classes} classes"))
    } else {
        let image = (0..score.images()).find(|&image| score.labels[image] != reference.labels[image])?;
        Some(format!("labels {} and {} of image {image}", score.labels[image], reference.labels[image]))
    }
}

fn largest_gap(logits: &Logits, reference: &Logits) -> Option<LogitGap> {
    let measure = GapMeasure::between(logits.kind(), reference.kind());
    let mut gap = LogitGap { measure, value: 0.0, image: 0, class: 0, reference_magnitude: 0.0 };
    for image in 0..logits.images() {
        let (row, reference_row) = (logits.row(image, measure)?, reference.row(image, measure)?);
        for (class, (value, reference_value)) in row.iter().zip(&reference_row).enumerate() {
            gap.reference_magnitude = gap.reference_magnitude.max(reference_value.abs());
            let difference = (value - reference_value).abs();
            if difference > gap.value {
                gap = LogitGap { value: difference, image, class, ..gap };
            }
        }
    }
    Some(gap)
}

/// Bits are compared, so that -0 and 0 differ: this count is about equal runs, not about values.
fn different_elements(a: &Tensor, b: &Tensor) -> Option<usize> {
    fn count<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> usize {
        a.iter().zip(b).filter(|(a, b)| !same(a, b)).count()
    }
    if let (Some(a), Some(b)) = (a.as_slice::<f32>(), b.as_slice::<f32>()) {
        return Some(count(a, b, |a, b| a.to_bits() == b.to_bits()));
    }
    if a.dtype() != b.dtype() {
        return None;
    }
    Some(count(&a.to_i64_vec()?, &b.to_i64_vec()?, |a, b| a == b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::tests::score_of;

    fn floats(labels: &[u32], rows: &[[f32; 3]], kind: OutputKind) -> Score {
        let values = Tensor::from_vec(&[rows.len(), 3], rows.concat()).unwrap();
        score_of("floats.onnx", labels, values, kind, None)
    }

    fn integers(labels: &[u32], rows: &[[i32; 3]], scale: Option<f64>) -> Score {
        let values = Tensor::from_vec(&[rows.len(), 3], rows.concat()).unwrap();
        score_of("integers.onnx", labels, values, OutputKind::Logits, scale)
    }

    #[test]
    fn integer_logits_are_compared_in_real_units() {
        let reference = floats(&[0, 1], &[[2.0, 1.0, 0.0], [0.5, 1.0, 0.0]], OutputKind::Logits);
        let score = integers(&[0, 1], &[[8, 4, 0], [2, 3, 0]], Some(0.25));
        let comparison = compare(&score, &reference).unwrap();
        assert_eq!(comparison.agreeing, 2);
        assert_eq!(
            comparison.largest_logit_gap,
            Some(LogitGap {
                measure: GapMeasure::Logits,
                value: 0.25,
                image: 1,
                class: 1,
                reference_magnitude: 2.0
            })
        );
        assert_eq!(comparison.different_outputs, None);
    }

    #[test]
    fn without_a_scale_there_is_agreement_but_no_gap() {
        let reference = floats(&[0], &[[2.0, 1.0, 0.0]], OutputKind::Logits);
        let comparison = compare(&integers(&[0], &[[8, 4, 0]], None), &reference).unwrap();
        assert_eq!((comparison.agreeing, comparison.largest_logit_gap), (1, None));
    }

    #[test]
    fn a_flip_tells_both_margins() {
        let before = floats(&[1, 2], &[[0.0, 1.0, 0.875], [0.0, 0.0, 3.0]], OutputKind::Logits);
        let after = integers(&[1, 2], &[[0, 3, 4], [0, 0, 12]], Some(0.25));
        let comparison = compare(&after, &before).unwrap();
        let flip = Flip {
            image: 0,
            label: 1,
            before: 1,
            after: 2,
            margin_before: Margin { value: 0.125, relative: 0.125 / 3.0 },
            // In units of the integer logits, whose largest range is 12.
            margin_after: Margin { value: 1.0, relative: 1.0 / 12.0 },
        };
        assert_eq!(comparison.flips, [flip]);
        assert_eq!(comparison.paired_test, PairedTest::of(1, 0));
        assert_eq!(comparison.agreeing, 1);
    }

    #[test]
    fn only_images_that_one_side_gets_right_are_lost_or_gained() {
        // Of four flips: right to wrong, wrong to right, wrong to wrong, right to wrong.
        let class = |class: usize| std::array::from_fn(|index| if index == class { 1.0 } else { 0.0 });
        let rows = |classes: [usize; 5]| classes.map(class);
        let before = floats(&[0, 1, 2, 0, 1], &rows([0, 0, 0, 0, 1]), OutputKind::Logits);
        let after = floats(&[0, 1, 2, 0, 1], &rows([1, 1, 1, 2, 1]), OutputKind::Logits);
        let comparison = compare(&after, &before).unwrap();
        assert_eq!((comparison.flips.len(), comparison.paired_test), (4, PairedTest::of(2, 1)));
    }

    #[test]
    fn a_tie_goes_to_the_first_class_on_both_sides() {
        // 0 and 1 tie before; after, 1 and 2 do: a flip from 0 to 1 with no margin before.
        let before = floats(&[0], &[[1.0, 1.0, 0.0]], OutputKind::Logits);
        let after = floats(&[0], &[[0.5, 1.0, 1.0]], OutputKind::Logits);
        let comparison = compare(&after, &before).unwrap();
        assert_eq!(comparison.flips.len(), 1);
        let flip = comparison.flips[0];
        assert_eq!((flip.before, flip.after, flip.margin_before.value), (0, 1, 0.0));
    }

    #[test]
    fn different_data_is_refused() {
        let score = floats(&[0, 1], &[[2.0, 1.0, 0.0]; 2], OutputKind::Logits);
        let other_labels = floats(&[0, 2], &[[2.0, 1.0, 0.0]; 2], OutputKind::Logits);
        let fewer = floats(&[0], &[[2.0, 1.0, 0.0]], OutputKind::Logits);
        let message = compare(&score, &other_labels).unwrap_err().to_string();
        assert!(message.contains("labels 1 and 2 of image 1"), "{message}");
        let message = compare(&score, &fewer).unwrap_err().to_string();
        assert!(message.contains("2 and 1 images"), "{message}");
    }

    #[test]
    fn equal_bits_are_told_from_equal_values() {
        let score = floats(&[0], &[[1.0, 0.0, 0.5]], OutputKind::Logits);
        assert_eq!(compare(&score, &score).unwrap().different_outputs, Some(0));
        let negative_zero = floats(&[0], &[[1.0, -0.0, 0.5]], OutputKind::Logits);
        let comparison = compare(&score, &negative_zero).unwrap();
        assert_eq!(comparison.different_outputs, Some(1));
        assert_eq!(comparison.largest_logit_gap.unwrap().value, 0.0);
    }

    #[test]
    fn probabilities_are_compared_as_such() {
        let logits = floats(&[0], &[[0.0, 0.0, 0.0]], OutputKind::Logits);
        let probabilities = floats(&[0], &[[0.5, 0.25, 0.25]], OutputKind::Probabilities);
        let gap = compare(&logits, &probabilities).unwrap().largest_logit_gap.unwrap();
        assert_eq!(gap.measure, GapMeasure::Softmax);
        assert!((gap.value - (0.5 - 1.0 / 3.0)).abs() < 1e-12, "{gap:?}");
        assert_eq!(gap.reference_magnitude, 0.5);
    }

    proptest::proptest! {
        /// A model that ends in `LogSoftmax` and the same one without it are no gap apart, whatever
        /// offset the log-sum-exp of an image is.
        #[test]
        fn log_softmax_makes_no_gap(rows in proptest::collection::vec([-30.0f32..30.0, -30.0f32..30.0, -30.0f32..30.0], 1..20)) {
            let labels = vec![0; rows.len()];
            let normalized: Vec<[f32; 3]> = rows
                .iter()
                .map(|row| {
                    let sum: f64 = row.iter().map(|&v| f64::from(v).exp()).sum();
                    row.map(|v| (f64::from(v) - sum.ln()) as f32)
                })
                .collect();
            let raw = floats(&labels, &rows, OutputKind::Logits);
            let log_probabilities = floats(&labels, &normalized, OutputKind::LogProbabilities);
            let comparison = compare(&raw, &log_probabilities).unwrap();
            let gap = comparison.largest_logit_gap.unwrap();
            proptest::prop_assert_eq!(gap.measure, GapMeasure::LogSoftmax);
            // One rounding to f32 of a number below 64 is at most 2^-19.
            proptest::prop_assert!(gap.value <= 4e-6, "{:?}", gap);
        }
    }
}
