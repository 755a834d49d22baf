use std::io;

use env::File;
use model::batch::{HEADER_BYTES, LENGTH_OFFSET_BYTES, MAGIC};
use model::{BatchHeader, Offset};

/// Bytes read at a time.
const WINDOW_BYTES: usize = 64 * 1024;

/// Goes through a log file batch by batch, over damaged places too.
pub(crate) struct Walk<'a> {
    file: &'a dyn File,
    position: u64,
    size: u64,
    /// How much of that the file has: less than `size` when it was cut.
    length: u64,
    /// The offset the next batch should have.
    expected: Offset,
    /// The offset after the last batch of the file.
    end: Offset,
    check_crc: bool,
    window: Vec<u8>,
    window_start: u64,
}

/// What lies at one place of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Batch {
        position: u64,
        header: BatchHeader,
    },
    /// Between two right batches there are offsets that no batch has.
    Gap {
        first: Offset,
        last: Offset,
    },
    /// No right batch: the offsets from `first` to `last` are lost, and the bytes `position..next`.
    Damage {
        position: u64,
        next: u64,
        first: Offset,
        last: Offset,
    },
}

impl<'a> Walk<'a> {
    /// From the start of a file that is known to hold `size` bytes of batches and to end before offset `end`.
    pub fn new(file: &'a dyn File, base: Offset, size: u64, end: Offset, check_crc: bool) -> Walk<'a> {
        // A file that cannot say how long it is says what is wrong with it when it is read.
        let length = file.len().map_or(size, |length| length.min(size));
        Walk {
            file,
            position: 0,
            size,
            length,
            expected: base,
            end,
            check_crc,
            window: Vec::new(),
            window_start: 0,
        }
    }

    /// Begins at a batch's position instead.
    pub fn from(mut self, position: u64, expected: Offset) -> Walk<'a> {
        self.position = position;
        self.expected = expected;
        self
    }

    fn step(&mut self) -> io::Result<Option<Step>> {
        if self.position >= self.size {
            return Ok(self.missing_end());
        }
        let position = self.position;
        let first = self.expected;
        match self.batch_at(position, self.check_crc)? {
            Some(header) if header.base_offset == first => {
                self.position += header.size_bytes() as u64;
                self.expected = header.next_offset();
                return Ok(Some(Step::Batch { position, header }));
            }
            // The base offset is outside of the CRC: believe it only if the next batch does too.
            Some(header) if self.is_followed(position, &header)? => {
                self.expected = header.base_offset;
                return Ok(Some(Step::Gap { first, last: header.base_offset.plus(-1) }));
            }
            _ => {}
        }
        let (next, next_base) = self.resync(position)?;
        self.position = next;
        self.expected = next_base;
        Ok(Some(Step::Damage { position, next, first, last: next_base.plus(-1) }))
    }

    /// Whether the batch after this one begins where this one ends.
    fn is_followed(&mut self, position: u64, header: &BatchHeader) -> io::Result<bool> {
        let next = position + header.size_bytes() as u64;
        if next >= self.size {
            return Ok(header.next_offset() == self.end);
        }
        let Some(bytes) = self.bytes_at(next, HEADER_BYTES)? else { return Ok(false) };
        Ok(BatchHeader::parse(bytes).is_ok_and(|following| following.base_offset == header.next_offset()))
    }

    /// The file is over, but offsets that should be in it have not come.
    fn missing_end(&mut self) -> Option<Step> {
        if self.expected >= self.end {
            return None;
        }
        let first = self.expected;
        self.expected = self.end;
        Some(Step::Damage { position: self.size, next: self.size, first, last: self.end.plus(-1) })
    }

    /// The next place after a damaged one where a whole and correct batch begins.
    fn resync(&mut self, damaged: u64) -> io::Result<(u64, Offset)> {
        // Usually only the contents are damaged and the length is right.
        let claimed = self.bytes_at(damaged, LENGTH_OFFSET_BYTES)?.map(|b| {
            let length = i32::from_be_bytes(b[8..12].try_into().expect("4 bytes"));
            damaged + LENGTH_OFFSET_BYTES as u64 + length.max(0) as u64
        });
        if let Some(next) = claimed
            && let Some(header) = self.batch_at(next, true)?
        {
            return Ok((next, header.base_offset));
        }
        let mut position = damaged + 1;
        while position + HEADER_BYTES as u64 <= self.length {
            // Look through the window for the magic byte before reading anything more closely.
            let Some(bytes) = self.bytes_at(position, HEADER_BYTES)? else { break };
            if bytes[16] == MAGIC as u8
                && let Some(header) = self.batch_at(position, true)?
            {
                return Ok((position, header.base_offset));
            }
            position += 1;
        }
        Ok((self.size, self.end))
    }

    /// The header at a position, if it fits what is known around it.
    fn batch_at(&mut self, position: u64, check_crc: bool) -> io::Result<Option<BatchHeader>> {
        let Some(bytes) = self.bytes_at(position, HEADER_BYTES)? else { return Ok(None) };
        let Ok(header) = BatchHeader::parse(bytes) else { return Ok(None) };
        let fits = header.base_offset >= self.expected
            && header.next_offset() <= self.end
            && position + header.size_bytes() as u64 <= self.length;
        if !fits {
            return Ok(None);
        }
        if check_crc {
            let Some(bytes) = self.bytes_at(position, header.size_bytes())? else { return Ok(None) };
            if header.check_crc(bytes).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(header))
    }

    fn bytes_at(&mut self, position: u64, count: usize) -> io::Result<Option<&[u8]>> {
        if position + count as u64 > self.length {
            return Ok(None);
        }
        let held = self.window_start..self.window_start + self.window.len() as u64;
        if position < held.start || position + count as u64 > held.end {
            let wanted = count.max(WINDOW_BYTES).min((self.length - position) as usize);
            self.window.resize(wanted, 0);
            let filled = self.file.read_at(&mut self.window, position)?;
            self.window.truncate(filled);
            self.window_start = position;
            if filled < count {
                return Ok(None);
            }
        }
        let start = (position - self.window_start) as usize;
        Ok(Some(&self.window[start..start + count]))
    }
}

impl Iterator for Walk<'_> {
    type Item = io::Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(step) => step.map(Ok),
            Err(error) => {
                self.position = self.size;
                self.expected = self.end;
                Some(Err(error))
            }
        }
    }
}
