//! The words of appending: what goes in, what comes out, what may be refused.

use std::sync::Arc;

use model::{Batch, Offset, ProducerEpoch};

use crate::partition::Partition;
use crate::queue::Reservation;

/// One batch for one partition.
pub struct Append {
    pub partition: Arc<Partition>,
    pub batch: Batch,
    /// Append only if the log ends here; a guard for internal topics' owners.
    pub expected_end: Option<Offset>,
    /// A producer unknown to the partition must start at sequence 0 (transactional Produce v12+).
    pub first_sequence_zero: bool,
    /// Leads to deletions: also on a full disk, in the room that is kept for those.
    pub frees_room: bool,
    /// Room in the queue taken beforehand; without it a full queue refuses with [`AppendError::Overloaded`].
    pub reservation: Option<Reservation>,
}

impl Append {
    pub fn new(partition: Arc<Partition>, batch: Batch) -> Append {
        Append {
            partition,
            batch,
            expected_end: None,
            first_sequence_zero: false,
            frees_room: false,
            reservation: None,
        }
    }
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub log_start_offset: Offset,
    /// The batch was there already; the offsets are those of the first time.
    pub duplicate: bool,
}

/// Why a batch was not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("sequence {found} does not follow {expected}")]
    OutOfOrderSequence { expected: i32, found: i32 },
    #[error("producer epoch {found} is older than {current}")]
    InvalidProducerEpoch { current: ProducerEpoch, found: ProducerEpoch },
    /// The guard said otherwise.
    #[error("the log ends at {log_end}")]
    UnexpectedEnd { log_end: Offset },
    /// A part of the partition is damaged: it is read-only until it was repaired.
    #[error("the partition is damaged and read-only")]
    Damaged,
    #[error("the disk is full")]
    DiskFull,
    /// No file can be opened now; later it may.
    #[error("the process has too many files open")]
    OutOfFiles,
    /// A sync failed: the log is closed until the process starts anew. Whether the batch is in it is unknown.
    #[error("the log is closed")]
    Closed,
    #[error("the partition is deleted")]
    Deleted,
    #[error("too much is waiting to be written")]
    Overloaded,
}
