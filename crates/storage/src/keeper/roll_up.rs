use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Keeper;
use crate::partition::{Partition, ReadError};

/// Bytes copied in one step. The writer may have to wait that long for the partition.
const STEP_BYTES: u64 = 1 << 20;
/// Bytes that may lie unsynced in a segment while it is rolled up: completing a segment syncs it, and the writer may
/// have to wait that long too.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

/// Partitions whose files are open at once for a roll-up: there may be more partitions than files may be open.
const TOUCHED_MAX: usize = 256;

/// A file of the write-ahead log on its way into segments.
pub(super) struct RollUp {
    file: u64,
    waiting: VecDeque<Arc<Partition>>,
    touched: Vec<Arc<Partition>>,
}

impl Keeper {
    /// The next file to be rolled up, when it is time: not before, since what is deleted or expires first need
    /// never be written again.
    pub(super) fn file_to_roll_up(&self) -> Option<u64> {
        let options = &self.site.options;
        let wal = &self.site.wal;
        let (oldest, newest, count) = wal.range()?;
        let pending = self.site.pending_batches.load(Ordering::Relaxed);
        if oldest < newest && (count > (wal.files_max as usize / 2).max(1) || wal.is_exhausted()) {
            return Some(oldest);
        }
        (pending >= (options.pending_batches_max as u64 / 2).max(1)).then_some(oldest)
    }

    pub(super) fn begin_roll_up(&mut self, file: u64) {
        let waiting = self.own_partitions().into();
        self.roll_up = Some(RollUp { file, waiting, touched: Vec::new() });
    }

    /// One step for a partition whose large batches wait for it.
    pub(super) fn roll_up_early(&mut self) -> io::Result<bool> {
        let next = self.site.early_roll_up.lock().first_key_value().map(|(_, partition)| partition.clone());
        let Some(partition) = next else { return Ok(false) };
        if copy(&partition, u64::MAX)? {
            self.site.early_roll_up.lock().remove(&partition.id());
        }
        Ok(true)
    }

    pub(super) fn step_roll_up(&mut self) -> io::Result<()> {
        let Some(roll_up) = &mut self.roll_up else { return Ok(()) };
        if let Some(partition) = roll_up.waiting.front().cloned() {
            // After an error it begins anew later; what was copied stays copied.
            let is_done = copy(&partition, roll_up.file).inspect_err(|_| self.roll_up = None)?;
            let Some(roll_up) = &mut self.roll_up else { return Ok(()) };
            if is_done {
                let partition = roll_up.waiting.pop_front().expect("just looked at");
                if partition.is_unsynced() {
                    roll_up.touched.push(partition);
                }
                if roll_up.touched.len() >= TOUCHED_MAX {
                    let touched = std::mem::take(&mut roll_up.touched);
                    sync(&touched)?;
                    touched.iter().for_each(|partition| partition.close_segments());
                }
            }
            return Ok(());
        }
        let roll_up = self.roll_up.take().expect("checked above");
        sync(&roll_up.touched)?;
        // The file that is being written to is not free yet, although rolled up so far.
        let is_complete = self.site.wal.range().is_some_and(|(_, newest, _)| roll_up.file < newest);
        self.prepare_checkpoint(is_complete.then_some(roll_up.file));
        self.site.queue.ring();
        Ok(())
    }
}

/// Makes what was copied durable; all of it is on its way to the disk before the first is waited for.
fn sync(partitions: &[Arc<Partition>]) -> io::Result<()> {
    let mut logs = Vec::new();
    for partition in partitions {
        if let Some((log, synced)) = partition.start_sync()? {
            logs.push((partition, log, synced));
        }
    }
    for (partition, log, synced) in logs {
        log.sync_data()?;
        partition.set_synced(synced);
    }
    Ok(())
}

/// Copies a piece of what a partition has in the log; says whether nothing is left.
fn copy(partition: &Partition, file: u64) -> io::Result<bool> {
    if partition.unsynced_bytes() > UNSYNCED_BYTES_MAX
        && let Some((log, synced)) = partition.start_sync()?
    {
        log.sync_data()?;
        partition.set_synced(synced);
    }
    partition.roll_up(file, STEP_BYTES).map_err(|error| match error {
        ReadError::Io(error) => error,
        other => io::Error::other(other),
    })
}
