//! OffsetDelete (KIP-496): forgets committed offsets of a group.

use coordinators::offsets::{Command, Offsets, Reject, TopicPartition};
use wire::offset_delete::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::{ErrorCode, OffsetDeleteRequest, OffsetDeleteResponse};

use crate::error::{Refusal, of_host};
use crate::hosting::Coordinator;
use crate::topics::Topics;

pub async fn handle(
    request: OffsetDeleteRequest,
    topics: &Topics,
    offsets: &Coordinator<Offsets>,
) -> OffsetDeleteResponse {
    let mut response = OffsetDeleteResponse::default();
    let mut partitions = Vec::new();
    for topic in request.topics {
        let mut answered = OffsetDeleteResponseTopic { name: topic.name.clone(), ..Default::default() };
        for wanted in topic.partitions {
            let index = wanted.partition_index;
            let found = super::find(topics, &topic.name, index);
            if found.is_ok() {
                partitions.push(TopicPartition { topic: topic.name.to_string(), partition: index });
            }
            answered.partitions.push(OffsetDeleteResponsePartition {
                partition_index: index,
                error_code: crate::request::code(found.err()),
                ..Default::default()
            });
        }
        response.topics.push(answered);
    }
    let deleted = match offsets.of(&request.group_id).await {
        Ok(host) => host.decide(Command::Delete { group: request.group_id.to_string(), partitions }).await,
        Err(error) => Err(error),
    };
    if let Err(error) = deleted {
        let refusal = of_host(error, |reject| match reject {
            Reject::GroupNotFound => Refusal::from(ErrorCode::GroupIdNotFound),
            Reject::UnknownGeneration => Refusal::from(ErrorCode::IllegalGeneration),
            Reject::UnknownMember => Refusal::from(ErrorCode::UnknownMemberId),
        });
        return OffsetDeleteResponse { error_code: refusal.code(), ..Default::default() };
    }
    response
}
