//! Upkeep beside the writer: rolling up, checkpoints, retention, removing files. One small piece of work per step.
//!
//! Order of a roll-up, so that at every moment a crash loses nothing:
//!
//! ```text
//! copy the oldest file's batches into segments → sync the segments → publish a checkpoint that needs the file
//! no more → give the file back for another use
//! ```

mod compact;
mod retention;
pub(crate) use retention::remove_directory;
mod roll_up;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{PartitionId, Timestamp};

use crate::checkpoint::{self, Body, ShardRecord, Void};
use crate::directory;
use crate::partition::Partition;
use crate::segment::Segment;
use crate::site::Site;
use crate::storage::Partitions;
use compact::Compaction;
use roll_up::RollUp;

/// How often the disk's room is looked at while it matters.
const TICK: Duration = Duration::from_secs(1);

/// It is looked for something to compact no more often than this, though settings may ask for it.
const COMPACTION_INTERVAL_MIN: Duration = Duration::from_millis(10);

pub(crate) struct Keeper {
    pub site: Arc<Site>,
    partitions: Arc<Partitions>,
    roll_up: Option<RollUp>,
    compaction: Option<Compaction>,
    compaction_due: Duration,
    /// The compaction that is under way has moved its share of bytes, and rests until then.
    compaction_resumes: Duration,
    /// Segments that were compacted into others, which no published checkpoint speaks of yet.
    replaced: Vec<Arc<Segment>>,
    checkpoint: Option<Prepared>,
    /// Groups of an earlier life that are void; see `checkpoint::Void`.
    voids: Vec<Void>,
    /// The last group that the published checkpoint covers.
    covered_group: u64,
    checkpoint_due: Duration,
    /// No checkpoint for the sake of news before this.
    news_due: Duration,
    retention_due: Duration,
    tick_due: Duration,
    /// Too many files were open: upkeep goes on then.
    held_up_until: Option<Duration>,
    /// Partitions whose log start may have left segments behind.
    sweep: VecDeque<Arc<Partition>>,
    /// Deleted partitions whose folders are removed, but perhaps not for good.
    buried: Vec<PartitionId>,
}

/// A checkpoint waiting for the log to be synced up to it.
struct Prepared {
    bytes: Vec<u8>,
    group: u64,
    /// The file of the write-ahead log that is free once this is published.
    frees: Option<u64>,
    /// Segments that are not needed any more then.
    replaced: Vec<Arc<Segment>>,
}

/// A closed log has nothing to be kept; only stopping wakes its keeper.
const CLOSED_WAIT: Duration = Duration::from_secs(3600);

impl Keeper {
    pub fn new(site: Arc<Site>, partitions: Arc<Partitions>, voids: Vec<Void>) -> Keeper {
        let now = site.clock.monotonic();
        Keeper {
            partitions,
            roll_up: None,
            compaction: None,
            compaction_due: now,
            compaction_resumes: now,
            replaced: Vec::new(),
            checkpoint: None,
            voids,
            covered_group: site.synced_group.load(Ordering::Relaxed),
            checkpoint_due: now + site.options.checkpoint_interval,
            news_due: now,
            retention_due: now + site.options.retention_check_interval,
            tick_due: now,
            held_up_until: None,
            sweep: VecDeque::new(),
            buried: Vec::new(),
            site,
        }
    }

    /// Does one piece of upkeep, if any is to be done. Says whether it did.
    pub fn step(&mut self, now: Timestamp) -> bool {
        if self.site.is_closed() {
            return false;
        }
        match self.try_step(now) {
            Ok(done) => done,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.disk_is_full();
                false
            }
            Err(error) if env::is_out_of_files(&error) => {
                self.site.files_are_out("upkeep");
                self.held_up_until = Some(self.site.clock.monotonic() + TICK);
                false
            }
            Err(error) => {
                self.site.close("upkeep", &error);
                false
            }
        }
    }

    /// When to be woken although nobody rings.
    pub fn wake_after(&self) -> Duration {
        if self.site.is_closed() {
            return CLOSED_WAIT;
        }
        let now = self.site.clock.monotonic();
        let mut due = self.retention_due;
        if self.has_news() {
            due = due.min(self.checkpoint_due);
        }
        if self.site.news.load(Ordering::Acquire) {
            due = due.min(self.news_due);
        }
        if self.site.disk_full.load(Ordering::Relaxed) || self.is_busy() {
            due = due.min(self.tick_due);
        }
        if self.compaction.is_some() {
            due = due.min(self.compaction_resumes);
        } else if self.site.options.compacts {
            due = due.min(self.compaction_due);
        }
        if let Some(until) = self.held_up_until {
            due = until;
        }
        due.saturating_sub(now)
    }

    fn try_step(&mut self, now: Timestamp) -> io::Result<bool> {
        if self.held_up_until.is_some_and(|until| self.site.clock.monotonic() < until) {
            return Ok(false);
        }
        self.held_up_until = None;
        self.tick(now)?;
        // What frees room comes first.
        if self.bury_one()? || self.sweep_one()? {
            return Ok(true);
        }
        let clock = self.site.clock.monotonic();
        let changed = std::mem::take(&mut *self.site.retention_wanted.lock());
        if clock >= self.retention_due {
            self.retention_due = clock + self.site.options.retention_check_interval;
            self.retain_all(now);
            self.compaction_due = clock;
            return Ok(true);
        }
        if !changed.is_empty() {
            changed.into_values().for_each(|partition| self.retain(partition, now));
            self.compaction_due = clock;
            return Ok(true);
        }
        if self.checkpoint.is_some() {
            return self.publish_checkpoint();
        }
        if self.roll_up_early()? {
            return Ok(true);
        }
        if self.roll_up.is_some() {
            self.step_roll_up()?;
            return Ok(true);
        }
        if !self.site.disk_full.load(Ordering::Acquire)
            && let Some(file) = self.file_to_roll_up()
        {
            self.begin_roll_up(file);
            return Ok(true);
        }
        if self.checkpoint_is_due(clock) {
            self.prepare_checkpoint(None);
            return Ok(true);
        }
        if self.site.compaction_wanted.swap(false, Ordering::AcqRel) {
            (self.compaction_due, self.compaction_resumes) = (clock, clock);
        }
        if self.compaction.is_some() {
            if clock >= self.compaction_resumes {
                self.step_compaction(now);
                return Ok(true);
            }
        } else if self.site.options.compacts && clock >= self.compaction_due {
            self.compaction_due = clock + self.site.compaction.lock().interval.max(COMPACTION_INTERVAL_MIN);
            if !self.site.disk_full.load(Ordering::Acquire) && self.begin_compaction(now) {
                return Ok(true);
            }
        }
        self.prepare_spare()
    }

    fn is_busy(&self) -> bool {
        self.roll_up.is_some() || self.checkpoint.is_some() || !self.sweep.is_empty()
    }

    /// Looks at the room on the disk, at most once a second.
    fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        let clock = self.site.clock.monotonic();
        if clock < self.tick_due {
            return Ok(());
        }
        self.tick_due = clock + TICK;
        let options = &self.site.options;
        let free = self.site.disk.space(&options.data_dir)?.free;
        let is_full = self.site.disk_full.load(Ordering::Acquire);
        if free < options.disk_free_bytes_min {
            if !is_full {
                self.disk_is_full();
            }
            self.retain_all(now);
        } else if is_full {
            self.retain_all(now);
            tracing::info!(shard = self.site.shard, free, "there is room on the disk again");
            self.site.disk_full.store(false, Ordering::Release);
            self.site.queue.ring();
        }
        self.close_idle_segments();
        Ok(())
    }

    fn disk_is_full(&mut self) {
        if !self.site.disk_full.swap(true, Ordering::AcqRel) {
            tracing::error!(
                shard = self.site.shard,
                "the disk is full: appends are refused until there is room"
            );
        }
        // Whatever waits for rolling up is refused now instead.
        self.site.queue.ring();
        self.retention_due = Duration::ZERO;
        self.tick_due = self.site.clock.monotonic() + TICK;
    }

    fn has_news(&self) -> bool {
        self.site.written_group.load(Ordering::Relaxed) > self.covered_group
    }

    fn checkpoint_is_due(&self, clock: Duration) -> bool {
        let direct = self.site.direct_bytes.load(Ordering::Relaxed);
        direct >= self.site.options.direct_bytes_per_checkpoint
            || clock >= self.checkpoint_due && self.has_news()
            || clock >= self.news_due && self.site.news.load(Ordering::Acquire)
    }

    /// Takes a record of every partition. `frees`: the file that is needed no more when this is published.
    fn prepare_checkpoint(&mut self, frees: Option<u64>) {
        let covered = self.site.published_group.load(Ordering::Acquire);
        self.site.news.store(false, Ordering::Release);
        self.site.direct_bytes.store(0, Ordering::Relaxed);
        let mut body = Body::new();
        for partition in self.own_partitions() {
            body.add(&partition);
        }
        // Everything recorded above was written in groups up to this one.
        let group = self.site.written_group.load(Ordering::Acquire);
        let record = self.shard_record(frees, group, covered);
        let replaced = std::mem::take(&mut self.replaced);
        self.checkpoint = Some(Prepared { bytes: body.finish(&record), group, frees, replaced });
    }

    fn shard_record(&self, frees: Option<u64>, group: u64, covered_group: u64) -> ShardRecord {
        let wal = &self.site.wal;
        let oldest = wal.oldest_after(frees.unwrap_or(0));
        let (first_file, first_group) = oldest.unwrap_or((wal.next_number(), group + 1));
        let voids = self.voids.iter().filter(|void| first_file <= void.file_max).copied().collect();
        ShardRecord {
            is_clean: false,
            first_file,
            first_group,
            next_file: wal.next_number(),
            synced_group: group,
            covered_group,
            voids,
            deleted: self.site.deleted.lock().iter().copied().collect(),
        }
    }

    fn publish_checkpoint(&mut self) -> io::Result<bool> {
        let Some(prepared) = &self.checkpoint else { return Ok(false) };
        if self.site.synced_group.load(Ordering::Acquire) < prepared.group {
            if !self.site.sync_wanted.swap(true, Ordering::AcqRel) {
                self.site.queue.ring();
            }
            return Ok(false);
        }
        let directory = directory::shard_dir(&self.site.options.data_dir, self.site.shard);
        checkpoint::publish(&*self.site.disk, &directory, &prepared.bytes)?;
        self.site.metrics.other_bytes.add(prepared.bytes.len() as u64);
        self.covered_group = prepared.group;
        if let Some(file) = prepared.frees {
            self.site.wal.release(file);
            self.site.queue.ring();
        }
        if let Some(published) = self.checkpoint.take() {
            self.remove_replaced(published.replaced);
        }
        let now = self.site.clock.monotonic();
        self.checkpoint_due = now + self.site.options.checkpoint_interval;
        self.news_due = now + TICK;
        // Only lost on a disk that is nearly full, where it is made anew when there is room.
        let _ = checkpoint::keep_reserve(
            &*self.site.disk,
            &directory,
            self.site.options.checkpoint_reserve_bytes,
        );
        Ok(true)
    }

    /// Finishes everything: all in segments, all synced, and a checkpoint that says so. The writer has stopped.
    pub fn finish(&mut self) -> io::Result<()> {
        let mut replaced = std::mem::take(&mut self.replaced);
        if let Some(prepared) = self.checkpoint.take() {
            replaced.extend(prepared.replaced);
        }
        if let Some(compaction) = self.compaction.take() {
            compaction.discard();
        }
        self.roll_up = None;
        self.site.sync_wanted.store(false, Ordering::Release);
        let newest = u64::MAX;
        self.begin_roll_up(newest);
        while self.roll_up.is_some() {
            self.step_roll_up()?;
        }
        if let Some(prepared) = self.checkpoint.take() {
            replaced.extend(prepared.replaced);
        }
        self.site.wal.release_all();
        let mut body = Body::new();
        for partition in self.own_partitions() {
            partition.release_room()?;
            body.add(&partition);
        }
        let group = self.site.written_group.load(Ordering::Acquire);
        let record = ShardRecord { is_clean: true, ..self.shard_record(None, group, group) };
        let directory = directory::shard_dir(&self.site.options.data_dir, self.site.shard);
        checkpoint::publish(&*self.site.disk, &directory, &body.finish(&record))?;
        self.remove_replaced(replaced);
        Ok(())
    }

    /// A further file for the write-ahead log, before it is needed.
    fn prepare_spare(&mut self) -> io::Result<bool> {
        let wal = &self.site.wal;
        let begun = self.site.metrics.wal_bytes.value() > wal.file_bytes / 4;
        if !begun || wal.live_count() == 0 || self.site.disk_full.load(Ordering::Relaxed) {
            return Ok(false);
        }
        wal.prepare_spare()
    }

    pub fn own_partitions(&self) -> Vec<Arc<Partition>> {
        let shard = self.site.shard;
        self.partitions.read().values().filter(|partition| partition.site.shard == shard).cloned().collect()
    }
}
