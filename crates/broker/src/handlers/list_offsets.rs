//! ListOffsets (KIP-79, KIP-734, KIP-1005, KIP-1023): offsets by time, and the special ones.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{LeaderEpoch, Offset, Timestamp};
use storage::{Offsets, Partition};
use wire::list_offsets::{ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use wire::{ErrorCode, ListOffsetsRequest, ListOffsetsResponse};

use crate::error::Refusal;
use crate::request::Caller;
use crate::topics::Topics;

/// Timestamps with a meaning of their own, each with the version that brought it.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: (i64, i16) = (-3, 7);
const EARLIEST_LOCAL: (i64, i16) = (-4, 8);
const LATEST_TIERED: (i64, i16) = (-5, 9);
const EARLIEST_PENDING_UPLOAD: (i64, i16) = (-6, 11);

/// The first version whose answer has a leader epoch.
const TELLS_EPOCH: i16 = 4;

const READ_COMMITTED: i8 = 1;

pub async fn handle(request: ListOffsetsRequest, caller: &Caller, topics: &Topics) -> ListOffsetsResponse {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = (topic.name.clone(), partition.partition_index);
            if !seen.insert(key.clone()) {
                twice.insert(key);
            }
        }
    }
    let mut refused = BTreeSet::new();
    let read_committed = request.isolation_level == READ_COMMITTED;
    let mut response = ListOffsetsResponse::default();
    for topic in request.topics {
        let mut answered = ListOffsetsTopicResponse { name: topic.name.clone(), ..Default::default() };
        for wanted in topic.partitions {
            let index = wanted.partition_index;
            let key = (topic.name.clone(), index);
            // What is named more than once gets one answer.
            if twice.contains(&key) && !refused.insert(key.clone()) {
                continue;
            }
            let looked = if twice.contains(&key) {
                Err(ErrorCode::InvalidRequest)
            } else if !is_known(wanted.timestamp, caller.version) {
                Err(ErrorCode::UnsupportedVersion)
            } else {
                match super::find(topics, &topic.name, index) {
                    Ok(partition) => look_up(partition, wanted, read_committed).await,
                    Err(code) => Err(code),
                }
            };
            let mut answer = ListOffsetsPartitionResponse { partition_index: index, ..Default::default() };
            match looked {
                Ok(Found { timestamp, offset, leader_epoch }) => {
                    (answer.timestamp, answer.offset) = (timestamp.0, offset.0);
                    if caller.version >= TELLS_EPOCH {
                        answer.leader_epoch = leader_epoch.0;
                    }
                }
                Err(code) => answer.error_code = code.into(),
            }
            answered.partitions.push(answer);
        }
        response.topics.push(answered);
    }
    response
}

struct Found {
    timestamp: Timestamp,
    offset: Offset,
    leader_epoch: LeaderEpoch,
}

impl Found {
    const NOTHING: Found =
        Found { timestamp: Timestamp::NONE, offset: Offset::NONE, leader_epoch: LeaderEpoch::NONE };
}

/// Whether this version has this timestamp.
fn is_known(timestamp: i64, version: i16) -> bool {
    let special = [MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, EARLIEST_PENDING_UPLOAD];
    let since = special.iter().find(|(special, _)| *special == timestamp).map(|(_, since)| *since);
    since.is_none_or(|since| version >= since) && timestamp >= EARLIEST_PENDING_UPLOAD.0
}

async fn look_up(
    partition: Arc<Partition>,
    wanted: ListOffsetsPartition,
    read_committed: bool,
) -> Result<Found, ErrorCode> {
    let offsets = partition.offsets();
    super::check_leader_epoch(offsets.leader_epoch, wanted.current_leader_epoch)?;
    let end = if read_committed { offsets.last_stable } else { offsets.high_watermark };
    let at = |offset, leader_epoch| Found { timestamp: Timestamp::NONE, offset, leader_epoch };
    let found = match wanted.timestamp {
        LATEST => return Ok(at(end, offsets.leader_epoch)),
        EARLIEST => return Ok(at(offsets.log_start, epoch_of_start(&partition, &offsets))),
        timestamp if timestamp == EARLIEST_LOCAL.0 => {
            return Ok(at(offsets.log_start, epoch_of_start(&partition, &offsets)));
        }
        timestamp if timestamp == LATEST_TIERED.0 || timestamp == EARLIEST_PENDING_UPLOAD.0 => {
            return Ok(Found::NOTHING);
        }
        timestamp if timestamp == MAX_TIMESTAMP.0 => {
            env::run_blocking(move || partition.max_timestamp_offset()).await
        }
        timestamp => {
            env::run_blocking(move || partition.offset_for_timestamp(Timestamp(timestamp), end)).await
        }
    };
    match found {
        Ok(Some(found)) if found.offset < end => {
            Ok(Found { timestamp: found.timestamp, offset: found.offset, leader_epoch: found.leader_epoch })
        }
        Ok(_) => Ok(Found::NOTHING),
        Err(error) => Err(Refusal::from(error).code),
    }
}

/// The epoch in which the record at the log's start was written.
fn epoch_of_start(partition: &Partition, offsets: &Offsets) -> LeaderEpoch {
    let ends_later = |epoch: &LeaderEpoch| {
        partition.end_offset_for_epoch(*epoch).is_some_and(|(_, end)| end > offsets.log_start)
    };
    (0..offsets.leader_epoch.0).map(LeaderEpoch).find(ends_later).unwrap_or(offsets.leader_epoch)
}
