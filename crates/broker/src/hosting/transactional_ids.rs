//! Transactional ids in `__transaction_state`, in the formats of Kafka's transaction coordinator.

use bytes::Bytes;
use coordinators::transactional_ids::{Producer, Record, TransactionalIds};
use model::{ProducerEpoch, ProducerId, Timestamp};
use wire::transaction_records::{TransactionLogKey, TransactionLogValue};
use wire::{DecodeError, Stored, stored};

use super::host::{Entry, Hosted};

const VALUE_VERSION: i16 = 1;

/// Kafka's number of the state `Empty`.
const STATUS_EMPTY: i8 = 0;

impl Hosted for TransactionalIds {
    fn encode(record: &Record) -> Option<Entry> {
        let key = TransactionLogKey {
            transactional_id: record.transactional_id.as_str().into(),
            ..Default::default()
        };
        let value = record.producer.as_ref().map(|producer| {
            let value = TransactionLogValue {
                producer_id: producer.id.0,
                producer_epoch: producer.epoch.0,
                transaction_timeout_ms: producer.transaction_timeout_ms,
                transaction_status: STATUS_EMPTY,
                transaction_partitions: None,
                transaction_last_update_timestamp_ms: producer.updated_at.0,
                transaction_start_timestamp_ms: -1,
                ..Default::default()
            };
            stored::encode_with_version_prefix(&value, VALUE_VERSION).expect(super::ENCODES)
        });
        Some((Some(stored::encode_key(&key).expect(super::ENCODES)), value))
    }

    /// The epoch before the last bump is not in Kafka's format: after a restart a retry of that bump is fenced,
    /// as it is in Kafka.
    fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Record>, DecodeError> {
        let Some(key) = key.map(Bytes::copy_from_slice) else { return Ok(None) };
        if stored::key_type(&key)? != TransactionLogKey::ID {
            return Ok(None);
        }
        let key: TransactionLogKey = stored::decode_key(key)?;
        let producer = match value.map(Bytes::copy_from_slice) {
            None => None,
            Some(value) => {
                let (_, value): (i16, TransactionLogValue) = stored::decode_with_version_prefix(value)?;
                Some(Producer {
                    id: ProducerId(value.producer_id),
                    epoch: ProducerEpoch(value.producer_epoch),
                    last_epoch: ProducerEpoch::NONE,
                    transaction_timeout_ms: value.transaction_timeout_ms,
                    updated_at: Timestamp(value.transaction_last_update_timestamp_ms),
                })
            }
        };
        Ok(Some(Record { transactional_id: key.transactional_id.to_string(), producer }))
    }
}
