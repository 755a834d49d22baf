//! Bringing a shard back: checkpoint, then what the log says came after, then the segments' ends.
//!
//! The log is the authority. Bytes at the end of a segment that no frame names (rolled up or written directly,
//! but never synced) are cut and, if the log has them, rolled up again. Only the log and the headers of batches
//! since the checkpoint are read, never whole partitions.
//!
//! After an unclean stop every partition of the shard begins a new leader epoch: records that consumers of a topic
//! with relaxed flushing have seen may be gone.

mod examine;
mod rebuild;
mod replay;
mod rewrite;
mod segments;
#[cfg(test)]
mod tests;
mod verdict;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use env::{Clock, Disk, Random};

use crate::checkpoint::{self, Body, ShardRecord, Void};
use crate::directory;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::partition::Partition;
use crate::site::Site;
use crate::storage::OpenError;
pub(crate) use examine::{Examined, examine};
pub(crate) use rebuild::rebuild_checkpoint;
pub(crate) use replay::Rebuilt;
pub(crate) use segments::{Extent, extents, log_files};
pub(crate) use verdict::Verdict;

/// A shard, ready to go on.
pub(crate) struct Recovered {
    pub site: Arc<Site>,
    pub partitions: Vec<Arc<Partition>>,
    pub next_group: u64,
    pub voids: Vec<Void>,
    /// Nothing in the log is damaged, so what it does not know does not exist.
    pub is_trustworthy: bool,
}

/// What a shard is made of, from outside.
#[derive(Clone)]
pub(crate) struct Parts {
    pub options: Arc<Options>,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub metrics: Arc<Metrics>,
}

pub(crate) fn recover(parts: &Parts, shard: u32) -> Result<Recovered, OpenError> {
    let began = parts.clock.monotonic();
    let disk = &*parts.disk;
    let directory = directory::shard_dir(&parts.options.data_dir, shard);
    let failed = |doing: &'static str| failed(doing, &directory);
    create(disk, &parts.options.data_dir, &directory).map_err(failed("creating"))?;
    let examined = match examine(parts, shard)? {
        Some(examined) => examined,
        None => {
            first_checkpoint(disk, &directory)?;
            examine(parts, shard)?.expect("the checkpoint was written just now")
        }
    };
    let Examined { record, slots, verdict, files, newest_file, is_clean, site, replay } = examined;
    report(shard, &verdict);
    replay.report();
    // What was read may have come from memory that a power cut would lose: make it true before relying on it.
    if !is_clean {
        rewrite::rewrite_unproven(parts, &slots, &verdict).map_err(failed("writing back the log in"))?;
    }
    for (slot, _) in files.values() {
        slots[slot].sync_data().map_err(failed("syncing the write-ahead log in"))?;
    }
    site.synced_group.store(verdict.next_group - 1, Ordering::Relaxed);
    let mut partitions = Vec::new();
    for (id, rebuilt) in replay.partitions {
        let partition =
            segments::resume(id, rebuilt, &site, is_clean).map_err(failed("reading segments of"))?;
        if !is_clean {
            partition.state.lock().begin_epoch();
        }
        partitions.push(Arc::new(partition));
    }
    let mut voids = record.voids;
    if !is_clean {
        voids.push(Void { file_max: newest_file, group_min: verdict.next_group });
    }
    let record = ShardRecord {
        is_clean: false,
        first_file: files.keys().next().copied().unwrap_or(newest_file + 1),
        first_group: verdict.groups.first().map_or(verdict.next_group, |group| group.header.group),
        next_file: newest_file + 1,
        synced_group: verdict.next_group - 1,
        covered_group: verdict.next_group - 1,
        voids: voids.clone(),
    };
    let mut body = Body::new();
    for partition in &partitions {
        body.add(partition);
    }
    checkpoint::publish(disk, &directory, &body.finish(&record))
        .map_err(failed("writing the checkpoint in"))?;
    // Without it a full disk may need an operator's hand; that is no reason not to start.
    let _ = checkpoint::keep_reserve(disk, &directory, parts.options.checkpoint_reserve_bytes);
    if !is_clean {
        tracing::info!(
            shard,
            partitions = partitions.len(),
            groups_replayed = verdict.groups.len(),
            took_ms = parts.clock.monotonic().saturating_sub(began).as_millis() as u64,
            "recovered after a stop that was not in order"
        );
    }
    let is_trustworthy = verdict.is_whole();
    Ok(Recovered { site, partitions, next_group: verdict.next_group, voids, is_trustworthy })
}

fn failed(doing: &'static str, directory: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let directory = directory.display().to_string();
    move |source| OpenError::Io { doing: format!("{doing} {directory}"), source }
}

fn create(disk: &dyn Disk, data_dir: &Path, directory: &Path) -> io::Result<()> {
    disk.create_dir(&data_dir.join(directory::PARTITIONS))?;
    disk.create_dir(directory)
}

/// A new shard begins with an empty checkpoint.
fn first_checkpoint(disk: &dyn Disk, directory: &Path) -> Result<(), OpenError> {
    let first =
        ShardRecord { is_clean: true, first_file: 1, first_group: 1, next_file: 1, ..ShardRecord::default() };
    checkpoint::publish(disk, directory, &Body::new().finish(&first))
        .map_err(failed("writing the checkpoint in", directory))
}

fn report(shard: u32, verdict: &Verdict) {
    if verdict.is_cut {
        tracing::warn!(
            shard,
            group = verdict.next_group,
            proof = verdict.proof,
            "the end of the log was torn and is cut: nothing in it was acknowledged, but the last group cannot prove itself"
        );
    }
    for (from, to) in &verdict.missing {
        tracing::error!(shard, from, to, "groups of the log were synced and are damaged now");
    }
    for group in verdict.groups.iter().filter(|group| !group.is_intact) {
        tracing::error!(
            shard,
            group = group.header.group,
            "a group of the log was synced and is damaged now"
        );
    }
}
