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
