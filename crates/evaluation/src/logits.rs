//! Raw class scores of many images.

use onnx2int_graph::{Tensor, match_tensor};
use serde::{Deserialize, Serialize};

use crate::{EvaluationError, GapMeasure};

/// So many classes have numbers of 32 bits.
const MOST_CLASSES: usize = u32::MAX as usize;

/// What a model's outputs stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// Scores of any offset, as the last layer gives them.
    Logits,
    /// Logarithms of probabilities: the model ends in `LogSoftmax`.
    LogProbabilities,
    /// Probabilities: the model ends in `Softmax`.
    Probabilities,
}

/// How sure a model is of the class it gives to an image: its greatest output minus the runner-up.
///
/// Zero for a tie; never negative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Margin {
    /// The difference in the unit of the model's own outputs: a real number for float logits, a
    /// count for integers.
    pub value: f64,
    /// The same over the greatest difference that this model makes between two outputs of any one
    /// image, in `[0, 1]`: comparable between models whatever their units.
    pub relative: f64,
}

/// The raw outputs for a set of images, `[images, classes]`.
///
/// At least one image and one class; numbers only, floats finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    values: Tensor,
    kind: OutputKind,
    scale: Option<f64>,
}

impl Logits {
    /// Checks and takes raw outputs of the model `file`.
    ///
    /// `scale` is the real number that one unit of an integer output stands for, where it is known;
    /// float outputs are real numbers as they are, and theirs is ignored.
    ///
    /// # Errors
    /// [`EvaluationError::OutputShape`] for anything but numbers of shape `[images, classes]` with at least one of both,
    /// [`EvaluationError::NotFinite`] for a NaN or an infinity: neither has an argmax or a gap that
    /// means something.
    pub fn new(
        file: &str,
        images: usize,
        values: Tensor,
        kind: OutputKind,
        scale: Option<f64>,
    ) -> Result<Self, EvaluationError> {
        let numbers = match &values {
            Tensor::F32(_) | Tensor::U8(_) | Tensor::I8(_) | Tensor::I32(_) | Tensor::I64(_) => true,
            Tensor::Bool(_) => false,
        };
        let fits = matches!(*values.shape(), [rows, 1..=MOST_CLASSES] if rows == images && rows > 0);
        if !numbers || !fits {
            return Err(EvaluationError::OutputShape {
                file: file.to_owned(),
                images,
                dtype: values.dtype(),
                shape: values.shape().to_vec(),
            });
        }
        let classes = values.shape()[1];
        if let Some(floats) = values.as_slice::<f32>()
            && let Some(at) = floats.iter().position(|value| !value.is_finite())
        {
            return Err(EvaluationError::NotFinite {
                file: file.to_owned(),
                image: at / classes,
                class: at % classes,
                value: floats[at],
            });
        }
        let scale = if values.as_slice::<f32>().is_some() { Some(1.0) } else { scale };
        Ok(Self { values, kind, scale })
    }

    /// The outputs, `[images, classes]`, as the model gave them.
    pub const fn values(&self) -> &Tensor {
        &self.values
    }

    /// What the outputs stand for.
    pub const fn kind(&self) -> OutputKind {
        self.kind
    }

    /// The real number that one unit stands for: 1 for floats, none where it is not known.
    pub const fn scale(&self) -> Option<f64> {
        self.scale
    }

    /// The number of images.
    pub fn images(&self) -> usize {
        self.values.shape()[0]
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.values.shape()[1]
    }

    /// The class with the greatest raw output of each image; of equal ones, the first.
    pub fn argmax(&self) -> Vec<u32> {
        fn go<T: PartialOrd + Copy>(values: &[T], classes: usize) -> Vec<u32> {
            values.chunks_exact(classes).map(first_greatest).collect()
        }
        let classes = self.classes();
        match_tensor!(&self.values, array => {
            go(array.as_slice().expect("tensors are in standard layout"), classes)
        })
    }

    /// Each image's classes in the order of their raw outputs, the greatest first, of equal ones the
    /// first; at most `count` of them.
    pub fn greatest(&self, count: usize) -> Vec<Vec<u32>> {
        fn go<T: PartialOrd + Copy>(values: &[T], classes: usize, count: usize) -> Vec<Vec<u32>> {
            let order = |row: &[T]| {
                let mut order: Vec<u32> = (0..row.len() as u32).collect();
                let greater = |&a: &u32, &b: &u32| {
                    row[b as usize].partial_cmp(&row[a as usize]).expect("outputs are finite numbers")
                };
                // Stable, so that of equal ones the first stays first.
                order.sort_by(greater);
                order.truncate(count);
                order
            };
            values.chunks_exact(classes).map(order).collect()
        }
        let classes = self.classes();
        match_tensor!(&self.values, array => {
            go(array.as_slice().expect("tensors are in standard layout"), classes, count)
        })
    }

    /// The outputs of one image as real numbers in some measure, unless the scale is not known.
    ///
    /// # Panics
    /// If there is no such image, or if `measure` cannot be had from this kind of output; the
    /// measure that [`GapMeasure::between`] chooses always can.
    pub(crate) fn row(&self, image: usize, measure: GapMeasure) -> Option<Vec<f64>> {
        let scale = self.scale?;
        let mut row = self.units(image);
        row.iter_mut().for_each(|value| *value *= scale);
        match (measure, self.kind) {
            (GapMeasure::Logits, OutputKind::Logits) | (GapMeasure::Softmax, OutputKind::Probabilities) => {}
            (GapMeasure::LogSoftmax, OutputKind::Logits | OutputKind::LogProbabilities) => {
                subtract_log_sum_exp(&mut row);
            }
            (GapMeasure::Softmax, OutputKind::Logits | OutputKind::LogProbabilities) => {
                subtract_log_sum_exp(&mut row);
                row.iter_mut().for_each(|value| *value = value.exp());
            }
            (GapMeasure::Logits, OutputKind::LogProbabilities | OutputKind::Probabilities)
            | (GapMeasure::LogSoftmax, OutputKind::Probabilities) => {
                unreachable!("{measure:?} cannot be had from {:?}", self.kind)
            }
        }
        Some(row)
    }

    /// By how much the greatest output of an image is above the greatest of the others;
    /// `largest_range` is [`Logits::largest_range`], which is the same for all images.
    ///
    /// # Panics
    /// If there is no such image.
    pub(crate) fn margin(&self, image: usize, largest_range: f64) -> Margin {
        let (mut first, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for value in self.units(image) {
            if value > first {
                (first, second) = (value, first);
            } else if value > second {
                second = value;
            }
        }
        // Of a single class there is none that it could be taken for.
        let value = if second.is_finite() { first - second } else { 0.0 };
        Margin { value, relative: if largest_range > 0.0 { value / largest_range } else { 0.0 } }
    }

    /// The greatest difference of two outputs of one image, over all images, in the outputs' unit.
    pub(crate) fn largest_range(&self) -> f64 {
        let range = |image| {
            let row = self.units(image);
            let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            greatest - row.iter().copied().fold(f64::INFINITY, f64::min)
        };
        (0..self.images()).map(range).fold(0.0, f64::max)
    }

    /// The outputs of one image as the model gave them.
    pub(crate) fn units(&self, image: usize) -> Vec<f64> {
        let classes = self.classes();
        let span = image * classes..(image + 1) * classes;
        match &self.values {
            Tensor::F32(a) => slice(a)[span].iter().map(|&v| f64::from(v)).collect(),
            Tensor::U8(a) => slice(a)[span].iter().map(|&v| f64::from(v)).collect(),
            Tensor::I8(a) => slice(a)[span].iter().map(|&v| f64::from(v)).collect(),
            Tensor::I32(a) => slice(a)[span].iter().map(|&v| f64::from(v)).collect(),
            Tensor::I64(a) => slice(a)[span].iter().map(|&v| v as f64).collect(),
            Tensor::Bool(_) => unreachable!("logits are numbers"),
        }
    }
}

fn slice<T>(array: &onnx2int_graph::Array<T>) -> &[T] {
    array.as_slice().expect("tensors are in standard layout")
}

fn first_greatest<T: PartialOrd + Copy>(row: &[T]) -> u32 {
    let mut best = 0;
    for class in 1..row.len() {
        if row[class] > row[best] {
            best = class;
        }
    }
    u32::try_from(best).expect("logits have at most as many classes as fit")
}

/// `x - log(sum(exp(x)))`, the greatest element taken out first so that no exponential overflows.
fn subtract_log_sum_exp(row: &mut [f64]) {
    let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|value| (value - greatest).exp()).sum();
    let log_sum_exp = greatest + sum.ln();
    row.iter_mut().for_each(|value| *value -= log_sum_exp);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(shape: &[usize], values: Vec<f32>) -> Result<Logits, EvaluationError> {
        let values = Tensor::from_vec(shape, values).unwrap();
        Logits::new("m.onnx", shape[0], values, OutputKind::Logits, None)
    }

    #[test]
    fn the_first_of_equal_outputs_wins() {
        let floats = logits(&[3, 3], vec![1.0, 2.0, 2.0, -0.0, 0.0, -1.0, 5.0, 5.0, 5.0]).unwrap();
        assert_eq!(floats.argmax(), [1, 0, 0]);
        let integers = Tensor::from_vec(&[2, 3], vec![i32::MIN, -7, -7, 3, 3, i32::MAX]).unwrap();
        let integers = Logits::new("m.onnx", 2, integers, OutputKind::Logits, None).unwrap();
        assert_eq!(integers.argmax(), [1, 2]);
    }

    #[test]
    fn the_greatest_outputs_come_in_order_and_ties_by_class() {
        let values = vec![16_777_216_i32, 16_777_217, 5, 16_777_216, 3, 3, 3, 4];
        let values = Tensor::from_vec(&[2, 4], values).unwrap();
        let logits = Logits::new("m.onnx", 2, values, OutputKind::Logits, None).unwrap();
        assert_eq!(logits.greatest(3), [vec![1, 0, 3], vec![3, 0, 1]]);
        assert_eq!(logits.greatest(9)[1], [3, 0, 1, 2]);
    }

    #[test]
    fn large_integers_are_not_rounded_before_they_are_ordered() {
        // As f32 both are 16 777 216.
        let values = Tensor::from_vec(&[1, 2], vec![16_777_216_i32, 16_777_217]).unwrap();
        assert_eq!(Logits::new("m.onnx", 1, values, OutputKind::Logits, None).unwrap().argmax(), [1]);
    }

    #[test]
    fn outputs_without_order_are_refused_with_image_and_class() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = logits(&[2, 2], vec![0.0, 1.0, 0.0, value]).unwrap_err();
            assert!(
                matches!(error, EvaluationError::NotFinite { image: 1, class: 1, .. }),
                "{value}: {error}"
            );
        }
    }

    #[test]
    fn outputs_that_are_not_a_table_of_numbers_are_refused() {
        let tables = [
            Tensor::vector(vec![1.0_f32, 2.0]),
            Tensor::from_vec(&[0, 2], Vec::<i32>::new()).unwrap(),
            Tensor::from_vec(&[2, 0], Vec::<f32>::new()).unwrap(),
            Tensor::from_vec(&[3, 2], vec![0_i32; 6]).unwrap(),
            Tensor::from_vec(&[2, 1, 1], vec![0_i32; 2]).unwrap(),
            Tensor::from_vec(&[2, 2], vec![true; 4]).unwrap(),
        ];
        for table in tables {
            let shape = table.shape().to_vec();
            let error = Logits::new("m.onnx", 2, table, OutputKind::Logits, None).unwrap_err();
            assert!(matches!(error, EvaluationError::OutputShape { .. }), "{shape:?}: {error}");
        }
    }

    #[test]
    fn a_margin_is_the_first_minus_the_second_in_the_models_own_unit() {
        let values = Tensor::from_vec(&[3, 3], vec![7_i32, -3, 5, 4, 4, 0, -9, -10, -8]).unwrap();
        let logits = Logits::new("m.onnx", 3, values, OutputKind::Logits, Some(0.001)).unwrap();
        let range = logits.largest_range();
        assert_eq!(range, 10.0);
        let margins = [0, 1, 2].map(|image| logits.margin(image, range));
        let expected = [(2.0, 0.2), (0.0, 0.0), (1.0, 0.1)];
        assert_eq!(margins, expected.map(|(value, relative)| Margin { value, relative }));
    }

    #[test]
    fn constant_outputs_and_a_single_class_have_no_margin() {
        for values in [vec![2.0, 2.0], vec![3.0]] {
            let logits = logits(&[1, values.len()], values).unwrap();
            let margin = logits.margin(0, logits.largest_range());
            assert_eq!(margin, Margin { value: 0.0, relative: 0.0 });
        }
    }

    #[test]
    fn log_sum_exp_survives_large_logits() {
        let mut row = [1000.0, 1000.0];
        subtract_log_sum_exp(&mut row);
        assert!((row[0] + std::f64::consts::LN_2).abs() < 1e-12, "{row:?}");
    }
}
