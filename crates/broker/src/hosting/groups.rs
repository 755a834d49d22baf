//! Groups in `__consumer_offsets`, in the formats of Kafka's group coordinator.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordinators::groups::classic::{Classic, Member, Protocol};
use coordinators::groups::{Command, Committed, Groups, Record, TopicPartition};
use model::{LeaderEpoch, Offset, Timestamp};
use wire::group_records::{
    GroupMetadataKey, GroupMetadataMemberMetadata, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue,
};
use wire::{DecodeError, Message, Stored, stored};

use super::consumer_protocol::{share, share_bytes, subscription};
use super::host::{Entry, Host, Hosted};
use super::waiters::Waiters;
use crate::topics::Topics;

pub type GroupHost = Host<Groups, Waiters>;

/// The version that carries the topic's id.
const OFFSET_VERSION: i16 = 4;
const GROUP_VERSION: i16 = 4;

impl Hosted for Groups {
    fn encode(record: &Record) -> Option<Entry> {
        if !record.is_durable() {
            return None;
        }
        match record {
            Record::OffsetCommitted { group, partition, committed } => {
                let value = OffsetCommitValue {
                    offset: committed.offset.0,
                    leader_epoch: committed.leader_epoch.0,
                    metadata: committed.metadata.as_str().into(),
                    commit_timestamp: committed.committed_at.0,
                    topic_id: committed.topic_id,
                    ..Default::default()
                };
                Some((Some(offset_key(group, partition)), Some(value_of(&value, OFFSET_VERSION))))
            }
            Record::OffsetForgotten { group, partition } => Some((Some(offset_key(group, partition)), None)),
            Record::Classic { group, classic, .. } => {
                let key = GroupMetadataKey { group: group.as_str().into(), ..Default::default() };
                let value = classic.as_ref().map(|classic| value_of(&group_value(classic), GROUP_VERSION));
                Some((Some(key_of(&key)), value))
            }
            Record::Consumer { group, fact } => super::consumer_groups::encode(group, fact),
            Record::Seen { .. }
            | Record::Answered { .. }
            | Record::Looked { .. }
            | Record::OffsetsChecked { .. } => None,
        }
    }

    fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Record>, DecodeError> {
        let Some(key) = key.map(Bytes::copy_from_slice) else { return Ok(None) };
        let value = value.map(Bytes::copy_from_slice);
        Ok(match stored::key_type(&key)? {
            OffsetCommitKey::ID => Some(offset_record(key, value)?),
            GroupMetadataKey::ID => {
                let key: GroupMetadataKey = stored::decode_key(key)?;
                let classic = match value {
                    None => None,
                    Some(value) => Some(Arc::new(classic(stored::decode_with_version_prefix(value)?.1))),
                };
                Some(Record::Classic { group: key.group.to_string(), classic, is_durable: true })
            }
            _ => super::consumer_groups::decode(key, value)?,
        })
    }

    fn informed(&self, topics: &Topics) -> Groups {
        self.clone().knowing(topics.image())
    }

    fn started() -> Option<Command> {
        Some(Command::Started)
    }

    fn wake_at(&self) -> Option<Timestamp> {
        Groups::wake_at(self)
    }

    fn wake() -> Option<Command> {
        Some(Command::Wake)
    }
}

pub(super) fn key_of<K: Stored>(key: &K) -> Bytes {
    stored::encode_key(key).expect(super::ENCODES)
}

pub(super) fn value_of<V: Message>(value: &V, version: i16) -> Bytes {
    stored::encode_with_version_prefix(value, version).expect(super::ENCODES)
}

fn offset_key(group: &str, partition: &TopicPartition) -> Bytes {
    key_of(&OffsetCommitKey {
        group: group.into(),
        topic: partition.topic.as_str().into(),
        partition: partition.partition,
        ..Default::default()
    })
}

fn offset_record(key: Bytes, value: Option<Bytes>) -> Result<Record, DecodeError> {
    let key: OffsetCommitKey = stored::decode_key(key)?;
    let (group, topic) = (key.group.to_string(), key.topic.to_string());
    let partition = TopicPartition { topic, partition: key.partition };
    let Some(value) = value else { return Ok(Record::OffsetForgotten { group, partition }) };
    let (_, value): (i16, OffsetCommitValue) = stored::decode_with_version_prefix(value)?;
    let committed = Committed {
        offset: Offset(value.offset),
        leader_epoch: LeaderEpoch(value.leader_epoch),
        metadata: value.metadata.to_string(),
        committed_at: Timestamp(value.commit_timestamp),
        topic_id: value.topic_id,
    };
    Ok(Record::OffsetCommitted { group, partition, committed })
}

/// A stable group with its members, or an empty one: nothing in between is kept.
fn group_value(classic: &Classic) -> GroupMetadataValue {
    let protocol = classic.protocol.as_deref().unwrap_or_default();
    let millis = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
    let members = classic.members.iter().map(|(id, member)| GroupMetadataMemberMetadata {
        member_id: id.as_str().into(),
        group_instance_id: member.instance.as_deref().map(Into::into),
        client_id: member.client_id.as_str().into(),
        client_host: member.client_host.as_str().into(),
        rebalance_timeout: millis(member.rebalance_timeout),
        session_timeout: millis(member.session_timeout),
        subscription: member.metadata(protocol),
        assignment: share_bytes(&member.assignment),
        ..Default::default()
    });
    GroupMetadataValue {
        protocol_type: classic.protocol_type.as_deref().unwrap_or_default().into(),
        generation: classic.generation,
        protocol: classic.protocol.as_deref().map(Into::into),
        leader: classic.leader.as_deref().map(Into::into),
        current_state_timestamp: classic.since.0,
        members: members.collect(),
        ..Default::default()
    }
}

fn classic(value: GroupMetadataValue) -> Classic {
    let protocol = value.protocol.map(|protocol| protocol.to_string());
    let millis = |millis: i32| Duration::from_millis(millis.max(0) as u64);
    let members = value.members.into_iter().map(|member| {
        let known = Protocol {
            name: protocol.clone().unwrap_or_default(),
            subscription: subscription(&value.protocol_type, &member.subscription),
            metadata: member.subscription,
        };
        let rebalance_timeout = match member.rebalance_timeout {
            // Written before there was one.
            ..=-1 => member.session_timeout,
            given => given,
        };
        let stored = Member::stored(
            member.group_instance_id.map(|instance| instance.to_string()),
            (member.client_id.to_string(), member.client_host.to_string()),
            millis(rebalance_timeout),
            millis(member.session_timeout),
            vec![known],
            share(member.assignment),
        );
        (member.member_id.to_string(), Arc::new(stored))
    });
    let members = members.collect();
    Classic::stored(
        Some(value.protocol_type.to_string()).filter(|name| !name.is_empty()),
        value.generation,
        protocol,
        value.leader.map(|leader| leader.to_string()),
        Timestamp(value.current_state_timestamp),
        members,
    )
}
