//! AlterPartitionReassignments and ListPartitionReassignments (KIP-455): on one node every partition stays where it is.

use wire::alter_partition_reassignments::{ReassignablePartitionResponse, ReassignableTopicResponse};
use wire::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ErrorCode,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use crate::error::Refusal;
use crate::node::Node;
use crate::topics::Topics;

pub async fn alter(
    request: AlterPartitionReassignmentsRequest,
    node: &Node,
    topics: &Topics,
) -> AlterPartitionReassignmentsResponse {
    let mut response = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        ..Default::default()
    };
    for topic in request.topics {
        let mut answered = ReassignableTopicResponse::default();
        for partition in topic.partitions {
            let index = partition.partition_index;
            let refusal = move_to(&topic.name, index, partition.replicas.as_deref(), node, topics).err();
            answered.partitions.push(ReassignablePartitionResponse {
                partition_index: index,
                error_code: crate::request::code(refusal.as_ref().map(|refusal| refusal.code)),
                error_message: refusal.and_then(|refusal| refusal.text()),
                ..Default::default()
            });
        }
        answered.name = topic.name;
        response.responses.push(answered);
    }
    response
}

fn move_to(
    topic: &str,
    partition: i32,
    replicas: Option<&[i32]>,
    node: &Node,
    topics: &Topics,
) -> Result<(), Refusal> {
    super::find(topics, topic, partition)
        .map_err(|code| Refusal::new(code, "This server does not host this topic-partition."))?;
    match replicas {
        None => Err(ErrorCode::NoReassignmentInProgress.into()),
        // Where it is.
        Some([only]) if *only == node.id => Ok(()),
        Some(_) => Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            format!("there is one broker, {}: a partition has one replica, there", node.id),
        )),
    }
}

/// None is ever under way.
pub async fn list(_: ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
