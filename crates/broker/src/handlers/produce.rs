//! Produce (KIP-98, KIP-467, KIP-516): validates, queues the appends in the order of arrival, answers when they are
//! durable.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use model::batch::BatchHeader;
use model::compression::Compression;
use model::{Offset, Timestamp};
use storage::{Append, AppendError, Appended, Partition};
use wire::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, TopicProduceData,
    TopicProduceResponse,
};
use wire::{ErrorCode, ProduceRequest, ProduceResponse, Str};

use crate::Parts;
use crate::error::Refusal;
use crate::net::Outcome;
use crate::partition::validate::{Refused, Rules, Valid, only_batch, validate};
use crate::request::Caller;
use crate::topics::Topic;

/// From here on requests name topics by id.
const BY_ID: i16 = 13;

/// The first version whose records may be compressed with zstd (KIP-110).
const ZSTD: i16 = 7;

/// The one version whose clients abort and go on after TRANSACTION_ABORTABLE (KIP-890).
const ABORTABLE: i16 = 11;

/// A batch that is less than this part of its request is copied: the log keeps recent batches in memory, each counted by
/// its own size, and would keep the whole request with it.
const KEPT_PART_MIN: usize = 4;

/// Kafka's own tools may write to internal topics under this client id.
const ADMIN_CLIENT: &str = "__admin_client";

/// Batches up to this size are validated where their request is read: a tenth of a millisecond.
const PLAIN_INLINE_BYTES_MAX: usize = 256 * 1024;

/// The same for batches that must be decompressed or compressed.
const COMPRESSED_INLINE_BYTES_MAX: usize = 16 * 1024;

/// All batches of a request together may decompress to so many times its size, or to what one batch may.
const DECOMPRESSED_PER_BYTE_MAX: usize = 10;

/// What matters of a request for each of its batches.
#[derive(Clone, Copy)]
struct Of {
    /// How large the request was as it came.
    frame_bytes: usize,
    acks: i16,
    version: i16,
}

type Appending = std::pin::Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + Send>>;

enum Begun {
    /// Told with the log's start where the log itself refused.
    Refused(Refusal, Offset),
    Appending {
        appending: Appending,
        append_time: Option<Timestamp>,
        partition: Arc<Partition>,
    },
}

/// Queues everything; the future that it gives back waits until all of it is durable. `frame_bytes`: how large the
/// request was as it came.
pub async fn begin(
    request: ProduceRequest,
    frame_bytes: usize,
    caller: &Caller,
    broker: &Arc<Parts>,
) -> impl Future<Output = ProduceResponse> + Send + use<> {
    let version = caller.version;
    let mut room = (broker.options.batch_decompressed_bytes_max as usize)
        .max(frame_bytes.saturating_mul(DECOMPRESSED_PER_BYTE_MAX));
    let topic_data = each_once(request.topic_data);
    let mut topics = Vec::with_capacity(topic_data.len());
    for topic_data in topic_data {
        let topic =
            super::find_topic(&broker.topics, version >= BY_ID, topic_data.topic_id, &topic_data.name);
        let topic = topic.map_err(Refusal::from).and_then(|topic| may_write(topic, caller));
        let mut partitions = Vec::with_capacity(topic_data.partition_data.len());
        for data in topic_data.partition_data {
            let index = data.index;
            let begun = match &topic {
                Ok(topic) => {
                    let of = Of { frame_bytes, acks: request.acks, version };
                    begin_partition(topic, data, of, caller, &mut room, broker).await
                }
                Err(refusal) => Begun::Refused(refusal.clone(), Offset::NONE),
            };
            partitions.push((index, begun));
        }
        topics.push((topic_data.name, topic_data.topic_id, partitions));
    }
    async move {
        let mut response = ProduceResponse::default();
        for (name, topic_id, partitions) in topics {
            let mut answered = TopicProduceResponse { name, topic_id, ..Default::default() };
            for (index, begun) in partitions {
                answered.partition_responses.push(finish(index, begun).await);
            }
            response.responses.push(answered);
        }
        response
    }
}

/// Topics and partitions each once, in the order in which they were named first. As in Kafka, of a partition that is named
/// more than once the last batch counts, and it gets one answer.
fn each_once(topics: Vec<TopicProduceData>) -> Vec<TopicProduceData> {
    let mut places = HashMap::with_capacity(topics.len());
    let mut merged: Vec<TopicProduceData> = Vec::with_capacity(topics.len());
    for mut topic in topics {
        let partitions = std::mem::take(&mut topic.partition_data);
        let place = *places.entry((topic.name.clone(), topic.topic_id)).or_insert(merged.len());
        if place == merged.len() {
            merged.push(topic);
        }
        merged[place].partition_data.extend(partitions);
    }
    for topic in &mut merged {
        let mut places = HashMap::with_capacity(topic.partition_data.len());
        let mut once: Vec<PartitionProduceData> = Vec::with_capacity(topic.partition_data.len());
        for data in std::mem::take(&mut topic.partition_data) {
            match *places.entry(data.index).or_insert(once.len()) {
                place if place < once.len() => once[place] = data,
                _ => once.push(data),
            }
        }
        topic.partition_data = once;
    }
    merged
}

/// acks=0 gets no answer; after an error only closing tells the client to look again.
pub fn without_acks(response: &ProduceResponse) -> Outcome {
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    match partitions.find(|partition| partition.error_code != 0) {
        None => Outcome::Silent,
        Some(partition) => {
            let error = ErrorCode::try_from(partition.error_code).map_or("an unknown error", ErrorCode::name);
            Outcome::Close(format!("produce with acks=0 failed with {error}"))
        }
    }
}

fn may_write(topic: Arc<Topic>, caller: &Caller) -> Result<Arc<Topic>, Refusal> {
    if topic.is_internal() && caller.client_id.as_deref() != Some(ADMIN_CLIENT) {
        return Err(ErrorCode::InvalidTopicException.into());
    }
    Ok(topic)
}

async fn begin_partition(
    topic: &Topic,
    data: PartitionProduceData,
    of: Of,
    caller: &Caller,
    room: &mut usize,
    broker: &Parts,
) -> Begun {
    let Some(partition) = topic.partition(data.index) else {
        return Begun::Refused(ErrorCode::UnknownTopicOrPartition.into(), Offset::NONE);
    };
    let records = data.records.map(|records| records.to_bytes()).unwrap_or_default();
    if let Err(refusal) = check_request(&records, of.acks, of.version) {
        return Begun::Refused(refusal, Offset::NONE);
    }
    // Smaller ones are copied anyway.
    let is_large = records.len() >= broker.options.wal_batch_direct_bytes_min as usize;
    let records = match is_large && records.len() * KEPT_PART_MIN < of.frame_bytes {
        true => Bytes::copy_from_slice(&records),
        false => records,
    };
    match begin_append(topic, partition, records, caller, room, broker).await {
        Ok(begun) => begun,
        Err(refusal) => {
            let log_start = log_start_with(&refusal, partition);
            Begun::Refused(refusal, log_start)
        }
    }
}

/// What can be said about a request without its partition.
fn check_request(records: &[u8], acks: i16, version: i16) -> Result<(), Refusal> {
    let zstd = |header: BatchHeader| {
        header.attributes.compression() == Ok(Compression::Zstd) && header.size_bytes() <= records.len()
    };
    if version < ZSTD && BatchHeader::parse(records).is_ok_and(zstd) {
        let why = format!("Produce version {version} has no zstd; it begins with version {ZSTD}");
        return Err(Refusal::new(ErrorCode::UnsupportedCompressionType, why));
    }
    only_batch(records)?;
    match acks {
        -1..=1 => Ok(()),
        _ => Err(ErrorCode::InvalidRequiredAcks.into()),
    }
}

async fn begin_append(
    topic: &Topic,
    partition: &Arc<Partition>,
    records: Bytes,
    caller: &Caller,
    room: &mut usize,
    broker: &Parts,
) -> Result<Begun, Refusal> {
    let valid = validated(records, &topic.rules, room, broker).await?;
    if valid.batch.header().attributes.is_transactional() {
        broker.transactions_asked.note("Produce", caller, &broker.metrics);
        return Err(Refusal::new(
            if caller.version == ABORTABLE {
                ErrorCode::TransactionAbortable
            } else {
                ErrorCode::InvalidTxnState
            },
            "transactions are not served yet: the partition is not part of an open one",
        ));
    }
    let reservation = broker.storage.reserve(partition, valid.batch.size_bytes()).await?;
    let traffic = broker.metrics.topic(&topic.name);
    let (bytes, records) = (valid.batch.size_bytes(), valid.batch.header().record_count);
    let mut append = Append::new(partition.clone(), valid.batch);
    append.reservation = Some(reservation);
    let appending = broker.storage.append(append);
    let appending = Box::pin(async move {
        let appended = appending.await?;
        traffic.produced(bytes, u64::try_from(records).unwrap_or(0));
        Ok(appended)
    });
    Ok(Begun::Appending { appending, append_time: valid.append_time, partition: partition.clone() })
}

/// Validates at once what takes no time, and the rest away from the threads that serve everybody; how many do so at once
/// is limited, and with it the memory for what is decompressed.
async fn validated(
    records: Bytes,
    rules: &Rules,
    room: &mut usize,
    broker: &Parts,
) -> Result<Valid, Refusal> {
    let now = broker.clock.now();
    let codec = BatchHeader::parse(&records).map(|header| header.attributes.compression());
    let is_plain =
        matches!(codec, Ok(Ok(Compression::None))) && matches!(rules.codec, None | Some(Compression::None));
    if records.len() <= if is_plain { PLAIN_INLINE_BYTES_MAX } else { COMPRESSED_INLINE_BYTES_MAX } {
        let mut inline_room = (*room).min(PLAIN_INLINE_BYTES_MAX);
        let before = inline_room;
        let valid = validate(records.clone(), rules, now, &mut inline_room);
        match valid {
            // A few bytes that become many; seen only when they do.
            Err(Refused::TooLarge(_)) if inline_room == 0 && *room > before => {}
            valid => {
                *room -= before - inline_room;
                return Ok(valid?);
            }
        }
    }
    let _turn = broker.validations.acquire().await.expect("the turns are never closed");
    let (rules, mut left) = (rules.clone(), *room);
    let (valid, left) = env::run_blocking(move || {
        let valid = validate(records, &rules, now, &mut left);
        (valid, left)
    })
    .await;
    *room = left;
    Ok(valid?)
}

/// Kafka tells the log's start with what the log refuses, but for these.
fn log_start_with(refusal: &Refusal, partition: &Partition) -> Offset {
    match refusal.code {
        ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge
        | ErrorCode::CorruptMessage
        | ErrorCode::KafkaStorageError
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::RequestTimedOut => Offset::NONE,
        _ => partition.offsets().log_start,
    }
}

async fn finish(index: i32, begun: Begun) -> PartitionProduceResponse {
    let (refusal, log_start) = match begun {
        Begun::Refused(refusal, log_start) => (refusal, log_start),
        Begun::Appending { appending, append_time, partition } => match appending.await {
            Ok(appended) => {
                return PartitionProduceResponse {
                    index,
                    base_offset: appended.base_offset.0,
                    log_append_time_ms: append_time.unwrap_or(Timestamp::NONE).0,
                    log_start_offset: appended.log_start_offset.0,
                    ..Default::default()
                };
            }
            Err(error) => {
                let refusal = Refusal::from(error);
                let log_start = log_start_with(&refusal, &partition);
                (refusal, log_start)
            }
        },
    };
    PartitionProduceResponse {
        index,
        error_code: refusal.code(),
        base_offset: Offset::NONE.0,
        log_start_offset: log_start.0,
        error_message: refusal.text(),
        record_errors: refusal.records.into_iter().map(record_error).collect(),
        ..Default::default()
    }
}

fn record_error((index, message): (i32, String)) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage {
        batch_index: index,
        batch_index_error_message: Some(Str::from(message)),
        ..Default::default()
    }
}
