//! A graph to text.

use std::collections::HashMap;
use std::fmt::{self, Display, Write as _};

use super::{
    DEFAULT_NAME, MAX_PRINTED_ELEMENTS, MAX_REPEATED_ELEMENTS, attributes, is_bare_name, is_bare_symbol,
};
use crate::{Dim, Element, Graph, Node, Op, Tensor, TensorType, ValueId, match_tensor};

/// What becomes of constants with many elements.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LargeConstants {
    Digest,
    InFull,
}

pub(super) fn print(graph: &Graph, large_constants: LargeConstants) -> String {
    let mut printer = Printer {
        graph,
        inline: inline_constants(graph),
        tensors: TensorPrinter { large_constants, repeated: 0 },
        text: String::new(),
    };
    printer.print().expect("writing to a string does not fail");
    printer.text
}

/// The constants that are printed as literals where they are used.
fn inline_constants(graph: &Graph) -> Vec<bool> {
    let mut uses: HashMap<ValueId, usize> = HashMap::new();
    let operands = graph.nodes().flat_map(|(_, node)| node.inputs.iter().flatten());
    for &id in operands.chain(graph.outputs()) {
        *uses.entry(id).or_default() += 1;
    }
    let mut inline = vec![false; graph.values().len()];
    for (_, node) in graph.nodes() {
        for (slot, id) in node.inputs.iter().enumerate() {
            let Some(id) = *id else { continue };
            let value = graph.value(id);
            inline[id.index()] = value.constant().is_some_and(|tensor| tensor.rank() == 0)
                && uses[&id] == 1
                && value.annotation.is_none()
                && value.name == literal_name(&graph.value(node.output).name, &node.op, slot);
        }
    }
    inline
}

/// The name of the constant that a literal operand makes.
pub(super) fn literal_name(output: &str, op: &Op, slot: usize) -> String {
    format!("{output}_{}", op.operand_role(slot))
}

struct Printer<'g> {
    graph: &'g Graph,
    inline: Vec<bool>,
    tensors: TensorPrinter,
    text: String,
}

impl Printer<'_> {
    fn print(&mut self) -> fmt::Result {
        let graph = self.graph;
        if graph.name() != DEFAULT_NAME {
            writeln!(self.text, "graph {}", Name(graph.name()))?;
        }
        for (key, value) in graph.metadata() {
            writeln!(self.text, "meta {} = {}", Name(key), Quoted(value))?;
        }
        for &input in graph.inputs() {
            let value = graph.value(input);
            writeln!(self.text, "in %{}: {}", Name(&value.name), Type(&value.ty))?;
        }
        for (id, value) in graph.values() {
            if let Some(tensor) = value.constant()
                && !self.inline[id.index()]
            {
                write!(self.text, "const %{}: {} = ", Name(&value.name), Type(&value.ty))?;
                self.tensors.print(&mut self.text, tensor)?;
                self.text.push('\n');
            }
        }
        for (_, node) in graph.nodes() {
            self.print_node(node)?;
        }
        for (_, value) in graph.values() {
            if let Some(annotation) = &value.annotation {
                let (scale, zero_point) = (Name(&annotation.scale), Name(&annotation.zero_point));
                writeln!(self.text, "annotate %{} scale={scale} zero_point={zero_point}", Name(&value.name))?;
            }
        }
        for (i, &output) in graph.outputs().iter().enumerate() {
            let lead = if i == 0 { "out " } else { ", " };
            write!(self.text, "{lead}%{}", Name(&graph.value(output).name))?;
        }
        if !graph.outputs().is_empty() {
            self.text.push('\n');
        }
        Ok(())
    }

    fn print_node(&mut self, node: &Node) -> fmt::Result {
        let output = self.graph.value(node.output);
        write!(self.text, "%{}: {} = {}(", Name(&output.name), Type(&output.ty), node.op.name())?;
        for (slot, input) in node.inputs.iter().enumerate() {
            if slot > 0 {
                self.text.push_str(", ");
            }
            match *input {
                None => self.text.push('_'),
                Some(id) if self.inline[id.index()] => {
                    let tensor = self.graph.value(id).constant().expect("only constants are inline");
                    print_literal(&mut self.text, tensor)?;
                }
                Some(id) => write!(self.text, "%{}", Name(&self.graph.value(id).name))?,
            }
        }
        self.text.push(')');
        let operand_rank = self.graph.operand(node, 0).map(|value| value.ty.rank());
        attributes::print(&mut self.text, &node.op, operand_rank, &mut self.tensors)?;
        if node.name != output.name {
            write!(self.text, " @{}", Name(&node.name))?;
        }
        self.text.push('\n');
        Ok(())
    }
}

/// Prints the elements of tensors.
pub(super) struct TensorPrinter {
    large_constants: LargeConstants,
    /// The elements that `splat` stands for so far.
    repeated: usize,
}

impl TensorPrinter {
    pub(super) fn print(&mut self, text: &mut String, tensor: &Tensor) -> fmt::Result {
        let count = tensor.len();
        if tensor.rank() == 0 {
            match_tensor!(tensor, array => write!(text, "{}", Scalar(array[[]])))
        } else if count > 1 && is_uniform(tensor) && self.repeated + count <= MAX_REPEATED_ELEMENTS {
            self.repeated += count;
            text.push_str("splat ");
            match_tensor!(tensor, array => write!(text, "{}", Scalar(array.as_slice().expect("in standard layout")[0])))
        } else if self.large_constants == LargeConstants::Digest && count > MAX_PRINTED_ELEMENTS {
            write!(text, "#{}", &tensor.digest()[..16])
        } else {
            text.push('[');
            match_tensor!(tensor, array => print_list(text, array.iter().copied()))?;
            text.push(']');
            Ok(())
        }
    }
}

/// Whether all elements have the same bits.
fn is_uniform(tensor: &Tensor) -> bool {
    fn uniform<T: Copy, K: PartialEq>(elements: impl IntoIterator<Item = T>, key: impl Fn(T) -> K) -> bool {
        let mut keys = elements.into_iter().map(key);
        let first = keys.next();
        keys.all(|other| Some(&other) == first.as_ref())
    }
    match tensor {
        // -0.0 and 0.0 are equal and print differently, NaN is not equal to itself.
        Tensor::F32(array) => uniform(array.iter(), |v| v.to_bits()),
        Tensor::U8(array) => uniform(array.iter(), |&v| v),
        Tensor::I8(array) => uniform(array.iter(), |&v| v),
        Tensor::I32(array) => uniform(array.iter(), |&v| v),
        Tensor::I64(array) => uniform(array.iter(), |&v| v),
        Tensor::Bool(array) => uniform(array.iter(), |&v| v),
    }
}

fn print_list<T: Element>(text: &mut String, elements: impl Iterator<Item = T>) -> fmt::Result
where
    Scalar<T>: Display,
{
    for (i, element) in elements.enumerate() {
        if i > 0 {
            text.push_str(", ");
        }
        write!(text, "{}", Scalar(element))?;
    }
    Ok(())
}

/// A scalar that says its own type.
fn print_literal(text: &mut String, tensor: &Tensor) -> fmt::Result {
    match_tensor!(tensor, array => write!(text, "{}", Scalar(array[[]])))?;
    if tensor.dtype().is_integer() { write!(text, "{}", tensor.dtype()) } else { Ok(()) }
}

/// One element.
pub(super) struct Scalar<T>(pub(super) T);

impl Display for Scalar<f32> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_nan() {
            match self.0.to_bits() {
                bits if bits == f32::NAN.to_bits() => f.write_str("nan"),
                bits => write!(f, "nan:{bits:#010x}"),
            }
        } else {
            // The debug form has a point or an exponent, and the fewest digits that read back.
            write!(f, "{:?}", self.0)
        }
    }
}

macro_rules! plain_scalar {
    ($($ty:ty),*) => {$(
        impl Display for Scalar<$ty> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Display::fmt(&self.0, f)
            }
        }
    )*};
}
plain_scalar!(u8, i8, i32, i64, bool);

/// A name, quoted where it must be.
pub(super) struct Name<'a>(pub(super) &'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_bare_name(self.0) { f.write_str(self.0) } else { Quoted(self.0).fmt(f) }
    }
}

struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // Line separators too: a name never breaks a line.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    write!(f, "\\u{{{:x}}}", u32::from(c))?;
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A tensor type, with symbolic extents quoted where they must be.
pub(super) struct Type<'a>(pub(super) &'a TensorType);

impl Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.0.dtype)?;
        for (i, dim) in self.0.shape.iter().enumerate() {
            if i > 0 {
                f.write_char(',')?;
            }
            match dim {
                Dim::Fixed(extent) => write!(f, "{extent}")?,
                Dim::Symbol(name) if is_bare_symbol(name) => f.write_str(name)?,
                Dim::Symbol(name) => Quoted(name).fmt(f)?,
            }
        }
        f.write_char(']')
    }
}
