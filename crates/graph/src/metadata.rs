//! What a model's metadata says, under keys of our own.

use crate::{Graph, Stage};

/// The stage that the file is at.
pub const STAGE: &str = "onnx2int.stage";
/// The mean of the preprocessing `(x / 255 - mean) / std`, as decimal text of an f32.
pub const MEAN: &str = "onnx2int.mean";
/// The standard deviation of the preprocessing, as decimal text of an f32.
pub const STD: &str = "onnx2int.std";
/// What one unit of the integer logits stands for, as decimal text of an f32.
pub const LOGIT_SCALE: &str = "onnx2int.logit_scale";

/// The preprocessing `(x / 255 - mean) / std` of a pixel `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Subtracted from the pixel over 255.
    pub mean: f32,
    /// Divides the difference; above 0.
    pub std: f32,
}

/// A mean that is not finite, or a standard deviation that is not finite and above 0.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("mean {mean} and std {std}: expected finite numbers and a std above 0")]
pub struct NormalizationError {
    /// The mean given.
    pub mean: f32,
    /// The standard deviation given.
    pub std: f32,
}

impl Default for Normalization {
    /// Mean 33/255 and standard deviation 0.3081.
    ///
    /// MNIST's own mean is 0.1307, which is 33.33/255. With 33/255 the preprocessing is exactly
    /// `scale * (x - 33)` with `scale = 1 / (255 * std)`, so that a uint8 input with zero point 33
    /// loses nothing.
    fn default() -> Self {
        Self { mean: 33.0 / 255.0, std: 0.3081 }
    }
}

impl Normalization {
    /// A checked normalization.
    ///
    /// # Errors
    /// The mean is not finite, or the standard deviation is not finite and above 0.
    pub fn new(mean: f32, std: f32) -> Result<Self, NormalizationError> {
        if mean.is_finite() && std.is_finite() && std > 0.0 {
            Ok(Self { mean, std })
        } else {
            Err(NormalizationError { mean, std })
        }
    }

    /// What the metadata says, if both numbers are there and make a normalization.
    pub fn of(graph: &Graph) -> Option<Self> {
        let number = |key: &str| graph.metadata().get(key)?.trim().parse::<f32>().ok();
        Self::new(number(MEAN)?, number(STD)?).ok()
    }

    /// The network's input for a pixel, computed in f32 as PyTorch's `ToTensor` and `Normalize` do.
    pub fn apply(self, pixel: u8) -> f32 {
        (f32::from(pixel) / 255.0 - self.mean) / self.std
    }

    /// The network's input for every pixel value.
    pub fn table(self) -> [f32; 256] {
        std::array::from_fn(|pixel| self.apply(pixel as u8))
    }

    /// Scale and zero point of the same map in the form `scale * (x - zero_point)`, exactly:
    /// `1 / (255 std)` and `255 mean`. The zero point is in general no integer.
    pub fn as_quantization(self) -> (f64, f64) {
        (1.0 / (255.0 * f64::from(self.std)), 255.0 * f64::from(self.mean))
    }
}

/// The stage that the metadata names, if it names one.
pub fn stage(graph: &Graph) -> Option<Stage> {
    graph.metadata().get(STAGE).and_then(|name| Stage::from_name(name))
}

/// What one unit of the integer logits stands for, if the metadata says so.
pub fn logit_scale(graph: &Graph) -> Option<f64> {
    let scale = graph.metadata().get(LOGIT_SCALE)?.trim().parse::<f64>().ok()?;
    (scale.is_finite() && scale > 0.0).then_some(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_maps_33_to_zero_and_is_affine() {
        let normalization = Normalization::default();
        assert_eq!(normalization.apply(33), 0.0);
        let (scale, _) = normalization.as_quantization();
        for pixel in 0..=255_u8 {
            let exact = scale * (f64::from(pixel) - 33.0);
            assert!((f64::from(normalization.apply(pixel)) - exact).abs() < 1e-6, "{pixel}");
        }
    }

    #[test]
    fn refuses_what_divides_by_nothing() {
        for (mean, std) in [(0.1307, 0.0), (f32::NAN, 1.0), (0.0, -1.0), (0.0, f32::INFINITY)] {
            assert!(Normalization::new(mean, std).is_err(), "{mean} {std}");
        }
        assert_eq!(Normalization::new(0.5, 0.5).unwrap().apply(255), 1.0);
    }
}
