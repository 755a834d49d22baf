//! One file per API: typed in, typed out.

pub mod acls;
pub mod alter_configs;
pub mod alter_replica_log_dirs;
pub mod api_versions;
mod configs;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod describe_user_scram_credentials;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod groups;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_transactions;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod partition_reassignments;
pub mod produce;
pub mod sasl;
pub mod sync_group;
pub mod update_features;

use std::sync::Arc;

use model::{LeaderEpoch, TopicId};
use storage::Partition;
use wire::ErrorCode;

use crate::topics::{Topic, Topics};

/// Operations on a topic that everyone may do while there is no authoriser, as Kafka's bit field (KIP-430).
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The same for the cluster.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// A partition by its topic's name.
fn find(topics: &Topics, topic: &str, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
    let topic = topics.by_name(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    topic.partition(partition).cloned().ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// A topic by its id where `by_id`, else by its name.
fn find_topic(topics: &Topics, by_id: bool, id: TopicId, name: &str) -> Result<Arc<Topic>, ErrorCode> {
    match by_id {
        true => topics.by_id(id).ok_or(ErrorCode::UnknownTopicId),
        false => topics.by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition),
    }
}

/// Checks the leader epoch that a client believes in (KIP-320); -1 is unchecked.
fn check_leader_epoch(current: LeaderEpoch, believed: i32) -> Result<(), ErrorCode> {
    match believed {
        -1 => Ok(()),
        believed if believed < current.0 => Err(ErrorCode::FencedLeaderEpoch),
        believed if believed > current.0 => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// Names that a request holds more than once.
fn duplicates<'a>(names: impl Iterator<Item = &'a str>) -> std::collections::BTreeSet<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}
