//! Stores the weights of integer layers in another way, without changing a sum.
//!
//! What an integer layer adds up is `(x - z_x)(w - z_w)`, so that weights and their zero point may be
//! moved together, and a weight may be taken apart: the sums stay the same integers. But which
//! numbers are stored decides where a file runs exactly. Some runtimes take unsigned weights only,
//! and on x86 processors without VNNI some kernels add two products of a `u8` and an `i8` in 16 bits
//! with saturation (`vpmaddubsw`), and are silently wrong. `onnx2int verify` tells which layer is
//! exact where.
//!
//! - `u8`: `w - z_w + 128` with the zero point 128, which is what `integer-ops` writes.
//! - `i8`: `w - z_w` with the zero point 0.
//! - `narrow`: numbers so small that no two products leave 16 bits, whichever operand a kernel takes
//!   for the unsigned one: `i8` from -64 to 64 with zero point 0 for MatMulInteger
//!   (2 * 255 * 64 = 32640), `u8` up to 127 with zero point 64 or 63 for ConvInteger
//!   (2 * 128 * 127 = 32512 after the input is shifted to `i8`). Weights beyond that are split,
//!   `w = w_1 + w_2`, and the layer becomes two whose results are added. Where no weight is, the
//!   layer stays one.
//!
//! The picture is of `narrow`:
//!
//! ```text
//! in      %x: u8[N,4]
//! const   %xz: u8[] = 3
//! Before  const %w: u8[4,2] = [129, 255, 28, 138, 127, 1, 64, 192]
//!         %y: i32[N,2] = MatMulInteger(%x, %w, %xz, 128u8) @fc
//! After   const %w_narrow: i8[4,2] = [1, 64, -64, 10, -1, -64, -64, 64]
//!         const %w_rest: i8[4,2] = [0, 63, -36, 0, 0, -63, 0, 0]
//!         %y_narrow: i32[N,2] = MatMulInteger(%x, %w_narrow, %xz, 0i8) @fc
//!         %y_rest: i32[N,2] = MatMulInteger(%x, %w_rest, %xz, 0i8) @fc_rest
//!         %y: i32[N,2] = Add(%y_narrow, %y_rest) @fc_sum
//! out     %y
//! ```
//!
//! # Equivalence
//! The same bits, in every layer. The stage stays what it is: integer or `scale_out`. A model
//! whose weights are stored in the way asked for is left as it is.
//!
//! # Refuses
//! Weights that are not constant (`weights-constant`); weights whose distance to their zero point
//! the encoding cannot hold (`weights-fit`).

use onnx2int_graph::{DType, Graph, GraphEditor, Node, NodeId, Op, Relation, Stage, Tensor, Verified};

use crate::edits::{rewrite_each, set_constant_named};
use crate::qdq::zero_point_scalar;
use crate::{Executor, RewriteLog, Transform, TransformError};

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// u8 with zero point 128.
    U8,
    /// i8 with zero point 0.
    I8,
    /// Such that no two products with 8-bit inputs leave 16 bits; layers are split where needed.
    Narrow,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 3] = [Self::U8, Self::I8, Self::Narrow];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::Narrow => "narrow",
        }
    }
}

/// The `encode-weights` transform; see the file's head. It stands outside of the pipeline: its
/// result is at the stage of its operand.
#[derive(Clone, Copy, Debug)]
pub struct EncodeWeights {
    /// The stage of the model: integer or `scale_out`.
    pub stage: Stage,
    /// How weights are stored.
    pub encoding: Encoding,
}

impl EncodeWeights {
    /// The name on the command line, and the file's.
    pub const NAME: &str = "encode-weights";
}

impl Transform for EncodeWeights {
    fn makes(&self) -> Stage {
        self.stage
    }

    fn from(&self) -> Stage {
        self.stage
    }

    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn relation(&self) -> Relation {
        Relation::SameBits
    }

    fn noop_allowed(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        graph: Verified<'_>,
        _executor: &dyn Executor,
        log: &mut RewriteLog,
    ) -> Result<Graph, TransformError> {
        let layers = graph.nodes().filter(|(_, node)| node.op.is_integer_layer());
        let sites = layers.map(|(id, node)| IntegerWeights::find(&graph, id, node));
        rewrite_each(&graph, sites.collect::<Result<Vec<_>, _>>()?, |editor, site| {
            if let Some((parts, change)) = site.encode(self.encoding)? {
                site.rewrite(editor, parts)?;
                log.changed(&site.node.name, change);
            }
            Ok(())
        })
    }
}

/// The weights of an integer layer.
struct IntegerWeights<'g> {
    id: NodeId,
    node: &'g Node,
    /// The constant's name.
    name: &'g str,
    tensor: &'g Tensor,
    zero_point: i64,
    /// `w - z_w`.
    differences: Vec<i64>,
}

/// Weights as they are to be stored.
struct Stored {
    dtype: DType,
    zero_point: i64,
    /// Of `w - z_w`.
    differences: Vec<i64>,
}

/// What becomes of a layer.
enum Parts {
    /// Other weights.
    One(Stored),
    /// Two layers, whose results are added.
    Two(Stored, Stored),
}

/// `w - z_w` from the first to the second, both included.
type Span = (i64, i64);

/// What the two halves of narrow weights can hold: the stored type, its zero point, the span.
const NARROW_CONVOLUTION: [(DType, i64, Span); 2] = [(DType::U8, 64, (-64, 63)), (DType::U8, 63, (-63, 64))];
const NARROW_PRODUCT: [(DType, i64, Span); 2] = [(DType::I8, 0, (-64, 64)), (DType::I8, 0, (-64, 64))];

impl<'g> IntegerWeights<'g> {
    fn find(graph: &'g Graph, id: NodeId, node: &'g Node) -> Result<Self, TransformError> {
        let constant = |slot, what: &str| {
            graph
                .constant_operand(node, slot)
                .and_then(|tensor| Some((tensor, tensor.to_i64_vec()?)))
                .ok_or_else(|| {
                    let reason = format!("expected constant {what}; only a constant can be stored anew");
                    TransformError::refused("weights-constant", &node.name, reason)
                })
        };
        let (tensor, weights) = constant(1, "weights")?;
        let zero_point = match node.input(3) {
            None => 0,
            Some(_) => constant(3, "zero point of the weights")?.1[0],
        };
        let differences = weights.into_iter().map(|weight| weight - zero_point).collect();
        let name = graph.operand(node, 1).map_or("", |value| &value.name);
        Ok(Self { id, node, name, tensor, zero_point, differences })
    }

    /// What is to be stored, and what the log says of it; none where it is stored so already.
    fn encode(&self, encoding: Encoding) -> Result<Option<(Parts, String)>, TransformError> {
        let halves = match (encoding, &self.node.op) {
            (Encoding::U8, _) => return self.store_whole(DType::U8, 128, (-128, 127)),
            (Encoding::I8, _) => return self.store_whole(DType::I8, 0, (-128, 127)),
            (Encoding::Narrow, Op::ConvInteger(_)) => NARROW_CONVOLUTION,
            (Encoding::Narrow, _) => NARROW_PRODUCT,
        };
        let [(dtype, zero_point, span), second] = halves;
        if self.differences.iter().all(|&weight| span.0 <= weight && weight <= span.1) {
            return self.store_whole(dtype, zero_point, span);
        }
        self.check_span((span.0 + second.2.0, span.1 + second.2.1))?;
        let narrow: Vec<i64> = self.differences.iter().map(|&weight| weight.clamp(span.0, span.1)).collect();
        let rest = self.differences.iter().zip(&narrow).map(|(weight, narrow)| weight - narrow).collect();
        let parts = Parts::Two(
            Stored { dtype, zero_point, differences: narrow },
            Stored { dtype: second.0, zero_point: second.1, differences: rest },
        );
        Ok(Some((parts, "split in two, whose weights are narrow".to_owned())))
    }

    fn store_whole(
        &self,
        dtype: DType,
        zero_point: i64,
        span: Span,
    ) -> Result<Option<(Parts, String)>, TransformError> {
        self.check_span(span)?;
        if self.tensor.dtype() == dtype && self.zero_point == zero_point {
            return Ok(None);
        }
        let stored = Stored { dtype, zero_point, differences: self.differences.clone() };
        Ok(Some((Parts::One(stored), format!("weights are {dtype} with zero point {zero_point}"))))
    }

    fn check_span(&self, (least, greatest): Span) -> Result<(), TransformError> {
        let Some(weight) = self.differences.iter().find(|&&weight| weight < least || weight > greatest)
        else {
            return Ok(());
        };
        let reason = format!(
            "expected weights from {least} to {greatest} around their zero point, found {weight}; quantize \
             weights symmetrically, as `onnx2int quantize` does"
        );
        Err(TransformError::refused("weights-fit", &self.node.name, reason))
    }

    fn rewrite(&self, editor: &mut GraphEditor, parts: Parts) -> Result<(), TransformError> {
        match parts {
            Parts::One(stored) => {
                let tensor = self.tensor_of(&stored);
                set_constant_named(editor, self.id, 1, tensor, self.name)?;
                self.set_zero_point(editor, self.id, &stored)
            }
            Parts::Two(narrow, rest) => self.split(editor, &narrow, &rest),
        }
    }

    /// The sum is what the layer gave until now, so that it gets the name of its output.
    fn split(&self, editor: &mut GraphEditor, narrow: &Stored, rest: &Stored) -> Result<(), TransformError> {
        let output = self.node.output;
        let name = editor.graph().value(output).name.clone();
        let narrow_name = editor.unique_name(&format!("{name}_narrow"));
        editor.rename_value(output, &narrow_name)?;
        set_constant_named(editor, self.id, 1, self.tensor_of(narrow), &format!("{}_narrow", self.name))?;
        self.set_zero_point(editor, self.id, narrow)?;

        let weights = editor.add_fresh_constant(&format!("{}_rest", self.name), self.tensor_of(rest))?;
        let rest_output = editor.unique_name(&format!("{name}_rest"));
        let zero_point = editor.add_fresh_constant(
            &format!("{rest_output}_{}", self.node.op.operand_role(3)),
            zero_point_scalar(rest.dtype, rest.zero_point),
        )?;
        let rest_node = editor.unique_name(&format!("{}_rest", self.node.name));
        let operands = [self.node.input(0), Some(weights), self.node.input(2), Some(zero_point)];
        let rest = editor.add_node(&rest_node, self.node.op.clone(), operands, &rest_output)?;
        let sum = editor.unique_name(&format!("{}_sum", self.node.name));
        editor.insert_after(output, &sum, Op::Add, &[rest], &name)?;
        Ok(())
    }

    fn set_zero_point(
        &self,
        editor: &mut GraphEditor,
        node: NodeId,
        stored: &Stored,
    ) -> Result<(), TransformError> {
        let tensor = zero_point_scalar(stored.dtype, stored.zero_point);
        crate::edits::set_constant(editor, node, 3, tensor)?;
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the spans fit the types")]
    fn tensor_of(&self, stored: &Stored) -> Tensor {
        let codes = stored.differences.iter().map(|weight| weight + stored.zero_point);
        match stored.dtype {
            DType::U8 => Tensor::from_vec::<u8>(self.tensor.shape(), codes.map(|code| code as u8).collect()),
            _ => Tensor::from_vec::<i8>(self.tensor.shape(), codes.map(|code| code as i8).collect()),
        }
        .expect("as many weights as before")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, check_refused, check_unchanged};

    const fn pass(encoding: Encoding) -> EncodeWeights {
        EncodeWeights { stage: Stage::ScaleOut, encoding }
    }

    const U8: &str = "in %x: u8[N,1,2,2]
         const %w: u8[2,1,1,1] = [1, 255]
         %y = ConvInteger(%x, %w, 3u8, 128u8)
         out %y";
    const I8: &str = "in %x: u8[N,1,2,2]
         const %w: i8[2,1,1,1] = [-127, 127]
         %y = ConvInteger(%x, %w, 3u8, 0i8)
         out %y";

    #[test]
    fn bytes_change_their_sign_with_their_zero_point() {
        let sites = check(&pass(Encoding::I8), U8, I8);
        assert_eq!(sites, ["y: weights are i8 with zero point 0"]);
        check(&pass(Encoding::U8), I8, U8);
        // Another zero point of the right type is moved too.
        let odd = U8.replace("[1, 255]", "[0, 254]").replace("128u8", "127u8");
        check(&pass(Encoding::U8), &odd, U8);
    }

    #[test]
    fn what_is_stored_so_stays() {
        check_unchanged(&pass(Encoding::U8), U8);
        check_unchanged(&pass(Encoding::I8), I8);
        check_unchanged(
            &pass(Encoding::Narrow),
            "in %x: u8[N,2]
             const %w: i8[2,1] = [-64, 64]
             %y = MatMulInteger(%x, %w, 3u8, 0i8)
             out %y",
        );
    }

    #[test]
    fn a_split_convolution_has_two_zero_points() {
        check(
            &pass(Encoding::Narrow),
            U8,
            "in %x: u8[N,1,2,2]
             const %xz: u8[] = 3
             const %w_narrow: u8[2,1,1,1] = [0, 127]
             const %w_rest: u8[2,1,1,1] = [0, 127]
             %y_narrow = ConvInteger(%x, %w_narrow, %xz, 64u8) @y
             %y_rest = ConvInteger(%x, %w_rest, %xz, 63u8)
             %y = Add(%y_narrow, %y_rest) @y_sum
             out %y"
                .replace("%xz", "%y_x_zero_point")
                .as_str(),
        );
    }

    #[test]
    fn narrow_weights_stay_one_layer() {
        let sites = check(
            &pass(Encoding::Narrow),
            &U8.replace("[1, 255]", "[64, 191]"),
            &U8.replace("[1, 255]", "[0, 127]").replace("128u8", "64u8"),
        );
        assert_eq!(sites, ["y: weights are u8 with zero point 64"]);
    }

    #[test]
    fn weights_that_do_not_fit_are_refused() {
        let wide = U8.replace("128u8", "0u8");
        for encoding in Encoding::ALL {
            check_refused(&pass(encoding), &wide, "weights-fit", "y");
        }
        let computed = "in %x: u8[N,2], %w: u8[2,1]
             %y = MatMulInteger(%x, %w, 3u8, 128u8)
             out %y";
        check_refused(&pass(Encoding::I8), computed, "weights-constant", "y");
    }

    #[test]
    fn every_encoding_gives_the_same_sums() {
        let weights: Vec<String> = (1..=255_u8).map(|weight| weight.to_string()).collect();
        let weights = weights.join(", ");
        for layer in [
            format!("const %w: u8[255,1] = [{weights}]\n%y = MatMulInteger(%x, %w, 7u8, 128u8)"),
            format!(
                "const %w: u8[1,1,255] = [{weights}]
                 const %shape: i64[3] = [0, 1, -1]
                 %row = Reshape(%x, %shape)
                 %y = ConvInteger(%row, %w, 7u8, 128u8) pads=[3,1]"
            ),
        ] {
            let text = format!("in %x: u8[N,255]\n{layer}\nout %y");
            let graph = crate::testing::parse(&text);
            let pixels: Vec<u8> = (0..4 * 255_u32).map(|index| (index * 97 % 256) as u8).collect();
            let input = Tensor::from_vec(&[4, 255], pixels).unwrap();
            let run = |graph: &Graph| {
                let verified = onnx2int_graph::verify(graph).unwrap();
                onnx2int_interpreter::run(verified, std::slice::from_ref(&input)).unwrap()
            };
            let expected = run(&graph);
            for encoding in Encoding::ALL {
                let executor = |_: Verified<'_>, _: &[Tensor]| Err("encode-weights runs nothing".to_owned());
                let verified = onnx2int_graph::verify(&graph).unwrap();
                let result = pass(encoding).rewrite(verified, &executor, &mut RewriteLog::default()).unwrap();
                assert_eq!(run(&result), expected, "{encoding:?}\n{text}");
            }
        }
    }
}
