//! Record batches, format v2 (KIP-98): parsed, checked, patched and built.
//!
//! ```text
//!  offset  bytes  field
//!       0      8  base offset              ┐ the log writes these three:
//!       8      4  batch length (after here)│ none is covered by the CRC
//!      12      4  partition leader epoch   ┘
//!      16      1  magic = 2
//!      17      4  CRC32C of everything that follows
//!      21      2  attributes: bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
//!      23      4  last offset delta
//!      27      8  base timestamp
//!      35      8  max timestamp
//!      43      8  producer id              -1: none
//!      51      2  producer epoch
//!      53      4  base sequence
//!      57      4  record count
//!      61      …  records, compressed as one piece unless the codec is "none"
//! ```
//!
//! [`Batch`] is the proof that the bytes are exactly one batch of this format with a correct CRC. Whether its
//! contents make sense for a topic (codec allowed, keys present, …) is the broker's question.

mod builder;
mod header;
mod records;
mod retain;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use builder::{BatchBuilder, NewRecord};
pub use header::{Attributes, BatchHeader, TimestampType, sequence_plus};
pub use records::{Headers, Record, RecordIter, Records};

use crate::compression::CompressionError;
use crate::{LeaderEpoch, Offset, Timestamp};

/// Bytes of a batch before its first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes that the field "batch length" does not count: base offset and the length itself.
pub const LENGTH_OFFSET_BYTES: usize = 12;
/// Where the part covered by the CRC begins.
pub const CRC_START: usize = 21;
/// The only format we serve.
pub const MAGIC: i8 = 2;

/// Why bytes are not a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("batch is cut short: {have} of {want} bytes")]
    Truncated { have: usize, want: usize },
    #[error("message format {0} is not supported, only 2")]
    Magic(i8),
    #[error("batch length {0} is impossible")]
    Length(i32),
    #[error("{0} bytes follow the batch")]
    Trailing(usize),
    #[error("CRC32C is {computed:08x}, the batch says {stored:08x}")]
    Crc { stored: u32, computed: u32 },
    #[error("record count {count} or last offset delta {last_offset_delta} is impossible")]
    Count { count: i32, last_offset_delta: i32 },
    #[error("record {index} is malformed: {reason}")]
    Record { index: i32, reason: &'static str },
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// Exactly one batch whose header could be read and whose CRC is right.
#[derive(Clone, Debug)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Checks length, magic and CRC. `bytes` must hold one batch and nothing else.
    pub fn parse(bytes: Bytes) -> Result<Batch, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        let size = header.size_bytes();
        if bytes.len() < size {
            return Err(BatchError::Truncated { have: bytes.len(), want: size });
        }
        if bytes.len() > size {
            return Err(BatchError::Trailing(bytes.len() - size));
        }
        header.check_crc(&bytes)?;
        Ok(Batch { header, bytes })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The records, decompressed if need be into at most `bytes_max` bytes.
    pub fn records(&self, bytes_max: usize) -> Result<Records, BatchError> {
        let section = self.bytes.slice(HEADER_BYTES..);
        if section.is_empty() {
            // What compaction has emptied; in older logs it may still name a codec.
            return Records::new(self.header, section);
        }
        let codec = self.header.attributes.compression()?;
        Records::new(self.header, codec.decompress(&section, bytes_max)?)
    }

    /// The batch with another base offset and leader epoch; copies it. The CRC does not change.
    pub fn patched(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Batch {
        let mut bytes = self.bytes.to_vec();
        patch(&mut bytes, base_offset, leader_epoch);
        let header = BatchHeader { base_offset, partition_leader_epoch: leader_epoch, ..self.header };
        Batch { header, bytes: bytes.into() }
    }

    /// LogAppendTime: sets the timestamp type and the max timestamp and computes the CRC anew, as the broker
    /// does for topics with `message.timestamp.type=LogAppendTime`. Record deltas stay; readers ignore them.
    pub fn stamped(&self, now: Timestamp) -> Batch {
        self.rewritten(BatchHeader {
            attributes: self.header.attributes.with_timestamp_type(TimestampType::LogAppendTime),
            max_timestamp: now,
            ..self.header
        })
    }

    /// The batch with the given max timestamp and a new CRC, for clients that computed it wrongly.
    pub fn with_max_timestamp(&self, max_timestamp: Timestamp) -> Batch {
        self.rewritten(BatchHeader { max_timestamp, ..self.header })
    }

    fn rewritten(&self, header: BatchHeader) -> Batch {
        let mut bytes = self.bytes.to_vec();
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        let header = seal(&mut bytes).expect("a batch with another header is a batch");
        Batch { header, bytes: bytes.into() }
    }
}

/// Writes base offset and leader epoch into a batch's first 16 bytes, outside the CRC.
///
/// # Panics
/// When `head` is shorter than that.
pub fn patch(head: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    head[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    head[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// Computes a batch's CRC anew after its bytes were changed; returns the new header.
pub fn seal(bytes: &mut [u8]) -> Result<BatchHeader, BatchError> {
    let mut header = BatchHeader::parse(bytes)?;
    let size = header.size_bytes();
    if bytes.len() != size {
        return Err(BatchError::Truncated { have: bytes.len(), want: size });
    }
    header.crc = crc32c::crc32c(&bytes[CRC_START..]);
    bytes[17..21].copy_from_slice(&header.crc.to_be_bytes());
    Ok(header)
}

/// Goes through concatenated batches, as Fetch answers carry them. A last, incomplete batch ends the
/// iteration silently (Kafka's rule for readers); anything else that is wrong is an error and ends it too.
pub fn batches(bytes: Bytes) -> Batches {
    Batches { rest: bytes }
}

/// See [`batches`].
pub struct Batches {
    rest: Bytes,
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < HEADER_BYTES {
            return None;
        }
        let size = match BatchHeader::parse(&self.rest) {
            Ok(header) => header.size_bytes(),
            Err(error) => {
                self.rest = Bytes::new();
                return Some(Err(error));
            }
        };
        if self.rest.len() < size {
            self.rest = Bytes::new();
            return None;
        }
        let batch = Batch::parse(self.rest.split_to(size));
        if batch.is_err() {
            self.rest = Bytes::new();
        }
        Some(batch)
    }
}
