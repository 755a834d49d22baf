//! The process's own log lines: standard error, as text or as JSON.

use anyhow::{Context, bail};
use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Where log lines come from: the crates of this program, by the names that filters use.
const MODULES: [&str; 12] = [
    "levada",
    "broker",
    "client",
    "events",
    "gateway",
    "storage",
    "coordinators",
    "env",
    "machine",
    "model",
    "settings",
    "wire",
];

/// Sets the process up for logging; once, before anything is logged.
pub fn start(format: &str, level: &str) -> anyhow::Result<()> {
    let filter = filter(level)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = if format == "json" {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
    };
    result.map_err(|error| anyhow::anyhow!("logging: {error}"))
}

/// A level, or a filter such as `info,storage=debug`. Stricter than [`EnvFilter`], which takes any word for a module,
/// so that a misspelt level switches everything off.
fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    for part in &parts {
        check_part(part).with_context(|| format!("--log-level (levada.log.level) `{text}`"))?;
    }
    EnvFilter::builder()
        .parse(parts.join(","))
        .with_context(|| format!("--log-level (levada.log.level) `{text}` is no level and no filter"))
}

fn check_part(part: &str) -> anyhow::Result<()> {
    let (module, level) = match part.split_once('=') {
        Some((module, level)) => (Some(module.trim()), level.trim()),
        None => (None, part),
    };
    if let Some(module) = module {
        let name = module.split("::").next().unwrap_or(module);
        if !MODULES.contains(&name) {
            bail!("no module is called `{name}`{}; there are {}", near(name, &MODULES), MODULES.join(", "));
        }
    }
    if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
        bail!(
            "`{level}` is no level{}; levels are {}, and a module takes one as in storage=debug",
            near(&level.to_ascii_lowercase(), &LEVELS),
            LEVELS.join(", ")
        );
    }
    Ok(())
}

fn near(wrong: &str, known: &[&str]) -> String {
    let near = settings::nearest(wrong, known.iter().copied());
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
