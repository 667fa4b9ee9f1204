//! What the user reads.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints a line to the standard output. A reader that went away (`| head`) does not stop the work.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line to the standard error.
pub(crate) fn complain(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
