//! The invariants, each with its name, over what clients were told and what they read.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A record whose append was acknowledged is in the log, at its offset, once.
    NothingAcknowledgedIsLost,
    /// What stands at an offset never changes, no record stands at two offsets, and there are no gaps.
    NoOffsetTwice,
    /// A high watermark is never seen lower than before.
    HighWatermarkNeverGoesBack,
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

/// What all clients together know.
#[derive(Default)]
pub struct Known {
    acknowledged: BTreeMap<(Partition, i64), String>,
    read: BTreeMap<(Partition, i64), String>,
    places: BTreeMap<String, (Partition, i64)>,
    high_watermarks: BTreeMap<Partition, i64>,
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

    pub fn acknowledged_count(&self) -> usize {
        self.acknowledged.len()
    }

    pub fn into_violations(self) -> Vec<Violation> {
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

    fn violated(&mut self, invariant: Invariant, what: String) {
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
    }
}
