//! The index against a simple model: a list of all events.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::{Timestamp, TopicId};
use proptest::prelude::*;

use super::*;
use crate::append::Selector;
use crate::event::Facts;
use crate::query::Direction;
use crate::record::Entry;

const PARTITION: PartitionId = PartitionId { topic: TopicId([7; 16]), index: 3 };

struct Opened {
    dir: tempfile::TempDir,
    index: Index,
    state: State,
}

fn opened() -> Opened {
    let dir = tempfile::tempdir().unwrap();
    let (index, state) = Index::open(dir.path(), PARTITION).unwrap();
    Opened { dir, index, state }
}

impl Opened {
    fn take(&mut self, records: &[Applied]) -> Option<Halt> {
        let next = records.last().map_or(self.state.next, |last| last.offset.plus(1));
        let (state, halt) = self.index.apply(&self.state, records, next).unwrap();
        self.state = state;
        halt
    }

    fn again(self) -> Opened {
        drop(self.index);
        let (index, state) = Index::open(self.dir.path(), PARTITION).unwrap();
        Opened { dir: self.dir, index, state }
    }
}

fn record(offset: i64, stream: &str, version: u64, facts: Facts) -> Applied {
    let entry = Entry::Event {
        stream: stream.to_owned(),
        version,
        id: format!("id-{offset}"),
        facts,
        data: Bytes::from(format!("data-{offset}")),
        boundary: None,
        writer: "1:0".to_owned(),
    };
    Applied { offset: Offset(offset), at: Timestamp(offset * 10), entry }
}

fn plain(offset: i64, stream: &str, version: u64) -> Applied {
    record(offset, stream, version, Facts { kind: "T".to_owned(), ..Facts::default() })
}

fn all(index: &Index) -> Vec<i64> {
    let window = Window { from: Offset(0), to: Offset(i64::MAX), limit: 1000 };
    index.events(3, window, &[], None).unwrap().iter().map(|event| event.offset.0).collect()
}

#[test]
fn it_goes_on_where_it_was() {
    let mut opened = opened();
    assert_eq!(opened.state, State { next: Offset(0), claim: None });
    let claim =
        Applied { offset: Offset(0), at: Timestamp(0), entry: Entry::Claim { writer: "1:0".to_owned() } };
    assert_eq!(opened.take(&[claim, plain(1, "s", 1), plain(2, "s", 2)]), None);
    let expected = opened.state.clone();
    assert_eq!(expected.next, Offset(3));
    assert_eq!(expected.claim, Some(Claim { writer: "1:0".to_owned(), offset: Offset(0) }));
    let again = opened.again();
    assert_eq!(again.state, expected);
    assert_eq!(all(&again.index), [1, 2]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test itself is the outside")]
fn garbage_and_the_index_of_another_topic_are_made_anew() {
    let mut first = opened();
    first.take(&[plain(0, "s", 1)]);
    let path = first.index.path.clone();
    let dir = first.dir;
    drop(first.index);
    std::fs::write(&path, b"this is no database, and longer than a page would have to be for that").unwrap();
    let (index, state) = Index::open(dir.path(), PARTITION).unwrap();
    assert_eq!((state.next, all(&index)), (Offset(0), Vec::new()));
}

#[test]
fn a_record_that_cannot_be_stops_it_there() {
    let mut opened = opened();
    let halt = opened.take(&[plain(0, "s", 1), plain(1, "s", 3), plain(2, "t", 1)]).expect("halted");
    assert_eq!(halt.offset, Offset(1));
    assert!(halt.why.contains("version 3 of s"), "{}", halt.why);
    assert_eq!((opened.state.next, all(&opened.index)), (Offset(1), vec![0]));
    let twice = Applied { entry: plain(0, "s", 2).entry, offset: Offset(1), at: Timestamp(0) };
    let halt = opened.take(&[twice]).expect("halted");
    assert!(halt.why.contains("id-0"), "{}", halt.why);
    let foreign = Applied { offset: Offset(1), at: Timestamp(0), entry: Entry::Foreign { why: "no lv-ep" } };
    assert!(opened.take(&[foreign]).expect("halted").why.contains("no lv-ep"));
    // Nothing of it is kept.
    assert_eq!(opened.take(&[plain(1, "s", 2)]), None);
}

#[test]
fn a_stream_is_read_both_ways() {
    let mut opened = opened();
    let records: Vec<Applied> = (0..10).map(|offset| plain(offset, "s", offset as u64 + 1)).collect();
    opened.take(&records);
    let read = |from, direction, limit| {
        let (events, version) = opened.index.stream(3, "s", from, direction, limit).unwrap().unwrap();
        assert_eq!(version, 10);
        events.iter().map(|event| event.version).collect::<Vec<_>>()
    };
    assert_eq!(read(1, Direction::Forward, 3), [1, 2, 3]);
    assert_eq!(read(9, Direction::Forward, 3), [9, 10]);
    assert_eq!(read(11, Direction::Forward, 3), [0; 0]);
    assert_eq!(read(u64::MAX, Direction::Backward, 3), [10, 9, 8]);
    assert_eq!(read(2, Direction::Backward, 3), [2, 1]);
    assert_eq!(opened.index.stream(3, "t", 1, Direction::Forward, 3).unwrap(), None);
}

fn names(prefix: &str, numbers: &BTreeSet<u8>) -> Vec<String> {
    numbers.iter().map(|number| format!("{prefix}{number}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn filters_find_what_a_look_at_every_event_finds(
        events in prop::collection::vec((0u8..3, prop::collection::btree_set(0u8..4, 0..3), 0u8..3), 0..40),
        selectors in prop::collection::vec(
            (prop::collection::btree_set(0u8..4, 0..3), prop::collection::btree_set(0u8..5, 0..3)), 0..3),
        correlation in prop::option::of(0u8..4),
        from in 0i64..40,
        limit in 1usize..50,
    ) {
        let mut opened = opened();
        let facts: Vec<Facts> = events
            .iter()
            .map(|(kind, tags, correlation)| Facts {
                kind: format!("k{kind}"),
                tags: names("t", tags),
                correlation: Some(format!("c{correlation}")),
                ..Facts::default()
            })
            .collect();
        let records: Vec<Applied> = facts
            .iter()
            .enumerate()
            .map(|(number, facts)| record(number as i64, &format!("s{number}"), 1, facts.clone()))
            .collect();
        prop_assert_eq!(opened.take(&records), None);
        let selectors: Vec<Selector> = selectors
            .iter()
            .map(|(types, tags)| Selector {
                types: names("k", types).into_iter().collect(),
                tags: names("t", tags).into_iter().collect(),
            })
            .collect();
        let correlation = correlation.map(|number| format!("c{number}"));
        let expected: Vec<i64> = facts
            .iter()
            .enumerate()
            .filter(|(_, facts)| {
                let selected = selectors.iter().any(|selector| selector.matches(&facts.kind, &facts.tags));
                (selectors.is_empty() || selected)
                    && correlation.as_ref().is_none_or(|it| facts.correlation.as_ref() == Some(it))
            })
            .map(|(number, _)| number as i64)
            .filter(|offset| *offset >= from)
            .take(limit)
            .collect();
        let window = Window { from: Offset(from), to: Offset(i64::MAX), limit };
        let found = opened.index.events(3, window, &selectors, correlation.as_deref()).unwrap();
        let found: Vec<i64> = found.iter().map(|event| event.offset.0).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn one_question_sees_one_state_of_the_index() {
    let mut opened = opened();
    opened.take(&[plain(0, "s", 1)]);
    let Opened { index, state, .. } = &opened;
    let count = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0))
    };
    let counts = index.reading(|connection| {
        let before = count(connection)?;
        index.apply(state, &[plain(1, "s", 2)], Offset(2))?;
        Ok((before, count(connection)?))
    });
    assert_eq!(counts.unwrap(), (1, 1));
}
