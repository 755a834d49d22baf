//! Runs the coordinators' machines over internal topics.

mod host;
mod metadata;
mod offsets;
mod transactional_ids;

mod cluster;
mod coordinator;
mod orphans;

#[cfg(test)]
mod tests;

pub use cluster::{Cluster, ClusterError, CreateError, PARTITIONS_MAX};
pub use coordinator::Coordinator;
pub use host::{HostError, LoadError};
pub use metadata::{Fate, TopicNames};

/// Why the records of our own machines always encode.
const ENCODES: &str = "the strings of a record came over the same protocol";
