use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use model::{BatchHeader, LeaderEpoch, Offset, Timestamp};

use super::Offsets;
use super::damage::Damage;
use crate::epochs::Epochs;
use crate::options::LogConfig;
use crate::producers::{Marker, Producers};
use crate::segment::Segment;
use crate::site::Site;

/// A partition's log as its readers see it. Only what is as durable as the topic demands is in here.
///
/// ```text
///  start                     rolled_end                          end
///    │  segments                 │  pending: in the write-ahead log │
///    └──────────────────────────┴──────────────────────────────────┘
///                                          │  tail: also in memory  │
/// ```
pub(crate) struct LogState {
    pub config: Arc<LogConfig>,
    pub start: Offset,
    pub end: Offset,
    pub epochs: Epochs,
    pub producers: Producers,
    /// By base offset; the last one may grow.
    pub segments: Vec<Arc<Segment>>,
    /// Below it everything lies in segments.
    pub rolled_end: Offset,
    /// By offset.
    pub pending: VecDeque<Pending>,
    pub pending_bytes: u64,
    /// By offset, up to the end without gaps.
    pub tail: VecDeque<TailBatch>,
    pub damage: Damage,
    pub deleted: bool,
    /// Compacted up to here.
    pub compacted_end: Offset,
    /// How often aborted transactions were forgotten because compaction has left nothing of them.
    pub aborted_forgotten: u64,
}

/// A batch in the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub base: Offset,
    pub max_timestamp: Timestamp,
    pub file: u64,
    /// Of the batch itself, behind its frame's header.
    pub position: u32,
    pub bytes: u32,
    pub last_offset_delta: i32,
}

impl Pending {
    pub fn last(&self) -> Offset {
        self.base.plus(i64::from(self.last_offset_delta))
    }
}

/// A batch in memory: in one piece, or header and rest.
#[derive(Clone, Debug)]
pub(crate) struct TailBatch {
    pub base: Offset,
    pub last: Offset,
    pub head: Bytes,
    pub rest: Bytes,
}

impl TailBatch {
    pub fn size_bytes(&self) -> usize {
        self.head.len() + self.rest.len()
    }

    /// Whether it lies in the buffer of its group, together with those of other partitions.
    pub fn is_shared(&self) -> bool {
        self.rest.is_empty()
    }
}

impl LogState {
    pub fn new(config: LogConfig) -> LogState {
        LogState {
            config: Arc::new(config),
            start: Offset::ZERO,
            end: Offset::ZERO,
            epochs: Epochs::new(),
            producers: Producers::default(),
            segments: Vec::new(),
            rolled_end: Offset::ZERO,
            pending: VecDeque::new(),
            pending_bytes: 0,
            tail: VecDeque::new(),
            damage: Damage::default(),
            deleted: false,
            compacted_end: Offset::ZERO,
            aborted_forgotten: 0,
        }
    }

    pub fn offsets(&self) -> Offsets {
        let last_stable = self.producers.open_from().map_or(self.end, |open| open.max(self.start));
        Offsets {
            log_start: self.start,
            high_watermark: self.end,
            last_stable,
            log_end: self.end,
            leader_epoch: self.epochs.current(),
        }
    }

    /// Takes in a batch at the end of the log; where it lies is told by `push_pending` or `rolled`.
    pub fn advance(&mut self, header: &BatchHeader, marker: Option<Marker>, at: Timestamp, site: &Site) {
        assert!(header.base_offset >= self.end, "batches follow each other");
        self.epochs.begin(header.partition_leader_epoch, header.base_offset);
        self.producers.apply(header, marker, at, site.options.producer_id_expiration);
        self.end = header.next_offset();
    }

    /// Records may have been lost at the end, or accepted as lost: clients find out by the epoch.
    pub fn begin_epoch(&mut self) {
        let epoch = LeaderEpoch(self.epochs.current().0 + 1);
        self.epochs.begin(epoch, self.end);
    }

    pub fn push_pending(&mut self, pending: Pending, site: &Site) {
        self.pending_bytes += u64::from(pending.bytes);
        site.add_pending(pending.bytes.into());
        self.pending.push_back(pending);
    }

    /// The oldest batch in the write-ahead log lies in a segment now, or is not needed any more.
    pub fn pop_pending(&mut self, site: &Site) {
        let Some(pending) = self.pending.pop_front() else { return };
        self.pending_bytes -= u64::from(pending.bytes);
        site.sub_pending(pending.bytes.into());
        self.rolled_end = self.rolled_end.max(pending.last().plus(1));
    }

    pub fn set_start(&mut self, start: Offset) {
        if start <= self.start {
            return;
        }
        self.start = start;
        self.epochs.truncate_start(start);
        self.producers.truncate_start(start);
        self.damage.truncate_start(start);
    }

    /// Empties everything; the files go later.
    pub fn delete(&mut self, site: &Site) {
        self.deleted = true;
        while !self.pending.is_empty() {
            self.pop_pending(site);
        }
        self.tail.clear();
        // Open files take room until they are closed, and somebody may hold this partition for long.
        self.segments.clear();
    }

    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.facts().size).sum::<u64>() + self.pending_bytes
    }

    /// The index of the first tail batch that ends at or after an offset, if the tail reaches back that far.
    pub fn tail_index(&self, from: Offset) -> Option<usize> {
        if self.tail.front()?.base > from {
            return None;
        }
        Some(self.tail.partition_point(|batch| batch.last < from))
    }
}
