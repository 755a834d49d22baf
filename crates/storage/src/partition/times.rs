//! Finding records by their timestamps.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use model::{Batch, LeaderEpoch, Offset, Timestamp};

use super::state::Pending;
use super::{FoundTimestamp, Partition, ReadError};
use crate::segment::{Known, Segment};

/// Upper bound of one batch's decompressed records while looking for a timestamp in it.
const RECORDS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Each learns of damage, or mends an index.
const ATTEMPTS_MAX: usize = 8;

impl Partition {
    pub(super) fn find_timestamp(
        &self,
        at: Timestamp,
        up_to: Offset,
    ) -> Result<Option<FoundTimestamp>, ReadError> {
        let mut from = self.state.lock().start;
        loop {
            let Some(offset) = self.batch_reaching(at, from)? else { return Ok(None) };
            if offset >= up_to {
                return Ok(None);
            }
            let Some(batch) = self.read_one(offset)? else { return Ok(None) };
            if let Some(found) = first_reaching(&batch, at, self.state.lock().start)? {
                return Ok((found.offset < up_to).then_some(found));
            }
            // The batch promised a timestamp that only records below the log's start have.
            from = batch.header().next_offset();
        }
    }

    pub(super) fn find_max_timestamp(&self) -> Result<Option<FoundTimestamp>, ReadError> {
        let (start, end, segments, mut max) = {
            let state = self.state.lock();
            let whole = |pending: &&Pending| pending.base >= state.start;
            let max = state.pending.iter().filter(whole).map(|pending| pending.max_timestamp).max();
            (state.start, state.end, state.segments.clone(), max.unwrap_or(Timestamp::NONE))
        };
        for segment in segments.iter().filter(|segment| segment.facts().end > start) {
            max = max.max(if segment.base >= start {
                segment.facts().max_timestamp
            } else {
                self.try_segment(segment, Timestamp::NONE, |segment, known| {
                    segment.newest_from(start, known)
                })?
            });
        }
        // The batch that the log's start lies in counts only in part.
        if start < end
            && let Some(batch) = self.read_one(start)?
            && batch.header().base_offset < start
        {
            let records =
                batch.records(RECORDS_BYTES_MAX).map_err(|_| ReadError::Corrupt { offset: start })?;
            for record in records.iter().flatten().filter(|record| records.offset(record) >= start) {
                max = max.max(records.timestamp(&record));
            }
        }
        if max.is_none() { Ok(None) } else { self.find_timestamp(max, end) }
    }

    /// The base offset of the first batch from `from` on that has a timestamp of at least `at`.
    fn batch_reaching(&self, at: Timestamp, from: Offset) -> Result<Option<Offset>, ReadError> {
        // Both under one lock, so that a batch being rolled up is in exactly one of them.
        let (segments, pending) = {
            let state = self.state.lock();
            if state.deleted {
                return Err(ReadError::Deleted);
            }
            let reaches = |segment: &&Arc<Segment>| {
                let facts = segment.facts();
                facts.end > from && facts.max_timestamp >= at
            };
            let segments: Vec<Arc<Segment>> = state.segments.iter().filter(reaches).cloned().collect();
            let reaches = |pending: &&Pending| pending.last() >= from && pending.max_timestamp >= at;
            (segments, state.pending.iter().find(reaches).map(|pending| pending.base))
        };
        for segment in segments {
            let found =
                self.try_segment(&segment, None, |segment, known| segment.find_time(at, from, known))?;
            if let Some(header) = found {
                return Ok(Some(header.base_offset));
            }
        }
        Ok(pending)
    }

    /// Looks into a segment; again when damage or a bad index was in the way and is known then. `nothing` when the
    /// segment is not there any more.
    fn try_segment<T>(
        &self,
        segment: &Arc<Segment>,
        nothing: T,
        look: impl Fn(&Segment, &Known) -> io::Result<T>,
    ) -> Result<T, ReadError> {
        for _ in 0..ATTEMPTS_MAX {
            let known = {
                let state = self.state.lock();
                state.damage.known(segment.base, state.start)
            };
            match look(segment, &known) {
                Ok(found) => return Ok(found),
                Err(error) if error.kind() == ErrorKind::InvalidData => self.assess(segment)?,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(nothing),
                Err(error) => return Err(error.into()),
            }
        }
        Err(ReadError::Corrupt { offset: segment.base })
    }

    fn read_one(&self, offset: Offset) -> Result<Option<Batch>, ReadError> {
        let (from, end) = {
            let state = self.state.lock();
            (offset.max(state.start), state.end)
        };
        let read = self.read_batches(from, 1, end)?;
        if read.chunks.is_empty() {
            return Ok(None);
        }
        let bytes = read.chunks.concat();
        Batch::parse(bytes.into()).map(Some).map_err(|_| ReadError::Corrupt { offset })
    }
}

/// The first record in a batch at or after a time and at or after an offset.
fn first_reaching(batch: &Batch, at: Timestamp, from: Offset) -> Result<Option<FoundTimestamp>, ReadError> {
    let corrupt = |_| ReadError::Corrupt { offset: batch.header().base_offset };
    let leader_epoch: LeaderEpoch = batch.header().partition_leader_epoch;
    let records = batch.records(RECORDS_BYTES_MAX).map_err(corrupt)?;
    for record in records.iter() {
        let record = record.map_err(corrupt)?;
        let (timestamp, offset) = (records.timestamp(&record), records.offset(&record));
        if timestamp >= at && offset >= from {
            return Ok(Some(FoundTimestamp { timestamp, offset, leader_epoch }));
        }
    }
    Ok(None)
}
