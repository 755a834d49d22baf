//! Every name that can be set, under Kafka's name where Kafka has one: what it means, which values it takes, what it
//! is when nobody sets it, and where its present value comes from.
//!
//! No IO, no clock: the caller hands over the text of the file, the environment and the flags. The tables are the only
//! place that knows a default; DescribeConfigs, the manual (`docs/configuration.md`) and the typed structs that the
//! broker works with are all made from them.
//!
//! Start reading at [`broker`] (settings of the process) and [`topic`] (settings of one topic; those of a [`group`] are
//! alike); [`load`] says who wins.

/// What a table's line may end with: nothing, or `not_yet` where nothing acts on the setting yet.
macro_rules! effect {
    () => {
        crate::Effect::Honoured
    };
    (not_yet) => {
        crate::Effect::Accepted
    };
}

pub mod alter;
pub mod broker;
pub mod describe;
pub mod group;
pub mod kind;
pub mod listener;
pub mod load;
pub mod manual;
pub mod overrides;
pub mod topic;
mod typed;

pub use alter::{Change, Operation, Refusal};
pub use broker::{BrokerOptions, BrokerSettings, GroupMigration};
pub use describe::{Described, Source, Synonym};
pub use group::{GroupConfig, GroupOverrides};
pub use kind::{ConfigType, Kind};
pub use listener::Listener;
pub use topic::{Cleanup, Compression, TimestampType, TopicConfig, TopicOverrides};

/// One line of a table.
#[derive(Debug)]
pub struct Setting {
    pub name: &'static str,
    pub kind: Kind,
    /// As text, the way it would be written in a file; `None` is Kafka's null.
    pub default: Option<&'static str>,
    pub update: Update,
    pub effect: Effect,
    /// Markdown, one sentence or a few.
    pub doc: &'static str,
}

/// When a new value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// At the next start; refused over the protocol.
    ReadOnly,
    /// At once, by IncrementalAlterConfigs on a BROKER resource.
    Dynamic,
}

/// Whether Levada acts on the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Honoured,
    /// Checked, stored and described like any other, and nothing else: so that files and tools written for Kafka work.
    Accepted,
}

impl Setting {
    /// The documentation on one line.
    pub fn documentation(&self) -> String {
        self.doc.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// The known name that looks most like `wrong`, if any does.
pub fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests;
