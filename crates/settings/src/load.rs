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
//! begin with `levada.` do not say it twice (`LEVADA_WAL_BYTES_MAX`). Flags that are short forms of settings have a
//! variable under their own name too (`LEVADA_DATA_DIR`).
//!
//! Others may use the prefix as well: what Kubernetes injects for a Service named `levada` is passed over, a name that
//! looks like a setting's is a misspelt one and refused, any other is handed back for a warning.

use std::collections::BTreeMap;

use crate::broker::{self, BrokerSettings};

/// The prefix of environment variables.
pub const ENVIRONMENT_PREFIX: &str = "LEVADA_";

/// No setting: where the file is.
pub const CONFIG_FILE_VARIABLE: &str = "LEVADA_CONFIG";

/// No setting: which broker the commands talk to.
pub const BOOTSTRAP_VARIABLE: &str = "LEVADA_BOOTSTRAP";

/// No setting: how the commands reach it.
pub const COMMAND_CONFIG_VARIABLE: &str = "LEVADA_COMMAND_CONFIG";

/// No setting: which instance of the event store the commands talk to.
pub const URL_VARIABLE: &str = "LEVADA_URL";

/// Flags of `levada serve` that are called otherwise than their settings: variable and setting.
const FLAG_VARIABLES: &[(&str, &str)] = &[
    ("LEVADA_DATA_DIR", "log.dirs"),
    ("LEVADA_KAFKA_ADDR", "listeners"),
    ("LEVADA_HTTP_ADDR", "levada.http.listen"),
    ("LEVADA_KAFKA", "levada.kafka.bootstrap.servers"),
    ("LEVADA_KAFKA_CONFIG", "levada.kafka.client.properties.file"),
    ("LEVADA_ADVERTISED", "advertised.listeners"),
    ("LEVADA_ALLOW_INSECURE_LISTEN", "levada.listen.insecure.allow"),
];

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

/// What came of it.
#[derive(Debug)]
pub struct Loaded {
    pub settings: BrokerSettings,
    /// Variables with the prefix that are no setting and look like none: to be warned of, not to fail on.
    pub foreign_variables: Vec<String>,
}

/// Puts the layers together. An unknown name in the file or a flag is an error that names the nearest known one; of the
/// variables only those are that look like a setting's.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, LoadError> {
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
    let mut foreign_variables = Vec::new();
    let mut set_by: BTreeMap<&'static str, &str> = BTreeMap::new();
    for (variable, value) in sources.environment.iter().filter(|(name, _)| is_ours(name)) {
        match variable_meaning(variable, value) {
            Meaning::Setting(name) => {
                if let Some(other) = set_by.insert(name, variable) {
                    let problem =
                        format!("`{other}` and `{variable}` are one setting, {name}: give only one");
                    return Err(LoadError::new("environment", problem));
                }
                put(variable, name, value)?;
            }
            Meaning::Misspelt { near } => {
                let problem = format!("unknown variable `{variable}`; did you mean `{near}`?");
                return Err(LoadError::new("environment", problem));
            }
            Meaning::ServiceLink => {}
            Meaning::Foreign => foreign_variables.push(variable.clone()),
        }
    }
    for (flag, name, value) in sources.flags {
        put(flag, name, value)?;
    }
    let settings = BrokerSettings::new(merged.iter().map(|(name, value)| (*name, value.as_str())))
        .map_err(|problem| LoadError::new("settings", problem))?;
    Ok(Loaded { settings, foreign_variables })
}

/// The environment variable of a setting.
pub fn variable_of_setting(name: &str) -> String {
    let short = name.strip_prefix("levada.").unwrap_or(name);
    format!("{ENVIRONMENT_PREFIX}{}", short.to_ascii_uppercase().replace('.', "_"))
}

fn is_ours(variable: &str) -> bool {
    variable.starts_with(ENVIRONMENT_PREFIX)
        && ![CONFIG_FILE_VARIABLE, BOOTSTRAP_VARIABLE, COMMAND_CONFIG_VARIABLE, URL_VARIABLE]
            .contains(&variable)
}

enum Meaning {
    Setting(&'static str),
    Misspelt { near: String },
    ServiceLink,
    Foreign,
}

fn variable_meaning(variable: &str, value: &str) -> Meaning {
    let settings = broker::table().iter().map(|setting| (variable_of_setting(setting.name), setting.name));
    let flags = FLAG_VARIABLES.iter().map(|(variable, name)| (variable.to_string(), *name));
    let known: Vec<(String, &'static str)> = settings.chain(flags).collect();
    if let Some((_, name)) = known.iter().find(|(known, _)| known == variable) {
        return Meaning::Setting(name);
    }
    if is_service_link(variable, value) {
        return Meaning::ServiceLink;
    }
    // Compared without the prefix, which would make everything look alike.
    let short = |variable: &str| variable.trim_start_matches(ENVIRONMENT_PREFIX).to_owned();
    let wrong = short(variable);
    let variables: Vec<String> = known.iter().map(|(variable, _)| short(variable)).collect();
    match crate::nearest(&wrong, variables.iter().map(String::as_str)) {
        Some(near) => Meaning::Misspelt { near: format!("{ENVIRONMENT_PREFIX}{near}") },
        None => Meaning::Foreign,
    }
}

/// What Kubernetes and Docker links put into the environment of every process for a service `levada` or `levada-…`:
///
/// ```text
/// LEVADA_SERVICE_HOST=10.0.0.7        LEVADA_SERVICE_PORT=9092      LEVADA_SERVICE_PORT_KAFKA=9092
/// LEVADA_PORT=tcp://10.0.0.7:9092     LEVADA_PORT_9092_TCP=tcp://10.0.0.7:9092
/// LEVADA_PORT_9092_TCP_PROTO=tcp      LEVADA_PORT_9092_TCP_PORT=9092     LEVADA_PORT_9092_TCP_ADDR=10.0.0.7
/// ```
fn is_service_link(variable: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let words: Vec<&str> = variable.split('_').collect();
    let is_port_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let is_of_a_port = words.windows(3).any(|three| {
        three[0] == "PORT" && is_port_number(three[1]) && ["TCP", "UDP", "SCTP"].contains(&three[2])
    });
    variable.ends_with("_SERVICE_HOST")
        || words.windows(2).any(|two| two == ["SERVICE", "PORT"])
        || variable.ends_with("_PORT") && is_url
        || is_of_a_port
}

/// Names and values of a file, with tables written out as dotted names.
fn file_settings(path: &str, text: &str) -> Result<Vec<(String, String)>, LoadError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let hint = if is_one_name_within_another(text, &error) {
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

/// TOML takes `a.b` for a table as soon as there is an `a.b.c`; a key that is simply there twice is another mistake.
fn is_one_name_within_another(text: &str, error: &toml::de::Error) -> bool {
    let key = |line: &str| line.split('=').next().unwrap_or(line).trim().to_owned();
    let is_there_twice = || {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let line = text.lines().nth(before.matches('\n').count()).unwrap_or_default();
        text.lines().filter(|other| key(other) == key(line)).count() > 1
    };
    match error.message() {
        message if message.contains("cannot extend value") => true,
        message if message.contains("duplicate key") => !is_there_twice(),
        _ => false,
    }
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
