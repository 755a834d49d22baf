//! Group commit: what waits is written with one write and synced once; the next group forms meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use model::{PartitionId, Timestamp};
use tokio::sync::oneshot;

use super::group::{Answer, AnswerTo, Group, Place, Room, StagedChange, StagedPartition};
use super::stage::{Staged, frame_bytes};
use crate::append::AppendError;
use crate::partition::{Partition, Pending, TailBatch};
use crate::queue::{Request, RequestKind};
use crate::site::Site;
use crate::storage::{ChangeError, Partitions};
use crate::wal::WalFile;
use crate::wal::format::{GROUP_HEADER_BYTES, Stamp};

/// More than the frame of any change takes.
pub(super) const CHANGE_BYTES_MAX: usize = 256;
/// Kept free in the last file that can be had, for changes other than appends.
const CHANGES_BYTES: usize = 64 * 1024;

/// The one who writes a shard's log.
pub(super) struct Writer {
    pub site: Arc<Site>,
    pub partitions: Arc<Partitions>,
    pub waiting: VecDeque<Request>,
    file: Option<Arc<WalFile>>,
    position: u64,
    next_group: u64,
    /// Partitions whose segments have batches that were never synced.
    dirty: BTreeMap<PartitionId, Arc<Partition>>,
    /// Records of topics with relaxed flushing since the last sync.
    pub relaxed_records: BTreeMap<PartitionId, u64>,
    /// By when what is written must be synced, in the clock's monotonic time.
    sync_due: Option<Duration>,
    tail_order: VecDeque<(Arc<Partition>, usize)>,
    tail_bytes: usize,
    pub closing: Option<oneshot::Sender<()>>,
}

impl Writer {
    pub fn new(site: Arc<Site>, partitions: Arc<Partitions>, next_group: u64) -> Writer {
        Writer {
            site,
            partitions,
            waiting: VecDeque::new(),
            file: None,
            position: 0,
            next_group,
            dirty: BTreeMap::new(),
            relaxed_records: BTreeMap::new(),
            sync_due: None,
            tail_order: VecDeque::new(),
            tail_bytes: 0,
            closing: None,
        }
    }

    /// Carries out one group. Says whether anything was done.
    pub fn step(&mut self, now: Timestamp) -> bool {
        self.site.queue.drain(&mut self.waiting);
        if self.site.is_closed() {
            return self.refuse_all(AppendError::Closed, ChangeError::Closed);
        }
        if self.closing.is_none()
            && let Some(Request { kind: RequestKind::Close { .. }, .. }) = self.waiting.front()
            && let Some(Request { kind: RequestKind::Close { reply }, .. }) = self.waiting.pop_front()
        {
            self.closing = Some(reply);
        }
        if self.waiting.is_empty() {
            return self.sync_if_due();
        }
        let mut group = match self.begin(now) {
            Ok(Some(group)) => group,
            Ok(None) => return self.stalled() | self.sync_if_due(),
            Err(error) => return self.failed("beginning a file of the write-ahead log", &error),
        };
        let done = self.stage_all(&mut group);
        self.commit(group);
        done || self.stalled() | self.sync_if_due()
    }

    /// When to be woken even if nobody asks for anything.
    pub fn wake_after(&self) -> Option<Duration> {
        if self.site.is_closed() {
            return None;
        }
        self.sync_due.map(|due| due.saturating_sub(self.site.clock.monotonic()))
    }

    fn begin(&mut self, now: Timestamp) -> io::Result<Option<Group>> {
        let is_disk_full = self.site.disk_full.load(Ordering::Acquire);
        let (needed, is_batch) = match self.waiting.front().map(|request| &request.kind) {
            Some(RequestKind::Append { append, .. }) => {
                (frame_bytes(&append.batch, self.is_direct(append)), !append.frees_room)
            }
            _ => (CHANGE_BYTES_MAX, false),
        };
        let used = self.position as usize + GROUP_HEADER_BYTES;
        let has_room = |file: &Arc<WalFile>| {
            used + needed <= file.bytes as usize && !(is_batch && file.is_short && !is_disk_full)
        };
        if !self.file.as_ref().is_some_and(has_room) {
            if is_batch && is_disk_full {
                // It will be refused; what little room can be had is for others.
                return Ok(None);
            }
            // The old file must be complete before a group in the new one claims to follow it.
            if self.sync_due.is_some() {
                self.sync()?;
            }
            match self.site.wal.open_next(self.next_group, is_batch, is_disk_full)? {
                Some(file) => {
                    self.file = Some(file);
                    self.position = 0;
                    self.site.bell.ring();
                }
                None => {
                    self.site.bell.ring();
                    return Ok(None);
                }
            }
        }
        let Some(file) = &self.file else { return Ok(None) };
        let file_bytes = file.bytes as usize;
        let room = file_bytes.saturating_sub(self.position as usize + GROUP_HEADER_BYTES);
        let kept = match self.site.wal.is_exhausted() {
            _ if file.is_short => file_bytes,
            true => CHANGES_BYTES.min(file_bytes / 4),
            false => 0,
        };
        let pending = self.site.pending_batches.load(Ordering::Relaxed);
        let room = Room {
            batches: room.saturating_sub(kept),
            changes: room,
            pending: (self.site.options.pending_batches_max as u64).saturating_sub(pending) as usize,
        };
        let stamp = Stamp { file: file.number, group: self.next_group };
        Ok(Some(Group::new(stamp, self.position, room, now)))
    }

    fn stage_all(&mut self, group: &mut Group) -> bool {
        let mut done = false;
        while let Some(request) = self.waiting.pop_front() {
            match self.stage(group, request) {
                Staged::Yes => done = true,
                Staged::NotNow(request) => {
                    self.waiting.push_front(request);
                    break;
                }
            }
            if group.bytes >= self.site.options.group_bytes_max {
                break;
            }
        }
        done
    }

    /// Writes, syncs and answers.
    fn commit(&mut self, mut group: Group) {
        if !group.has_frames() {
            group.answers.into_iter().for_each(Answer::give);
            return;
        }
        for staged in group.partitions.iter().filter(|staged| staged.in_segment > 0) {
            // Only asks for it; if it fails, the sync itself will say so.
            let _ = staged.partition.start_sync();
            self.dirty.insert(staged.partition.id(), staged.partition.clone());
        }
        let written = if self.site.is_closed() {
            Err(io::Error::other("the log was closed while the group was made"))
        } else {
            self.write(&mut group)
        };
        if let Err(error) = written {
            self.roll_back(group, &error);
            return;
        }
        let visible_early: Vec<bool> = group.partitions.iter().map(|staged| !staged.is_durable).collect();
        let buffer = Bytes::from(std::mem::take(&mut group.buffer));
        let group_ref = (group.stamp, group.position, group.written_at);
        let (durable, relaxed): (Vec<StagedPartition>, Vec<StagedPartition>) =
            std::mem::take(&mut group.partitions).into_iter().partition(|staged| staged.is_durable);
        #[cfg_attr(not(test), expect(unused_mut, reason = "a planted fault takes them early"))]
        let mut answers = std::mem::take(&mut group.answers);
        self.publish(relaxed, &buffer, group_ref);
        if !group.is_durable {
            self.site.published_group.store(group.stamp.group, Ordering::Release);
            answers.into_iter().for_each(Answer::give);
            return;
        }
        #[cfg(test)]
        if crate::tests::faults::acknowledges_before_sync() {
            std::mem::take(&mut answers).into_iter().for_each(Answer::give);
        }
        let early = |answer: &Answer| answer.staged.is_some_and(|index| visible_early[index]);
        let (now, after): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(early);
        now.into_iter().for_each(Answer::give);
        if self.sync().is_err() {
            after.into_iter().for_each(|answer| answer.refuse(AppendError::Closed, ChangeError::Closed));
            return;
        }
        self.publish(durable, &buffer, group_ref);
        self.site.published_group.store(group.stamp.group, Ordering::Release);
        after.into_iter().for_each(Answer::give);
    }

    fn write(&mut self, group: &mut Group) -> io::Result<()> {
        let synced = self.site.synced_group.load(Ordering::Relaxed);
        let header = group.finish(self.site.shard, synced);
        let file = self.file.as_ref().expect("a group begins in a file");
        file.file.write_at(&group.buffer, group.position)?;
        let metrics = &self.site.metrics;
        metrics.groups.add(1);
        metrics.wal_bytes.add(group.buffer.len() as u64);
        self.position = header.end();
        self.next_group += 1;
        self.site.written_group.store(header.group, Ordering::Release);
        let due = self.site.clock.monotonic() + self.site.options.relaxed_sync_interval;
        self.set_sync_due(due);
        Ok(())
    }

    pub fn set_sync_due(&mut self, due: Duration) {
        self.sync_due = Some(self.sync_due.map_or(due, |earlier| earlier.min(due)));
    }

    fn roll_back(&mut self, group: Group, error: &io::Error) {
        for staged in &group.partitions {
            if staged.in_segment > 0 {
                staged.partition.writer.lock().unstage();
            }
        }
        let (append, change) = if error.kind() == io::ErrorKind::StorageFull {
            self.disk_is_full();
            (AppendError::DiskFull, ChangeError::DiskFull)
        } else if env::is_out_of_files(error) {
            self.site.files_are_out("writing to the write-ahead log");
            (AppendError::OutOfFiles, ChangeError::OutOfFiles)
        } else {
            self.site.close("writing to the write-ahead log", error);
            (AppendError::Closed, ChangeError::Closed)
        };
        group.answers.into_iter().for_each(|answer| answer.refuse(append.clone(), change.clone()));
    }

    /// Makes everything written so far durable.
    pub fn sync(&mut self) -> io::Result<()> {
        let begun = self.site.clock.monotonic();
        let result = self.sync_files();
        if let Err(error) = &result {
            self.site.close("syncing the write-ahead log", error);
            return result;
        }
        self.site.metrics.syncs.record(self.site.clock.monotonic().saturating_sub(begun));
        self.sync_due = None;
        self.relaxed_records.clear();
        self.site.synced_group.store(self.next_group - 1, Ordering::Release);
        if self.site.sync_wanted.swap(false, Ordering::AcqRel) {
            self.site.bell.ring();
        }
        Ok(())
    }

    fn sync_files(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.file.sync_data()?;
        }
        for partition in std::mem::take(&mut self.dirty).into_values() {
            if let Some((log, synced)) = partition.start_sync()? {
                log.sync_data()?;
                partition.set_synced(synced);
            }
        }
        Ok(())
    }

    fn sync_if_due(&mut self) -> bool {
        let Some(due) = self.sync_due else {
            if self.site.sync_wanted.swap(false, Ordering::AcqRel) {
                self.site.bell.ring();
            }
            return false;
        };
        if self.site.clock.monotonic() < due && !self.site.sync_wanted.load(Ordering::Acquire) {
            return false;
        }
        // A failure has closed the log, which is all there is to say.
        let _ = self.sync();
        true
    }

    /// Lets readers see what a group did.
    fn publish(&mut self, partitions: Vec<StagedPartition>, buffer: &Bytes, group: (Stamp, u64, Timestamp)) {
        for staged in partitions {
            if staged.batches.is_empty() && staged.changes.is_empty() {
                continue;
            }
            self.publish_one(&staged, buffer, group);
            staged.partition.wake();
        }
        while self.tail_bytes > self.site.options.tail_bytes_max {
            let Some((partition, bytes)) = self.tail_order.pop_front() else { break };
            self.tail_bytes -= bytes;
            partition.state.lock().tail.pop_front();
        }
    }

    fn publish_one(&mut self, staged: &StagedPartition, buffer: &Bytes, group: (Stamp, u64, Timestamp)) {
        let (stamp, position, at) = group;
        let site = &self.site;
        // Held for long while the keeper rolls up, so taken only when needed.
        let is_deleted = staged.changes.iter().any(|change| matches!(change, StagedChange::Delete));
        let mut segments = (staged.in_segment > 0 || is_deleted).then(|| staged.partition.writer.lock());
        let mut state = staged.partition.state.lock();
        for (index, batch) in staged.batches.iter().enumerate() {
            let header = &batch.header;
            let bytes = header.size_bytes();
            state.advance(header, batch.marker, at, site);
            site.metrics.batches.add(1);
            site.metrics.produced_bytes.add(bytes as u64);
            let (head, rest) = match &batch.place {
                Place::Wal { at } => (buffer.slice(*at..*at + bytes), Bytes::new()),
                Place::Direct { head, rest } => (head.clone(), rest.clone()),
            };
            if index < staged.in_segment
                && let Some(segments) = &segments
            {
                staged.partition.commit_direct(segments, &mut state, header, at);
                site.direct_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            } else if let Place::Wal { at } = batch.place {
                let pending = Pending {
                    base: header.base_offset,
                    max_timestamp: header.max_timestamp,
                    file: stamp.file,
                    position: (position as usize + at) as u32,
                    bytes: bytes as u32,
                    last_offset_delta: header.last_offset_delta,
                };
                state.push_pending(pending, site);
            }
            if site.options.tail_bytes_max > 0 {
                let batch = TailBatch { base: header.base_offset, last: header.last_offset(), head, rest };
                self.tail_order.push_back((staged.partition.clone(), bytes));
                self.tail_bytes += bytes;
                state.tail.push_back(batch);
            }
        }
        if staged.is_durable
            && let Some(segments) = &mut segments
        {
            segments.mark_synced();
        }
        for change in &staged.changes {
            match change {
                StagedChange::Create => {
                    let id = staged.partition.id();
                    self.partitions.write().insert(id, staged.partition.clone());
                    site.news.store(true, Ordering::Release);
                }
                StagedChange::Configure(config) => {
                    state.config = Arc::new(config.clone());
                    let wanted = staged.partition.clone();
                    site.retention_wanted.lock().insert(wanted.id(), wanted);
                }
                StagedChange::LogStart(start) => {
                    state.set_start(*start);
                    site.sweep.lock().push(staged.partition.clone());
                }
                StagedChange::Delete => {
                    state.delete(site);
                    if let Some(segments) = &mut segments {
                        segments.leave_active();
                    }
                    // Told before it is gone: a checkpoint must find it in one of both.
                    site.deleted.lock().insert(staged.partition.id());
                    self.partitions.write().remove(&staged.partition.id());
                    site.graveyard.lock().push(staged.partition.clone());
                }
            }
        }
        if !staged.changes.is_empty() {
            site.bell.ring();
        }
    }

    /// The first request that waits cannot be carried out now. When the disk is full it is refused; otherwise
    /// rolling up will make room.
    fn stalled(&mut self) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        if !self.site.disk_full.load(Ordering::Acquire) {
            self.site.metrics.stalls.add(1);
            self.site.bell.ring();
            return false;
        }
        let before = self.waiting.len();
        let waiting = std::mem::take(&mut self.waiting);
        for request in waiting {
            match request.kind {
                RequestKind::Append { append, reply } if !append.frees_room => {
                    self.site.metrics.disk_full.add(1);
                    drop(reply.send(Err(AppendError::DiskFull)));
                }
                _ => self.waiting.push_back(request),
            }
        }
        self.waiting.len() < before
    }

    fn failed(&mut self, doing: &'static str, error: &io::Error) -> bool {
        if error.kind() == io::ErrorKind::StorageFull {
            self.disk_is_full();
            // When not even room for changes can be had, nobody shall wait for what may never come.
            return self.stalled() || self.refuse_all(AppendError::DiskFull, ChangeError::DiskFull);
        }
        if env::is_out_of_files(error) {
            self.site.files_are_out(doing);
            return self.refuse_all(AppendError::OutOfFiles, ChangeError::OutOfFiles);
        }
        self.site.close(doing, error);
        self.refuse_all(AppendError::Closed, ChangeError::Closed)
    }

    pub fn disk_is_full(&self) {
        if !self.site.disk_full.swap(true, Ordering::AcqRel) {
            tracing::error!(
                shard = self.site.shard,
                "the disk is full: appends are refused until there is room"
            );
        }
        self.site.bell.ring();
    }

    fn refuse_all(&mut self, append: AppendError, change: ChangeError) -> bool {
        let done = !self.waiting.is_empty();
        for request in std::mem::take(&mut self.waiting) {
            match request.kind {
                RequestKind::Append { reply, .. } => drop(reply.send(Err(append.clone()))),
                RequestKind::Change { reply, .. } => drop(reply.send(Err(change.clone()))),
                RequestKind::Close { reply } => self.closing = Some(reply),
            }
        }
        done
    }
}

impl Answer {
    fn refuse(self, append: AppendError, change: ChangeError) {
        match self.to {
            AnswerTo::Append { reply, .. } => drop(reply.send(Err(append))),
            AnswerTo::Change { reply, .. } => drop(reply.send(Err(change))),
        }
    }
}
