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

/// A path as it is to be typed in a shell.
pub fn shell_word(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./@%+=:,-".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A size for people: `813 B`, `1.2 MiB`.
pub fn bytes(size: i64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut scaled = size as f64 / 1024.0;
    let mut units = UNITS.into_iter();
    let mut unit = units.next().expect("there are units");
    for larger in units {
        // What would be shown as 1024.0 is one of the next.
        if scaled < 1023.95 {
            break;
        }
        (scaled, unit) = (scaled / 1024.0, larger);
    }
    format!("{scaled:.1} {unit}")
}

/// A time in milliseconds for people, exactly: `7 days`, `90 minutes`, `1500 ms`.
pub fn time(ms: i64) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second")];
    match units.into_iter().find(|(unit, _)| ms > 0 && ms % unit == 0) {
        Some((unit, name)) if ms == unit => format!("1 {name}"),
        Some((unit, name)) => format!("{} {name}s", ms / unit),
        None => format!("{ms} ms"),
    }
}

/// So many of something: `1 partition`, `2 partitions`.
pub fn counted(count: impl Into<i128>, noun: &str) -> String {
    match count.into() {
        1 => format!("1 {noun}"),
        count if noun.ends_with('h') => format!("{count} {noun}es"),
        count if noun.ends_with("ry") => format!("{count} {}ies", &noun[..noun.len() - 1]),
        count => format!("{count} {noun}s"),
    }
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
