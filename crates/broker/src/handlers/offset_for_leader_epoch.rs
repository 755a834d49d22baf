//! OffsetForLeaderEpoch (KIP-101, KIP-320): where an epoch ends, so that a consumer notices lost records.

use model::LeaderEpoch;
use wire::offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopicResult};
use wire::{ErrorCode, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::topics::Topics;

pub async fn handle(request: OffsetForLeaderEpochRequest, topics: &Topics) -> OffsetForLeaderEpochResponse {
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let mut answered = OffsetForLeaderTopicResult { topic: topic.topic.clone(), ..Default::default() };
        for wanted in topic.partitions {
            let mut answer = EpochEndOffset { partition: wanted.partition, ..Default::default() };
            match end_of_epoch(topics, &topic.topic, &wanted) {
                Ok(Some((epoch, end))) => (answer.leader_epoch, answer.end_offset) = (epoch, end),
                Ok(None) => {}
                Err(code) => answer.error_code = code.into(),
            }
            answered.partitions.push(answer);
        }
        response.topics.push(answered);
    }
    response
}

fn end_of_epoch(
    topics: &Topics,
    topic: &str,
    wanted: &OffsetForLeaderPartition,
) -> Result<Option<(i32, i64)>, ErrorCode> {
    let partition = super::find(topics, topic, wanted.partition)?;
    super::check_leader_epoch(partition.offsets().leader_epoch, wanted.current_leader_epoch)?;
    if wanted.leader_epoch == LeaderEpoch::NONE.0 {
        return Ok(None);
    }
    let end = partition.end_offset_for_epoch(LeaderEpoch(wanted.leader_epoch));
    Ok(end.map(|(epoch, end)| (epoch.0, end.0)))
}
