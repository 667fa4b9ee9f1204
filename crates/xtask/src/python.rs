//! The Python that the cross-checks run in.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::console::say;
use crate::process::{self, Interrupt, Stdout};

/// The interpreter of the environment that `scripts/setup_venv.sh` makes.
pub(crate) fn python(root: &Path, interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
    let script = "scripts/setup_venv.sh";
    say(format_args!("$ {script}"));
    let mut command = Command::new("bash");
    let finished = process::run(command.arg(script).current_dir(root), Stdout::Captured, interrupt)?;
    if !finished.status.success() {
        bail!(
            "{script} could not make the Python environment ({}); its message is above, and nothing was checked",
            finished.status
        );
    }
    let stdout = String::from_utf8_lossy(&finished.stdout);
    let path = stdout.lines().map(str::trim).rfind(|line| !line.is_empty());
    path.map(PathBuf::from).with_context(|| format!("{script} did not print the path of its Python"))
}
