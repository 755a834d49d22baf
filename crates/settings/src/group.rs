//! Settings of one consumer group (KIP-848): what the group sets itself over what the broker sets for all.
//!
//! ```text
//! consumer.session.timeout.ms   group's own, between the broker's bounds -> group.consumer.session.timeout.ms
//! ```
//!
//! Kafka's settings of share groups and of streams groups are not here: Levada has no such groups.

use std::time::Duration;

use crate::broker::BrokerSettings;
use crate::describe::Source;
use crate::kind::int;
use crate::overrides::{Overrides, OwnSetting, Resource};
use crate::typed::Typed;
use crate::{Effect, Kind, Setting, Update};

const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const ASSIGNMENT: &str = "consumer.assignment.interval.ms";

/// The settings that the broker bounds, in the order in which Kafka looks at them, each with the broker's name of its
/// least and of its greatest value.
const BOUNDED: [(&str, &str, &str); 3] = [
    (HEARTBEAT, "group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    (SESSION, "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    (ASSIGNMENT, "group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"),
];

/// The kind of resource that this is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group;

/// What one group sets itself, checked and in the one form in which values are stored.
pub type GroupOverrides = Overrides<Group>;

/// All group settings, by name.
pub fn table() -> &'static [OwnSetting] {
    const fn line(
        name: &'static str,
        kind: Kind,
        synonym: &'static str,
        effect: Effect,
        doc: &'static str,
    ) -> OwnSetting {
        let setting = Setting { name, kind, default: None, update: Update::Dynamic, effect, doc };
        OwnSetting { setting, synonym: Some(synonym) }
    }
    const TABLE: &[OwnSetting] = &[
        line(
            ASSIGNMENT,
            int(0),
            "group.consumer.assignment.interval.ms",
            Effect::Accepted,
            "Least time between two assignments of the group. Levada computes a new one with the heartbeat that asks \
             for it.",
        ),
        line(
            HEARTBEAT,
            int(1),
            "group.consumer.heartbeat.interval.ms",
            Effect::Honoured,
            "Heartbeat interval that the group's members are given with the answer to their next heartbeat.",
        ),
        line(
            SESSION,
            int(1),
            "group.consumer.session.timeout.ms",
            Effect::Honoured,
            "A member that is not heard of for so long is out of the group. Counts from the group's next heartbeat on.",
        ),
    ];
    TABLE
}

/// One group's settings as code uses them, made of what the group and the broker set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    pub consumer_session_timeout: Duration,
    pub consumer_heartbeat_interval: Duration,
}

/// Fields and whether anything acts on them.
#[cfg(test)]
pub(crate) const FIELDS: &[(&str, Effect)] =
    &[("consumer_session_timeout", Effect::Honoured), ("consumer_heartbeat_interval", Effect::Honoured)];

impl GroupConfig {
    /// A value of the group's own that the broker's bounds no longer allow counts as the nearest that they do.
    pub fn new(group: &GroupOverrides, broker: &BrokerSettings) -> GroupConfig {
        let millis = |name| Duration::from_millis(number(name, group, broker).max(0) as u64);
        GroupConfig {
            consumer_session_timeout: millis(SESSION),
            consumer_heartbeat_interval: millis(HEARTBEAT),
        }
    }
}

impl Resource for Group {
    const NOUN: &'static str = "group";
    const SOURCE: Source = Source::Group;

    fn table() -> &'static [OwnSetting] {
        table()
    }

    fn check_together(own: &GroupOverrides, broker: &BrokerSettings) -> Result<(), String> {
        for (name, least, greatest) in BOUNDED {
            let Some(value) = own.value(name).map(|value| i64::read(name, value)) else { continue };
            if value < bound(least, broker) {
                return Err(format!("{name} must be greater than or equal to {least}"));
            }
            if value > bound(greatest, broker) {
                return Err(format!("{name} must be less than or equal to {greatest}"));
            }
        }
        if number(SESSION, own, broker) <= number(HEARTBEAT, own, broker) {
            return Err(format!("{SESSION} must be greater than {HEARTBEAT}"));
        }
        Ok(())
    }
}

/// The value that counts.
fn number(name: &str, own: &GroupOverrides, broker: &BrokerSettings) -> i64 {
    let line = Group::find(name).expect("the table has its own names");
    let value = i64::read(name, &line.effective(own, broker));
    match BOUNDED.iter().find(|(bounded, ..)| *bounded == name && own.value(name).is_some()) {
        Some((_, least, greatest)) => value.max(bound(least, broker)).min(bound(greatest, broker)),
        None => value,
    }
}

fn bound(name: &str, broker: &BrokerSettings) -> i64 {
    i64::read(name, broker.value(name).expect("a bound has a default"))
}
