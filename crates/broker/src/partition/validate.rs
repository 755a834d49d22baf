//! What a client may append (Kafka's `LogValidator`), and the few batches that are not stored as they came.

use bytes::Bytes;
use model::batch::{
    Batch, BatchBuilder, BatchError, BatchHeader, HEADER_BYTES, NewRecord, Records, TimestampType,
};
use model::compression::Compression;
use model::{Offset, Timestamp};

#[cfg(test)]
mod tests;

/// A topic's demands on what is appended to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// `max.message.bytes`: of a batch as it is stored.
    pub batch_bytes_max: usize,
    /// `segment.bytes`: a batch lies in one segment.
    pub segment_bytes_max: usize,
    /// `max.decompressed.message.bytes`: of one record.
    pub record_bytes_max: usize,
    /// `levada.batch.decompressed.bytes.max`: of all records of a batch.
    pub decompressed_bytes_max: usize,
    /// Whether every record needs a key (`cleanup.policy=compact`).
    pub keys_required: bool,
    /// `message.timestamp.type=LogAppendTime`
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`
    pub age_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub ahead_max_ms: i64,
    /// `compression.type`; `None` keeps the producer's.
    pub codec: Option<Compression>,
}

/// A batch as it is to be stored.
#[derive(Clone, Debug)]
pub struct Valid {
    pub batch: Batch,
    /// Under LogAppendTime, the time that every record got.
    pub append_time: Option<Timestamp>,
}

/// Why a batch is refused. The texts are for the client's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// INVALID_RECORD for the batch as a whole.
    Batch(String),
    /// INVALID_RECORD, with the records at fault by index.
    Records(Vec<(i32, String)>),
    /// INVALID_TIMESTAMP, with the records at fault by index.
    Timestamps(Vec<(i32, String)>),
    /// CORRUPT_MESSAGE
    Corrupt(String),
    /// MESSAGE_TOO_LARGE
    TooLarge(String),
    /// RECORD_LIST_TOO_LARGE
    LargerThanSegment(String),
    /// UNSUPPORTED_COMPRESSION_TYPE
    Compression(String),
}

/// How many records at fault are named.
const RECORD_ERRORS_MAX: usize = 100;

/// Takes what a Produce request holds for one partition. `room` is how much may be decompressed still; what was is taken
/// off it.
pub fn validate(records: Bytes, rules: &Rules, now: Timestamp, room: &mut usize) -> Result<Valid, Refused> {
    let batch = single_batch(records, rules)?;
    check_header(batch.header())?;
    let is_compressed = batch.header().attributes.compression() != Ok(Compression::None);
    let bytes_max = rules.decompressed_bytes_max.min(if is_compressed { *room } else { usize::MAX });
    let records = batch.records(bytes_max);
    if is_compressed {
        // Whether it is all too much or turns out to be damaged at its end: it was worked on.
        *room -= records.as_ref().map_or(bytes_max, |records| records.section().len());
    }
    let records = records.map_err(of_batch)?;
    let seen = check_records(&records, rules, now)?;

    let codec =
        batch.header().attributes.compression().map_err(|error| Refused::Compression(error.to_string()))?;
    let wanted = rules.codec.unwrap_or(codec);
    let batch = if wanted != codec || !seen.consecutive {
        rebuild(&records, wanted)?
    } else if !rules.log_append_time && seen.max_timestamp != batch.header().max_timestamp {
        batch.with_max_timestamp(seen.max_timestamp)
    } else {
        batch
    };
    // As it is to be stored, which may be larger than it came.
    check_size(batch.size_bytes(), rules)?;
    if batch.size_bytes() > rules.segment_bytes_max {
        return Err(Refused::LargerThanSegment(format!(
            "the batch has {} bytes; it must fit into a segment, for which segment.bytes of the topic allows {}",
            batch.size_bytes(),
            rules.segment_bytes_max
        )));
    }
    if !rules.log_append_time {
        return Ok(Valid { batch, append_time: None });
    }
    Ok(Valid { batch: batch.stamped(now), append_time: Some(now) })
}

/// The header of the one batch that a Produce request may hold for a partition; what follows it must be no batch.
pub fn only_batch(records: &[u8]) -> Result<BatchHeader, Refused> {
    let whole = |bytes: &[u8]| -> Option<Result<BatchHeader, BatchError>> {
        if bytes.len() < HEADER_BYTES {
            return None;
        }
        match BatchHeader::parse(bytes) {
            Ok(header) if header.size_bytes() > bytes.len() => None,
            parsed => Some(parsed),
        }
    };
    let header = match whole(records) {
        None => {
            return Err(Refused::Batch("a produce request must have one record batch per partition".into()));
        }
        Some(parsed) => parsed.map_err(of_batch)?,
    };
    if whole(&records[header.size_bytes()..]).is_some() {
        return Err(Refused::Batch(
            "a produce request must have exactly one record batch per partition".into(),
        ));
    }
    Ok(header)
}

fn single_batch(records: Bytes, rules: &Rules) -> Result<Batch, Refused> {
    let header = only_batch(&records)?;
    let size = header.size_bytes();
    if header.base_offset != Offset::ZERO {
        return Err(Refused::Batch(format!("the base offset of the batch is {}, not 0", header.base_offset)));
    }
    check_size(size, rules)?;
    // Bytes that are no batch are cut off, as Kafka does.
    Batch::parse(records.slice(..size)).map_err(of_batch)
}

fn check_size(size: usize, rules: &Rules) -> Result<(), Refused> {
    match size > rules.batch_bytes_max {
        true => Err(Refused::TooLarge(format!(
            "the batch has {size} bytes; max.message.bytes of the topic allows {}",
            rules.batch_bytes_max
        ))),
        false => Ok(()),
    }
}

fn check_header(header: &BatchHeader) -> Result<(), Refused> {
    let refuse = |why: String| Err(Refused::Batch(why));
    let count = i64::from(header.last_offset_delta) + 1;
    if count <= 0 {
        return refuse(format!("the batch covers offsets 0 to {}", header.last_offset_delta));
    }
    if count != i64::from(header.record_count) {
        return refuse(format!("the batch has {} records for {count} offsets", header.record_count));
    }
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        let why = "the time type of the batch is LogAppendTime, which is the broker's to give";
        let records = 0..header.record_count.min(RECORD_ERRORS_MAX as i32);
        return Err(Refused::Timestamps(records.map(|index| (index, why.to_string())).collect()));
    }
    if header.attributes.is_control() {
        return refuse("clients may not write control batches".into());
    }
    if !header.producer_id.is_none() && header.base_sequence < 0 {
        return refuse(format!(
            "base sequence {} with producer id {}",
            header.base_sequence, header.producer_id
        ));
    }
    Ok(())
}

struct Seen {
    max_timestamp: Timestamp,
    consecutive: bool,
}

fn check_records(records: &Records, rules: &Rules, now: Timestamp) -> Result<Seen, Refused> {
    let mut seen = Seen { max_timestamp: Timestamp::NONE, consecutive: true };
    let mut errors = Vec::new();
    let mut any_out_of_time = false;
    for (index, record) in (0..).zip(records.iter()) {
        let record = record.map_err(of_batch)?;
        if record.size_bytes > rules.record_bytes_max {
            return Err(Refused::TooLarge(format!(
                "record {index} has {} bytes; max.decompressed.message.bytes allows {}",
                record.size_bytes, rules.record_bytes_max
            )));
        }
        seen.consecutive &= record.offset_delta == index;
        let timestamp = records.timestamp(&record);
        seen.max_timestamp = seen.max_timestamp.max(timestamp);
        if errors.len() == RECORD_ERRORS_MAX {
            continue;
        }
        if rules.keys_required && record.key.is_none() {
            errors.push((index, "a compacted topic takes no record without a key".to_string()));
        } else if !rules.log_append_time
            && !timestamp.is_none()
            && let Some(why) = out_of_range(timestamp, rules, now)
        {
            any_out_of_time = true;
            errors.push((index, why));
        }
    }
    if any_out_of_time {
        return Err(Refused::Timestamps(errors));
    }
    if !errors.is_empty() {
        return Err(Refused::Records(errors));
    }
    Ok(seen)
}

fn out_of_range(timestamp: Timestamp, rules: &Rules, now: Timestamp) -> Option<String> {
    let oldest = now.0.saturating_sub(rules.age_max_ms);
    let newest = now.0.saturating_add(rules.ahead_max_ms);
    (timestamp.0 < oldest || timestamp.0 > newest).then(|| {
        format!("timestamp {timestamp} is not within {oldest} to {newest} (message.timestamp.*.max.ms)")
    })
}

/// Writes the records anew: another codec, or offsets that did not follow each other.
fn rebuild(records: &Records, codec: Compression) -> Result<Batch, Refused> {
    let header = records.header();
    let mut builder =
        BatchBuilder::new(codec).producer(header.producer_id, header.producer_epoch, header.base_sequence);
    if header.attributes.is_transactional() {
        builder = builder.transactional();
    }
    for record in records.iter() {
        let record = record.map_err(of_batch)?;
        let headers: Vec<_> = record.headers.collect();
        builder.push(NewRecord {
            timestamp: records.timestamp(&record),
            key: record.key,
            value: record.value,
            headers: &headers,
        });
    }
    Ok(builder.build())
}

fn of_batch(error: BatchError) -> Refused {
    match error {
        BatchError::Crc { .. } | BatchError::Length(_) | BatchError::Truncated { .. } => {
            Refused::Corrupt(error.to_string())
        }
        BatchError::Compression(model::compression::CompressionError::TooLarge(_)) => {
            Refused::TooLarge(error.to_string())
        }
        BatchError::Compression(model::compression::CompressionError::Unknown(_)) => {
            Refused::Compression(error.to_string())
        }
        error => Refused::Batch(error.to_string()),
    }
}
