use bytes::Bytes;

use super::{BatchError, BatchHeader, TimestampType};
use crate::{Offset, Timestamp};

/// A batch's records, decompressed.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    section: Bytes,
}

/// One record, borrowed from its batch.
///
/// ```text
/// length varint · attributes i8 · timestamp delta varlong · offset delta varint
/// key length varint (-1: none) · key · value length varint (-1: none) · value
/// header count varint · (key length varint · key · value length varint (-1: none) · value)*
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
    /// Bytes of the record including its length prefix.
    pub size_bytes: usize,
}

/// A record's headers in their order, duplicates included; checked when the record was read.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    count: usize,
    rest: &'a [u8],
}

impl Records {
    pub(super) fn new(header: BatchHeader, section: Bytes) -> Result<Records, BatchError> {
        // The shortest record is 7 bytes: a count that cannot be true is refused before anyone reserves for it.
        if header.record_count as usize > section.len() / 7 {
            return Err(BatchError::Count {
                count: header.record_count,
                last_offset_delta: header.last_offset_delta,
            });
        }
        Ok(Records { header, section })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The decompressed records, for writers that copy them.
    pub fn section(&self) -> &Bytes {
        &self.section
    }

    /// Yields as many records as the header says, or an error and then nothing.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { rest: &self.section, index: 0, count: self.header.record_count }
    }

    pub fn offset(&self, record: &Record<'_>) -> Offset {
        self.header.base_offset.plus(i64::from(record.offset_delta))
    }

    /// A record's timestamp as readers see it: under LogAppendTime every record has the batch's.
    pub fn timestamp(&self, record: &Record<'_>) -> Timestamp {
        match self.header.attributes.timestamp_type() {
            TimestampType::LogAppendTime => self.header.max_timestamp,
            TimestampType::CreateTime => {
                Timestamp(self.header.base_timestamp.0.saturating_add(record.timestamp_delta))
            }
        }
    }
}

/// See [`Records::iter`].
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    index: i32,
    count: i32,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.count {
            if self.rest.is_empty() {
                return None;
            }
            self.rest = &[];
            return Some(Err(BatchError::Record {
                index: self.index,
                reason: "bytes follow the last record",
            }));
        }
        match Record::parse(&mut self.rest) {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                let index = self.index;
                self.index = self.count;
                self.rest = &[];
                Some(Err(BatchError::Record { index, reason }))
            }
        }
    }
}

impl<'a> Record<'a> {
    fn parse(rest: &mut &'a [u8]) -> Result<Record<'a>, &'static str> {
        let before = rest.len();
        let length = varint(rest)?;
        let mut body = take(rest, length)?;
        let size_bytes = before - rest.len();
        take(&mut body, 1)?;
        let timestamp_delta = varlong(&mut body)?;
        let offset_delta = varint(&mut body)?;
        let key = nullable(&mut body)?;
        let value = nullable(&mut body)?;
        let count = varint(&mut body)?;
        // Each header takes at least two bytes.
        let count = usize::try_from(count).map_err(|_| "negative header count")?;
        if count > body.len() / 2 {
            return Err("more headers than bytes");
        }
        let headers = Headers { count, rest: body };
        for _ in 0..count {
            header(&mut body)?;
        }
        if !body.is_empty() {
            return Err("length does not match the contents");
        }
        Ok(Record { offset_delta, timestamp_delta, key, value, headers, size_bytes })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        Some(header(&mut self.rest).expect("headers are checked when the record is read"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Headers<'_> {}

fn header<'a>(rest: &mut &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), &'static str> {
    let length = varint(rest)?;
    let key = take(rest, length)?;
    Ok((key, nullable(rest)?))
}

fn nullable<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    match varint(rest)? {
        -1 => Ok(None),
        length => take(rest, length).map(Some),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: i32) -> Result<&'a [u8], &'static str> {
    let length = usize::try_from(length).map_err(|_| "negative length")?;
    let (head, tail) = rest.split_at_checked(length).ok_or("cut short")?;
    *rest = tail;
    Ok(head)
}

fn varint(rest: &mut &[u8]) -> Result<i32, &'static str> {
    i32::try_from(zigzag(rest, 5)?).map_err(|_| "varint over 32 bits")
}

fn varlong(rest: &mut &[u8]) -> Result<i64, &'static str> {
    zigzag(rest, 10)
}

fn zigzag(rest: &mut &[u8], bytes_max: usize) -> Result<i64, &'static str> {
    let mut value: u64 = 0;
    for (i, &byte) in rest.iter().take(bytes_max).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *rest = &rest[i + 1..];
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(if rest.len() < bytes_max { "cut short" } else { "varint too long" })
}
