//! Snapshots: the state that a stream's events lead to, kept beside them so that nobody has to read them all.
//!
//! ```text
//! <category>.snapshots   compacted; key: the stream's id, value: JSON
//!   format 1 · version · schemaVersion · contentType · time · position · data, or dataBase64 where it is not JSON
//! ```
//!
//! A snapshot is a cache of its writer's: the store never looks into it, and whatever is wrong with it, the events give
//! it back.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use client::Position;
use model::{Timestamp, TopicId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::{check_depth, is_json};
use crate::query::{Found, ReadError};
use crate::sealing::Sealed;

/// Another number when the record's fields change their meaning.
const FORMAT: u32 = 1;

/// What somebody wants to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Of the last event that it rests on.
    pub version: u64,
    /// Of the code that made it: whoever has other code replays.
    pub schema_version: u32,
    pub content_type: String,
    pub data: Bytes,
    /// Whose data it has, where these are to be erasable.
    pub sealed: Option<Sealed>,
}

/// A snapshot that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub version: u64,
    pub schema_version: u32,
    pub content_type: String,
    pub data: Bytes,
    /// When it was put.
    pub time: Timestamp,
    /// Whoever reads at least this fresh sees the events that it rests on.
    pub position: Position,
    pub sealed: Option<Sealed>,
}

impl Snapshot {
    /// Whether it rests on events of this topic: a category may be another one since, with streams of the same ids.
    pub fn is_of(&self, topic: TopicId) -> bool {
        self.position.iter().any(|(partition, _)| partition.topic == topic)
    }
}

/// A snapshot, and the events after it; without one that can be used, from the beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    pub snapshot: Option<Snapshot>,
    pub found: Found,
}

/// Why a snapshot was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("a snapshot of version {version} cannot be: the stream is at version {current}")]
    Ahead { version: u64, current: u64 },
    #[error("a snapshot of version {version} is older than the one that is there, of version {stored}")]
    Older { version: u64, stored: u64 },
    #[error("{0}")]
    Invalid(String),
    #[error("the snapshot is larger than its topic takes (max.message.bytes): {0}")]
    TooLarge(String),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A record's value.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    format: u32,
    version: u64,
    schema_version: u32,
    content_type: String,
    /// Milliseconds since 1970.
    time: i64,
    position: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// Whether a snapshot may take the place of what is there.
pub fn check(new: &NewSnapshot, current: u64, stored: Option<&Snapshot>) -> Result<(), SnapshotError> {
    if is_json(&new.content_type) {
        check_depth("a snapshot's data", &new.data).map_err(SnapshotError::Invalid)?;
    }
    let version = new.version;
    if version == 0 || new.schema_version == 0 {
        return Err(SnapshotError::Invalid("`version` and `schemaVersion` count from 1".to_owned()));
    }
    if version > current {
        return Err(SnapshotError::Ahead { version, current });
    }
    match stored {
        Some(stored) if stored.schema_version == new.schema_version && stored.version > version => {
            Err(SnapshotError::Older { version, stored: stored.version })
        }
        _ => Ok(()),
    }
}

pub fn write(snapshot: &Snapshot) -> Vec<u8> {
    let text = std::str::from_utf8(&snapshot.data).ok().filter(|_| is_json(&snapshot.content_type));
    let data = text.and_then(|text| RawValue::from_string(text.to_owned()).ok());
    let value = Value {
        format: FORMAT,
        version: snapshot.version,
        schema_version: snapshot.schema_version,
        content_type: snapshot.content_type.clone(),
        time: snapshot.time.0,
        position: snapshot.position.to_string(),
        sealed: snapshot.sealed.clone(),
        data_base64: data.is_none().then(|| BASE64_STANDARD.encode(&snapshot.data)),
        data,
    };
    serde_json::to_vec(&value).expect("texts and numbers are JSON")
}

/// None: it is of another format, or no snapshot. Then there is none.
pub fn read(bytes: &[u8]) -> Option<Snapshot> {
    let value: Value = serde_json::from_slice(bytes).ok().filter(|value: &Value| value.format == FORMAT)?;
    let data = match (value.data, value.data_base64) {
        (Some(data), _) => Bytes::from(Box::<str>::from(data).into_string()),
        (None, Some(text)) => BASE64_STANDARD.decode(text).ok()?.into(),
        (None, None) => return None,
    };
    Some(Snapshot {
        version: value.version,
        schema_version: value.schema_version,
        content_type: value.content_type,
        data,
        time: Timestamp(value.time),
        position: value.position.parse().ok()?,
        sealed: value.sealed,
    })
}

#[cfg(test)]
mod tests;
