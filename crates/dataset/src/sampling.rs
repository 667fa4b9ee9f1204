//! Which training images serve for what.
//!
//! MNIST's files are ordered by writer. The validation images are the **last** ones rather than
//! every twelfth, so that few writers have images on both sides and the validation accuracy says
//! what a network does on handwriting that it has not seen. Nothing here depends on a seed:
//! runs of different seeds are compared on the same images.

use std::ops::Range;

use crate::{DatasetError, Images};

/// Of how many training images one is set aside: 5 000 of MNIST's 60 000.
const VALIDATION_DIVISOR: usize = 12;

/// The two parts of a training set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// What weights and ranges are learned from: 0..55 000 of MNIST.
    pub training: Range<usize>,
    /// What recipes are chosen by: 55 000..60 000 of MNIST.
    pub validation: Range<usize>,
}

impl Images {
    /// Sets the last twelfth aside for validation, rounded down.
    pub fn split(&self) -> Split {
        let border = self.len() - self.len() / VALIDATION_DIVISOR;
        Split { training: 0..border, validation: border..self.len() }
    }

    /// `count` images of the training part, evenly spread over it, in ascending order.
    ///
    /// The same `count` always chooses the same images of a training set.
    ///
    /// # Errors
    /// `count` is 0, or more than the training part has.
    pub fn calibration_indices(&self, count: usize) -> Result<Vec<usize>, DatasetError> {
        spread(self.split().training.len(), count)
    }
}

/// `count` of the images `0..available`, evenly spread over them, in ascending order.
///
/// # Errors
/// [`DatasetError::CalibrationCount`]: `count` is 0, or more than there are.
pub fn spread(available: usize, count: usize) -> Result<Vec<usize>, DatasetError> {
    if count == 0 || count > available {
        return Err(DatasetError::CalibrationCount { requested: count, available });
    }
    Ok((0..count).map(|index| index * available / count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PIXELS;

    fn images(count: usize) -> Images {
        Images::new(vec![0; count * PIXELS], vec![0; count]).expect("counts agree")
    }

    #[test]
    fn validation_is_the_last_twelfth() {
        assert_eq!(images(240).split(), Split { training: 0..220, validation: 220..240 });
        assert_eq!(images(5).split(), Split { training: 0..5, validation: 5..5 });
    }

    #[test]
    fn calibration_spreads_over_the_training_part_only() {
        let images = images(240);
        assert_eq!(images.calibration_indices(4).expect("4 of 220"), [0, 55, 110, 165]);
        assert_eq!(images.calibration_indices(220).expect("all of 220"), Vec::from_iter(0..220));
        for count in 1..=220 {
            let indices = images.calibration_indices(count).expect("at most 220");
            assert_eq!(indices.len(), count);
            assert!(indices.windows(2).all(|pair| pair[0] < pair[1]), "{indices:?}");
            assert!(indices.iter().all(|&index| index < 220));
        }
    }

    #[test]
    fn calibration_refuses_what_is_not_there() {
        for count in [0, 221] {
            let message = images(240).calibration_indices(count).expect_err("not there").to_string();
            assert_eq!(message, format!("cannot choose {count} calibration images: expected 1 to 220"));
        }
    }
}
