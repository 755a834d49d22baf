//! Committed offsets of groups whose members assign their partitions themselves.
//!
//! One machine per partition of `__consumer_offsets`. Group membership comes with its own machine later; until
//! then every group here is "simple": it has no members, no generation.

use std::collections::BTreeMap;

use machine::{Decision, Machine};
use model::{LeaderEpoch, Offset, Timestamp, TopicId};

#[cfg(test)]
mod tests;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offsets {
    groups: BTreeMap<String, BTreeMap<TopicPartition, Committed>>,
}

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
pub enum Command {
    Commit {
        group: String,
        generation: i32,
        member: String,
        offsets: Vec<(TopicPartition, Committed)>,
    },
    /// Forgets these offsets of one group.
    Delete {
        group: String,
        partitions: Vec<TopicPartition>,
    },
    /// Forgets every group's offsets of a topic that is gone.
    TopicDeleted {
        id: TopicId,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    OffsetCommitted { group: String, partition: TopicPartition, committed: Committed },
    OffsetForgotten { group: String, partition: TopicPartition },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reject {
    /// A commit with a generation, into a group that does not exist.
    UnknownGeneration,
    /// A commit with a generation, into a group that has no members.
    UnknownMember,
    GroupNotFound,
}

impl Machine for Offsets {
    type Command = Command;
    type Record = Record;
    type Reply = ();
    type Reject = Reject;

    fn decide(&self, command: Command, _now: Timestamp) -> Result<Decision<Self>, Reject> {
        match command {
            Command::Commit { group, generation, member: _, offsets } => {
                if generation >= 0 {
                    let known = self.groups.contains_key(&group);
                    return Err(if known { Reject::UnknownMember } else { Reject::UnknownGeneration });
                }
                let committed = |(partition, committed)| Record::OffsetCommitted {
                    group: group.clone(),
                    partition,
                    committed,
                };
                Ok(Decision::new(offsets.into_iter().map(committed).collect(), ()))
            }
            Command::Delete { group, partitions } => {
                let known = self.groups.get(&group).ok_or(Reject::GroupNotFound)?;
                let forget = |partition| Record::OffsetForgotten { group: group.clone(), partition };
                let held = partitions.into_iter().filter(|partition| known.contains_key(partition));
                Ok(Decision::new(held.map(forget).collect(), ()))
            }
            Command::TopicDeleted { id } => {
                let mut records = Vec::new();
                for (group, offsets) in &self.groups {
                    for (partition, _) in offsets.iter().filter(|(_, committed)| committed.topic_id == id) {
                        records.push(Record::OffsetForgotten {
                            group: group.clone(),
                            partition: partition.clone(),
                        });
                    }
                }
                Ok(Decision::new(records, ()))
            }
        }
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::OffsetCommitted { group, partition, committed } => {
                let group = self.groups.entry(group.clone()).or_default();
                group.insert(partition.clone(), committed.clone());
            }
            Record::OffsetForgotten { group, partition } => {
                if let Some(offsets) = self.groups.get_mut(group) {
                    offsets.remove(partition);
                    if offsets.is_empty() {
                        self.groups.remove(group);
                    }
                }
            }
        }
    }
}

impl Offsets {
    /// Everything that a group has committed, in the order of topics and partitions.
    pub fn group(&self, group: &str) -> Option<&BTreeMap<TopicPartition, Committed>> {
        self.groups.get(group)
    }

    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }
}
