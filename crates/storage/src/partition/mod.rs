//! One partition's log: what readers see of it, and the way of its batches into segments.

mod damage;
mod read;
mod state;
mod times;
mod wakers;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::options::LogConfig;
use crate::producers::AbortedTransaction;
use crate::site::Site;

pub(crate) use damage::{Damage, Lost};
pub(crate) use state::{LogState, Pending, TailBatch};
pub use wakers::WakeGuard;
use wakers::Wakers;
pub(crate) use writer::{DirectError, Synced, Writer};

/// One partition's log, for readers. Nothing here waits for the storage thread.
pub struct Partition {
    id: PartitionId,
    pub(crate) directory: PathBuf,
    pub(crate) site: Arc<Site>,
    pub(crate) state: Mutex<LogState>,
    /// Held while writing to segments; taken before `state`, never after.
    pub(crate) writer: Mutex<Writer>,
    wakers: Wakers,
    /// What whoever uses the log calls it.
    label: OnceLock<Box<str>>,
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

/// Whether a partition takes appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    /// Read-only; reads in these ranges (first and last offset) answer [`ReadError::Corrupt`]. No range: records
    /// may be missing at the end.
    Damaged(Vec<(Offset, Offset)>),
    /// A sync failed: nothing is written to this storage any more.
    Closed,
}

impl Partition {
    pub(crate) fn new(id: PartitionId, site: Arc<Site>, state: LogState, writer: Writer) -> Partition {
        Partition {
            id,
            directory: site.partitions_dir().join(id.to_string()),
            site,
            state: Mutex::new(state),
            writer: Mutex::new(writer),
            wakers: Wakers::default(),
            label: OnceLock::new(),
        }
    }

    /// Says what the log belongs to, such as a topic's name, for those who read log lines. The first word counts.
    pub fn set_label(&self, label: &str) {
        self.label.get_or_init(|| label.into());
    }

    /// Empty where nobody has said.
    pub(crate) fn label(&self) -> &str {
        self.label.get().map_or("", |label| label)
    }

    pub fn id(&self) -> PartitionId {
        self.id
    }

    pub fn config(&self) -> Arc<LogConfig> {
        self.state.lock().config.clone()
    }

    pub fn health(&self) -> Health {
        let state = self.state.lock();
        if !state.damage.is_none() {
            Health::Damaged(state.damage.ranges())
        } else if self.site.is_closed() {
            Health::Closed
        } else {
            Health::Good
        }
    }

    pub fn offsets(&self) -> Offsets {
        self.state.lock().offsets()
    }

    /// Reads whole batches from the one holding `from`, about `bytes_max` bytes of them, but at least one
    /// batch; none that ends at or after `up_to`. May block on the disk unless [`Partition::is_cached`].
    pub fn read(&self, from: Offset, bytes_max: usize, up_to: Offset) -> Result<Read, ReadError> {
        self.read_batches(from, bytes_max, up_to)
    }

    /// Whether a read from here is answered from memory.
    pub fn is_cached(&self, from: Offset) -> bool {
        let state = self.state.lock();
        from < state.start || from >= state.end || state.tail_index(from).is_some()
    }

    /// `notify_one`s whenever high watermark, last stable offset or log start moved, or the partition went away.
    pub fn wake_on_advance(self: &Arc<Self>, waker: &Arc<Notify>) -> WakeGuard {
        self.wakers.add(self, waker)
    }

    pub(crate) fn wake(&self) {
        self.wakers.wake();
    }

    /// The first record at or after a time, also inside compressed batches; none at or above `up_to`. May block.
    pub fn offset_for_timestamp(
        &self,
        at: Timestamp,
        up_to: Offset,
    ) -> Result<Option<FoundTimestamp>, ReadError> {
        self.find_timestamp(at, up_to)
    }

    /// The first record with the largest timestamp. May block.
    pub fn max_timestamp_offset(&self) -> Result<Option<FoundTimestamp>, ReadError> {
        self.find_max_timestamp()
    }

    /// Where an epoch ends: for the current one the log's end, for an older one the start of the next known to
    /// the log, with the largest epoch not above the one asked for. None for a newer one (Kafka: -1, -1).
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let state = self.state.lock();
        state.epochs.end_of(epoch, state.end)
    }

    pub fn producers(&self) -> Vec<ProducerState> {
        let state = self.state.lock();
        let described = state.producers.iter().map(|(id, producer)| ProducerState {
            id,
            epoch: producer.epoch,
            last_sequence: producer.last_sequence(),
            last_append: producer.last_append,
            coordinator_epoch: producer.coordinator_epoch,
            transaction_start: producer.transaction_start,
        });
        described.collect()
    }

    /// How often aborted transactions were forgotten because compaction has left nothing of them. Who reads records, and
    /// asks for [`Partition::aborted_transactions`] after that, has all that concern these records if this number is
    /// the same at the end as it was at the beginning.
    pub fn aborted_forgotten(&self) -> u64 {
        self.state.lock().aborted_forgotten
    }

    /// Aborted transactions that overlap `from..up_to`, by first offset.
    pub fn aborted_transactions(&self, from: Offset, up_to: Offset) -> Vec<AbortedTransaction> {
        self.state.lock().producers.aborted(from, up_to)
    }

    pub fn size_bytes(&self) -> u64 {
        self.state.lock().size_bytes()
    }
}
