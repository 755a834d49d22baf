use bytes::Bytes;
use model::{Offset, Timestamp};
use serde_json::json;

use super::*;
use crate::event::{Facts, Seen};

fn upcaster(body: Value) -> Upcaster {
    serde_json::from_value(body).unwrap()
}

fn upcasters(all: Vec<(&str, u32, Value)>) -> Upcasters {
    all.into_iter().map(|(kind, from, body)| ((kind.to_owned(), from), upcaster(body))).collect()
}

fn event(kind: &str, schema_version: Option<u32>, data: &str) -> Recorded {
    let (kind, content_type) = (kind.to_owned(), "application/json".to_owned());
    Recorded {
        stream: "s".to_owned(),
        version: 1,
        id: "a".to_owned(),
        facts: Facts { kind, content_type, schema_version, ..Facts::default() },
        data: Bytes::from(data.to_owned()),
        partition: 0,
        offset: Offset(0),
        time: Timestamp(0),
        seen: Seen::default(),
    }
}

fn lifted(upcasters: &Upcasters, mut event: Recorded) -> Recorded {
    lift(upcasters, &mut event);
    event
}

fn chain() -> Upcasters {
    upcasters(vec![
        ("Placed", 1, json!({"patch": [{"op": "move", "from": "/sum", "path": "/total"}]})),
        (
            "Placed",
            2,
            json!({"defaults": {"currency": "EUR", "to": {"country": "PT"}}, "type": "OrderPlaced"}),
        ),
        ("OrderPlaced", 3, json!({"patch": [{"op": "add", "path": "/lines", "value": []}]})),
    ])
}

#[test]
fn upcasters_are_applied_one_after_the_other() {
    let event = lifted(&chain(), event("Placed", None, r#"{"sum": 3, "to": {"city": "Funchal"}}"#));
    let expected = json!({
        "total": 3, "currency": "EUR", "to": {"city": "Funchal", "country": "PT"}, "lines": []
    });
    assert_eq!(serde_json::from_slice::<Value>(&event.data).unwrap(), expected);
    assert_eq!((event.facts.kind.as_str(), event.facts.schema()), ("OrderPlaced", 4));
    let seen = Seen {
        recorded_schema_version: Some(1),
        recorded_kind: Some("Placed".to_owned()),
        ..Seen::default()
    };
    assert_eq!(event.seen, seen);
}

#[test]
fn what_is_there_is_no_default() {
    let event = lifted(&chain(), event("Placed", Some(2), r#"{"currency": null, "to": "?"}"#));
    let expected = json!({"currency": null, "to": "?", "lines": []});
    assert_eq!(serde_json::from_slice::<Value>(&event.data).unwrap(), expected);
    assert_eq!(event.seen.recorded_schema_version, Some(2));
}

#[test]
fn an_event_that_no_upcaster_touches_keeps_its_bytes() {
    let exact = r#"{"n":  0.10000000000000000000000000001, "m": 123456789012345678901234567890}"#;
    for recorded in [event("Placed", Some(4), exact), event("Other", None, exact)] {
        assert_eq!(lifted(&chain(), recorded.clone()), recorded);
    }
}

#[test]
fn an_upcaster_that_cannot_be_applied_leaves_the_event_and_says_why() {
    let recorded = event("Placed", None, r#"{"n":  1}"#);
    let lifted_to = lifted(&chain(), recorded.clone());
    assert_eq!((&lifted_to.data, &lifted_to.facts), (&recorded.data, &recorded.facts));
    let why = lifted_to.seen.upcast_error.unwrap();
    assert!(why.starts_with("Placed of schema version 1: "), "{why}");
    // Also where an earlier one of the chain could be.
    let failing = upcasters(vec![
        ("T", 1, json!({"patch": [{"op": "add", "path": "/x", "value": 1}]})),
        ("T", 2, json!({"patch": [{"op": "remove", "path": "/y"}]})),
    ]);
    let lifted_to = lifted(&failing, event("T", None, "{}"));
    assert_eq!((&lifted_to.data[..], lifted_to.facts.schema()), (&b"{}"[..], 1));
    assert!(lifted_to.seen.upcast_error.unwrap().starts_with("T of schema version 2"));
    let mut binary = event("Placed", None, "{}");
    binary.facts.content_type = "application/octet-stream".to_owned();
    assert!(lifted(&chain(), binary).seen.upcast_error.unwrap().contains("no JSON"));
    let array = lifted(&chain(), event("Placed", Some(2), "[]"));
    assert!(array.seen.upcast_error.unwrap().contains("no object"));
}

#[test]
fn an_upcaster_is_read_as_it_was_written() {
    for ((kind, from), upcaster) in chain() {
        assert_eq!(read(&key(&kind, from), &write(&upcaster)), Some(((kind, from), upcaster)));
    }
    let kind = "a/b".to_owned();
    assert_eq!(read(&key("a/b", 2), &write(&Upcaster::default())).unwrap().0, (kind, 2));
    assert_eq!(read("T", b"{}"), None);
    assert_eq!(upcaster(json!({"defaults": [1]})).check(), Err("`defaults` is an object".to_owned()));
}

#[test]
fn an_event_does_not_grow_without_an_end() {
    let copies: Vec<Value> =
        (0..23).map(|n| json!({"op": "copy", "from": "", "path": format!("/c{n}")})).collect();
    let all = upcasters(vec![("T", 1, json!({ "patch": copies }))]);
    let event = lifted(&all, event("T", None, r#"{"a":1}"#));
    assert_eq!(event.data, r#"{"a":1}"#);
    let why = event.seen.upcast_error.unwrap();
    assert!(why.contains("grow by more than 262144 bytes") || why.contains("60 deep"), "{why}");
    // The same in an array.
    let copies: Vec<Value> = (0..23).map(|_| json!({"op": "copy", "from": "/0", "path": "/0/-"})).collect();
    let all = upcasters(vec![("T", 1, json!({ "patch": copies }))]);
    let deep = lifted(&all, self::event("T", None, "[[]]"));
    assert!(deep.seen.upcast_error.unwrap().contains("grow by more than 262144 bytes"));
    let nested: Vec<Value> = (0..30)
        .map(|n| json!({"op": "add", "path": "/a".repeat(2 * n + 1), "value": {"a": {"a": null}}}))
        .collect();
    let all = upcasters(vec![("T", 1, json!({ "patch": nested }))]);
    let deep = lifted(&all, self::event("T", None, "{}"));
    assert!(deep.seen.upcast_error.unwrap().contains("more than 60 deep"));
    let large = "x".repeat(100_000);
    let copies: Vec<Value> =
        (0..3).map(|n| json!({"op": "copy", "from": "/a", "path": format!("/c{n}")})).collect();
    let all = upcasters(vec![("T", 1, json!({ "patch": copies }))]);
    let large = lifted(&all, self::event("T", None, &json!({ "a": large }).to_string()));
    assert!(large.seen.upcast_error.unwrap().contains("grow by more than 262144 bytes"));
}

#[test]
fn a_value_is_not_moved_to_and_fro_without_an_end() {
    let moves: Vec<Value> = (0..256)
        .map(|n| if n % 2 == 0 { ("/a", "/c") } else { ("/c", "/a") })
        .map(|(from, path)| json!({"op": "move", "from": from, "path": path}))
        .collect();
    let all = upcasters(vec![("T", 1, json!({ "patch": moves.clone() }))]);
    let large = lifted(&all, event("T", None, &json!({ "a": vec![0; 100_000] }).to_string()));
    assert!(large.seen.upcast_error.unwrap().contains("moved, copied and compared"));
    // What is small may be.
    let small = lifted(&all, event("T", None, r#"{"a":[0]}"#));
    assert_eq!(small.seen.upcast_error, None);
}

#[test]
fn an_upcaster_has_a_size() {
    let operation = json!({"op": "remove", "path": "/a"});
    let many = upcaster(json!({"patch": vec![operation; 257]}));
    assert_eq!(many.check().unwrap_err(), "`patch` has more than 256 operations");
    let large = upcaster(json!({"defaults": {"a": "x".repeat(70_000)}}));
    assert_eq!(large.check().unwrap_err(), "an upcaster is larger than 65536 bytes");
}
