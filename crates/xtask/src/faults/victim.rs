//! A process that is killed at a chosen moment, together with all that it started.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::Context;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::process::{Interrupt, Interrupted};

/// The moment of a kill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// Not killed at all.
    Never,
    /// So long after the start.
    After(Duration),
    /// As soon as so many temporary files have been seen: most likely while the last one is written.
    Temporary(usize),
}

/// How a run came to its end.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit status; none if the run was killed.
    pub status: Option<ExitStatus>,
    /// Everything that it and its children printed.
    pub printed: String,
}

/// Runs `command` in a process group of its own and kills the group as aimed, unless it ends before.
///
/// `watched` are folders whose temporary files, at any depth, an [`Aim::Temporary`] counts. When this returns, no
/// process of the group is left: what is on the disk then stays as it is.
pub(crate) fn run(
    command: &mut Command,
    aim: Aim,
    watched: &[PathBuf],
    interrupt: &Interrupt,
) -> anyhow::Result<Ended> {
    let (mut reader, writer) = io::pipe().context("cannot make a pipe")?;
    let errors = writer.try_clone().context("cannot make a pipe")?;
    command.process_group(0).stdin(Stdio::null()).stdout(writer).stderr(errors);
    let mut child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    // The command owns the writing end; as long as this process holds it, the pipe never ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let printed = thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let status = wait(&mut child, aim, watched, interrupt);
    if !matches!(status, Ok(Some(_))) {
        kill_group(&child)?;
        child.wait().context("cannot wait for a killed process")?;
    }
    // The pipe ends when the last process of the group has closed its files, which it does after its last write.
    let printed = match printed.join() {
        Ok(printed) => printed.context("cannot read what a process printed")?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    Ok(Ended { status: status?, printed })
}

/// Waits for the end, or for the moment of the kill; the status is `None` if that came first.
fn wait(
    child: &mut Child,
    aim: Aim,
    watched: &[PathBuf],
    interrupt: &Interrupt,
) -> anyhow::Result<Option<ExitStatus>> {
    let started = Instant::now();
    let mut seen = BTreeSet::new();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a process")? {
            return Ok(Some(status));
        }
        if interrupt.requested() {
            return Err(Interrupted.into());
        }
        match aim {
            Aim::Never => thread::sleep(Duration::from_millis(10)),
            Aim::After(delay) if started.elapsed() >= delay => return Ok(None),
            Aim::After(delay) => {
                thread::sleep(delay.saturating_sub(started.elapsed()).min(Duration::from_millis(10)));
            }
            // A temporary file lives for a millisecond or less: no pause.
            Aim::Temporary(count) => {
                watched.iter().for_each(|folder| collect_temporary(folder, &mut seen));
                if seen.len() >= count {
                    return Ok(None);
                }
            }
        }
    }
}

/// Adds the temporary files in a folder and in all folders in it; one that vanishes meanwhile is none.
pub(crate) fn collect_temporary(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_temporary(&entry.path(), found);
        } else if onnx2int_whole_file::is_temporary(&entry.file_name().to_string_lossy()) {
            found.insert(entry.path());
        }
    }
}

fn kill_group(child: &Child) -> anyhow::Result<()> {
    let group = i32::try_from(child.id()).context("a process id that is none")?;
    // The child is not waited for yet, so that its id, which is the group's, cannot be another's.
    killpg(Pid::from_raw(group), Signal::SIGKILL).context("cannot kill a process group")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_kill_takes_the_children_too() {
        let folder = tempfile::tempdir().unwrap();
        // The pipe ends with the last process that holds it: were the child not killed with its parent, `run` would
        // wait for it to write its file.
        let script = "echo begun; (touch .onnx2int-x.tmp; sleep 1; touch late) & wait";
        let watched = [folder.path().to_owned()];
        let mut command = shell(script);
        let ended =
            run(command.current_dir(folder.path()), Aim::Temporary(1), &watched, &Interrupt::default())
                .unwrap();
        assert!(ended.status.is_none());
        assert_eq!(ended.printed, "begun\n");
        assert!(!folder.path().join("late").exists());
    }

    #[test]
    fn one_that_ends_before_has_its_status() {
        let aims = [Aim::Never, Aim::After(Duration::from_secs(600)), Aim::Temporary(1)];
        for aim in aims {
            let ended =
                run(&mut shell("echo out; echo err >&2; exit 3"), aim, &[], &Interrupt::default()).unwrap();
            assert_eq!(ended.status.and_then(|status| status.code()), Some(3));
            assert_eq!(ended.printed, "out\nerr\n");
        }
    }

    #[test]
    fn an_interrupt_kills_it() {
        let interrupt = Interrupt::default();
        interrupt.request();
        let error = run(&mut shell("sleep 600"), Aim::Never, &[], &interrupt).unwrap_err();
        assert!(error.is::<Interrupted>());
    }
}
