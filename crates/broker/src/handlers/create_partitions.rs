//! CreatePartitions: grows topics; one result per topic of the request, in its order; what is named twice is
//! refused once.

use std::collections::HashSet;

use wire::create_partitions::{CreatePartitionsTopic, CreatePartitionsTopicResult};
use wire::{CreatePartitionsRequest, CreatePartitionsResponse, ErrorCode};

use crate::error::{Refusal, of_cluster};
use crate::hosting::{Cluster, PARTITIONS_MAX};
use crate::topics::Topics;

pub async fn handle(
    request: CreatePartitionsRequest,
    topics: &Topics,
    cluster: &Cluster,
) -> CreatePartitionsResponse {
    let twice = super::duplicates(request.topics.iter().map(|topic| topic.name.as_ref()));
    let mut response = CreatePartitionsResponse::default();
    let mut refused = HashSet::new();
    for topic in &request.topics {
        let named_twice = twice.contains(topic.name.as_ref() as &str);
        if named_twice && !refused.insert(&topic.name) {
            continue;
        }
        let grown = match named_twice {
            true => Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.")),
            false => grow(topic, request.validate_only, topics, cluster).await,
        };
        let refusal = grown.err();
        response.results.push(CreatePartitionsTopicResult {
            name: topic.name.clone(),
            error_code: crate::request::code(refusal.as_ref().map(|refusal| refusal.code)),
            error_message: refusal.and_then(|refusal| refusal.text()),
            ..Default::default()
        });
    }
    response
}

async fn grow(
    wanted: &CreatePartitionsTopic,
    validate_only: bool,
    topics: &Topics,
    cluster: &Cluster,
) -> Result<(), Refusal> {
    let topic = topics.by_name(&wanted.name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let present = topic.partitions.len() as i32;
    let invalid = |why| Err(Refusal::new(ErrorCode::InvalidPartitions, why));
    if wanted.count == present {
        return invalid(format!("Topic already has {present} partition(s)."));
    }
    if wanted.count < present || wanted.count > PARTITIONS_MAX {
        return invalid(format!(
            "The topic {} currently has {present} partition(s); {} is not between that and {PARTITIONS_MAX}.",
            topic.name, wanted.count
        ));
    }
    if let Some(assignments) = &wanted.assignments {
        let node = [cluster.settings().options().node_id];
        let right = assignments.len() as i32 == wanted.count - present;
        if !right || assignments.iter().any(|assigned| assigned.broker_ids != node) {
            let why = format!("each new partition needs an assignment to the only broker, {}", node[0]);
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
        }
    }
    match validate_only {
        true => Ok(()),
        false => cluster.create_partitions(topic.id, wanted.count).await.map_err(of_cluster),
    }
}
