//! A position in one line of text, and the smallest things read from it.

use super::{ParseError, is_name_character, is_symbol_character};
use crate::{DType, Dim, TensorType};

/// The rest of a line.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    line: usize,
    position: usize,
}

/// A place to point an error at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    line: usize,
    column: usize,
}

impl Place {
    pub(super) fn error(self, expected: impl Into<String>, found: impl Into<String>) -> ParseError {
        ParseError { line: self.line, column: self.column, expected: expected.into(), found: found.into() }
    }
}

impl<'t> Cursor<'t> {
    /// The start of a line; `line` counts from 1.
    pub(super) fn new(text: &'t str, line: usize) -> Self {
        Self { text, line, position: 0 }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.position..]
    }

    pub(super) fn place(&self) -> Place {
        Place { line: self.line, column: self.text[..self.position].chars().count() + 1 }
    }

    /// The place of the next character that is not a space.
    pub(super) fn next_place(&mut self) -> Place {
        self.skip_spaces();
        self.place()
    }

    pub(super) fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start().len();
    }

    pub(super) fn peek(&mut self) -> Option<char> {
        self.skip_spaces();
        self.rest().chars().next()
    }

    /// Whether nothing is left but a comment.
    pub(super) fn at_end(&mut self) -> bool {
        matches!(self.peek(), None | Some('#'))
    }

    pub(super) fn end(&mut self, expected: &str) -> Result<(), ParseError> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// An error about what comes next.
    pub(super) fn unexpected(&mut self, expected: impl Into<String>) -> ParseError {
        let place = self.next_place();
        let rest = self.rest();
        let found = match rest.chars().next() {
            None => "the end of the line".to_owned(),
            Some(first) => {
                let word = rest.find(char::is_whitespace).map_or(rest, |end| &rest[..end]);
                let shown: String = word.chars().take(24).collect();
                format!("{:?}", if shown.is_empty() { first.to_string() } else { shown })
            }
        };
        place.error(expected, found)
    }

    /// Takes a character if it is the next one that is not a space.
    pub(super) fn accept(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.position += c.len_utf8();
        }
        found
    }

    pub(super) fn expect(&mut self, c: char, expected: &str) -> Result<(), ParseError> {
        if self.accept(c) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// The characters from here that are all of one kind; maybe none.
    pub(super) fn take_while(&mut self, kind: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let taken = rest.find(|c| !kind(c)).map_or(rest, |end| &rest[..end]);
        self.position += taken.len();
        taken
    }

    /// A run of letters, digits and `_`; maybe empty.
    pub(super) fn word(&mut self) -> &'t str {
        self.skip_spaces();
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// A bare or quoted name.
    pub(super) fn name(&mut self, expected: &str) -> Result<String, ParseError> {
        if self.peek() == Some('"') {
            return self.quoted(expected);
        }
        let start = *self;
        let taken = self.take_while(is_name_character);
        // The colon before a type is no part of the name.
        let name = taken.trim_end_matches(':');
        self.position -= taken.len() - name.len();
        if name.is_empty() {
            *self = start;
            return Err(self.unexpected(expected));
        }
        Ok(name.to_owned())
    }

    /// `%` and the name of a value.
    pub(super) fn value_name(&mut self) -> Result<(String, Place), ParseError> {
        let place = self.next_place();
        self.expect('%', "a value (`%name`)")?;
        // No space after the sign.
        match self.rest().chars().next() {
            Some(c) if c == '"' || is_name_character(c) => Ok((self.name("a name")?, place)),
            _ => Err(self.unexpected("a name directly after `%`")),
        }
    }

    /// A quoted text with its escapes resolved.
    pub(super) fn quoted(&mut self, expected: &str) -> Result<String, ParseError> {
        self.expect('"', expected)?;
        let mut text = String::new();
        loop {
            let here = *self;
            let Some(c) = self.bump() else {
                return Err(self.unexpected("a closing `\"`"));
            };
            match c {
                '"' => return Ok(text),
                '\\' => match self.escape() {
                    Some(c) => text.push(c),
                    None => {
                        *self = here;
                        return Err(self.unexpected(r#"one of the escapes \" \\ \n \r \t \u{..}"#));
                    }
                },
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.bump()? {
            '"' => '"',
            '\\' => '\\',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                if self.bump()? != '{' {
                    return None;
                }
                let code = u32::from_str_radix(self.take_while(|c| c.is_ascii_hexdigit()), 16).ok()?;
                if self.bump()? != '}' {
                    return None;
                }
                char::from_u32(code)?
            }
            _ => return None,
        })
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.position += c.len_utf8();
        Some(c)
    }

    pub(super) fn dtype(&mut self) -> Result<DType, ParseError> {
        let start = *self;
        let word = self.word();
        DType::ALL.into_iter().find(|dtype| dtype.name() == word).ok_or_else(|| {
            *self = start;
            let names: Vec<_> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
            self.unexpected(format!("an element type ({})", names.join(", ")))
        })
    }

    /// `f32[N,1,28,28]`
    pub(super) fn tensor_type(&mut self) -> Result<TensorType, ParseError> {
        let dtype = self.dtype()?;
        self.expect('[', "`[` and a shape")?;
        let shape = self.list(Self::dim)?;
        Ok(TensorType::new(dtype, shape))
    }

    fn dim(&mut self) -> Result<Dim, ParseError> {
        let start = {
            self.skip_spaces();
            *self
        };
        if self.peek() == Some('"') {
            return self.quoted("a symbol").map(|name| Dim::symbol(&name));
        }
        let word = self.take_while(is_symbol_character);
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            // At most the greatest i64, so that an extent fits every shape tensor.
            if let Ok(extent) = word.parse::<i64>()
                && let Ok(extent) = usize::try_from(extent)
            {
                return Ok(Dim::Fixed(extent));
            }
        } else if super::is_bare_symbol(word) {
            return Ok(Dim::symbol(word));
        }
        *self = start;
        Err(self.unexpected("an extent: a number or a symbol"))
    }

    /// Items separated by commas up to the closing bracket; the opening one is behind.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let mut items = Vec::new();
        if self.accept(']') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.accept(']') {
                return Ok(items);
            }
            self.expect(',', "`,` or `]`")?;
        }
    }
}
