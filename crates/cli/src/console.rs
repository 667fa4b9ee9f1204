//! Standard output for results, standard error for everything else.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Prints a result, ended by a line break.
pub(crate) fn print(text: impl Display) -> io::Result<()> {
    let text = text.to_string();
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// Prints a JSON document as a result.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(print(serde_json::to_string_pretty(value)?)?)
}

/// Tells the user something that is not a result. A closed standard error is nobody's loss.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Tells the user why the command failed, causes indented below.
pub(crate) fn error(error: &anyhow::Error) {
    let mut message = format!("error: {error}");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // A transparent cause has been said already.
        if !last.contains(&cause) {
            message.push_str(&format!("\n  {}", cause.replace('\n', "\n  ")));
        }
        last = cause;
    }
    note(message);
}

/// Whether the reader of standard output went away (`onnx2int inspect | head`): no failure.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
