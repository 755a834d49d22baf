//! What happens to changes over the protocol. The refusals are Apache Kafka 4.3.1's, word for word where it has them.

use expect_test::{Expect, expect};

use super::*;
use crate::{GroupConfig, GroupOverrides};

fn check(before: &[(&str, &str)], changes: &[(&str, Operation, Option<&str>)], after: Expect) {
    let changes: Vec<Change<'_>> = changes
        .iter()
        .map(|(name, operation, value)| Change { name, operation: *operation, value: *value })
        .collect();
    let outcome = match overrides(before).alter(&changes, &BrokerSettings::default()) {
        Ok(after) => {
            after.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        }
        Err(Refusal::Request(why)) => format!("INVALID_REQUEST {why}"),
        Err(Refusal::Config(why)) => format!("INVALID_CONFIG {why}"),
    };
    after.assert_eq(&outcome);
}

const fn to(value: &str) -> (Operation, Option<&str>) {
    (Operation::Set, Some(value))
}

fn check_set(name: &str, value: &str, after: Expect) {
    let (operation, value) = to(value);
    check(&[], &[(name, operation, value)], after);
}

#[test]
fn lists_grow_and_shrink() {
    use Operation::{Append, Delete, Subtract};
    let policy = "cleanup.policy";
    check(&[], &[(policy, Append, Some("compact"))], expect!["cleanup.policy=delete,compact"]);
    check(&[], &[(policy, Append, Some("delete"))], expect!["cleanup.policy=delete"]);
    check(
        &[(policy, "delete,compact")],
        &[(policy, Subtract, Some("delete"))],
        expect!["cleanup.policy=compact"],
    );
    check(&[(policy, "compact")], &[(policy, Subtract, Some("compact"))], expect!["cleanup.policy="]);
    check(&[(policy, "compact")], &[(policy, Delete, None)], expect![""]);
    check(
        &[],
        &[("retention.ms", Append, Some("5"))],
        expect!["INVALID_CONFIG Can't APPEND to key retention.ms because its type is not LIST."],
    );
    check(
        &[],
        &[("retention.ms", Subtract, Some("5"))],
        expect!["INVALID_CONFIG Can't SUBTRACT to key retention.ms because its type is not LIST."],
    );
}

#[test]
fn values_are_stored_in_one_form() {
    check_set("cleanup.policy", "delete,delete", expect!["cleanup.policy=delete"]);
    check_set("cleanup.policy", "delete, compact", expect!["cleanup.policy=delete,compact"]);
    check_set("cleanup.policy", "", expect!["cleanup.policy="]);
    check_set("retention.ms", " 5 ", expect!["retention.ms=5"]);
    check_set("preallocate", "TRUE", expect!["preallocate=true"]);
    check_set("min.cleanable.dirty.ratio", "1", expect!["min.cleanable.dirty.ratio=1.0"]);
    check_set(
        "leader.replication.throttled.replicas",
        "0:1,1:2",
        expect!["leader.replication.throttled.replicas=0:1,1:2"],
    );
}

#[test]
fn wrong_values_are_refused_in_kafkas_words() {
    check_set(
        "retention.ms",
        "abc",
        expect!["INVALID_CONFIG Invalid value abc for configuration retention.ms: Not a number of type LONG"],
    );
    check_set(
        "retention.ms",
        "",
        expect!["INVALID_CONFIG Invalid value  for configuration retention.ms: Not a number of type LONG"],
    );
    check_set(
        "retention.ms",
        "-5",
        expect!["INVALID_CONFIG Invalid value -5 for configuration retention.ms: Value must be at least -1"],
    );
    check_set(
        "segment.bytes",
        "5",
        expect![
            "INVALID_CONFIG Invalid value 5 for configuration segment.bytes: Value must be at least 1048576"
        ],
    );
    check_set(
        "segment.bytes",
        "3000000000",
        expect![
            "INVALID_CONFIG Invalid value 3000000000 for configuration segment.bytes: Not a number of type INT"
        ],
    );
    check_set(
        "preallocate",
        "maybe",
        expect![
            "INVALID_CONFIG Invalid value maybe for configuration preallocate: Expected value to be either true or false"
        ],
    );
    check_set(
        "min.cleanable.dirty.ratio",
        "2",
        expect![
            "INVALID_CONFIG Invalid value 2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"
        ],
    );
    check_set(
        "message.timestamp.type",
        "No",
        expect![
            "INVALID_CONFIG Invalid value No for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime"
        ],
    );
    check_set(
        "cleanup.policy",
        "Delete",
        expect![
            "INVALID_CONFIG Invalid value Delete for configuration cleanup.policy: String must be one of: compact, delete"
        ],
    );
    check_set(
        "compression.gzip.level",
        "0",
        expect![
            "INVALID_CONFIG Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1"
        ],
    );
    check_set(
        "compression.zstd.level",
        "23",
        expect![
            "INVALID_CONFIG Invalid value 23 for configuration compression.zstd.level: Value must be no more than 22"
        ],
    );
    check_set(
        "leader.replication.throttled.replicas",
        "bad",
        expect![
            "INVALID_CONFIG Invalid value [bad] for configuration leader.replication.throttled.replicas: leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        ],
    );
    check_set(
        "remote.storage.enable",
        "true",
        expect![
            "INVALID_CONFIG Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
        ],
    );
}

#[test]
fn names_and_requests_that_make_no_sense_are_refused() {
    use Operation::{Delete, Set};
    check_set(
        "retention.msec",
        "5",
        expect!["INVALID_CONFIG Unknown topic config name: retention.msec; did you mean retention.ms?"],
    );
    check(&[], &[("foo.bar", Delete, None)], expect![""]);
    check(
        &[],
        &[("flush.ms", Set, None)],
        expect!["INVALID_REQUEST Null value not supported for : flush.ms"],
    );
    check(
        &[],
        &[("flush.ms", Set, Some("1")), ("flush.ms", Set, Some("2"))],
        expect!["INVALID_REQUEST Error due to duplicate config keys"],
    );
    check(
        &[],
        &[("min.compaction.lag.ms", Set, Some("10")), ("max.compaction.lag.ms", Set, Some("5"))],
        expect![
            "INVALID_CONFIG conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
        ],
    );
    let refused = TopicOverrides::create([("retention.ms", None)], &BrokerSettings::default());
    assert_eq!(
        refused,
        Err(Refusal::Config("Null value not supported for topic configs: retention.ms".to_owned()))
    );
}

#[test]
fn one_wrong_change_changes_nothing_and_the_old_values_stay() {
    let before = overrides(&[("retention.ms", "7")]);
    let changes = [set("retention.ms", "8"), set("segment.bytes", "1")];
    assert!(before.alter(&changes, &BrokerSettings::default()).is_err());
    assert_eq!(before.value("retention.ms"), Some("7"));
    let replaced = before.replace([("flush.ms", Some("9"))], &BrokerSettings::default()).unwrap();
    assert_eq!(replaced.iter().collect::<Vec<_>>(), [("flush.ms", "9")], "AlterConfigs replaces everything");
}

#[test]
fn brokers_refuse_what_cannot_change_while_they_run() {
    let refusal =
        |change| BrokerSettings::default().alter(Scope::Broker, &[change]).expect_err("refused").to_string();
    assert_eq!(
        refusal(set("num.partitions", "3")),
        "Cannot update these configs dynamically: [num.partitions]; num.partitions is read when the broker starts: set it \
         there (file, variable or --set) and restart"
    );
    assert_eq!(
        refusal(set("log.retention.ms", "abc")),
        "Invalid value abc for configuration log.retention.ms: Not a number of type LONG"
    );
    assert_eq!(
        refusal(set("log.retention.mss", "1")),
        "Unknown broker config name: log.retention.mss; did you mean log.retention.ms?"
    );
    assert_eq!(
        refusal(set("log.retention.ms", "0")),
        "log.retention.ms must be unlimited (-1) or, equal or greater than 1"
    );
}

#[test]
fn a_refusal_says_what_can_be_changed_instead_and_how() {
    let broker = |name| {
        BrokerSettings::default().alter(Scope::Broker, &[set(name, "5")]).expect_err("refused").to_string()
    };
    let finer = "; set log.retention.ms, which can be changed while the broker runs and counts before it";
    assert_eq!(
        broker("log.retention.hours"),
        format!("Cannot update these configs dynamically: [log.retention.hours]{finer}")
    );
    assert_eq!(
        broker("log.retention.hour"),
        format!(
            "Unknown broker config name: log.retention.hour; did you mean log.retention.hours? {}",
            &finer[2..]
        )
    );
    assert_eq!(
        broker("retention.ms"),
        "Unknown broker config name: retention.ms; it is a topic's config, of which the broker's default is \
         log.retention.ms"
    );
    assert_eq!(
        broker("replica.fetch.max.bytes"),
        "Cannot update these configs dynamically: [replica.fetch.max.bytes]; it is one of Apache Kafka's for which Levada \
         has no use"
    );
    for security in ["ssl.keystore.location", "listener.name.plaintext.sasl.enabled.mechanisms"] {
        let why = broker(security);
        assert!(why.ends_with("it would protect nothing"), "{why}");
    }
    check_set(
        "log.retention.hours",
        "5",
        expect!["INVALID_CONFIG Unknown topic config name: log.retention.hours; did you mean retention.ms?"],
    );
}

#[test]
fn deleting_what_is_not_set_is_done_whatever_it_is() {
    let delete = |name| Change { name, operation: Operation::Delete, value: None };
    let names = [
        "leader.replication.throttled.rate",
        "log.retention.hours",
        "no.such",
        "ssl.keystore.type",
        "node.id",
    ];
    let unchanged = BrokerSettings::default().alter(Scope::Broker, &names.map(delete)).expect("done");
    assert!(unchanged.dynamic(Scope::Broker).is_empty());
    let rate = "follower.replication.throttled.rate";
    let limited = unchanged.alter(Scope::Broker, &[set(rate, "1000000")]).expect("Kafka knows it");
    assert_eq!(limited.value(rate), Some("1000000"));
    let cleared = limited.alter(Scope::Broker, &[delete(rate)]).expect("done");
    assert!(cleared.dynamic(Scope::Broker).is_empty());
}

#[test]
fn node_id_and_broker_id_are_one_number_under_two_names() {
    for set in [[("node.id", "7")], [("broker.id", "7")]] {
        let settings = BrokerSettings::new(set).expect("it exists");
        assert_eq!(settings.options().node_id, 7);
        let described = settings.describe();
        for name in ["node.id", "broker.id"] {
            let told = described.iter().find(|described| described.name == name).expect("it is told");
            assert_eq!(told.value.as_deref(), Some("7"), "{name}");
        }
    }
    let why = BrokerSettings::new([("node.id", "7"), ("broker.id", "8")]).expect_err("which one?");
    assert_eq!(why, "node.id (7) and broker.id (8) are one number; set one of them");
}

fn check_group(broker: &[(&str, &str)], before: &[(&str, &str)], changes: &[(&str, &str)], after: Expect) {
    let broker = BrokerSettings::new(broker.iter().copied()).expect("settings that exist");
    let (before, refused) = GroupOverrides::restore(before.iter().copied());
    assert_eq!(refused, Vec::<String>::new());
    let set = changes.iter();
    let set = set.map(|(name, value)| Change { name, operation: Operation::Set, value: Some(value) });
    let changes: Vec<Change<'_>> = set.collect();
    let outcome = match before.alter(&changes, &broker) {
        Ok(group) => format!("{:?}", GroupConfig::new(&group, &broker)),
        Err(why) => why.to_string(),
    };
    after.assert_eq(&outcome);
}

#[test]
fn what_a_group_sets_lies_within_the_brokers_bounds() {
    const SESSION: &str = "consumer.session.timeout.ms";
    const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
    let check = |name, value, after| check_group(&[], &[], &[(name, value)], after);
    check(
        SESSION,
        "60000",
        expect!["GroupConfig { consumer_session_timeout: 60s, consumer_heartbeat_interval: 5s }"],
    );
    check(
        SESSION,
        "44999",
        expect![
            "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms"
        ],
    );
    check(
        SESSION,
        "60001",
        expect![
            "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms"
        ],
    );
    check(
        HEARTBEAT,
        "4999",
        expect![
            "consumer.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms"
        ],
    );
    check(
        HEARTBEAT,
        "0",
        expect!["Invalid value 0 for configuration consumer.heartbeat.interval.ms: Value must be at least 1"],
    );
    check(
        "consumer.assignment.interval.ms",
        "15001",
        expect![
            "consumer.assignment.interval.ms must be less than or equal to group.consumer.max.assignment.interval.ms"
        ],
    );
    check(
        "share.session.timeout.ms",
        "50000",
        expect!["Unknown group config name: share.session.timeout.ms"],
    );
    check_group(
        &[("group.consumer.min.session.timeout.ms", "4000")],
        &[],
        &[(SESSION, "5000")],
        expect!["consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms"],
    );
}

#[test]
fn a_groups_value_that_the_broker_no_longer_allows_counts_as_the_nearest_that_it_does() {
    let broker = &[("group.consumer.max.session.timeout.ms", "48000")];
    let before = &[("consumer.session.timeout.ms", "50000")];
    check_group(
        broker,
        before,
        &[],
        expect![
            "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms"
        ],
    );
    let (group, _) = GroupOverrides::restore(before.iter().copied());
    let broker = BrokerSettings::new(broker.iter().copied()).expect("settings that exist");
    assert_eq!(GroupConfig::new(&group, &broker).consumer_session_timeout.as_millis(), 48_000);
    let described = group.describe(&broker);
    let session =
        described.iter().find(|one| one.name == "consumer.session.timeout.ms").expect("it is described");
    assert_eq!((session.value.as_deref(), session.source), (Some("50000"), Source::Group));
}
