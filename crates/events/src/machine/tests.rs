//! `check(history, command)`: what an owner answers, given what was taken and what the index knows.

use bytes::Bytes;
use client::Position;
use expect_test::{Expect, expect};
use model::{PartitionId, TopicId};

use super::*;
use crate::append::{Condition, StreamAppend};
use crate::event::Facts;

fn event(id: &str, tags: &[&str]) -> NewEvent {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let facts =
        Facts { kind: "T".to_owned(), content_type: "application/json".to_owned(), tags, ..Facts::default() };
    NewEvent { id: id.to_owned(), facts, data: Bytes::new() }
}

fn part(stream: &str, expected: Expected, ids: &[&str]) -> StreamAppend {
    let events = ids.iter().map(|id| event(id, &[])).collect();
    StreamAppend { stream: stream.to_owned(), expected, events }
}

fn one(stream: &str, expected: Expected, ids: &[&str]) -> Append {
    Append { streams: vec![part(stream, expected, ids)], ..Append::default() }
}

fn after(offset: i64) -> Position {
    Position::of(PartitionId { topic: TopicId([1; 16]), index: 0 }, Offset(offset))
}

/// Takes the appends of a history, in which all must be taken.
fn taken(history: Vec<Append>) -> Streams {
    let mut streams = Streams::default();
    for append in history {
        let command = Command { append, looked: Looked::default() };
        let decision = streams.decide(command, Timestamp(0)).unwrap_or_else(|reject| panic!("{reject:?}"));
        decision.records.iter().for_each(|taken| streams.apply(taken));
    }
    streams
}

fn check(streams: &Streams, append: Append, looked: Looked, expected: Expect) {
    let answer = streams.decide(Command { append, looked }, Timestamp(0));
    let text = match answer {
        Ok(decision) => {
            let versions = decision.records.iter().flat_map(|taken| &taken.events);
            let versions: Vec<String> = versions
                .map(|it| {
                    let boundary = it.boundary.as_ref().map(|it| format!(" in {it}")).unwrap_or_default();
                    format!("{} {}={}{boundary}", it.event.id, it.stream, it.version)
                })
                .collect();
            format!("{:?} [{}]", decision.reply, versions.join(", "))
        }
        Err(reject) => format!("{reject:?}"),
    };
    expected.assert_eq(&text);
}

fn head(stream: &str, version: u64) -> Looked {
    let head = Head { version, boundary: None };
    Looked { heads: BTreeMap::from([(stream.to_owned(), head)]), ..Looked::default() }
}

#[test]
fn versions_count_from_one_and_go_on() {
    let streams = Streams::default();
    let append = one("s", Expected::None, &["a", "b"]);
    check(&streams, append, Looked::default(), expect![[r#"Appended([("s", 2)]) [a s=1, b s=2]"#]]);
    let append = one("s", Expected::Exactly(7), &["c"]);
    check(&streams, append, head("s", 7), expect![[r#"Appended([("s", 8)]) [c s=8]"#]]);
}

#[test]
fn what_is_under_way_counts_before_the_index_has_it() {
    let streams = taken(vec![one("s", Expected::None, &["a"])]);
    let append = one("s", Expected::None, &["b"]);
    let rejected = expect![[r#"Version { stream: "s", expected: None, current: 1 }"#]];
    check(&streams, append, Looked::default(), rejected);
    let append = one("s", Expected::Exactly(1), &["b"]);
    check(&streams, append, Looked::default(), expect![[r#"Appended([("s", 2)]) [b s=2]"#]]);
}

#[test]
fn what_the_index_has_is_forgotten_and_nothing_else() {
    let mut streams = taken(vec![one("s", Expected::None, &["a"]), one("s", Expected::Any, &["b"])]);
    streams.written(1, Offset(10));
    streams.forget(Offset(11));
    // The stream's newest event is not in the index.
    let append = one("s", Expected::Exactly(1), &["c"]);
    let rejected = expect![[r#"Version { stream: "s", expected: Exactly(1), current: 2 }"#]];
    check(&streams, append, head("s", 1), rejected);
    streams.written(2, Offset(11));
    streams.forget(Offset(11));
    assert_eq!(streams.pending(), 1, "offset 11 itself is not indexed yet");
    streams.forget(Offset(12));
    assert_eq!(streams.pending(), 0);
    let append = one("s", Expected::Exactly(2), &["c"]);
    check(&streams, append, head("s", 2), expect![[r#"Appended([("s", 3)]) [c s=3]"#]]);
}

#[test]
fn heads_are_kept_while_there_is_room() {
    let in_b = Head { version: 7, boundary: Some("b".to_owned()) };
    let mut streams = Streams::default();
    streams.learn(&BTreeMap::from([("s".to_owned(), in_b)]));
    let append = Append { boundary: Some("b".to_owned()), ..one("s", Expected::Exactly(7), &["a"]) };
    let decision = streams.decide(Command { append, looked: Looked::default() }, Timestamp(0)).unwrap();
    streams.apply(&decision.records[0]);
    // What the index says is older by now.
    streams.learn(&head("s", 7).heads);
    streams.written(1, Offset(0));
    streams.forget(Offset(1));
    assert!(streams.has_stream("s") && !streams.has_id("a"));
    let append = one("s", Expected::Exactly(8), &["b"]);
    let rejected = expect![[r#"Boundary { stream: "s", boundary: "b" }"#]];
    check(&streams, append, Looked::default(), rejected);

    let many = (0..HEADS_MAX).map(|number| (format!("t{number}"), Head::default())).collect();
    streams.learn(&many);
    let decision = streams.decide(
        Command { append: one("u", Expected::None, &["c"]), looked: Looked::default() },
        Timestamp(0),
    );
    streams.apply(&decision.unwrap().records[0]);
    streams.forget(Offset(1));
    assert!(streams.has_stream("u") && !streams.has_stream("t0"), "only what is under way must stay");
}

#[test]
fn the_same_append_again_has_the_same_answer() {
    let mut streams = taken(vec![one("s", Expected::None, &["a", "b"]), one("s", Expected::Any, &["c"])]);
    let again = || one("s", Expected::None, &["a", "b"]);
    let repeated = expect![[r#"Repeated { versions: [("s", 2)], last: None } []"#]];
    check(&streams, again(), Looked::default(), repeated);
    streams.written(1, Offset(5));
    let repeated = expect![[r#"Repeated { versions: [("s", 2)], last: Some(5) } []"#]];
    check(&streams, again(), Looked::default(), repeated);
    let known = |version, offset| Known { stream: "s".to_owned(), version, offset: Some(Offset(offset)) };
    let looked = Looked {
        ids: BTreeMap::from([("x".to_owned(), known(8, 20)), ("y".to_owned(), known(9, 21))]),
        ..Looked::default()
    };
    let append = one("s", Expected::Exactly(7), &["x", "y"]);
    check(&streams, append, looked, expect![[r#"Repeated { versions: [("s", 9)], last: Some(21) } []"#]]);
}

#[test]
fn the_same_append_again_names_its_streams_in_the_same_order() {
    let append = || Append {
        boundary: Some("b".to_owned()),
        streams: vec![part("z", Expected::None, &["1"]), part("a", Expected::None, &["2"])],
        ..Append::default()
    };
    let streams = taken(vec![append()]);
    let repeated = expect![[r#"Repeated { versions: [("z", 1), ("a", 1)], last: None } []"#]];
    check(&streams, append(), Looked::default(), repeated);
}

#[test]
fn an_id_is_used_once() {
    let streams = taken(vec![one("s", Expected::None, &["a"])]);
    let taken = expect![[r#"IdTaken { id: "a", stream: "s" }"#]];
    check(&streams, one("t", Expected::Any, &["a"]), Looked::default(), taken);
    let taken = expect![[r#"IdTaken { id: "a", stream: "s" }"#]];
    check(&streams, one("s", Expected::Any, &["a", "new"]), Looked::default(), taken);
    let taken = expect![[r#"IdTaken { id: "n", stream: "s" }"#]];
    check(&streams, one("s", Expected::Any, &["n", "n"]), Looked::default(), taken);
}

#[test]
fn streams_of_one_boundary_are_appended_to_together() {
    let append = Append {
        boundary: Some("b".to_owned()),
        streams: vec![part("s", Expected::None, &["1"]), part("b", Expected::None, &["2"])],
        ..Append::default()
    };
    let answer = expect![[r#"Appended([("s", 1), ("b", 1)]) [1 s=1 in b, 2 b=1]"#]];
    check(&Streams::default(), append.clone(), Looked::default(), answer);
    // For ever.
    let streams = taken(vec![append]);
    let rejected = expect![[r#"Boundary { stream: "s", boundary: "b" }"#]];
    check(&streams, one("s", Expected::Any, &["3"]), Looked::default(), rejected);
    let mut append = one("s", Expected::Exactly(1), &["3"]);
    append.boundary = Some("b".to_owned());
    check(&streams, append, Looked::default(), expect![[r#"Appended([("s", 2)]) [3 s=2]"#]]);
}

#[test]
fn one_wrong_version_and_nothing_is_appended() {
    let append = Append {
        boundary: Some("b".to_owned()),
        streams: vec![part("s", Expected::Any, &["1"]), part("t", Expected::Exists, &["2"])],
        ..Append::default()
    };
    let rejected = expect![[r#"Version { stream: "t", expected: Exists, current: 0 }"#]];
    check(&Streams::default(), append, Looked::default(), rejected);
}

#[test]
fn a_stream_that_lives_elsewhere_takes_nothing_but_its_mark() {
    let mut mark = one("s", Expected::None, &["mark"]);
    mark.streams[0].events[0].facts.kind = LIVES_ELSEWHERE.to_owned();
    mark.streams[0].events[0].data = Bytes::from_static(b"b");
    let answer = expect![[r#"Appended([("s", 1)]) [mark s=1 in b]"#]];
    check(&Streams::default(), mark.clone(), Looked::default(), answer);
    let streams = taken(vec![mark]);
    let rejected = expect![[r#"Boundary { stream: "s", boundary: "b" }"#]];
    check(&streams, one("s", Expected::Any, &["3"]), Looked::default(), rejected);
}

fn conditional(types: &[&str], tags: &[&str], after: Position) -> Append {
    let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let any_of = vec![Selector { types: set(types), tags: set(tags) }];
    let conditions = vec![Condition { any_of, after }];
    Append { conditions, ..one("new", Expected::Any, &["n"]) }
}

/// Two events under way: one with the tag x, then one with x and y.
fn tagged() -> Streams {
    let append = |id: &str, tags: &[&str]| Append {
        streams: vec![StreamAppend {
            stream: "s".to_owned(),
            expected: Expected::Any,
            events: vec![event(id, tags)],
        }],
        ..Append::default()
    };
    taken(vec![append("a", &["x"]), append("b", &["x", "y"])])
}

#[test]
fn a_condition_sees_what_is_under_way() {
    let mut streams = tagged();
    let failed = expect!["Condition { at: Back(2) }"];
    check(&streams, conditional(&[], &["x"], Position::default()), Looked::default(), failed);
    let failed = expect!["Condition { at: Back(1) }"];
    check(&streams, conditional(&["T"], &["x", "y"], after(5)), Looked::default(), failed);
    let appended = || expect![[r#"Appended([("new", 1)]) [n new=1]"#]];
    check(&streams, conditional(&["U"], &["x"], Position::default()), Looked::default(), appended());
    check(&streams, conditional(&[], &["x", "z"], Position::default()), Looked::default(), appended());
    // What whoever decides has seen does not count.
    streams.written(1, Offset(10));
    streams.written(2, Offset(11));
    let looked = |offset| Looked { after: vec![Offset(offset)], ..Looked::default() };
    check(&streams, conditional(&[], &["x"], after(12)), looked(12), appended());
    let failed = expect!["Condition { at: At(11) }"];
    check(&streams, conditional(&[], &["x"], after(11)), looked(11), failed);
}

#[test]
fn a_condition_sees_what_the_index_has() {
    let looked = Looked { matches: vec![Some(Offset(3))], ..Looked::default() };
    let failed = expect!["Condition { at: At(3) }"];
    check(&Streams::default(), conditional(&[], &["x"], Position::default()), looked, failed);
}

#[test]
fn no_condition_matches_what_the_store_writes_itself() {
    let mut mark = one("s", Expected::None, &["levada.boundary:s"]);
    mark.streams[0].events[0].facts.kind = LIVES_ELSEWHERE.to_owned();
    let streams = taken(vec![mark]);
    let any = Condition { any_of: vec![Selector::default()], after: Position::default() };
    let append = || Append { conditions: vec![any.clone()], ..one("t", Expected::None, &["a"]) };
    check(&streams, append(), Looked::default(), expect![[r#"Appended([("t", 1)]) [a t=1]"#]]);
    let streams = taken(vec![one("s", Expected::None, &["b"])]);
    check(&streams, append(), Looked::default(), expect!["Condition { at: Back(1) }"]);
}
