//! DescribeQuorum (KIP-595, KIP-836): who keeps the cluster metadata. On one node: this one, alone.

use model::{PartitionId, TopicId};
use storage::Storage;
use wire::describe_quorum::{
    Listener, Node as QuorumNode, ReplicaState, ResponsePartitionData as PartitionData,
    ResponseTopicData as TopicData,
};
use wire::{DescribeQuorumRequest, DescribeQuorumResponse, ErrorCode};

use crate::node::Node;
use crate::request::Caller;
use crate::topics::METADATA_TOPIC;

/// The metadata's one partition.
const PARTITION: PartitionId = PartitionId { topic: TopicId::CLUSTER_METADATA, index: 0 };

/// From here on the nodes' addresses are told.
const NODES: i16 = 2;

pub async fn handle(
    request: DescribeQuorumRequest,
    caller: &Caller,
    node: &Node,
    storage: &Storage,
    now: model::Timestamp,
) -> DescribeQuorumResponse {
    let mut response = DescribeQuorumResponse::default();
    for topic in request.topics {
        let mut answered = TopicData { topic_name: topic.topic_name.clone(), ..Default::default() };
        for partition in topic.partitions {
            let index = partition.partition_index;
            let is_metadata = *topic.topic_name == *METADATA_TOPIC && index == PARTITION.index;
            let log = storage.partition(PARTITION).filter(|_| is_metadata);
            let Some(log) = log else {
                answered.partitions.push(PartitionData {
                    partition_index: index,
                    error_code: ErrorCode::UnknownTopicOrPartition.into(),
                    error_message: Some("Only the cluster metadata has a quorum.".into()),
                    ..Default::default()
                });
                continue;
            };
            let offsets = log.offsets();
            let voter = ReplicaState {
                replica_id: node.id,
                log_end_offset: offsets.log_end.0,
                last_fetch_timestamp: now.0,
                last_caught_up_timestamp: now.0,
                ..Default::default()
            };
            answered.partitions.push(PartitionData {
                partition_index: index,
                leader_id: node.id,
                leader_epoch: offsets.leader_epoch.0,
                high_watermark: offsets.high_watermark.0,
                current_voters: vec![voter],
                ..Default::default()
            });
        }
        response.topics.push(answered);
    }
    if caller.version < NODES {
        return response;
    }
    let (host, port) = node.address(&caller.ends);
    let listener = Listener {
        name: "PLAINTEXT".into(),
        host,
        port: u16::try_from(port).unwrap_or_default(),
        ..Default::default()
    };
    response.nodes = vec![QuorumNode { node_id: node.id, listeners: vec![listener], ..Default::default() }];
    response
}
