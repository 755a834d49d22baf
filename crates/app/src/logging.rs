//! The process's own log lines: standard error, as text or as JSON.

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Sets the process up for logging; once, before anything is logged.
pub fn start(format: &str, level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(level)
        .with_context(|| format!("levada.log.level: `{level}` is no level and no filter"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = if format == "json" {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
    };
    result.map_err(|error| anyhow::anyhow!("logging: {error}"))
}
