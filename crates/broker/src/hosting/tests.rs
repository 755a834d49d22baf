use std::collections::{BTreeMap, BTreeSet};

use coordinators::metadata::{self, Metadata, Resource};
use coordinators::offsets::{self, Committed, Offsets, TopicPartition};
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
        let (key, value) = M::encode(&record);
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
    round_trips::<Offsets>(vec![
        offsets::Record::OffsetCommitted { group: "g".into(), partition: partition.clone(), committed },
        offsets::Record::OffsetForgotten { group: "g".into(), partition },
    ]);
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

#[test]
fn records_of_other_kinds_are_passed_over() {
    assert_eq!(Offsets::decode(Some(&[0, 2, 0, 1, b'g']), None).unwrap(), None);
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
