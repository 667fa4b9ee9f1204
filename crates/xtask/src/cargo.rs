//! Building the binary `onnx2int`, and running the random networks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::console::say;
use crate::process::{self, Interrupt, Stdout};

/// With `--workspace`, cargo gives the dependencies the same features as `cargo test --workspace` does, so that the
/// two share one build of burn and tract.
const BUILD: [&str; 4] = ["build", "--workspace", "--bin", "onnx2int"];

/// Builds the binary in the dev profile, which is an optimized one in this workspace, and returns its path.
pub(crate) fn build(root: &Path, interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
    say(format_args!("$ cargo {}", BUILD.join(" ")));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(BUILD).arg("--message-format=json-render-diagnostics").current_dir(root);
    let finished = process::run(&mut command, Stdout::Captured, interrupt)?;
    if !finished.status.success() {
        bail!("cargo could not build onnx2int ({}); its messages are above", finished.status);
    }
    executable(&String::from_utf8_lossy(&finished.stdout))
        .with_context(|| format!("cargo {} did not say where onnx2int is", BUILD.join(" ")))
}

/// Builds and runs `crates/torture`, in the folder that the command was given in.
pub(crate) fn torture(arguments: &[String], interrupt: &Interrupt) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--release", "--package", "onnx2int-torture", "--"]).args(arguments);
    let finished = process::run(&mut command, Stdout::Inherited, interrupt)?;
    if !finished.status.success() {
        bail!(
            "a random network failed ({}); its graph and the command that repeats it are above",
            finished.status
        );
    }
    Ok(())
}

/// The path of the binary in cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_the_binary =
            message["reason"] == "compiler-artifact" && message["target"]["name"] == "onnx2int";
        is_the_binary.then(|| message["executable"].as_str().map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_binary_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"onnx2int_graph"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"onnx2int"},"executable":"/target/debug/onnx2int"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/target/debug/onnx2int")));
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
