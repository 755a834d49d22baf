//! OffsetDelete (KIP-496): forgets committed offsets of a group.

use std::collections::BTreeSet;

use coordinators::groups::{Command, Reply, TopicPartition};
use wire::offset_delete::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::{ErrorCode, OffsetDeleteRequest, OffsetDeleteResponse};

use super::groups::{self, Coordinator};
use crate::error::of_host;
use crate::topics::Topics;

pub async fn handle(
    request: OffsetDeleteRequest,
    topics: &Topics,
    groups: &Coordinator,
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
    let command = Command::DeleteOffsets { group: request.group_id.to_string(), partitions };
    let deleted = match groups.of(&request.group_id).await {
        Ok(host) => host.decide(command).await,
        Err(error) => Err(error),
    };
    match deleted {
        Ok(Reply::OffsetsDeleted { subscribed }) => {
            let subscribed: BTreeSet<(&str, i32)> =
                subscribed.iter().map(|one| (one.topic.as_str(), one.partition)).collect();
            for topic in &mut response.topics {
                let is_subscribed = |index| subscribed.contains(&(topic.name.as_ref() as &str, index));
                let held = topic.partitions.iter_mut().filter(|one| is_subscribed(one.partition_index));
                held.for_each(|one| one.error_code = ErrorCode::GroupSubscribedToTopic.into());
            }
            response
        }
        Ok(_) => response,
        Err(error) => {
            let refusal = of_host(error, |reject| groups::code(reject).into());
            OffsetDeleteResponse { error_code: refusal.code(), ..Default::default() }
        }
    }
}
