//! Making a damaged storage writable again: `levada repair --accept-loss`.
//!
//! What is lost stays lost: repairing records that an operator knows it. Readers step over those offsets from
//! then on, the partition takes appends again, and a new leader epoch tells clients that something is missing.

use std::path::Path;
use std::sync::Arc;

use env::{Clock, Disk, Random};
use model::{Offset, PartitionId};

use crate::options::Options;
use crate::recovery::{Parts, rebuild_checkpoint};
use crate::storage::{OpenError, Storage};
use crate::verify::{Report, verify};
use crate::{directory, metrics::Metrics};

/// What a repair found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The directory before.
    pub found: Report,
    /// Checkpoints that were unreadable and were made anew from segments and log: topic configs and some producers'
    /// sequences are lost with them.
    pub rebuilt_checkpoints: Vec<u32>,
    /// Indexes that were built anew: partition and base offset of the segment.
    pub rebuilt_indexes: Vec<(PartitionId, Offset)>,
    /// Losses that are accepted now: first and last offset. An empty list: something may be missing at the end.
    pub accepted: Vec<(PartitionId, Vec<(Offset, Offset)>)>,
}

/// Repairs what can be repaired without loss; the rest only if the loss is accepted. Nobody else may use the
/// directory meanwhile.
pub fn repair(
    options: Options,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    accept_loss: bool,
) -> Result<Repaired, OpenError> {
    let mut rebuilt_checkpoints = Vec::new();
    if accept_loss {
        let lock = directory::lock(&*disk, &options.data_dir)?;
        let parts = Parts {
            options: Arc::new(options.clone()),
            disk: disk.clone(),
            clock: clock.clone(),
            random: random.clone(),
            metrics: Arc::new(Metrics::default()),
        };
        rebuilt_checkpoints = rebuild_unreadable(&parts, &options.data_dir)?;
        drop(lock);
    }
    let found = verify(options.clone(), disk.clone(), clock.clone(), random.clone())?;
    let (storage, shards) = Storage::open(options, disk, clock, random)?;
    let mut repaired =
        Repaired { found, rebuilt_checkpoints, rebuilt_indexes: Vec::new(), accepted: Vec::new() };
    for report in &repaired.found.partitions {
        let Some(partition) = storage.partition(report.id) else { continue };
        if !report.damaged.is_empty() {
            partition.assess_all().map_err(|error| unreadable(report.id, &error))?;
        }
        for base in &report.bad_indexes {
            partition.rebuild_index(*base).map_err(|error| unreadable(report.id, &error))?;
            repaired.rebuilt_indexes.push((report.id, *base));
        }
    }
    for shard in shards {
        let accepted = shard.repair(accept_loss);
        repaired
            .accepted
            .extend(accepted.map_err(|source| OpenError::Io { doing: "repairing".to_owned(), source })?);
    }
    Ok(repaired)
}

fn unreadable(id: PartitionId, error: &dyn std::error::Error) -> OpenError {
    OpenError::Unreadable { path: format!("partition {id}"), reason: error.to_string() }
}

fn rebuild_unreadable(parts: &Parts, data_dir: &Path) -> Result<Vec<u32>, OpenError> {
    let shards = directory::shards(&*parts.disk, data_dir)
        .map_err(|source| OpenError::Io { doing: format!("listing {}", data_dir.display()), source })?;
    let mut rebuilt = Vec::new();
    for shard in &shards {
        match crate::recovery::examine(parts, *shard) {
            Err(OpenError::Checkpoint { .. }) => {
                rebuild_checkpoint(parts, *shard, &shards)?;
                rebuilt.push(*shard);
            }
            other => drop(other?),
        }
    }
    Ok(rebuilt)
}
