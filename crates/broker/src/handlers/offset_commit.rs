//! OffsetCommit (KIP-211, KIP-848): where a group has got to.

use coordinators::groups::{Command, Commit, Committed, Reject, TopicPartition};
use env::Clock;
use model::{LeaderEpoch, Offset, Timestamp};
use settings::BrokerOptions;
use wire::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use wire::{ErrorCode, OffsetCommitRequest, OffsetCommitResponse};

use super::groups::{self, Coordinator};
use crate::error::{Refusal, of_host};
use crate::request::Caller;
use crate::topics::{Topic, Topics};

/// From here on requests name topics by id.
const BY_ID: i16 = 10;

/// The first version that members under the newer group protocol may use.
const KNOWS_EPOCHS: i16 = 9;

/// The first version that knows GROUP_ID_NOT_FOUND.
const KNOWS_NOT_FOUND: i16 = 9;

pub async fn handle(
    request: OffsetCommitRequest,
    caller: &Caller,
    topics: &Topics,
    groups: &Coordinator,
    options: &BrokerOptions,
    clock: &dyn Clock,
) -> OffsetCommitResponse {
    let mut commits = Vec::new();
    let mut response = OffsetCommitResponse::default();
    for topic in request.topics {
        let found = super::find_topic(topics, caller.version >= BY_ID, topic.topic_id, &topic.name);
        let mut answered =
            OffsetCommitResponseTopic { name: topic.name, topic_id: topic.topic_id, ..Default::default() };
        for partition in topic.partitions {
            let index = partition.partition_index;
            let commit = match &found {
                Ok(topic) => commit(topic, partition, options, clock.now()),
                Err(code) => Err(*code),
            };
            let error_code = crate::request::code(commit.as_ref().err().copied());
            commits.extend(commit);
            answered.partitions.push(OffsetCommitResponsePartition {
                partition_index: index,
                error_code,
                ..Default::default()
            });
        }
        response.topics.push(answered);
    }
    let command = Commit {
        group: request.group_id.to_string(),
        generation: request.generation_id_or_member_epoch,
        member: request.member_id.to_string(),
        instance: request.group_instance_id.map(|instance| instance.to_string()),
        knows_epochs: caller.version >= KNOWS_EPOCHS,
        offsets: commits,
    };
    let rejected = |reject| match reject {
        Reject::UnknownGeneration if caller.version >= KNOWS_NOT_FOUND => ErrorCode::GroupIdNotFound.into(),
        reject => groups::code(reject).into(),
    };
    let committed = match groups.of(&request.group_id).await {
        Ok(host) => host.decide(Command::Commit(command)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = committed {
        let refusal: Refusal = of_host(error, rejected);
        // The group is looked at before the metadata, the topics before the group.
        let coordinated = |code| code == 0 || code == i16::from(ErrorCode::OffsetMetadataTooLarge);
        let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        partitions.filter(|p| coordinated(p.error_code)).for_each(|p| p.error_code = refusal.code());
    }
    response
}

fn commit(
    topic: &Topic,
    partition: OffsetCommitRequestPartition,
    options: &BrokerOptions,
    now: Timestamp,
) -> Result<(TopicPartition, Committed), ErrorCode> {
    topic.partition(partition.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let metadata = partition.committed_metadata.unwrap_or_default();
    // As Java counts: units of UTF-16, of which there are never more than bytes.
    let is_long = metadata.len() > options.offset_metadata_bytes_max as usize;
    if is_long && metadata.encode_utf16().count() > options.offset_metadata_bytes_max as usize {
        return Err(ErrorCode::OffsetMetadataTooLarge);
    }
    let key = TopicPartition { topic: topic.name.to_string(), partition: partition.partition_index };
    let committed = Committed {
        offset: Offset(partition.committed_offset),
        leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
        metadata: metadata.to_string(),
        committed_at: now,
        topic_id: topic.id,
    };
    Ok((key, committed))
}
