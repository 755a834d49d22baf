use std::io;

use bytes::{Bytes, BytesMut};
use env::{File, read_exact_at};
use model::batch::HEADER_BYTES;
use model::{BatchHeader, Offset, Timestamp};

use super::Segment;

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
        let size = self.facts().size;
        let log = self.log()?;
        let located = self.index.lock().locate(from)?;
        let mut seeker = Seeker::new(&*log, size, &known.spots);
        let mut position = 0;
        let mut expected = self.base;
        if let Some((last_offset, indexed)) = located {
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
        let mut buffer = BytesMut::zeroed(wanted.min(size - position) as usize);
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
        Ok(SegmentRead::Found { bytes: buffer.freeze(), next_offset })
    }

    /// The first batch at or after `from` whose largest timestamp is at least `at`; an error of the kind
    /// `InvalidData` when something unreadable is in the way.
    pub fn find_time(&self, at: Timestamp, from: Offset, known: &Known) -> io::Result<Option<BatchHeader>> {
        let size = self.facts().size;
        let log = self.log()?;
        let (timed, indexed) = {
            let mut index = self.index.lock();
            let timed = index.locate_time(at)?;
            let offset = timed.map_or(from, |(_, offset)| offset.max(from));
            (timed, index.locate(offset)?)
        };
        let mut position = indexed.map_or(0, |(_, position)| position);
        let mut seeker = Seeker::new(&*log, size, &known.spots);
        let mut first = true;
        loop {
            let looked_at = position;
            match seeker.header_at(&mut position)? {
                Looked::End => return Ok(None),
                Looked::Unreadable => return Err(io::ErrorKind::InvalidData.into()),
                Looked::Header(header) => {
                    let is_indexed = first && position == looked_at;
                    if is_indexed
                        && indexed.is_some_and(|(last_offset, _)| header.last_offset() != last_offset)
                    {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    if timed.is_some_and(|(time, last)| {
                        header.last_offset() == last && header.max_timestamp != time
                    }) {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    if header.last_offset() >= from && header.max_timestamp >= at {
                        return Ok(Some(header));
                    }
                    first = false;
                    position += header.size_bytes() as u64;
                }
            }
        }
    }
}

struct Seeker<'a> {
    log: &'a dyn File,
    size: u64,
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
    fn new(log: &'a dyn File, size: u64, spots: &'a [Spot]) -> Seeker<'a> {
        Seeker { log, size, spots, window: BytesMut::new(), window_start: 0 }
    }

    /// The header at a position, or behind the damaged spot there.
    fn header_at(&mut self, position: &mut u64) -> io::Result<Looked> {
        while let Some(spot) =
            self.spots.iter().find(|spot| spot.position == *position && spot.next > *position)
        {
            *position = spot.next;
        }
        if *position >= self.size {
            return Ok(Looked::End);
        }
        if *position + HEADER_BYTES as u64 > self.size {
            return Ok(Looked::Unreadable);
        }
        let held = self.window_start..self.window_start + self.window.len() as u64;
        if *position < held.start || *position + HEADER_BYTES as u64 > held.end {
            let wanted = LOOK_BYTES.min((self.size - *position) as usize);
            self.window.resize(wanted, 0);
            read_exact_at(self.log, &mut self.window, *position)?;
            self.window_start = *position;
        }
        let bytes = &self.window[(*position - self.window_start) as usize..];
        Ok(match BatchHeader::parse(bytes) {
            Ok(header) if *position + header.size_bytes() as u64 <= self.size => Looked::Header(header),
            _ => Looked::Unreadable,
        })
    }
}
