use bytes::Bytes;

use super::*;
use crate::event::Facts;

fn event(id: &str) -> NewEvent {
    let facts = Facts { kind: "T".to_owned(), ..Facts::default() };
    NewEvent { id: id.to_owned(), facts, data: Bytes::new() }
}

fn part(stream: &str, ids: &[&str]) -> StreamAppend {
    let events = ids.iter().map(|id| event(id)).collect();
    StreamAppend { stream: stream.to_owned(), expected: Expected::Any, events }
}

#[test]
fn an_id_twice_in_one_append_is_called_what_it_is() {
    let append = Append { streams: vec![part("a", &["1", "2"]), part("b", &["3"])], ..Append::default() };
    assert_eq!(append.check(), Ok(()));
    let append = Append { streams: vec![part("a", &["1", "2"]), part("b", &["1"])], ..Append::default() };
    let refused = AppendError::Invalid("two events have the id 1: ids are used once".to_owned());
    assert_eq!(append.check(), Err(refused));
}

#[test]
fn several_streams_are_within_the_first_ones_boundary() {
    let of = |streams: Vec<StreamAppend>| Append { streams, ..Append::default() };
    assert_eq!(of(vec![part("a", &["1"]), part("b", &["2"])]).bounded().boundary.as_deref(), Some("a"));
    // The only stream may live within another boundary, which is looked for.
    assert_eq!(of(vec![part("a", &["1"]), part("a", &["2"])]).bounded().boundary, None);
    let said = Append { boundary: Some("b".to_owned()), ..of(vec![part("a", &["1"]), part("b", &["2"])]) };
    assert_eq!(said.clone().bounded(), said);
    let category = Category::new("c").unwrap();
    let unsaid = of(vec![part("a", &["1"]), part("b", &["2"])]);
    assert!(unsaid.check_passed_on(&category).is_err());
    assert_eq!(unsaid.bounded().check_passed_on(&category), Ok(()));
}

#[test]
fn what_the_store_calls_its_own_nobody_else_may() {
    let check = |stream: &str, id: &str, kind: &str| {
        let mut part = part(stream, &[id]);
        kind.clone_into(&mut part.events[0].facts.kind);
        Append { streams: vec![part], ..Append::default() }.check_names()
    };
    assert_eq!(check("s", "id", "T"), Ok(()));
    for (stream, id, kind) in
        [("levada.s", "id", "T"), ("s", "levada.boundary:s", "T"), ("s", "id", "levada.stream.boundary.v1")]
    {
        let refused = check(stream, id, kind).unwrap_err().to_string();
        assert!(refused.contains("is the store's own"), "{refused}");
    }
}

fn of_kind(stream: &str, id: &str, kind: &str, data: &str) -> Append {
    let mut part = part(stream, &[id]);
    kind.clone_into(&mut part.events[0].facts.kind);
    part.events[0].data = Bytes::copy_from_slice(data.as_bytes());
    Append { streams: vec![part], ..Append::default() }
}

#[test]
fn what_an_instance_passes_on_is_what_an_instance_appends() {
    let orders = Category::new("orders").unwrap();
    let home_mark = || {
        let mut append = of_kind("s", "levada.boundary:s", LIVES_ELSEWHERE, "customer-7");
        append.streams[0].expected = Expected::None;
        append
    };
    let mark = r#"{"stream":"s","before":2,"archived":false}"#;
    let truncation = of_kind("levada.truncated:s", "id", TRUNCATED, mark);
    for append in [of_kind("s", "id", "T", ""), home_mark(), truncation.clone()] {
        assert_eq!(append.check_passed_on(&orders), Ok(()), "{append:?}");
    }
    let mut expects_nothing = home_mark();
    expects_nothing.streams[0].expected = Expected::Any;
    let mut of_another = home_mark();
    of_another.streams[0].stream = "t".to_owned();
    let mut with_more = truncation;
    with_more.streams.push(part("s", &["more"]));
    for append in [
        of_kind("s", "id", "levada.claim.v1", ""),
        of_kind("levada.s", "id", "T", ""),
        of_kind("s", "levada.id", "T", ""),
        of_kind("levada.truncated:t", "id", TRUNCATED, mark),
        of_kind("levada.truncated:s", "id", TRUNCATED, "{}"),
        expects_nothing,
        of_another,
        with_more,
    ] {
        assert!(append.check_passed_on(&orders).is_err(), "{append:?}");
    }
}

#[test]
fn the_stores_own_categories_take_certificates_only() {
    let erasures = Category::new("levada-erasures").unwrap();
    assert!(of_kind("s", "id", "T", "").check_passed_on(&erasures).is_err());
    assert!(of_kind("s", "id", "SubjectErased", "{}").check_passed_on(&erasures).is_err());
    let certificate = r#"{"subjectSha256":"s","keyIds":["k"],"erasedAt":"","keysGoneBy":"","reason":"","events":{},"snapshots":0}"#;
    assert!(of_kind("s", "id", "SubjectErased", certificate).check_passed_on(&erasures).is_err());
    let id = crate::keys::hashed("k");
    assert_eq!(of_kind("s", &id, "SubjectErased", certificate).check_passed_on(&erasures), Ok(()));
    assert!(of_kind("t", &id, "SubjectErased", certificate).check_passed_on(&erasures).is_err());
}

#[test]
fn nobody_appends_what_its_readers_would_fail_at() {
    let nested = |data: &str, metadata: &str, content_type: &str| {
        let mut part = part("s", &["1"]);
        let event = &mut part.events[0];
        event.data = Bytes::from(data.to_owned());
        event.facts.metadata = Some(metadata.to_owned());
        content_type.clone_into(&mut event.facts.content_type);
        Append { streams: vec![part], ..Append::default() }.check()
    };
    let (deep, flat) = ("[".repeat(61) + &"]".repeat(61), "[1]");
    for (data, metadata) in [(deep.as_str(), flat), (flat, deep.as_str())] {
        let refused = nested(data, metadata, "application/json").unwrap_err().to_string();
        assert!(refused.ends_with("is nested 61 deep, and 60 is the most that is taken"), "{refused}");
    }
    assert_eq!(nested(&deep, flat, "text/plain"), Ok(()));
}

#[test]
fn an_appends_conditions_have_an_end() {
    let selector = |names: usize| Selector {
        tags: (0..names).map(|number| format!("t{number}")).collect(),
        ..Selector::default()
    };
    let conditional = |selectors: usize, names: usize| {
        let any_of = vec![selector(names); selectors];
        let conditions = vec![Condition { any_of, after: client::Position::default() }];
        Append { streams: vec![part("s", &["1"])], conditions, ..Append::default() }.check()
    };
    assert_eq!(conditional(100, 10), Ok(()));
    let refused = conditional(1000, 1).unwrap_err().to_string();
    assert_eq!(refused, "the append's conditions have 1000 selectors, and 100 is the most");
    let refused = conditional(10, 101).unwrap_err().to_string();
    assert_eq!(refused, "the append's conditions have 1010 types and tags, and 1000 is the most");
}

#[test]
fn a_content_type_is_what_a_header_can_carry() {
    let check = |content_type: &str| {
        let mut part = part("s", &["1"]);
        content_type.clone_into(&mut part.events[0].facts.content_type);
        Append { streams: vec![part], ..Append::default() }.check()
    };
    assert_eq!(check("application/json; charset=utf-8"), Ok(()));
    for bad in ["text/plain\n", "text/pl\u{e4}in", &"x".repeat(100_000)] {
        assert!(check(bad).is_err());
    }
}
