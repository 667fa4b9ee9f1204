//! The record of what a step was made from, and the one-line reason why it must be made anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::atomic_file;

/// Everything that decides what a step writes, and the digests of what it wrote.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Stamp {
    /// The digest of the program, unless `parameters` carry a version of the recipe.
    pub code: Option<String>,
    /// The step's settings by name.
    pub parameters: Map<String, Value>,
    /// Digests of the files read, by path.
    pub inputs: BTreeMap<String, String>,
    /// Digests of the files written, by path; a file that does not exist is absent.
    pub outputs: BTreeMap<String, String>,
}

impl Stamp {
    /// Reads a stamp; `None` where there is none that can be understood, as then the step must be run anyway.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Writes the stamp.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        atomic_file::write(path, &serde_json::to_vec_pretty(self)?)
    }

    /// Why a step that would leave this stamp must be made, by the stamp that it left before, or `None` if it need not.
    pub(crate) fn reason_to_make(&self, left: &Path) -> Option<String> {
        match Self::read(left) {
            None => Some("not made yet, or not to its end".to_owned()),
            Some(stamp) => stamp.out_of_date(self),
        }
    }

    /// Why a step with this stamp is out of date now, or `None` if it is not.
    pub(crate) fn out_of_date(&self, now: &Self) -> Option<String> {
        if let Some(reason) = parameter_changed(&self.parameters, &now.parameters) {
            return Some(reason);
        }
        if let Some(path) = first_difference(&self.inputs, &now.inputs) {
            return Some(match (self.inputs.get(path), now.inputs.get(path)) {
                (None, _) => format!("input {} is new", file_name(path)),
                (_, None) => format!("input {} is not read any more", file_name(path)),
                _ => format!("input {} changed", file_name(path)),
            });
        }
        if self.code != now.code {
            return Some("the program onnx2int changed".to_owned());
        }
        let path = first_difference(&self.outputs, &now.outputs)?;
        Some(match now.outputs.get(path) {
            None => format!("output {} is missing", file_name(path)),
            Some(_) => format!("output {} is not what this step wrote", file_name(path)),
        })
    }
}

fn parameter_changed(old: &Map<String, Value>, new: &Map<String, Value>) -> Option<String> {
    let name = old.keys().chain(new.keys()).find(|name| old.get(*name) != new.get(*name))?;
    let shown = |value: Option<&Value>| value.map_or_else(|| "not given".to_owned(), brief);
    Some(format!("{name} was {}, is {}", shown(old.get(name)), shown(new.get(name))))
}

fn first_difference<'a>(
    old: &'a BTreeMap<String, String>,
    new: &'a BTreeMap<String, String>,
) -> Option<&'a String> {
    old.keys().chain(new.keys()).find(|path| old.get(*path) != new.get(*path))
}

/// A value in a line of text: strings bare, long ones cut.
fn brief(value: &Value) -> String {
    const LONGEST: usize = 40;
    let text = match value {
        Value::String(text) => text.clone(),
        _ => value.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain("...".chars()).collect()
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stamp() -> Stamp {
        let paths = |entries: &[(&str, &str)]| -> BTreeMap<String, String> {
            entries.iter().map(|&(path, digest)| (path.to_owned(), digest.to_owned())).collect()
        };
        Stamp {
            code: Some("c0de".to_owned()),
            parameters: json!({ "--mantissa-bits": "8", "--per-axis": true }).as_object().unwrap().clone(),
            inputs: paths(&[("models/a.onnx", "11"), ("models/b.onnx", "22")]),
            outputs: paths(&[("models/c.onnx", "33")]),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Stamp), reason: &str) {
        let mut now = stamp();
        change(&mut now);
        assert_eq!(stamp().out_of_date(&now).as_deref(), Some(reason));
    }

    #[test]
    fn the_reason_names_what_changed() {
        assert_eq!(stamp().out_of_date(&stamp()), None);
        check(|now| now.code = Some("other".to_owned()), "the program onnx2int changed");
        check(|now| now.parameters["--mantissa-bits"] = json!("6"), "--mantissa-bits was 8, is 6");
        check(|now| drop(now.parameters.remove("--mantissa-bits")), "--mantissa-bits was 8, is not given");
        check(
            |now| drop(now.parameters.insert("--scale".to_owned(), json!(0.5))),
            "--scale was not given, is 0.5",
        );
        check(
            |now| drop(now.inputs.insert("models/b.onnx".to_owned(), "x".to_owned())),
            "input b.onnx changed",
        );
        check(|now| drop(now.inputs.insert("data/d.gz".to_owned(), "x".to_owned())), "input d.gz is new");
        check(|now| drop(now.inputs.remove("models/a.onnx")), "input a.onnx is not read any more");
        check(|now| now.outputs.clear(), "output c.onnx is missing");
        check(
            |now| drop(now.outputs.insert("models/c.onnx".to_owned(), "x".to_owned())),
            "output c.onnx is not what this step wrote",
        );
    }

    #[test]
    fn a_stamp_survives_the_disk_and_a_broken_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quantize.json");
        assert_eq!(Stamp::read(&path), None);
        stamp().write(&path).unwrap();
        assert_eq!(Stamp::read(&path), Some(stamp()));
        fs::write(&path, "{\"code\"").unwrap();
        assert_eq!(Stamp::read(&path), None);
    }
}
