use std::future::Future;
use std::io;
use std::sync::Arc;

use env::{Clock, Disk, Random};
use model::{Offset, PartitionId};

use crate::append::{Append, AppendError, Appended};
use crate::metrics::Metrics;
use crate::options::{LogConfig, Options};
use crate::partition::Partition;
use crate::queue::Reservation;
use crate::shard::Shard;

/// The handle to a storage directory; cheap to clone.
#[derive(Clone)]
pub struct Storage {
    _todo: (),
}

/// Why a storage directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process uses {0}")]
    Locked(String),
    #[error("{path} was written by a newer version (format {found}, this one knows {known})")]
    Newer { path: String, found: u32, known: u32 },
    #[error("{path} is not readable: {reason}")]
    Unreadable { path: String, reason: String },
    #[error("{doing}")]
    Io {
        doing: String,
        #[source]
        source: io::Error,
    },
}

/// Why a change of a partition was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("the partition does not exist")]
    Unknown,
    #[error("the partition exists already")]
    Exists,
    /// Only `delete_records`: beyond the high watermark.
    #[error("the offset is out of range")]
    OutOfRange,
    #[error("the disk is full")]
    DiskFull,
    #[error("the log is closed")]
    Closed,
    #[error("too much is waiting to be written")]
    Overloaded,
}

impl Storage {
    /// Opens a directory, recovering what a crash left. Each shard returned must be run.
    pub fn open(
        _options: Options,
        _disk: Arc<dyn Disk>,
        _clock: Arc<dyn Clock>,
        _random: Arc<dyn Random>,
    ) -> Result<(Storage, Vec<Shard>), OpenError> {
        todo!()
    }

    /// Kafka-style: 22 characters of base64. Stable for the life of the directory.
    pub fn cluster_id(&self) -> &str {
        todo!()
    }

    pub fn directory_id(&self) -> &str {
        todo!()
    }

    pub fn metrics(&self) -> &Metrics {
        todo!()
    }

    pub fn partition(&self, _id: PartitionId) -> Option<Arc<Partition>> {
        todo!()
    }

    /// All partitions, ordered by id.
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        todo!()
    }

    /// Waits for room in the queue of the partition's shard: the back-pressure of producing.
    pub async fn reserve(
        &self,
        _partition: &Arc<Partition>,
        _bytes: usize,
    ) -> Result<Reservation, AppendError> {
        todo!()
    }

    /// Queues a batch at once, in the order of the calls; the future waits until it is as durable as its topic
    /// demands. Dropping the future does not take the batch back.
    pub fn append(
        &self,
        _append: Append,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + 'static {
        async { todo!() }
    }

    /// Creates a partition; durable when the future is done. Queued in the order of the calls, like the other changes.
    pub fn create(
        &self,
        _id: PartitionId,
        _config: LogConfig,
    ) -> impl Future<Output = Result<Arc<Partition>, ChangeError>> + Send + 'static {
        async { todo!() }
    }

    /// Deletes partitions; unknown ones are passed over. Their files go a little later.
    pub fn delete(
        &self,
        _ids: Vec<PartitionId>,
    ) -> impl Future<Output = Result<(), ChangeError>> + Send + 'static {
        async { todo!() }
    }

    pub fn configure(
        &self,
        _id: PartitionId,
        _config: LogConfig,
    ) -> impl Future<Output = Result<(), ChangeError>> + Send + 'static {
        async { todo!() }
    }

    /// Moves the log's start up to `before` (it never goes back) and returns where it is then.
    pub fn delete_records(
        &self,
        _id: PartitionId,
        _before: Offset,
    ) -> impl Future<Output = Result<Offset, ChangeError>> + Send + 'static {
        async { todo!() }
    }

    /// Stops taking requests, finishes those that wait, syncs, and leaves a checkpoint that says "clean".
    pub fn close(&self) -> impl Future<Output = ()> + Send + 'static {
        async { todo!() }
    }
}
