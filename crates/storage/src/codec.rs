//! Little-endian fields in a row: how our own records (not Kafka's batches) are laid out on disk.

use std::time::Duration;

use model::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId};

use crate::options::{CompactionConfig, LogConfig};

/// A bit beside `compact`: the config ends with what concerns compaction, as it does from checkpoint format 3 on.
const WITH_COMPACTION: u8 = 2;

#[derive(Default)]
pub(crate) struct Encoder {
    pub bytes: Vec<u8>,
}

/// The bytes end early or make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub &'static str);

pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl Encoder {
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn i16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn bool(&mut self, value: bool) {
        self.u8(value.into());
    }

    pub fn offset(&mut self, value: Offset) {
        self.i64(value.0);
    }

    pub fn timestamp(&mut self, value: Timestamp) {
        self.i64(value.0);
    }

    pub fn duration(&mut self, value: Duration) {
        self.u64(value.as_millis().min(u128::from(u64::MAX)) as u64);
    }

    pub fn option<T>(&mut self, value: Option<T>, some: impl FnOnce(&mut Encoder, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            some(self, value);
        }
    }

    /// A count and then each.
    pub fn list<T>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
        mut each: impl FnMut(&mut Encoder, T),
    ) {
        self.u32(values.len() as u32);
        for value in values {
            each(self, value);
        }
    }

    pub fn partition(&mut self, id: PartitionId) {
        self.bytes.extend_from_slice(&id.topic.0);
        self.i32(id.index);
    }

    pub fn config(&mut self, config: &LogConfig) {
        self.bool(config.delete);
        self.u8(WITH_COMPACTION | u8::from(config.compact));
        self.option(config.retention, Encoder::duration);
        self.option(config.retention_bytes, Encoder::u64);
        self.u64(config.segment_bytes);
        self.duration(config.segment_roll);
        self.duration(config.segment_jitter);
        self.u32(config.index_interval_bytes);
        self.u32(config.segment_index_bytes);
        self.u64(config.flush_messages);
        self.option(config.flush_interval, Encoder::duration);
        let compaction = &config.compaction;
        self.u32(compaction.dirty_permille);
        self.duration(compaction.delete_retention);
        self.duration(compaction.lag_min);
        self.duration(compaction.lag_max);
    }
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: bytes }
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Malformed("cut short"))?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.take(N)?.try_into().expect("just that many"))
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_le_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }

    pub fn offset(&mut self) -> Result<Offset, Malformed> {
        self.i64().map(Offset)
    }

    pub fn epoch(&mut self) -> Result<LeaderEpoch, Malformed> {
        self.i32().map(LeaderEpoch)
    }

    pub fn timestamp(&mut self) -> Result<Timestamp, Malformed> {
        self.i64().map(Timestamp)
    }

    pub fn duration(&mut self) -> Result<Duration, Malformed> {
        self.u64().map(Duration::from_millis)
    }

    pub fn option<T>(
        &mut self,
        some: impl FnOnce(&mut Decoder<'a>) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { some(self).map(Some) } else { Ok(None) }
    }

    pub fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Decoder<'a>) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u32()?;
        // No reserving: a damaged count must not allocate what the bytes cannot hold.
        (0..count).map(|_| each(self)).collect()
    }

    pub fn partition(&mut self) -> Result<PartitionId, Malformed> {
        Ok(PartitionId { topic: TopicId(self.array()?), index: self.i32()? })
    }

    pub fn config(&mut self) -> Result<LogConfig, Malformed> {
        let delete = self.bool()?;
        let compact = self.u8()?;
        if compact > WITH_COMPACTION | 1 {
            return Err(Malformed("not a config"));
        }
        let mut config = LogConfig {
            delete,
            compact: compact & 1 != 0,
            retention: self.option(Decoder::duration)?,
            retention_bytes: self.option(Decoder::u64)?,
            segment_bytes: self.u64()?,
            segment_roll: self.duration()?,
            segment_jitter: self.duration()?,
            index_interval_bytes: self.u32()?,
            segment_index_bytes: self.u32()?,
            flush_messages: self.u64()?,
            flush_interval: self.option(Decoder::duration)?,
            compaction: CompactionConfig::default(),
        };
        if compact & WITH_COMPACTION != 0 {
            config.compaction = CompactionConfig {
                dirty_permille: self.u32()?,
                delete_retention: self.duration()?,
                lag_min: self.duration()?,
                lag_max: self.duration()?,
            };
        }
        Ok(config)
    }

    pub fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("bytes are left over")) }
    }
}
