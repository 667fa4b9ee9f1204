//! Where two certificates part.

use std::fmt;

use serde_json::Value;

use crate::Certificate;

/// The first place where two certificates differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path of the entry: `tensors["conv1_output"].lows[3]`.
    pub path: String,
    /// What the one has.
    pub expected: String,
    /// What the other has.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.path, self.expected, self.found)
    }
}

impl Certificate {
    /// Where `found` says something else than this certificate.
    pub fn difference(&self, found: &Self) -> Option<Difference> {
        if self == found {
            return None;
        }
        let value = |certificate: &Self| {
            serde_json::to_value(certificate).expect("our types have string keys and finite numbers")
        };
        first(String::new(), &value(self), &value(found))
    }
}

fn first(path: String, expected: &Value, found: &Value) -> Option<Difference> {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => a.iter().find_map(|(key, value)| {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            first(inner, value, b.get(key).unwrap_or(&Value::Null))
        }),
        (Value::Array(a), Value::Array(b)) => {
            let entries = a.iter().zip(b).enumerate();
            let inner = entries.map(|(index, (a, b))| first(entry_path(&path, index, a), a, b));
            inner.flatten().next().or_else(|| {
                (a.len() != b.len()).then(|| Difference {
                    path: path.clone(),
                    expected: format!("{} entries", a.len()),
                    found: b.len().to_string(),
                })
            })
        }
        _ if expected == found => None,
        _ => Some(Difference { path, expected: short(expected), found: short(found) }),
    }
}

/// An entry by its name, where it has one.
fn entry_path(path: &str, index: usize, entry: &Value) -> String {
    let name = ["name", "node"].iter().find_map(|key| entry.get(key)?.as_str());
    match name {
        Some(name) => format!("{path}[{name:?}]"),
        None => format!("{path}[{index}]"),
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::Array(entries) => format!("{} entries", entries.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
