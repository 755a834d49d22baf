//! Changes over the protocol: AlterConfigs, IncrementalAlterConfigs, CreateTopics.

use std::collections::BTreeMap;

use crate::broker::{self, BrokerSettings, Scope};
use crate::kind::{self, Kind};
use crate::overrides::{Overrides, Resource};
use crate::{Setting, Update, nearest, topic};

/// What to do with one setting (IncrementalAlterConfigs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Set,
    /// Back to the default.
    Delete,
    /// Adds items to a list.
    Append,
    /// Takes items out of a list.
    Subtract,
}

impl Operation {
    /// By the protocol's number.
    pub fn from_code(code: i8) -> Option<Operation> {
        match code {
            0 => Some(Operation::Set),
            1 => Some(Operation::Delete),
            2 => Some(Operation::Append),
            3 => Some(Operation::Subtract),
            _ => None,
        }
    }

    /// The protocol's number.
    pub fn code(self) -> i8 {
        self as i8
    }

    fn name(self) -> &'static str {
        match self {
            Operation::Set => "SET",
            Operation::Delete => "DELETE",
            Operation::Append => "APPEND",
            Operation::Subtract => "SUBTRACT",
        }
    }
}

/// One change of one setting.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub name: &'a str,
    pub operation: Operation,
    pub value: Option<&'a str>,
}

/// Why changes are refused; the text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// INVALID_REQUEST: the request makes no sense, whatever the setting.
    #[error("{0}")]
    Request(String),
    /// INVALID_CONFIG: the setting or its value is wrong.
    #[error("{0}")]
    Config(String),
}

impl<R: Resource> Overrides<R> {
    /// The settings of a resource that is being created.
    pub fn create<'a>(
        configs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
        broker: &BrokerSettings,
    ) -> Result<Self, Refusal> {
        Self::default().replace(configs, broker)
    }

    /// AlterConfigs: these settings, and no others.
    pub fn replace<'a>(
        &self,
        configs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
        broker: &BrokerSettings,
    ) -> Result<Self, Refusal> {
        let mut values = BTreeMap::new();
        let mut nulls = Vec::new();
        for (name, value) in configs {
            let setting = own_setting::<R>(name)?;
            match value {
                Some(value) => {
                    let value = setting.kind.normalise(setting.name, value).map_err(Refusal::Config)?;
                    values.insert(setting.name, value);
                }
                None => nulls.push(setting.name),
            }
        }
        if !nulls.is_empty() {
            return Err(Refusal::Config(format!(
                "Null value not supported for {} configs: {}",
                R::NOUN,
                nulls.join(", ")
            )));
        }
        let changed = Self::new(values);
        R::check_together(&changed, broker).map_err(Refusal::Config)?;
        Ok(changed)
    }

    /// IncrementalAlterConfigs: all of the changes, or none.
    pub fn alter(&self, changes: &[Change<'_>], broker: &BrokerSettings) -> Result<Self, Refusal> {
        check_request(changes)?;
        let mut values = self.values.clone();
        for change in changes {
            if change.operation == Operation::Delete && R::find(change.name).is_none() {
                continue;
            }
            let setting = own_setting::<R>(change.name)?;
            let present = R::find(change.name).map(|line| line.effective(self, broker)).unwrap_or_default();
            apply(setting, change, &present, &mut values)?;
        }
        let changed = Self::new(values);
        R::check_together(&changed, broker).map_err(Refusal::Config)?;
        Ok(changed)
    }
}

impl BrokerSettings {
    /// IncrementalAlterConfigs on a BROKER resource: all of the changes, or none. Unlike Apache Kafka, which stores any
    /// name, one that nobody knows is refused.
    pub fn alter(&self, scope: Scope, changes: &[Change<'_>]) -> Result<BrokerSettings, Refusal> {
        check_request(changes)?;
        let mut values = self.dynamic(scope).clone();
        for change in changes {
            // What is not set is gone already, whatever it is: tools clear what they never set.
            if change.operation == Operation::Delete && !values.contains_key(change.name) {
                continue;
            }
            let setting = broker::find(change.name).ok_or_else(|| unknown_broker_config(change.name))?;
            if setting.update == Update::ReadOnly {
                return Err(Refusal::Request(format!(
                    "Cannot update these configs dynamically: [{}]; {}",
                    setting.name,
                    instead_of(setting.name)
                )));
            }
            let present = self.value(setting.name).unwrap_or_default().to_owned();
            // Kafka answers a bad broker value with INVALID_REQUEST and a bad topic value with INVALID_CONFIG.
            apply(setting, change, &present, &mut values)
                .map_err(|refusal| Refusal::Request(refusal.to_string()))?;
        }
        self.with_dynamic(scope, values).map_err(Refusal::Request)
    }
}

fn unknown_broker_config(name: &str) -> Refusal {
    if broker::is_known_to_kafka(name) {
        let why = match is_security(name) {
            // To take it would be to say that it protects something.
            true => "there is no TLS and no SASL on this broker's listener yet, and it would protect nothing",
            false => "it is one of Apache Kafka's for which Levada has no use",
        };
        return Refusal::Request(format!("Cannot update these configs dynamically: [{name}]; {why}"));
    }
    let hint = match topic::find(name).and_then(|line| line.synonym) {
        Some(synonym) if is_dynamic(synonym) => {
            format!("; it is a topic's config, of which the broker's default is {synonym}")
        }
        _ => match nearest(name, broker::table().iter().map(|setting| setting.name)) {
            Some(near) if is_dynamic(near) => format!("; did you mean {near}?"),
            Some(near) => format!("; did you mean {near}? {}", instead_of(near)),
            None => String::new(),
        },
    };
    Refusal::Config(format!("Unknown broker config name: {name}{hint}"))
}

fn is_security(name: &str) -> bool {
    ["ssl.", "sasl.", "security.", "principal.", "authorizer.", "delegation."]
        .iter()
        .any(|part| name.starts_with(part) || name.starts_with("listener.name.") && name.contains(part))
}

fn is_dynamic(name: &str) -> bool {
    broker::find(name).is_some_and(|setting| setting.update == Update::Dynamic)
}

/// What to do about a config that cannot be changed while the broker runs.
fn instead_of(name: &'static str) -> String {
    let finer = broker::table()
        .iter()
        .map(|setting| setting.name)
        .find(|finer| is_dynamic(finer) && broker::chain(finer).contains(&name));
    match finer {
        Some(finer) => {
            format!("set {finer}, which can be changed while the broker runs and counts before it")
        }
        None => format!(
            "{name} is read when the broker starts: set it there (file, variable or --set) and restart"
        ),
    }
}

fn own_setting<R: Resource>(name: &str) -> Result<&'static Setting, Refusal> {
    R::find(name).map(|line| &line.setting).ok_or_else(|| {
        // The broker's name for it, in whatever unit.
        let of_broker = R::table()
            .iter()
            .find(|line| line.synonym.is_some_and(|synonym| broker::chain(synonym).contains(&name)));
        let near = of_broker.map(|line| line.setting.name).or_else(|| R::suggest(name));
        let near = near.map(|near| format!("; did you mean {near}?"));
        Refusal::Config(format!("Unknown {} config name: {name}{}", R::NOUN, near.unwrap_or_default()))
    })
}

fn check_request(changes: &[Change<'_>]) -> Result<(), Refusal> {
    let mut names: Vec<&str> = changes.iter().map(|change| change.name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Refusal::Request("Error due to duplicate config keys".to_owned()));
    }
    let nulls: Vec<&str> = changes
        .iter()
        .filter(|change| change.operation != Operation::Delete && change.value.is_none())
        .map(|change| change.name)
        .collect();
    if !nulls.is_empty() {
        return Err(Refusal::Request(format!("Null value not supported for : {}", nulls.join(","))));
    }
    Ok(())
}

/// Carries one change out on the values that are set.
fn apply(
    setting: &'static Setting,
    change: &Change<'_>,
    present: &str,
    values: &mut BTreeMap<&'static str, String>,
) -> Result<(), Refusal> {
    let normalise = |kind: Kind, value: &str| kind.normalise(setting.name, value).map_err(Refusal::Config);
    let given = change.value.unwrap_or_default();
    let value = match change.operation {
        Operation::Delete => {
            values.remove(setting.name);
            return Ok(());
        }
        Operation::Set => normalise(setting.kind, given)?,
        Operation::Append | Operation::Subtract if !setting.kind.is_list() => {
            return Err(Refusal::Config(format!(
                "Can't {} to key {} because its type is not LIST.",
                change.operation.name(),
                setting.name
            )));
        }
        Operation::Append => normalise(setting.kind, &format!("{present},{given}"))?,
        Operation::Subtract => {
            let gone = kind::items(given);
            let left: Vec<String> =
                kind::items(present).into_iter().filter(|item| !gone.contains(item)).collect();
            normalise(setting.kind, &left.join(","))?
        }
    };
    values.insert(setting.name, value);
    Ok(())
}
