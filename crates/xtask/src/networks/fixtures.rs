//! The networks of data/networks, by the names of their files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

/// Where the files are. `scripts/make_networks.py` makes them.
pub(crate) const FOLDER: &str = "data/networks";

/// A network: `NAME.onnx`, and what other quantizers made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub name: String,
    /// The suffixes of its twins, `NAME.SUFFIX.onnx`, in order.
    pub twins: Vec<String>,
}

/// The networks there are, or those asked for.
pub(crate) fn find(root: &Path, only: &[String]) -> anyhow::Result<Vec<Network>> {
    let unreadable = || format!("cannot read {FOLDER:?}, which is part of the repository");
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join(FOLDER)).with_context(unreadable)? {
        names.push(entry.with_context(unreadable)?.file_name().to_string_lossy().into_owned());
    }
    select(of_files(&names)?, only)
}

/// The networks that the files of a folder are about, by name.
fn of_files(names: &[String]) -> anyhow::Result<Vec<Network>> {
    let stems = names.iter().filter_map(|name| name.strip_suffix(".onnx"));
    let (twins, floats): (Vec<&str>, Vec<&str>) = stems.partition(|stem| stem.contains('.'));
    let mut networks: BTreeMap<&str, Vec<String>> = floats.iter().map(|&name| (name, vec![])).collect();
    for stem in twins {
        let Some((name, suffix)) = stem.split_once('.') else { continue };
        let Some(suffixes) = networks.get_mut(name) else {
            bail!("{FOLDER}/{stem}.onnx is made of {name}.onnx, which is not there");
        };
        suffixes.push(suffix.to_owned());
    }
    if networks.is_empty() {
        bail!("{FOLDER:?} has no .onnx file; restore it from the repository");
    }
    let sorted = |(name, mut twins): (&str, Vec<String>)| {
        twins.sort();
        Network { name: name.to_owned(), twins }
    };
    Ok(networks.into_iter().map(sorted).collect())
}

fn select(networks: Vec<Network>, only: &[String]) -> anyhow::Result<Vec<Network>> {
    if let Some(unknown) = only.iter().find(|&name| networks.iter().all(|network| network.name != *name)) {
        let names: Vec<&str> = networks.iter().map(|network| network.name.as_str()).collect();
        bail!("no network is called {unknown:?}; expected one of {}", names.join(", "));
    }
    let wanted = |network: &Network| only.is_empty() || only.contains(&network.name);
    Ok(networks.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn twins_belong_to_the_network_of_their_name() {
        let names = owned(&["net.ort.onnx", "net.ort-i8.onnx", "README.md", "net.onnx", "a.onnx"]);
        let expected = [
            Network { name: "a".to_owned(), twins: vec![] },
            Network { name: "net".to_owned(), twins: owned(&["ort", "ort-i8"]) },
        ];
        assert_eq!(of_files(&names).unwrap(), expected);
        assert_eq!(select(expected.to_vec(), &owned(&["net"])).unwrap(), expected[1..]);
        assert_eq!(select(expected.to_vec(), &[]).unwrap(), expected);
    }

    #[test]
    fn what_is_not_there_is_told() {
        let message = |names: &[&str]| format!("{:#}", of_files(&owned(names)).unwrap_err());
        assert!(message(&["net.ort.onnx"]).contains("net.onnx, which is not there"));
        assert!(message(&["README.md"]).contains("no .onnx file"));
        let networks = of_files(&owned(&["a.onnx", "b.onnx"])).unwrap();
        let unknown = select(networks, &owned(&["c"])).unwrap_err().to_string();
        assert!(unknown.contains("expected one of a, b"), "{unknown}");
    }
}
