//! From bytes to what the float network was trained on.

use crate::DatasetError;

/// The preprocessing `(x / 255 - mean) / std` of a pixel `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Subtracted from the pixel over 255.
    pub mean: f32,
    /// Divides the difference.
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
    pub fn new(mean: f32, std: f32) -> Result<Self, DatasetError> {
        if mean.is_finite() && std.is_finite() && std > 0.0 {
            Ok(Self { mean, std })
        } else {
            Err(DatasetError::Normalization { mean, std })
        }
    }

    /// The network's input for a pixel, computed in f32 as PyTorch's `ToTensor` and `Normalize` do.
    pub fn apply(self, pixel: u8) -> f32 {
        (f32::from(pixel) / 255.0 - self.mean) / self.std
    }

    /// The network's input for every pixel value.
    pub fn table(self) -> [f32; 256] {
        std::array::from_fn(|pixel| self.apply(pixel as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_maps_33_to_zero_and_is_affine() {
        let normalization = Normalization::default();
        assert_eq!(normalization.apply(33), 0.0);
        let scale = 1.0 / (255.0 * f64::from(normalization.std));
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
        assert_eq!(Normalization::new(0.5, 0.5).expect("both are fine").apply(255), 1.0);
    }
}
