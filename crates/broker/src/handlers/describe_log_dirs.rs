//! DescribeLogDirs (KIP-113, KIP-827): how much the partitions take, and how much room is left.

use std::collections::{BTreeMap, BTreeSet};

use settings::BrokerOptions;
use storage::Storage;
use tracing::warn;
use wire::describe_log_dirs::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic};
use wire::{DescribeLogDirsRequest, DescribeLogDirsResponse, Str};

use crate::topics::Topics;

pub async fn handle(
    request: DescribeLogDirsRequest,
    topics: &Topics,
    storage: &Storage,
    options: &BrokerOptions,
) -> DescribeLogDirsResponse {
    let mut wanted: BTreeMap<Str, BTreeSet<i32>> = BTreeMap::new();
    let all = request.topics.is_none();
    for topic in request.topics.unwrap_or_default() {
        wanted.entry(topic.topic).or_default().extend(topic.partitions);
    }
    let mut described = Vec::new();
    for topic in topics.all() {
        let named = wanted.get(&topic.name);
        let is_wanted = |index: i32| all || named.is_some_and(|partitions| partitions.contains(&index));
        let partitions: Vec<DescribeLogDirsPartition> = (0..)
            .zip(&topic.partitions)
            .filter(|(index, _)| is_wanted(*index))
            .map(|(index, partition)| DescribeLogDirsPartition {
                partition_index: index,
                partition_size: partition.size_bytes() as i64,
                ..Default::default()
            })
            .collect();
        if !partitions.is_empty() {
            described.push(DescribeLogDirsTopic {
                name: topic.name.clone(),
                partitions,
                ..Default::default()
            });
        }
    }
    let space = {
        let storage = storage.clone();
        env::run_blocking(move || storage.space()).await
    };
    // Kafka's "unknown" is -1.
    let (total_bytes, usable_bytes) = match space {
        Ok(space) => (space.total as i64, space.free as i64),
        Err(error) => {
            warn!(%error, "cannot tell how much room is left");
            (-1, -1)
        }
    };
    let result = DescribeLogDirsResult {
        total_bytes,
        usable_bytes,
        log_dir: options.data_dir.as_str().into(),
        topics: described,
        ..Default::default()
    };
    DescribeLogDirsResponse { results: vec![result], ..Default::default() }
}
