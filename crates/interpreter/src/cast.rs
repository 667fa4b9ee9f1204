//! `Cast`.

use onnx2int_graph::{DType, Element, Tensor};

use crate::OpError;
use crate::operands::{Operands, filled};

/// Conversion to another element type.
///
/// - Integer to a narrower integer: the high bits are dropped (256 becomes 0 as u8).
/// - Float to integer: truncated towards zero. ONNX leaves values that do not fit undefined, so
///   that they are an error here, as NaN is.
/// - To bool: whether the value is not 0. From bool: 0 or 1.
/// - Integer to float: the nearest float, ties to even.
pub(crate) fn cast(x: &Operands<'_>, to: DType) -> Result<Tensor, OpError> {
    let tensor = x.tensor(0)?;
    if tensor.dtype() == to {
        return Ok(tensor.clone());
    }
    if let Tensor::F32(_) = tensor {
        return cast_floats(x.elements::<f32>(0)?, tensor.shape(), to);
    }
    let integers = match tensor {
        Tensor::Bool(array) => array.iter().map(|&v| i64::from(v)).collect(),
        Tensor::F32(_) | Tensor::U8(_) | Tensor::I8(_) | Tensor::I32(_) | Tensor::I64(_) => x.integers(0)?,
    };
    let shape = tensor.shape();
    Ok(match to {
        DType::F32 => mapped(shape, &integers, |v| v as f32),
        DType::U8 => mapped(shape, &integers, |v| v as u8),
        DType::I8 => mapped(shape, &integers, |v| v as i8),
        DType::I32 => mapped(shape, &integers, |v| v as i32),
        DType::I64 => mapped(shape, &integers, |v| v),
        DType::Bool => mapped(shape, &integers, |v| v != 0),
    })
}

fn mapped<T: Element>(shape: &[usize], integers: &[i64], convert: impl Fn(i64) -> T) -> Tensor {
    filled(shape, integers.iter().map(|&v| convert(v)).collect())
}

fn cast_floats(elements: &[f32], shape: &[usize], to: DType) -> Result<Tensor, OpError> {
    let Some((low, high)) = to.integer_range() else {
        // Only bool is left: a cast to the own type is none.
        return Ok(filled(shape, elements.iter().map(|&v| v != 0.0).collect()));
    };
    let integers = elements
        .iter()
        .enumerate()
        .map(|(element, &value)| {
            if value.is_nan() {
                return Err(OpError::NotANumber { element });
            }
            // Every f32 is exact as i128 or saturates far outside any range.
            let truncated = value.trunc() as i128;
            match i64::try_from(truncated) {
                Ok(integer) if (low..=high).contains(&integer) => Ok(integer),
                _ => Err(OpError::Overflow { element, value: format!("{value}"), dtype: to }),
            }
        })
        .collect::<Result<Vec<i64>, _>>()?;
    cast(&Operands(vec![Some(&filled(shape, integers))]), to)
}

#[cfg(test)]
mod tests {
    use crate::fragment::{refusal_of, tensor, value_of};

    #[test]
    fn narrowing_drops_high_bits() {
        let cast = |to: &str| {
            let text =
                format!("const %x: i32[5] = [256, -1, 255, 130, -129]\n %y = Cast(%x) to={to}\n out %y");
            value_of(&text)
        };
        assert_eq!(cast("u8"), tensor(&[5], &[0u8, 255, 255, 130, 127]));
        assert_eq!(cast("i8"), tensor(&[5], &[0i8, -1, -1, -126, 127]));
        assert_eq!(cast("bool"), tensor(&[5], &[true; 5]));
        assert_eq!(cast("i64"), tensor(&[5], &[256i64, -1, 255, 130, -129]));
    }

    #[test]
    fn floats_truncate_towards_zero() {
        let text = "const %x: f32[4] = [1.9, -1.9, -0.5, 255.99]\n %y = Cast(%x) to=i32\n out %y";
        assert_eq!(value_of(text), tensor(&[4], &[1, -1, 0, 255]));
    }

    #[test]
    fn floats_that_do_not_fit_are_refused() {
        let refusal = |value: &str, to: &str| {
            refusal_of(&format!("const %x: f32[1] = [{value}]\n %y = Cast(%x) to={to}\n out %y"))
        };
        assert_eq!(
            refusal("256.0", "u8"),
            r#"node "y" (Cast of f32[1]): element 0 is 256, which u8 cannot hold"#
        );
        assert!(refusal("2147483648.0", "i32").contains("which i32 cannot hold"));
        assert!(refusal("inf", "i64").contains("which i64 cannot hold"));
        assert!(refusal("nan", "i32").contains("not a number"));
    }

    #[test]
    fn integers_round_to_the_nearest_float() {
        let text = "const %x: i32[3] = [16777217, 16777219, -7]\n %y = Cast(%x) to=f32\n out %y";
        assert_eq!(value_of(text), tensor(&[3], &[16_777_216.0f32, 16_777_220.0, -7.0]));
    }

    #[test]
    fn truth_values_are_0_and_1() {
        let text =
            "const %x: f32[3] = [0.0, -0.0, 0.1]\n %b = Cast(%x) to=bool\n %y = Cast(%b) to=f32\n out %y";
        assert_eq!(value_of(text), tensor(&[3], &[0.0f32, 0.0, 1.0]));
    }
}
