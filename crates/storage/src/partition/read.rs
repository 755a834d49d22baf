use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use env::read_exact_at;
use model::batch::BatchBuilder;
use model::{BatchHeader, Compression, Offset};

use super::damage::Lost;
use super::state::{LogState, Pending, TailBatch};
use super::{Partition, Read, ReadError};
use crate::segment::{Known, Segment, SegmentRead, Spot, Step, Walk};
use crate::wal::WalFile;

/// Where a read will find its batches; made under the lock, carried out without it.
enum Plan {
    Nothing,
    /// A batch that stands for offsets that are gone for good.
    StepOver(Read),
    Tail(Vec<TailBatch>),
    Wal(Vec<(Arc<WalFile>, Pending)>),
    Segment {
        segment: Arc<Segment>,
        known: Known,
        up_to: Offset,
    },
}

impl Partition {
    pub(super) fn read_batches(
        &self,
        from: Offset,
        bytes_max: usize,
        up_to: Offset,
    ) -> Result<Read, ReadError> {
        let mut position = from;
        let mut mended = None;
        // Each round ends, or goes on at a later offset, or has learnt of damage, or has made an index anew; the bound
        // is for the case that files vanish while we look.
        for _ in 0..ROUNDS_MAX {
            let plan = self.plan(position, bytes_max, up_to)?;
            match plan {
                Plan::Nothing => return Ok(Read { next_offset: from, ..Read::default() }),
                Plan::StepOver(read) => return Ok(read),
                Plan::Tail(batches) => {
                    self.site.metrics.tail_hits.add(1);
                    return Ok(gather(&batches));
                }
                Plan::Wal(pieces) => {
                    self.site.metrics.tail_misses.add(1);
                    if let Some(read) = self.read_wal(&pieces)? {
                        return Ok(read);
                    }
                }
                Plan::Segment { segment, known, up_to } => {
                    match segment.read(position, bytes_max, up_to, &known) {
                        Ok(SegmentRead::Found { bytes, next_offset }) => {
                            self.site.metrics.tail_misses.add(1);
                            return Ok(Read { bytes: bytes.len(), chunks: vec![bytes], next_offset });
                        }
                        Ok(SegmentRead::Nothing) => {
                            let end = segment.facts().end;
                            if end <= position || up_to <= end {
                                return Ok(Read { next_offset: from, ..Read::default() });
                            }
                            position = end;
                        }
                        Ok(SegmentRead::Corrupt) if self.find_damage(&segment)? => {}
                        // Where the log is right, the index has led astray.
                        Ok(SegmentRead::BadIndex | SegmentRead::Corrupt) => {
                            if mended.replace(segment.base) == Some(segment.base) {
                                break;
                            }
                            self.mend_index(&segment)?;
                        }
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.miss(&segment),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Err(ReadError::Corrupt { offset: position })
    }

    fn plan(&self, from: Offset, bytes_max: usize, up_to: Offset) -> Result<Plan, ReadError> {
        let state = self.state.lock();
        if state.deleted {
            return Err(ReadError::Deleted);
        }
        if from < state.start || from > state.end {
            return Err(ReadError::OutOfRange { log_start: state.start, log_end: state.end });
        }
        if state.damage.holds(from) {
            return Err(ReadError::Corrupt { offset: from });
        }
        let end = state.damage.next_after(from).map_or(state.end, |lost| lost.min(state.end));
        if from < end && end <= up_to && state.damage.is_given_up(from, end) {
            return Ok(Plan::StepOver(step_over(&state, from, end)));
        }
        let up_to = up_to.min(end);
        if from >= up_to {
            return Ok(Plan::Nothing);
        }
        if let Some(index) = state.tail_index(from) {
            let batches = read_tail(&state, index, bytes_max, up_to);
            return Ok(if batches.is_empty() { Plan::Nothing } else { Plan::Tail(batches) });
        }
        if from < state.rolled_end
            && let Some(segment) = state.segment_for(from)
        {
            let known = state.damage.known(segment.base, state.start);
            return Ok(Plan::Segment { segment, known, up_to });
        }
        let first = state.pending.partition_point(|pending| pending.last() < from);
        let mut pieces = Vec::new();
        let mut bytes = 0;
        for pending in state.pending.range(first..) {
            if pending.last() >= up_to || !pieces.is_empty() && bytes + pending.bytes as usize > bytes_max {
                break;
            }
            bytes += pending.bytes as usize;
            let file = self.site.wal.file(pending.file).expect("a file with pending batches is in use");
            pieces.push((file, *pending));
        }
        if pieces.is_empty() {
            return Ok(Plan::Nothing);
        }
        Ok(Plan::Wal(pieces))
    }

    /// Reads batches out of the write-ahead log. None when the first is damaged, which is then known.
    fn read_wal(&self, pieces: &[(Arc<WalFile>, Pending)]) -> Result<Option<Read>, ReadError> {
        let mut read = Read { next_offset: pieces[0].1.base, ..Read::default() };
        for (file, pending) in pieces {
            let Some(bytes) = self.read_pending(file, pending)? else { break };
            read.bytes += bytes.len();
            read.chunks.push(bytes);
            read.next_offset = pending.last().plus(1);
        }
        Ok((!read.chunks.is_empty()).then_some(read))
    }

    /// One batch out of the write-ahead log; None when it is damaged, which is then known.
    pub(super) fn read_pending(&self, file: &WalFile, pending: &Pending) -> Result<Option<Bytes>, ReadError> {
        let mut bytes = BytesMut::zeroed(pending.bytes as usize);
        read_exact_at(&*file.file, &mut bytes, pending.position.into())?;
        let right = BatchHeader::parse(&bytes).is_ok_and(|header| {
            header.base_offset == pending.base
                && header.size_bytes() == bytes.len()
                && header.check_crc(&bytes).is_ok()
        });
        if right {
            return Ok(Some(bytes.freeze()));
        }
        self.found_damage(Lost { first: pending.base, last: pending.last(), spot: None });
        Ok(None)
    }

    /// A segment's file is not there: retention has removed it just now, or it is lost.
    fn miss(&self, segment: &Arc<Segment>) {
        let start = {
            let state = self.state.lock();
            if !state.segments.iter().any(|held| Arc::ptr_eq(held, segment)) {
                return;
            }
            state.start
        };
        let last = segment.facts().end.plus(-1);
        self.found_damage(Lost { first: segment.base.max(start), last, spot: None });
    }

    fn forget(&self, segment: &Arc<Segment>) {
        let mut writer = self.writer.lock();
        let mut state = self.state.lock();
        if state.segments.last().is_some_and(|last| Arc::ptr_eq(last, segment)) {
            writer.leave_active();
        }
        state.segments.retain(|held| !Arc::ptr_eq(held, segment));
    }

    pub(super) fn mend_index(&self, segment: &Segment) -> Result<(), ReadError> {
        let (topic, id) = (self.label(), self.id);
        tracing::warn!(topic, partition = %id, segment = segment.base.0, "index does not fit its log and is built anew");
        let interval = self.state.lock().config.index_interval_bytes;
        segment.rebuild_index(interval)?;
        Ok(())
    }

    /// Something in a segment is unreadable: finds out what is lost, so that the rest can be served.
    pub(super) fn assess(&self, segment: &Segment) -> Result<(), ReadError> {
        if !self.find_damage(segment)? {
            // The log is right, so the index led astray.
            self.mend_index(segment)?;
        }
        Ok(())
    }

    /// Says whether there is damage that was not known.
    fn find_damage(&self, segment: &Segment) -> Result<bool, ReadError> {
        let facts = segment.facts();
        let log = segment.log()?;
        let mut news = false;
        for step in Walk::new(&*log, segment.base, facts.size, facts.end, true) {
            let (first, last, spot) = match step? {
                Step::Batch { .. } => continue,
                Step::Gap { first, last } => (first, last, None),
                Step::Damage { position, next, first, last } => {
                    (first, last, Some(Spot { segment: segment.base, position, next }))
                }
            };
            news |= self.found_damage(Lost { first, last, spot });
        }
        Ok(news)
    }

    /// Reads every segment to find all damage, and goes on without those whose files are lost. Nothing is appended
    /// meanwhile.
    pub(crate) fn assess_all(&self) -> Result<(), ReadError> {
        let segments = self.state.lock().segments.clone();
        for segment in segments {
            match self.find_damage(&segment) {
                Err(ReadError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.miss(&segment);
                    self.forget(&segment);
                }
                other => drop(other?),
            }
        }
        Ok(())
    }

    pub(crate) fn rebuild_index(&self, base: Offset) -> Result<(), ReadError> {
        let segment = self.state.lock().segments.iter().find(|segment| segment.base == base).cloned();
        segment.map_or(Ok(()), |segment| self.mend_index(&segment))
    }

    /// Makes a loss known: the partition is read-only from now on.
    pub(crate) fn found_damage(&self, lost: Lost) -> bool {
        let news = {
            let mut state = self.state.lock();
            // What lies below the log's start is nobody's loss.
            lost.last >= state.start && state.damage.add(lost)
        };
        if news {
            tracing::error!(
                topic = self.label(),
                partition = %self.id,
                first = lost.first.0,
                last = lost.last.0,
                "damaged records: the partition is read-only until `levada repair --accept-loss`"
            );
            self.site.metrics.damaged_batches.add(1);
            self.site.news.store(true, std::sync::atomic::Ordering::Relaxed);
            self.site.bell.ring();
            self.wakers.wake();
        }
        news
    }
}

const ROUNDS_MAX: usize = 64;

impl LogState {
    /// The segment that holds an offset or the first one after it.
    pub fn segment_for(&self, offset: Offset) -> Option<Arc<Segment>> {
        let after = self.segments.partition_point(|segment| segment.base <= offset);
        if after > 0 && self.segments[after - 1].facts().end > offset {
            return Some(self.segments[after - 1].clone());
        }
        self.segments.get(after).cloned()
    }
}

/// A batch without records over offsets that were given up, where no batch behind them shows that they are missing:
/// readers would wait for them for ever. Compaction leaves such batches in Kafka, so that clients know them.
fn step_over(state: &LogState, from: Offset, end: Offset) -> Read {
    let last_delta = i32::try_from(end.0 - 1 - from.0).unwrap_or(i32::MAX);
    let batch = BatchBuilder::new(Compression::None)
        .base_offset(from)
        .leader_epoch(state.epochs.at(from))
        .reaching(last_delta)
        .build();
    Read {
        bytes: batch.size_bytes(),
        next_offset: batch.header().next_offset(),
        chunks: vec![batch.into_bytes()],
    }
}

fn read_tail(state: &LogState, index: usize, bytes_max: usize, up_to: Offset) -> Vec<TailBatch> {
    let mut batches = Vec::new();
    let mut bytes = 0;
    for batch in state.tail.range(index..) {
        if batch.last >= up_to || !batches.is_empty() && bytes + batch.size_bytes() > bytes_max {
            break;
        }
        bytes += batch.size_bytes();
        batches.push(batch.clone());
    }
    batches
}

/// Batches that share their group's buffer are copied out of it: a reader would keep all of it, however little it
/// reads, long after the tail has dropped it.
fn gather(batches: &[TailBatch]) -> Read {
    let mut read = Read::default();
    let mut shared = batches.iter().filter(|batch| batch.is_shared()).map(TailBatch::size_bytes).sum();
    let mut run = BytesMut::new();
    for batch in batches {
        read.bytes += batch.size_bytes();
        read.next_offset = batch.last.plus(1);
        if batch.is_shared() {
            run.reserve(std::mem::take(&mut shared));
            run.extend_from_slice(&batch.head);
            continue;
        }
        if !run.is_empty() {
            read.chunks.push(run.split().freeze());
        }
        read.chunks.extend([batch.head.clone(), batch.rest.clone()]);
    }
    if !run.is_empty() {
        read.chunks.push(run.freeze());
    }
    read
}
