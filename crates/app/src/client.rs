//! A small Kafka client for the command line: one request at a time on each connection, no state kept anywhere.
//!
//! It never retries where a request may already have been carried out (the connection broke), so a command does
//! nothing twice (`consume` may: reading changes nothing); where the broker itself says "not now", it asks again until the patience of `--timeout` ends.
//!
//! Start reading at [`Cluster`].

mod bootstrap;
mod cluster;
mod connection;
mod partitioner;
mod refusal;

pub use bootstrap::Bootstrap;
pub use cluster::{Cluster, Overview, Partition, Topic, by_leader};
pub use connection::{Connection, Lost};
pub use partitioner::partition_of_key;
pub use refusal::{Refused, check};

use crate::cli::BrokerArgs;

/// Runs a command that talks to a broker.
pub fn run<T>(
    arguments: &BrokerArgs,
    command: impl AsyncFnOnce(Cluster) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { command(Cluster::connect(arguments).await?).await })
}
