//! Committed offsets in `__consumer_offsets`, in the formats of Kafka's group coordinator.

use bytes::Bytes;
use coordinators::offsets::{Committed, Offsets, Record, TopicPartition};
use model::{LeaderEpoch, Offset, Timestamp};
use wire::group_records::{OffsetCommitKey, OffsetCommitValue};
use wire::{DecodeError, Stored, stored};

use super::host::Hosted;

/// The version that carries the topic's id.
const VALUE_VERSION: i16 = 4;

impl Hosted for Offsets {
    fn encode(record: &Record) -> (Option<Bytes>, Option<Bytes>) {
        let (group, partition, committed) = match record {
            Record::OffsetCommitted { group, partition, committed } => (group, partition, Some(committed)),
            Record::OffsetForgotten { group, partition } => (group, partition, None),
        };
        let key = OffsetCommitKey {
            group: group.as_str().into(),
            topic: partition.topic.as_str().into(),
            partition: partition.partition,
            ..Default::default()
        };
        let value = committed.map(|committed| {
            let value = OffsetCommitValue {
                offset: committed.offset.0,
                leader_epoch: committed.leader_epoch.0,
                metadata: committed.metadata.as_str().into(),
                commit_timestamp: committed.committed_at.0,
                topic_id: committed.topic_id,
                ..Default::default()
            };
            stored::encode_with_version_prefix(&value, VALUE_VERSION).expect(super::ENCODES)
        });
        (Some(stored::encode_key(&key).expect(super::ENCODES)), value)
    }

    fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Record>, DecodeError> {
        let Some(key) = key.map(Bytes::copy_from_slice) else { return Ok(None) };
        if stored::key_type(&key)? != OffsetCommitKey::ID {
            return Ok(None);
        }
        let key: OffsetCommitKey = stored::decode_key(key)?;
        let (group, topic) = (key.group.to_string(), key.topic.to_string());
        let partition = TopicPartition { topic, partition: key.partition };
        let Some(value) = value.map(Bytes::copy_from_slice) else {
            return Ok(Some(Record::OffsetForgotten { group, partition }));
        };
        let (_, value): (i16, OffsetCommitValue) = stored::decode_with_version_prefix(value)?;
        let committed = Committed {
            offset: Offset(value.offset),
            leader_epoch: LeaderEpoch(value.leader_epoch),
            metadata: value.metadata.to_string(),
            committed_at: Timestamp(value.commit_timestamp),
            topic_id: value.topic_id,
        };
        Ok(Some(Record::OffsetCommitted { group, partition, committed }))
    }
}
