//! What commands write: results on standard output, complaints on standard error.

use std::io::{self, Write};

/// Who read standard output went away, as in `levada consume orders | head`.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
struct Closed;

/// One line on standard output.
pub fn line(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        written => Ok(written?),
    }
}

/// Something to know beside the results, on standard error.
pub fn note(text: &str) {
    error_line(&format!("levada: {text}"));
}

/// One line on standard error.
pub fn error_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Why a command failed, with its causes, on standard error.
pub fn complain(error: &anyhow::Error) {
    note(&told(error));
}

/// An error and its causes, each once: some errors tell their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Whether it failed only because the reader of its output went away. A broker's broken connection is something else.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error.is::<Closed>()
}

#[cfg(test)]
mod tests;
