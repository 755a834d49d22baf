//! Event sourcing: Kafka topics as an event store with expected versions.
//!
//! Streams of events live in topics, one topic a *category*; a stream's version counts its events. Each partition has
//! one owner at a time, which alone appends: it checks expected versions and conditions, and answers when the log has
//! the events. What it needs to know is in an index beside the log that can be deleted and comes back from it.
//!
//! It reaches the log through Kafka's protocol only, so that it runs on the embedded broker and on a cluster alike, and
//! never writes what another consumer of the topic could not read: records are CloudEvents in Kafka's binary mode.
//!
//! What becomes of streams over time stands beside that: [`snapshot`], [`truncation`], [`upcast`], [`sealing`].
//!
//! Start reading at [`machine`], which decides what is appended; then [`owner`] (one partition's writer), [`replica`]
//! (its reader, with [`index`]), and [`service`], which puts them together.

pub mod append;
pub mod category;
pub mod consumers;
pub mod event;
mod index;
mod keys;
mod machine;
mod options;
mod owner;
pub mod peers;
mod planted;
mod query;
mod record;
mod repairs;
mod replica;
mod sealing;
mod service;
mod snapshot;
mod table;
mod trimmed;
mod truncation;
pub mod upcast;
pub mod verify;

pub use append::{Append, AppendError, Appended, Condition, Expected, Selector, StreamAppend};
pub use category::{Category, CategoryError};
pub use event::{NewEvent, Recorded, is_json};
pub use keys::KeyError;
pub use options::Options;
pub use query::{Direction, Found, ReadError};
pub use record::rfc3339;
pub use sealing::Sealed;
pub use service::{
    CategoryInfo, Certificate, DeletedCategory, EraseError, Events, Filter, Freshness, Handle, Peer,
    RepairAction, RepairError, TableRepair, Tried, TrimmedPartition, Trouble, TruncateError, Truncated,
};
pub use snapshot::{Loaded, NewSnapshot, Snapshot, SnapshotError};
pub use table::TableError;
