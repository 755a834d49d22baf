//! `levada group reset`: another place for a group that nobody is in.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::{ErrorCode, OffsetCommitRequest};

use super::description::{committed, describe};
use crate::client::{self, Cluster, Refused, check};
use crate::commands::consume::Start;
use crate::commands::failures::Failures;
use crate::output::{line, note};

/// From here on OffsetCommit names topics by their ids.
const COMMIT_BY_NAME_MAX: i16 = 9;
/// Members that are told by name when they stand in the way.
const TOLD_MAX: usize = 5;

/// Where to.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    At(Start),
    /// So many offsets from what is committed.
    Shift(i64),
}

/// Which partitions.
pub enum Partitions {
    /// Those that the group has committed.
    Committed,
    /// Of these topics; all of their partitions where `indexes` is empty.
    Of { topics: Vec<String>, indexes: Vec<i32> },
}

#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Also where there is no such group.
    pub create: bool,
    pub dry_run: bool,
}

pub async fn reset(
    cluster: &Cluster,
    group: &str,
    partitions: &Partitions,
    place: Place,
    How { create, dry_run }: How,
) -> anyhow::Result<()> {
    refuse_members(cluster, group, create).await?;
    let committed = committed(cluster, group).await?;
    let moves = moves(cluster, group, partitions, place, &committed).await?;
    ensure!(!moves.is_empty(), "{group} has committed nothing: give --topic");
    let mut failures = Failures::default();
    let refused = match dry_run {
        true => BTreeMap::new(),
        false => commit(cluster, group, &moves).await?,
    };
    for ((topic, index), moved) in &moves {
        if let Some(refused) = refused.get(&(topic.clone(), *index)) {
            failures.add(refused.clone(), format!("cannot move {group} in {topic} partition {index}"));
            continue;
        }
        let old = committed.get(&(topic.clone(), *index));
        let old = old.map_or("nothing".to_owned(), ToString::to_string);
        let remark = moved.remark.as_ref().map(|remark| format!("  ({remark})")).unwrap_or_default();
        line(&format!("{topic} partition {index}: {old} -> {}{remark}", moved.to))?;
    }
    if dry_run {
        note("--dry-run: nothing was changed");
    }
    failures.end()
}

/// Members go on where they are, and commit that.
async fn refuse_members(cluster: &Cluster, group: &str, create: bool) -> anyhow::Result<()> {
    let Some(found) = describe(cluster, group).await? else {
        // A name that was mistyped would become a group that nobody is in, and the right one would go on where it is.
        ensure!(
            create,
            "there is no group {group} (`levada group list` shows those that there are); to commit offsets for one that \
             has yet to come, add --create"
        );
        return Ok(());
    };
    if found.members.is_empty() {
        return Ok(());
    }
    let mut told: Vec<String> = found.members.iter().take(TOLD_MAX).map(|member| member.told()).collect();
    if found.members.len() > TOLD_MAX {
        told.push(format!("{} more", found.members.len() - TOLD_MAX));
    }
    bail!(
        "{group} has members, which would go on where they are; stop them first (or wait until their sessions end): {}",
        told.join(", ")
    )
}

/// Where a partition's offset goes.
#[derive(Debug, PartialEq, Eq)]
struct Move {
    to: i64,
    /// What the user should know about it.
    remark: Option<String>,
}

async fn moves(
    cluster: &Cluster,
    group: &str,
    partitions: &Partitions,
    place: Place,
    committed: &BTreeMap<(String, i32), i64>,
) -> anyhow::Result<BTreeMap<(String, i32), Move>> {
    let topics: BTreeSet<&String> = match partitions {
        Partitions::Committed => committed.keys().map(|(topic, _)| topic).collect(),
        Partitions::Of { topics, .. } => topics.iter().collect(),
    };
    let mut moves = BTreeMap::new();
    for name in topics {
        let topic = cluster.topic(name, false).await?;
        let indexes: Vec<i32> = match partitions {
            Partitions::Committed => {
                committed.keys().filter(|(of, _)| of == name).map(|(_, index)| *index).collect()
            }
            Partitions::Of { indexes, .. } if !indexes.is_empty() => indexes.clone(),
            Partitions::Of { .. } => topic.partitions.iter().map(|partition| partition.index).collect(),
        };
        // Where nobody named them, partitions that the group has not got to are left alone: many have no records.
        let is_any = matches!(partitions, Partitions::Of { indexes, .. } if indexes.is_empty());
        let indexes: Vec<i32> = match place {
            Place::Shift(_) if is_any => {
                let known = |index: &i32| committed.contains_key(&(name.clone(), *index));
                indexes.into_iter().filter(known).collect()
            }
            _ => indexes,
        };
        if indexes.is_empty() {
            bail!(
                "{group} has committed nothing in {name}: --shift has nothing to start from; --to takes a place"
            );
        }
        let first = cluster.offsets(&topic, &indexes, -2, 0).await?;
        let end = cluster.offsets(&topic, &indexes, -1, 0).await?;
        let at_time = match place {
            Place::At(Start::Time(timestamp)) => cluster.offsets(&topic, &indexes, timestamp, 0).await?,
            _ => BTreeMap::new(),
        };
        for index in indexes {
            let known = |offsets: &BTreeMap<i32, Option<i64>>| offsets.get(&index).copied().flatten();
            let log = Log {
                first: known(&first).unwrap_or(0),
                end: known(&end).unwrap_or(0),
                at_time: known(&at_time),
            };
            let key = (name.clone(), index);
            let moved = log.place(place, committed.get(&key).copied()).with_context(|| {
                format!("{group} has committed nothing in {name} partition {index}: --shift has nothing to start from; --to takes a place")
            })?;
            moves.insert(key, moved);
        }
    }
    Ok(moves)
}

/// The range of a partition, and what stands at the wanted time, if anything.
struct Log {
    first: i64,
    end: i64,
    at_time: Option<i64>,
}

impl Log {
    /// None: there is nothing to shift from.
    fn place(&self, place: Place, committed: Option<i64>) -> Option<Move> {
        let wanted = match place {
            Place::At(Start::Beginning) => self.first,
            Place::At(Start::End) => self.end,
            Place::At(Start::Offset(offset)) => offset,
            // Fewer records than that: from the first.
            Place::At(Start::Last(count)) => self.end.saturating_sub(count).max(self.first),
            Place::At(Start::Time(_)) => match self.at_time {
                Some(offset) => offset,
                None => {
                    let remark = Some("the end: no record is that young".to_owned());
                    return Some(Move { to: self.end, remark });
                }
            },
            Place::Shift(by) => committed?.saturating_add(by),
        };
        let to = wanted.max(self.first).min(self.end);
        let remark = match wanted {
            _ if wanted < to => Some(format!("not {wanted}: the log begins here")),
            _ if wanted > to => Some(format!("not {wanted}: the log ends here")),
            _ => None,
        };
        Some(Move { to, remark })
    }
}

/// Commits as an administrator does, without being a member; what was refused.
async fn commit(
    cluster: &Cluster,
    group: &str,
    moves: &BTreeMap<(String, i32), Move>,
) -> anyhow::Result<BTreeMap<(String, i32), Refused>> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, index), moved) in moves {
        topics.entry(topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: *index,
            committed_offset: moved.to,
            committed_metadata: Some("".into()),
            ..OffsetCommitRequestPartition::default()
        });
    }
    let topic = |(name, partitions): (&str, Vec<OffsetCommitRequestPartition>)| OffsetCommitRequestTopic {
        name: name.into(),
        partitions,
        ..OffsetCommitRequestTopic::default()
    };
    let request = OffsetCommitRequest {
        group_id: group.into(),
        topics: topics.into_iter().map(topic).collect(),
        ..OffsetCommitRequest::default()
    };
    let committing = async |cluster: &Cluster| {
        let answer = cluster.coordinator(group).await?.ask_up_to(COMMIT_BY_NAME_MAX, &request).await?;
        let mut refused = BTreeMap::new();
        for topic in answer.topics {
            for partition in topic.partitions {
                match check(partition.error_code, None) {
                    // The coordinator is moving or loading: that holds for all partitions.
                    Err(passing) if passing.is_passing() => return Err(passing.into()),
                    Err(other) => {
                        refused.insert((topic.name.to_string(), partition.partition_index), explained(other));
                    }
                    Ok(()) => {}
                }
            }
        }
        Ok(refused)
    };
    client::persist(cluster, committing).await.with_context(|| format!("cannot move {group}"))
}

/// How the broker refuses offsets from outside where somebody joined meanwhile.
fn explained(refused: Refused) -> Refused {
    let joined = [ErrorCode::UnknownMemberId, ErrorCode::IllegalGeneration, ErrorCode::StaleMemberEpoch];
    let is_joined = joined.iter().any(|code| refused.is(*code));
    Refused { message: is_joined.then(|| "the group has members now".to_owned()), ..refused }
}

#[cfg(test)]
mod tests;
