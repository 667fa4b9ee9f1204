//! Text to statements, one a line. [`super::build`] makes a graph of them.

use super::ParseError;
use super::attributes::Attributes;
use super::cursor::{Cursor, Place};
use super::literal::{self, RepeatedElements};
use crate::{QuantizationAnnotation, Tensor, TensorType};

/// One line of text.
pub(super) enum Statement {
    /// `graph name`
    Graph { name: String, place: Place },
    /// `meta key = "value"`
    Meta { key: String, value: String, place: Place },
    /// `in %x: f32[N,4]`, once or more
    In { inputs: Vec<(ValueName, TensorType)> },
    /// `const %w: i8[2] = [1, 2]`
    Const { value: ValueName, tensor: Tensor },
    /// `annotate %q scale=s zero_point=z`
    Annotate { value: ValueName, annotation: QuantizationAnnotation },
    /// `%y: f32[N,4] = Relu(%x) @name`
    Node(NodeLine),
    /// `out %y, %z`
    Out { values: Vec<ValueName> },
}

/// A value as a statement names it.
pub(super) struct ValueName {
    pub(super) name: String,
    pub(super) place: Place,
}

/// One operand as written.
pub(super) enum OperandText {
    Value(ValueName),
    LeftOut,
    Literal(Tensor, Place),
}

/// The parts of a node's line.
pub(super) struct NodeLine {
    pub(super) output: ValueName,
    /// The declared type, if it is there.
    pub(super) ty: Option<(TensorType, Place)>,
    pub(super) op: String,
    pub(super) op_place: Place,
    pub(super) operands: Vec<OperandText>,
    pub(super) attributes: Attributes,
    /// The node's name, if it is not the output's.
    pub(super) name: Option<ValueName>,
}

/// Reads a line; `None` if it is empty or a comment.
pub(super) fn statement(
    text: &str,
    line: usize,
    repeated: &mut RepeatedElements,
) -> Result<Option<Statement>, ParseError> {
    let mut cursor = Cursor::new(text, line);
    if cursor.at_end() {
        return Ok(None);
    }
    if cursor.peek() == Some('%') {
        return node(&mut cursor, repeated).map(|node| Some(Statement::Node(node)));
    }
    let start = cursor;
    let place = cursor.next_place();
    let statement = match cursor.word() {
        "graph" => Statement::Graph { name: cursor.name("the graph's name")?, place },
        "meta" => {
            let key = cursor.name("a key")?;
            cursor.expect('=', "`=`")?;
            Statement::Meta { key, value: cursor.quoted("a quoted value")?, place }
        }
        "in" => Statement::In { inputs: separated(&mut cursor, typed_value)? },
        "const" => {
            let (value, ty) = typed_value(&mut cursor)?;
            cursor.expect('=', "`=` and the elements")?;
            Statement::Const { value, tensor: literal::tensor(&mut cursor, &ty, repeated)? }
        }
        "annotate" => {
            let value = value_name(&mut cursor)?;
            let scale = annotated(&mut cursor, "scale")?;
            let zero_point = annotated(&mut cursor, "zero_point")?;
            Statement::Annotate { value, annotation: QuantizationAnnotation { scale, zero_point } }
        }
        "out" => Statement::Out { values: separated(&mut cursor, value_name)? },
        _ => {
            cursor = start;
            return Err(cursor.unexpected(
                "`graph`, `meta`, `in`, `const`, `annotate`, `out`, or a node (`%output = Op(..)`)",
            ));
        }
    };
    cursor.end("the end of the line")?;
    Ok(Some(statement))
}

fn node(cursor: &mut Cursor<'_>, repeated: &mut RepeatedElements) -> Result<NodeLine, ParseError> {
    let output = value_name(cursor)?;
    let ty = if cursor.accept(':') {
        let place = cursor.next_place();
        Some((cursor.tensor_type()?, place))
    } else {
        None
    };
    cursor.expect('=', if ty.is_some() { "`=`" } else { "`:` and a type, or `=`" })?;
    let op_place = cursor.next_place();
    let op = cursor.word().to_owned();
    cursor.expect('(', "an operator and its operands: `Op(..)`")?;
    let operands = if cursor.accept(')') { Vec::new() } else { separated(cursor, operand)? };
    if !operands.is_empty() {
        cursor.expect(')', "`,` or `)`")?;
    }
    let attributes = Attributes::parse(cursor, repeated)?;
    let name = if cursor.accept('@') {
        let place = cursor.next_place();
        Some(ValueName { name: cursor.name("the node's name")?, place })
    } else {
        None
    };
    cursor.end("the end of the line")?;
    Ok(NodeLine { output, ty, op, op_place, operands, attributes, name })
}

fn operand(cursor: &mut Cursor<'_>) -> Result<OperandText, ParseError> {
    let place = cursor.next_place();
    match cursor.peek() {
        Some('%') => value_name(cursor).map(OperandText::Value),
        Some('_') => {
            cursor.expect('_', "`_`")?;
            Ok(OperandText::LeftOut)
        }
        _ => literal::scalar(cursor).map(|tensor| OperandText::Literal(tensor, place)),
    }
}

fn value_name(cursor: &mut Cursor<'_>) -> Result<ValueName, ParseError> {
    cursor.value_name().map(|(name, place)| ValueName { name, place })
}

fn typed_value(cursor: &mut Cursor<'_>) -> Result<(ValueName, TensorType), ParseError> {
    let value = value_name(cursor)?;
    cursor.expect(':', "`:` and a type")?;
    Ok((value, cursor.tensor_type()?))
}

/// `key=name`
fn annotated(cursor: &mut Cursor<'_>, key: &str) -> Result<String, ParseError> {
    cursor.skip_spaces();
    let start = *cursor;
    if cursor.word() != key {
        *cursor = start;
        return Err(cursor.unexpected(format!("`{key}=` and the name of a constant")));
    }
    cursor.expect('=', "`=` and the name of a constant")?;
    cursor.name("the name of a constant")
}

/// One or more items with commas between them.
fn separated<T>(
    cursor: &mut Cursor<'_>,
    item: impl Fn(&mut Cursor<'_>) -> Result<T, ParseError>,
) -> Result<Vec<T>, ParseError> {
    let mut items = vec![item(cursor)?];
    while cursor.accept(',') {
        items.push(item(cursor)?);
    }
    Ok(items)
}
