//! Numbers and tensors.

use super::cursor::Cursor;
use super::{MAX_REPEATED_ELEMENTS, ParseError};
use crate::{DType, Element, Tensor, TensorType};

/// A scalar that says its own type: `0.1`, `0u8`, `-3i8`, `true`.
pub(super) fn scalar(cursor: &mut Cursor<'_>) -> Result<Tensor, ParseError> {
    const EXPECTED: &str =
        "a value (`%name`), `_`, or a scalar literal (`0.1`, `0u8`, `-3i8`, `7i32`, `1i64`, `true`)";
    cursor.skip_spaces();
    let start = *cursor;
    let word = number_word(cursor);
    let tensor = match word {
        "true" => Some(Tensor::scalar(true)),
        "false" => Some(Tensor::scalar(false)),
        _ => {
            let integer_types = DType::ALL.into_iter().filter(|dtype| dtype.is_integer());
            match integer_types.into_iter().find(|dtype| word.ends_with(dtype.name())) {
                Some(DType::U8) => integer::<u8>(&word[..word.len() - 2]).map(Tensor::scalar),
                Some(DType::I8) => integer::<i8>(&word[..word.len() - 2]).map(Tensor::scalar),
                Some(DType::I32) => integer::<i32>(&word[..word.len() - 3]).map(Tensor::scalar),
                Some(DType::I64) => integer::<i64>(&word[..word.len() - 3]).map(Tensor::scalar),
                // Digits alone are no f32: the type of an integer literal is never guessed.
                _ if word.contains(['.', 'e', 'E', 'n']) => float(word).map(Tensor::scalar),
                _ => None,
            }
        }
    };
    tensor.ok_or_else(|| {
        *cursor = start;
        cursor.unexpected(EXPECTED)
    })
}

/// Counts what `splat` and `cycle` have made.
#[derive(Default)]
pub(super) struct RepeatedElements(usize);

impl RepeatedElements {
    /// The elements of a shape, added to the count; `None` if that would be too many.
    fn add(&mut self, shape: &[usize]) -> Option<usize> {
        let count = shape.iter().try_fold(1_usize, |count, &extent| count.checked_mul(extent))?;
        let total = self.0.checked_add(count).filter(|&total| total <= MAX_REPEATED_ELEMENTS)?;
        self.0 = total;
        Some(count)
    }
}

/// The elements of a tensor of that type: a list, a scalar, `splat` or `cycle`.
pub(super) fn tensor(
    cursor: &mut Cursor<'_>,
    ty: &TensorType,
    repeated: &mut RepeatedElements,
) -> Result<Tensor, ParseError> {
    let place = cursor.next_place();
    let Some(shape) = ty.fixed_shape() else {
        return Err(place.error("a constant whose extents are numbers", ty.to_string()));
    };
    if cursor.peek() == Some('#') {
        return Err(place.error(
            "the elements of the constant (`to_full_text` prints them all)",
            "a digest, which stands for elements that are not here",
        ));
    }
    match ty.dtype {
        DType::F32 => elements(cursor, &shape, repeated, float),
        DType::U8 => elements(cursor, &shape, repeated, integer::<u8>),
        DType::I8 => elements(cursor, &shape, repeated, integer::<i8>),
        DType::I32 => elements(cursor, &shape, repeated, integer::<i32>),
        DType::I64 => elements(cursor, &shape, repeated, integer::<i64>),
        DType::Bool => elements(cursor, &shape, repeated, |word| match word {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }),
    }
}

fn elements<T: Element>(
    cursor: &mut Cursor<'_>,
    shape: &[usize],
    repeated: &mut RepeatedElements,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Tensor, ParseError> {
    let element = |cursor: &mut Cursor<'_>| {
        cursor.skip_spaces();
        let start = *cursor;
        parse(number_word(cursor)).ok_or_else(|| {
            *cursor = start;
            cursor.unexpected(format!("an element of type {}", T::DTYPE))
        })
    };
    let place = cursor.next_place();
    let start = *cursor;
    let values = if cursor.accept('[') {
        cursor.list(element)?
    } else {
        match cursor.word() {
            keyword @ ("splat" | "cycle") => {
                let pattern = if keyword == "splat" {
                    vec![element(cursor)?]
                } else {
                    cursor.expect('[', "`[` and a pattern")?;
                    cursor.list(element)?
                };
                let count = repeated.add(shape).ok_or_else(|| {
                    place.error(
                        format!("at most {MAX_REPEATED_ELEMENTS} elements from splat and cycle in one text"),
                        format!("shape {shape:?}"),
                    )
                })?;
                if pattern.is_empty() && count > 0 {
                    return Err(place.error("a pattern of at least one element", "`[]`"));
                }
                pattern.iter().copied().cycle().take(count).collect()
            }
            _ => {
                *cursor = start;
                if !shape.is_empty() {
                    return Err(cursor.unexpected("`[` and elements, `splat` or `cycle`"));
                }
                vec![element(cursor)?]
            }
        }
    };
    let count = values.len();
    Tensor::from_vec(shape, values)
        .map_err(|_| place.error(format!("as many elements as {shape:?} has"), format!("{count} elements")))
}

/// The characters of a number.
pub(super) fn number_word<'t>(cursor: &mut Cursor<'t>) -> &'t str {
    cursor.skip_spaces();
    cursor.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | ':' | '_'))
}

/// A finite number, `inf`, `-inf`, `nan`, or `nan:0x` and the bits of another NaN.
pub(super) fn float(word: &str) -> Option<f32> {
    if let Some(bits) = word.strip_prefix("nan:0x") {
        let value = f32::from_bits(u32::from_str_radix(bits, 16).ok()?);
        return value.is_nan().then_some(value);
    }
    match word {
        "inf" => Some(f32::INFINITY),
        "-inf" => Some(f32::NEG_INFINITY),
        "nan" => Some(f32::NAN),
        // The standard parser takes more words, and makes an infinity of a number out of range.
        _ => word.parse().ok().filter(|value: &f32| value.is_finite()),
    }
}

fn integer<T: TryFrom<i64>>(word: &str) -> Option<T> {
    word.parse::<i64>().ok().and_then(|value| T::try_from(value).ok())
}
