//! The way of batches into segments: rolled up from the write-ahead log, or directly when they are large.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::File;
use model::{BatchHeader, Offset, Timestamp};

use super::{LogState, Partition, Pending, ReadError};
use crate::options::LogConfig;
use crate::segment::Segment;

/// Bytes rolled up with one write.
const PIECE_BYTES: usize = 1 << 20;
/// Room reserved at a time behind large batches.
const ALLOCATE_BYTES: u64 = 16 << 20;

/// The growing end of a partition's segments.
#[derive(Default)]
pub(crate) struct Writer {
    active: Option<Active>,
    /// Up to where the segments are known to be synced.
    pub synced: Synced,
    /// The partition's directory exists and its name is durable.
    pub has_directory: bool,
}

/// A point in a partition's segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Synced {
    /// The offset after the last synced batch.
    pub end: Offset,
    /// The segment it is in, and that segment's bytes up to there.
    pub segment: Offset,
    pub size: u64,
}

struct Active {
    segment: Arc<Segment>,
    /// Bytes written; beyond the segment's size they belong to a group that is not committed yet.
    written: u64,
    allocated: u64,
    /// So much earlier than the topic says, that not all segments end at once.
    jitter: Duration,
}

impl Writer {
    /// The writer of a partition that was recovered; the last segment goes on growing.
    pub fn resume(last: Option<Arc<Segment>>, synced: Synced) -> Writer {
        let has_directory = last.is_some();
        let active = last.map(|segment| {
            let size = segment.facts().size;
            Active { segment, written: size, allocated: size, jitter: Duration::ZERO }
        });
        Writer { active, synced, has_directory }
    }

    /// Whether batches of a group that is not committed lie at the end.
    pub fn is_staged(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.written > active.segment.facts().size)
    }

    /// All that is in the active segment was synced, and nothing was written since.
    pub fn mark_synced(&mut self) {
        if let Some(active) = &self.active {
            self.synced = active.synced_point();
        }
    }

    /// Forgets what was written for a group that failed; the next write goes over it.
    pub fn unstage(&mut self) {
        if let Some(active) = &mut self.active {
            active.written = active.segment.facts().size;
        }
    }

    /// The active segment is gone; the next batch begins another.
    pub fn leave_active(&mut self) {
        self.active = None;
    }

    fn must_roll(&self, header: &BatchHeader, config: &LogConfig, now: Timestamp) -> bool {
        let Some(active) = &self.active else { return false };
        if active.written == 0 {
            return false;
        }
        let facts = active.segment.facts();
        let age = if facts.first_timestamp.is_none() || header.max_timestamp.is_none() {
            now.0.saturating_sub(facts.created_at.0)
        } else {
            header.max_timestamp.0.saturating_sub(facts.first_timestamp.0)
        };
        // The topic's setting as it is now, and not as it was when the segment was begun.
        let roll_after = config.roll_after().saturating_sub(active.jitter);
        active.written + header.size_bytes() as u64 > config.segment_bytes
            || header.last_offset().0 - active.segment.base.0 > i64::from(i32::MAX)
            || active.segment.index_bytes() + 8 > u64::from(config.segment_index_bytes)
            || age > roll_after.as_millis().min(i64::MAX as u128) as i64
    }
}

/// Why a batch could not be put into a segment yet.
pub(crate) enum DirectError {
    /// A new segment must begin, but this group has batches in the old one: commit first.
    Later,
    Io(io::Error),
}

impl Partition {
    /// Writes a batch behind all that is in segments, without making it visible.
    pub(crate) fn stage_direct(
        &self,
        header: &BatchHeader,
        parts: &[IoSlice<'_>],
        now: Timestamp,
    ) -> Result<(Offset, u64), DirectError> {
        let mut writer = self.writer.lock();
        let config = self.config();
        if writer.is_staged() && writer.must_roll(header, &config, now) {
            return Err(DirectError::Later);
        }
        let place = self.write(&mut writer, &config, header, parts, now, true).map_err(DirectError::Io)?;
        Ok(place)
    }

    /// Makes a staged batch part of the segment; called with the writer locked, in the order of staging.
    pub(crate) fn commit_direct(
        &self,
        writer: &Writer,
        state: &mut LogState,
        header: &BatchHeader,
        now: Timestamp,
    ) {
        let active = writer.active.as_ref().expect("a staged batch lies in the active segment");
        active.segment.add(header, now, state.config.index_interval_bytes);
        state.rolled_end = header.next_offset();
    }

    /// Writes pending batches of write-ahead log files up to `file` into segments; about `bytes_max` of them.
    /// Says whether none is left.
    pub(crate) fn roll_up(&self, file: u64, bytes_max: u64) -> Result<bool, ReadError> {
        let mut writer = self.writer.lock();
        let mut bytes = 0;
        while bytes < bytes_max {
            let config = self.config();
            let now = self.site.clock.now();
            let Some((piece, headers)) = self.next_piece(file, &writer, &config, now)? else {
                return Ok(true);
            };
            if headers.is_empty() {
                continue;
            }
            let parts: Vec<IoSlice<'_>> = piece.iter().map(|part| IoSlice::new(part)).collect();
            self.write(&mut writer, &config, &headers[0], &parts, now, false)?;
            let piece_bytes: usize = piece.iter().map(Bytes::len).sum();
            self.site.metrics.roll_up_bytes.add(piece_bytes as u64);
            bytes += piece_bytes as u64;
            let active = writer.active.as_ref().expect("just written to");
            let mut state = self.state.lock();
            for header in &headers {
                active.segment.add(header, now, config.index_interval_bytes);
                state.pop_pending(&self.site);
            }
        }
        Ok(false)
    }

    /// The next batches that go into one segment with one write. None when there are no more; an empty list when
    /// only dead batches were dropped.
    fn next_piece(
        &self,
        file: u64,
        writer: &Writer,
        config: &LogConfig,
        now: Timestamp,
    ) -> Result<Option<(Vec<Bytes>, Vec<BatchHeader>)>, ReadError> {
        let mut parts = Vec::new();
        let mut headers: Vec<BatchHeader> = Vec::new();
        let mut bytes = 0;
        let mut index = 0;
        loop {
            let (pending, in_memory): (Pending, Option<(Bytes, Bytes)>) = {
                let mut state = self.state.lock();
                let pending = match state.pending.get(index) {
                    Some(pending) if pending.file <= file => *pending,
                    _ if index == 0 => return Ok(None),
                    _ => break,
                };
                if pending.last() < state.start {
                    if index > 0 {
                        break;
                    }
                    state.pop_pending(&self.site);
                    return Ok(Some((Vec::new(), Vec::new())));
                }
                let tail = state.tail_index(pending.base).map(|at| &state.tail[at]);
                (pending, tail.map(|batch| (batch.head.clone(), batch.rest.clone())))
            };
            let (head, rest) = match in_memory {
                Some(parts) => parts,
                None => {
                    let wal_file =
                        self.site.wal.file(pending.file).expect("a file with pending batches is in use");
                    match self.read_pending(&wal_file, &pending)? {
                        Some(bytes) => (bytes, Bytes::new()),
                        // Damaged, and known as such now: the rest goes on without it.
                        None if index == 0 => {
                            self.state.lock().pop_pending(&self.site);
                            return Ok(Some((Vec::new(), Vec::new())));
                        }
                        None => break,
                    }
                }
            };
            let header =
                BatchHeader::parse(&head).expect("a batch in memory or with a right CRC has a header");
            assert_eq!(header.base_offset, pending.base, "the batch is the one that was asked for");
            let size = header.size_bytes();
            let is_late = headers.first().is_some_and(|first| is_late(&header, first, config));
            if !headers.is_empty() && (is_late || self.would_roll(writer, bytes, &header, config, now)) {
                break;
            }
            parts.push(head);
            if !rest.is_empty() {
                parts.push(rest);
            }
            headers.push(header);
            bytes += size;
            index += 1;
            if bytes >= PIECE_BYTES {
                break;
            }
        }
        Ok(Some((parts, headers)))
    }

    fn would_roll(
        &self,
        writer: &Writer,
        ahead: usize,
        header: &BatchHeader,
        config: &LogConfig,
        now: Timestamp,
    ) -> bool {
        let written = writer.active.as_ref().map_or(0, |active| active.written);
        writer.must_roll(header, config, now)
            || written + (ahead + header.size_bytes()) as u64 > config.segment_bytes
    }

    /// Writes batches, the first with this header, at the end of the active segment, or of a new one.
    fn write(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        header: &BatchHeader,
        parts: &[IoSlice<'_>],
        now: Timestamp,
        direct: bool,
    ) -> io::Result<(Offset, u64)> {
        if writer.must_roll(header, config, now) {
            self.seal(writer)?;
        }
        if writer.active.is_none() {
            writer.active = Some(self.begin_segment(writer, header.base_offset, config, now)?);
        }
        let active = writer.active.as_mut().expect("just made");
        let log = active.segment.log()?;
        let position = active.written;
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let end = position + bytes as u64;
        if direct && end > active.allocated {
            let room = ALLOCATE_BYTES.min(config.segment_bytes.saturating_sub(position)).max(bytes as u64);
            // Only a matter of speed: when there is no room, the write itself will tell.
            if log.allocate(position, room).is_ok() {
                active.allocated = position + room;
            }
        }
        log.write_vectored_at(parts, position)?;
        active.written = end;
        Ok((active.segment.base, position))
    }

    fn begin_segment(
        &self,
        writer: &mut Writer,
        base: Offset,
        config: &LogConfig,
        now: Timestamp,
    ) -> io::Result<Active> {
        let disk = &self.site.disk;
        if !writer.has_directory {
            disk.create_dir(&self.directory)?;
            writer.has_directory = true;
        }
        let segment = Arc::new(Segment::create(disk.clone(), &self.directory, base, now)?);
        self.state.lock().segments.push(segment.clone());
        let jitter = self.site.random.below(config.segment_jitter.as_millis() as u64 + 1);
        Ok(Active { segment, written: 0, allocated: 0, jitter: Duration::from_millis(jitter) })
    }

    /// Completes the active segment: whatever follows lies in another one, so this one must be safe before.
    pub(crate) fn seal(&self, writer: &mut Writer) -> io::Result<()> {
        // Opened before it is given up: too many open files are no reason to know less about it.
        if let Some(active) = &writer.active {
            active.segment.log()?;
        }
        let Some(active) = writer.active.take() else { return Ok(()) };
        let facts = active.segment.facts();
        assert_eq!(active.written, facts.size, "nothing staged is left behind in a complete segment");
        let sealed = (|| {
            let log = active.segment.log()?;
            if active.allocated > facts.size {
                log.set_len(facts.size)?;
            }
            log.sync_data()
        })();
        if let Err(error) = sealed {
            self.site.close("sealing a segment", &error);
            return Err(error);
        }
        writer.synced = Synced { end: facts.end, segment: active.segment.base, size: facts.size };
        if let Err(error) = active.segment.seal_index() {
            // It can be built anew; what matters is that nobody waits for it.
            let topic = self.label();
            tracing::warn!(topic, partition = %self.id, %error, "index of a complete segment could not be written");
        }
        Ok(())
    }

    /// Gives back the room reserved behind the active segment: for a stop, after which nobody knows of it.
    pub(crate) fn release_room(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        let Some(active) = &mut writer.active else { return Ok(()) };
        let size = active.segment.facts().size;
        if active.allocated > size {
            active.segment.log()?.set_len(size)?;
            active.allocated = size;
        }
        Ok(())
    }

    /// Asks for the active segment to be written back. Returns the file to sync and the point that is safe
    /// then; batches of a group in the making do not count.
    pub(crate) fn start_sync(&self) -> io::Result<Option<(Arc<dyn File>, Synced)>> {
        let writer = self.writer.lock();
        let Some(active) = writer.active.as_ref() else { return Ok(None) };
        let log = active.segment.log()?;
        log.start_sync();
        Ok(Some((log, active.synced_point())))
    }

    /// Whether the active segment holds batches that were never synced.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced_bytes() > 0
    }

    pub(crate) fn unsynced_bytes(&self) -> u64 {
        let writer = self.writer.lock();
        let Some(active) = &writer.active else { return 0 };
        let synced = if writer.synced.segment == active.segment.base { writer.synced.size } else { 0 };
        active.segment.facts().size - synced
    }

    /// The file was synced when it held at least this.
    pub(crate) fn set_synced(&self, synced: Synced) {
        let mut writer = self.writer.lock();
        if synced.end > writer.synced.end {
            writer.synced = synced;
        }
    }
}

/// Whether a segment that begins with one batch is complete when the other comes, by their own times.
fn is_late(header: &BatchHeader, first: &BatchHeader, config: &LogConfig) -> bool {
    let age = header.max_timestamp.0.saturating_sub(first.max_timestamp.0);
    !first.max_timestamp.is_none()
        && !header.max_timestamp.is_none()
        && age > config.roll_after().as_millis().min(i64::MAX as u128) as i64
}

impl Active {
    fn synced_point(&self) -> Synced {
        let facts = self.segment.facts();
        Synced { end: facts.end, segment: self.segment.base, size: facts.size }
    }
}
