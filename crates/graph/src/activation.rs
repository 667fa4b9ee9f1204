//! Activation functions: one number in, one number out.

/// A function of one f32, applied to every element. The operand and the result have one shape.
///
/// [`Activation::of`] says what each one is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x` from 0 on, `alpha * x` below.
    LeakyRelu {
        /// The slope below 0.
        alpha: f32,
    },
    /// `x` from 0 on, `alpha * (exp(x) - 1)` below.
    Elu {
        /// Minus the limit at minus infinity.
        alpha: f32,
    },
    /// `max(0, min(1, alpha * x + beta))`.
    HardSigmoid {
        /// The slope in the middle.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// `x * max(0, min(1, x / 6 + 1 / 2))`.
    HardSwish,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `log(exp(x) + 1)`.
    Softplus,
    /// The error function.
    Erf,
    /// `x` times the normal distribution function at `x`.
    Gelu {
        /// By the usual approximation of that function, `(1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`.
        tanh: bool,
    },
}

impl Activation {
    /// The ONNX `op_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LeakyRelu { .. } => "LeakyRelu",
            Self::Elu { .. } => "Elu",
            Self::HardSigmoid { .. } => "HardSigmoid",
            Self::HardSwish => "HardSwish",
            Self::Sigmoid => "Sigmoid",
            Self::Tanh => "Tanh",
            Self::Softplus => "Softplus",
            Self::Erf => "Erf",
            Self::Gelu { .. } => "Gelu",
        }
    }

    /// The function's value at `x`, by ONNX's formula in f64 and rounded to f32 once.
    ///
    /// NaN gives NaN. The elementary functions are those of one library in Rust and not of the
    /// system's, so that a table of values is the same on every machine.
    pub fn of(self, x: f32) -> f32 {
        let x = f64::from(x);
        let value = match self {
            Self::LeakyRelu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * x
                } else {
                    x
                }
            }
            Self::Elu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * libm::expm1(x)
                } else {
                    x
                }
            }
            // `clamp` keeps NaN, which `max` and `min` would drop.
            Self::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
            Self::Tanh => libm::tanh(x),
            // The same number, without an exponential that overflows.
            Self::Softplus => libm::log1p(libm::exp(-x.abs())) + if x < 0.0 { 0.0 } else { x },
            Self::Erf => libm::erf(x),
            Self::Gelu { tanh: false } => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Self::Gelu { tanh: true } => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + libm::tanh(inner))
            }
        };
        value as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 10] = [
        Activation::LeakyRelu { alpha: 0.01 },
        Activation::Elu { alpha: 1.0 },
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::HardSwish,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Softplus,
        Activation::Erf,
        Activation::Gelu { tanh: false },
        Activation::Gelu { tanh: true },
    ];

    #[test]
    fn values_are_those_of_tables() {
        // To ten digits, from the Digital Library of Mathematical Functions and by hand.
        for (activation, x, expected) in [
            (Activation::LeakyRelu { alpha: 0.25 }, -2.0, -0.5),
            (Activation::LeakyRelu { alpha: 0.25 }, 3.0, 3.0),
            (Activation::Elu { alpha: 2.0 }, -1.0, -1.264_241_117_7),
            (Activation::Elu { alpha: 2.0 }, 1.5, 1.5),
            (Activation::HardSigmoid { alpha: 0.25, beta: 0.5 }, -1.0, 0.25),
            (Activation::HardSigmoid { alpha: 0.25, beta: 0.5 }, -2.5, 0.0),
            (Activation::HardSigmoid { alpha: 0.25, beta: 0.5 }, 2.5, 1.0),
            (Activation::HardSwish, 1.5, 1.125),
            (Activation::HardSwish, -3.5, 0.0),
            (Activation::HardSwish, 4.0, 4.0),
            (Activation::Sigmoid, 1.0, 0.731_058_578_6),
            (Activation::Tanh, 0.5, 0.462_117_157_3),
            (Activation::Softplus, 1.0, 1.313_261_687_5),
            (Activation::Softplus, -1.0, 0.313_261_687_5),
            (Activation::Erf, 0.5, 0.520_499_877_8),
            (Activation::Erf, -1.0, -0.842_700_792_9),
            // The normal distribution function at 1 is 0.8413447461.
            (Activation::Gelu { tanh: false }, 1.0, 0.841_344_746_1),
            (Activation::Gelu { tanh: false }, -1.0, -0.158_655_253_9),
            (Activation::Gelu { tanh: true }, 1.0, 0.841_191_990_6),
        ] {
            let found = f64::from(activation.of(x));
            assert!((found - expected).abs() < 1e-7, "{activation:?} of {x}: {found}, not {expected}");
        }
    }

    #[test]
    fn far_out_they_are_their_limits() {
        let far = 1e4;
        for (activation, low, high) in [
            (Activation::Elu { alpha: 2.0 }, -2.0, far),
            (Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }, 0.0, 1.0),
            (Activation::HardSwish, 0.0, far),
            (Activation::Sigmoid, 0.0, 1.0),
            (Activation::Tanh, -1.0, 1.0),
            (Activation::Softplus, 0.0, far),
            (Activation::Erf, -1.0, 1.0),
            (Activation::Gelu { tanh: false }, 0.0, far),
            (Activation::Gelu { tanh: true }, 0.0, far),
        ] {
            assert_eq!((activation.of(-far), activation.of(far)), (low, high), "{activation:?}");
        }
    }

    #[test]
    fn not_a_number_stays_one() {
        for activation in ALL {
            assert!(activation.of(f32::NAN).is_nan(), "{activation:?}");
        }
    }
}
