//! `onnx2int run`: a model on tensors from files.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context, bail};
use onnx2int_graph::{Graph, Tensor, TensorType, verify};
use onnx2int_runtimes::{RuntimeKind, prepare};

use crate::arguments::Run;
use crate::{console, files, npy};

pub(crate) fn run(arguments: &Run) -> anyhow::Result<()> {
    let model = files::read_model(&arguments.model)?;
    let kind = RuntimeKind::from_name(&arguments.runtime)
        .with_context(|| format!("{:?} is not the name of a runtime", arguments.runtime))?;
    let inputs = inputs(&model.graph, &arguments.input)?;
    let verified =
        verify(&model.graph).with_context(|| format!("the model {:?} is not valid", arguments.model))?;
    let outputs = prepare(kind, verified, model.graph.outputs())?.run(&inputs)?;

    let mut text = String::new();
    let mut taken = HashSet::new();
    for (&id, tensor) in model.graph.outputs().iter().zip(&outputs) {
        let name = &model.graph.value(id).name;
        let path = arguments.output_dir.join(file_name(name, &mut taken));
        npy::write(&path, tensor)?;
        text.push_str(&format!("{name}: {} in {}\n", TensorType::of(tensor), path.display()));
    }
    Ok(console::print(text)?)
}

/// The tensors of the graph's inputs, in its order. A file is given as `NAME=FILE`, or without a name for the inputs in
/// order; a name wins over the order.
fn inputs(graph: &Graph, given: &[PathBuf]) -> anyhow::Result<Vec<Tensor>> {
    let names: Vec<&str> = graph.inputs().iter().map(|&id| graph.value(id).name.as_str()).collect();
    let mut files: Vec<Option<PathBuf>> = vec![None; names.len()];
    let mut in_order = Vec::new();
    for path in given {
        let text = path.to_string_lossy();
        let named = names.iter().position(|name| {
            text.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')) && !path.exists()
        });
        match named {
            Some(position) if files[position].is_some() => {
                bail!("input {:?} is given twice", names[position])
            }
            Some(position) => files[position] = Some(text[names[position].len() + 1..].into()),
            None => in_order.push(path.clone()),
        }
    }
    let mut in_order = in_order.into_iter();
    let described = || {
        let types =
            graph.inputs().iter().map(|&id| format!("{:?} ({})", graph.value(id).name, graph.value(id).ty));
        types.collect::<Vec<_>>().join(", ")
    };
    let tensors = files
        .into_iter()
        .zip(&names)
        .map(|(file, name)| {
            let file = file.or_else(|| in_order.next());
            let file = file.with_context(|| {
                format!("input {name:?} is missing; the model takes {}, give each with --input", described())
            })?;
            npy::read(&file)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    match in_order.next() {
        None => Ok(tensors),
        Some(file) => bail!("the input {file:?} is too many; the model takes {}", described()),
    }
}

/// A file name for an output: what is no letter, digit, dot, hyphen or underscore becomes an underscore, so that no
/// name of a file leaves the folder, and names that then coincide are numbered.
fn file_name(output: &str, taken: &mut HashSet<String>) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let stem: String =
        output.chars().map(|character| if plain(character) { character } else { '_' }).collect();
    let mut name = format!("{stem}.npy");
    // Some file systems do not tell upper from lower case.
    for n in 2.. {
        if taken.insert(name.to_ascii_lowercase()) {
            break;
        }
        name = format!("{stem}_{n}.npy");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_files_stay_in_their_folder_and_apart() {
        let mut taken = HashSet::new();
        let names: Vec<_> = ["/fc/Gemm:0", "_fc_Gemm_0", "../../y", "Y", "y"]
            .iter()
            .map(|output| file_name(output, &mut taken))
            .collect();
        assert_eq!(names, ["_fc_Gemm_0.npy", "_fc_Gemm_0_2.npy", ".._.._y.npy", "Y.npy", "y_2.npy"]);
    }

    #[test]
    fn inputs_are_taken_by_name_or_in_order() {
        let graph = Graph::from_text("in %a: u8[1]\n in %b: u8[1]\n %y = Sub(%a, %b)\n out %y").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |value: u8| {
            let path = folder.path().join(format!("{value}.npy"));
            npy::write(&path, &Tensor::vector(vec![value])).unwrap();
            path
        };
        let named = |name: &str, value: u8| PathBuf::from(format!("{name}={}", path(value).display()));
        let values = |given: &[PathBuf]| -> anyhow::Result<Vec<Option<u8>>> {
            Ok(inputs(&graph, given)?.iter().map(Tensor::as_single).collect())
        };
        assert_eq!(values(&[path(1), path(2)]).unwrap(), [Some(1), Some(2)]);
        assert_eq!(values(&[named("b", 1), path(2)]).unwrap(), [Some(2), Some(1)]);
        let refusal = |given: &[PathBuf]| format!("{:#}", values(given).unwrap_err());
        assert!(refusal(&[named("b", 1)]).contains("input \"a\" is missing; the model takes \"a\" (u8[1])"));
        assert!(refusal(&[path(1), path(2), path(3)]).contains("is too many"));
        assert!(refusal(&[named("b", 1), named("b", 2)]).contains("given twice"));
    }
}
