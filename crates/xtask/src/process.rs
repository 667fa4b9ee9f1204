//! Child processes: started, measured, and ended when the user interrupts.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use wait4::{ResUse, Wait4};

use crate::console::{complain, say};

/// How long a child may take to end by itself after an interrupt, which a terminal sends to it as well.
const GRACE: Duration = Duration::from_secs(2);

/// Whether the user asked to stop (Ctrl-C, SIGTERM, SIGHUP).
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens to the signals of this process.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let flag = Arc::clone(&interrupt.0);
        ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
            .context("cannot listen for Ctrl-C")?;
        Ok(interrupt)
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The error of a run that the user stopped.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted; what is done is kept, and the next run goes on from there")
    }
}

impl std::error::Error for Interrupted {}

/// A child that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub status: ExitStatus,
    /// Wall time.
    pub elapsed: Duration,
    /// The largest resident set in bytes; 0 where the system does not tell.
    pub peak_memory: u64,
    /// What it wrote to the standard output, if that was asked for.
    pub stdout: Vec<u8>,
    /// What it wrote to the standard error, if that was asked for.
    pub stderr: String,
}

/// Where a child's standard output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdout {
    Inherited,
    Captured,
}

/// Whether the user sees what a child writes to its standard error while it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stderr {
    Shown,
    Kept,
}

/// Runs a command without standard input, to its end or until the user interrupts.
pub(crate) fn run(command: &mut Command, stdout: Stdout, interrupt: &Interrupt) -> anyhow::Result<Finished> {
    finish(command.stderr(Stdio::inherit()), stdout, Stderr::Shown, interrupt)
}

/// Runs a program in `root` and shows nothing of it: its standard output, or what it complained of where it fails.
///
/// # Errors
/// A program that cannot be started or that a signal ended, and an interrupt.
pub(crate) fn quiet(
    root: &Path,
    program: &Path,
    arguments: &[String],
    interrupt: &Interrupt,
) -> anyhow::Result<Result<Vec<u8>, String>> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root).stderr(Stdio::piped());
    let finished = finish(&mut command, Stdout::Captured, Stderr::Kept, interrupt)?;
    match finished.status.code() {
        Some(0) => Ok(Ok(finished.stdout)),
        Some(1) => Ok(Err(complaint(&finished.stderr))),
        _ => {
            let line = shell_line(root, program, arguments);
            bail!("`{line}` broke down ({}):\n{}", finished.status, complaint(&finished.stderr))
        }
    }
}

/// Runs a program in `root`, shown as a line for a shell; where it fails, what it complained of and its status.
///
/// # Errors
/// A program that cannot be started, and an interrupt.
pub(crate) fn attempt(
    root: &Path,
    program: &Path,
    arguments: &[String],
    interrupt: &Interrupt,
) -> anyhow::Result<Result<(), String>> {
    const SHOWN: usize = 24;
    let mut line = shell_line(root, program, &arguments[..arguments.len().min(SHOWN)]);
    if arguments.len() > SHOWN {
        line.push_str(" ...");
    }
    say(format_args!("$ {line}"));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root).stderr(Stdio::piped());
    let finished = finish(&mut command, Stdout::Inherited, Stderr::Shown, interrupt)?;
    if finished.status.success() {
        return Ok(Ok(()));
    }
    Ok(Err(format!("{} ({})", complaint(&finished.stderr), finished.status)))
}

/// The end of what a program wrote to the standard error: from its error on, or the last lines.
fn complaint(stderr: &str) -> String {
    const TOLD: usize = 5;
    const LONGEST: usize = 40;
    let lines: Vec<&str> = stderr.lines().collect();
    let error = lines.iter().rposition(|line| line.starts_with("error:"));
    let start = error.unwrap_or(lines.len().saturating_sub(TOLD));
    let told: Vec<&str> = lines[start..].iter().copied().take(LONGEST).collect();
    told.join("\n")
}

fn finish(
    command: &mut Command,
    stdout: Stdout,
    stderr: Stderr,
    interrupt: &Interrupt,
) -> anyhow::Result<Finished> {
    command.stdin(Stdio::null()).stdout(match stdout {
        Stdout::Inherited => Stdio::inherit(),
        Stdout::Captured => Stdio::piped(),
    });
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let reader = child.stdout.take().map(|mut pipe| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        })
    });
    let listener = child.stderr.take().map(|pipe| {
        thread::spawn(move || {
            let mut text = String::new();
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                if stderr == Stderr::Shown {
                    complain(&line);
                }
                text.push_str(&line);
                text.push('\n');
            }
            text
        })
    });
    let used = wait(&mut child, interrupt)
        .with_context(|| format!("cannot wait for {:?}", command.get_program()))?;
    let elapsed = started.elapsed();
    // Even a child that ended well may have ended early because of the signal that it got too.
    if interrupt.requested() {
        return Err(Interrupted.into());
    }
    let stdout = match reader {
        Some(reader) => match reader.join() {
            Ok(read) => {
                read.with_context(|| format!("cannot read the output of {:?}", command.get_program()))?
            }
            Err(panic) => std::panic::resume_unwind(panic),
        },
        None => Vec::new(),
    };
    let stderr = match listener.map(thread::JoinHandle::join) {
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        Some(Ok(text)) => text,
        None => String::new(),
    };
    Ok(Finished { status: used.status, elapsed, peak_memory: used.rusage.maxrss, stdout, stderr })
}

/// Waits in small steps, so that an interrupt is seen; a child that outlives the grace is killed.
fn wait(child: &mut Child, interrupt: &Interrupt) -> std::io::Result<ResUse> {
    let mut pause = Duration::from_millis(1);
    let mut deadline = None;
    loop {
        if let Some(used) = child.try_wait4()? {
            return Ok(used);
        }
        if interrupt.requested() && Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + GRACE) {
            child.kill()?;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// A command as a line for a POSIX shell; the program's path is shown relative to `root` where it lies inside.
pub(crate) fn shell_line(root: &Path, program: &Path, arguments: &[String]) -> String {
    let program = program.strip_prefix(root).unwrap_or(program);
    let mut line = quoted(program.as_os_str());
    for argument in arguments {
        line.push(' ');
        line.push_str(&quoted(OsStr::new(argument)));
    }
    line
}

/// A word for a POSIX shell.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./=:,+@%".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_pasted() {
        let arguments =
            ["report".to_owned(), "--dir".to_owned(), "my reports/it's".to_owned(), String::new()];
        let line = shell_line(
            Path::new("/home/me/repository"),
            Path::new("/home/me/repository/target/tool"),
            &arguments,
        );
        assert_eq!(line, r"target/tool report --dir 'my reports/it'\''s' ''");
        let outside = shell_line(Path::new("/home/me/repository"), Path::new("/cache/tool"), &[]);
        assert_eq!(outside, "/cache/tool");
    }

    #[cfg(unix)]
    mod unix {
        use super::*;

        fn shell(script: &str) -> Command {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        }

        #[test]
        fn output_status_and_memory_are_reported() {
            let finished =
                run(&mut shell("echo table; exit 3"), Stdout::Captured, &Interrupt::default()).unwrap();
            assert_eq!(finished.stdout, b"table\n");
            assert_eq!(finished.status.code(), Some(3));
            assert!(finished.peak_memory > 100_000, "{} bytes", finished.peak_memory);
            assert!(finished.elapsed < Duration::from_secs(60));
        }

        #[test]
        fn what_a_child_complains_of_is_kept() {
            let attempt = |script: &str| {
                let arguments = ["-c".to_owned(), script.to_owned()];
                attempt(Path::new("/"), Path::new("sh"), &arguments, &Interrupt::default()).unwrap()
            };
            assert_eq!(attempt("echo progress >&2"), Ok(()));
            let found = attempt("echo first >&2; echo error: second >&2; echo '  third' >&2; exit 1");
            assert_eq!(found, Err("error: second\n  third (exit status: 1)".to_owned()));
            let found = attempt("for i in 1 2 3 4 5 6; do echo $i >&2; done; exit 2");
            assert_eq!(found, Err("2\n3\n4\n5\n6 (exit status: 2)".to_owned()));
        }

        #[test]
        fn a_refusal_is_told_and_a_breakdown_is_an_error() {
            let quiet = |script: &str| {
                let arguments = ["-c".to_owned(), script.to_owned()];
                quiet(Path::new("/"), Path::new("sh"), &arguments, &Interrupt::default())
            };
            assert_eq!(quiet("echo found; echo note >&2").unwrap(), Ok(b"found\n".to_vec()));
            assert_eq!(
                quiet("echo error: no >&2; echo '  why' >&2; exit 1").unwrap(),
                Err("error: no\n  why".to_owned())
            );
            let error = format!("{:#}", quiet("echo thread panicked >&2; exit 101").unwrap_err());
            assert!(error.contains("broke down") && error.contains("thread panicked"), "{error}");
        }

        #[test]
        fn an_interrupt_ends_a_child_that_would_not() {
            let interrupt = Interrupt::default();
            interrupt.request();
            let started = Instant::now();
            // The child replaces the shell, so that killing it leaves nothing behind.
            let error =
                run(&mut shell("trap '' INT; exec sleep 600"), Stdout::Inherited, &interrupt).unwrap_err();
            assert!(error.is::<Interrupted>(), "{error:#}");
            assert!(started.elapsed() < Duration::from_secs(60));
        }

        #[test]
        fn a_missing_program_is_named() {
            let error = run(&mut Command::new("no-such-onnx2int"), Stdout::Inherited, &Interrupt::default());
            assert!(format!("{:#}", error.unwrap_err()).contains("no-such-onnx2int"));
        }
    }
}
