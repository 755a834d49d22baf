use coordinators::metadata::{self, Metadata, Resource};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordinators::groups::classic::{Classic, Member, Protocol};
use coordinators::groups::consumer::{self, Assignment, Fact};
use coordinators::groups::{self, Committed, Groups, TopicPartition};
use coordinators::transactional_ids::{self, Producer, TransactionalIds};
use machine::Machine;
use model::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};

use super::host::Hosted;
use super::orphans::{Orphans, recovered_name};

fn round_trips<M: Hosted>(records: Vec<M::Record>)
where
    M::Record: PartialEq + std::fmt::Debug,
{
    for record in records {
        let (key, value) = M::encode(&record).expect("a durable record");
        assert_eq!(M::decode(key.as_deref(), value.as_deref()).unwrap(), Some(record));
    }
}

#[test]
fn every_record_comes_back_from_kafkas_formats() {
    let id = TopicId([3; 16]);
    let config = |resource, value: Option<&str>| metadata::Record::ConfigSet {
        resource,
        name: "retention.ms".into(),
        value: value.map(Into::into),
    };
    round_trips::<Metadata>(vec![
        metadata::Record::TopicCreated { name: "t".into(), id },
        metadata::Record::PartitionCreated { topic: id, index: 7 },
        metadata::Record::TopicRemoved { id },
        config(Resource::Topic("t".into()), Some("5")),
        config(Resource::Broker("0".into()), None),
        config(Resource::Group("g".into()), Some("5")),
        metadata::Record::ProducerIdsAllocated { next: 2000 },
    ]);
    let partition = TopicPartition { topic: "t".into(), partition: 2 };
    let committed = Committed {
        offset: Offset(9),
        leader_epoch: LeaderEpoch(1),
        metadata: "mine".into(),
        committed_at: Timestamp(77),
        topic_id: id,
    };
    let stable = groups::Record::Classic { group: "g".into(), classic: Some(stable()), is_durable: true };
    round_trips::<Groups>(vec![
        groups::Record::OffsetCommitted { group: "g".into(), partition: partition.clone(), committed },
        groups::Record::OffsetForgotten { group: "g".into(), partition },
        stable,
        groups::Record::Classic { group: "g".into(), classic: None, is_durable: true },
    ]);
    round_trips::<Groups>(consumer_facts());
    let producer = Producer {
        id: ProducerId(1000),
        epoch: ProducerEpoch(4),
        last_epoch: ProducerEpoch::NONE,
        transaction_timeout_ms: 60_000,
        updated_at: Timestamp(5),
    };
    round_trips::<TransactionalIds>(vec![
        transactional_ids::Record { transactional_id: "x".into(), producer: Some(producer) },
        transactional_ids::Record { transactional_id: "x".into(), producer: None },
    ]);
}

/// A consumer's subscription to the topic `t`: version 1, one topic, no user data, nothing owned.
fn subscribed() -> Bytes {
    Bytes::from_static(&[0, 1, 0, 0, 0, 1, 0, 1, b't', 255, 255, 255, 255, 0, 0, 0, 0])
}

/// A stable group of one static member that reads the topic `t`.
fn stable() -> Arc<Classic> {
    let metadata = subscribed();
    let member = Member::stored(
        Some("place".into()),
        ("client".into(), "/127.0.0.1".into()),
        Duration::from_secs(60),
        Duration::from_secs(45),
        vec![Protocol {
            name: "range".into(),
            subscription: super::subscription("consumer", &metadata),
            metadata,
        }],
        super::share(Bytes::from_static(b"part")),
    );
    let members = BTreeMap::from([("place-1".to_string(), Arc::new(member))]);
    let name = |name: &str| Some(name.to_string());
    Arc::new(Classic::stored(name("consumer"), 7, name("range"), name("place-1"), Timestamp(9), members))
}

/// One of each fact of a group under the newer protocol.
fn consumer_facts() -> Vec<groups::Record> {
    let member = || "m".to_string();
    let expression = || "a.*".to_string();
    let assigned = Assignment::from([(TopicId([4; 16]), BTreeSet::from([0, 3]))]);
    let metadata = consumer::Metadata {
        instance: Some("i".into()),
        rack: Some("r".into()),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        topics: BTreeSet::from(["t".to_string()]),
        expression: Some(expression()),
        rebalance_timeout: Duration::from_secs(60),
        assignor: Some("range".into()),
        classic: None,
    };
    let subscribed = subscribed();
    let classic = consumer::Metadata {
        classic: Some(consumer::ClassicMetadata {
            session_timeout: Duration::from_secs(45),
            protocols: vec![Protocol {
                name: "range".into(),
                subscription: super::subscription("consumer", &subscribed),
                metadata: subscribed,
            }],
        }),
        ..metadata.clone()
    };
    let current = consumer::Current {
        epoch: 5,
        previous_epoch: 4,
        state: consumer::MemberState::UnrevokedPartitions,
        assigned: assigned.clone(),
        revoking: Assignment::from([(TopicId([5; 16]), BTreeSet::from([1]))]),
        given_at: BTreeMap::from([
            ((TopicId([4; 16]), 0), 3),
            ((TopicId([4; 16]), 3), 5),
            ((TopicId([5; 16]), 1), 2),
        ]),
    };
    let facts = [
        Fact::Group { epoch: 5, metadata_hash: -7 },
        Fact::GroupGone,
        Fact::Member { member: member(), metadata: Arc::new(metadata) },
        Fact::Member { member: "classic".into(), metadata: Arc::new(classic) },
        Fact::MemberGone { member: member() },
        Fact::TargetEpoch { epoch: 5 },
        Fact::TargetEpochGone,
        Fact::Target { member: member(), assignment: Arc::new(assigned) },
        Fact::TargetGone { member: member() },
        Fact::Current { member: member(), current },
        Fact::CurrentGone { member: member() },
        Fact::Expression { expression: expression(), topics: Arc::new(BTreeSet::from(["t".to_string()])) },
        Fact::ExpressionGone { expression: expression() },
    ];
    facts.into_iter().map(|fact| groups::Record::Consumer { group: "g".into(), fact }).collect()
}

#[test]
fn what_ends_with_the_process_is_not_written() {
    let seen = groups::Record::Seen { group: "g".into(), member: "m".into(), at: Timestamp(1) };
    let joining = groups::Record::Classic { group: "g".into(), classic: Some(stable()), is_durable: false };
    assert!(Groups::encode(&seen).is_none() && Groups::encode(&joining).is_none());
}

#[test]
fn records_of_other_kinds_are_passed_over() {
    assert_eq!(Groups::decode(Some(&[0, 99, 0, 1, b'g']), None).unwrap(), None);
    assert_eq!(Metadata::decode(None, Some(&[1, 27, 0, 0])).unwrap(), None);
}

#[test]
fn only_the_orphans_of_removed_topics_are_to_be_deleted() {
    let id = |topic: u8, index| PartitionId { topic: TopicId([topic; 16]), index };
    let mut state = Metadata::default();
    state.apply(&metadata::Record::TopicCreated { name: "t".into(), id: TopicId([1; 16]) });
    state.apply(&metadata::Record::PartitionCreated { topic: TopicId([1; 16]), index: 0 });
    let metadata_log = PartitionId { topic: TopicId::CLUSTER_METADATA, index: 0 };
    assert!(Orphans::find(&state, &[metadata_log, id(1, 0)]).is_empty());

    let stored = [metadata_log, id(1, 0), id(1, 2), id(2, 0), id(3, 0), id(3, 4)];
    let mut orphans = Orphans::find(&state, &stored);
    orphans.set_apart(&BTreeSet::from([TopicId([2; 16])]), &stored);
    let expected = Orphans {
        removed: vec![id(2, 0)],
        grown: BTreeMap::from([(TopicId([1; 16]), 3)]),
        unknown: BTreeMap::from([(TopicId([3; 16]), 5)]),
    };
    assert_eq!(orphans, expected);
    for id in orphans.unknown.keys() {
        metadata::check_topic_name(&recovered_name(*id)).unwrap();
    }
}
