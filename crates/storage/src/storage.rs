use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;

use env::{Clock, Disk, DiskLock, Random, Space};
use model::{Offset, PartitionId};
use parking_lot::RwLock;
use tokio::sync::oneshot;

use crate::append::{Append, AppendError, Appended};
use crate::directory::{self, Identity, PARTITIONS};
use crate::keeper::remove_directory;
use crate::metrics::Metrics;
use crate::options::{LogConfig, Options};
use crate::partition::Partition;
use crate::queue::{Change, Request, RequestKind, Reservation};
use crate::recovery::{Parts, Recovered, recover};
use crate::shard::Shard;
use crate::site::Site;

/// All partitions there are, of all shards.
pub(crate) type Partitions = RwLock<BTreeMap<PartitionId, Arc<Partition>>>;

/// What must be held while the directory is in use.
pub(crate) struct Held {
    _lock: DiskLock,
}

/// The handle to a storage directory; cheap to clone.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

struct Inner {
    identity: Identity,
    partitions: Arc<Partitions>,
    sites: Vec<Arc<Site>>,
    /// New partitions go to the first so many shards.
    shards: usize,
    metrics: Arc<Metrics>,
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
    /// A repair that accepts losses makes it anew.
    #[error("the checkpoint in {path} is not readable: {reason}")]
    Checkpoint { path: String, reason: String },
    #[error("{doing}: {source}")]
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
    #[error("the process has too many files open")]
    OutOfFiles,
    #[error("the log is closed")]
    Closed,
    #[error("too much is waiting to be written")]
    Overloaded,
}

impl Storage {
    /// Opens a directory, recovering what a crash left. Each shard returned must be run.
    pub fn open(
        options: Options,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<(Storage, Vec<Shard>), OpenError> {
        let lock = directory::lock(&*disk, &options.data_dir)?;
        let held = Arc::new(Held { _lock: lock });
        let identity = directory::identify(&*disk, &*random, &options.data_dir)?;
        let shards = options.shards.max(1);
        let found = directory::shards(&*disk, &options.data_dir).map_err(|source| OpenError::Io {
            doing: format!("listing {}", options.data_dir.display()),
            source,
        })?;
        let count = found.last().map_or(0, |last| *last as usize + 1).max(shards);
        let metrics = Arc::new(Metrics::default());
        let parts = Parts { options: Arc::new(options), disk, clock, random, metrics: metrics.clone() };
        let recovered: Vec<Recovered> =
            (0..count as u32).map(|shard| recover(&parts, shard)).collect::<Result<_, _>>()?;
        let partitions: Arc<Partitions> = Arc::default();
        for shard in &recovered {
            let each = shard.partitions.iter().map(|partition| (partition.id(), partition.clone()));
            partitions.write().extend(each);
        }
        if recovered.iter().all(|shard| shard.is_trustworthy) {
            remove_leftovers(&parts, &partitions);
        }
        let sites = recovered.iter().map(|shard| shard.site.clone()).collect();
        let shards_to_run =
            recovered.into_iter().map(|shard| Shard::new(shard, partitions.clone(), held.clone())).collect();
        Ok((
            Storage { inner: Arc::new(Inner { identity, partitions, sites, shards, metrics }) },
            shards_to_run,
        ))
    }

    /// Kafka-style: 22 characters of base64. Stable for the life of the directory.
    pub fn cluster_id(&self) -> &str {
        &self.inner.identity.cluster_id
    }

    pub fn directory_id(&self) -> &str {
        &self.inner.identity.directory_id
    }

    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// How large the file system of the data directory is. May block.
    pub fn space(&self) -> io::Result<Space> {
        let site = self.inner.sites.first().expect("a storage has at least one shard");
        site.disk.space(&site.options.data_dir)
    }

    pub fn partition(&self, id: PartitionId) -> Option<Arc<Partition>> {
        self.inner.partitions.read().get(&id).cloned()
    }

    /// All partitions, ordered by id.
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        self.inner.partitions.read().values().cloned().collect()
    }

    /// Waits for room in the queue of the partition's shard: the back-pressure of producing.
    pub async fn reserve(
        &self,
        partition: &Arc<Partition>,
        bytes: usize,
    ) -> Result<Reservation, AppendError> {
        partition.site.queue.reserve(bytes).await.ok_or(AppendError::Closed)
    }

    /// Queues a batch at once, in the order of the calls; the future waits until it is as durable as its topic
    /// demands. Dropping the future does not take the batch back.
    pub fn append(
        &self,
        mut append: Append,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + use<> + 'static {
        let (reply, answer) = oneshot::channel();
        let queue = &append.partition.site.clone().queue;
        let reservation = append.reservation.take().or_else(|| queue.try_reserve(append.batch.size_bytes()));
        let refused = if reservation.is_none() {
            Some(if queue.is_open() { AppendError::Overloaded } else { AppendError::Closed })
        } else {
            let request = Request { kind: RequestKind::Append { append, reply }, reservation };
            (!queue.push(request)).then_some(AppendError::Closed)
        };
        async move {
            match refused {
                Some(error) => Err(error),
                None => answer.await.unwrap_or(Err(AppendError::Closed)),
            }
        }
    }

    /// Creates a partition; durable when the future is done. Queued in the order of the calls, like the other changes.
    pub fn create(
        &self,
        id: PartitionId,
        config: LogConfig,
    ) -> impl Future<Output = Result<Arc<Partition>, ChangeError>> + Send + use<> + 'static {
        let shard = self.shard_for_new(id);
        let answer = match self.inner.partitions.read().contains_key(&id) {
            true => Err(ChangeError::Exists),
            false => Ok(ask(&self.inner.sites[shard], id, Change::Create(config))),
        };
        async move { Ok(answer?.await?.0) }
    }

    /// Deletes partitions; unknown ones are passed over. Their files go a little later.
    pub fn delete(
        &self,
        ids: Vec<PartitionId>,
    ) -> impl Future<Output = Result<(), ChangeError>> + Send + use<> + 'static {
        let answers: Vec<_> = ids.into_iter().map(|id| self.change(id, Change::Delete)).collect();
        async move {
            for answer in answers {
                match answer.await {
                    Ok(_) | Err(ChangeError::Unknown) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
    }

    pub fn configure(
        &self,
        id: PartitionId,
        config: LogConfig,
    ) -> impl Future<Output = Result<(), ChangeError>> + Send + use<> + 'static {
        let answer = self.change(id, Change::Configure(config));
        async move { answer.await.map(|_| ()) }
    }

    /// Moves the log's start up to `before` (it never goes back) and returns where it is then.
    pub fn delete_records(
        &self,
        id: PartitionId,
        before: Offset,
    ) -> impl Future<Output = Result<Offset, ChangeError>> + Send + use<> + 'static {
        let answer = self.change(id, Change::LogStart(before));
        async move { answer.await.map(|(_, start)| start) }
    }

    /// Stops taking requests, finishes those that wait, syncs, and leaves a checkpoint that says "clean".
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<> + 'static {
        let answers: Vec<_> = self
            .inner
            .sites
            .iter()
            .map(|site| {
                let (reply, answer) = oneshot::channel();
                // A queue that is closed already is what we want.
                site.queue.push(Request { kind: RequestKind::Close { reply }, reservation: None });
                answer
            })
            .collect();
        async move {
            for answer in answers {
                let _ = answer.await;
            }
        }
    }

    fn change(
        &self,
        id: PartitionId,
        change: Change,
    ) -> impl Future<Output = Result<(Arc<Partition>, Offset), ChangeError>> + Send + use<> + 'static {
        let partition = self.partition(id);
        let answer = partition.map(|partition| ask(&partition.site, id, change));
        async move { answer.ok_or(ChangeError::Unknown)?.await }
    }

    fn shard_for_new(&self, id: PartitionId) -> usize {
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&id.topic.0);
        bytes[16..].copy_from_slice(&id.index.to_le_bytes());
        crc32c::crc32c(&bytes) as usize % self.inner.shards
    }
}

fn ask(
    site: &Arc<Site>,
    id: PartitionId,
    change: Change,
) -> impl Future<Output = Result<(Arc<Partition>, Offset), ChangeError>> + Send + use<> + 'static {
    let (reply, answer) = oneshot::channel();
    let reservation = site.queue.try_reserve(0);
    let refused = if reservation.is_none() {
        Some(if site.queue.is_open() { ChangeError::Overloaded } else { ChangeError::Closed })
    } else {
        let request = Request { kind: RequestKind::Change { id, change, reply }, reservation };
        (!site.queue.push(request)).then_some(ChangeError::Closed)
    };
    async move {
        match refused {
            Some(error) => Err(error),
            None => answer.await.unwrap_or(Err(ChangeError::Closed)),
        }
    }
}

/// Directories of partitions that no longer exist: deleted, but the process ended before their files were gone.
fn remove_leftovers(parts: &Parts, partitions: &Partitions) {
    let directory = parts.options.data_dir.join(PARTITIONS);
    let Ok(entries) = parts.disk.list(&directory) else { return };
    let known = partitions.read();
    for entry in entries {
        let Some(id) = directory::parse_partition_dir(&entry.name) else { continue };
        if known.contains_key(&id) {
            continue;
        }
        match remove_directory(&*parts.disk, &directory.join(&entry.name)) {
            Ok(()) => tracing::info!(partition = %id, "removed what was left of a deleted partition"),
            Err(error) => {
                tracing::warn!(partition = %id, %error, "cannot remove what is left of a deleted partition")
            }
        }
    }
}
