//! Events, before and after they are in the log.

use bytes::Bytes;
use model::{Offset, Timestamp};
use serde::{Deserialize, Serialize};

/// An event that somebody wants to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// CloudEvents `id`; the same one is never appended twice to a partition.
    pub id: String,
    pub facts: Facts,
    pub data: Bytes,
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
}
