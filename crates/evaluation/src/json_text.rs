//! JSON as people read it, and files that say which schema they follow.

use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::Formatter;

use crate::EvaluationError;

/// Indented JSON with a final line feed, where an array without objects stays on one line:
/// ten thousand predictions are a line, not ten thousand lines.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Indented::default());
    value.serialize(&mut serializer).expect("our types have string keys and memory does not fail");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Parses a file whose `schema` entry must be `schema`.
///
/// The schema is looked at first: another version is told as such, not as a missing field.
pub(crate) fn from_json<T: DeserializeOwned>(
    what: &'static str,
    schema: &'static str,
    text: &str,
) -> Result<T, EvaluationError> {
    #[derive(serde::Deserialize)]
    struct Head {
        schema: String,
    }
    let invalid = |source| EvaluationError::Json { what, schema, source };
    let head: Head = serde_json::from_str(text).map_err(invalid)?;
    if head.schema != schema {
        return Err(EvaluationError::Schema { what, expected: schema, found: head.schema });
    }
    serde_json::from_str(text).map_err(invalid)
}

/// An array or object that is being written.
struct Level {
    /// Its elements are on lines of their own.
    broken: bool,
    /// It has no element yet.
    empty: bool,
}

#[derive(Default)]
struct Indented {
    levels: Vec<Level>,
    /// An element of the innermost array was begun, and what it is has not been seen yet.
    element_begun: bool,
}

impl Indented {
    /// Objects are broken from the start, arrays when their first compound element comes.
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8], broken: bool) -> io::Result<()> {
        if self.element_begun {
            if let Some(array) = self.levels.last_mut() {
                array.broken = true;
            }
            self.line(writer)?;
        }
        self.element_begun = false;
        self.levels.push(Level { broken, empty: true });
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.element_begun = false;
        if self.levels.pop().is_some_and(|level| level.broken && !level.empty) {
            self.line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        self.levels.iter().try_for_each(|_| writer.write_all(b"  "))
    }

    fn element_added(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.empty = false;
        }
    }
}

impl Formatter for Indented {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[", false)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.element_begun = true;
        self.element_added();
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{", true)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.element_begun = false;
        self.element_added();
        if !first {
            writer.write_all(b",")?;
        }
        self.line(writer)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn arrays_of_scalars_are_one_line_and_everything_else_is_indented() {
        let value = json!({
            "classes": [7, 2, 1],
            "empty": [[], {}],
            "matrix": [[1, 2], [3, 4]],
            "objects": [{"a": [0.5]}, {"a": []}],
        });
        let text = to_json(&value);
        insta::assert_snapshot!(text, @r###"
        {
          "classes": [7,2,1],
          "empty": [
            [],
            {}
          ],
          "matrix": [
            [1,2],
            [3,4]
          ],
          "objects": [
            {
              "a": [0.5]
            },
            {
              "a": []
            }
          ]
        }
        "###);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn another_schema_is_told_before_anything_else_is_looked_at() {
        let error = from_json::<Vec<u8>>("score file", "s/1", r#"{"schema": "s/2"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"the score file has schema "s/2", expected "s/1"; make it anew with this version"#
        );
        let error = from_json::<Vec<u8>>("score file", "s/1", "{").unwrap_err();
        assert!(matches!(error, EvaluationError::Json { what: "score file", .. }), "{error}");
    }
}
