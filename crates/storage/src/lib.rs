//! The log: write-ahead log, segments, indexes, recovery, retention.
//!
//! (Being written; the signatures below are what the broker may rely on.)

mod append;
mod bell;
mod checkpoint;
mod codec;
mod directory;
mod epochs;
mod keeper;
mod metrics;
mod offline;
mod options;
mod partition;
mod producers;
mod queue;
mod recovery;
mod repair;
mod segment;
mod shard;
mod site;
mod storage;
#[cfg(test)]
mod tests;
mod verify;
mod wal;

pub use append::{Append, AppendError, Appended};
pub use metrics::{Counter, Gauge, Histogram, Metrics};
pub use offline::read_offline;
pub use options::{LogConfig, Options};
pub use partition::{FoundTimestamp, Health, Offsets, Partition, ProducerState, Read, ReadError, WakeGuard};
pub use producers::AbortedTransaction;
pub use queue::Reservation;
pub use repair::{Repaired, repair};
pub use shard::Shard;
pub use storage::{ChangeError, OpenError, Storage};
pub use verify::{PartitionReport, Report, ShardReport, verify};
