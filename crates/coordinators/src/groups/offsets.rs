//! Committed offsets: who may commit, and when they are forgotten.

use std::collections::{BTreeMap, BTreeSet};

use machine::Decision;
use model::{LeaderEpoch, Offset, Timestamp, TopicId};

use super::classic::{State, after};
use super::{Group, Groups, Record, Reject, Reply};

/// By topic and partition.
pub type Offsets = BTreeMap<TopicPartition, Committed>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    pub offset: Offset,
    /// -1 where the client told none.
    pub leader_epoch: LeaderEpoch,
    /// The client's own words, given back as they came.
    pub metadata: String,
    pub committed_at: Timestamp,
    /// The topic that was committed for: its successor of the same name has no committed offset.
    pub topic_id: TopicId,
}

#[derive(Clone, Debug)]
pub struct Commit {
    pub group: String,
    /// Below 0: from somebody who is no member.
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
    /// The client knows that a member has an epoch (v9 and later).
    pub knows_epochs: bool,
    pub offsets: Vec<(TopicPartition, Committed)>,
}

pub(super) fn commit(groups: &Groups, commit: Commit, now: Timestamp) -> Result<Decision<Groups>, Reject> {
    let Commit { group: name, generation, member, instance, knows_epochs, offsets } = commit;
    let mut records = Vec::new();
    if let Some(consumer) = groups.consumer(&name) {
        // An administrator sets the offsets of a group whose consumers are gone.
        if !(consumer.members.is_empty() && generation < 0) {
            let partitions = offsets.iter().map(|(key, committed)| (committed.topic_id, key.partition));
            consumer.check_commit(&member, generation, knows_epochs, partitions)?;
        }
        let committed =
            |(partition, committed)| Record::OffsetCommitted { group: name.clone(), partition, committed };
        return Ok(Decision::new(offsets.into_iter().map(committed).collect(), Reply::Done));
    }
    match groups.classic(&name) {
        // Nobody ever joined it: whoever commits is a consumer that assigns its partitions itself.
        None if generation < 0 => {}
        None if groups.group(&name).is_some() => return Err(Reject::UnknownMemberId),
        None => return Err(Reject::UnknownGeneration),
        Some(classic) if generation < 0 && classic.is_empty() && member.is_empty() => {}
        Some(classic) => {
            classic.check_member(&member, instance.as_deref())?;
            if classic.generation != generation {
                return Err(Reject::IllegalGeneration);
            }
            if classic.state == State::CompletingRebalance {
                return Err(Reject::RebalanceInProgress);
            }
            records.push(Record::Seen { group: name.clone(), member, at: now });
        }
    }
    let committed =
        |(partition, committed)| Record::OffsetCommitted { group: name.clone(), partition, committed };
    records.extend(offsets.into_iter().map(committed));
    Ok(Decision::new(records, Reply::Done))
}

pub(super) fn delete(
    groups: &Groups,
    name: &str,
    partitions: Vec<TopicPartition>,
) -> Result<Decision<Groups>, Reject> {
    let group = groups.group(name).ok_or(Reject::GroupNotFound)?;
    let classic = group.classic.as_ref().filter(|classic| !classic.is_empty());
    if classic.is_some_and(|classic| !classic.is_consumers()) {
        return Err(Reject::NonEmptyGroup);
    }
    let mut read = classic.map(|classic| classic.topics()).unwrap_or_default();
    read.extend(group.consumer.iter().flat_map(|consumer| consumer.topics()));
    let (subscribed, free): (Vec<_>, Vec<_>) =
        partitions.into_iter().partition(|partition| read.contains(partition.topic.as_str()));
    let forget = |partition| Record::OffsetForgotten { group: name.to_string(), partition };
    let held = free.into_iter().filter(|partition| group.offsets.contains_key(partition));
    Ok(Decision::new(held.map(forget).collect(), Reply::OffsetsDeleted { subscribed }))
}

pub(super) fn topic_deleted(groups: &Groups, id: TopicId) -> Decision<Groups> {
    let mut records = Vec::new();
    for (name, group) in groups.groups() {
        for (partition, _) in group.offsets.iter().filter(|(_, committed)| committed.topic_id == id) {
            records.push(Record::OffsetForgotten { group: name.to_string(), partition: partition.clone() });
        }
    }
    Decision::new(records, Reply::Done)
}

/// Offsets that nobody has used for too long, and groups of which nothing is left.
pub(super) fn expired(groups: &Groups, now: Timestamp) -> Vec<Record> {
    let mut records = Vec::new();
    for (name, group) in groups.groups() {
        let old = old(group, groups, now);
        let is_over = group.classic.as_ref().is_none_or(|classic| classic.is_empty())
            && group.consumer.as_ref().is_none_or(|consumer| consumer.members.is_empty());
        if old.len() == group.offsets.len() && is_over {
            records.extend(groups.tombstones(name, group));
            continue;
        }
        let forget = |partition| Record::OffsetForgotten { group: name.to_string(), partition };
        records.extend(old.into_iter().map(forget));
    }
    records
}

/// An empty group keeps its offsets from when it became empty, a simple one from the commit; a group with members
/// keeps those of the topics that it reads.
fn old(group: &Group, groups: &Groups, now: Timestamp) -> Vec<TopicPartition> {
    let retention = groups.options.offsets_retention;
    let read = match group.offsets.is_empty() {
        true => BTreeSet::new(),
        false => {
            let consumers = group.consumer.iter().flat_map(|consumer| consumer.topics());
            group.classic.iter().flat_map(|classic| classic.topics()).chain(consumers).collect()
        }
    };
    let is_old = |partition: &TopicPartition, committed: &Committed| {
        if read.contains(partition.topic.as_str()) {
            return false;
        }
        let since = match &group.classic {
            None => committed.committed_at,
            Some(classic) if classic.is_empty() => classic.since.max(committed.committed_at),
            // What the members of another kind of group read is not known.
            Some(classic) if !classic.is_consumers() => return false,
            Some(_) => committed.committed_at,
        };
        after(since, retention) <= now
    };
    let old = group.offsets.iter().filter(|(partition, committed)| is_old(partition, committed));
    old.map(|(partition, _)| partition.clone()).collect()
}
