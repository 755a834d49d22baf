use std::io;

use bytes::{Bytes, BytesMut};
use env::{File, read_exact_at};
use model::batch::HEADER_BYTES;
use model::{BatchHeader, Offset, Timestamp};

use super::{Facts, Segment};

/// How far to read ahead while looking for a batch.
const LOOK_BYTES: usize = 16 * 1024;

/// Batches read from one segment.
pub(crate) enum SegmentRead {
    Found {
        bytes: Bytes,
        next_offset: Offset,
    },
    /// Every batch here ends before the offset, or the next one is beyond the limit.
    Nothing,
    /// Something unreadable is in the way.
    Corrupt,
    /// The index names a batch that is not there.
    BadIndex,
}

/// What a partition knows of its losses when a segment is read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Damaged places in this segment.
    pub spots: Vec<Spot>,
    /// Lost offsets, first and last, by the first.
    pub lost: Vec<(Offset, Offset)>,
    /// Below it nobody reads.
    pub start: Offset,
}

impl Known {
    /// Whether a batch may come next: the base offset is outside of the CRC, so what lies between must be explained.
    fn follows(&self, expected: Offset, header: &BatchHeader) -> bool {
        header.base_offset == expected
            || header.base_offset > expected && self.explains(expected, header.base_offset)
    }

    /// Whether these offsets are missing for a reason.
    fn explains(&self, mut first: Offset, end: Offset) -> bool {
        first = first.max(self.start);
        for (from, to) in &self.lost {
            if *from <= first {
                first = first.max(to.plus(1));
            }
        }
        first >= end
    }
}

/// A damaged place in a segment that is known already, to be stepped over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub segment: Offset,
    pub position: u64,
    pub next: u64,
}

impl Segment {
    /// Whole batches from the one holding `from`, at least one, up to about `bytes_max`, none ending at or
    /// after `up_to`. Every CRC is checked: what comes from the disk may have changed there.
    pub fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        up_to: Offset,
        known: &Known,
    ) -> io::Result<SegmentRead> {
        let facts = self.facts();
        let log = self.log()?;
        let located = self.index.lock().locate(from)?;
        let mut seeker = Seeker::new(&*log, facts, &known.spots)?;
        let mut position = 0;
        let mut expected = self.base;
        if let Some((last_offset, indexed)) = located {
            if indexed >= seeker.length {
                // The log is short, and the index right.
                return Ok(SegmentRead::Corrupt);
            }
            position = indexed;
            match seeker.header_at(&mut position)? {
                Looked::Header(header) if position == indexed && header.last_offset() == last_offset => {
                    expected = header.base_offset;
                }
                Looked::Header(_) if position > indexed => expected = last_offset.plus(1),
                _ => return Ok(SegmentRead::BadIndex),
            }
        }
        let header = loop {
            match seeker.header_at(&mut position)? {
                Looked::End => return Ok(SegmentRead::Nothing),
                Looked::Unreadable => return Ok(SegmentRead::Corrupt),
                Looked::Header(header) if !known.follows(expected, &header) => {
                    return Ok(SegmentRead::Corrupt);
                }
                Looked::Header(header) if header.last_offset() >= from => break header,
                Looked::Header(header) => {
                    expected = header.next_offset();
                    position += header.size_bytes() as u64;
                }
            }
        };
        if header.last_offset() >= up_to {
            return Ok(SegmentRead::Nothing);
        }
        let wanted = bytes_max.max(header.size_bytes()) as u64;
        let mut buffer = BytesMut::zeroed(wanted.min(seeker.length - position) as usize);
        read_exact_at(&*log, &mut buffer, position)?;
        let mut end = 0;
        let mut next_offset = header.base_offset;
        while let Ok(header) = BatchHeader::parse(&buffer[end..]) {
            let rest = &buffer[end..];
            if header.size_bytes() > rest.len()
                || header.last_offset() >= up_to
                || header.check_crc(rest).is_err()
                || !known.follows(next_offset, &header)
            {
                break;
            }
            next_offset = header.next_offset();
            end += header.size_bytes();
        }
        if end == 0 {
            return Ok(SegmentRead::Corrupt);
        }
        buffer.truncate(end);
        // Little of it is of use where `up_to` or damage ends the read: the rest is not kept with it.
        let bytes = match end < buffer.capacity() / 4 * 3 {
            true => Bytes::copy_from_slice(&buffer),
            false => buffer.freeze(),
        };
        Ok(SegmentRead::Found { bytes, next_offset })
    }

    /// The first batch at or after `from` whose largest timestamp is at least `at`; an error of the kind
    /// `InvalidData` when something damaged is in the way. Every batch looked at is read whole: a wrong timestamp
    /// must not hide a record.
    pub fn find_time(&self, at: Timestamp, from: Offset, known: &Known) -> io::Result<Option<BatchHeader>> {
        let timed = self.index.lock().locate_time(at)?;
        let start = timed.map_or(from, |(_, offset)| offset.max(from));
        let mut found = None;
        self.look_from(start, known, |header| {
            if timed.is_some_and(|(time, last)| header.last_offset() == last && header.max_timestamp != time)
            {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if header.last_offset() >= from && header.max_timestamp >= at {
                found = Some(*header);
            }
            Ok(found.is_some())
        })?;
        Ok(found)
    }

    /// The largest timestamp of the batches that begin at or after `from`; errors as above.
    pub fn newest_from(&self, from: Offset, known: &Known) -> io::Result<Timestamp> {
        let mut newest = Timestamp::NONE;
        self.look_from(from, known, |header| {
            if header.base_offset >= from {
                newest = newest.max(header.max_timestamp);
            }
            Ok(false)
        })?;
        Ok(newest)
    }

    /// Shows batches, from the indexed one nearest before an offset on, until told that it is enough.
    fn look_from(
        &self,
        offset: Offset,
        known: &Known,
        mut enough: impl FnMut(&BatchHeader) -> io::Result<bool>,
    ) -> io::Result<()> {
        let facts = self.facts();
        let log = self.log()?;
        let indexed = self.index.lock().locate(offset)?;
        let mut seeker = Seeker::new(&*log, facts, &known.spots)?;
        let mut position = indexed.map_or(0, |(_, position)| position);
        // Of the first batch the last offset is known instead.
        let mut expected = indexed.is_none().then_some(self.base);
        loop {
            let looked_at = position;
            let header = match seeker.header_at(&mut position)? {
                Looked::End => return Ok(()),
                Looked::Unreadable => return Err(io::ErrorKind::InvalidData.into()),
                Looked::Header(header) => header,
            };
            let is_right = match expected {
                Some(expected) => known.follows(expected, &header),
                None => position > looked_at || indexed.is_none_or(|(last, _)| last == header.last_offset()),
            };
            if !is_right || !seeker.is_whole(position, &header)? {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if enough(&header)? {
                return Ok(());
            }
            expected = Some(header.next_offset());
            position += header.size_bytes() as u64;
        }
    }
}

struct Seeker<'a> {
    log: &'a dyn File,
    facts: Facts,
    /// How much of what should be there is there: less than the facts say when the file was cut.
    length: u64,
    spots: &'a [Spot],
    window: BytesMut,
    window_start: u64,
}

enum Looked {
    Header(BatchHeader),
    Unreadable,
    End,
}

impl<'a> Seeker<'a> {
    fn new(log: &'a dyn File, facts: Facts, spots: &'a [Spot]) -> io::Result<Seeker<'a>> {
        let length = log.len()?.min(facts.size);
        Ok(Seeker { log, facts, length, spots, window: BytesMut::new(), window_start: 0 })
    }

    /// The header at a position, or behind the damaged spot there.
    fn header_at(&mut self, position: &mut u64) -> io::Result<Looked> {
        while let Some(spot) =
            self.spots.iter().find(|spot| spot.position == *position && spot.next > *position)
        {
            *position = spot.next;
        }
        if *position >= self.facts.size {
            return Ok(Looked::End);
        }
        if *position + HEADER_BYTES as u64 > self.length {
            return Ok(Looked::Unreadable);
        }
        let held = self.window_start..self.window_start + self.window.len() as u64;
        if *position < held.start || *position + HEADER_BYTES as u64 > held.end {
            let wanted = LOOK_BYTES.min((self.length - *position) as usize);
            self.window.resize(wanted, 0);
            read_exact_at(self.log, &mut self.window, *position)?;
            self.window_start = *position;
        }
        let bytes = &self.window[(*position - self.window_start) as usize..];
        Ok(match BatchHeader::parse(bytes) {
            Ok(header)
                if *position + header.size_bytes() as u64 <= self.length
                    && header.next_offset() <= self.facts.end =>
            {
                Looked::Header(header)
            }
            _ => Looked::Unreadable,
        })
    }

    /// Whether the batch at a position has the right CRC.
    fn is_whole(&self, position: u64, header: &BatchHeader) -> io::Result<bool> {
        let mut bytes = BytesMut::zeroed(header.size_bytes());
        read_exact_at(self.log, &mut bytes, position)?;
        Ok(header.check_crc(&bytes).is_ok())
    }
}
