//! What a compacted partition owes its clients, each promise with its name.
//!
//! A record may only be missing where it was overwritten: by a later one of its key that a client knows of, or that is
//! on its way. Who sees it missing while a later one is on its way waits for what becomes of that.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::check::{Invariant, Partition, Violation};

/// A record of a compacted partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub key: String,
    /// No other record has it.
    pub id: String,
    pub is_tombstone: bool,
}

/// How long a partition keeps what it need not keep for ever.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub tombstones: Duration,
    /// None: what is not overwritten stays for ever.
    pub retention: Option<Duration>,
}

/// What one answer showed of a partition.
#[derive(Clone, Debug)]
pub struct Seen {
    pub log_start: i64,
    /// All that is left between these two was shown.
    pub from: i64,
    pub to: i64,
    pub records: BTreeMap<i64, Written>,
}

/// What all clients together know of the compacted partitions.
#[derive(Default)]
pub struct Kept {
    logs: BTreeMap<Partition, Log>,
    /// By producer.
    on_their_way: BTreeMap<usize, (Partition, Vec<Written>)>,
    violations: Vec<Violation>,
}

#[derive(Default)]
struct Log {
    terms: Option<Terms>,
    known: BTreeMap<i64, Written>,
    newest: BTreeMap<String, i64>,
    places: BTreeMap<String, i64>,
    /// When each record was sent for the first time: it is no older.
    sent: BTreeMap<String, Duration>,
    /// Records that were missing while these were on their way.
    suspects: BTreeMap<String, Vec<i64>>,
}

impl Kept {
    /// What is agreed for a partition.
    pub fn agree(&mut self, partition: &Partition, terms: Terms) {
        self.logs.entry(partition.clone()).or_default().terms = Some(terms);
    }

    /// A producer sends these, perhaps again; it has nothing else on its way.
    pub fn sent(&mut self, producer: usize, partition: &Partition, records: &[Written], now: Duration) {
        let log = self.logs.entry(partition.clone()).or_default();
        for record in records {
            log.sent.entry(record.id.clone()).or_insert(now);
        }
        self.on_their_way.insert(producer, (partition.clone(), records.to_vec()));
    }

    /// What a producer had on its way is in the log, from this offset on.
    pub fn acknowledged(&mut self, producer: usize, base_offset: i64) {
        let Some((partition, records)) = self.on_their_way.remove(&producer) else { return };
        let log = self.logs.entry(partition.clone()).or_default();
        for (record, offset) in records.into_iter().zip(base_offset..) {
            let suspects = log.suspects.remove(&record.id).unwrap_or_default();
            for suspect in suspects.into_iter().filter(|suspect| *suspect >= offset) {
                let what = format!("{partition:?} offset {suspect} was missing: {} is older", record.id);
                self.violations.push(Violation { invariant: Invariant::NewestOfEachKeyStays, what });
            }
            log.learn(&partition, offset, record, &mut self.violations);
        }
    }

    /// A reader was shown this.
    pub fn seen(&mut self, partition: &Partition, seen: &Seen, now: Duration) {
        let log = self.logs.entry(partition.clone()).or_default();
        for (offset, record) in &seen.records {
            log.learn(partition, *offset, record.clone(), &mut self.violations);
        }
        let on_their_way: Vec<&Written> = (self.on_their_way.values())
            .filter(|(to, _)| to == partition)
            .flat_map(|(_, records)| records)
            .collect();
        log.check_retention(partition, seen.log_start, now, &mut self.violations);
        let shown = seen.from.max(seen.log_start)..seen.to;
        let missing: Vec<i64> = (log.known.range(shown).map(|(offset, _)| *offset))
            .filter(|offset| !seen.records.contains_key(offset))
            .collect();
        for offset in missing {
            log.check_missing(partition, offset, seen, &on_their_way, now, &mut self.violations);
        }
    }

    /// At the end: nothing can be beyond the log's end.
    pub fn ends(&mut self, partition: &Partition, end: i64) {
        let log = self.logs.entry(partition.clone()).or_default();
        for (offset, record) in log.known.range(end..) {
            let what = format!("{partition:?} ends at {end}, and {record:?} was at {offset}");
            self.violations.push(Violation { invariant: Invariant::NothingAcknowledgedIsLost, what });
        }
    }

    pub fn known_count(&self) -> usize {
        self.logs.values().map(|log| log.known.len()).sum()
    }

    pub fn into_violations(self) -> Vec<Violation> {
        self.violations
    }
}

impl Log {
    fn learn(&mut self, partition: &Partition, offset: i64, record: Written, broken: &mut Vec<Violation>) {
        let mut given_twice = |what| broken.push(Violation { invariant: Invariant::NoOffsetTwice, what });
        match self.known.get(&offset) {
            Some(other) if *other == record => return,
            Some(other) => given_twice(format!("{partition:?} offset {offset} was {other:?}, is {record:?}")),
            None => {}
        }
        if let Some(other) = self.places.insert(record.id.clone(), offset)
            && other != offset
        {
            given_twice(format!("{partition:?} {record:?} stands at {other} and at {offset}"));
        }
        let newest = self.newest.entry(record.key.clone()).or_insert(offset);
        *newest = (*newest).max(offset);
        self.known.insert(offset, record);
    }

    /// Whether a record is at least so old; one that nobody remembers sending is.
    fn is_older(&self, record: &Written, than: Duration, now: Duration) -> bool {
        self.sent.get(&record.id).is_none_or(|sent| *sent + than <= now)
    }

    fn check_missing(
        &mut self,
        partition: &Partition,
        offset: i64,
        seen: &Seen,
        on_their_way: &[&Written],
        now: Duration,
        broken: &mut Vec<Violation>,
    ) {
        let record = &self.known[&offset];
        if self.newest[&record.key] > offset {
            return;
        }
        let mut violated = |invariant, what| broken.push(Violation { invariant, what });
        let mut later = on_their_way.iter().filter(|other| other.key == record.key);
        if let Some(later) = later.next() {
            self.suspects.entry(later.id.clone()).or_default().push(offset);
        } else if !record.is_tombstone {
            let what =
                format!("{partition:?} has {record:?} at {offset} no more, and nothing newer of its key");
            violated(Invariant::NewestOfEachKeyStays, what);
        } else {
            let older = seen.records.range(..offset).find(|(_, other)| other.key == record.key);
            if let Some(older) = older {
                let what =
                    format!("{partition:?} has {older:?} and not {record:?} of {offset}, which deletes it");
                violated(Invariant::WhatIsDeletedStaysDeleted, what);
            }
            if let Some(terms) = self.terms
                && !self.is_older(record, terms.tombstones, now)
            {
                let what = format!("{partition:?} has {record:?} at {offset} no more at {now:?}");
                violated(Invariant::TombstonesStayForAWhile, what);
            }
        }
    }

    fn check_retention(&self, partition: &Partition, start: i64, now: Duration, broken: &mut Vec<Violation>) {
        let retention = self.terms.and_then(|terms| terms.retention).unwrap_or(Duration::MAX / 2);
        let young = self.known.range(..start).find(|(_, record)| !self.is_older(record, retention, now));
        if let Some((offset, record)) = young {
            let what = format!("{partition:?} starts at {start} at {now:?}, after {record:?} of {offset}");
            broken.push(Violation { invariant: Invariant::RetentionTakesOnlyWhatIsOld, what });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Invariant::*;
    use super::*;

    /// `a=1` is a record of the key `a`, `a` a tombstone.
    fn written(text: &str) -> Written {
        let key = text.split('=').next().unwrap_or_default().to_string();
        Written { key, id: text.to_string(), is_tombstone: !text.contains('=') }
    }

    struct Clients(Kept, Partition);

    impl Clients {
        /// A record is written and acknowledged at this second.
        fn write(&mut self, at: u64, offset: i64, record: &str) {
            self.0.sent(1, &self.1, &[written(record)], Duration::from_secs(at));
            self.0.acknowledged(1, offset);
        }

        /// The answer, to somebody who asks from 0 on.
        fn read(&mut self, at: u64, log_start: i64, to: i64, records: &[(i64, &str)]) {
            let records = records.iter().map(|(offset, record)| (*offset, written(record))).collect();
            let seen = Seen { log_start, from: 0, to, records };
            self.0.seen(&self.1, &seen, Duration::from_secs(at));
        }
    }

    fn broken(tell: impl FnOnce(&mut Clients)) -> Vec<Invariant> {
        let mut clients = Clients(Kept::default(), ("t".to_string(), 0));
        let retention = Some(Duration::from_secs(100));
        clients.0.agree(&clients.1, Terms { tombstones: Duration::from_secs(10), retention });
        tell(&mut clients);
        clients.0.into_violations().into_iter().map(|violation| violation.invariant).collect()
    }

    #[test]
    fn what_is_overwritten_or_old_enough_may_go() {
        let told = broken(|clients| {
            clients.write(0, 0, "a=1");
            clients.write(0, 1, "b=1");
            clients.write(1, 2, "a=2");
            clients.read(1, 0, 3, &[(1, "b=1"), (2, "a=2")]);
            clients.write(2, 3, "b");
            clients.read(2, 0, 4, &[(2, "a=2"), (3, "b")]);
            // Not a step back: nobody promised that compaction outlives a crash.
            clients.read(2, 0, 4, &[(0, "a=1"), (1, "b=1"), (2, "a=2"), (3, "b")]);
            clients.read(12, 0, 4, &[(2, "a=2")]);
            clients.read(101, 3, 4, &[]);
            clients.0.ends(&clients.1, 4);
        });
        assert_eq!(told, []);
    }

    #[test]
    fn each_promise_notices_that_it_is_broken() {
        let newest_gone = |clients: &mut Clients| {
            clients.write(0, 0, "a=1");
            clients.write(0, 1, "a=2");
            clients.read(1, 0, 2, &[(0, "a=1")]);
        };
        assert_eq!(broken(newest_gone), [NewestOfEachKeyStays]);
        let read_and_gone = |clients: &mut Clients| {
            clients.read(0, 0, 1, &[(0, "a=1")]);
            clients.read(1, 0, 1, &[]);
        };
        assert_eq!(broken(read_and_gone), [NewestOfEachKeyStays]);
        let tombstone_gone = |clients: &mut Clients| {
            clients.write(0, 0, "a");
            clients.read(9, 0, 1, &[]);
        };
        assert_eq!(broken(tombstone_gone), [TombstonesStayForAWhile]);
        let came_back = |clients: &mut Clients| {
            clients.write(0, 0, "a=1");
            clients.write(0, 1, "a");
            clients.read(11, 0, 2, &[(0, "a=1")]);
        };
        assert_eq!(broken(came_back), [WhatIsDeletedStaysDeleted]);
        let young = |clients: &mut Clients| {
            clients.write(0, 0, "a=1");
            clients.read(99, 1, 1, &[]);
        };
        assert_eq!(broken(young), [RetentionTakesOnlyWhatIsOld]);
        let another = |clients: &mut Clients| {
            clients.write(0, 0, "a=1");
            clients.read(0, 0, 1, &[(0, "a=2")]);
        };
        assert_eq!(broken(another), [NoOffsetTwice]);
        let moved = |clients: &mut Clients| {
            clients.write(0, 0, "a=1");
            clients.read(0, 0, 2, &[(0, "a=1"), (1, "a=1")]);
        };
        assert_eq!(broken(moved), [NoOffsetTwice]);
        let cut = |clients: &mut Clients| {
            clients.write(0, 0, "a=1");
            clients.0.ends(&clients.1, 0);
        };
        assert_eq!(broken(cut), [NothingAcknowledgedIsLost]);
    }

    #[test]
    fn who_is_missing_while_a_newer_one_is_on_its_way_is_judged_when_it_has_come() {
        let way = |place: i64| {
            broken(|clients| {
                clients.write(0, 5, "a=1");
                clients.0.sent(1, &clients.1, &[written("a=2")], Duration::ZERO);
                clients.read(0, 0, 6, &[]);
                clients.0.acknowledged(1, place);
            })
        };
        assert_eq!(way(6), []);
        assert_eq!(way(4), [NewestOfEachKeyStays]);
    }
}
