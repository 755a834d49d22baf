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
