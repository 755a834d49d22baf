//! What the tables promise, and who wins.

mod against_kafka;
mod altering;
mod effects;
mod loading;

use std::time::Duration;

use crate::broker::{self, BrokerSettings, Scope};
use crate::topic::{self, Cleanup, Compression, TimestampType, TopicConfig, TopicOverrides};
use crate::{Change, Operation, Refusal, Source};

pub(crate) fn settings(set: &[(&str, &str)]) -> BrokerSettings {
    BrokerSettings::new(set.iter().copied()).expect("good settings")
}

pub(crate) fn overrides(set: &[(&str, &str)]) -> TopicOverrides {
    let set = set.iter().map(|(name, value)| (*name, Some(*value)));
    TopicOverrides::create(set, &BrokerSettings::default()).expect("good topic settings")
}

pub(crate) fn set<'a>(name: &'a str, value: &'a str) -> Change<'a> {
    Change { name, operation: Operation::Set, value: Some(value) }
}

#[test]
fn every_name_stands_once_and_every_default_is_valid() {
    for table in [
        broker::table().iter().collect::<Vec<_>>(),
        topic::table().iter().map(|line| &line.setting).collect::<Vec<_>>(),
    ] {
        for pair in table.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} stands twice", pair[0].name);
        }
        for setting in table {
            if let Some(default) = setting.default {
                assert_eq!(
                    setting.kind.normalise(setting.name, default).as_deref(),
                    Ok(default),
                    "{}",
                    setting.name
                );
            }
            assert!(setting.documentation().ends_with(['.', ')']), "{} has no sentence", setting.name);
        }
    }
    for line in topic::table() {
        assert!(line.setting.default.is_some() != line.synonym.is_some(), "{}", line.setting.name);
        if let Some(synonym) = line.synonym {
            let behind = broker::find(synonym).expect(synonym);
            assert_eq!(behind.kind, line.setting.kind, "{synonym}");
        }
    }
}

#[test]
fn with_nothing_set_everything_has_its_default() {
    let options = BrokerSettings::default().options();
    assert_eq!(options.num_partitions, 4);
    assert_eq!(options.request_bytes_max, 104_857_600);
    assert_eq!(options.offsets_retention, Duration::from_secs(7 * 24 * 3600));
    assert_eq!(options.connection_idle_max, Some(Duration::from_secs(600)));
    assert_eq!(options.wal_bytes_max, 512 << 20);

    let config = TopicConfig::new(&TopicOverrides::default(), &BrokerSettings::default());
    assert_eq!(config.retention, Some(Duration::from_secs(7 * 24 * 3600)));
    assert_eq!(config.retention_bytes, None);
    assert_eq!(config.cleanup, Cleanup { delete: true, compact: false });
    assert_eq!(config.compression, Compression::Producer);
    assert_eq!(config.timestamp_type, TimestampType::CreateTime);
    assert_eq!(config.flush_messages, 1, "durable by default");
    assert_eq!(config.message_bytes_max, 1_048_588);
    assert_eq!(config.compaction_lag_max, Duration::from_millis(i64::MAX as u64));
}

#[test]
fn a_topic_inherits_along_the_chain_and_its_own_value_wins() {
    let retention = |broker: &[(&str, &str)], topic: &[(&str, &str)]| {
        TopicConfig::new(&overrides(topic), &settings(broker)).retention.map(|age| age.as_millis())
    };
    assert_eq!(retention(&[("log.retention.hours", "2")], &[]), Some(7_200_000));
    assert_eq!(
        retention(&[("log.retention.hours", "2"), ("log.retention.minutes", "3")], &[]),
        Some(180_000)
    );
    assert_eq!(retention(&[("log.retention.minutes", "3"), ("log.retention.ms", "4")], &[]), Some(4));
    assert_eq!(retention(&[("log.retention.ms", "4")], &[("retention.ms", "5")]), Some(5));
    assert_eq!(retention(&[("log.retention.hours", "-1")], &[]), None);
    let rolled = TopicConfig::new(&TopicOverrides::default(), &settings(&[("log.roll.hours", "5")]));
    assert_eq!(rolled.segment_age_max, Duration::from_secs(5 * 3600));
}

#[test]
fn a_value_that_is_set_while_running_wins_and_is_named_first() {
    let fixed = settings(&[("log.retention.hours", "1"), ("log.retention.ms", "1000")]);
    let cluster = fixed.alter(Scope::ClusterDefault, &[set("log.retention.ms", "2000")]).unwrap();
    let broker = cluster.alter(Scope::Broker, &[set("log.retention.ms", "3000")]).unwrap();
    let retention = |settings: &BrokerSettings| {
        TopicConfig::new(&TopicOverrides::default(), settings).retention.unwrap().as_secs()
    };
    assert_eq!((retention(&fixed), retention(&cluster), retention(&broker)), (1, 2, 3));

    let described = overrides(&[("retention.ms", "4000")]).describe(&broker);
    let entry = described.iter().find(|entry| entry.name == "retention.ms").unwrap();
    assert_eq!((entry.value.as_deref(), entry.source), (Some("4000"), Source::Topic));
    let synonyms: Vec<(&str, &str, Source)> =
        entry.synonyms.iter().map(|s| (s.name, s.value.as_deref().unwrap(), s.source)).collect();
    assert_eq!(
        synonyms,
        [
            ("retention.ms", "4000", Source::Topic),
            ("log.retention.ms", "3000", Source::DynamicBroker),
            ("log.retention.ms", "2000", Source::DynamicDefaultBroker),
            ("log.retention.ms", "1000", Source::StaticBroker),
            ("log.retention.hours", "1", Source::StaticBroker),
            ("log.retention.hours", "168", Source::Default),
        ]
    );
}

#[test]
fn a_broker_is_described_with_all_of_its_settings() {
    let settings = settings(&[("num.partitions", "9")]);
    let described = settings.describe();
    assert_eq!(described.len(), broker::table().len());
    let entry = |name| described.iter().find(|entry| entry.name == name).unwrap();
    assert_eq!(entry("num.partitions").source, Source::StaticBroker);
    assert_eq!(entry("num.partitions").synonyms.len(), 2);
    assert!(entry("num.partitions").read_only);
    assert!(!entry("log.retention.ms").read_only);
    // As in Apache Kafka: a null stays null, although another name gives topics their value.
    assert_eq!(entry("log.retention.ms").value, None);
    assert!(entry("log.retention.ms").synonyms.is_empty());
    assert!(settings.describe_cluster_default().is_empty());
    let changed = settings.alter(Scope::ClusterDefault, &[set("log.retention.ms", "5")]).unwrap();
    assert_eq!(changed.describe_cluster_default().len(), 1);
}

#[test]
fn stored_values_that_no_longer_fit_are_left_out_and_named() {
    let (topic, refused) =
        TopicOverrides::restore([("retention.ms", "5"), ("gone", "1"), ("segment.bytes", "1")]);
    assert_eq!(topic.iter().collect::<Vec<_>>(), [("retention.ms", "5")]);
    assert_eq!(refused.len(), 2);
    let mut broker = BrokerSettings::default();
    let refused = broker.restore_dynamic(Scope::Broker, [("log.retention.ms", "5"), ("num.partitons", "1")]);
    assert_eq!(broker.value("log.retention.ms"), Some("5"));
    assert_eq!(refused, ["unknown setting `num.partitons`; did you mean `num.partitions`?"]);
}

#[test]
fn a_refusal_says_which_error_it_is() {
    let refusal = |changes: &[Change<'_>]| {
        TopicOverrides::default().alter(changes, &BrokerSettings::default()).expect_err("refused")
    };
    assert!(matches!(refusal(&[set("flush.ms", "1"), set("flush.ms", "2")]), Refusal::Request(_)));
    assert!(matches!(refusal(&[set("flush.ms", "x")]), Refusal::Config(_)));
}
