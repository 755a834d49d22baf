//! All categories of one process: replicas of every partition, owners of those that the group gives it.

mod beside;
mod catalog;
mod deletion;
mod erasure;
mod keeping;
mod metrics;
mod reading;
mod repair;
mod retention;
mod routing;
mod snapshots;
mod tables;
mod truncation;
mod upcasting;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use client::{Cluster, Membership, MembershipOptions, Ownership};
use env::{Clock, Random};
use model::{Offset, PartitionId, TopicId};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::append::{Append, AppendError, Appended};
use crate::category::Category;
use crate::consumers::{self, Consumers};
use crate::keys::Keys;
use crate::options::Options;
use crate::owner::{Job, Standing};
use crate::peers::Peers;
use crate::query::ANSWER_BYTES;
use crate::repairs::Repairs;
use crate::replica::Replica;
use crate::table::{self, Table, TableError};
use crate::trimmed::Trimmed;
use catalog::Catalog;

pub use catalog::CategoryInfo;
pub(crate) use catalog::TOPIC as CATALOG;
pub use deletion::DeletedCategory;
pub(crate) use erasure::is_certificate;
pub use erasure::{Certificate, EraseError};
pub use reading::{Filter, Freshness};
pub use repair::{RepairAction, RepairError, TableRepair, Trouble};
pub use truncation::{TrimmedPartition, TruncateError, Truncated};
pub use upcasting::Tried;

/// Another instance, as this one asks it.
pub trait Peer: Send + Sync {
    /// Appends there, and proves with the keys of `peers` who asks. Never goes on to a third instance: what that one would
    /// answer is the answer.
    fn append<'a>(
        &'a self,
        peers: &'a Peers,
        url: &'a str,
        category: &'a Category,
        append: &'a Append,
    ) -> Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + Send + 'a>>;
}

/// The event store of one process, while it runs.
pub struct Events {
    handle: Handle,
    membership: Arc<Membership>,
    keeping: tokio::task::JoinHandle<()>,
    hosting: tokio::task::JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// What doors use. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Shared>, View);

/// How events are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct View {
    /// As upcasters make them; otherwise as they are recorded.
    is_lifted: bool,
    /// Of one answer, about.
    bytes_max: usize,
}

struct Shared {
    cluster: Cluster,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    options: Options,
    peer: Arc<dyn Peer>,
    catalog: Catalog,
    open: Mutex<BTreeMap<Category, Arc<OpenCategory>>>,
    /// How many are open.
    openings: watch::Sender<usize>,
    membership: Arc<Membership>,
    consumers: Consumers,
    snapshots: Mutex<BTreeMap<Category, snapshots::Opened>>,
    trimmed: Trimmed,
    repairs: Repairs,
    /// Why categories that the catalog has are not open.
    unopened: Mutex<BTreeMap<Category, keeping::Unopened>>,
    /// Topics that do not keep what they must.
    forgetting: Mutex<retention::Forgetting>,
    upcasters: upcasting::Known,
    keys: Keys,
    peers: Peers,
    /// Topics that positions name, and that are none of the tables'.
    other_topics: Mutex<BTreeSet<TopicId>>,
}

/// A category whose partitions are read.
struct OpenCategory {
    category: Category,
    partitions: Vec<OpenPartition>,
    /// Nothing of it is owned any more: it is deleted, or the process stops.
    over: watch::Sender<bool>,
}

struct OpenPartition {
    replica: Arc<Replica>,
    /// For the owner, whenever this process has it.
    jobs: mpsc::Sender<Job>,
    /// Where the log ended when this process began to read it: whoever reads sees at least that.
    floor: Offset,
    /// Set while this process owns the partition and takes appends.
    standing: watch::Receiver<Option<Standing>>,
}

impl OpenPartition {
    fn id(&self) -> PartitionId {
        self.replica.partition
    }

    /// Why nothing more is read of it, where that is so.
    fn halted(&self, category: &Category) -> Option<String> {
        let why = self.replica.halted()?.why;
        Some(format!("partition {} of {} is not read any further: {why}", self.id().index, category.topic()))
    }
}

impl Handle {
    /// An id for an event whose writer gives none: a UUID of version 7, so that ids grow with time.
    pub fn new_id(&self) -> String {
        let mut chance = [0; 10];
        self.0.random.fill(&mut chance);
        let millis = u64::try_from(self.0.clock.now().0).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &chance).into_uuid().to_string()
    }

    pub(crate) fn chance(&self) -> u64 {
        let mut chance = [0; 8];
        self.0.random.fill(&mut chance);
        u64::from_be_bytes(chance)
    }

    /// Where other instances reach this one.
    pub fn url(&self) -> &str {
        &self.0.options.url
    }

    /// How instances prove to each other who they are.
    pub fn peers(&self) -> &Peers {
        &self.0.peers
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.0.clock.clone()
    }

    pub(crate) fn consumers(&self) -> &Consumers {
        &self.0.consumers
    }

    pub(crate) fn ownership(&self) -> watch::Receiver<Ownership> {
        self.0.membership.ownership()
    }

    /// Told when a category begins to be read.
    pub(crate) fn openings(&self) -> watch::Receiver<usize> {
        self.0.openings.subscribe()
    }

    pub(crate) fn append_patience(&self) -> Duration {
        self.0.options.append_patience
    }
}

impl Events {
    /// Reads which categories there are and begins to read and own them. Returns when the catalog is read; partitions
    /// come one after the other.
    pub async fn start(
        cluster: Cluster,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        options: Options,
        peer: Arc<dyn Peer>,
    ) -> Result<Events, TableError> {
        let (dir, factor) = (options.index_dir.clone(), options.replication_factor);
        let catalog = Catalog::open(&cluster, clock.clone(), dir.clone(), factor).await?;
        let trimmed = Trimmed::open(&cluster, clock.clone(), dir.clone(), factor).await?;
        let repairs = Repairs::open(&cluster, clock.clone(), dir.clone(), factor).await?;
        let upcasters = upcasting::Known::open(&cluster, clock.clone(), dir.clone(), factor).await?;
        let files = (dir.clone(), options.master_key_file.clone());
        let keys = Keys::open(&cluster, clock.clone(), random.clone(), files, factor).await?;
        let peers = Peers::open(&cluster, clock.clone(), random.clone(), dir.clone(), factor).await?;
        let table = table::Options::new(consumers::TOPIC, dir, factor);
        let consumers = Consumers::new(Table::open(&cluster, clock.clone(), table).await?);
        let membership = Arc::new(Membership::join(
            cluster.clone(),
            MembershipOptions {
                group: options.group.clone(),
                url: options.url.clone(),
                session_timeout: options.session_timeout,
                heartbeat_interval: options.heartbeat_interval,
                rebalance_timeout: options.session_timeout,
            },
        ));
        let shared = Arc::new(Shared {
            cluster,
            clock,
            random,
            options,
            peer,
            catalog,
            open: Mutex::default(),
            openings: watch::Sender::new(0),
            membership: membership.clone(),
            consumers,
            snapshots: Mutex::default(),
            trimmed,
            repairs,
            unopened: Mutex::default(),
            forgetting: Mutex::default(),
            upcasters,
            keys,
            peers,
            other_topics: Mutex::default(),
        });
        let handle = Handle(shared, View { is_lifted: true, bytes_max: ANSWER_BYTES });
        let (stop, stopped) = watch::channel(false);
        let (dir, all) = (handle.0.options.index_dir.clone(), handle.0.catalog.known().borrow().clone());
        env::run_blocking(move || deletion::sweep(&dir, &all)).await;
        env::spawn(handle.clone().finish_overdue(stopped.clone()));
        env::spawn(handle.clone().watch_retention(stopped.clone()));
        let hosting = env::spawn(consumers::keep_hosting(handle.clone(), stopped.clone()));
        let keeping = env::spawn(keeping::keep(handle.clone(), stopped));
        Ok(Events { handle, membership, keeping, hosting, stop })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Gives its partitions to other instances; appends that were taken are answered first.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.hosting.await;
        let _ = self.keeping.await;
        self.membership.leave().await;
    }
}
