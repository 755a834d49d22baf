//! Settings of one topic: what the topic sets itself over what the broker sets for all.
//!
//! ```text
//! retention.ms   topic's own -> log.retention.ms -> log.retention.minutes -> log.retention.hours -> 168 h
//! ```

mod table;

#[cfg(test)]
pub(crate) use table::FIELDS;
pub use table::TopicConfig;

use crate::broker::BrokerSettings;
use crate::describe::Source;
use crate::overrides::{Overrides, OwnSetting, Resource};
use crate::typed::Typed;

/// The kind of resource that this is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topic;

/// What one topic sets itself, checked and in the one form in which values are stored.
pub type TopicOverrides = Overrides<Topic>;

/// All topic settings, by name.
pub fn table() -> &'static [OwnSetting] {
    table::all()
}

/// The line of the table for `name`.
pub fn find(name: &str) -> Option<&'static OwnSetting> {
    Topic::find(name)
}

impl Resource for Topic {
    const NOUN: &'static str = "topic";
    const SOURCE: Source = Source::Topic;

    fn table() -> &'static [OwnSetting] {
        table()
    }

    fn check_together(own: &TopicOverrides, broker: &BrokerSettings) -> Result<(), String> {
        let number = |name: &str| find(name).map_or(0, |line| i64::read(name, &line.effective(own, broker)));
        let (least, most) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
        if least > most {
            return Err(format!(
                "conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})"
            ));
        }
        if own.value("remote.storage.enable") == Some("true") {
            return Err(
                "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with \
                        remote log storage."
                    .to_owned(),
            );
        }
        Ok(())
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
