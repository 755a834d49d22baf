use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use env::{Clock, Disk, Random};
use model::PartitionId;
use parking_lot::Mutex;

use crate::bell::Bell;
use crate::metrics::Metrics;
use crate::options::{CompactionOptions, Options};
use crate::partition::Partition;
use crate::queue::Queue;
use crate::recovery::Parts;
use crate::wal::Wal;

/// What a shard's writer, its keeper and its partitions share.
pub(crate) struct Site {
    pub shard: u32,
    pub options: Arc<Options>,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub metrics: Arc<Metrics>,
    pub wal: Wal,
    pub queue: Queue,
    /// Wakes the keeper.
    pub bell: Bell,
    /// The last group written, and the last one known to be synced.
    pub written_group: AtomicU64,
    pub synced_group: AtomicU64,
    /// The last group whose effects can be seen.
    pub published_group: AtomicU64,
    /// The keeper waits for a sync before it can publish a checkpoint.
    pub sync_wanted: AtomicBool,
    /// Batches, and bytes of batches, that wait in the write-ahead log to be rolled up.
    pub pending_batches: AtomicU64,
    pub pending_bytes: AtomicU64,
    /// Bytes of large batches since the last checkpoint.
    pub direct_bytes: AtomicU64,
    pub disk_full: AtomicBool,
    /// What may change while the storage is open: see the options of these names.
    pub compaction: Mutex<CompactionOptions>,
    /// They have changed: it is looked for something to compact at once.
    pub compaction_wanted: AtomicBool,
    /// Deleted partitions whose files are still there.
    pub graveyard: Mutex<Vec<Arc<Partition>>>,
    /// Deleted partitions whose folders may be there still, whatever the next crash takes back.
    pub deleted: Mutex<BTreeSet<PartitionId>>,
    /// Partitions to be rolled up out of turn, because large batches wait for it.
    pub early_roll_up: Mutex<BTreeMap<PartitionId, Arc<Partition>>>,
    /// Partitions whose log start moved: segments may lie below it.
    pub sweep: Mutex<Vec<Arc<Partition>>>,
    /// Partitions whose settings changed: retention may have something to do there, and nowhere else before its time.
    pub retention_wanted: Mutex<BTreeMap<PartitionId, Arc<Partition>>>,
    /// Something wants to be in a checkpoint soon: damage, which no group tells, or a new partition, which one
    /// damaged frame would make unknown.
    pub news: AtomicBool,
    /// A sync or write failed: nothing is written any more.
    closed: AtomicBool,
    files_out_told: Mutex<Option<Duration>>,
}

/// How often it is told that too many files are open.
const FILES_OUT_INTERVAL: Duration = Duration::from_secs(10);

impl Site {
    pub fn new(shard: u32, parts: &Parts, wal: Wal) -> Site {
        let Parts { options, disk, clock, random, metrics, .. } = parts.clone();
        let compaction = Mutex::new(options.compaction.clone());
        Site {
            shard,
            queue: Queue::new(options.queue_requests_max, options.queue_bytes_max),
            options,
            disk,
            clock,
            random,
            metrics,
            wal,
            bell: Bell::default(),
            written_group: AtomicU64::new(0),
            synced_group: AtomicU64::new(0),
            published_group: AtomicU64::new(0),
            sync_wanted: AtomicBool::new(false),
            pending_batches: AtomicU64::new(0),
            pending_bytes: AtomicU64::new(0),
            direct_bytes: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            compaction,
            compaction_wanted: AtomicBool::new(false),
            graveyard: Mutex::new(Vec::new()),
            deleted: Mutex::default(),
            early_roll_up: Mutex::default(),
            sweep: Mutex::new(Vec::new()),
            retention_wanted: Mutex::default(),
            news: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            files_out_told: Mutex::new(None),
        }
    }

    pub fn partitions_dir(&self) -> PathBuf {
        self.options.data_dir.join(crate::directory::PARTITIONS)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes the log for ever; logged once, by whoever came first.
    pub fn close(&self, doing: &'static str, error: &std::io::Error) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            tracing::error!(shard = self.shard, doing, %error, "the log is closed: what is on the disk is unknown");
        }
        self.queue.ring();
        self.bell.ring();
    }

    /// Too many files are open: nothing was written, and it may work the next time. Logged once in a while.
    pub fn files_are_out(&self, doing: &'static str) {
        let now = self.clock.monotonic();
        let mut told = self.files_out_told.lock();
        if told.is_none_or(|told| now.saturating_sub(told) >= FILES_OUT_INTERVAL) {
            *told = Some(now);
            tracing::error!(
                shard = self.shard,
                doing,
                "too many open files: refused until others are closed; raise the process's limit (ulimit -n)"
            );
        }
    }

    pub fn add_pending(&self, bytes: u64) {
        let batches = self.pending_batches.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.pending_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.metrics.pending_batches.set(batches);
        self.metrics.pending_bytes.set(bytes);
    }

    pub fn sub_pending(&self, bytes: u64) {
        let batches = self.pending_batches.fetch_sub(1, Ordering::Relaxed) - 1;
        let bytes = self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        self.metrics.pending_batches.set(batches);
        self.metrics.pending_bytes.set(bytes);
    }
}
