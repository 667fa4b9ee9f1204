//! `Softmax` and `LogSoftmax`.

use onnx2int_graph::Tensor;

use crate::OpError;
use crate::operands::{Operands, filled, resolve_axis};

/// `exp(x) / sum(exp(x))` along an axis.
pub(crate) fn softmax(x: &Operands<'_>, axis: i64) -> Result<Tensor, OpError> {
    normalized(x, axis, |shifted, sum| shifted.exp() / sum)
}

/// `x - log(sum(exp(x)))` along an axis.
pub(crate) fn log_softmax(x: &Operands<'_>, axis: i64) -> Result<Tensor, OpError> {
    normalized(x, axis, |shifted, sum| shifted - sum.ln())
}

/// Applies `finish` to each element minus the greatest along the axis, and to the sum of the
/// exponentials of these differences: both functions are the same for shifted elements, and no
/// exponential overflows. In f64, rounded to f32 once.
fn normalized(x: &Operands<'_>, axis: i64, finish: impl Fn(f64, f64) -> f64) -> Result<Tensor, OpError> {
    let elements = x.elements::<f32>(0)?;
    let shape = x.tensor(0)?.shape();
    let axis = resolve_axis(axis, shape.len())?;
    let inner: usize = shape[axis + 1..].iter().product();
    let line = shape[axis] * inner;
    let mut output = vec![0.0f32; elements.len()];
    for start in (0..elements.len()).step_by(line.max(1)).flat_map(|outer| outer..outer + inner) {
        let offsets = || (start..start + line).step_by(inner);
        let greatest = offsets().map(|offset| elements[offset]).fold(f32::NEG_INFINITY, f32::max);
        let shifted = |offset: usize| f64::from(elements[offset]) - f64::from(greatest);
        let sum: f64 = offsets().map(|offset| shifted(offset).exp()).sum();
        for offset in offsets() {
            output[offset] = finish(shifted(offset), sum) as f32;
        }
    }
    Ok(filled(shape, output))
}

#[cfg(test)]
mod tests {
    use crate::fragment::{tensor, value_of};

    #[test]
    fn softmax_of_logarithms_is_their_share() {
        // exp gives 1, 3 and, however large the shift, the same shares.
        for shift in ["0.0", "1000.0"] {
            let text = format!(
                "const %x: f32[1,2] = [0.0, 1.0986123]\n %z = Add(%x, {shift})\n %y = Softmax(%z) axis=-1\n out %y"
            );
            let y = value_of(&text);
            let y = y.as_slice::<f32>().unwrap();
            assert!((y[0] - 0.25).abs() < 2e-5 && (y[1] - 0.75).abs() < 2e-5, "{y:?}");
        }
    }

    #[test]
    fn the_axis_is_the_one_asked_for() {
        let text = "const %x: f32[2,2] = [0.0, 5.0, 0.0, 5.0]\n %y = Softmax(%x) axis=0\n out %y";
        assert_eq!(value_of(text), tensor(&[2, 2], &[0.5f32; 4]));
    }

    #[test]
    fn log_softmax_keeps_what_an_exponential_would_lose() {
        let text = "const %x: f32[1,2] = [0.0, -200.0]\n %y = LogSoftmax(%x) axis=1\n out %y";
        assert_eq!(value_of(text), tensor(&[1, 2], &[0.0f32, -200.0]));
    }
}
