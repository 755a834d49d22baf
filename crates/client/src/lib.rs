//! A Kafka client: what the patterns and the command line use to reach the log.
//!
//! It knows no broker's internals: everything goes over Kafka's protocol, so that the same code runs on the embedded
//! broker and on a cluster. Nothing is asked a second time that a broker may have done already, unless it can tell.
//!
//! Start reading at [`Cluster`]; then [`ClaimedWriter`], which is how a pattern is the only one that writes to a
//! partition, [`Membership`], which tells it which partitions are to be its own, and [`Tail`], which reads one.

mod admin;
mod bootstrap;
mod cluster;
mod configs;
mod connection;
mod error;
mod inside;
mod instances;
mod membership;
mod partitioner;
mod position;
mod properties;
mod refusal;
mod sasl;
mod security;
mod tail;
mod writer;

pub use bootstrap::Bootstrap;
pub use cluster::{Cluster, Options, Overview, Partition, Topic, by_leader};
pub use configs::TopicConfigs;
pub use connection::Connection;
pub use error::AskError;
pub use inside::Inside;
pub use instances::instances;
pub use membership::{Membership, MembershipOptions, Ownership, TopicPartition};
pub use partitioner::partition_of_key;
pub use position::{Position, PositionError};
pub use properties::{Properties, ReadFile};
pub use refusal::{Refused, check};
pub use security::Security;
pub use tail::{Hurry, Pace, Tail, Tailed};
pub use writer::{ClaimedWriter, IN_FLIGHT_MAX, WriteError, Written};
