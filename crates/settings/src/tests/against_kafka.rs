//! The tables beside Apache Kafka's own definitions.

use super::*;
use crate::group;
use crate::overrides::{Overrides, Resource};

/// Names whose default is not Kafka's, each with its reason.
const OTHER_DEFAULT: &[(&str, &str)] = &[
    ("advertised.listeners", "empty instead of null"),
    ("broker.id", "as node.id"),
    ("broker.rack", "empty instead of null"),
    ("flush.messages", "an acknowledged record is on the disk"),
    ("group.initial.rebalance.delay.ms", "one node: nothing to wait for"),
    ("listeners", "loopback until there is authentication"),
    ("log.dirs", "beside the binary, not in /tmp"),
    ("log.flush.interval.messages", "an acknowledged record is on the disk"),
    ("node.id", "runs without configuration"),
    ("num.partitions", "so that consumers can share the work"),
    ("offsets.topic.replication.factor", "one copy"),
    ("process.roles", "runs without configuration"),
    ("group.coordinator.rebalance.protocols", "what there is"),
    ("share.coordinator.state.topic.min.isr", "one copy"),
    ("share.coordinator.state.topic.replication.factor", "one copy"),
    ("transaction.state.log.min.isr", "one copy"),
    ("transaction.state.log.replication.factor", "one copy"),
];

/// Names that Kafka changes while it runs and Levada does not.
const FIXED_HERE: &[&str] = &["listeners"];

#[test]
fn names_types_and_defaults_are_those_of_kafka() {
    let mut topics = 0;
    let mut groups = 0;
    let mut brokers = 0;
    for fact in
        include_str!("kafka-4.4.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let fact: Vec<&str> = fact.split(' ').collect();
        let [kind, name, config_type, default, last] = fact[..] else { panic!("{fact:?}") };
        let default = (default != "null" && default != "<none>").then_some(default.trim_matches('"'));
        let other_default = OTHER_DEFAULT.iter().any(|(other, _)| *other == name);
        let ours = if kind != "broker" {
            let (line, ours) = match kind {
                "topic" => (topic::find(name), effective::<topic::Topic>(name)),
                _ => (group::Group::find(name), effective::<group::Group>(name)),
            };
            *if kind == "topic" { &mut topics } else { &mut groups } += 1;
            let line = line.unwrap_or_else(|| panic!("{kind} setting {name} is missing"));
            assert_eq!(line.synonym, (last != "null").then_some(last), "{name}");
            assert_eq!(Some(ours.as_str()) == default, !other_default, "{name}: {ours}");
            &line.setting
        } else {
            brokers += 1;
            let ours = broker::find(name).unwrap_or_else(|| panic!("broker setting {name} is missing"));
            assert_eq!(ours.default == default, !other_default, "{name}: {:?} {default:?}", ours.default);
            let dynamic = last == "dynamic" && !FIXED_HERE.contains(&name);
            assert_eq!(ours.update == crate::Update::Dynamic, dynamic, "{name}");
            ours
        };
        assert_eq!(ours.kind.config_type().name(), config_type, "{name}");
    }
    assert_eq!((topics, groups), (topic::table().len(), group::table().len()));
    let own = broker::table().iter().filter(|setting| setting.name.starts_with("levada.")).count();
    assert_eq!(brokers + own, broker::table().len());
}

fn effective<R: Resource>(name: &str) -> String {
    let line = R::find(name).unwrap_or_else(|| panic!("{} setting {name} is missing", R::NOUN));
    line.effective(&Overrides::<R>::default(), &BrokerSettings::default())
}
