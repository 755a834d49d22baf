use std::io;
use std::sync::Arc;

use model::{Offset, Timestamp};
use tokio::sync::oneshot;

use super::Keeper;
use crate::options::LogConfig;
use crate::partition::{LogState, Partition};
use crate::queue::{Change, Request, RequestKind};

/// A part of a log that is deleted as a whole: a segment, or all that is in the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub end: Offset,
    pub bytes: u64,
    /// The largest timestamp, or when it was last appended to if there is none.
    pub newest: Timestamp,
    /// Deleted only because of its age, never because of the log's size.
    pub is_pending: bool,
}

/// Where a log of these parts (oldest first) should start by its retention settings.
pub(crate) fn retained_start(units: &[Unit], config: &LogConfig, now: Timestamp) -> Option<Offset> {
    if !config.delete {
        return None;
    }
    let mut start = None;
    let mut rest = units;
    if let Some(retention) = config.retention {
        let age = |unit: &Unit| now.0.saturating_sub(unit.newest.0);
        let retention = retention.as_millis().min(i64::MAX as u128) as i64;
        let overdue = rest.iter().take_while(|unit| age(unit) > retention).count();
        if overdue > 0 {
            start = Some(rest[overdue - 1].end);
            rest = &rest[overdue..];
        }
    }
    if let Some(limit) = config.retention_bytes {
        let mut total: u64 = rest.iter().map(|unit| unit.bytes).sum();
        for unit in rest {
            if unit.is_pending || total - unit.bytes < limit {
                break;
            }
            total -= unit.bytes;
            start = Some(unit.end);
        }
    }
    start
}

impl Keeper {
    /// Moves log starts by age and size, and forgets producers that were silent for long.
    pub(super) fn retain_all(&mut self, now: Timestamp) {
        for partition in self.own_partitions() {
            self.retain(partition, now);
        }
    }

    pub(super) fn retain(&mut self, partition: Arc<Partition>, now: Timestamp) {
        let expiration = self.site.options.producer_id_expiration;
        let start = {
            let mut state = partition.state.lock();
            state.producers.expire(now, expiration);
            let start = retained_start(&state.units(now), &state.config, now);
            start.filter(|start| *start > state.start)
        };
        if let Some(start) = start {
            let topic = partition.label();
            tracing::info!(topic, partition = %partition.id(), start = start.0, "retention moves the log's start");
            self.ask_for_start(&partition, start);
        }
        if partition.has_dead_segments() {
            self.sweep.push_back(partition);
        }
    }

    /// The move is a change like any other: it takes its way through the log.
    fn ask_for_start(&self, partition: &Partition, start: Offset) {
        let (reply, _) = oneshot::channel();
        let kind = RequestKind::Change { id: partition.id(), change: Change::LogStart(start), reply };
        // A closed queue means that the storage is going down: next time, then.
        self.site.queue.push(Request { kind, reservation: None });
    }

    /// Removes the segments of one partition that lie below its log start. Waits while the start has not moved yet.
    pub(super) fn sweep_one(&mut self) -> io::Result<bool> {
        for partition in std::mem::take(&mut *self.site.sweep.lock()) {
            self.sweep.push_back(partition);
        }
        let Some(partition) = self.sweep.pop_front() else { return Ok(false) };
        partition.remove_dead_segments()
    }

    /// Removes the files of one deleted partition. When all are removed, makes sure that they stay so, and forgets them.
    pub(super) fn bury_one(&mut self) -> io::Result<bool> {
        if let Some(partition) = self.site.graveyard.lock().pop() {
            remove_directory(&*self.site.disk, &partition.directory)?;
            self.buried.push(partition.id());
            return Ok(true);
        }
        if self.buried.is_empty() {
            return Ok(false);
        }
        self.site.disk.sync_dir(&self.site.partitions_dir())?;
        let mut deleted = self.site.deleted.lock();
        for id in self.buried.drain(..) {
            deleted.remove(&id);
        }
        Ok(true)
    }

    /// Closes files that nobody read for a while, when many are open.
    pub(super) fn close_idle_segments(&mut self) {
        let mut open = 0;
        for partition in self.own_partitions() {
            if partition.is_unsynced() {
                continue;
            }
            let state = partition.state.lock();
            for segment in &state.segments {
                open += usize::from(segment.is_open());
                if open > self.site.options.open_segments_max && !segment.close_if_idle() {
                    open -= 1;
                }
            }
        }
    }
}

/// Removes a partition's directory with all that is in it.
pub(crate) fn remove_directory(disk: &dyn env::Disk, directory: &std::path::Path) -> io::Result<()> {
    let entries = match disk.list(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        disk.remove(&directory.join(entry.name))?;
    }
    disk.remove_dir(directory)
}

impl LogState {
    fn units(&self, now: Timestamp) -> Vec<Unit> {
        let mut units: Vec<Unit> = self
            .segments
            .iter()
            .map(|segment| segment.facts())
            .filter(|facts| facts.size > 0)
            .map(|facts| Unit {
                end: facts.end,
                bytes: facts.size,
                newest: if facts.max_timestamp.is_none() { facts.appended_at } else { facts.max_timestamp },
                is_pending: false,
            })
            .collect();
        if !self.pending.is_empty() {
            let newest = self.pending.iter().map(|pending| pending.max_timestamp).max();
            units.push(Unit {
                end: self.end,
                bytes: self.pending_bytes,
                newest: newest.filter(|newest| !newest.is_none()).unwrap_or(now),
                is_pending: true,
            });
        }
        units
    }
}

impl Partition {
    /// Closes the files of all segments, unless something in them was never synced. Whoever needs them opens them.
    pub(super) fn close_segments(&self) {
        if self.is_unsynced() {
            return;
        }
        for segment in &self.state.lock().segments {
            // The first call takes note that it is used, the second finds that it is not any more.
            if segment.close_if_idle() {
                segment.close_if_idle();
            }
        }
    }

    fn has_dead_segments(&self) -> bool {
        let state = self.state.lock();
        state.segments.first().is_some_and(|segment| is_dead(&segment.facts(), state.start))
    }

    /// Says whether there were any.
    fn remove_dead_segments(self: &Arc<Self>) -> io::Result<bool> {
        let dead = {
            let mut writer = self.writer.lock();
            let mut state = self.state.lock();
            let start = state.start;
            let mut count =
                state.segments.iter().take_while(|segment| is_dead(&segment.facts(), start)).count();
            if count == state.segments.len() && writer.is_staged() {
                count = count.saturating_sub(1);
            }
            let dead: Vec<_> = state.segments.drain(..count).collect();
            if state.segments.is_empty() {
                writer.leave_active();
            }
            dead
        };
        for segment in &dead {
            segment.remove()?;
        }
        Ok(!dead.is_empty())
    }
}

fn is_dead(facts: &crate::segment::Facts, start: Offset) -> bool {
    facts.size > 0 && facts.end <= start
}
