//! Operators that work element by element, with numpy's broadcasting.

use std::fmt::Display;

use onnx2int_graph::{Activation, DType, Element, Tensor};

use crate::OpError;
use crate::broadcast::{common_shape, expanded};
use crate::operands::{Operands, filled};

/// Numbers that elementwise operators take.
trait Number: Element + PartialOrd + Display + Default {
    fn is_nan(self) -> bool {
        false
    }
    /// The exact result, or none if the type cannot hold it. Floats always have one.
    fn add(self, other: Self) -> Option<Self>;
    fn sub(self, other: Self) -> Option<Self>;
    fn mul(self, other: Self) -> Option<Self>;
    /// Integers truncate towards zero; `other` is not an integer 0.
    fn div(self, other: Self) -> Option<Self>;
}

impl Number for f32 {
    fn is_nan(self) -> bool {
        Self::is_nan(self)
    }
    fn add(self, other: Self) -> Option<Self> {
        Some(self + other)
    }
    fn sub(self, other: Self) -> Option<Self> {
        Some(self - other)
    }
    fn mul(self, other: Self) -> Option<Self> {
        Some(self * other)
    }
    fn div(self, other: Self) -> Option<Self> {
        Some(self / other)
    }
}

macro_rules! integer {
    ($($ty:ty),*) => {$(
        impl Number for $ty {
            fn add(self, other: Self) -> Option<Self> {
                self.checked_add(other)
            }
            fn sub(self, other: Self) -> Option<Self> {
                self.checked_sub(other)
            }
            fn mul(self, other: Self) -> Option<Self> {
                self.checked_mul(other)
            }
            fn div(self, other: Self) -> Option<Self> {
                self.checked_div(other)
            }
        }
    )*};
}
integer!(u8, i8, i32, i64);

/// Calls a generic kernel with the element type of operand 0.
macro_rules! for_number_type {
    ($x:expr, $kernel:ident($($argument:expr),*)) => {
        match $x.tensor(0)?.dtype() {
            DType::F32 => $kernel::<f32>($($argument),*),
            DType::U8 => $kernel::<u8>($($argument),*),
            DType::I8 => $kernel::<i8>($($argument),*),
            DType::I32 => $kernel::<i32>($($argument),*),
            DType::I64 => $kernel::<i64>($($argument),*),
            found @ DType::Bool => Err(OpError::OperandDtype { slot: 0, expected: "a number type", found }),
        }
    };
}

/// `a + b`.
pub(crate) fn add(x: &Operands<'_>) -> Result<Tensor, OpError> {
    fn kernel<T: Number>(x: &Operands<'_>) -> Result<Tensor, OpError> {
        arithmetic::<T>(x, "+", T::add)
    }
    for_number_type!(x, kernel(x))
}

/// `a - b`.
pub(crate) fn sub(x: &Operands<'_>) -> Result<Tensor, OpError> {
    fn kernel<T: Number>(x: &Operands<'_>) -> Result<Tensor, OpError> {
        arithmetic::<T>(x, "-", T::sub)
    }
    for_number_type!(x, kernel(x))
}

/// `a * b`.
pub(crate) fn mul(x: &Operands<'_>) -> Result<Tensor, OpError> {
    fn kernel<T: Number>(x: &Operands<'_>) -> Result<Tensor, OpError> {
        arithmetic::<T>(x, "*", T::mul)
    }
    for_number_type!(x, kernel(x))
}

/// `a / b`; integers truncate towards zero, and refuse to divide by it.
pub(crate) fn div(x: &Operands<'_>) -> Result<Tensor, OpError> {
    fn kernel<T: Number>(x: &Operands<'_>) -> Result<Tensor, OpError> {
        binary::<T>(x, |element, a, b| {
            if b == T::default() && T::DTYPE.is_integer() {
                return Err(OpError::DivisionByZero { element, dividend: a.to_string() });
            }
            a.div(b).ok_or_else(|| overflow(element, a, "/", b))
        })
    }
    for_number_type!(x, kernel(x))
}

/// The greatest of the operands; NaN if one is.
pub(crate) fn max(x: &Operands<'_>) -> Result<Tensor, OpError> {
    fn kernel<T: Number>(x: &Operands<'_>) -> Result<Tensor, OpError> {
        fold::<T>(x, |a, b| if a.is_nan() || a >= b { a } else { b })
    }
    for_number_type!(x, kernel(x))
}

/// The least of the operands; NaN if one is.
pub(crate) fn min(x: &Operands<'_>) -> Result<Tensor, OpError> {
    fn kernel<T: Number>(x: &Operands<'_>) -> Result<Tensor, OpError> {
        fold::<T>(x, |a, b| if a.is_nan() || a <= b { a } else { b })
    }
    for_number_type!(x, kernel(x))
}

/// `max(x, 0)`; NaN stays.
pub(crate) fn relu(x: &Operands<'_>) -> Result<Tensor, OpError> {
    fn kernel<T: Number>(x: &Operands<'_>) -> Result<Tensor, OpError> {
        let zero = T::default();
        map::<T>(x, |v| if v < zero { zero } else { v })
    }
    for_number_type!(x, kernel(x))
}

/// One function of every element.
pub(crate) fn activation(x: &Operands<'_>, activation: Activation) -> Result<Tensor, OpError> {
    map::<f32>(x, |v| activation.of(v))
}

/// `(x, slope)`: `x` from 0 on, `slope * x` below; `slope` broadcasts to `x`. NaN stays.
pub(crate) fn prelu(x: &Operands<'_>) -> Result<Tensor, OpError> {
    let result = binary::<f32>(x, |_, v, slope| Ok(if v < 0.0 { slope * v } else { v }))?;
    let shape = x.tensor(0)?.shape();
    if result.shape() != shape {
        return Err(OpError::shape(format!("a slope that broadcasts to {shape:?}"), x.describe()));
    }
    Ok(result)
}

/// `(x, min?, max?)`: `min(max(x, min), max)`, so that `max` wins where `min` is above it; NaN
/// stays.
pub(crate) fn clip(x: &Operands<'_>) -> Result<Tensor, OpError> {
    fn bound<T: Number>(x: &Operands<'_>, slot: usize) -> Result<Option<T>, OpError> {
        match x.optional_elements::<T>(slot)? {
            None => Ok(None),
            Some(&[bound]) => Ok(Some(bound)),
            Some(_) => Err(OpError::shape(
                format!("a scalar bound at operand {slot}"),
                format!("shape {:?}", x.tensor(slot)?.shape()),
            )),
        }
    }
    fn kernel<T: Number>(x: &Operands<'_>) -> Result<Tensor, OpError> {
        let (low, high) = (bound::<T>(x, 1)?, bound::<T>(x, 2)?);
        map::<T>(x, |v| {
            let v = low.filter(|&low| v < low).unwrap_or(v);
            high.filter(|&high| v > high).unwrap_or(v)
        })
    }
    for_number_type!(x, kernel(x))
}

fn overflow<T: Number>(element: usize, a: T, operator: &str, b: T) -> OpError {
    OpError::Overflow { element, value: format!("{a} {operator} {b}"), dtype: T::DTYPE }
}

/// One function of every element of operand 0.
fn map<T: Number>(x: &Operands<'_>, function: impl Fn(T) -> T) -> Result<Tensor, OpError> {
    let elements = x.elements::<T>(0)?.iter().map(|&v| function(v)).collect();
    Ok(filled(x.tensor(0)?.shape(), elements))
}

/// A checked operation on every pair of elements of operands 0 and 1.
fn arithmetic<T: Number>(
    x: &Operands<'_>,
    operator: &str,
    operation: impl Fn(T, T) -> Option<T>,
) -> Result<Tensor, OpError> {
    binary::<T>(x, |element, a, b| operation(a, b).ok_or_else(|| overflow(element, a, operator, b)))
}

/// A function of every pair of elements of operands 0 and 1, told the element of the result.
fn binary<T: Number>(
    x: &Operands<'_>,
    function: impl Fn(usize, T, T) -> Result<T, OpError>,
) -> Result<Tensor, OpError> {
    let (a, b) = (x.elements::<T>(0)?, x.elements::<T>(1)?);
    let (a_shape, b_shape) = (x.tensor(0)?.shape(), x.tensor(1)?.shape());
    let shape = common_shape(a_shape, b_shape)?;
    let (a, b) = (expanded(a, a_shape, &shape), expanded(b, b_shape, &shape));
    let elements = a
        .iter()
        .zip(b.iter())
        .enumerate()
        .map(|(element, (&a, &b))| function(element, a, b))
        .collect::<Result<Vec<T>, OpError>>()?;
    Ok(filled(&shape, elements))
}

/// A function of two elements, applied from the first operand to the last.
fn fold<T: Number>(x: &Operands<'_>, function: impl Fn(T, T) -> T) -> Result<Tensor, OpError> {
    x.elements::<T>(0)?;
    let mut result = x.tensor(0)?.clone();
    for slot in 1..x.len() {
        result =
            binary::<T>(&Operands(vec![Some(&result), Some(x.tensor(slot)?)]), |_, a, b| Ok(function(a, b)))?;
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragment::{refusal_of, tensor, value_of};

    /// The result of one operator on these elements.
    fn of(dtype: &str, a: &str, b: &str, op: &str) -> Tensor {
        value_of(&text(dtype, a, b, op))
    }

    fn text(dtype: &str, a: &str, b: &str, op: &str) -> String {
        let count = |list: &str| list.split(',').count();
        format!(
            "const %a: {dtype}[{}] = [{a}]\n const %b: {dtype}[{}] = [{b}]\n %y = {op}(%a, %b)\n out %y",
            count(a),
            count(b)
        )
    }

    #[test]
    fn integer_arithmetic() {
        assert_eq!(of("i32", "7,-7,2147483646", "1", "Add"), tensor(&[3], &[8, -6, i32::MAX]));
        assert_eq!(of("i32", "7,-7", "1,2", "Sub"), tensor(&[2], &[6, -9]));
        assert_eq!(of("u8", "15,5", "17,51", "Mul"), tensor(&[2], &[255u8; 2]));
        // Towards zero on either side.
        assert_eq!(of("i32", "7,-7,7,-7", "2,2,-2,-2", "Div"), tensor(&[4], &[3, -3, -3, 3]));
        assert_eq!(of("i8", "-128,3", "4,4", "Max"), tensor(&[2], &[4i8, 4]));
        assert_eq!(of("i64", "-128,3", "2,2", "Min"), tensor(&[2], &[-128i64, 2]));
    }

    #[test]
    fn overflow_is_refused_in_every_integer_type() {
        for (dtype, a, b, op) in [
            ("i32", "2147483647", "1", "Add"),
            ("i32", "-2147483648", "1", "Sub"),
            ("i32", "65536", "32768", "Mul"),
            ("i32", "-2147483648", "-1", "Div"),
            ("u8", "0", "1", "Sub"),
            ("u8", "128", "2", "Mul"),
            ("i8", "-128", "-1", "Add"),
            ("i64", "9223372036854775807", "2", "Mul"),
        ] {
            let sign = match op {
                "Add" => "+",
                "Sub" => "-",
                "Mul" => "*",
                _ => "/",
            };
            assert_eq!(
                refusal_of(&text(dtype, a, b, op)),
                format!(
                    "node \"y\" ({op} of {dtype}[1], {dtype}[1]): element 0 is {a} {sign} {b}, which {dtype} cannot hold"
                )
            );
        }
    }

    #[test]
    fn division_by_zero_is_refused_for_integers_only() {
        assert_eq!(
            refusal_of(&text("i32", "1,5", "1,0", "Div")),
            r#"node "y" (Div of i32[2], i32[2]): element 1 is 5 divided by zero"#
        );
        assert_eq!(of("f32", "1.0,-1.0", "0.0", "Div"), tensor(&[2], &[f32::INFINITY, f32::NEG_INFINITY]));
    }

    #[test]
    fn float_arithmetic() {
        assert_eq!(of("f32", "0.1", "0.2", "Add"), tensor(&[1], &[0.1f32 + 0.2]));
        assert_eq!(of("f32", "0.1", "0.2", "Sub"), tensor(&[1], &[0.1f32 - 0.2]));
        assert_eq!(of("f32", "0.1", "3.0", "Mul"), tensor(&[1], &[0.1f32 * 3.0]));
        assert_eq!(of("f32", "1.0", "3.0", "Div"), tensor(&[1], &[1.0f32 / 3.0]));
    }

    #[test]
    fn not_a_number_passes_through_comparisons() {
        for op in ["Max", "Min"] {
            for (a, b) in [("nan", "1.0"), ("1.0", "nan")] {
                assert!(of("f32", a, b, op).as_single::<f32>().unwrap().is_nan(), "{op}({a}, {b})");
            }
        }
        let relu = value_of("const %x: f32[1] = [nan]\n %y = Relu(%x)\n out %y");
        let clip = value_of("const %x: f32[1] = [nan]\n %y = Clip(%x, 0.0, 1.0)\n out %y");
        assert!(relu.as_single::<f32>().unwrap().is_nan() && clip.as_single::<f32>().unwrap().is_nan());
    }

    #[test]
    fn operands_broadcast() {
        let text = "const %a: i32[2,1,2] = [1,2,3,4]
             const %b: i32[2,1] = [10,20]
             %y = Mul(%a, %b)
             out %y";
        assert_eq!(value_of(text), tensor(&[2, 2, 2], &[10, 20, 20, 40, 30, 40, 60, 80]));
    }

    #[test]
    fn max_takes_any_number_of_operands() {
        let text = "const %a: i32[2] = [1,9]\n %y = Max(%a, 3i32, 5i32)\n %z = Max(%y)\n out %z";
        assert_eq!(value_of(text), tensor(&[2], &[5, 9]));
    }

    #[test]
    fn relu_of_integers_and_floats() {
        let text = "const %x: i32[3] = [-5,0,5]\n %y = Relu(%x)\n out %y";
        assert_eq!(value_of(text), tensor(&[3], &[0, 0, 5]));
        let text = "const %x: f32[2] = [-0.5,0.5]\n %y = Relu(%x)\n out %y";
        assert_eq!(value_of(text), tensor(&[2], &[0.0f32, 0.5]));
    }

    #[test]
    fn activations_are_applied_to_each_element() {
        let text = "const %x: f32[2,2] = [-2.0, 0.0, 1.0, 4.0]\n %y = LeakyRelu(%x) alpha=0.5\n out %y";
        assert_eq!(value_of(text), tensor(&[2, 2], &[-1.0f32, 0.0, 1.0, 4.0]));
        let text = "const %x: f32[3] = [-3.0, 1.5, 4.0]\n %y = HardSwish(%x)\n out %y";
        assert_eq!(value_of(text), tensor(&[3], &[0.0f32, 1.125, 4.0]));
    }

    #[test]
    fn each_channel_has_its_slope() {
        let text = "const %x: f32[1,2,2] = [-2.0, 3.0, -2.0, nan]
             const %slope: f32[2,1] = [0.5, -1.0]
             %y = PRelu(%x, %slope)
             out %y";
        let y = value_of(text);
        let y = y.as_slice::<f32>().unwrap();
        assert_eq!(y[..3], [-1.0, 3.0, 2.0]);
        assert!(y[3].is_nan());
        // The type rules refuse a slope that is larger than x; the kernel does not rely on it.
        let (x, slope) = (tensor(&[1], &[-2.0f32]), tensor(&[2], &[0.5f32, 0.25]));
        assert_eq!(
            prelu(&Operands(vec![Some(&x), Some(&slope)])).unwrap_err().to_string(),
            "expected a slope that broadcasts to [1], found f32[1], f32[2]"
        );
    }

    #[test]
    fn bytes_are_clipped_and_compared() {
        let of_bytes = |op: &str| value_of(&format!("const %x: u8[3] = [0,128,255]\n %y = {op}\n out %y"));
        assert_eq!(of_bytes("Clip(%x, 100u8, 200u8)"), tensor(&[3], &[100u8, 128, 200]));
        assert_eq!(of_bytes("Max(%x, 7u8)"), tensor(&[3], &[7u8, 128, 255]));
        assert_eq!(of_bytes("Min(%x, 200u8)"), tensor(&[3], &[0u8, 128, 200]));
    }

    #[test]
    fn clip_with_either_both_or_no_bound() {
        let clip =
            |bounds: &str| value_of(&format!("const %x: i32[3] = [-5,1,5]\n %y = Clip(%x{bounds})\n out %y"));
        assert_eq!(clip(""), tensor(&[3], &[-5, 1, 5]));
        assert_eq!(clip(", 0i32"), tensor(&[3], &[0, 1, 5]));
        assert_eq!(clip(", _, 2i32"), tensor(&[3], &[-5, 1, 2]));
        assert_eq!(clip(", -1i32, 2i32"), tensor(&[3], &[-1, 1, 2]));
        // The upper bound wins, as in numpy.
        assert_eq!(clip(", 4i32, 2i32"), tensor(&[3], &[2, 2, 2]));
    }
}
