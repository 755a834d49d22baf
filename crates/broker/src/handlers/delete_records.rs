//! DeleteRecords (KIP-107): moves the start of a partition's log.

use model::Offset;
use storage::Storage;
use wire::delete_records::{DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use wire::{DeleteRecordsRequest, DeleteRecordsResponse, ErrorCode};

use crate::error::Refusal;
use crate::topics::Topics;

/// Stands for the high watermark.
const ALL: i64 = -1;

pub async fn handle(
    request: DeleteRecordsRequest,
    topics: &Topics,
    storage: &Storage,
) -> DeleteRecordsResponse {
    let mut response = DeleteRecordsResponse::default();
    for topic in request.topics {
        let mut answered = DeleteRecordsTopicResult { name: topic.name.clone(), ..Default::default() };
        for wanted in topic.partitions {
            let deleted = delete(&topic.name, &wanted, topics, storage).await;
            let mut result = DeleteRecordsPartitionResult {
                partition_index: wanted.partition_index,
                low_watermark: Offset::NONE.0,
                ..Default::default()
            };
            match deleted {
                Ok(low_watermark) => result.low_watermark = low_watermark.0,
                Err(refusal) => result.error_code = refusal.code(),
            }
            answered.partitions.push(result);
        }
        response.topics.push(answered);
    }
    response
}

async fn delete(
    name: &str,
    wanted: &DeleteRecordsPartition,
    topics: &Topics,
    storage: &Storage,
) -> Result<Offset, Refusal> {
    let topic = topics.by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = topic.partition(wanted.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if topic.is_internal() {
        return Err(ErrorCode::InvalidTopicException.into());
    }
    if topic.config.cleanup.compact && !topic.config.cleanup.delete {
        return Err(ErrorCode::PolicyViolation.into());
    }
    let before = match wanted.offset {
        ALL => partition.offsets().high_watermark,
        offset if offset < 0 => return Err(ErrorCode::OffsetOutOfRange.into()),
        offset => Offset(offset),
    };
    Ok(storage.delete_records(partition.id(), before).await?)
}
