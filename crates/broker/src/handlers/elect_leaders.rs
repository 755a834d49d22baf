//! ElectLeaders (KIP-183, KIP-460): on one node the preferred leader leads always, so there is nothing to elect.

use std::sync::Arc;

use wire::elect_leaders::{PartitionResult, ReplicaElectionResult};
use wire::{ElectLeadersRequest, ElectLeadersResponse, ErrorCode};

use crate::topics::{Topic, Topics};

pub async fn handle(request: ElectLeadersRequest, topics: &Topics) -> ElectLeadersResponse {
    // Without a list all partitions are meant, and of each topic only those told for which there was something to do.
    let Some(named) = request.topic_partitions else {
        let nothing =
            |topic: Arc<Topic>| ReplicaElectionResult { topic: topic.name.clone(), ..Default::default() };
        let replica_election_results = topics.all().into_iter().map(nothing).collect();
        return ElectLeadersResponse { replica_election_results, ..Default::default() };
    };
    let result = |topic: &str, partition_id: i32| {
        let (code, why) = match super::find(topics, topic, partition_id) {
            Ok(_) => (ErrorCode::ElectionNotNeeded, "The preferred leader leads already."),
            Err(code) => (code, "There is no such partition."),
        };
        PartitionResult {
            partition_id,
            error_code: code.into(),
            error_message: Some(why.into()),
            ..Default::default()
        }
    };
    let results = named.into_iter().map(|topic| ReplicaElectionResult {
        partition_result: topic.partitions.iter().map(|index| result(&topic.topic, *index)).collect(),
        topic: topic.topic,
        ..Default::default()
    });
    ElectLeadersResponse { replica_election_results: results.collect(), ..Default::default() }
}
