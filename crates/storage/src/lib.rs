//! The log: write-ahead log, segments, indexes, recovery, retention.
//!
//! (Being written; the signatures below are what the broker may rely on.)
#![allow(clippy::todo)]

mod append;
mod metrics;
mod options;
mod partition;
mod queue;
mod shard;
mod storage;

pub use append::{Append, AppendError, Appended};
pub use metrics::{Counter, Gauge, Histogram, Metrics};
pub use options::{LogConfig, Options};
pub use partition::{
    AbortedTransaction, FoundTimestamp, Health, Offsets, Partition, ProducerState, Read, ReadError, WakeGuard,
};
pub use queue::Reservation;
pub use shard::Shard;
pub use storage::{ChangeError, OpenError, Storage};
