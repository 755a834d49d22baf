//! The nouns of the log: identifiers, offsets, epochs, timestamps and record batches (format v2).
//!
//! No IO, no async, no clock. Start reading at [`batch`]: a batch is what producers send, what the log
//! stores byte for byte and what consumers read.

pub mod batch;
pub mod compression;
pub mod ids;

pub use batch::{Batch, BatchError, BatchHeader};
pub use compression::Compression;
pub use ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
