//! The invariants, each with its name, over what clients were told and what they read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::kept::Kept;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A record whose append was acknowledged is in the log, at its offset, once.
    NothingAcknowledgedIsLost,
    /// What stands at an offset never changes, no record stands at two offsets, and there are no gaps.
    NoOffsetTwice,
    /// A high watermark is never seen lower than before.
    HighWatermarkNeverGoesBack,
    /// Of each key, a compacted partition holds the newest record, until that expires.
    NewestOfEachKeyStays,
    /// A tombstone stays for `delete.retention.ms` at least.
    TombstonesStayForAWhile,
    /// What a tombstone has deleted is gone when the tombstone is.
    WhatIsDeletedStaysDeleted,
    /// A partition's beginning passes only what is older than `retention.ms`.
    RetentionTakesOnlyWhatIsOld,
    /// No two members of a group own a partition at the same time, or in the same generation.
    OneMemberPerPartition,
    /// What a group has committed is never seen lower than what was acknowledged.
    CommittedOffsetsNeverGoBack,
    /// A group whose members do what they should has all partitions assigned soon.
    NoGroupHangs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.what)
    }
}

/// A partition by its topic's name.
pub type Partition = (String, i32);

/// Who believes that a partition is its own, and until when.
struct Owner {
    member: String,
    until: Duration,
}

/// What all clients together know.
#[derive(Default)]
pub struct Known {
    acknowledged: BTreeMap<(Partition, i64), String>,
    read: BTreeMap<(Partition, i64), String>,
    places: BTreeMap<String, (Partition, i64)>,
    high_watermarks: BTreeMap<Partition, i64>,
    owners: BTreeMap<(&'static str, Partition), Owner>,
    assigned: BTreeMap<(&'static str, i32, Partition), String>,
    drawn_commits: BTreeMap<(&'static str, Partition), i64>,
    commits: BTreeMap<(&'static str, Partition), i64>,
    /// Of compacted partitions.
    pub kept: Kept,
    violations: Vec<Violation>,
}

impl Known {
    /// The broker said that this record is in the log.
    pub fn acknowledged(&mut self, partition: &Partition, offset: i64, value: &str) {
        if let Some(other) = self.acknowledged.insert((partition.clone(), offset), value.into())
            && other != value
        {
            let what = format!("{partition:?} offset {offset} was given to {other} and to {value}");
            self.violated(Invariant::NoOffsetTwice, what);
        }
        self.place(partition, offset, value);
    }

    /// A consumer saw this record.
    pub fn read(&mut self, partition: &Partition, offset: i64, value: &str) {
        if let Some(other) = self.read.insert((partition.clone(), offset), value.into())
            && other != value
        {
            let what = format!("{partition:?} offset {offset} was {other} and is {value}");
            self.violated(Invariant::NoOffsetTwice, what);
        }
        if let Some(other) = self.acknowledged.get(&(partition.clone(), offset))
            && other != value
        {
            let what = format!("{partition:?} offset {offset} was given to {other} and holds {value}");
            self.violated(Invariant::NoOffsetTwice, what);
        }
        self.place(partition, offset, value);
    }

    /// The highest high watermark that anyone has seen yet. Who asks now must not be told less.
    pub fn highest(&self, partition: &Partition) -> i64 {
        self.high_watermarks.get(partition).copied().unwrap_or(0)
    }

    /// An answer had this high watermark; `floor` is what [`Known::highest`] said when the question was sent.
    pub fn high_watermark(&mut self, partition: &Partition, floor: i64, seen: i64) {
        if seen < floor {
            let what = format!("{partition:?} went from {floor} back to {seen}");
            self.violated(Invariant::HighWatermarkNeverGoesBack, what);
        }
        let highest = self.high_watermarks.entry(partition.clone()).or_insert(seen);
        *highest = seen.max(*highest);
    }

    /// At the end: all that the partition holds, from `log_start` on.
    pub fn whole(&mut self, partition: &Partition, log_start: i64, records: &BTreeMap<i64, String>) {
        for (expected, offset) in (log_start..).zip(records.keys()) {
            if expected != *offset {
                let what = format!("{partition:?} has {offset} where {expected} should be");
                self.violated(Invariant::NoOffsetTwice, what);
                break;
            }
        }
        for (offset, value) in records {
            self.read(partition, *offset, value);
        }
        let acknowledged: Vec<(i64, String)> = self
            .acknowledged
            .range((partition.clone(), log_start)..=(partition.clone(), i64::MAX))
            .map(|((_, offset), value)| (*offset, value.clone()))
            .collect();
        for (offset, value) in acknowledged {
            if records.get(&offset) != Some(&value) {
                let what =
                    format!("{partition:?} offset {offset} should be {value}, is {:?}", records.get(&offset));
                self.violated(Invariant::NothingAcknowledgedIsLost, what);
            }
        }
    }

    /// A member believes that these partitions, and no others, are its own until then.
    pub fn owned(
        &mut self,
        group: &'static str,
        member: &str,
        owned: &BTreeSet<Partition>,
        now: Duration,
        until: Duration,
    ) {
        self.disowned(group, member);
        for partition in owned {
            let owner = Owner { member: member.to_string(), until };
            if let Some(other) = self.owners.insert((group, partition.clone()), owner)
                && other.until > now
            {
                let what = format!("{group} {partition:?} is {member}'s and {}'s at {now:?}", other.member);
                self.violated(Invariant::OneMemberPerPartition, what);
            }
        }
    }

    /// A member has nothing any more.
    pub fn disowned(&mut self, group: &'static str, member: &str) {
        self.owners.retain(|(of, _), owner| *of != group || owner.member != member);
    }

    /// How many partitions of a group have an owner.
    pub fn believed(&self, group: &'static str, now: Duration) -> usize {
        self.owners.iter().filter(|((of, _), owner)| *of == group && owner.until > now).count()
    }

    /// A member of a classic group was told its part of a generation.
    pub fn assigned(
        &mut self,
        group: &'static str,
        generation: i32,
        member: &str,
        partitions: &BTreeSet<Partition>,
    ) {
        for partition in partitions {
            let place = (group, generation, partition.clone());
            if let Some(other) = self.assigned.insert(place, member.to_string())
                && other != member
            {
                let what =
                    format!("{group} {partition:?} is {other}'s and {member}'s in generation {generation}");
                self.violated(Invariant::OneMemberPerPartition, what);
            }
        }
    }

    /// A larger offset than anybody has tried to commit.
    pub fn next_commit(&mut self, group: &'static str, partition: &Partition) -> i64 {
        let drawn = self.drawn_commits.entry((group, partition.clone())).or_default();
        *drawn += 1;
        *drawn
    }

    /// A commit was acknowledged.
    pub fn committed(&mut self, group: &'static str, partition: &Partition, offset: i64) {
        let highest = self.commits.entry((group, partition.clone())).or_default();
        *highest = offset.max(*highest);
    }

    pub fn highest_commit(&self, group: &'static str, partition: &Partition) -> i64 {
        self.commits.get(&(group, partition.clone())).copied().unwrap_or(-1)
    }

    /// Somebody looked; `floor` is what [`Known::highest_commit`] said when the question was sent.
    pub fn commit_seen(&mut self, group: &'static str, partition: &Partition, floor: i64, seen: i64) {
        if seen < floor {
            let what = format!("{group} {partition:?} went from {floor} back to {seen}");
            self.violated(Invariant::CommittedOffsetsNeverGoBack, what);
        }
    }

    /// A group had so many partitions assigned, and no more, when its time was over.
    pub fn hangs(&mut self, group: &'static str, owned: usize) {
        self.violated(Invariant::NoGroupHangs, format!("{group} has {owned} partitions assigned at the end"));
    }

    pub fn acknowledged_count(&self) -> usize {
        self.acknowledged.len()
    }

    pub fn into_violations(mut self) -> Vec<Violation> {
        self.violations.extend(self.kept.into_violations());
        self.violations
    }

    fn place(&mut self, partition: &Partition, offset: i64, value: &str) {
        let place = (partition.clone(), offset);
        if let Some(other) = self.places.insert(value.into(), place.clone())
            && other != place
        {
            let what = format!("{value} stands at {other:?} and at {place:?}");
            self.violated(Invariant::NoOffsetTwice, what);
        }
    }

    pub fn violated(&mut self, invariant: Invariant, what: String) {
        self.violations.push(Violation { invariant, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(tell: impl FnOnce(&mut Known, &Partition)) -> Vec<Invariant> {
        let mut known = Known::default();
        tell(&mut known, &("t".to_string(), 0));
        known.into_violations().into_iter().map(|violation| violation.invariant).collect()
    }

    fn records(records: &[(i64, &str)]) -> BTreeMap<i64, String> {
        records.iter().map(|(offset, value)| (*offset, value.to_string())).collect()
    }

    #[test]
    fn a_right_log_breaks_nothing() {
        let told = broken(|known, p| {
            known.acknowledged(p, 0, "a");
            known.high_watermark(p, 0, 1);
            // Asked before, answered after: not a step back.
            known.high_watermark(p, 0, 0);
            known.whole(p, 0, &records(&[(0, "a"), (1, "in doubt")]));
        });
        assert_eq!(told, []);
    }

    #[test]
    fn each_invariant_notices_its_fault() {
        use Invariant::*;
        let lost = |known: &mut Known, p: &Partition| {
            known.acknowledged(p, 1, "b");
            known.whole(p, 0, &records(&[(0, "a")]));
        };
        assert_eq!(broken(lost), [NothingAcknowledgedIsLost]);
        let given_twice = |known: &mut Known, p: &Partition| {
            known.acknowledged(p, 0, "a");
            known.acknowledged(p, 0, "b");
        };
        assert_eq!(broken(given_twice), [NoOffsetTwice]);
        let stands_twice = |known: &mut Known, p: &Partition| {
            known.whole(p, 0, &records(&[(0, "a"), (1, "a")]));
        };
        assert_eq!(broken(stands_twice), [NoOffsetTwice]);
        let gap = |known: &mut Known, p: &Partition| known.whole(p, 0, &records(&[(0, "a"), (2, "b")]));
        assert_eq!(broken(gap), [NoOffsetTwice]);
        let back = |known: &mut Known, p: &Partition| {
            known.high_watermark(p, 0, 5);
            let floor = known.highest(p);
            known.high_watermark(p, floor, 4);
        };
        assert_eq!(broken(back), [HighWatermarkNeverGoesBack]);
        let seconds = Duration::from_secs;
        let shared = |known: &mut Known, p: &Partition| {
            known.owned("g", "a", &BTreeSet::from([p.clone()]), seconds(1), seconds(3));
            known.owned("other", "b", &BTreeSet::from([p.clone()]), seconds(2), seconds(4));
            known.owned("g", "b", &BTreeSet::from([p.clone()]), seconds(2), seconds(4));
        };
        assert_eq!(broken(shared), [OneMemberPerPartition]);
        let handed_on = |known: &mut Known, p: &Partition| {
            known.owned("g", "a", &BTreeSet::from([p.clone()]), seconds(1), seconds(3));
            known.owned("g", "b", &BTreeSet::from([p.clone()]), seconds(3), seconds(4));
            known.disowned("g", "b");
            known.owned("g", "c", &BTreeSet::from([p.clone()]), seconds(3), seconds(4));
        };
        assert_eq!(broken(handed_on), []);
        let assigned_twice = |known: &mut Known, p: &Partition| {
            known.assigned("g", 1, "a", &BTreeSet::from([p.clone()]));
            known.assigned("g", 2, "b", &BTreeSet::from([p.clone()]));
            known.assigned("g", 1, "b", &BTreeSet::from([p.clone()]));
        };
        assert_eq!(broken(assigned_twice), [OneMemberPerPartition]);
        let uncommitted = |known: &mut Known, p: &Partition| {
            known.committed("g", p, 5);
            let floor = known.highest_commit("g", p);
            known.commit_seen("g", p, floor, 4);
        };
        assert_eq!(broken(uncommitted), [CommittedOffsetsNeverGoBack]);
        assert_eq!(broken(|known, _| known.hangs("g", 1)), [NoGroupHangs]);
    }
}
