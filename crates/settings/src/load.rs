//! Who wins: flags over the environment over the file over the defaults.
//!
//! The file is TOML. Names may stand whole, in quotes or not, or in tables, whichever reads best:
//!
//! ```toml
//! num.partitions = 8
//! "log.retention.hours" = 24
//! [levada]
//! wal.bytes.max = 1_073_741_824
//! ```
//!
//! An environment variable is `LEVADA_` and the name in capitals with underscores (`LEVADA_NUM_PARTITIONS`); names that
//! begin with `levada.` do not say it twice (`LEVADA_WAL_BYTES_MAX`).

use std::collections::BTreeMap;

use crate::broker::{self, BrokerSettings};

/// The prefix of environment variables.
pub const ENVIRONMENT_PREFIX: &str = "LEVADA_";

/// The one variable with the prefix that is no setting: where the file is.
pub const CONFIG_FILE_VARIABLE: &str = "LEVADA_CONFIG";

/// What is wrong and where it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct LoadError {
    pub origin: String,
    pub problem: String,
}

impl LoadError {
    fn new(origin: impl Into<String>, problem: impl Into<String>) -> LoadError {
        LoadError { origin: origin.into(), problem: problem.into() }
    }
}

/// The texts, weakest first.
#[derive(Debug, Clone, Default)]
pub struct Sources<'a> {
    /// Path (for messages) and content of the file.
    pub file: Option<(&'a str, &'a str)>,
    /// All variables of the process; those without the prefix are passed over.
    pub environment: &'a [(String, String)],
    /// Flag (for messages), name and value, in the order of the command line: the last one wins.
    pub flags: &'a [(String, String, String)],
}

/// Puts the layers together. An unknown name anywhere is an error that names the nearest known one.
pub fn load(sources: &Sources<'_>) -> Result<BrokerSettings, LoadError> {
    let mut merged: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut put = |origin: &str, name: &str, value: &str| {
        let (name, value) = broker::check(name, value).map_err(|problem| LoadError::new(origin, problem))?;
        merged.insert(name, value);
        Ok(())
    };
    if let Some((path, text)) = sources.file {
        for (name, value) in file_settings(path, text)? {
            put(path, &name, &value)?;
        }
    }
    for (variable, value) in sources.environment {
        if variable.starts_with(ENVIRONMENT_PREFIX) && variable != CONFIG_FILE_VARIABLE {
            let name =
                setting_of_variable(variable).map_err(|problem| LoadError::new("environment", problem))?;
            put(variable, name, value)?;
        }
    }
    for (flag, name, value) in sources.flags {
        put(flag, name, value)?;
    }
    BrokerSettings::new(merged.iter().map(|(name, value)| (*name, value.as_str())))
        .map_err(|problem| LoadError::new("settings", problem))
}

/// The environment variable of a setting.
pub fn variable_of_setting(name: &str) -> String {
    let short = name.strip_prefix("levada.").unwrap_or(name);
    format!("{ENVIRONMENT_PREFIX}{}", short.to_ascii_uppercase().replace('.', "_"))
}

fn setting_of_variable(variable: &str) -> Result<&'static str, String> {
    let known = || broker::table().iter().map(|setting| (variable_of_setting(setting.name), setting.name));
    if let Some((_, name)) = known().find(|(known, _)| known == variable) {
        return Ok(name);
    }
    // Compared without the prefix, which would make everything look alike.
    let short = |variable: &str| variable.trim_start_matches(ENVIRONMENT_PREFIX).to_owned();
    let variables: Vec<String> = known().map(|(variable, _)| short(&variable)).collect();
    Err(match crate::nearest(&short(variable), variables.iter().map(String::as_str)) {
        Some(near) => format!("unknown variable `{variable}`; did you mean `{ENVIRONMENT_PREFIX}{near}`?"),
        None => format!("unknown variable `{variable}`: no setting has that name"),
    })
}

/// Names and values of a file, with tables written out as dotted names.
fn file_settings(path: &str, text: &str) -> Result<Vec<(String, String)>, LoadError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let hint = if error.message().contains("key") {
            "\nhint: where one name begins like another (max.connections, max.connections.per.ip), put both in quotes"
        } else {
            ""
        };
        LoadError::new(path, format!("{error}{hint}"))
    })?;
    let mut found = Vec::new();
    flatten("", &toml::Value::Table(table), &mut found).map_err(|problem| LoadError::new(path, problem))?;
    Ok(found)
}

fn flatten(name: &str, value: &toml::Value, found: &mut Vec<(String, String)>) -> Result<(), String> {
    let text = match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, value, found)?;
            }
            return Ok(());
        }
        toml::Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            items.ok_or_else(|| format!("{name}: a list holds text"))?.join(",")
        }
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(value) => value.to_string(),
        toml::Value::Datetime(_) => return Err(format!("{name}: no setting is a date")),
    };
    found.push((name.to_owned(), text));
    Ok(())
}
