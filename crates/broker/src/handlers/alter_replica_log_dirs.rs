//! AlterReplicaLogDirs (KIP-113): there is one log directory, so whoever names it wants what is.

use settings::BrokerOptions;
use wire::alter_replica_log_dirs::{AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult};
use wire::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, ErrorCode};

use crate::topics::Topics;

pub async fn handle(
    request: AlterReplicaLogDirsRequest,
    topics: &Topics,
    options: &BrokerOptions,
) -> AlterReplicaLogDirsResponse {
    let mut response = AlterReplicaLogDirsResponse::default();
    for dir in request.dirs {
        let is_ours = *dir.path == *options.data_dir;
        for topic in dir.topics {
            let code = |partition: i32| match super::find(topics, &topic.name, partition) {
                _ if !is_ours => Some(ErrorCode::LogDirNotFound),
                found => found.err(),
            };
            let partition = |index: &i32| AlterReplicaLogDirPartitionResult {
                partition_index: *index,
                error_code: crate::request::code(code(*index)),
                ..Default::default()
            };
            response.results.push(AlterReplicaLogDirTopicResult {
                partitions: topic.partitions.iter().map(partition).collect(),
                topic_name: topic.name,
                ..Default::default()
            });
        }
    }
    response
}
