use super::{Attributes, Batch, BatchHeader, HEADER_BYTES, LENGTH_OFFSET_BYTES, MAGIC, TimestampType};
use crate::compression::Compression;
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// Builds one batch from records. The first record's timestamp becomes the base timestamp.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    codec: Compression,
    section: Vec<u8>,
}

impl BatchBuilder {
    pub fn new(codec: Compression) -> BatchBuilder {
        BatchBuilder {
            header: BatchHeader {
                base_offset: Offset::ZERO,
                batch_length: 0,
                partition_leader_epoch: LeaderEpoch::NONE,
                magic: MAGIC,
                crc: 0,
                attributes: Attributes(0).with_compression(codec),
                last_offset_delta: 0,
                base_timestamp: Timestamp::NONE,
                max_timestamp: Timestamp::NONE,
                producer_id: ProducerId::NONE,
                producer_epoch: ProducerEpoch::NONE,
                base_sequence: -1,
                record_count: 0,
            },
            codec,
            section: Vec::new(),
        }
    }

    pub fn base_offset(mut self, offset: Offset) -> BatchBuilder {
        self.header.base_offset = offset;
        self
    }

    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> BatchBuilder {
        self.header.partition_leader_epoch = epoch;
        self
    }

    /// Makes the batch reach beyond its records, as compaction leaves batches whose last records it has removed.
    pub fn reaching(mut self, last_offset_delta: i32) -> BatchBuilder {
        self.header.last_offset_delta = last_offset_delta;
        self
    }

    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> BatchBuilder {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    pub fn transactional(mut self) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with_transactional(true);
        self
    }

    pub fn control(mut self) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with_control(true);
        self
    }

    pub fn timestamp_type(mut self, kind: TimestampType) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with_timestamp_type(kind);
        self
    }

    /// Appends a record at the next offset.
    pub fn push(&mut self, record: NewRecord<'_>) -> &mut BatchBuilder {
        let delta = if self.header.record_count == 0 { 0 } else { self.header.last_offset_delta + 1 };
        self.push_at(delta, record)
    }

    /// Appends a record at a given distance from the base offset, as compaction needs it.
    ///
    /// # Panics
    /// When the distance does not grow.
    pub fn push_at(&mut self, offset_delta: i32, record: NewRecord<'_>) -> &mut BatchBuilder {
        let header = &mut self.header;
        assert!(
            offset_delta > header.last_offset_delta || header.record_count == 0 && offset_delta >= 0,
            "offsets in a batch grow"
        );
        if header.record_count == 0 {
            header.base_timestamp = record.timestamp;
            header.max_timestamp = record.timestamp;
        }
        header.max_timestamp = header.max_timestamp.max(record.timestamp);
        header.last_offset_delta = offset_delta;
        header.record_count += 1;
        let timestamp_delta = record.timestamp.0 - header.base_timestamp.0;
        write_record(&mut self.section, offset_delta, timestamp_delta, record);
        self
    }

    /// Bytes of the records so far, before compression.
    pub fn section_bytes(&self) -> usize {
        self.section.len()
    }

    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    pub fn build(&self) -> Batch {
        let compressed;
        let section: &[u8] = if self.codec == Compression::None {
            &self.section
        } else {
            compressed = self.codec.compress(&self.section);
            &compressed
        };
        let mut header = self.header;
        header.batch_length = (HEADER_BYTES - LENGTH_OFFSET_BYTES + section.len()) as i32;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + section.len());
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(section);
        let header = super::seal(&mut bytes).expect("a built batch is a batch");
        Batch { header, bytes: bytes.into() }
    }
}

pub(super) fn write_record(
    out: &mut Vec<u8>,
    offset_delta: i32,
    timestamp_delta: i64,
    record: NewRecord<'_>,
) {
    let mut length = 1 + zigzag_len(timestamp_delta) + zigzag_len(offset_delta.into());
    length += nullable_len(record.key) + nullable_len(record.value) + zigzag_len(record.headers.len() as i64);
    for (key, value) in record.headers {
        length += nullable_len(Some(key)) + nullable_len(*value);
    }
    out.reserve(length + 5);
    zigzag(out, length as i64);
    out.push(0);
    zigzag(out, timestamp_delta);
    zigzag(out, offset_delta.into());
    nullable(out, record.key);
    nullable(out, record.value);
    zigzag(out, record.headers.len() as i64);
    for (key, value) in record.headers {
        nullable(out, Some(key));
        nullable(out, *value);
    }
}

fn nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => zigzag(out, -1),
        Some(bytes) => {
            zigzag(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| zigzag_len(bytes.len() as i64) + bytes.len())
}

fn zigzag(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn zigzag_len(value: i64) -> usize {
    let rest = (value << 1 ^ value >> 63) as u64;
    (64 - (rest | 1).leading_zeros() as usize).div_ceil(7)
}
