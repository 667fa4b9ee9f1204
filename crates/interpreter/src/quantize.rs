//! `QuantizeLinear` and `DequantizeLinear`, per tensor and per axis.

use onnx2int_graph::{Element, Tensor};

use crate::OpError;
use crate::operands::{Operands, filled, resolve_axis};

/// `saturate(round_half_even(x / scale) + zero_point)`, u8 without a zero point.
///
/// The quotient is the f32 nearest to `x / scale`, as ONNX Runtime computes it (some runtimes
/// multiply by `1 / scale`, which differs at ties). Infinities saturate; NaN is an error.
pub(crate) fn quantize_linear(x: &Operands<'_>, axis: i64) -> Result<Tensor, OpError> {
    let elements = x.elements::<f32>(0)?;
    let parameters = Parameters::new(x, axis)?;
    let quantized = elements
        .iter()
        .enumerate()
        .map(|(element, &value)| {
            let (scale, zero_point) = parameters.at(element);
            let rounded = (value / scale).round_ties_even();
            if rounded.is_nan() {
                return Err(OpError::NotANumber { element });
            }
            // f64 holds any sum of a rounded f32 and a zero point near the range of 8 bits exactly.
            Ok(f64::from(rounded) + zero_point as f64)
        })
        .collect::<Result<Vec<f64>, _>>()?;
    let shape = x.tensor(0)?.shape();
    // Rust's float to integer casts saturate, as ONNX asks here.
    match x.optional(2) {
        None | Some(Tensor::U8(_)) => Ok(filled(shape, quantized.iter().map(|&v| v as u8).collect())),
        Some(Tensor::I8(_)) => Ok(filled(shape, quantized.iter().map(|&v| v as i8).collect())),
        Some(other) => Err(OpError::OperandDtype { slot: 2, expected: "u8 or i8", found: other.dtype() }),
    }
}

/// `(x - zero_point) * scale`: an exact difference, rounded to f32, times the scale in f32.
pub(crate) fn dequantize_linear(x: &Operands<'_>, axis: i64) -> Result<Tensor, OpError> {
    let parameters = Parameters::new(x, axis)?;
    let real = |element: usize, value: i64| {
        let (scale, zero_point) = parameters.at(element);
        (value - zero_point) as f32 * scale
    };
    fn all<T: Element + Into<i64>>(elements: &[T], real: impl Fn(usize, i64) -> f32) -> Vec<f32> {
        elements.iter().enumerate().map(|(element, &value)| real(element, value.into())).collect()
    }
    let tensor = x.tensor(0)?;
    let elements = match tensor {
        Tensor::U8(_) => all(x.elements::<u8>(0)?, real),
        Tensor::I8(_) => all(x.elements::<i8>(0)?, real),
        Tensor::I32(_) => all(x.elements::<i32>(0)?, real),
        Tensor::F32(_) | Tensor::I64(_) | Tensor::Bool(_) => {
            return Err(OpError::OperandDtype { slot: 0, expected: "u8, i8 or i32", found: tensor.dtype() });
        }
    };
    Ok(filled(tensor.shape(), elements))
}

/// Scales and zero points, one pair for the tensor or one for each index of an axis.
struct Parameters<'a> {
    scales: &'a [f32],
    zero_points: Vec<i64>,
    /// The number of consecutive elements that share an index of the axis.
    inner: usize,
}

impl<'a> Parameters<'a> {
    fn new(x: &Operands<'a>, axis: i64) -> Result<Self, OpError> {
        let shape = x.tensor(0)?.shape();
        let scales = x.elements::<f32>(1)?;
        let zero_points = match x.optional(2) {
            Some(_) => x.integers(2)?,
            None => vec![0; scales.len()],
        };
        if zero_points.len() != scales.len() {
            return Err(OpError::shape(
                format!("{} zero points, one for each scale", scales.len()),
                zero_points.len().to_string(),
            ));
        }
        if scales.len() == 1 {
            return Ok(Self { scales, zero_points, inner: 1 });
        }
        let axis = resolve_axis(axis, shape.len())?;
        if x.tensor(1)?.rank() != 1 || shape[axis] != scales.len() {
            return Err(OpError::shape(
                format!("a scalar scale, or {} of them for axis {axis}", shape[axis]),
                format!("scales of shape {:?}", x.tensor(1)?.shape()),
            ));
        }
        Ok(Self { scales, zero_points, inner: shape[axis + 1..].iter().product() })
    }

    fn at(&self, element: usize) -> (f32, i64) {
        let index = element / self.inner % self.scales.len();
        (self.scales[index], self.zero_points[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragment::{refusal_of, run_text, tensor, value_of};

    #[test]
    fn ties_go_to_the_even_neighbor_before_the_zero_point() {
        let text = "const %x: f32[8] = [0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997, 3.5, 4.5]
             %y = QuantizeLinear(%x, 1.0, 3i8)
             out %y";
        assert_eq!(value_of(text), tensor(&[8], &[3i8, 5, 5, 3, 1, 3, 7, 7]));
    }

    #[test]
    fn the_example_of_the_onnx_specification() {
        let text = "const %x: f32[6] = [0.0, 2.0, 3.0, 1000.0, -254.0, -1000.0]
             %y = QuantizeLinear(%x, 2.0, 128u8)
             out %y";
        assert_eq!(value_of(text), tensor(&[6], &[128u8, 129, 130, 255, 1, 0]));
    }

    #[test]
    fn the_per_axis_example_of_the_onnx_specification() {
        let x = [
            [-162.0f32, 10.0, -100.0, 232.0, -20.0, -50.0],
            [-76.0, 0.0, 0.0, 252.0, 32.0, -44.0],
            [245.0, -485.0, -960.0, -270.0, -375.0, -470.0],
        ];
        let text = "in %x: f32[1,3,3,2]
             const %s: f32[3] = [2.0, 4.0, 5.0]
             const %z: u8[3] = [84, 24, 196]
             %y = QuantizeLinear(%x, %s, %z) axis=1
             out %y";
        let expected = [3u8, 89, 34, 200, 74, 59, 5, 24, 24, 87, 32, 13, 245, 99, 4, 142, 121, 102];
        let result = run_text(text, &[tensor(&[1, 3, 3, 2], x.as_flattened())]).unwrap();
        assert_eq!(result, [tensor(&[1, 3, 3, 2], &expected)]);
    }

    #[test]
    fn the_quotient_is_divided_not_multiplied_by_the_inverse() {
        // 0.15 / 0.1 is 1.5 and goes to 2 in f32; a product with 1 / 0.1 = 10 gives 1.5000001 or
        // 1.5. These two pixels tell a division from a product: found by search.
        let differs =
            |x: f32, scale: f32| (x / scale).round_ties_even() != (x * (1.0 / scale)).round_ties_even();
        let (x, scale) = (1..1000)
            .flat_map(|i| (1..200).map(move |k| (i as f32 * 0.001, k as f32 + 0.5)))
            .map(|(scale, steps)| (steps * scale, scale))
            .find(|&(x, scale)| differs(x, scale))
            .unwrap();
        let operands = [Tensor::scalar(x), Tensor::scalar(scale)];
        let result = quantize_linear(&Operands(operands.iter().map(Some).collect()), 1).unwrap();
        assert_eq!(result.as_single::<u8>(), Some((x / scale).round_ties_even() as u8));
    }

    #[test]
    fn infinities_saturate_and_not_a_number_is_refused() {
        let text = "const %x: f32[2] = [inf, -inf]\n %y = QuantizeLinear(%x, 0.1, -1i8)\n out %y";
        assert_eq!(value_of(text), tensor(&[2], &[127i8, -128]));
        assert_eq!(
            refusal_of("const %x: f32[2] = [1.0, nan]\n %y = QuantizeLinear(%x, 0.1)\n out %y"),
            "node \"y\" (QuantizeLinear of f32[2], f32[]): element 1 of the operand is not a number, so that \
             the result is undefined"
        );
    }

    #[test]
    fn dequantize_subtracts_then_scales() {
        let text = "const %x: u8[4] = [0, 3, 128, 255]\n %y = DequantizeLinear(%x, 2.0, 128u8)\n out %y";
        assert_eq!(value_of(text), tensor(&[4], &[-256.0f32, -250.0, 0.0, 254.0]));
        // A difference of i32 values may need 33 bits.
        let text =
            "const %x: i32[1] = [2147483647]\n %y = DequantizeLinear(%x, 1.0, -2147483648i32)\n out %y";
        assert_eq!(value_of(text), tensor(&[1], &[4_294_967_296.0f32]));
    }

    #[test]
    fn dequantize_per_axis() {
        let text = "const %x: i8[2,2] = [1, 2, 3, 4]
             const %s: f32[2] = [0.5, 10.0]
             const %z: i8[2] = [0, 1]
             %rows = DequantizeLinear(%x, %s, %z) axis=0
             %columns = DequantizeLinear(%x, %s, %z) axis=-1
             %y = Concat(%rows, %columns) axis=0
             out %y";
        assert_eq!(value_of(text), tensor(&[4, 2], &[0.5f32, 1.0, 20.0, 30.0, 0.5, 10.0, 1.5, 30.0]));
    }
}
