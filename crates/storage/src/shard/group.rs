use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use model::batch::HEADER_BYTES;
use model::{BatchHeader, LeaderEpoch, Offset, PartitionId, ProducerId, Timestamp};
use tokio::sync::oneshot;

use crate::append::{AppendError, Appended};
use crate::options::LogConfig;
use crate::partition::Partition;
use crate::producers::{Marker, Producer, Producers};
use crate::queue::{Reply, Reservation};
use crate::storage::ChangeError;
use crate::wal::format::{GROUP_HEADER_BYTES, GroupHeader, Stamp};

/// What is written to the log with one write and made durable with one sync. Until it is committed nothing of
/// it can be seen outside; when the write fails it is dropped as if it had never been.
pub(super) struct Group {
    pub stamp: Stamp,
    pub position: u64,
    pub written_at: Timestamp,
    /// The header's place and the frames.
    pub buffer: Vec<u8>,
    pub frames: u32,
    /// Bytes of frames that the file has room for: for batches, and for everything else.
    pub room: Room,
    /// Bytes of batches, large ones included.
    pub bytes: usize,
    pub partitions: Vec<StagedPartition>,
    places: BTreeMap<PartitionId, usize>,
    pub answers: Vec<Answer>,
    /// Somebody's acknowledgement waits for the sync.
    pub is_durable: bool,
}

/// Room for frames. In the last file that can be had, some is kept for deletions and the like, so that a full log
/// can be emptied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub batches: usize,
    pub changes: usize,
    /// How many batches may be added to those that wait to be rolled up.
    pub pending: usize,
}

/// What a group does to one partition.
pub(super) struct StagedPartition {
    pub partition: Arc<Partition>,
    pub is_durable: bool,
    pub start: Offset,
    pub end: Offset,
    pub damaged: bool,
    pub deleted: bool,
    pub leader_epoch: LeaderEpoch,
    /// This group's producers, as they will be.
    pub producers: Producers,
    pub batches: Vec<StagedBatch>,
    /// How many of the batches, from the first on, lie in the segment.
    pub in_segment: usize,
    pub changes: Vec<StagedChange>,
}

pub(super) struct StagedBatch {
    pub header: BatchHeader,
    pub marker: Option<Marker>,
    pub place: Place,
}

pub(super) enum Place {
    /// Where the batch begins in the group's buffer.
    Wal {
        at: usize,
    },
    Direct {
        head: Bytes,
        rest: Bytes,
    },
}

pub(super) enum StagedChange {
    Create,
    Configure(LogConfig),
    LogStart(Offset),
    Delete,
}

/// Who waits for what. Given in the order of the requests.
pub(super) struct Answer {
    pub to: AnswerTo,
    /// Index of the partition concerned: the answer is given when that becomes visible. None: at the end.
    pub staged: Option<usize>,
    /// Given back with the answer.
    pub _reservation: Option<Reservation>,
}

pub(super) enum AnswerTo {
    Append { reply: oneshot::Sender<Result<Appended, AppendError>>, result: Result<Appended, AppendError> },
    Change { reply: Reply, result: Result<(Arc<Partition>, Offset), ChangeError> },
}

impl Group {
    pub fn new(stamp: Stamp, position: u64, room: Room, now: Timestamp) -> Group {
        Group {
            stamp,
            position,
            written_at: now,
            buffer: vec![0; GROUP_HEADER_BYTES],
            frames: 0,
            room,
            bytes: 0,
            partitions: Vec::new(),
            places: BTreeMap::new(),
            answers: Vec::new(),
            is_durable: false,
        }
    }

    /// Whether something is to be written.
    pub fn has_frames(&self) -> bool {
        self.frames > 0
    }

    /// Bytes of frames so far.
    pub fn frame_bytes(&self) -> usize {
        self.buffer.len() - GROUP_HEADER_BYTES
    }

    pub fn stage(&mut self, partition: &Arc<Partition>) -> usize {
        *self.places.entry(partition.id()).or_insert_with(|| {
            self.partitions.push(StagedPartition::new(partition.clone()));
            self.partitions.len() - 1
        })
    }

    pub fn staged(&self, id: PartitionId) -> Option<usize> {
        self.places.get(&id).copied()
    }

    /// Fills in the header; the buffer is then what goes into the file.
    pub fn finish(&mut self, shard: u32, synced: u64) -> GroupHeader {
        let header = GroupHeader {
            file: self.stamp.file,
            group: self.stamp.group,
            synced,
            position: self.position,
            written_at: self.written_at,
            body_bytes: (self.buffer.len() - GROUP_HEADER_BYTES) as u32,
            frames: self.frames,
            shard,
        };
        self.buffer[..GROUP_HEADER_BYTES].copy_from_slice(&header.encode());
        header
    }
}

impl StagedPartition {
    fn new(partition: Arc<Partition>) -> StagedPartition {
        let state = partition.state.lock();
        StagedPartition {
            is_durable: state.config.is_durable(),
            start: state.start,
            end: state.end,
            damaged: !state.damage.is_none(),
            deleted: state.deleted,
            leader_epoch: state.epochs.current(),
            producers: Producers::default(),
            batches: Vec::new(),
            in_segment: 0,
            changes: Vec::new(),
            partition: {
                drop(state);
                partition
            },
        }
    }
}

impl StagedPartition {
    /// The state of a producer as this group will leave it.
    pub fn producer(&mut self, id: ProducerId) -> Option<&Producer> {
        if !id.is_none() && self.producers.get(id).is_none() {
            let known = self.partition.state.lock().producers.get(id).cloned();
            if let Some(known) = known {
                self.producers.insert(id, known);
            }
        }
        self.producers.get(id)
    }
}

impl StagedBatch {
    /// The batch's bytes, in one or two parts.
    pub fn parts<'a>(&'a self, buffer: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        match &self.place {
            Place::Wal { at } => (&buffer[*at..*at + self.header.size_bytes()], &[]),
            Place::Direct { head, rest } => (head, rest),
        }
    }
}

/// A batch as the client sent it, split behind its header: the header is patched, the rest is shared.
pub(super) fn split(bytes: &Bytes) -> Bytes {
    bytes.slice(HEADER_BYTES..)
}

impl Answer {
    pub fn give(self) {
        // Whoever asked may have gone; the batch is in the log all the same.
        match self.to {
            AnswerTo::Append { reply, result } => drop(reply.send(result)),
            AnswerTo::Change { reply, result } => drop(reply.send(result)),
        }
    }
}
