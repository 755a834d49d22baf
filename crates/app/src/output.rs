//! What commands write: results on standard output, complaints on standard error.

use std::io::{self, Write};

/// One line on standard output.
pub fn line(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Why a command failed, with its causes, on standard error.
pub fn complain(error: &anyhow::Error) {
    let _ = writeln!(io::stderr().lock(), "levada: {error:#}");
}

/// Whether it failed only because the reader of its output went away, as in `levada consume orders | head`.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
