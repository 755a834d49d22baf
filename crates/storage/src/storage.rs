use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use env::{Clock, Disk, DiskLock, Random, Space};
use model::{Offset, PartitionId};
use parking_lot::RwLock;
use tokio::sync::oneshot;

use crate::append::{Append, AppendError, Appended};
use crate::directory::{self, Identity, PARTITIONS};
use crate::keeper::remove_directory;
use crate::metrics::Metrics;
use crate::options::{CompactionOptions, LogConfig, Options};
use crate::partition::{Health, Partition};
use crate::queue::{Change, Request, RequestKind, Reservation};
use crate::recovery::{Parts, Recovered, holds_batches, recover, take_up};
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
    /// A repair that accepts losses makes the directory somebody new.
    #[error("{path}, which says whose data this is, is not readable: {reason}")]
    Identity { path: String, reason: String },
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
        let mut identity = directory::identify(&*disk, &*random, &options.data_dir)?;
        let shards = options.shards.max(1);
        let failed = |doing: &str| {
            let doing = format!("{doing} {}", options.data_dir.display());
            move |source| OpenError::Io { doing, source }
        };
        let (there, shards_known) =
            directory::shards(&*disk, &options.data_dir, &identity).map_err(failed("listing"))?;
        let count = there.max(shards as u32);
        let metrics = Arc::new(Metrics::default());
        let parts = Parts {
            options: Arc::new(options.clone()),
            disk,
            clock,
            random,
            metrics: metrics.clone(),
            shards_known,
        };
        let mut recovered: Vec<Recovered> =
            (0..count).map(|shard| recover(&parts, shard)).collect::<Result<_, _>>()?;
        if identity.shards < count {
            identity.shards = count;
            // On a full disk the next start writes it down; that is no reason not to start.
            if let Err(error) = directory::write_identity(&*parts.disk, &options.data_dir, &identity) {
                tracing::warn!(%error, "the number of shards cannot be written to levada.properties");
            }
        }
        place_leftovers(&parts, &mut recovered, shards).map_err(failed("looking for leftovers in"))?;
        let partitions: Arc<Partitions> = Arc::default();
        for shard in &recovered {
            let each = shard.partitions.iter().map(|partition| (partition.id(), partition.clone()));
            partitions.write().extend(each);
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

    /// Compacts like this from now on.
    pub fn tune_compaction(&self, options: &CompactionOptions) {
        for site in &self.inner.sites {
            let before = std::mem::replace(&mut *site.compaction.lock(), options.clone());
            if before != *options {
                site.compaction_wanted.store(true, Ordering::Release);
                site.bell.ring();
            }
        }
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

    /// How many partitions are read-only because they are known to be damaged.
    pub fn damaged_count(&self) -> usize {
        let partitions = self.inner.partitions.read();
        partitions.values().filter(|partition| matches!(partition.health(), Health::Damaged(_))).count()
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
        shard_for(id, self.inner.shards)
    }
}

fn shard_for(id: PartitionId, shards: usize) -> usize {
    let mut bytes = [0; 20];
    bytes[..16].copy_from_slice(&id.topic.0);
    bytes[16..].copy_from_slice(&id.index.to_le_bytes());
    crc32c::crc32c(&bytes) as usize % shards
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

/// Folders of partitions that no shard knows: removes those of deleted ones, whose removal the process did not live to
/// see, and takes the others up again, because nobody has asked for their records to go.
fn place_leftovers(parts: &Parts, recovered: &mut [Recovered], shards: usize) -> io::Result<()> {
    let directory = parts.options.data_dir.join(PARTITIONS);
    let known: BTreeSet<PartitionId> =
        recovered.iter().flat_map(|shard| &shard.partitions).map(|partition| partition.id()).collect();
    let is_trustworthy = recovered.iter().all(|shard| shard.is_trustworthy);
    let mut removed = Vec::new();
    for entry in parts.disk.list(&directory)? {
        let Some(id) = directory::parse_partition_dir(&entry.name) else { continue };
        if known.contains(&id) {
            continue;
        }
        let is_deleted = recovered.iter().any(|shard| shard.site.deleted.lock().contains(&id));
        if is_deleted || is_trustworthy && !holds_batches(parts, id)? {
            match remove_directory(&*parts.disk, &directory.join(&entry.name)) {
                Ok(()) => {
                    tracing::info!(partition = %id, "removed what was left of a deleted partition");
                    removed.push(id);
                }
                Err(error) => {
                    tracing::warn!(partition = %id, %error, "cannot remove what is left of a deleted partition")
                }
            }
        } else if !is_deleted {
            let shard = &mut recovered[shard_for(id, shards)];
            tracing::error!(
                partition = %id,
                "nothing but its folder tells of this partition: read-only until `levada repair --accept-loss`"
            );
            shard.partitions.push(Arc::new(take_up(parts, id, &shard.site)?));
            shard.site.news.store(true, Ordering::Release);
        }
    }
    if !removed.is_empty() {
        parts.disk.sync_dir(&directory)?;
        for shard in recovered {
            shard.site.deleted.lock().retain(|id| !removed.contains(id));
        }
    }
    Ok(())
}
