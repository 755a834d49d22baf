use std::collections::BTreeMap;

use bytes::Bytes;
use model::{Batch, BatchHeader, Offset, PartitionId, Timestamp};

use crate::checkpoint::PartitionRecord;
use crate::options::LogConfig;
use crate::partition::{LogState, Lost, Pending, Synced};
use crate::producers::Marker;
use crate::segment::Facts;
use crate::site::Site;
use crate::wal::format::{Entry, FRAME_HEADER_BYTES, Frame};

/// Partitions on their way back from checkpoint and log.
#[derive(Default)]
pub(crate) struct Replay {
    pub partitions: BTreeMap<PartitionId, Rebuilt>,
    losses: Vec<Loss>,
    /// Losses up to this group change nothing: the checkpoint has their effects.
    covered_group: u64,
    /// Counts frames and losses.
    clock: u64,
}

/// One partition, half rebuilt.
pub(crate) struct Rebuilt {
    pub state: LogState,
    pub synced: Synced,
    pub segments: Vec<(Offset, Facts)>,
    /// The last large batch that the log names: the segments reach that far at least.
    pub direct: Option<DirectEnd>,
    /// Records that the log has lost; a segment may have them.
    lost: Vec<Lost>,
    /// Up to where every record was found or is known to be lost.
    accounted: Offset,
    /// Its creation was not seen.
    is_foundling: bool,
    /// When its last frame was seen.
    last_seen: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectEnd {
    pub segment: Offset,
    /// Position in the segment, and offset, behind the batch.
    pub position: u64,
    pub end: Offset,
}

/// Frames that were synced and cannot be read.
struct Loss {
    at: u64,
    /// How many, if that is known.
    frames: Option<u32>,
    /// Partitions in whose offsets a gap showed it.
    named: u32,
}

/// Where a frame was read.
#[derive(Clone, Copy)]
pub(crate) struct FrameAt {
    pub file: u64,
    /// Of the frame in the file.
    pub position: u64,
    pub written_at: Timestamp,
    pub is_intact: bool,
}

impl Replay {
    pub fn new(records: Vec<PartitionRecord>, covered_group: u64) -> Replay {
        let partitions =
            records.into_iter().map(|record| (record.id, Rebuilt::from_record(record))).collect();
        Replay { partitions, covered_group, ..Replay::default() }
    }

    /// Something that was synced is missing here, in this group or before.
    pub fn lose(&mut self, group: u64, frames: Option<u32>) {
        if group <= self.covered_group {
            return;
        }
        self.clock += 1;
        self.losses.push(Loss { at: self.clock, frames, named: 0 });
    }

    pub fn apply(&mut self, frame: &Frame<'_>, at: FrameAt, site: &Site) {
        self.clock += 1;
        let id = frame.partition;
        match &frame.entry {
            Entry::Create(config) => {
                let fresh = || Rebuilt::new(LogState::new(config.clone()));
                self.partitions.entry(id).or_insert_with(fresh).last_seen = self.clock;
                return;
            }
            Entry::Delete => {
                if let Some(mut rebuilt) = self.partitions.remove(&id) {
                    rebuilt.state.delete(site);
                }
                return;
            }
            _ => {}
        }
        // Either its creation is lost, or it is a deleted one whose deletion comes later in the log.
        let foundling =
            || Rebuilt { is_foundling: true, ..Rebuilt::new(LogState::new(LogConfig::unknown())) };
        let rebuilt = self.partitions.entry(id).or_insert_with(foundling);
        let (before, now) = (rebuilt.last_seen, self.clock);
        let accounted = rebuilt.accounted;
        rebuilt.last_seen = now;
        match &frame.entry {
            Entry::Batch(header) => rebuilt.batch(header, frame, at, site),
            Entry::Direct { header, segment, position } => {
                let end = DirectEnd {
                    segment: *segment,
                    position: position + header.size_bytes() as u64,
                    end: header.next_offset(),
                };
                rebuilt.direct(header, end, at, site);
            }
            Entry::Configure(config) => rebuilt.state.config = config.clone().into(),
            Entry::LogStart(start) => {
                // Batches below it may have been in groups that are lost; they are nobody's loss.
                rebuilt.state.end = rebuilt.state.end.max(*start);
                rebuilt.accounted = rebuilt.accounted.max(*start);
                rebuilt.state.set_start(*start);
            }
            Entry::Create(_) | Entry::Delete => unreachable!("done above"),
        }
        if let Entry::Batch(header) | Entry::Direct { header, .. } = &frame.entry
            && header.base_offset > accounted
        {
            for loss in self.losses.iter_mut().filter(|loss| before < loss.at && loss.at < now) {
                loss.named += 1;
            }
        }
    }

    /// Settles what is lost. Where a loss could not be pinned down to gaps, every partition that has no frame
    /// behind it may be the one.
    pub fn finish(&mut self, site: &Site) {
        for rebuilt in self.partitions.values_mut() {
            if rebuilt.accounted < rebuilt.state.end {
                rebuilt.lose(rebuilt.accounted, rebuilt.state.end.plus(-1));
            }
            for lost in std::mem::take(&mut rebuilt.lost) {
                if lost.last >= rebuilt.state.start && rebuilt.state.damage.add(lost) {
                    site.metrics.damaged_batches.add(1);
                }
            }
        }
        for loss in &self.losses {
            if loss.frames.is_some_and(|frames| frames <= loss.named) {
                continue;
            }
            for rebuilt in self.partitions.values_mut().filter(|rebuilt| rebuilt.last_seen < loss.at) {
                rebuilt.state.damage.tail_suspect = true;
            }
        }
    }

    /// Tells the operator.
    pub fn report(&self) {
        for (id, rebuilt) in &self.partitions {
            if rebuilt.is_foundling {
                tracing::error!(partition = %id, "its creation is lost, and its settings with it");
            }
            for (first, last) in rebuilt.state.damage.ranges() {
                tracing::error!(
                    partition = %id,
                    first = first.0,
                    last = last.0,
                    "damaged records: the partition is read-only until `levada repair --accept-loss`"
                );
            }
            if rebuilt.state.damage.tail_suspect {
                tracing::error!(
                    partition = %id,
                    end = rebuilt.state.end.0,
                    "records may be missing at the end: read-only until `levada repair --accept-loss`"
                );
            }
        }
    }
}

impl Rebuilt {
    fn new(state: LogState) -> Rebuilt {
        Rebuilt {
            state,
            synced: Synced::default(),
            segments: Vec::new(),
            direct: None,
            lost: Vec::new(),
            accounted: Offset::ZERO,
            is_foundling: false,
            last_seen: 0,
        }
    }

    fn from_record(record: PartitionRecord) -> Rebuilt {
        let mut state = LogState::new(record.config);
        state.start = record.start;
        state.end = record.end;
        state.epochs = record.epochs;
        state.producers = record.producers;
        state.damage = record.damage;
        state.rolled_end = record.synced.end;
        let accounted = record.synced.end.max(record.start);
        Rebuilt { synced: record.synced, segments: record.segments, accounted, ..Rebuilt::new(state) }
    }

    fn batch(&mut self, header: &BatchHeader, frame: &Frame<'_>, at: FrameAt, site: &Site) {
        let marker = if header.attributes.is_control() && at.is_intact {
            Batch::parse(Bytes::copy_from_slice(frame.payload)).ok().as_ref().and_then(Marker::read)
        } else {
            None
        };
        self.advance(header, marker, at, site);
        if header.base_offset < self.state.rolled_end {
            return;
        }
        self.account(header);
        if !at.is_intact {
            self.lose(header.base_offset, header.last_offset());
            return;
        }
        let pending = Pending {
            base: header.base_offset,
            max_timestamp: header.max_timestamp,
            file: at.file,
            position: (at.position + FRAME_HEADER_BYTES as u64) as u32,
            bytes: frame.payload.len() as u32,
            last_offset_delta: header.last_offset_delta,
        };
        self.state.push_pending(pending, site);
    }

    fn direct(&mut self, header: &BatchHeader, end: DirectEnd, at: FrameAt, site: &Site) {
        self.advance(header, None, at, site);
        if header.base_offset < self.state.rolled_end {
            return;
        }
        // All that came before it went into the segments before it.
        while !self.state.pending.is_empty() {
            self.state.pop_pending(site);
        }
        self.state.rolled_end = end.end;
        self.lost.retain(|lost| lost.first >= end.end);
        self.accounted = end.end;
        self.direct = Some(end);
    }

    fn advance(&mut self, header: &BatchHeader, marker: Option<Marker>, at: FrameAt, site: &Site) {
        if header.base_offset >= self.state.end {
            self.state.advance(header, marker, at.written_at, site);
        }
    }

    /// Records between what was found last and this batch are missing.
    fn account(&mut self, header: &BatchHeader) {
        if header.base_offset > self.accounted {
            self.lose(self.accounted, header.base_offset.plus(-1));
        }
        self.accounted = self.accounted.max(header.next_offset());
    }

    fn lose(&mut self, first: Offset, last: Offset) {
        self.lost.push(Lost { first, last, spot: None });
    }
}
