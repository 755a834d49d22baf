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
use crate::truncation::Mark;

const PARTITION: PartitionId = PartitionId { topic: TopicId([7; 16]), index: 3 };

struct Opened {
    dir: tempfile::TempDir,
    index: Index,
    state: State,
}

/// An index of a partition that nobody has claimed.
fn unclaimed() -> Opened {
    let dir = tempfile::tempdir().unwrap();
    let (index, state) = Index::open(dir.path(), PARTITION).unwrap();
    Opened { dir, index, state }
}

fn opened() -> Opened {
    let unclaimed = unclaimed();
    Opened { state: unclaimed.state.claimed(), ..unclaimed }
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

fn claim(offset: i64, writer: &str) -> Applied {
    let entry = Entry::Claim { writer: writer.to_owned() };
    Applied { offset: Offset(offset), at: Timestamp(0), entry }
}

fn plain(offset: i64, stream: &str, version: u64) -> Applied {
    record(offset, stream, version, Facts { kind: "T".to_owned(), ..Facts::default() })
}

fn room(events: usize) -> Room {
    Room { events, bytes: usize::MAX }
}

fn all(index: &Index) -> Vec<i64> {
    let window = Window { from: Offset(0), to: Offset(i64::MAX), room: room(1000) };
    index
        .reading(|it| it.events(3, window, &[], None, None))
        .unwrap()
        .events
        .iter()
        .map(|event| event.offset.0)
        .collect()
}

#[test]
fn it_goes_on_where_it_was() {
    let mut opened = unclaimed();
    assert_eq!(opened.state, State { next: Offset(0), claim: None, base: Offset(0) });
    assert_eq!(opened.take(&[claim(0, "1:0"), plain(1, "s", 1), plain(2, "s", 2)]), None);
    let expected = opened.state.clone();
    assert_eq!(expected.next, Offset(3));
    let writer = "1:0".to_owned();
    assert_eq!(expected.claim, Some(Claim { writer, offset: Offset(0), former: String::new() }));
    let again = opened.again();
    assert_eq!(again.state, expected);
    assert_eq!(all(&again.index), [1, 2]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test itself is the outside")]
fn garbage_and_the_index_of_another_topic_are_made_anew() {
    let mut first = opened();
    first.take(&[plain(0, "s", 1)]);
    let path = first.index.connections.path().to_owned();
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
    let foreign =
        Applied { offset: Offset(1), at: Timestamp(0), entry: Entry::Foreign { why: "no lv-ep".into() } };
    assert!(opened.take(&[foreign]).expect("halted").why.contains("no lv-ep"));
    // Nothing of it is kept.
    assert_eq!(opened.take(&[plain(1, "s", 2)]), None);
}

#[test]
fn an_event_is_of_whoever_claimed_the_partition() {
    let by = |writer: &str, offset, version| {
        let mut event = plain(offset, "s", version);
        let Entry::Event { writer: own, .. } = &mut event.entry else { unreachable!() };
        writer.clone_into(own);
        event
    };
    let mut opened = unclaimed();
    let halt = opened.take(&[by("1:0", 0, 1)]).expect("halted");
    assert!(halt.why.contains("nobody had claimed"), "{}", halt.why);
    assert_eq!(opened.take(&[claim(0, "1:0"), by("1:0", 1, 1), claim(2, "1:1"), by("1:1", 3, 2)]), None);
    let halt = opened.take(&[by("1:0", 4, 3)]).expect("halted");
    assert!(halt.why.contains("while the partition was 1:1's"), "{}", halt.why);
    // A claim does not fence another producer id: what its writer had under way may come, also after a restart.
    assert_eq!(opened.take(&[claim(4, "2:0"), by("1:1", 5, 3), claim(6, "2:1")]), None);
    let mut opened = opened.again();
    assert_eq!(opened.take(&[by("1:1", 7, 4), by("2:1", 8, 5)]), None);
    assert!(opened.take(&[by("2:0", 9, 6)]).is_some());
}

#[test]
fn a_stream_is_read_both_ways() {
    let mut opened = opened();
    let records: Vec<Applied> = (0..10).map(|offset| plain(offset, "s", offset as u64 + 1)).collect();
    opened.take(&records);
    let read = |from, direction, limit| {
        let found =
            opened.index.reading(|it| it.stream(3, "s", from, direction, room(limit))).unwrap().unwrap();
        assert_eq!((found.version, found.first), (10, 1));
        found.events.iter().map(|event| event.version).collect::<Vec<_>>()
    };
    assert_eq!(read(1, Direction::Forward, 3), [1, 2, 3]);
    assert_eq!(read(9, Direction::Forward, 3), [9, 10]);
    assert_eq!(read(11, Direction::Forward, 3), [0; 0]);
    assert_eq!(read(u64::MAX, Direction::Backward, 3), [10, 9, 8]);
    assert_eq!(read(2, Direction::Backward, 3), [2, 1]);
    assert_eq!(opened.index.reading(|it| it.stream(3, "t", 1, Direction::Forward, room(3))).unwrap(), None);
}

/// The mark that truncates a stream before a version, as this version of its marks.
fn mark(offset: i64, stream: &str, before: u64, version: u64, boundary: Option<&str>) -> Applied {
    let (stream, boundary) = (stream.to_owned(), boundary.map(str::to_owned));
    let mark = Mark { stream, before, archived: false, boundary: boundary.clone() };
    let event = mark.event(format!("id-{offset}"));
    let mut applied = record(offset, &mark.place(), version, event.facts);
    let Entry::Event { data, boundary: of, .. } = &mut applied.entry else { unreachable!() };
    *data = event.data;
    *of = (version == 1).then(|| boundary.unwrap_or(mark.stream));
    applied
}

fn tagged(offset: i64, stream: &str, version: u64) -> Applied {
    let facts = Facts { kind: "T".to_owned(), tags: vec!["x".to_owned()], ..Facts::default() };
    record(offset, stream, version, facts)
}

fn look(index: &Index, stream: &str, id: &str, any_of: Vec<Selector>) -> crate::machine::Looked {
    let event = crate::NewEvent { id: id.to_owned(), facts: Facts::default(), data: Bytes::new() };
    let part = crate::StreamAppend {
        stream: stream.to_owned(),
        expected: crate::Expected::Any,
        events: vec![event],
    };
    let condition = crate::Condition { any_of, after: client::Position::default() };
    let append = crate::Append { boundary: None, streams: vec![part], conditions: vec![condition] };
    index.reading(|it| it.look(&append, PARTITION, None)).unwrap().0
}

#[test]
fn what_was_truncated_is_not_read_and_not_matched_but_counts() {
    let mut opened = opened();
    let records = [tagged(0, "s", 1), tagged(1, "s", 2), plain(2, "s", 3), mark(3, "s", 3, 1, None)];
    assert_eq!(opened.take(&records), None);
    let stream = |from, direction| {
        let found = opened.index.reading(|it| it.stream(3, "s", from, direction, room(10))).unwrap().unwrap();
        assert_eq!((found.version, found.first), (3, 3));
        found.events.iter().map(|event| event.version).collect::<Vec<_>>()
    };
    assert_eq!(stream(1, Direction::Forward), [3]);
    assert_eq!(stream(u64::MAX, Direction::Backward), [3]);
    assert_eq!(all(&opened.index), [2, 3]);
    let selector = |tag: &str| Selector { tags: BTreeSet::from([tag.to_owned()]), ..Selector::default() };
    let window = Window { from: Offset(0), to: Offset(9), room: room(9) };
    assert_eq!(
        opened.index.reading(|it| it.events(3, window, &[selector("x")], None, None)).unwrap().events,
        []
    );
    let looked = look(&opened.index, "s", "id-0", vec![selector("x")]);
    assert_eq!(looked.matches, [None]);
    assert_eq!(looked.heads["s"].version, 3);
    // Its id is used all the same.
    assert_eq!(looked.ids["id-0"].version, 1);
    let looked = look(&opened.index, "s", "new", vec![Selector::default()]);
    assert_eq!(looked.matches, [Some(Offset(2))]);
    // Only the newest mark counts, and never backward.
    assert_eq!(opened.take(&[mark(4, "s", 2, 2, None), plain(5, "s", 4)]), None);
    assert_eq!(all(&opened.index), [2, 4, 5]);
    assert_eq!(opened.index.reading(|it| it.offsets_below("s", 4)).unwrap(), [Offset(2)]);
    assert_eq!(opened.take(&[mark(6, "s", 5, 3, None)]), None);
    assert_eq!(all(&opened.index), [6]);
    assert_eq!(opened.take(&[plain(7, "s", 5)]), None);
}

/// So many events of one type, each with the tags of its number.
fn many(opened: &mut Opened, count: i64, tags: impl Fn(i64) -> Vec<String>) {
    let facts = |offset| Facts { kind: "T".to_owned(), tags: tags(offset), ..Facts::default() };
    let records: Vec<Applied> =
        (0..count).map(|offset| record(offset, "s", offset as u64 + 1, facts(offset))).collect();
    assert_eq!(opened.take(&records), None);
}

fn selector(types: &[&str], tags: &[&str]) -> Selector {
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Selector { types: all(types), tags: all(tags) }
}

/// With so many looks, after an offset.
fn search(index: &Index, any_of: &[Selector], after: i64, looks_max: u64) -> Searched {
    let after = client::Position::of(PARTITION, Offset(after));
    let condition = crate::Condition { any_of: any_of.to_vec(), after };
    let search = |it: &Reader<'_>| {
        search::Search::new(it.connection, it.stop, looks_max).conditions(&[condition], PARTITION, None)
    };
    index.reading(search).unwrap()
}

#[test]
fn the_rarest_tag_decides_how_much_a_condition_costs() {
    let mut opened = opened();
    let rare = |offset| if offset % 1000 == 7 { vec!["rare".to_owned()] } else { vec!["common".to_owned()] };
    many(&mut opened, 5000, rare);
    let none = selector(&["T"], &["common", "rare"]);
    let searched = search(&opened.index, &[none], 0, 40);
    assert_eq!(searched, Searched { matches: vec![None], upto: Offset(5000), is_too_much: false });
    let last = selector(&["T"], &["rare"]);
    assert_eq!(search(&opened.index, &[last], 3008, 40).matches, [Some(Offset(4007))]);
}

#[test]
fn a_condition_that_costs_too_much_says_so() {
    let mut opened = opened();
    many(&mut opened, 500, |offset| vec![format!("t{}", offset % 2)]);
    let never = selector(&[], &["t0", "t1"]);
    assert!(search(&opened.index, std::slice::from_ref(&never), 0, 100).is_too_much);
    assert!(!search(&opened.index, &[never], 0, 2000).is_too_much);
}

#[test]
fn a_read_that_costs_too_much_ends_early_and_goes_on() {
    let mut opened = opened();
    many(&mut opened, 600, |offset| {
        let both = if offset == 599 { 2 } else { 1 };
        (0..both).map(|more| format!("t{}", (offset + more) % 2)).collect()
    });
    let both = [selector(&[], &["t0", "t1"]), selector(&["none"], &[])];
    let (mut from, mut found, mut parts) = (0, Vec::new(), 0);
    while from < 600 {
        let next = opened.index.reading(|it| {
            let mut search = search::Search::new(it.connection, it.stop, 100);
            let search::Wanted::Any(mut any) = search.wanted(&both, [])? else { unreachable!() };
            Ok(match search.first(&mut any, from, 600)? {
                Ok(offset) => {
                    found.push(offset);
                    offset + 1
                }
                Err(search::End::None) => 600,
                Err(search::End::TooMuch { at }) => at,
            })
        });
        assert!(next.as_ref().is_ok_and(|next| *next > from), "it gets on");
        from = next.unwrap();
        parts += 1;
    }
    assert_eq!(found, [599]);
    assert!(parts > 3, "{parts}");
}

#[test]
fn truncated_events_count_no_more_and_go_in_steps() {
    let mut opened = opened();
    many(&mut opened, 5000, |_| vec!["x".to_owned()]);
    assert_eq!(opened.take(&[mark(5000, "s", 4001, 1, None), claim(5001, "1:0")]), None);
    assert!(opened.index.has_to_forget());
    let x = selector(&[], &["x"]);
    let window = Window { from: Offset(0), to: Offset(5001), room: room(1) };
    let first = |opened: &Opened| {
        opened.index.reading(|it| it.events(3, window, std::slice::from_ref(&x), None, None))
    };
    assert_eq!(first(&opened).unwrap().events[0].version, 4001);
    let gone = |opened: &Opened| {
        let count = "SELECT count(*) FROM events WHERE gone = 1";
        opened.index.reading(|it| it.connection.query_row(count, [], |row| row.get::<_, i64>(0))).unwrap()
    };
    let mut counts = vec![gone(&opened)];
    // What was begun goes on after a restart.
    let opened = opened.again();
    while opened.index.has_to_forget() {
        opened.index.forget_some().unwrap();
        counts.push(gone(&opened));
    }
    assert_eq!(counts, [0, 2000, 4000, 4000]);
    assert_eq!(first(&opened).unwrap().events[0].version, 4001);
    assert_eq!(opened.index.reading(|it| it.needed_from()).unwrap(), Offset(4000));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test itself is the outside")]
fn what_cannot_be_opened_is_left_as_it_is() {
    let mut first = opened();
    first.take(&[plain(0, "s", 1)]);
    let path = first.index.connections.path().to_owned();
    let dir = first.dir;
    drop(first.index);
    // Whatever runs the test may read everything: a folder is what nobody can open as a file.
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = Index::open(dir.path(), PARTITION).err().expect("it cannot be opened");
    assert!(!is_damage(&error), "{error}");
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    let (index, state) = Index::open(dir.path(), PARTITION).unwrap();
    assert_eq!((state.next, all(&index)), (Offset(1), vec![0]));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test itself is the outside")]
fn damage_is_noticed_by_whoever_reads_and_ends_with_the_rebuilding() {
    let mut opened = opened();
    many(&mut opened, 2000, |_| Vec::new());
    opened.index.connections.close();
    let path = opened.index.connections.path().to_owned();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192..].fill(0xaa);
    std::fs::write(&path, bytes).unwrap();
    let damage = opened.index.damage();
    let window = Window { from: Offset(0), to: Offset(i64::MAX), room: room(1000) };
    assert!(opened.index.reading(|it| it.events(3, window, &[], None, None)).is_err());
    assert!(damage.borrow().is_some());
    opened.state = opened.index.rebuild().unwrap().claimed();
    assert_eq!((damage.borrow().clone(), opened.state.next), (None, Offset(0)));
    assert_eq!(opened.take(&[plain(0, "s", 1)]), None);
    assert_eq!(all(&opened.index), [0]);
}

#[test]
fn a_file_that_is_not_as_it_was_left_is_none_to_go_on_with() {
    let mut opened = opened();
    opened.take(&[plain(0, "s", 1)]);
    let older = State { next: Offset(5), ..opened.state.clone() };
    let error = opened.index.apply(&older, &[plain(5, "s", 2)], Offset(6)).unwrap_err();
    assert!(is_damage(&error), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_index_that_nobody_uses_is_closed_and_opens_again() {
    let mut opened = opened();
    opened.take(&[plain(0, "s", 1)]);
    let index = Arc::new(opened.index);
    assert!(index.connections.is_open());
    index.close_when_idle();
    while index.connections.is_open() {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let found = index.ask(Offset(1), |it| it.stream(3, "s", 1, Direction::Forward, room(1))).await;
    assert_eq!(found.unwrap().unwrap().version, 1);
    let behind = index.ask(Offset(2), |it| it.stream(3, "s", 1, Direction::Forward, room(1))).await;
    assert!(behind.unwrap_err().to_string().contains("at offset 1 of 2"));
}

#[tokio::test]
async fn a_search_ends_when_nobody_waits_for_it() {
    let opened = opened();
    let index = Arc::new(opened.index);
    let (told, ended) = tokio::sync::oneshot::channel();
    let (began, begun) = tokio::sync::oneshot::channel();
    let asking = env::spawn({
        let index = index.clone();
        async move {
            index
                .ask(Offset(0), move |it| {
                    began.send(()).unwrap();
                    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
                    let counted = it.connection.query_row(endless, [], |row| row.get::<_, i64>(0));
                    told.send(counted.map_err(|error| error.to_string())).unwrap();
                    Ok(())
                })
                .await
        }
    });
    begun.await.unwrap();
    asking.abort();
    assert_eq!(ended.await.unwrap().unwrap_err(), "interrupted");
}

#[test]
fn nobody_truncates_what_is_not_there() {
    let mut opened = opened();
    let halt = opened.take(&[plain(0, "s", 1), mark(1, "s", 3, 1, None)]).expect("halted");
    assert_eq!(halt.why, "it truncates s before 3, which was at 1");
    let mut broken = mark(1, "s", 2, 1, None);
    let Entry::Event { data, .. } = &mut broken.entry else { unreachable!() };
    *data = Bytes::from_static(b"{}");
    assert!(opened.take(&[broken]).expect("halted").why.contains("no mark"));
}

#[test]
fn a_log_is_needed_from_the_first_event_that_is_read_or_the_newest_claim() {
    let claim = |offset| claim(offset, "1:0");
    let mut opened = opened();
    assert_eq!(opened.index.reading(|it| it.needed_from()).unwrap(), Offset(0));
    opened.take(&[claim(0), plain(1, "s", 1), plain(2, "t", 1)]);
    assert_eq!(opened.index.reading(|it| it.needed_from()).unwrap(), Offset(0));
    opened.take(&[claim(3), mark(4, "s", 2, 1, None)]);
    assert_eq!(opened.index.reading(|it| it.needed_from()).unwrap(), Offset(2));
    opened.take(&[mark(5, "t", 2, 1, None)]);
    assert_eq!(opened.index.reading(|it| it.needed_from()).unwrap(), Offset(3));
    opened.take(&[claim(6), mark(7, "s", 2, 2, None)]);
    // The mark of t.
    assert_eq!(opened.index.reading(|it| it.needed_from()).unwrap(), Offset(5));
}

#[test]
fn an_index_of_a_trimmed_log_knows_what_goes_on() {
    let mut opened = opened();
    opened.state = opened.index.begin_anew(Offset(10)).unwrap();
    assert_eq!(opened.state.next, Offset(10));
    let records = [
        plain(10, "rest", 5),
        // All of it is gone, and so are older marks.
        mark(11, "gone", 8, 3, Some("b")),
        mark(12, "rest", 5, 1, None),
    ];
    assert_eq!(opened.take(&records), None);
    let again = opened.again();
    let looked = look(&again.index, "gone", "new", Vec::new());
    assert_eq!(looked.heads["gone"], crate::machine::Head { version: 7, boundary: Some("b".to_owned()) });
    // Otherwise the next mark would be refused.
    let looked = look(&again.index, "levada.truncated:gone", "new", Vec::new());
    assert_eq!(looked.heads["levada.truncated:gone"].boundary.as_deref(), Some("b"));
    let mut opened = again;
    assert_eq!(opened.take(&[plain(13, "gone", 8), plain(14, "rest", 6)]), None);
    let found =
        opened.index.reading(|it| it.stream(3, "rest", 1, Direction::Forward, room(10))).unwrap().unwrap();
    assert_eq!((found.first, found.version, found.events.len()), (5, 6, 2));
    // Behind the beginning nothing may be missing.
    assert!(opened.take(&[plain(15, "rest", 8)]).expect("halted").why.contains("version 8 of rest"));
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
        let window = Window { from: Offset(from), to: Offset(i64::MAX), room: room(limit) };
        let found = opened.index.reading(|it| it.events(3, window, &selectors, correlation.as_deref(), None)).unwrap().events;
        let found: Vec<i64> = found.iter().map(|event| event.offset.0).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn what_is_adopted_gets_a_version_and_an_id_that_are_new() {
    let adopted = |offset: i64, version: Option<u64>, id: &str| Applied {
        offset: Offset(offset),
        at: Timestamp(0),
        entry: Entry::Adopted {
            stream: "s".to_owned(),
            version,
            id: id.to_owned(),
            facts: Facts { kind: "T".to_owned(), ..Facts::default() },
            data: Bytes::new(),
        },
    };
    let mut opened = opened();
    assert_eq!(opened.take(&[plain(0, "s", 1), adopted(1, None, "x"), adopted(2, Some(1), "x")]), None);
    // What is missing between stays missing.
    assert_eq!(opened.take(&[adopted(3, Some(7), "y"), plain(4, "s", 8)]), None);
    // No stream is as long: it is the next one.
    assert_eq!(opened.take(&[adopted(5, Some(u64::MAX), "z"), adopted(6, Some(1 << 63), "w")]), None);
    let found =
        opened.index.reading(|it| it.stream(0, "s", 1, Direction::Forward, room(9))).unwrap().unwrap();
    let found: Vec<(u64, i64)> = found.events.iter().map(|event| (event.version, event.offset.0)).collect();
    assert_eq!(found, [(1, 0), (2, 1), (3, 2), (7, 3), (8, 4), (9, 5), (10, 6)]);
}

#[test]
fn one_question_sees_one_state_of_the_index() {
    let mut opened = opened();
    opened.take(&[plain(0, "s", 1)]);
    let Opened { index, state, .. } = &opened;
    let count = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0))
    };
    let counts = index.reading(|it| {
        let before = count(it.connection)?;
        index.apply(state, &[plain(1, "s", 2)], Offset(2))?;
        Ok((before, count(it.connection)?))
    });
    assert_eq!(counts.unwrap(), (1, 1));
}

#[test]
fn events_with_a_subjects_data_are_found_and_counted_until_they_are_truncated() {
    let sealed = |key: &str| {
        let (subject, key) = ("customer:7".to_owned(), Some(key.to_owned()));
        let sealed = crate::Sealed { subject, key, ..crate::Sealed::default() };
        Facts { kind: "T".to_owned(), sealed: Some(sealed), ..Facts::default() }
    };
    let keys = std::collections::BTreeSet::from(["k1".to_owned(), "k2".to_owned()]);
    let mut opened = opened();
    opened.take(&[record(0, "s", 1, sealed("k1")), plain(1, "s", 2), record(2, "t", 1, sealed("k2"))]);
    let window = Window { from: Offset(0), to: Offset(9), room: room(9) };
    let found =
        opened.index.reading(|it| it.events(3, window, &[], None, Some("customer:7"))).unwrap().events;
    assert_eq!(found.iter().map(|event| event.offset.0).collect::<Vec<_>>(), [0, 2]);
    let count =
        |opened: &Opened, subject: &str| opened.index.reading(|it| it.count_of(subject, &keys)).unwrap();
    assert_eq!(count(&opened, "customer:7"), 2);
    assert_eq!(count(&opened, "customer:8"), 0);
    // Of a key that came later nothing is counted.
    opened.take(&[record(3, "u", 1, sealed("k3"))]);
    assert_eq!(count(&opened, "customer:7"), 2);
    opened.take(&[mark(4, "s", 2, 1, None)]);
    assert_eq!(count(&opened, "customer:7"), 1);
}

#[test]
fn no_condition_matches_what_the_store_writes_itself() {
    let mut opened = opened();
    let mark = Facts { kind: crate::machine::LIVES_ELSEWHERE.to_owned(), ..Facts::default() };
    opened.take(&[record(0, "s", 1, mark)]);
    let any =
        crate::append::Condition { any_of: vec![Selector::default()], after: client::Position::default() };
    let append = crate::append::Append { conditions: vec![any], ..crate::append::Append::default() };
    assert_eq!(opened.index.reading(|it| it.look(&append, PARTITION, None)).unwrap().0.matches, [None]);
    opened.take(&[plain(1, "t", 1)]);
    assert_eq!(
        opened.index.reading(|it| it.look(&append, PARTITION, None)).unwrap().0.matches,
        [Some(Offset(1))]
    );
}

/// What is in a directory, and what more than a log's files it lets people do.
fn excess(dir: &Path) -> Vec<(String, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let one = |entry: std::fs::DirEntry| {
        let mode = entry.metadata().unwrap().permissions().mode();
        (entry.file_name().into_string().unwrap(), mode & 0o777 & !0o640)
    };
    let mut found: Vec<_> = entries.map(one).collect();
    found.sort();
    found
}

#[test]
fn an_index_is_as_little_readable_as_the_log_also_one_that_was_made_before() {
    use std::os::unix::fs::PermissionsExt;
    let mut opened = opened();
    opened.take(&[plain(0, "a", 1)]);
    let dir = opened.dir.path().join(PARTITION.topic.to_string());
    let files = ["3.sqlite", "3.sqlite-shm", "3.sqlite-wal"].map(|name| (name.to_owned(), 0));
    assert_eq!(excess(&dir), files);
    for (name, _) in &files {
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let (_index, _) = Index::open(opened.dir.path(), PARTITION).unwrap();
    assert_eq!(excess(&dir), files);
}
