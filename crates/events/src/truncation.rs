//! Truncation: events of a stream below a version are not read any more.
//!
//! The log is never rewritten. A mark says so, an event of the store's own in a stream of its own, in the partition of the
//! stream that it is about, so that it is ordered with that stream's events:
//!
//! ```text
//! levada.truncated:<stream>   levada.stream.truncated.v1   {"stream","before","archived","boundary"}
//! ```
//!
//! Of several marks of a stream the newest counts. What a mark needs to say is enough to know a stream of which nothing
//! else is left in the log: its version is at least `before` - 1, since every event below was there.

use serde::{Deserialize, Serialize};

use crate::event::{Facts, NewEvent};

/// The type of a mark.
pub const TRUNCATED: &str = "levada.stream.truncated.v1";

/// What the stream of a stream's marks is called before it.
pub const MARKS: &str = "levada.truncated:";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub stream: String,
    /// The first version that is still read.
    pub before: u64,
    /// What was below was copied into the archive first.
    pub archived: bool,
    /// Of the stream, where it is not its id: the event that says so may be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
}

impl Mark {
    /// The stream that the mark is appended to.
    pub fn place(&self) -> String {
        format!("{MARKS}{}", self.stream)
    }

    pub fn event(&self, id: String) -> NewEvent {
        NewEvent {
            id,
            facts: Facts {
                kind: TRUNCATED.to_owned(),
                content_type: "application/json".to_owned(),
                ..Facts::default()
            },
            data: serde_json::to_vec(self).expect("texts and numbers are JSON").into(),
        }
    }

    /// The mark that an event of the type [`TRUNCATED`] is. None: it is none that the store writes.
    pub fn read(stream: &str, data: &[u8]) -> Option<Mark> {
        serde_json::from_slice(data).ok().filter(|mark: &Mark| mark.before > 0 && mark.place() == stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_only_where_it_belongs() {
        let (stream, boundary) = ("bill-1".to_owned(), Some("customer-7".to_owned()));
        let mark = Mark { stream, before: 4, archived: true, boundary };
        let event = mark.event("id".to_owned());
        assert_eq!(Mark::read("levada.truncated:bill-1", &event.data), Some(mark));
        assert_eq!(Mark::read("levada.truncated:bill-2", &event.data), None);
        assert_eq!(Mark::read("levada.truncated:bill-1", b"{}"), None);
    }
}
