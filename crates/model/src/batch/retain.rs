use super::builder::write_record;
use super::{
    Batch, BatchHeader, HEADER_BYTES, LENGTH_OFFSET_BYTES, NewRecord, Record, Records, TimestampType,
};
use crate::{Compression, Timestamp};

impl Batch {
    /// The batch with only some of its records, as compaction leaves it: base and last offset, producer, sequence and
    /// codec stay, so that whoever reads or deduplicates sees the same range; with no record left it is a header alone,
    /// without a codec, as Kafka's.
    /// `delete_horizon` is put where the base timestamp was, and marked (KIP-534). `records` are the batch's own.
    pub fn retaining(
        &self,
        records: &Records,
        keep: impl Fn(&Record<'_>) -> bool,
        delete_horizon: Option<Timestamp>,
    ) -> Batch {
        let old = *self.header();
        let base_timestamp = delete_horizon.unwrap_or(old.base_timestamp);
        let kept = records.iter().map(|record| record.expect("checked before")).filter(|record| keep(record));
        let (mut section, mut record_count, mut newest) = (Vec::new(), 0, Timestamp::NONE);
        let mut headers = Vec::new();
        for record in kept {
            // What readers make of it stays the same when the base moves.
            let timestamp = Timestamp(old.base_timestamp.0.saturating_add(record.timestamp_delta));
            headers.clear();
            headers.extend(record.headers);
            let copy = NewRecord { timestamp, key: record.key, value: record.value, headers: &headers };
            let delta = timestamp.0.wrapping_sub(base_timestamp.0);
            write_record(&mut section, record.offset_delta, delta, copy);
            record_count += 1;
            newest = newest.max(timestamp);
        }
        // Nothing is not compressed, and does not say that it is: no codec makes anything of no bytes.
        let codec = match record_count {
            0 => Compression::None,
            _ => old.attributes.compression().expect("its records were read"),
        };
        let section = codec.compress(&section);
        let is_appended = old.attributes.timestamp_type() == TimestampType::LogAppendTime;
        let header = BatchHeader {
            batch_length: (HEADER_BYTES - LENGTH_OFFSET_BYTES + section.len()) as i32,
            attributes: old
                .attributes
                .with_compression(codec)
                .with_delete_horizon(delete_horizon.is_some() || old.attributes.has_delete_horizon()),
            base_timestamp,
            max_timestamp: if is_appended || record_count == 0 { old.max_timestamp } else { newest },
            record_count,
            ..old
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + section.len());
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&section);
        let header = super::seal(&mut bytes).expect("a rebuilt batch is a batch");
        Batch { header, bytes: bytes.into() }
    }
}
