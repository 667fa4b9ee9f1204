//! The graph as text: one line a node. Documentation, tests, dumps and diagnostics speak it.
//!
//! ```text
//! graph mnist_cnn                                 # optional, first; without it the name is `fragment`
//! meta onnx2int.stage = "float"
//! in    %x: f32[N,1,28,28]                        # several inputs: a comma between them, or a line each
//! const %w: i8[2,1,3,3] = [1, -2, 3, ...]         # every element, row-major
//! const %s: f32[] = 0.5                           # a scalar needs no brackets
//! const %v: i8[64] = splat 3                      # every element the same
//! const %u: i8[2,1,3,3] = cycle [1, -2, 3]        # the pattern over and over (never printed)
//! const %k: i8[64,32,3,3] = #0123456789abcdef     # a digest: printed by `to_text`, not parsed
//! %y: f32[N,2,3,3] = Conv(%x, %w, %b) strides=[2,2] pads=[1,1,1,1] @conv1
//! %q: u8[N,2,3,3] = QuantizeLinear(%y, 0.1, 0u8)
//! %r: f32[N,2,3,3] = Conv(%q, %w, _)              # `_` is an operand left out
//! annotate %q scale=q_scale zero_point=q_zero_point
//! out %q, %r
//! ```
//!
//! - Everything from `#` to the end of a line is a comment. A value is defined above its uses;
//!   `annotate` and `out` may stand anywhere.
//! - The type of a node's output may be left out. Where it stands it must be the type that
//!   follows from the operands.
//! - `@name` names the node; without it the node has the name of its output.
//! - Attributes have ONNX's names and defaults (`transB=1`, `keepdims=0`, `ceil_mode=1`,
//!   `to=u8`, `pads=[top, left, bottom, right]`) and are printed where they differ from the
//!   default. `Constant() value=i64[2] [1, 2]` holds a tensor written as in a `const` line.
//! - A scalar literal as an operand is a constant of its own, named after the output and the
//!   operand's role ([`crate::Op::operand_role`]): `q_scale`, `q_zero_point`. A literal with a
//!   point or an exponent, `inf` and `nan` are f32; integers carry their type: `0u8`, `-3i8`,
//!   `7i32`, `1i64`; `true` and `false` are bool. A constant is printed this way if it is a
//!   scalar of that name, is not annotated, and is used once.
//! - f32 is printed with the fewest digits that give the same bits; a NaN with other than the
//!   usual bits is `nan:0x7fc00001`.
//! - Names made of `A-Z a-z 0-9 _ . / : -` that do not end in `:` stand as they are, other names
//!   are quoted: `%"odd name"`, with the escapes `\"`, `\\`, `\n`, `\r`, `\t` and `\u{7f}`.
//!   Symbolic extents start with a letter or `_` and go on with letters, digits, `_`, `.` and
//!   `*`, or are quoted.

mod attributes;
mod build;
mod cursor;
mod literal;
mod parse;
mod print;
#[cfg(test)]
mod tests;

use crate::Graph;

/// The name of a graph whose text has no `graph` line.
const DEFAULT_NAME: &str = "fragment";

/// The most elements that `splat` and `cycle` make in one text, so that a short text cannot ask
/// for much memory. Longer runs are printed in full.
const MAX_REPEATED_ELEMENTS: usize = 1 << 24;

/// Constants with more elements than this are printed as a digest by [`Graph::to_text`].
const MAX_PRINTED_ELEMENTS: usize = 64;

/// A text that is not a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: expected {expected}, found {found}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
    /// What would be right there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Graph {
    /// The graph as text for people: large constants as the first 16 digits of
    /// [`crate::Tensor::digest`].
    pub fn to_text(&self) -> String {
        print::print(self, print::LargeConstants::Digest)
    }

    /// The graph as text from which [`Graph::from_text`] makes the same graph again.
    pub fn to_full_text(&self) -> String {
        print::print(self, print::LargeConstants::InFull)
    }

    /// The graph of a text, as [`crate::GraphEditor::finish`] leaves it: sorted, and without what
    /// no output depends on.
    ///
    /// Never panics, and needs memory in proportion to the text and at most 2^24 elements more.
    pub fn from_text(text: &str) -> Result<Self, ParseError> {
        build::build(text, build::Trust::CheckTypes)
    }

    /// The graph exactly as written: nodes in the order of the text, unused ones included, and
    /// declared types believed. Gives the verifier's tests something to refuse.
    #[cfg(test)]
    pub(crate) fn from_text_as_written(text: &str) -> Result<Self, ParseError> {
        build::build(text, build::Trust::AsWritten)
    }
}

/// Whether a name stands without quotes.
fn is_bare_name(name: &str) -> bool {
    !name.is_empty() && !name.ends_with(':') && name.chars().all(is_name_character)
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | ':' | '-')
}

/// Whether the name of a symbolic extent stands without quotes.
fn is_bare_symbol(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_symbol_character)
}

fn is_symbol_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '*')
}
