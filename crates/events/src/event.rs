//! Events, before and after they are in the log.

use bytes::Bytes;
use model::{Offset, Timestamp};
use serde::{Deserialize, Serialize};

use crate::sealing::Sealed;

/// An event that somebody wants to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// CloudEvents `id`; the same one is never appended twice to a partition.
    pub id: String,
    pub facts: Facts,
    pub data: Bytes,
}

impl NewEvent {
    /// Whether something of it is to be encrypted still.
    pub fn is_personal(&self) -> bool {
        self.facts.sealed.as_ref().is_some_and(|sealed| sealed.key.is_none())
    }
}

/// What an event says about itself, apart from its data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// CloudEvents `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// CloudEvents `datacontenttype`, the record's header `content-type`.
    pub content_type: String,
    /// What it is about, for conditions and reads across streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// All that belongs to one business transaction has the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// The id of what this event follows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation: Option<String>,
    /// Anything else that its writer wants to be kept with it, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Of the data's shape; None: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u32>,
    /// Whose data it has, where these are to be erasable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
}

impl Facts {
    pub fn schema(&self) -> u32 {
        self.schema_version.unwrap_or(1)
    }
}

/// Whether data of this content type are JSON, whatever its case and its parameters.
pub fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let kind = kind.as_bytes();
    kind.eq_ignore_ascii_case(b"application/json")
        || kind.len() > 5 && kind[kind.len() - 5..].eq_ignore_ascii_case(b"+json")
}

/// How deep JSON may be nested. An answer has three levels around it, and the strictest readers take 64 (those of .NET).
pub const JSON_DEPTH_MAX: usize = 60;

/// How deep arrays and objects are nested in a text, if it is JSON.
pub fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut is_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Why JSON cannot be taken, whatever is in it.
pub fn check_depth(what: &str, json: &[u8]) -> Result<(), String> {
    match depth(json) {
        0..=JSON_DEPTH_MAX => Ok(()),
        depth => {
            Err(format!("{what} is nested {depth} deep, and {JSON_DEPTH_MAX} is the most that is taken"))
        }
    }
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub stream: String,
    /// From 1: the first event of a stream makes its version 1.
    pub version: u64,
    pub id: String,
    pub facts: Facts,
    pub data: Bytes,
    pub partition: i32,
    pub offset: Offset,
    /// When the owner took it.
    pub time: Timestamp,
    pub seen: Seen,
}

impl Recorded {
    /// What it takes in an answer, about.
    pub fn size(&self) -> usize {
        let facts = &self.facts;
        let tags: usize = facts.tags.iter().map(|tag| tag.len() + 3).sum();
        let metadata = facts.metadata.as_ref().map_or(0, String::len);
        self.data.len() + metadata + tags + self.stream.len() + self.id.len() + RECORDED_BYTES
    }
}

/// An event's numbers and short texts, about.
const RECORDED_BYTES: usize = 300;

/// How an event differs from what is recorded, for whoever reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Where it was lifted from.
    pub recorded_schema_version: Option<u32>,
    pub recorded_kind: Option<String>,
    /// Why it was not lifted.
    pub upcast_error: Option<String>,
    /// What was personal in it is null.
    pub is_erased: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_type_alone() {
        for json in
            ["application/json", "application/JSON; charset=utf-8", "application/vnd.x+json;v=1", "a/b+JSON"]
        {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "text/plain", "application/jsonl", "text/plain; x=application/json", "json"] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn only_brackets_outside_of_texts_are_levels() {
        assert_eq!(depth(b"1"), 0);
        assert_eq!(depth(br#"{"a":[1,{"b":[]}],"c":[]}"#), 4);
        assert_eq!(depth(br#"["[[[\"[[","]"]"#), 1);
        assert_eq!(check_depth("it", &b"[".repeat(JSON_DEPTH_MAX)), Ok(()));
        let why = check_depth("it", &b"[".repeat(100_000)).unwrap_err();
        assert_eq!(why, "it is nested 100000 deep, and 60 is the most that is taken");
    }
}
