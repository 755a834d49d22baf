//! DescribeProducers (KIP-664): what partitions remember of idempotent producers.

use std::collections::HashSet;

use wire::describe_producers::{PartitionResponse, ProducerState, TopicResponse};
use wire::{DescribeProducersRequest, DescribeProducersResponse, ErrorCode};

use crate::topics::Topics;

pub async fn handle(request: DescribeProducersRequest, topics: &Topics) -> DescribeProducersResponse {
    let mut response = DescribeProducersResponse::default();
    let mut seen = HashSet::new();
    for topic in request.topics {
        let mut answered = TopicResponse { name: topic.name.clone(), ..Default::default() };
        for index in topic.partition_indexes {
            // Once, however often it is named: one partition may have many producers.
            if !seen.insert((topic.name.clone(), index)) {
                continue;
            }
            let mut answer = PartitionResponse { partition_index: index, ..Default::default() };
            let found = match coordinators::metadata::check_topic_name(&topic.name) {
                Ok(()) => super::find(topics, &topic.name, index),
                Err(_) => Err(ErrorCode::InvalidTopicException),
            };
            match found {
                Ok(partition) => answer.active_producers = partition.producers().iter().map(active).collect(),
                Err(code) => answer.error_code = code.into(),
            }
            answered.partitions.push(answer);
        }
        response.topics.push(answered);
    }
    response
}

fn active(producer: &storage::ProducerState) -> ProducerState {
    ProducerState {
        producer_id: producer.id.0,
        producer_epoch: producer.epoch.0.into(),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_append.0,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_start.map_or(-1, |offset| offset.0),
        ..Default::default()
    }
}
