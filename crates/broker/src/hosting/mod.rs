//! Runs the coordinators' machines over internal topics.

mod consumer_groups;
mod consumer_protocol;
mod groups;
mod host;
mod metadata;
mod transactional_ids;
mod waiters;

mod cluster;
mod coordinator;
mod group_configs;
mod orphans;

#[cfg(test)]
mod tests;

pub use cluster::{Cluster, ClusterError, CreateError, PARTITIONS_MAX};
pub use consumer_groups::assignment;
pub use consumer_protocol::{share, share_bytes, subscription};
pub use coordinator::Coordinator;
pub use group_configs::GroupConfigs;
pub use groups::GroupHost;
pub use host::{HostError, LoadError};
pub use metadata::{Fate, TopicNames};
pub use waiters::Waiters;

/// Why the records of our own machines always encode.
const ENCODES: &str = "the strings of a record came over the same protocol";
