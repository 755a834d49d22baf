use std::sync::Arc;

use bytes::Bytes;
use model::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp};
use tokio::sync::Notify;

use crate::options::LogConfig;

/// One partition's log, for readers. Nothing here waits for the storage thread.
pub struct Partition {
    _todo: (),
}

/// A partition's marks, taken at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub log_start: Offset,
    /// Records below it are as durable as their topic demands.
    pub high_watermark: Offset,
    /// Below it no transaction is open.
    pub last_stable: Offset,
    /// The next offset to be given.
    pub log_end: Offset,
    pub leader_epoch: LeaderEpoch,
}

/// Whole batches, in offset order. A batch may be spread over several chunks.
#[derive(Clone, Debug, Default)]
pub struct Read {
    pub chunks: Vec<Bytes>,
    pub bytes: usize,
    /// The offset after the last batch; where the read began when there is none.
    pub next_offset: Offset,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Below the log's start or beyond its end.
    #[error("offset is outside {log_start}..={log_end}")]
    OutOfRange { log_start: Offset, log_end: Offset },
    #[error("the batch at offset {offset} is damaged")]
    Corrupt { offset: Offset },
    #[error("the partition is deleted")]
    Deleted,
    #[error("reading failed")]
    Io(#[from] std::io::Error),
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundTimestamp {
    pub timestamp: Timestamp,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

/// What a partition remembers of a producer (for DescribeProducers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    /// -1: none yet.
    pub last_sequence: i32,
    /// When it last appended, by our clock.
    pub last_append: Timestamp,
    /// The epoch of the coordinator that wrote its last marker; -1: none.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub transaction_start: Option<Offset>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer: ProducerId,
    pub first_offset: Offset,
    /// Of the abort marker.
    pub last_offset: Offset,
}

/// Whether a partition takes appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    /// Read-only; reads in these ranges (first and last offset) answer [`ReadError::Corrupt`].
    Damaged(Vec<(Offset, Offset)>),
    Closed,
}

/// Takes the waker back when dropped.
pub struct WakeGuard {
    _todo: (),
}

impl Partition {
    pub fn id(&self) -> PartitionId {
        todo!()
    }

    pub fn config(&self) -> Arc<LogConfig> {
        todo!()
    }

    pub fn health(&self) -> Health {
        todo!()
    }

    pub fn offsets(&self) -> Offsets {
        todo!()
    }

    /// Reads whole batches from the one holding `from`, about `bytes_max` bytes of them, but at least one
    /// batch; none that ends at or after `up_to`. May block on the disk unless [`Partition::is_cached`].
    pub fn read(&self, _from: Offset, _bytes_max: usize, _up_to: Offset) -> Result<Read, ReadError> {
        todo!()
    }

    /// Whether a read from here is answered from memory.
    pub fn is_cached(&self, _from: Offset) -> bool {
        todo!()
    }

    /// `notify_one`s whenever high watermark, last stable offset or log start moved, or the partition went away.
    pub fn wake_on_advance(self: &Arc<Self>, _waker: &Arc<Notify>) -> WakeGuard {
        todo!()
    }

    /// The first record at or after a time, also inside compressed batches; none at or above `up_to`. May block.
    pub fn offset_for_timestamp(
        &self,
        _at: Timestamp,
        _up_to: Offset,
    ) -> Result<Option<FoundTimestamp>, ReadError> {
        todo!()
    }

    /// The first record with the largest timestamp. May block.
    pub fn max_timestamp_offset(&self) -> Result<Option<FoundTimestamp>, ReadError> {
        todo!()
    }

    /// Where an epoch ends: for the current one the log's end, for an older one the start of the next known to
    /// the log, with the largest epoch not above the one asked for. None for a newer one (Kafka: -1, -1).
    pub fn end_offset_for_epoch(&self, _epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        todo!()
    }

    pub fn producers(&self) -> Vec<ProducerState> {
        todo!()
    }

    /// Aborted transactions that overlap `from..up_to`, by first offset.
    pub fn aborted_transactions(&self, _from: Offset, _up_to: Offset) -> Vec<AbortedTransaction> {
        todo!()
    }

    pub fn size_bytes(&self) -> u64 {
        todo!()
    }
}
