//! The Python that the cross-checks and the benchmarks run in.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::console::say;
use crate::process::{self, Interrupt, Stdout};

/// The interpreter of the environment that `scripts/setup_venv.sh` makes for the cross-checks.
pub(crate) fn python(root: &Path, interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
    environment(root, &[], interrupt)
}

/// The interpreter of the environment that has PyTorch as well.
pub(crate) fn with_pytorch(root: &Path, interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
    environment(root, &["--bench"], interrupt)
}

fn environment(root: &Path, arguments: &[&str], interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
    let line = [&["scripts/setup_venv.sh"], arguments].concat();
    let script = line.join(" ");
    say(format_args!("$ {script}"));
    let mut command = Command::new("bash");
    let finished = process::run(command.args(line).current_dir(root), Stdout::Captured, interrupt)?;
    if !finished.status.success() {
        bail!(
            "{script} could not make the Python environment ({}); its message is above, and nothing was checked or \
             measured",
            finished.status
        );
    }
    let stdout = String::from_utf8_lossy(&finished.stdout);
    let path = stdout.lines().map(str::trim).rfind(|line| !line.is_empty());
    path.map(PathBuf::from).with_context(|| format!("{script} did not print the path of its Python"))
}
