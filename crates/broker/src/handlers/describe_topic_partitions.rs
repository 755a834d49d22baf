//! DescribeTopicPartitions (KIP-966): topics in the order of their names, page by page.

use std::collections::BTreeSet;

use wire::describe_topic_partitions::{
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, ResponseCursor,
};
use wire::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, ErrorCode, Str};

use crate::node::Node;
use crate::topics::Topics;

/// Partitions in one answer at the most: Kafka's `max.request.partition.size.limit`.
const PARTITIONS_MAX: usize = 2000;

pub async fn handle(
    request: DescribeTopicPartitionsRequest,
    node: &Node,
    topics: &Topics,
) -> DescribeTopicPartitionsResponse {
    let named = !request.topics.is_empty();
    let mut names: BTreeSet<Str> = match named {
        true => request.topics.into_iter().map(|topic| topic.name).collect(),
        false => topics.all().iter().map(|topic| topic.name.clone()).collect(),
    };
    let mut first_partition = 0;
    if let Some(cursor) = request.cursor {
        first_partition = cursor.partition_index.max(0) as usize;
        names = names.split_off(&cursor.topic_name);
        if names.first() != Some(&cursor.topic_name) {
            // The topic of the cursor went away between two pages: the next one begins at its start.
            first_partition = 0;
        }
    }
    let mut room = (request.response_partition_limit.max(1) as usize).min(PARTITIONS_MAX);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        let from = std::mem::take(&mut first_partition);
        if room == 0 {
            response.next_cursor = Some(cursor(name, from));
            break;
        }
        let Some(topic) = topics.by_name(&name) else {
            let valid = coordinators::metadata::check_topic_name(&name).is_ok();
            let code =
                if valid { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException };
            response.topics.push(DescribeTopicPartitionsResponseTopic {
                error_code: code.into(),
                name: Some(name),
                topic_authorized_operations: super::TOPIC_OPERATIONS,
                ..Default::default()
            });
            continue;
        };
        let partition = |(index, partition): (usize, &std::sync::Arc<storage::Partition>)| {
            DescribeTopicPartitionsResponsePartition {
                partition_index: index as i32,
                leader_id: node.id,
                leader_epoch: partition.offsets().leader_epoch.0,
                replica_nodes: vec![node.id],
                isr_nodes: vec![node.id],
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                ..Default::default()
            }
        };
        let page: Vec<_> = topic.partitions.iter().enumerate().skip(from).take(room).map(partition).collect();
        room -= page.len();
        let next = from + page.len();
        response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            is_internal: topic.is_internal(),
            partitions: page,
            topic_authorized_operations: super::TOPIC_OPERATIONS,
            ..Default::default()
        });
        if next < topic.partitions.len() {
            response.next_cursor = Some(cursor(name, next));
            break;
        }
    }
    response
}

fn cursor(topic_name: Str, partition: usize) -> ResponseCursor {
    ResponseCursor { topic_name, partition_index: partition as i32, ..Default::default() }
}
