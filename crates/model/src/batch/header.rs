use super::{BatchError, CRC_START, HEADER_BYTES, LENGTH_OFFSET_BYTES, MAGIC};
use crate::compression::{Compression, CompressionError};
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// A batch's first 61 bytes; see the drawing in [`crate::batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes after the length field; see [`BatchHeader::size_bytes`] for the whole.
    pub batch_length: i32,
    pub partition_leader_epoch: LeaderEpoch,
    pub magic: i8,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub record_count: i32,
}

/// A batch's attribute bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may go on. Checks magic and length, not the CRC.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(b) = bytes.first_chunk::<HEADER_BYTES>() else {
            // An old format is named as such even when it is too short to be ours.
            return match bytes.get(16) {
                Some(&magic) if magic as i8 != MAGIC => Err(BatchError::Magic(magic as i8)),
                _ => Err(BatchError::Truncated { have: bytes.len(), want: HEADER_BYTES }),
            };
        };
        let header = BatchHeader {
            base_offset: Offset(i64_at(b, 0)),
            batch_length: i32_at(b, 8),
            partition_leader_epoch: LeaderEpoch(i32_at(b, 12)),
            magic: b[16] as i8,
            crc: i32_at(b, 17) as u32,
            attributes: Attributes(i16_at(b, 21)),
            last_offset_delta: i32_at(b, 23),
            base_timestamp: Timestamp(i64_at(b, 27)),
            max_timestamp: Timestamp(i64_at(b, 35)),
            producer_id: ProducerId(i64_at(b, 43)),
            producer_epoch: ProducerEpoch(i16_at(b, 51)),
            base_sequence: i32_at(b, 53),
            record_count: i32_at(b, 57),
        };
        if header.magic != MAGIC {
            return Err(BatchError::Magic(header.magic));
        }
        if header.batch_length < (HEADER_BYTES - LENGTH_OFFSET_BYTES) as i32 {
            return Err(BatchError::Length(header.batch_length));
        }
        if header.record_count < 0 || header.last_offset_delta < 0 {
            return Err(BatchError::Count {
                count: header.record_count,
                last_offset_delta: header.last_offset_delta,
            });
        }
        Ok(header)
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut b = [0; HEADER_BYTES];
        b[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        b[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        b[12..16].copy_from_slice(&self.partition_leader_epoch.0.to_be_bytes());
        b[16] = self.magic as u8;
        b[17..21].copy_from_slice(&self.crc.to_be_bytes());
        b[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        b[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        b[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        b[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        b[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        b[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        b[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        b[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        b
    }

    /// Compares the stored CRC with that of `bytes`, which start with this header.
    pub fn check_crc(&self, bytes: &[u8]) -> Result<(), BatchError> {
        let size = self.size_bytes();
        if bytes.len() < size {
            return Err(BatchError::Truncated { have: bytes.len(), want: size });
        }
        let computed = crc32c::crc32c(&bytes[CRC_START..size]);
        if computed == self.crc { Ok(()) } else { Err(BatchError::Crc { stored: self.crc, computed }) }
    }

    /// Bytes of the whole batch.
    pub fn size_bytes(&self) -> usize {
        LENGTH_OFFSET_BYTES + self.batch_length as usize
    }

    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// The offset after this batch.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Whether sequences apply: an idempotent producer's data, not a marker.
    pub fn is_sequenced(&self) -> bool {
        !self.producer_id.is_none() && self.base_sequence >= 0
    }

    /// The sequence of the last record; wraps from 2147483647 to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        sequence_plus(self.base_sequence, self.last_offset_delta)
    }
}

/// `sequence + n`, wrapping from 2147483647 to 0; neither may be negative.
pub fn sequence_plus(sequence: i32, n: i32) -> i32 {
    ((i64::from(sequence) + i64::from(n)) & i64::from(i32::MAX)) as i32
}

impl Attributes {
    pub fn compression(self) -> Result<Compression, CompressionError> {
        Compression::from_id(self.0 & 0b111)
    }

    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & 1 << 3 == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    pub fn is_transactional(self) -> bool {
        self.0 & 1 << 4 != 0
    }

    /// A marker: written by a transaction coordinator, never by a client.
    pub fn is_control(self) -> bool {
        self.0 & 1 << 5 != 0
    }

    /// The base timestamp is when tombstones may go (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & 1 << 6 != 0
    }

    pub fn with_compression(self, codec: Compression) -> Attributes {
        Attributes(self.0 & !0b111 | codec as i16)
    }

    pub fn with_timestamp_type(self, kind: TimestampType) -> Attributes {
        self.with_bit(3, kind == TimestampType::LogAppendTime)
    }

    pub fn with_transactional(self, on: bool) -> Attributes {
        self.with_bit(4, on)
    }

    pub fn with_control(self, on: bool) -> Attributes {
        self.with_bit(5, on)
    }

    pub fn with_delete_horizon(self, on: bool) -> Attributes {
        self.with_bit(6, on)
    }

    fn with_bit(self, bit: i16, on: bool) -> Attributes {
        Attributes(if on { self.0 | 1 << bit } else { self.0 & !(1 << bit) })
    }
}

fn i64_at(b: &[u8; HEADER_BYTES], at: usize) -> i64 {
    i64::from_be_bytes(b[at..at + 8].try_into().expect("8 bytes"))
}

fn i32_at(b: &[u8; HEADER_BYTES], at: usize) -> i32 {
    i32::from_be_bytes(b[at..at + 4].try_into().expect("4 bytes"))
}

fn i16_at(b: &[u8; HEADER_BYTES], at: usize) -> i16 {
    i16::from_be_bytes(b[at..at + 2].try_into().expect("2 bytes"))
}
