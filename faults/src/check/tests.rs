//! Small histories by hand: first one in which all is well, then each way in which it may not be.

use super::{Kind, run};
use crate::history::{
    Append, Condition, EventId, Expected, History, Log, Outcome, Part, Place, Read, Record, Stream, What,
    Writer,
};

const HERE: Place = Place { category: 0, partition: 0 };
const STREAM: Stream = Stream::Alone(1);
const OTHER: Stream = Stream::Alone(2);
const OWNER: Writer = Writer { id: 7, epoch: 0 };
const NEXT_OWNER: Writer = Writer { id: 7, epoch: 1 };

/// A history with its log.
struct Case {
    history: History,
    log: Log,
}

impl Case {
    /// Claimed, and nothing else.
    fn new() -> Case {
        let mut case = Case { history: History::default(), log: Log::from([(HERE, Vec::new())]) };
        case.claim(OWNER);
        case
    }

    /// Appends 1 (two events to STREAM, from 10 to 20 µs), 2 (one to OTHER, from 30 to 40) and 3 (one more to STREAM at
    /// version 2, from 50 to 60), all acknowledged.
    fn with_three() -> Case {
        let mut case = Case::new();
        case.write(&[(STREAM, 1, EventId::new(1, 0)), (STREAM, 2, EventId::new(1, 1))]);
        case.write(&[(OTHER, 1, EventId::new(2, 0))]);
        case.write(&[(STREAM, 3, EventId::new(3, 0))]);
        case.history.appends = vec![
            append(1, STREAM, Expected::None, 2, (10, 20), appended(STREAM, 2, 3)),
            append(2, OTHER, Expected::Any, 1, (30, 40), appended(OTHER, 1, 4)),
            append(3, STREAM, Expected::Exactly(2), 1, (50, 60), appended(STREAM, 3, 5)),
        ];
        case
    }

    fn records(&mut self) -> &mut Vec<Record> {
        self.log.get_mut(&HERE).unwrap()
    }

    fn push(&mut self, writer: Writer, what: What) {
        let offset = self.records().len() as i64;
        self.records().push(Record { offset, batch: writer, writer, what });
    }

    fn claim(&mut self, writer: Writer) {
        self.push(writer, What::Claim);
    }

    fn write(&mut self, events: &[(Stream, u64, EventId)]) {
        for (stream, version, id) in events {
            self.push(OWNER, What::Event { stream: *stream, version: *version, id: *id });
        }
    }

    fn refuse(&mut self, append: Append) {
        self.history.appends.push(append);
    }

    /// A read of STREAM that begins at 100 µs.
    fn read(&mut self, version: u64, change: impl FnOnce(&mut Read)) {
        let events = [EventId::new(1, 0), EventId::new(1, 1), EventId::new(3, 0)];
        let events = (1..).zip(events).take(version as usize).collect();
        let mut read = Read {
            category: 0,
            stream: STREAM,
            from: 1,
            limit: 10,
            is_strong: false,
            at_least: None,
            begin: 100,
            end: 110,
            version,
            events,
            position: None,
        };
        change(&mut read);
        self.history.reads.push(read);
    }

    #[track_caller]
    fn finds(&self, kinds: &[Kind]) {
        let found = run(&self.history, &self.log);
        let mut of: Vec<Kind> = found.iter().map(|violation| violation.kind).collect();
        of.sort_unstable();
        of.dedup();
        assert_eq!(of, kinds, "{found:#?}");
    }
}

fn append(
    number: u64,
    stream: Stream,
    expected: Expected,
    events: usize,
    (begin, end): (u64, u64),
    outcome: Outcome,
) -> Append {
    let events = (0..events).map(|of| EventId::new(number, of)).collect();
    Append {
        category: 0,
        parts: vec![Part { stream, expected, events }],
        condition: None,
        repeats: false,
        begin,
        last_begin: begin,
        end,
        tries: 1,
        was_in_doubt: false,
        outcome,
    }
}

fn appended(stream: Stream, version: u64, next: i64) -> Outcome {
    Outcome::Appended { versions: vec![(stream, version)], partition: 0, next, is_repeated: false }
}

fn conflict(expected: Expected, times: (u64, u64), current: u64) -> Append {
    append(9, STREAM, expected, 1, times, Outcome::WrongVersion { stream: STREAM, current })
}

#[test]
fn nothing_is_found_where_all_is_well() {
    let mut case = Case::with_three();
    case.read(3, |_| {});
    case.read(2, |_| {});
    case.read(3, |read| (read.is_strong, read.at_least, read.position) = (true, Some((0, 5)), Some((0, 5))));
    case.refuse(conflict(Expected::Exactly(2), (60, 70), 3));
    case.refuse(conflict(Expected::Exists, (0, 15), 0));
    case.finds(&[]);
}

#[test]
fn a_missing_offset() {
    let mut case = Case::with_three();
    case.records().iter_mut().skip(3).for_each(|record| record.offset += 1);
    case.history.appends.iter_mut().for_each(|append| {
        if let Outcome::Appended { next, .. } = &mut append.outcome {
            *next += 1;
        }
    });
    case.finds(&[Kind::OffsetGap]);
}

#[test]
fn a_version_that_is_there_twice() {
    let mut case = Case::with_three();
    case.write(&[(OTHER, 1, EventId::new(4, 0))]);
    case.refuse(append(4, OTHER, Expected::None, 1, (70, 80), appended(OTHER, 1, 6)));
    case.finds(&[Kind::VersionOrder]);
}

#[test]
fn a_version_that_is_left_out() {
    let mut case = Case::with_three();
    case.write(&[(OTHER, 3, EventId::new(4, 0))]);
    case.refuse(append(4, OTHER, Expected::Exactly(2), 1, (70, 80), appended(OTHER, 3, 6)));
    case.finds(&[Kind::VersionOrder]);
}

#[test]
fn an_event_that_is_there_twice() {
    let mut case = Case::with_three();
    case.write(&[(OTHER, 2, EventId::new(2, 0))]);
    case.finds(&[Kind::Duplicate]);
}

#[test]
fn a_stream_in_two_partitions() {
    let mut case = Case::with_three();
    let there = Place { category: 0, partition: 1 };
    let event = What::Event { stream: STREAM, version: 1, id: EventId::new(4, 0) };
    let record = |offset, what| Record { offset, batch: OWNER, writer: OWNER, what };
    case.log.insert(there, vec![record(0, What::Claim), record(1, event)]);
    let outcome =
        Outcome::Appended { versions: vec![(STREAM, 1)], partition: 1, next: 2, is_repeated: false };
    case.refuse(append(4, STREAM, Expected::Any, 1, (70, 80), outcome));
    case.finds(&[Kind::StreamInTwoPlaces]);
}

#[test]
fn an_event_that_nobody_asked_for() {
    let mut case = Case::with_three();
    case.write(&[(OTHER, 2, EventId::new(4, 0))]);
    case.finds(&[Kind::Foreign]);
}

#[test]
fn a_record_that_was_changed() {
    let mut case = Case::with_three();
    case.push(OWNER, What::Odd("its data were changed".to_owned()));
    case.finds(&[Kind::Foreign]);
}

#[test]
fn a_record_of_an_owner_who_has_lost_the_partition() {
    let mut case = Case::with_three();
    case.claim(NEXT_OWNER);
    case.write(&[(OTHER, 2, EventId::new(4, 0))]);
    case.refuse(append(4, OTHER, Expected::Any, 1, (70, 80), appended(OTHER, 2, 7)));
    case.finds(&[Kind::Unclaimed]);
}

#[test]
fn an_owner_that_never_claimed() {
    let mut case = Case::with_three();
    for record in &mut case.records()[1..] {
        (record.batch, record.writer) = (NEXT_OWNER, NEXT_OWNER);
    }
    case.finds(&[Kind::Unclaimed]);
}

#[test]
fn a_batch_that_is_not_of_whom_its_records_say() {
    let mut case = Case::with_three();
    case.records()[3].batch = NEXT_OWNER;
    case.finds(&[Kind::Unclaimed]);
}

#[test]
fn a_claim_with_an_older_epoch() {
    let mut case = Case::with_three();
    case.claim(NEXT_OWNER);
    case.claim(OWNER);
    case.finds(&[Kind::ClaimOrder]);
}

#[test]
fn an_acknowledged_append_that_is_lost() {
    let mut case = Case::with_three();
    case.records().truncate(4);
    case.finds(&[Kind::Lost]);
}

#[test]
fn half_an_append() {
    let mut case = Case::with_three();
    case.records()[2].what = What::Claim;
    case.records()[4].what = What::Claim;
    case.history.appends.truncate(2);
    case.finds(&[Kind::ClaimOrder, Kind::Torn]);
}

#[test]
fn an_append_in_pieces() {
    let mut case = Case::with_three();
    case.records().swap(2, 3);
    case.records()[2].offset = 2;
    case.records()[3].offset = 3;
    case.history.appends.remove(1).outcome = Outcome::Unresolved;
    case.history.appends.push(append(2, OTHER, Expected::Any, 1, (5, 40), appended(OTHER, 1, 4)));
    if let Outcome::Appended { next, .. } = &mut case.history.appends[0].outcome {
        *next = 4;
    }
    case.finds(&[Kind::Scattered]);
}

#[test]
fn an_answer_with_another_version() {
    let mut case = Case::with_three();
    case.history.appends[2].outcome = appended(STREAM, 4, 5);
    case.finds(&[Kind::WrongAnswer]);
}

#[test]
fn an_answer_with_a_position_before_the_event() {
    let mut case = Case::with_three();
    case.history.appends[2].outcome = appended(STREAM, 3, 4);
    case.finds(&[Kind::WrongAnswer]);
}

#[test]
fn an_append_at_another_version_than_expected() {
    let mut case = Case::with_three();
    case.history.appends[2].parts[0].expected = Expected::Exactly(1);
    case.finds(&[Kind::ExpectedIgnored]);
}

/// Append 3, under the condition that nothing like append 1's second event is there from an offset on.
fn under_condition(after: i64) -> Case {
    let mut case = Case::with_three();
    let like = EventId::new(1, 1);
    let condition = Condition { kind: like.kind(), tag: like.tag(), partition: 0, after };
    case.history.appends[2].condition = Some(condition);
    case
}

#[test]
fn an_append_whose_condition_did_not_hold() {
    under_condition(3).finds(&[]);
    under_condition(2).finds(&[Kind::ConditionIgnored]);
}

#[test]
fn a_condition_that_no_event_broke() {
    let refused = |after, at| {
        let mut case = under_condition(0);
        case.history.appends[2].condition = None;
        let like = EventId::new(1, 1);
        let mut append = append(9, OTHER, Expected::Any, 1, (70, 80), Outcome::ConditionFailed { at });
        append.condition = Some(Condition { kind: like.kind(), tag: like.tag(), partition: 0, after });
        case.refuse(append);
        case
    };
    refused(2, 2).finds(&[]);
    refused(3, 2).finds(&[Kind::FalseConflict]);
    refused(0, 3).finds(&[Kind::FalseConflict]);
}

#[test]
fn a_refused_append_that_is_there() {
    let mut case = Case::with_three();
    case.history.appends[2].outcome = Outcome::WrongVersion { stream: STREAM, current: 1 };
    case.finds(&[Kind::RefusedButWritten]);
}

#[test]
fn a_conflict_with_a_version_that_was_over() {
    let mut case = Case::with_three();
    case.refuse(conflict(Expected::Exactly(3), (61, 70), 2));
    case.finds(&[Kind::FalseConflict]);
}

#[test]
fn a_conflict_with_a_version_that_was_not_there_yet() {
    let mut case = Case::with_three();
    case.refuse(conflict(Expected::Exactly(2), (41, 49), 3));
    case.finds(&[Kind::FalseConflict]);
}

#[test]
fn a_conflict_where_there_is_none() {
    let mut case = Case::with_three();
    case.refuse(conflict(Expected::Exists, (70, 80), 3));
    case.finds(&[Kind::FalseConflict]);
}

#[test]
fn a_repeat_that_is_answered_differently() {
    let mut case = Case::with_three();
    let mut again = case.history.appends[2].clone();
    (again.repeats, again.begin, again.end) = (true, 70, 80);
    let repeated = |version| Outcome::Appended {
        versions: vec![(STREAM, version)],
        partition: 0,
        next: 5,
        is_repeated: true,
    };
    again.outcome = repeated(3);
    case.refuse(again.clone());
    case.finds(&[]);
    for outcome in [
        repeated(4),
        appended(STREAM, 3, 5),
        Outcome::WrongVersion { stream: STREAM, current: 3 },
        Outcome::ConditionFailed { at: 1 },
    ] {
        case.history.appends[3].outcome = outcome;
        case.finds(&[Kind::UnlikeRepeat]);
    }
}

#[test]
fn an_append_that_nobody_can_tell_about() {
    let mut case = Case::with_three();
    case.history.appends[2].outcome = Outcome::Unresolved;
    case.finds(&[Kind::Unresolved]);
}

#[test]
fn an_answer_without_a_reason() {
    let mut case = Case::with_three();
    case.refuse(append(9, STREAM, Expected::Any, 1, (70, 80), Outcome::Odd("400".to_owned())));
    case.finds(&[Kind::OddAnswer]);
}

#[test]
fn an_append_that_stands_before_one_that_was_answered_earlier() {
    let mut case = Case::with_three();
    let first = &mut case.history.appends[0];
    (first.begin, first.last_begin, first.end) = (45, 45, 48);
    case.finds(&[Kind::TimeOrder]);
}

#[test]
fn a_read_of_an_event_that_is_not_in_the_log() {
    let mut case = Case::with_three();
    case.read(3, |read| read.events[1].1 = EventId::new(2, 0));
    case.finds(&[Kind::ReadWrong]);
}

#[test]
fn a_read_that_leaves_events_out() {
    for left in [[1, 3].as_slice(), &[1, 2]] {
        let mut case = Case::with_three();
        case.read(3, |read| read.events.retain(|(version, _)| left.contains(version)));
        case.finds(&[Kind::ReadWrong]);
    }
}

#[test]
fn a_read_that_shows_more_than_it_says() {
    let mut case = Case::with_three();
    case.read(3, |read| read.version = 2);
    case.finds(&[Kind::ReadWrong]);
}

#[test]
fn a_read_of_what_nobody_had_asked_for_yet() {
    let mut case = Case::with_three();
    case.read(3, |read| (read.begin, read.end) = (40, 49));
    case.finds(&[Kind::TimeOrder, Kind::ReadAhead]);
}

#[test]
fn a_strong_read_of_what_was_over() {
    let mut case = Case::with_three();
    case.read(2, |read| read.is_strong = true);
    case.finds(&[Kind::ReadStale]);
    let mut case = Case::with_three();
    case.read(2, |read| (read.is_strong, read.begin, read.end) = (true, 55, 58));
    case.finds(&[]);
}

#[test]
fn a_read_that_is_older_than_the_position_that_was_asked_for() {
    let mut case = Case::with_three();
    case.read(2, |read| read.at_least = Some((0, 4)));
    case.finds(&[]);
    case.read(2, |read| read.at_least = Some((0, 5)));
    case.finds(&[Kind::ReadStale]);
}

#[test]
fn a_read_that_is_older_than_its_own_position() {
    let mut case = Case::with_three();
    case.read(2, |read| read.position = Some((0, 5)));
    case.finds(&[Kind::ReadStale]);
}
