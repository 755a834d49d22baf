//! Settings of the process: three layers of text over one table.

mod groups;
mod migration;
mod table;

use std::collections::BTreeMap;

pub use migration::GroupMigration;
pub use table::BrokerOptions;
#[cfg(test)]
pub(crate) use table::FIELDS;

use crate::describe::{Described, Source, Synonym};
use crate::{Listener, Setting, Update, kind, nearest};

/// All settings of the process, by name.
pub fn table() -> &'static [Setting] {
    table::all()
}

/// The line of the table for `name`.
pub fn find(name: &str) -> Option<&'static Setting> {
    let table = table();
    table.binary_search_by(|setting| setting.name.cmp(name)).ok().map(|at| &table[at])
}

/// The known name that looks most like `wrong`.
pub fn suggest(wrong: &str) -> Option<&'static str> {
    nearest(wrong, table().iter().map(|setting| setting.name))
}

/// Whether Kafka has a broker config of this name for which Levada has no use.
pub(crate) fn is_known_to_kafka(name: &str) -> bool {
    // As on Kafka's brokers, some configs may be set for one listener.
    let name = match name.strip_prefix("listener.name.") {
        Some(rest) => rest.split_once('.').map_or(rest, |(_, name)| name),
        None => name,
    };
    include_str!("broker/known_to_kafka.txt").lines().any(|known| known == name)
}

/// Where a dynamic value is kept: for this broker, or for all of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Broker,
    ClusterDefault,
}

/// What somebody has set, layer by layer; everything else is the table's default.
#[derive(Debug, Clone, Default)]
pub struct BrokerSettings {
    fixed: BTreeMap<&'static str, String>,
    dynamic_default: BTreeMap<&'static str, String>,
    dynamic_broker: BTreeMap<&'static str, String>,
}

impl BrokerSettings {
    /// From what the file, the environment and the flags say, already merged; see [`crate::load`].
    pub fn new<'a>(set: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<BrokerSettings, String> {
        let mut settings = BrokerSettings::default();
        for (name, value) in set {
            let (name, value) = check(name, value)?;
            settings.fixed.insert(name, value);
        }
        // Two names of one thing: whoever sets one has set both.
        let number = |name| settings.fixed.get(name).cloned();
        match (number("node.id"), number("broker.id")) {
            (Some(node), None) => drop(settings.fixed.insert("broker.id", node)),
            (None, Some(broker)) => drop(settings.fixed.insert("node.id", broker)),
            (Some(node), Some(broker)) if node != broker => {
                return Err(format!(
                    "node.id ({node}) and broker.id ({broker}) are one number; set one of them"
                ));
            }
            _ => {}
        }
        settings.check_together()?;
        Ok(settings)
    }

    /// The effective value of `name` itself, as text: dynamic before fixed before default.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.layers()
            .iter()
            .find_map(|(_, layer)| layer.get(name))
            .map(String::as_str)
            .or_else(|| find(name).and_then(|setting| setting.default))
    }

    /// The typed values.
    pub fn options(&self) -> BrokerOptions {
        BrokerOptions::read(self)
    }

    /// The values that were set over the protocol in one scope, to be stored.
    pub fn dynamic(&self, scope: Scope) -> &BTreeMap<&'static str, String> {
        match scope {
            Scope::Broker => &self.dynamic_broker,
            Scope::ClusterDefault => &self.dynamic_default,
        }
    }

    /// Puts stored values of one scope back. A value that this version no longer takes is left out and named in the
    /// answer, so that it can be logged: it must not keep the broker from starting.
    pub fn restore_dynamic<'a>(
        &mut self,
        scope: Scope,
        stored: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Vec<String> {
        let mut refused = Vec::new();
        let mut values = BTreeMap::new();
        for (name, value) in stored {
            match check(name, value) {
                Ok((name, value)) => drop(values.insert(name, value)),
                Err(why) => refused.push(why),
            }
        }
        *self.layer_mut(scope) = values;
        refused
    }

    /// The same settings with one dynamic layer replaced, or why they do not go together.
    pub(crate) fn with_dynamic(
        &self,
        scope: Scope,
        values: BTreeMap<&'static str, String>,
    ) -> Result<BrokerSettings, String> {
        let mut changed = self.clone();
        *changed.layer_mut(scope) = values;
        changed.check_together()?;
        Ok(changed)
    }

    /// The answer to DescribeConfigs for this broker: every setting.
    pub fn describe(&self) -> Vec<Described> {
        table()
            .iter()
            .map(|setting| {
                Described::new(
                    setting.name,
                    setting.kind,
                    setting.update == Update::ReadOnly,
                    self.value(setting.name).map(str::to_owned),
                    // A null stays null, also where another name would give the value.
                    self.value(setting.name).map(|_| self.synonyms(setting.name)).unwrap_or_default(),
                    setting.documentation(),
                )
            })
            .collect()
    }

    /// The answer to DescribeConfigs for the broker named "": only what was set for the whole cluster.
    pub fn describe_cluster_default(&self) -> Vec<Described> {
        self.dynamic_default
            .iter()
            .filter_map(|(name, value)| {
                let setting = find(name)?;
                let synonym = Synonym {
                    name: setting.name,
                    value: Some(value.clone()),
                    source: Source::DynamicDefaultBroker,
                };
                let documentation = setting.documentation();
                Some(Described::new(
                    setting.name,
                    setting.kind,
                    setting.update == Update::ReadOnly,
                    Some(value.clone()),
                    vec![synonym],
                    documentation,
                ))
            })
            .collect()
    }

    /// Everything that could give `name` its value, the winner first: each name of its chain, in each layer.
    ///
    /// Apache Kafka leaves the list empty, and calls the source a default, where only a later name of the chain is set
    /// (`log.retention.minutes=7` then shows as the default of `retention.ms`; seen on 4.3.1). Here the chain is
    /// followed to its end.
    pub(crate) fn synonyms(&self, name: &'static str) -> Vec<Synonym> {
        let mut synonyms = Vec::new();
        for link in chain(name) {
            let set = self
                .layers()
                .into_iter()
                .filter_map(|(source, layer)| Some((source, layer.get(link)?.clone())));
            let default = find(link).and_then(|setting| setting.default);
            let default = default.map(|value| (Source::Default, value.to_owned()));
            synonyms.extend(set.chain(default).map(|(source, value)| Synonym {
                name: link,
                value: Some(value),
                source,
            }));
        }
        synonyms
    }

    fn layers(&self) -> [(Source, &BTreeMap<&'static str, String>); 3] {
        [
            (Source::DynamicBroker, &self.dynamic_broker),
            (Source::DynamicDefaultBroker, &self.dynamic_default),
            (Source::StaticBroker, &self.fixed),
        ]
    }

    fn layer_mut(&mut self, scope: Scope) -> &mut BTreeMap<&'static str, String> {
        match scope {
            Scope::Broker => &mut self.dynamic_broker,
            Scope::ClusterDefault => &mut self.dynamic_default,
        }
    }
}

/// Kafka's other names for the same thing, the finest unit first.
pub(crate) fn chain(name: &'static str) -> Vec<&'static str> {
    match name {
        "log.retention.ms" => vec![name, "log.retention.minutes", "log.retention.hours"],
        "log.retention.minutes" => vec![name, "log.retention.hours"],
        "log.roll.ms" => vec![name, "log.roll.hours"],
        "log.roll.jitter.ms" => vec![name, "log.roll.jitter.hours"],
        "log.flush.interval.ms" => vec![name, "log.flush.scheduler.interval.ms"],
        _ => vec![name],
    }
}

/// Checks one name and value by the table alone.
pub(crate) fn check(name: &str, value: &str) -> Result<(&'static str, String), String> {
    let Some(setting) = find(name) else {
        return Err(match suggest(name) {
            Some(near) => format!("unknown setting `{name}`; did you mean `{near}`?"),
            None => format!("unknown setting `{name}`"),
        });
    };
    let value = setting.kind.normalise(setting.name, value)?;
    if setting.name == "log.dirs" && kind::items(&value).len() != 1 {
        return Err(format!("{name}: give exactly one folder"));
    }
    if let "listeners" | "advertised.listeners" = setting.name {
        let listeners = kind::items(&value);
        if listeners.len() > 1 {
            return Err(format!("{name}: more than one listener is not available yet"));
        }
        let listener = listeners.first().map(|text| Listener::parse(text)).transpose()?;
        return Ok((setting.name, listener.map(|listener| listener.to_string()).unwrap_or_default()));
    }
    Ok((setting.name, value))
}

impl BrokerSettings {
    /// What no single value can tell.
    fn check_together(&self) -> Result<(), String> {
        let number =
            |name: &str| self.value(name).and_then(|value| value.parse::<i64>().ok()).unwrap_or_default();
        let ordered = [
            ("group.min.session.timeout.ms", "group.max.session.timeout.ms"),
            ("group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
            ("group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
            ("group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"),
            ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
            ("message.max.bytes", "socket.request.max.bytes"),
        ];
        for (low, high) in ordered {
            if number(low) > number(high) {
                return Err(format!("{low} ({}) must not be above {high} ({})", number(low), number(high)));
            }
        }
        for name in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
            if self.value(name) == Some("0") {
                return Err(format!("{name} must be unlimited (-1) or, equal or greater than 1"));
            }
        }
        Ok(())
    }
}
