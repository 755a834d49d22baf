//! Groups of the newer consumer protocol (KIP-848) in the record formats of Kafka's group coordinator.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordinators::groups::Record;
use coordinators::groups::classic::{CONSUMER, Protocol};
use coordinators::groups::consumer::{Assignment, ClassicMetadata, Current, Fact, MemberState, Metadata};
use model::TopicId;
use wire::group_records::{
    ConsumerGroupCurrentMemberAssignmentKey as CurrentKey,
    ConsumerGroupCurrentMemberAssignmentTopicPartitions as CurrentPartitions,
    ConsumerGroupCurrentMemberAssignmentValue as CurrentValue,
    ConsumerGroupMemberMetadataClassicMemberMetadata as ClassicValue,
    ConsumerGroupMemberMetadataClassicProtocol as ClassicProtocol,
    ConsumerGroupMemberMetadataKey as MemberKey, ConsumerGroupMemberMetadataValue as MemberValue,
    ConsumerGroupMetadataKey as GroupKey, ConsumerGroupMetadataValue as GroupValue,
    ConsumerGroupRegularExpressionKey as ExpressionKey,
    ConsumerGroupRegularExpressionValue as ExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey as TargetKey,
    ConsumerGroupTargetAssignmentMemberTopicPartition as TargetPartitions,
    ConsumerGroupTargetAssignmentMemberValue as TargetValue,
    ConsumerGroupTargetAssignmentMetadataKey as TargetEpochKey,
    ConsumerGroupTargetAssignmentMetadataValue as TargetEpochValue,
};
use wire::{DecodeError, Message, Stored, Str, stored};

use super::consumer_protocol::subscription;
use super::groups::{key_of, value_of};
use super::host::Entry;

const VERSION: i16 = 0;

/// Kafka's numbers of member states.
const STABLE: i8 = 1;
const UNREVOKED: i8 = 2;
const UNRELEASED: i8 = 3;

pub fn encode(group: &str, fact: &Fact) -> Option<Entry> {
    let group_id: Str = group.into();
    let text = |text: &str| Str::from(text);
    let kept = |key: Bytes, value: Bytes| Some((Some(key), Some(value)));
    let gone = |key: Bytes| Some((Some(key), None));
    let group_key = || key_of(&GroupKey { group_id: group_id.clone(), ..Default::default() });
    let member_key = |member: &str| {
        key_of(&MemberKey { group_id: group_id.clone(), member_id: text(member), ..Default::default() })
    };
    let target_epoch_key = || key_of(&TargetEpochKey { group_id: group_id.clone(), ..Default::default() });
    let target_key = |member: &str| {
        key_of(&TargetKey { group_id: group_id.clone(), member_id: text(member), ..Default::default() })
    };
    let current_key = |member: &str| {
        key_of(&CurrentKey { group_id: group_id.clone(), member_id: text(member), ..Default::default() })
    };
    let expression_key = |expression: &str| {
        let (group_id, regular_expression) = (group_id.clone(), text(expression));
        key_of(&ExpressionKey { group_id, regular_expression, ..Default::default() })
    };
    match fact {
        Fact::Group { epoch, metadata_hash } => {
            let value = GroupValue { epoch: *epoch, metadata_hash: *metadata_hash, ..Default::default() };
            kept(group_key(), value_of(&value, VERSION))
        }
        Fact::GroupGone => gone(group_key()),
        Fact::Member { member, metadata } => {
            kept(member_key(member), value_of(&member_value(metadata), VERSION))
        }
        Fact::MemberGone { member } => gone(member_key(member)),
        Fact::TargetEpoch { epoch } => {
            let value = TargetEpochValue { assignment_epoch: *epoch, ..Default::default() };
            kept(target_epoch_key(), value_of(&value, VERSION))
        }
        Fact::TargetEpochGone => gone(target_epoch_key()),
        Fact::Target { member, assignment } => {
            let partitions = assignment.iter().map(|(topic, partitions)| TargetPartitions {
                topic_id: *topic,
                partitions: partitions.iter().copied().collect(),
                ..Default::default()
            });
            let value = TargetValue { topic_partitions: partitions.collect(), ..Default::default() };
            kept(target_key(member), value_of(&value, VERSION))
        }
        Fact::TargetGone { member } => gone(target_key(member)),
        Fact::Current { member, current } => {
            kept(current_key(member), value_of(&current_value(current), VERSION))
        }
        Fact::CurrentGone { member } => gone(current_key(member)),
        Fact::Expression { expression, topics } => {
            let topics = topics.iter().map(|topic| text(topic)).collect();
            let value = ExpressionValue { topics, ..Default::default() };
            kept(expression_key(expression), value_of(&value, VERSION))
        }
        Fact::ExpressionGone { expression } => gone(expression_key(expression)),
        Fact::Seen { .. } | Fact::Looked { .. } => None,
    }
}

/// `None` for a record that means nothing to us.
pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<Record>, DecodeError> {
    let (group, fact) = match stored::key_type(&key)? {
        GroupKey::ID => {
            let key: GroupKey = stored::decode_key(key)?;
            let fact = match read::<GroupValue>(value)? {
                None => Fact::GroupGone,
                Some(value) => Fact::Group { epoch: value.epoch, metadata_hash: value.metadata_hash },
            };
            (key.group_id, fact)
        }
        MemberKey::ID => {
            let key: MemberKey = stored::decode_key(key)?;
            let member = key.member_id.to_string();
            let fact = match read::<MemberValue>(value)? {
                None => Fact::MemberGone { member },
                Some(value) => Fact::Member { member, metadata: Arc::new(metadata(value)) },
            };
            (key.group_id, fact)
        }
        TargetEpochKey::ID => {
            let key: TargetEpochKey = stored::decode_key(key)?;
            let fact = match read::<TargetEpochValue>(value)? {
                None => Fact::TargetEpochGone,
                Some(value) => Fact::TargetEpoch { epoch: value.assignment_epoch },
            };
            (key.group_id, fact)
        }
        TargetKey::ID => {
            let key: TargetKey = stored::decode_key(key)?;
            let member = key.member_id.to_string();
            let fact = match read::<TargetValue>(value)? {
                None => Fact::TargetGone { member },
                Some(value) => {
                    let partitions = value.topic_partitions.into_iter();
                    let assignment = assignment(partitions.map(|one| (one.topic_id, one.partitions)));
                    Fact::Target { member, assignment: Arc::new(assignment) }
                }
            };
            (key.group_id, fact)
        }
        CurrentKey::ID => {
            let key: CurrentKey = stored::decode_key(key)?;
            let member = key.member_id.to_string();
            let fact = match read::<CurrentValue>(value)? {
                None => Fact::CurrentGone { member },
                Some(value) => Fact::Current { member, current: current(value) },
            };
            (key.group_id, fact)
        }
        ExpressionKey::ID => {
            let key: ExpressionKey = stored::decode_key(key)?;
            let expression = key.regular_expression.to_string();
            let fact = match read::<ExpressionValue>(value)? {
                None => Fact::ExpressionGone { expression },
                Some(value) => {
                    let topics: BTreeSet<String> = value.topics.iter().map(ToString::to_string).collect();
                    Fact::Expression { expression, topics: Arc::new(topics) }
                }
            };
            (key.group_id, fact)
        }
        _ => return Ok(None),
    };
    Ok(Some(Record::Consumer { group: group.to_string(), fact }))
}

fn read<M: Message>(value: Option<Bytes>) -> Result<Option<M>, DecodeError> {
    value.map(|value| Ok(stored::decode_with_version_prefix(value)?.1)).transpose()
}

fn member_value(metadata: &Metadata) -> MemberValue {
    MemberValue {
        instance_id: metadata.instance.as_deref().map(Into::into),
        rack_id: metadata.rack.as_deref().map(Into::into),
        client_id: metadata.client_id.as_str().into(),
        client_host: metadata.client_host.as_str().into(),
        subscribed_topic_names: metadata.topics.iter().map(|topic| topic.as_str().into()).collect(),
        subscribed_topic_regex: metadata.expression.as_deref().map(Into::into),
        rebalance_timeout_ms: i32::try_from(metadata.rebalance_timeout.as_millis()).unwrap_or(i32::MAX),
        server_assignor: metadata.assignor.as_deref().map(Into::into),
        classic_member_metadata: metadata.classic.as_ref().map(classic_value),
        ..Default::default()
    }
}

fn metadata(value: MemberValue) -> Metadata {
    let text = |text: Option<Str>| text.map(|text| text.to_string());
    Metadata {
        instance: text(value.instance_id),
        rack: text(value.rack_id),
        client_id: value.client_id.to_string(),
        client_host: value.client_host.to_string(),
        topics: value.subscribed_topic_names.iter().map(ToString::to_string).collect(),
        expression: text(value.subscribed_topic_regex).filter(|expression| !expression.is_empty()),
        rebalance_timeout: Duration::from_millis(value.rebalance_timeout_ms.max(0) as u64),
        assignor: text(value.server_assignor),
        classic: value.classic_member_metadata.map(classic),
    }
}

fn classic_value(classic: &ClassicMetadata) -> ClassicValue {
    let protocol = |protocol: &Protocol| ClassicProtocol {
        name: protocol.name.as_str().into(),
        metadata: protocol.metadata.clone(),
        ..Default::default()
    };
    ClassicValue {
        session_timeout_ms: i32::try_from(classic.session_timeout.as_millis()).unwrap_or(i32::MAX),
        supported_protocols: classic.protocols.iter().map(protocol).collect(),
        ..Default::default()
    }
}

fn classic(value: ClassicValue) -> ClassicMetadata {
    let protocol = |known: ClassicProtocol| Protocol {
        name: known.name.to_string(),
        subscription: subscription(CONSUMER, &known.metadata),
        metadata: known.metadata,
    };
    ClassicMetadata {
        session_timeout: Duration::from_millis(value.session_timeout_ms.max(0) as u64),
        protocols: value.supported_protocols.into_iter().map(protocol).collect(),
    }
}

fn current_value(current: &Current) -> CurrentValue {
    let partitions = |assignment: &Assignment| {
        let given_at = |topic, partition: &i32| {
            current.given_at.get(&(topic, *partition)).copied().unwrap_or(current.epoch.max(0))
        };
        let one = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| CurrentPartitions {
            topic_id: *topic,
            partitions: partitions.iter().copied().collect(),
            assignment_epochs: Some(partitions.iter().map(|partition| given_at(*topic, partition)).collect()),
            ..Default::default()
        };
        assignment.iter().map(one).collect()
    };
    CurrentValue {
        member_epoch: current.epoch,
        previous_member_epoch: current.previous_epoch,
        state: match current.state {
            MemberState::Stable => STABLE,
            MemberState::UnrevokedPartitions => UNREVOKED,
            MemberState::UnreleasedPartitions => UNRELEASED,
        },
        assigned_partitions: partitions(&current.assigned),
        partitions_pending_revocation: partitions(&current.revoking),
        ..Default::default()
    }
}

fn current(value: CurrentValue) -> Current {
    let all = value.assigned_partitions.iter().chain(&value.partitions_pending_revocation);
    let given_at = all.flat_map(|one| given_at(one, value.member_epoch)).collect();
    let partitions = |partitions: Vec<CurrentPartitions>| {
        assignment(partitions.into_iter().map(|one| (one.topic_id, one.partitions)))
    };
    Current {
        epoch: value.member_epoch,
        previous_epoch: value.previous_member_epoch,
        state: match value.state {
            UNREVOKED => MemberState::UnrevokedPartitions,
            UNRELEASED => MemberState::UnreleasedPartitions,
            _ => MemberState::Stable,
        },
        assigned: partitions(value.assigned_partitions),
        revoking: partitions(value.partitions_pending_revocation),
        given_at,
    }
}

/// Since when a member has the partitions of a topic; where that was not written, since its epoch.
fn given_at(
    one: &CurrentPartitions,
    member_epoch: i32,
) -> impl Iterator<Item = ((TopicId, i32), i32)> + use<'_> {
    let written = one.assignment_epochs.as_ref().filter(|epochs| epochs.len() == one.partitions.len());
    let since = move |index: usize| written.map_or(member_epoch.max(0), |epochs| epochs[index]);
    one.partitions
        .iter()
        .enumerate()
        .map(move |(index, partition)| ((one.topic_id, *partition), since(index)))
}

pub fn assignment(partitions: impl Iterator<Item = (TopicId, Vec<i32>)>) -> Assignment {
    let sets = partitions.map(|(topic, partitions)| (topic, partitions.into_iter().collect()));
    sets.filter(|(_, partitions): &(TopicId, BTreeSet<i32>)| !partitions.is_empty()).collect()
}
