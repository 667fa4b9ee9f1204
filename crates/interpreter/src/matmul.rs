//! `Gemm`, `MatMul` and `MatMulInteger`.

use onnx2int_graph::{DType, GemmAttributes, Tensor, TensorType};

use crate::OpError;
use crate::broadcast::{common_shape, expanded};
use crate::operands::{Operands, filled};
use crate::sums::{AxisFromEnd, add_product_i32, add_product_i64, centered, narrowed, sum_fits_i32};

/// `alpha * a' * b' + beta * c`, summed in f64 and rounded to f32 once.
pub(crate) fn gemm(x: &Operands<'_>, attributes: &GemmAttributes) -> Result<Tensor, OpError> {
    let (a, a_shape) = wide_matrix(x, 0, attributes.trans_a)?;
    let (b, b_shape) = wide_matrix(x, 1, attributes.trans_b)?;
    let product = Product::new(&a_shape, &b_shape)?;
    let shape = product.shape();
    let mut sums = product.sums(&a, &b, 0.0, |sum, a, b| sum + a * b);
    for sum in &mut sums {
        *sum *= f64::from(attributes.alpha);
    }
    if let Some(c) = x.optional_elements::<f32>(2)? {
        let c_shape = x.tensor(2)?.shape();
        if common_shape(c_shape, &shape).ok().as_ref() != Some(&shape) {
            return Err(OpError::shape(
                format!("an operand 2 that broadcasts to {shape:?}"),
                format!("{c_shape:?}"),
            ));
        }
        for (sum, &c) in sums.iter_mut().zip(expanded(c, c_shape, &shape).iter()) {
            *sum += f64::from(attributes.beta) * f64::from(c);
        }
    }
    Ok(filled(&shape, sums.into_iter().map(|sum| sum as f32).collect()))
}

/// A matrix widened to f64, transposed if asked, and its shape.
fn wide_matrix(x: &Operands<'_>, slot: usize, transposed: bool) -> Result<(Vec<f64>, [usize; 2]), OpError> {
    let elements = x.elements::<f32>(slot)?;
    let &[rows, columns] = x.tensor(slot)?.shape() else {
        return Err(OpError::shape(
            format!("a matrix at operand {slot}"),
            TensorType::of(x.tensor(slot)?).to_string(),
        ));
    };
    if !transposed {
        return Ok((elements.iter().map(|&v| f64::from(v)).collect(), [rows, columns]));
    }
    let mut swapped = Vec::with_capacity(elements.len());
    for column in 0..columns {
        swapped.extend((0..rows).map(|row| f64::from(elements[row * columns + column])));
    }
    Ok((swapped, [columns, rows]))
}

/// The matrix product of floats (summed in f64), i32 or i64 (summed exactly, checked at the end).
pub(crate) fn matmul(x: &Operands<'_>) -> Result<Tensor, OpError> {
    let (a, b) = (x.tensor(0)?, x.tensor(1)?);
    // A vector is a matrix of one row, or of one column, that the result does not have.
    let (mut a_shape, mut b_shape) = (a.shape().to_vec(), b.shape().to_vec());
    if a.rank() == 1 {
        a_shape.insert(0, 1);
    }
    if b.rank() == 1 {
        b_shape.push(1);
    }
    let product = Product::new(&a_shape, &b_shape)?;
    let mut shape = product.shape();
    let rank = shape.len();
    if b.rank() == 1 {
        shape.remove(rank - 1);
    }
    if a.rank() == 1 {
        shape.remove(rank - 2);
    }
    match a.dtype() {
        DType::F32 => {
            let widen = |elements: &[f32]| elements.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let (a, b) = (widen(x.elements::<f32>(0)?), widen(x.elements::<f32>(1)?));
            let sums = product.sums(&a, &b, 0.0, |sum, a, b| sum + a * b);
            Ok(filled(&shape, sums.into_iter().map(|sum| sum as f32).collect()))
        }
        DType::I32 => {
            let sums = product.exact_sums(x.elements::<i32>(0)?, x.elements::<i32>(1)?);
            Ok(filled(&shape, in_range::<i32>(&sums, DType::I32)?))
        }
        DType::I64 => {
            let sums = product.exact_sums(x.elements::<i64>(0)?, x.elements::<i64>(1)?);
            Ok(filled(&shape, in_range::<i64>(&sums, DType::I64)?))
        }
        found @ (DType::U8 | DType::I8 | DType::Bool) => {
            Err(OpError::OperandDtype { slot: 0, expected: "f32, i32 or i64", found })
        }
    }
}

fn in_range<T: TryFrom<i128>>(sums: &[i128], dtype: DType) -> Result<Vec<T>, OpError> {
    sums.iter()
        .enumerate()
        .map(|(element, &sum)| {
            T::try_from(sum).map_err(|_| OpError::Overflow { element, value: sum.to_string(), dtype })
        })
        .collect()
}

/// The product of 8-bit matrices minus their zero points, in i32; see [`crate::sums`].
pub(crate) fn matmul_integer(x: &Operands<'_>) -> Result<Tensor, OpError> {
    let product = Product::new(x.tensor(0)?.shape(), x.tensor(1)?.shape())?;
    // One zero point for each row of the first operand, or for each column of the second.
    let (a, b) = (centered(x, 0, 2, AxisFromEnd(1))?, centered(x, 1, 3, AxisFromEnd(0))?);
    let sums = if sum_fits_i32(product.inner) {
        product.sums(&a, &b, 0i32, add_product_i32)
    } else {
        narrowed(&product.sums(&a, &b, 0i64, add_product_i64))?
    };
    Ok(filled(&product.shape(), sums))
}

/// The extents of a product `[batch..., rows, inner] x [batch..., inner, columns]`.
struct Product {
    batch: Vec<usize>,
    a_batch: Vec<usize>,
    b_batch: Vec<usize>,
    rows: usize,
    inner: usize,
    columns: usize,
}

impl Product {
    fn new(a: &[usize], b: &[usize]) -> Result<Self, OpError> {
        let ([a_batch @ .., rows, inner], [b_batch @ .., b_inner, columns]) = (a, b) else {
            return Err(OpError::shape("operands of rank 2 or more", format!("{a:?} and {b:?}")));
        };
        if inner != b_inner {
            return Err(OpError::shape(
                format!("inner extent {inner} on both sides"),
                format!("{a:?} and {b:?}"),
            ));
        }
        Ok(Self {
            batch: common_shape(a_batch, b_batch)?,
            a_batch: a_batch.to_vec(),
            b_batch: b_batch.to_vec(),
            rows: *rows,
            inner: *inner,
            columns: *columns,
        })
    }

    fn shape(&self) -> Vec<usize> {
        self.batch.iter().copied().chain([self.rows, self.columns]).collect()
    }

    /// Every sum of products, in row-major order. The innermost loop runs along a row of `b` and of
    /// the result with a scalar of `a`, which the compiler vectorizes.
    fn sums<X: Copy, Sum: Copy>(
        &self,
        a: &[X],
        b: &[X],
        zero: Sum,
        multiply_add: impl Fn(Sum, X, X) -> Sum,
    ) -> Vec<Sum> {
        let mut sums = vec![zero; self.shape().iter().product()];
        if sums.is_empty() {
            return sums;
        }
        let (a_matrix, b_matrix) = (self.rows * self.inner, self.inner * self.columns);
        let (a_order, b_order) = (self.order(&self.a_batch), self.order(&self.b_batch));
        let results = sums.chunks_exact_mut(self.rows * self.columns);
        for (result, (a_index, b_index)) in results.zip(a_order.into_iter().zip(b_order)) {
            let a = &a[a_index * a_matrix..][..a_matrix];
            let b = &b[b_index * b_matrix..][..b_matrix];
            for (row, result_row) in result.chunks_exact_mut(self.columns).enumerate() {
                for k in 0..self.inner {
                    let factor = a[row * self.inner + k];
                    for (sum, &b) in result_row.iter_mut().zip(&b[k * self.columns..]) {
                        *sum = multiply_add(*sum, factor, b);
                    }
                }
            }
        }
        sums
    }

    /// For each matrix of the result, which matrix of an operand takes part.
    fn order(&self, operand_batch: &[usize]) -> Vec<usize> {
        let matrices: Vec<usize> = (0..operand_batch.iter().product()).collect();
        expanded(&matrices, operand_batch, &self.batch).into_owned()
    }

    fn exact_sums<T: Copy + Into<i128>>(&self, a: &[T], b: &[T]) -> Vec<i128> {
        self.sums(a, b, 0i128, |sum, a, b| sum + a.into() * b.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragment::{refusal_of, tensor, value_of};

    #[test]
    fn gemm_scales_transposes_and_adds() {
        let gemm = |shapes: (&str, &str), operands: &str, attributes: &str| {
            let text = format!(
                "const %a: f32[{}] = [1.0,2.0,3.0,4.0,5.0,6.0]
                 const %b: f32[{}] = [1.0,0.0,0.0,1.0,1.0,1.0]
                 const %c: f32[2] = [10.0,20.0]
                 %y = Gemm({operands}) {attributes}
                 out %y",
                shapes.0, shapes.1
            );
            value_of(&text)
        };
        let product = [4.0f32, 5.0, 10.0, 11.0];
        assert_eq!(gemm(("2,3", "3,2"), "%a, %b", ""), tensor(&[2, 2], &product));
        assert_eq!(gemm(("2,3", "3,2"), "%a, %b, %c", ""), tensor(&[2, 2], &[14.0f32, 25.0, 20.0, 31.0]));
        assert_eq!(
            gemm(("2,3", "3,2"), "%a, %b, %c", "alpha=2.0 beta=0.5"),
            tensor(&[2, 2], &[13.0f32, 20.0, 25.0, 32.0])
        );
        // a' = [[1,4],[2,5],[3,6]] transposed back is [[1,3,5],[2,4,6]]; b' = [[1,0],[0,1],[1,1]]'.
        assert_eq!(
            gemm(("3,2", "2,3"), "%a, %b", "transA=1 transB=1"),
            tensor(&[2, 2], &[1.0f32, 9.0, 2.0, 12.0])
        );
    }

    #[test]
    fn matmul_broadcasts_its_batch_axes() {
        let text = "const %a: f32[2,1,1,2] = [1.0,2.0,3.0,4.0]
             const %b: f32[2,2,1] = [1.0,10.0,100.0,1000.0]
             %y = MatMul(%a, %b)
             out %y";
        assert_eq!(value_of(text), tensor(&[2, 2, 1, 1], &[21.0f32, 2100.0, 43.0, 4300.0]));
    }

    #[test]
    fn integer_products_are_exact_or_refused() {
        let product = |a: &str, b: &str| {
            format!("const %a: i32[1,2] = [{a}]\n const %b: i32[2,1] = [{b}]\n %y = MatMul(%a, %b)\n out %y")
        };
        // Partial sums may leave i32, the sum may not.
        let text = product("2147483647, 2147483647", "2, -1");
        assert_eq!(value_of(&text), tensor(&[1, 1], &[i32::MAX]));
        assert_eq!(
            refusal_of(&product("2147483647, 1", "1, 1")),
            r#"node "y" (MatMul of i32[1,2], i32[2,1]): element 0 is 2147483648, which i32 cannot hold"#
        );
    }

    #[test]
    fn matmul_integer_subtracts_zero_points() {
        let text = "const %a: u8[1,3] = [0, 128, 255]
             const %b: i8[3,2] = [1, -128, 2, 127, 3, 0]
             %y = MatMulInteger(%a, %b, 128u8, 1i8)
             out %y";
        // a - 128 = [-128, 0, 127]; b - 1 = [[0,-129],[1,126],[2,-1]].
        assert_eq!(value_of(text), tensor(&[1, 2], &[254, 128 * 129 - 127]));
    }

    #[test]
    fn matmul_integer_checks_long_sums() {
        let sum = |inner: usize| {
            let a = tensor(&[1, inner], &vec![255u8; inner]);
            let b = tensor(&[inner, 1], &vec![255u8; inner]);
            matmul_integer(&Operands(vec![Some(&a), Some(&b)]))
        };
        assert_eq!(sum(33_025).unwrap().as_single::<i32>(), Some(33_025 * 255 * 255));
        assert!(matches!(sum(33_026), Err(OpError::Overflow { element: 0, .. })));
    }

    #[test]
    fn a_vector_is_a_row_or_a_column() {
        let product = |a: &str, b: &str| {
            value_of(&format!(
                "const %a: i32[{a}] = [1,2]\n const %b: i32[{b}] = [3,4]\n %y = MatMul(%a, %b)\n out %y"
            ))
        };
        assert_eq!(product("2", "2"), tensor(&[], &[11]));
        assert_eq!(product("1,2", "2"), tensor(&[1], &[11]));
        assert_eq!(product("2", "2,1"), tensor(&[1], &[11]));
        assert_eq!(product("2", "1,2,1"), tensor(&[1, 1], &[11]));
        assert_eq!(product("2,1", "1,2"), tensor(&[2, 2], &[3, 4, 6, 8]));
    }

    #[test]
    fn rows_and_columns_may_have_zero_points_of_their_own() {
        let text = "const %a: u8[2,2] = [1, 2, 11, 12]
             const %b: i8[2,2] = [1, -1, 1, -1]
             const %za: u8[2] = [0, 10]
             const %zb: i8[2] = [0, -2]
             %y = MatMulInteger(%a, %b, %za, %zb)
             out %y";
        // Both rows are [1, 2], and all of b is 1.
        assert_eq!(value_of(text), tensor(&[2, 2], &[3, 3, 3, 3]));
    }

    #[test]
    fn an_empty_inner_axis_sums_to_zero() {
        let (a, b) = (tensor::<f32>(&[2, 0], &[]), tensor::<f32>(&[0, 3], &[]));
        assert_eq!(matmul(&Operands(vec![Some(&a), Some(&b)])).unwrap(), tensor(&[2, 3], &[0.0f32; 6]));
    }
}
