//! Settings of one topic: what the topic sets itself over what the broker sets for all.
//!
//! ```text
//! retention.ms   topic's own -> log.retention.ms -> log.retention.minutes -> log.retention.hours -> 168 h
//! ```

mod table;

use std::collections::BTreeMap;

#[cfg(test)]
pub(crate) use table::FIELDS;
pub use table::{TopicConfig, TopicSetting};

use crate::broker::BrokerSettings;
use crate::describe::{Described, Source, Synonym};
use crate::nearest;
use crate::typed::Typed;

/// All topic settings, by name.
pub fn table() -> &'static [TopicSetting] {
    table::all()
}

/// The line of the table for `name`.
pub fn find(name: &str) -> Option<&'static TopicSetting> {
    let table = table();
    table.binary_search_by(|line| line.setting.name.cmp(name)).ok().map(|at| &table[at])
}

/// The known name that looks most like `wrong`.
pub fn suggest(wrong: &str) -> Option<&'static str> {
    nearest(wrong, table().iter().map(|line| line.setting.name))
}

/// What one topic sets itself, checked and in the one form in which values are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicOverrides(pub(crate) BTreeMap<&'static str, String>);

impl TopicOverrides {
    /// Takes stored values back. Names and values that this version does not take are left out and named in the
    /// second answer, so that they can be logged: they must not keep a topic from being served.
    pub fn restore<'a>(
        stored: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (TopicOverrides, Vec<String>) {
        let mut refused = Vec::new();
        let mut values = BTreeMap::new();
        for (name, value) in stored {
            let checked = find(name)
                .ok_or_else(|| format!("Unknown topic config name: {name}"))
                .and_then(|line| Ok((line.setting.name, line.setting.kind.normalise(name, value)?)));
            match checked {
                Ok((name, value)) => drop(values.insert(name, value)),
                Err(why) => refused.push(why),
            }
        }
        (TopicOverrides(values), refused)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The answer to DescribeConfigs for the topic: every setting.
    pub fn describe(&self, broker: &BrokerSettings) -> Vec<Described> {
        table()
            .iter()
            .map(|line| {
                let setting = &line.setting;
                let own = self.value(setting.name).map(|value| Synonym {
                    name: setting.name,
                    value: Some(value.to_owned()),
                    source: Source::Topic,
                });
                let inherited = line.synonym.map(|name| broker.synonyms(name)).unwrap_or_default();
                let value = Some(line.effective(self, broker));
                let synonyms = own.into_iter().chain(inherited).collect();
                Described::new(setting.name, setting.kind, false, value, synonyms, setting.documentation())
            })
            .collect()
    }

    /// What no single value can tell, in Kafka's words.
    pub(crate) fn check_together(&self, broker: &BrokerSettings) -> Result<(), String> {
        let number = |name: &str| find(name).map_or(0, |line| i64::read(name, &line.effective(self, broker)));
        let (least, most) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
        if least > most {
            return Err(format!(
                "conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})"
            ));
        }
        if self.value("remote.storage.enable") == Some("true") {
            return Err(
                "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with \
                        remote log storage."
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl TopicSetting {
    /// The value that counts, as text and in the topic setting's own unit.
    pub(crate) fn effective(&self, topic: &TopicOverrides, broker: &BrokerSettings) -> String {
        if let Some(own) = topic.value(self.setting.name) {
            return own.to_owned();
        }
        let inherited = self.synonym.and_then(|name| broker.synonyms(name).into_iter().next());
        match inherited.and_then(|synonym| Some((synonym.name, synonym.value?))) {
            Some((name, value)) => in_milliseconds(name, value),
            None => {
                self.setting.default.expect("a topic setting has a default or a synonym with one").to_owned()
            }
        }
    }
}

/// Broker settings in minutes and hours stand behind topic settings in milliseconds; below zero is "no limit".
fn in_milliseconds(name: &str, value: String) -> String {
    let factor: i64 = match name.rsplit('.').next() {
        Some("minutes") => 60 * 1000,
        Some("hours") => 60 * 60 * 1000,
        _ => return value,
    };
    match i64::read(name, &value) {
        ..0 => "-1".to_owned(),
        count => (count * factor).to_string(),
    }
}

/// What happens to old records. Neither: they stay for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanup {
    pub delete: bool,
    pub compact: bool,
}

impl Typed for Cleanup {
    fn read(_: &str, text: &str) -> Self {
        let has = |policy| text.split(',').any(|item| item == policy);
        Cleanup { delete: has("delete"), compact: has("compact") }
    }
}

/// How batches are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As the producer sent them.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Typed for Compression {
    fn read(name: &str, text: &str) -> Self {
        match text {
            "producer" => Compression::Producer,
            "uncompressed" => Compression::Uncompressed,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            _ => panic!("{name}: the table let `{text}` through"),
        }
    }
}

/// Whose clock a record's timestamp comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

impl Typed for TimestampType {
    fn read(_: &str, text: &str) -> Self {
        if text == "LogAppendTime" { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }
}
